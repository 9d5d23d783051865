//! JSON as upstream's formatter writes it: no spaces, or four of them for each level
//! (ceph: src/common/Formatter.cc, `JSONFormatter`; src/common/escape.cc).

use std::fmt::Write;

use super::{Document, Value};

/// The document and a line feed.
pub(super) fn render(document: &Document, is_pretty: bool) -> String {
    let mut out = String::new();
    value(&mut out, &document.value, is_pretty, 0);
    out.push('\n');
    out
}

fn value(out: &mut String, node: &Value, is_pretty: bool, level: usize) {
    match node {
        Value::Text(text) => string(out, text),
        Value::Number(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Bool(value) => {
            let _ = write!(out, "{value}");
        }
        Value::List(members) => section(out, ['[', ']'], members, false, is_pretty, level),
        Value::Map(members) => section(out, ['{', '}'], members, true, is_pretty, level),
    }
}

fn section(
    out: &mut String,
    [open, close]: [char; 2],
    members: &[(String, Value)],
    is_named: bool,
    is_pretty: bool,
    level: usize,
) {
    out.push(open);
    for (index, (name, member)) in members.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        if is_pretty {
            line(out, level + 1);
        }
        if is_named {
            string(out, name);
            out.push_str(if is_pretty { ": " } else { ":" });
        }
        value(out, member, is_pretty, level + 1);
    }
    if is_pretty && !members.is_empty() {
        line(out, level);
    }
    out.push(close);
}

fn line(out: &mut String, level: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("    ", level));
}

fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\0'..='\x1f' | '\x7f' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}
