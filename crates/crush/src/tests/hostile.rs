//! Bytes that are no map, and maps that make no sense.

use std::sync::LazyLock;

use denc::{Decode, DecodeErrorKind, Writer};
use proptest::prelude::*;

use super::maps;
use crate::limits::MAX_DRAWS;
use crate::{CrushMap, Input, Item, PlaceError, Scratch};

static MAPS: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(maps);

/// Follows all rules of a map for some numbers; must come to an end.
fn exercise(map: &CrushMap) {
    let weights = vec![0x1_0000; 64];
    let mut scratch = Scratch::default();
    for (rule, _) in map.rules() {
        for x in 0..2 {
            let input = Input {
                x,
                replicas: 5,
                weights: &weights,
                choose_args: map.choose_args(0),
            };
            if let Ok(found) = map.place(rule, &input, &mut scratch) {
                assert!(found.len() <= 5);
            }
        }
    }
}

fn straw2_map() -> Vec<u8> {
    let maps = maps();
    let (_, bytes) = maps.iter().find(|(name, _)| name == "choose-args").unwrap();
    bytes.clone()
}

/// Where optional fields may begin, a shorter map is a map; anywhere else it is none.
#[test]
fn a_cut_map_is_refused_but_where_an_older_one_would_end() {
    for (name, bytes) in maps() {
        let whole = CrushMap::decode_all("map", &bytes).unwrap();
        let mut ends = 0;
        for len in 0..bytes.len() {
            if let Ok(cut) = CrushMap::decode_all("map", &bytes[..len]) {
                assert_eq!(cut.buckets, whole.buckets, "{name} cut at {len}");
                ends += 1;
            }
        }
        // Before tunables, before each of the five behind the first three, before classes, before
        // choose_args, and before what MSR rules brought.
        assert!((8..=9).contains(&ends), "{name}: {ends} places to end");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]
    #[test]
    fn damaged_maps_do_no_harm(
        map in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = map.get(&MAPS).1.clone();
        for (at, byte) in damage {
            *at.get_mut(&mut bytes) = byte;
        }
        if let Ok(map) = CrushMap::decode_all("map", &bytes) {
            exercise(&map);
        }
    }

    #[test]
    fn any_bytes_are_refused_or_harmless(bytes: Vec<u8>) {
        let magic = [&0x0001_0000u32.to_le_bytes(), bytes.as_slice()].concat();
        if let Ok(map) = CrushMap::decode_all("map", &magic) {
            exercise(&map);
        }
    }
}

/// A map of straw2 buckets with the items given, all of type 1, and one rule.
fn encoded(buckets: &[&[i32]], steps: &[(u32, i32, i32)]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.u32(0x0001_0000).count(buckets.len()).u32(1).i32(8);
    for (id, items) in (1..).zip(buckets) {
        writer.u32(5).i32(-id).u16(1).u8(5).u8(0).u32(0x1_0000);
        writer.put(&items.to_vec());
        for _ in *items {
            writer.u32(0x1_0000);
        }
    }
    writer.u32(1).count(steps.len()).raw(&[0, 1, 1, 10]);
    for &(op, arg1, arg2) in steps {
        writer.u32(op).i32(arg1).i32(arg2);
    }
    writer.u32(0).u32(0).u32(0);
    writer.freeze().to_vec()
}

const CHOOSE_DEVICES: &[(u32, i32, i32)] = &[(1, -1, 0), (2, 0, 0), (4, 0, 0)];

fn place(map: &CrushMap, weights: &[u32]) -> Result<Vec<Item>, PlaceError> {
    let input = Input {
        x: 1,
        replicas: 3,
        weights,
        choose_args: None,
    };
    map.place(0, &input, &mut Scratch::default())
        .map(<[Item]>::to_vec)
}

#[test]
fn a_bucket_inside_itself_is_refused() {
    for buckets in [
        &[&[-1][..]][..],
        &[&[0, -2][..], &[1, -1]],
        &[&[-2][..], &[-3], &[0, -2]],
    ] {
        let error = CrushMap::decode_all("map", &encoded(buckets, CHOOSE_DEVICES)).unwrap_err();
        let field = "bucket inside itself";
        assert!(
            matches!(error.kind, DecodeErrorKind::InvalidValue { field: found, .. } if found == field),
            "{error}"
        );
    }
    // The same bucket in two places is no cycle.
    let diamond: &[&[i32]] = &[&[-2, -3], &[-4], &[-4], &[0]];
    CrushMap::decode_all("map", &encoded(diamond, CHOOSE_DEVICES)).unwrap();
}

#[test]
fn missing_and_empty_buckets_and_unknown_devices_hold_nothing() {
    for buckets in [
        &[&[-7][..]][..],
        &[&[]],
        &[&[-2], &[]],
        &[&[i32::MAX, i32::MIN]],
    ] {
        let map = CrushMap::decode_all("map", &encoded(buckets, CHOOSE_DEVICES)).unwrap();
        assert_eq!(place(&map, &[0x1_0000; 2000]), Ok(vec![]), "{buckets:?}");
    }
}

