//! Where the cost of a request comes from.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::path::Path;

use super::callgrind::Profile;
use super::dhat::{self, Places};
use super::kind::Kind;
use super::valgrind::{Tool, watch};

/// Prints the functions and lines with the most instructions, and all places that allocate or copy.
pub(crate) fn print(kind: &Kind, orbd: &Path) -> anyhow::Result<()> {
    let run = |tool, times| watch(tool, orbd, &kind.script(times));
    let count = f64::from(kind.count);
    let [once, twice] = [1, 2].map(|times| Profile::parse(&run(Tool::Instructions, times)?));
    let (once, twice) = (once?, twice?);
    println!("# {} per request\n", kind.name);
    println!(
        "{:>10.1} instructions",
        (twice.instructions as f64 - once.instructions as f64) / count
    );
    println!(
        "{:>10.2} allocations",
        (twice.allocations() as f64 - once.allocations() as f64) / count
    );
    let tables = [
        (
            "instructions by function itself, with what is inlined",
            &once.own,
            &twice.own,
            60,
        ),
        (
            "instructions by function with what it calls",
            &once.inclusive,
            &twice.inclusive,
            60,
        ),
        ("instructions by line", &once.lines, &twice.lines, 80),
        ("calls", &once.calls, &twice.calls, 60),
    ];
    for (title, once, twice, rows) in tables {
        println!("\n## {title}\n");
        for (name, figure) in difference(once, twice, count).into_iter().take(rows) {
            println!("{figure:>12.2}  {name}");
        }
    }
    for (title, tool) in [("allocations", Tool::Allocations), ("copies", Tool::Copies)] {
        let [once, twice] = [1, 2].map(|times| dhat::parse(&run(tool, times)?));
        println!("\n## {title}\n");
        print_places(&once?, &twice?, count);
    }
    Ok(())
}

/// What there is more of in the second run, for each request, most first.
fn difference<K: Clone + Eq + Hash + Ord>(
    once: &HashMap<K, u64>,
    twice: &HashMap<K, u64>,
    count: f64,
) -> Vec<(K, f64)> {
    let names: HashSet<&K> = once.keys().chain(twice.keys()).collect();
    let figure = |counts: &HashMap<K, u64>, name| counts.get(name).map_or(0.0, |it| *it as f64);
    let mut all: Vec<_> = names
        .into_iter()
        .map(|name| {
            (
                name.clone(),
                (figure(twice, name) - figure(once, name)) / count,
            )
        })
        .filter(|(_, figure)| figure.abs() > NOISE)
        .collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    all
}

fn print_places(once: &Places, twice: &Places, count: f64) {
    let part = |places: &Places, figure: fn(&dhat::Sum) -> u64| {
        let mut parts = HashMap::<_, u64>::new();
        for (place, sum) in places {
            let frames = place.iter().filter(|frame| is_of_interest(frame));
            let frames: Vec<String> = frames.take(FRAMES).cloned().collect();
            *parts.entry(frames).or_default() += figure(sum);
        }
        parts
    };
    let of = |figure| difference(&part(once, figure), &part(twice, figure), count);
    let times: HashMap<_, _> = of(|sum| sum.times).into_iter().collect();
    println!("{:>8} {:>10}", "times", "bytes");
    for (place, bytes) in of(|sum| sum.bytes) {
        // A run that is twice as long may end with a little more or less.
        let times = times.get(&place).copied().unwrap_or_default();
        if times < NOISE {
            continue;
        }
        println!("{times:>8.2} {bytes:>10.0}");
        for frame in place {
            println!(
                "{:>24}{}",
                "",
                frame.chars().take(WIDTH).collect::<String>()
            );
        }
    }
}

/// Whether it is neither of the standard library nor of the runtime.
fn is_of_interest(frame: &str) -> bool {
    const DULL: &[&str] = &["(library/", "vgpreload", "(src/loom/", "(src/runtime/"];
    !DULL.iter().any(|dull| frame.contains(dull))
}

/// Less per request is something that just happened.
const NOISE: f64 = 0.02;
/// Frames by which places are told apart.
const FRAMES: usize = 6;
/// Characters of a frame that are shown.
const WIDTH: usize = 180;
