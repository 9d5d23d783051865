//! The syntax that keyrings and ceph.conf share (ceph: src/common/ConfUtils.cc, `IniGrammer`).
//!
//! ```text
//! # comment
//! [section]              ; comment
//!     some name = value  # the same as some_name
//!     other = "quoted"
//!     long = a \
//! b
//! ```
//! A backslash takes the special meaning from the next character, also within quotes; at the end of
//! a line, outside quotes, it continues the value on the next. What is more tolerant than Ceph: blanks
//! in front of a heading, a last line without an end, and `-` in names, which Ceph takes as `_` on
//! the command line only.

use std::fmt;

use nom::branch::alt;
use nom::bytes::complete::is_not;
use nom::character::complete::{char, line_ending, none_of, one_of, space0};
use nom::combinator::{eof, not, opt, value};
use nom::multi::{fold_many0, fold_many1, many0_count};
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};
use zeroize::Zeroizing;

/// A heading and the settings below it. The same heading may come again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What stands between the brackets.
    pub name: String,
    /// The line of the heading, counted from 1.
    pub line: usize,
    /// The settings in order. The same name may come again; the last one counts.
    pub settings: Vec<Setting>,
}

/// A name and its value.
#[derive(Clone, PartialEq, Eq)]
pub struct Setting {
    /// The name, with `_` for blanks and `-` in it.
    pub name: String,
    /// The value without quotes and blanks around it. It may be a secret.
    pub value: Zeroizing<String>,
    /// The line it begins on, counted from 1.
    pub line: usize,
}

/// Says only where it is: the value may be a secret, and in a line that lacks its first `=` the name
/// may be one.
impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Setting(line {})", self.line)
    }
}

/// A line that is not of this syntax. What it says is not repeated, as it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct SyntaxError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Neither heading nor setting nor comment.
    #[error("expected `[section]` or `name = value`")]
    Unrecognized,
    /// A heading that does not end.
    #[error("expected `[section]`, the closing bracket is missing")]
    Heading,
    /// A setting in front of the first heading.
    #[error("expected a `[section]` before the first `name = value`")]
    NoSection,
    /// A quoted value that does not end.
    #[error("the closing quote is missing; within quotes, `#` and `;` are written `\\#` and `\\;`")]
    Quote,
    /// Something behind a heading or a quoted value.
    #[error("expected nothing more on this line")]
    Trailing,
}

/// Takes a text apart. A text of a single setting needs no heading; its section has an empty name.
///
/// # Errors
/// [`SyntaxError`], for the first line that is wrong.
pub fn parse(text: &str) -> Result<Vec<Section>, SyntaxError> {
    let mut scanner = Scanner {
        rest: text,
        line: 1,
    };
    let mut sections: Vec<Section> = Vec::new();
    let mut orphan = None;
    loop {
        scanner.take(blank_lines, Problem::Unrecognized)?;
        if scanner.rest.is_empty() {
            break;
        }
        let line = scanner.line;
        if scanner.rest.starts_with('[') {
            sections.push(scanner.section()?);
        } else {
            let setting = scanner.setting()?;
            match sections.last_mut() {
                Some(section) => section.settings.push(setting),
                None if orphan.is_none() => orphan = Some(setting),
                None => {
                    let problem = Problem::NoSection;
                    return Err(SyntaxError { line, problem });
                }
            }
        }
    }
    match orphan {
        Some(setting) if sections.is_empty() => Ok(vec![Section {
            name: String::new(),
            line: setting.line,
            settings: vec![setting],
        }]),
        Some(setting) => Err(SyntaxError {
            line: setting.line,
            problem: Problem::NoSection,
        }),
        None => Ok(sections),
    }
}

/// A name as it is compared: without blanks around it, each blank and each `-` within it a `_`.
pub fn normalize_name(name: &str) -> String {
    let words: Vec<&str> = name.split_whitespace().collect();
    words.join("_").replace('-', "_")
}

