//! The command line against the recordings: what cannot be read is refused with upstream's words and
//! status, and what upstream reads is read.

use super::*;
use crate::recording::Recording;

fn parsed(args: &[String]) -> Result<Request, Failure> {
    parse(args.iter().map(OsString::from))
}

/// Commands and options that the recordings use and this version does not have.
fn is_unknown_here(args: &[String]) -> bool {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    matches!(words.as_slice(), ["pool", ..])
        || words
            .iter()
            .any(|word| ["--journal-pool", "--mirror-image-mode"].contains(word))
}

#[test]
fn lines_that_rbd_cannot_read_are_refused_with_its_words() {
    let mut refused = 0;
    for group in [
        "create", "info", "list", "change", "transfer", "bench", "sizes",
    ] {
        for case in Recording::load(group) {
            // Feature names are checked with the other values; unknown commands have words of their own.
            let is_elsewhere = case.stderr.starts_with("error: unknown option")
                || case.stderr.contains("global_init")
                || case.stderr.contains("'--image-feature'")
                || case.stderr.contains("for option is invalid");
            if case.code != 1 || is_elsewhere {
                continue;
            }
            let failure = parsed(&case.args).expect_err(&case.name);
            assert_eq!(failure.status(), 1, "{}", case.name);
            let said = case.stderr.trim_end();
            // Upstream names the value here and nowhere else.
            let said = said.replace("('x') ", "");
            assert_eq!(
                format!("{failure}"),
                said.trim_start_matches("rbd: "),
                "{:?}",
                case.args
            );
            refused += 1;
        }
    }
    assert!(refused > 25, "{refused}");
}

#[test]
fn lines_that_rbd_can_read_are_read() {
    let mut read = 0;
    for group in [
        "create", "info", "list", "change", "transfer", "bench", "sizes",
    ] {
        for case in Recording::load(group) {
            if case.code == 1 || is_unknown_here(&case.args) {
                continue;
            }
            if let Err(failure) = parsed(&case.args) {
                panic!("{:?}: {failure}", case.args);
            }
            read += 1;
        }
    }
    assert!(read > 300, "{read}");
}

#[test]
fn unknown_commands_are_named() {
    let failure = parsed(&["bogus", "plain"].map(String::from)).unwrap_err();
    assert_eq!(failure.status(), 1);
    assert_eq!(
        failure.to_string(),
        "unknown command 'bogus'; see 'orbd help'"
    );
    let failure = parsed(&["feature", "bogus"].map(String::from)).unwrap_err();
    assert_eq!(
        failure.to_string(),
        "unknown command 'bogus'; see 'orbd help'"
    );
    let failure = parsed(&["feature"].map(String::from)).unwrap_err();
    assert_eq!(failure.status(), 1);
}

#[test]
fn help_and_version_are_printed() {
    for line in [
        &["--help"][..],
        &["help"],
        &[],
        &["help", "snap", "ls"],
        &["create", "-h"],
    ] {
        let args: Vec<String> = line.iter().map(ToString::to_string).collect();
        let Ok(Request::Print(text)) = parsed(&args) else {
            panic!("{line:?}");
        };
        assert!(text.contains("Usage: orbd"), "{text}");
    }
    for line in [&["--version"][..], &["-v"], &["ls", "--version"]] {
        let args: Vec<String> = line.iter().map(ToString::to_string).collect();
        let Ok(Request::Print(text)) = parsed(&args) else {
            panic!("{line:?}");
        };
        assert_eq!(text, format!("orbd {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn the_definitions_are_consistent() {
    Line::command().debug_assert();
}
