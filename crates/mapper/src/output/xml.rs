//! XML as upstream's formatter writes it: no white space, or one space for each level
//! (ceph: src/common/Formatter.cc, `XMLFormatter`; src/common/escape.cc).

use std::fmt::Write;

use super::{Document, Value};

/// The document and a line feed, two of them if it is pretty.
pub(super) fn render(document: &Document, is_pretty: bool) -> String {
    let mut out = String::new();
    element(&mut out, document.name, &document.value, is_pretty, 0);
    out.push('\n');
    out
}

fn element(out: &mut String, name: &str, node: &Value, is_pretty: bool, level: usize) {
    let name = name.replace(' ', "_");
    indent(out, is_pretty, level);
    let _ = write!(out, "<{name}>");
    match node {
        Value::Text(text) => escape(out, text),
        Value::Number(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Bool(value) => {
            let _ = write!(out, "{value}");
        }
        Value::List(members) | Value::Map(members) => {
            end(out, is_pretty);
            for (member_name, member) in members {
                element(out, member_name, member, is_pretty, level + 1);
            }
            indent(out, is_pretty, level);
        }
    }
    let _ = write!(out, "</{name}>");
    end(out, is_pretty);
}

fn indent(out: &mut String, is_pretty: bool, level: usize) {
    if is_pretty {
        out.extend(std::iter::repeat_n(' ', level));
    }
}

fn end(out: &mut String, is_pretty: bool) {
    if is_pretty {
        out.push('\n');
    }
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' => out.push(c),
            '\0'..='\x1f' | '\x7f' => {
                let _ = write!(out, "&#x{:02x};", u32::from(c));
            }
            _ => out.push(c),
        }
    }
}