struct Scanner<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Scanner<'a> {
    /// What `parser` finds, or the `problem` that it finds nothing.
    fn take<T>(
        &mut self,
        mut parser: impl FnMut(&'a str) -> IResult<&'a str, T>,
        problem: Problem,
    ) -> Result<T, SyntaxError> {
        let Ok((rest, found)) = parser(self.rest) else {
            let line = self.line;
            return Err(SyntaxError { line, problem });
        };
        let taken = self.rest.len() - rest.len();
        let ends = self.rest.bytes().take(taken).filter(|byte| *byte == b'\n');
        self.line += ends.count();
        self.rest = rest;
        Ok(found)
    }

    fn section(&mut self) -> Result<Section, SyntaxError> {
        let line = self.line;
        let name = self.take(heading, Problem::Heading)?;
        self.take(line_end, Problem::Trailing)?;
        Ok(Section {
            name,
            line,
            settings: Vec::new(),
        })
    }

    fn setting(&mut self) -> Result<Setting, SyntaxError> {
        let line = self.line;
        let name = normalize_name(self.take(name_and_equals, Problem::Unrecognized)?);
        if name.is_empty() {
            let problem = Problem::Unrecognized;
            return Err(SyntaxError { line, problem });
        }
        let value = match self.rest.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                self.take(|input| quoted(quote, input), Problem::Quote)?
            }
            _ => self.take(unquoted, Problem::Unrecognized)?,
        };
        self.take(line_end, Problem::Trailing)?;
        Ok(Setting {
            name,
            value: Zeroizing::new(value.trim().to_string()),
            line,
        })
    }
}

type Text = Zeroizing<String>;

fn heading(input: &str) -> IResult<&str, String> {
    let name = fold_many1(
        preceded(not(char(']')), text_char),
        String::new,
        |mut name, next| {
            name.push(next);
            name
        },
    );
    delimited(char('['), name, char(']')).parse(input)
}

fn name_and_equals(input: &str) -> IResult<&str, &str> {
    terminated(is_not("=[#;\r\n"), (char('='), space0)).parse(input)
}

fn quoted(quote: char, input: &str) -> IResult<&str, Text> {
    let inside = fold_many0(preceded(not(char(quote)), text_char), Text::default, push);
    delimited(char(quote), inside, char(quote)).parse(input)
}

fn unquoted(input: &str) -> IResult<&str, Text> {
    let continuation = (char('\\'), line_ending);
    let piece = alt((value(None, continuation), text_char.map(Some)));
    fold_many0(piece, Text::default, |text, piece| match piece {
        Some(next) => push(text, next),
        None => text,
    })
    .parse(input)
}

fn push(mut text: Text, next: char) -> Text {
    if text.len() == text.capacity() {
        // A growing string would leave its old, unwiped bytes behind.
        let mut larger = Zeroizing::new(String::with_capacity(2 * text.len() + 64));
        larger.push_str(&text);
        text = larger;
    }
    text.push(next);
    text
}

/// A character that belongs to a name or value.
fn text_char(input: &str) -> IResult<&str, char> {
    alt((preceded(char('\\'), none_of("\r\n")), none_of("#;\r\n"))).parse(input)
}

fn comment(input: &str) -> IResult<&str, ()> {
    value((), (one_of("#;"), opt(is_not("\r\n")))).parse(input)
}

fn line_end(input: &str) -> IResult<&str, ()> {
    let end = alt((value((), line_ending), value((), eof)));
    value((), (space0, opt(comment), end)).parse(input)
}

