//! The library broken on purpose, to see that it is noticed: a copy of the sources is changed by a patch,
//! built, and tortured.
//!
//! A patch may begin with words that say what it breaks. Lines that begin with `torture: ` have options
//! to torture it with.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::command::checked;
use crate::workspace;

/// Builds the library as this mutation, or each of all, has it, and fails unless violations are found.
pub(super) fn run(name: &str, seed: u64) -> anyhow::Result<()> {
    let all = names()?;
    let chosen: Vec<&String> = all
        .iter()
        .filter(|other| name == ALL || *other == name)
        .collect();
    ensure!(
        !chosen.is_empty(),
        "there is no mutation {name}, but there are {}",
        all.join(", ")
    );
    let mut unnoticed = Vec::new();
    for name in chosen {
        let patch = fs::read_to_string(path(name))?;
        println!("=== {name}: {}", patch.lines().next().unwrap_or_default());
        let program = build(name)?;
        match torture(&program, &options(&patch), seed)? {
            Some(violation) => println!("{name}: noticed: {violation}\n"),
            None => {
                println!("{name}: NOT NOTICED\n");
                unnoticed.push(name.as_str());
            }
        }
    }
    ensure!(
        unnoticed.is_empty(),
        "not noticed: {}",
        unnoticed.join(", ")
    );
    Ok(())
}

/// Checks that all patches can be applied to the sources as they are.
pub(crate) fn check() -> anyhow::Result<()> {
    for name in names()? {
        let mut dry = patch(&name, workspace::root());
        checked(dry.arg("--dry-run")).with_context(|| format!("the mutation {name}"))?;
    }
    Ok(())
}

fn names() -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir())? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "patch")
        {
            let name = path.file_stem().context("a patch without a name")?;
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn dir() -> PathBuf {
    workspace::root().join("xtask").join("torture-mutations")
}

fn path(name: &str) -> PathBuf {
    dir().join(format!("{name}.patch"))
}

fn patch(name: &str, root: &Path) -> Command {
    let mut patch = Command::new("patch");
    patch
        .args([
            "--strip=1",
            "--silent",
            "--force",
            "--no-backup-if-mismatch",
        ])
        .arg("--reject-file=-")
        .arg("--directory")
        .arg(root)
        .arg("--input")
        .arg(path(name));
    patch
}

/// The options for torturing, each in front of its value.
fn options(patch: &str) -> Vec<String> {
    let mut words = Vec::new();
    for line in patch.lines() {
        let Some(options) = line.strip_prefix("torture: ") else {
            continue;
        };
        let options = options.split("--").map(str::trim);
        for option in options.filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once(' ').unwrap_or((option, ""));
            words.push(format!("--{name}"));
            if !value.is_empty() {
                words.push(value.to_owned());
            }
        }
    }
    words
}

/// Builds this program with the library that it is to torture. What was built before is used as far as
/// it is the same.
fn build(name: &str) -> anyhow::Result<PathBuf> {
    let mutated = workspace::target_dir().join("mutated");
    let (sources, target) = (mutated.join("sources"), mutated.join("target"));
    let target_dir = fs::canonicalize(workspace::target_dir())?;
    copy(workspace::root(), &sources, &target_dir)?;
    checked(&mut patch(name, &sources)).with_context(|| format!("the mutation {name}"))?;
    let mut build = workspace::cargo();
    build
        .args(["build", "--quiet", "--package", "xtask"])
        .current_dir(&sources)
        .env("CARGO_TARGET_DIR", &target);
    // What the compiler has to say of a patched place is of interest only if it refuses it.
    checked(&mut build).with_context(|| format!("the mutation {name}"))?;
    Ok(target.join("debug").join("xtask"))
}

/// Makes `to` what `from` is, apart from what was built and what is hidden; leaves alone what is the
/// same already.
fn copy(from: &Path, to: &Path, target_dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    let mut there = BTreeSet::new();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, name) = (entry.path(), entry.file_name());
        let is_hidden = name.as_encoded_bytes().starts_with(b".");
        if is_hidden || fs::canonicalize(&source)? == target_dir {
            continue;
        }
        let copied = to.join(&name);
        there.insert(name);
        if entry.file_type()?.is_dir() {
            copy(&source, &copied, target_dir)?;
            continue;
        }
        let content = fs::read(&source)?;
        if fs::read(&copied).ok().as_ref() != Some(&content) {
            fs::write(&copied, content)?;
        }
    }
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if there.contains(&entry.file_name()) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Gives the first violation.
fn torture(program: &Path, options: &[String], seed: u64) -> anyhow::Result<Option<String>> {
    let mut command = Command::new(program);
    command
        .args(["torture", "--seed", &seed.to_string()])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let output = BufReader::new(child.stdout.take().context("the output")?);
    let mut violation = None;
    for line in output.lines() {
        let line = line?;
        println!("    {line}");
        if let Some((_, found)) = line.split_once(VIOLATION) {
            violation.get_or_insert_with(|| found.to_owned());
        }
    }
    let status = child.wait()?;
    match (status.success(), violation) {
        (true, None) => Ok(None),
        (false, Some(violation)) => Ok(Some(violation)),
        (_, violation) => bail!("{}: {status}, {violation:?}", program.display()),
    }
}

const ALL: &str = "all";
/// What comes before each violation that the harness finds.
pub(super) const VIOLATION: &str = "VIOLATION: ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_taken_from_the_head_of_a_patch() {
        let text = "Breaks it.\n\ntorture: --minutes 2 --fault OSD killed --secure\n\
                    torture: --lane two:lock:orbd\n--- a/x\n+++ b/x\n";
        let expected = [
            "--minutes",
            "2",
            "--fault",
            "OSD killed",
            "--secure",
            "--lane",
            "two:lock:orbd",
        ];
        assert_eq!(options(text), expected);
        assert!(options("--- a/x\n").is_empty());
    }

    #[test]
    fn a_copy_becomes_what_the_original_is_and_keeps_what_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("target/debug")).unwrap();
        fs::create_dir_all(from.join(".git")).unwrap();
        fs::create_dir_all(from.join("src")).unwrap();
        fs::write(from.join("src/a"), "a").unwrap();
        fs::write(from.join("src/b"), "b").unwrap();
        let target = fs::canonicalize(from.join("target")).unwrap();
        copy(&from, &to, &target).unwrap();
        let kept = fs::metadata(to.join("src/a")).unwrap().modified().unwrap();
        fs::write(to.join("src/b"), "patched").unwrap();
        fs::write(to.join("src/c"), "left over").unwrap();
        copy(&from, &to, &target).unwrap();
        assert_eq!(fs::read_to_string(to.join("src/b")).unwrap(), "b");
        assert!(!to.join("src/c").exists());
        assert!(!to.join("target").exists() && !to.join(".git").exists());
        let still = fs::metadata(to.join("src/a")).unwrap().modified().unwrap();
        assert_eq!(kept, still);
    }
}
