//! Everything is placed where `crushtool --test --show-mappings` places it.

use std::fmt::Write as _;
use std::path::PathBuf;

use denc::Decode;

use super::{maps, read};
use crate::{CrushMap, Input, Item, Scratch};

/// A line of the kind `rule R replicas N weights DEV=W,...`.
struct Question {
    rule: u32,
    replicas: usize,
    weights: Vec<u32>,
}

impl Question {
    fn parse(line: &str, map: &CrushMap) -> Option<Self> {
        let mut words = line.strip_prefix("rule ")?.split(' ');
        let rule = words.next()?.parse().ok()?;
        let replicas = words.nth(1)?.parse().ok()?;
        let mut weights = vec![0x1_0000; usize::try_from(map.max_devices()).unwrap()];
        for weight in words.nth(1)?.split(',').filter(|text| !text.is_empty()) {
            let (device, weight) = weight.split_once('=')?;
            weights[device.parse::<usize>().ok()?] = weight.parse().ok()?;
        }
        Some(Self {
            rule,
            replicas,
            weights,
        })
    }
}

fn printed(items: &[Item]) -> String {
    let mut text = String::new();
    for (index, item) in items.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        write!(text, "{comma}{item}").unwrap();
    }
    text
}

/// Compares all mappings of a map and gives how many they are.
fn compare(name: &str, map: &CrushMap, scratch: &mut Scratch) -> usize {
    let testdata = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let expected = read(&testdata.join(name).with_extension("mappings"));
    let mut question = None;
    let mut x = 0;
    let mut compared = 0;
    for line in std::str::from_utf8(&expected).unwrap().lines() {
        if let Some(next) = Question::parse(line, map) {
            question = Some(next);
            x = 0;
            continue;
        }
        let question = question.as_ref().unwrap();
        let input = Input {
            x,
            replicas: question.replicas,
            weights: &question.weights,
            choose_args: map.choose_args(0),
        };
        let found = map.place(question.rule, &input, scratch).unwrap();
        let rule = question.rule;
        assert_eq!(printed(found), line, "{name}: rule {rule}, x {x}");
        x += 1;
        compared += 1;
    }
    compared
}

#[test]
fn mappings_are_those_of_crushtool() {
    let mut scratch = Scratch::default();
    let mut mappings = 0;
    let maps = maps();
    for (name, bytes) in &maps {
        let map = CrushMap::decode_all(name_of(name), bytes).unwrap();
        mappings += compare(name, &map, &mut scratch);
    }
    assert!(maps.len() >= 34 && mappings >= 20_000);
    println!("{mappings} mappings of {} maps compared", maps.len());
}

#[test]
fn names_are_kept() {
    let (_, bytes) = maps()
        .into_iter()
        .find(|(name, _)| name == "straw2-jewel")
        .unwrap();
    let map = CrushMap::decode_all("map", &bytes).unwrap();
    let host = map.item_by_name("host0-1").unwrap();
    assert_eq!(map.item_name(host), Some("host0-1"));
    assert_eq!(map.type_name(map.bucket(host).unwrap().kind), Some("host"));
    assert_eq!(map.rule_name(1), Some("rule1"));
    assert_eq!(map.item_name(Item(3)), Some("osd.3"));
}

/// `what` of errors is static.
fn name_of(_: &str) -> &'static str {
    "test map"
}
