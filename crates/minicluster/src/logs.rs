//! The ends of the daemons' logs, for error messages.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::Daemon;
use crate::layout::Layout;

/// The last lines of what `daemon` printed and logged.
pub(crate) fn tail(layout: &Layout, daemon: Daemon) -> String {
    let mut text = String::new();
    for path in [layout.output(daemon), layout.log(daemon)] {
        let end = end_of(&path);
        if !end.trim().is_empty() {
            text.push_str(&format!(
                "--- end of {}:\n{}\n",
                path.display(),
                end.trim_end()
            ));
        }
    }
    text
}

fn end_of(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let Ok(bytes) = read() else {
        return String::new();
    };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains(OWN_NOISE))
        .collect();
    lines
        .get(lines.len().saturating_sub(TAIL_LINES)..)
        .unwrap_or_default()
        .join("\n")
}

/// Enough to hold [`TAIL_LINES`] of ordinary lines.
const TAIL_BYTES: u64 = 16384;
const TAIL_LINES: usize = 25;
/// What a daemon logs when it is asked for its status before it knows that question.
const OWN_NOISE: &str = "AdminSocket: request";