#[test]
fn a_device_without_a_weight_is_out() {
    let map = CrushMap::decode_all("map", &encoded(&[&[1, 1000]], CHOOSE_DEVICES)).unwrap();
    assert_eq!(place(&map, &[0x1_0000; 8]), Ok(vec![Item(1)]));
}

#[test]
fn a_rule_that_tries_for_ever_is_stopped() {
    let endless = [(1, -1, 0), (8, i32::MAX, 0), (2, i32::MAX, 0), (4, 0, 0)];
    let map = CrushMap::decode_all("map", &encoded(&[&[0, 1]], &endless)).unwrap();
    // All devices are out.
    assert_eq!(place(&map, &[]), Err(PlaceError::Endless(0)));
    let steps = u64::try_from(i32::MAX).unwrap();
    assert!(steps > MAX_DRAWS);
}

#[test]
fn a_rule_of_nonsense_places_nothing() {
    for steps in [
        &[(1, i32::MIN, 0), (2, 0, 0), (4, 0, 0)][..],
        &[(1, -1, 0), (2, i32::MIN, 0), (4, 0, 0)],
        &[(1, -1, 0), (2, 0, i32::MIN), (4, 0, 0)],
        &[(2, 0, 0), (4, 0, 0)],
        &[(99, 1, 2)],
        &[],
    ] {
        let map = CrushMap::decode_all("map", &encoded(&[&[0, 1]], steps)).unwrap();
        assert_eq!(place(&map, &[0x1_0000; 8]), Ok(vec![]), "{steps:?}");
    }
    let map = CrushMap::decode_all("map", &encoded(&[&[0, 1]], &[])).unwrap();
    let input = Input {
        x: 1,
        replicas: 3,
        weights: &[],
        choose_args: None,
    };
    assert_eq!(
        map.place(7, &input, &mut Scratch::default()),
        Err(PlaceError::NoRule(7))
    );
}

/// A map whose rule, with these steps, is of type MSR indep.
fn multi_step_map(buckets: &[&[i32]], steps: &[(u32, i32, i32)]) -> CrushMap {
    let rule = encoded(buckets, &[]).len() - 3 * 4 - 4;
    let mut bytes = encoded(buckets, steps);
    bytes[rule + 1] = 5;
    let map = CrushMap::decode_all("map", &bytes).unwrap();
    assert!(map.rule(0).unwrap().kind.is_msr());
    map
}

#[test]
fn a_multi_step_rule_of_nonsense_is_refused() {
    for steps in [
        &[(1, -1, 0), (4, 0, 0)][..],
        &[(1, -1, 0), (16, 2, 0)],
        &[(1, -1, 0), (2, 2, 0), (4, 0, 0)],
        &[(1, -1, 0), (16, -3, 0), (4, 0, 0)],
        &[(1, -5, 0), (16, 3, 0), (4, 0, 0)],
        &[(1, 0, 0), (16, 3, 0), (4, 0, 0)],
        &[(16, 3, 0), (4, 0, 0)],
        &[(1, -1, 0), (16, i32::MAX, 1), (16, i32::MAX, 0), (4, 0, 0)],
    ] {
        let map = multi_step_map(&[&[0, 1]], steps);
        assert_eq!(
            place(&map, &[0x1_0000; 8]),
            Err(PlaceError::MalformedRule(0)),
            "{steps:?}"
        );
    }
}

#[test]
fn a_multi_step_rule_that_tries_for_ever_is_stopped() {
    let most = -1;
    for collision_tries in [0, 1, most] {
        let steps = [
            (14, most, 0),
            (15, collision_tries, 0),
            (1, -1, 0),
            (16, 3, 0),
            (4, 0, 0),
        ];
        let map = multi_step_map(&[&[0, 1]], &steps);
        assert_eq!(place(&map, &[]), Err(PlaceError::Endless(0)));
    }
}

#[test]
fn steps_inside_steps_do_not_use_up_the_stack() {
    let depth = 50_000;
    let items: Vec<[i32; 1]> = (0..depth).map(|index| [-2 - index]).collect();
    let buckets: Vec<&[i32]> = items.iter().map(|item| &item[..]).collect();
    let mut steps = vec![(1, -1, 0)];
    steps.resize(50_000, (16, 1, 1));
    steps.push((4, 0, 0));
    let map = multi_step_map(&buckets, &steps);
    assert_eq!(
        place(&map, &[0x1_0000; 8]),
        Err(PlaceError::MalformedRule(0))
    );
}

#[test]
fn counts_beyond_the_bytes_are_refused() {
    let bytes = straw2_map();
    for at in [4, 8] {
        let mut bytes = bytes.clone();
        bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(CrushMap::decode_all("map", &bytes).is_err());
    }
}
