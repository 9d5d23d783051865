//! What DHAT writes (valgrind: dhat/dh_main.c, "File format").

use std::collections::HashMap;

use anyhow::Context;
use serde_json::Value;

/// How often something happened, and to how many bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) times: u64,
    pub(crate) bytes: u64,
}

/// Sums by where it happened: the calls from the innermost to the outermost.
pub(crate) type Places = HashMap<Vec<String>, Sum>;

pub(crate) fn parse(text: &str) -> anyhow::Result<Places> {
    let json: Value = serde_json::from_str(text)?;
    let list = |name: &str| {
        let list = json.get(name).and_then(Value::as_array);
        list.with_context(|| name.to_owned())
    };
    let frames = list("ftbl")?;
    let mut places = Places::new();
    for point in list("pps")? {
        let number = |name: &str| {
            let number = point.get(name).and_then(Value::as_u64);
            number.with_context(|| name.to_owned())
        };
        let mut place = Vec::new();
        let indices = point.get("fs").and_then(Value::as_array);
        for index in indices.context("fs")? {
            let index = usize::try_from(index.as_u64().context("a frame")?)?;
            let frame = frames.get(index).and_then(Value::as_str).context("frame")?;
            place.push(without_address(frame).to_owned());
        }
        let sum = places.entry(place).or_default();
        sum.times += number("tbk")?;
        sum.bytes += number("tb")?;
    }
    Ok(places)
}

/// All places together.
pub(crate) fn total(places: &Places) -> Sum {
    places.values().fold(Sum::default(), |all, one| Sum {
        times: all.times + one.times,
        bytes: all.bytes + one.bytes,
    })
}

/// `0x1234: function (file:line)` without the number.
fn without_address(frame: &str) -> &str {
    match frame.split_once(": ") {
        Some((address, rest)) if address.starts_with("0x") => rest,
        _ => frame,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart() {
        let written = r#"{"dhatFileVersion":2,"pps":[
            {"tb":100,"tbk":2,"fs":[1,2]},
            {"tb":7,"tbk":1,"fs":[1]}
          ],"ftbl":["[root]","0x12: malloc (in libc)","0x34: main (main.rs:3)"]}"#;
        let places = parse(written).unwrap();
        let inner = "malloc (in libc)".to_owned();
        let from_main = [inner.clone(), "main (main.rs:3)".to_owned()];
        let sum = |times, bytes| Sum { times, bytes };
        assert_eq!(places[&from_main[..]], sum(2, 100));
        assert_eq!(places[&[inner][..]], sum(1, 7));
        assert_eq!(total(&places), sum(3, 107));
    }
}
