//! Every target takes its corpus, and the corpus damaged in all sorts of ways.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use orbd_fuzz::{TARGETS, Target};

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{directory:?}: {error}"));
    entries
        .map(|entry| {
            let path = entry.unwrap().path();
            path.file_stem().unwrap().to_str().unwrap().to_owned()
        })
        .collect()
}

/// A corpus: what is in its files, by their names. Never empty.
fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = directory("corpus").join(name);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{directory:?}: {error}"));
    let files: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            (path, bytes)
        })
        .collect();
    assert!(!files.is_empty(), "{directory:?} is empty");
    files
}

/// The files of a corpus that fuzzing has not found, which are damaged variants already.
fn originals(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let is_hash =
        |name: &str| name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut files = corpus(name);
    files.retain(|(path, _)| !is_hash(path.file_name().unwrap().to_str().unwrap()));
    files
}

/// All places in something short, and about [`PLACES`] in something long, most near its start.
fn places(len: usize) -> impl Iterator<Item = usize> {
    let step = (len / PLACES).max(1);
    (0..len).filter(move |at| *at < PLACES || at % step == 0)
}

const PLACES: usize = 64;

/// Shows which input it was that a target did not take.
fn take((name, target): Target, path: &Path, damage: &str, bytes: &[u8]) {
    let taken = std::panic::catch_unwind(|| target(bytes));
    assert!(taken.is_ok(), "{name} panics at {path:?} {damage}");
}

/// Runs a check of every target, as many at once as there are processors.
fn for_each_target(check: impl Fn(Target) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(target) = TARGETS.get(index) else {
                        break;
                    };
                    check(*target);
                }
            });
        }
    });
}

#[test]
fn corpora_are_taken() {
    for_each_target(|target| {
        take(target, Path::new("nothing"), "", &[]);
        for (path, bytes) in corpus(target.0) {
            take(target, &path, "", &bytes);
        }
    });
}

#[test]
fn cut_corpora_are_taken() {
    for_each_target(|target| {
        for (path, bytes) in originals(target.0) {
            for len in places(bytes.len()) {
                take(target, &path, &format!("cut at {len}"), &bytes[..len]);
            }
        }
    });
}

#[test]
fn corpora_with_changed_bytes_are_taken() {
    for_each_target(|target| {
        for (path, mut bytes) in originals(target.0) {
            for at in places(bytes.len()) {
                for change in [0x01, 0x80, 0xff] {
                    bytes[at] ^= change;
                    take(target, &path, &format!("^ {change:#x} at {at}"), &bytes);
                    bytes[at] ^= change;
                }
            }
        }
    });
}

#[test]
fn every_target_has_a_program_and_a_corpus_and_no_others_are_there() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(targets.len(), TARGETS.len());
    assert_eq!(names(&directory("fuzz_targets")), targets);
    assert_eq!(names(&directory("corpus")), targets);
    let manifest = fs::read_to_string(directory("Cargo.toml")).unwrap();
    for name in &targets {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")));
        let program = directory("fuzz_targets").join(name).with_extension("rs");
        let program = fs::read_to_string(program).unwrap();
        assert!(program.contains(&format!("orbd_fuzz::{name}(data)")));
    }
}
