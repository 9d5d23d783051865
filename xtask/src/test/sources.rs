//! What holds for the source files and no compiler checks.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::torture::mutation;
use crate::workspace;

/// Checks all source files of the workspace.
pub(super) fn check() -> anyhow::Result<()> {
    let root = workspace::root();
    let mut files = Vec::new();
    for dir in ["crates", "src", "tests", "benches", "fuzz", "xtask"] {
        collect(&root.join(dir), &mut files)?;
    }
    ensure!(!files.is_empty(), "no sources found in {}", root.display());
    let mut problems = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let name = file.strip_prefix(root).unwrap_or(file);
        problems.extend(
            problems_of(name, &text)
                .into_iter()
                .map(|p| format!("{}: {p}", name.display())),
        );
    }
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    mutation::check()?;
    println!("{} source files", files.len());
    Ok(())
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn problems_of(name: &Path, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let count = text.lines().count();
    if count > MOST_LINES {
        problems.push(format!("{count} lines, at most {MOST_LINES} are allowed"));
    }
    let may_be_unsafe = UNSAFE_ALLOWED.iter().any(|place| name.starts_with(place));
    if !may_be_unsafe {
        let lines = (1..).zip(text.lines()).filter(|(_, line)| has_unsafe(line));
        problems.extend(lines.map(|(number, _)| format!("unsafe code in line {number}")));
    }
    let is_root = name.ends_with("src/lib.rs") || name.ends_with("src/main.rs");
    let lint = if name == Path::new(UNSAFE_ROOT) {
        "#![deny(unsafe_code)]"
    } else {
        "#![forbid(unsafe_code)]"
    };
    if is_root && !text.contains(lint) {
        problems.push(format!("lacks {lint}"));
    }
    problems
}

/// Whether the keyword stands there before what it is a keyword of, outside of a comment.
fn has_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or(line);
    let words: Vec<&str> = code.split_ascii_whitespace().collect();
    words.windows(2).any(|pair| match pair {
        [word, next] => {
            let is_name = |c: char| c.is_alphanumeric() || c == '_';
            let before = word.strip_suffix("unsafe");
            before.is_some_and(|before| !before.ends_with(is_name))
                && ["{", "fn", "impl", "trait", "extern"]
                    .iter()
                    .any(|n| next.starts_with(n))
        }
        _ => false,
    })
}

const MOST_LINES: usize = 800;
/// The system calls that have no safe wrapper.
const UNSAFE_ALLOWED: [&str; 2] = ["crates/mapper/src/sys.rs", "crates/mapper/src/sys"];
/// The crate that module is in: it cannot forbid what the module is allowed.
const UNSAFE_ROOT: &str = "crates/mapper/src/lib.rs";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_not_allowed() {
        assert!(!has_unsafe("if is_unsafe { f() }"));
        assert!(has_unsafe(&format!("g({} {{ f() }})", "unsafe")));
        let other = Path::new("crates/denc/src/read.rs");
        let block = format!("let x = {} {{ f() }};\n", "unsafe");
        assert_eq!(problems_of(other, &block), ["unsafe code in line 1"]);
        assert!(problems_of(Path::new("crates/mapper/src/sys.rs"), &block).is_empty());
        assert!(problems_of(other, "// unsafe fn f\n//! no `unsafe` here\n").is_empty());
        assert_eq!(problems_of(other, &"\n".repeat(801)).len(), 1);
        assert!(problems_of(other, &"\n".repeat(800)).is_empty());
        assert_eq!(
            problems_of(Path::new("src/lib.rs"), ""),
            ["lacks #![forbid(unsafe_code)]"]
        );
    }
}