fn blank_lines(input: &str) -> IResult<&str, usize> {
    let blank = value((), one_of(" \t\r\n"));
    many0_count(alt((blank, comment))).parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Section, name and value of each setting.
    fn settings(text: &str) -> Vec<(String, String, String)> {
        let mut found = Vec::new();
        for section in parse(text).unwrap() {
            for setting in section.settings {
                found.push((
                    section.name.clone(),
                    setting.name,
                    setting.value.to_string(),
                ));
            }
        }
        found
    }

    fn value(line: &str) -> String {
        let mut found = settings(&format!("[global]\n{line}\n"));
        assert_eq!(found.len(), 1, "{line}");
        found.remove(0).2
    }

    fn problem(text: &str) -> (usize, Problem) {
        let error = parse(text).unwrap_err();
        (error.line, error.problem)
    }

    #[test]
    fn names_are_the_same_however_their_words_are_joined() {
        for name in ["mon host", "mon_host", "mon-host", "\tmon \t host "] {
            let found = settings(&format!("[global]\n{name} = a\n"));
            assert_eq!(found[0].1, "mon_host", "{name}");
        }
    }

    /// Each as `ceph-conf` of 16.2.15 reads it.
    #[test]
    fn values_are_unquoted_unescaped_and_continued() {
        for (line, expected) in [
            ("x = a b ", "a b"),
            ("x=a=b", "a=b"),
            ("x = a # b", "a"),
            ("x = a;b", "a"),
            (r"x = a\#b", "a#b"),
            (r"x = a\\b", r"a\b"),
            (r"x = a\nb", "anb"),
            ("x = a \\\n  b", "a   b"),
            ("x = \\\n b", "b"),
            ("x = a \\\n[client]", "a [client]"),
            ("x = \" a \" ; c", "a"),
            (r#"x = "a\"b""#, "a\"b"),
            ("x = 'a b'", "a b"),
            ("x = it's", "it's"),
            ("x = a \"b c\"", "a \"b c\""),
            ("x = ''", ""),
            ("x =", ""),
            ("x = a\tb\r", "a\tb"),
        ] {
            assert_eq!(value(line), expected, "{line}");
        }
    }

    #[test]
    fn settings_belong_to_the_heading_above() {
        let found = settings("; c\n\n[a] # c\nx=1\n\n  # c\ny=2\n[b]\n[a]\nz=3");
        let found: Vec<String> = found
            .iter()
            .map(|(section, name, value)| format!("{section}.{name}={value}"))
            .collect();
        assert_eq!(found, ["a.x=1", "a.y=2", "a.z=3"]);
        assert_eq!(settings("x = 1\n")[0].0, "");
        assert!(settings("").is_empty());
    }

    #[test]
    fn wrong_lines_are_named() {
        for (text, line, expected) in [
            ("[a]\nx\n", 2, Problem::Unrecognized),
            ("[a]\n\n= 1\n", 3, Problem::Unrecognized),
            ("[a]\nx # = 1\n", 2, Problem::Unrecognized),
            ("[a]\ny[1] = 1\n", 2, Problem::Unrecognized),
            ("[a]\nz = 1 \\\n 2\nx\n", 4, Problem::Unrecognized),
            ("# c\n[a\nx = 1\n", 2, Problem::Heading),
            ("[]\n", 1, Problem::Heading),
            ("[a] b\n", 1, Problem::Trailing),
            ("[a]\nx = \"1\" 2\n", 2, Problem::Trailing),
            ("[a]\nx = \"1\n", 2, Problem::Quote),
            ("[a]\nx = \"a#b\"\n", 2, Problem::Quote),
            ("\nx = 1\n[a]\n", 2, Problem::NoSection),
            ("x = 1\ny = 2\n", 2, Problem::NoSection),
            (
                "AQD2l+FnAAAAABAAnDkTQvvPWG9pP1c7mD5VmA==\nx",
                2,
                Problem::Unrecognized,
            ),
        ] {
            assert_eq!(problem(text), (line, expected), "{text:?}");
        }
    }

    #[test]
    fn errors_do_not_repeat_what_they_found() {
        let error = parse("[a]\nkey AQDhunter2\n").unwrap_err();
        assert!(!error.to_string().contains("hunter"));
        // A key's padding looks like the sign between name and value.
        for text in ["[a]\nkey = hunter2\n", "[a]\nkey AQDhunter2==\n"] {
            let found = parse(text).unwrap();
            assert!(!format!("{found:?}").contains("hunter"));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text: String) {
            let _ = parse(&text);
            let _ = parse(&format!("[a]\nx = {text}"));
        }
    }
}
