//! `docs/performance.md`: what was measured, between two markers in prose that is kept.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

use super::sample::{Comparison, Metric, Run, Side, Subject};
use super::targets::{TARGETS, show_ratio};

/// Puts the measured part into the document in `path`.
pub(super) fn update(path: &Path, measured: &str) -> anyhow::Result<()> {
    let old = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let new = replaced(&old, measured).with_context(|| path.display().to_string())?;
    fs::write(path, new).with_context(|| path.display().to_string())
}

fn replaced(document: &str, measured: &str) -> anyhow::Result<String> {
    let (before, rest) = document.split_once(BEGIN).context("no marker to begin")?;
    let (_, after) = rest.split_once(END).context("no marker to end")?;
    ensure!(!after.contains(BEGIN), "several markers");
    Ok(format!(
        "{before}{BEGIN}\n\n{}\n\n{END}{after}",
        measured.trim()
    ))
}

/// The measured part. The plots are in files of these names, each with what it shows.
pub(super) fn measured(run: &Run, plots: &[(String, String)]) -> String {
    let mut text = String::new();
    write(run, plots, &mut text).map_or_else(|_| String::new(), |()| text)
}

fn write(run: &Run, plots: &[(String, String)], text: &mut String) -> std::fmt::Result {
    writeln!(text, "### Circumstances\n\n| | |\n|---|---|")?;
    for (name, value) in &run.circumstances {
        writeln!(text, "| {name} | {value} |")?;
    }
    for note in &run.notes {
        writeln!(text, "\n{note}")?;
    }
    write_targets(run, text)?;
    if !plots.is_empty() {
        writeln!(text, "\n### Plots")?;
        for (file, title) in plots {
            writeln!(text, "\n![{title}]({file})")?;
        }
    }
    for (subject, title) in SUBJECTS {
        let mut of_subject = run
            .comparisons
            .iter()
            .filter(|c| c.subject == subject)
            .peekable();
        if of_subject.peek().is_some() {
            writeln!(text, "\n### {title}\n")?;
            write_comparisons(of_subject, text)?;
        }
    }
    if !run.figures.is_empty() {
        writeln!(text, "\n### Single figures\n\n| | |\n|---|---|")?;
        for (name, value) in &run.figures {
            writeln!(text, "| {name} | {} |", significant(*value))?;
        }
    }
    Ok(())
}

fn write_targets(run: &Run, text: &mut String) -> std::fmt::Result {
    writeln!(text, "\n### Targets\n")?;
    writeln!(
        text,
        "| | target | measured | cell | |\n|---|---|---|---|---|"
    )?;
    for target in TARGETS {
        let outcome = target.outcome(run);
        let verdict = match outcome.is_met {
            Some(true) => "met",
            Some(false) => "**not met**",
            None => "not measured",
        };
        writeln!(
            text,
            "| {} | {} | {} | {} | {verdict} |",
            target.what, outcome.wanted, outcome.figure, outcome.place
        )?;
    }
    Ok(())
}

/// Two tables: ours to theirs, and both by themselves.
fn write_comparisons<'a>(
    comparisons: impl Iterator<Item = &'a Comparison>,
    text: &mut String,
) -> std::fmt::Result {
    let comparisons: Vec<_> = comparisons.collect();
    writeln!(
        text,
        "| cell | on | compared with | IOPS | CPU per I/O | mean latency | p99 | RSS peak |\n|---|---|---|---|---|---|---|---|"
    )?;
    for comparison in &comparisons {
        let others = std::iter::once(&comparison.theirs).chain(&comparison.others);
        for other in others.filter(|other| !other.turns.is_empty()) {
            write_ratios(comparison, other, text)?;
        }
    }
    writeln!(
        text,
        "\n| cell | on | program | IOPS | MB/s | mean µs | p50 | p99 | p99.9 | CPU µs per I/O | in the kernel | \
         switches per I/O | system calls per I/O | RSS peak MiB |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    )?;
    for comparison in &comparisons {
        let both = [&comparison.ours, &comparison.theirs];
        let sides = both.into_iter().chain(&comparison.others);
        for side in sides.filter(|side| !side.turns.is_empty()) {
            write!(text, "| {} | {} |", name(comparison), comparison.cell.place)?;
            writeln!(
                text,
                " {} |{}",
                side.name,
                columns(side, comparison.cell.load.io_bytes)
            )?;
        }
    }
    Ok(())
}

fn write_ratios(comparison: &Comparison, other: &Side, text: &mut String) -> std::fmt::Result {
    let place = comparison.cell.place;
    write!(text, "| {} | {place} | {} |", name(comparison), other.name)?;
    for metric in [
        Metric::Iops,
        Metric::Cpu,
        Metric::Mean,
        Metric::P99,
        Metric::Rss,
    ] {
        let ratio = comparison.ratio_to(other, metric);
        write!(
            text,
            " {} |",
            ratio.map_or_else(String::new, |ratio| show_ratio(&ratio))
        )?;
    }
    writeln!(text)
}

fn name(comparison: &Comparison) -> String {
    let load = comparison.cell.load;
    match &comparison.condition {
        Some(condition) => format!("{load}, {condition}"),
        None => load.to_string(),
    }
}

fn columns(side: &Side, io_bytes: u64) -> String {
    let of = |metric, scale: f64| side.median(metric).map(|value| value / scale);
    let bytes = super::statistics::to_f64(io_bytes);
    let values = [
        of(Metric::Iops, 1.0),
        of(Metric::Iops, 1e6 / bytes),
        of(Metric::Mean, 1e3),
        of(Metric::P50, 1e3),
        of(Metric::P99, 1e3),
        of(Metric::P999, 1e3),
        of(Metric::Cpu, 1e3),
    ];
    let mut columns = String::new();
    for value in values {
        columns.push_str(&cell(value));
    }
    let kernel = side
        .kernel_share()
        .map(|share| format!("{:.0} %", share * 100.0));
    columns.push_str(&format!(" {} |", kernel.unwrap_or_default()));
    for value in [
        of(Metric::Switches, 1.0),
        side.system_calls,
        of(Metric::Rss, MIB),
    ] {
        columns.push_str(&cell(value));
    }
    columns
}

fn cell(value: Option<f64>) -> String {
    format!(" {} |", value.map_or_else(String::new, significant))
}

/// Three digits that say something.
pub(super) fn significant(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 || size == 0.0 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.9995 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

const MIB: f64 = 1_048_576.0;
const BEGIN: &str = "<!-- measured by cargo xtask bench: begin -->";
const END: &str = "<!-- measured by cargo xtask bench: end -->";
const SUBJECTS: [(Subject, &str); 6] = [
    (
        Subject::Server,
        "NBD servers: `orbd serve` against `qemu-nbd`, without caches",
    ),
    (
        Subject::CachedServer,
        "NBD servers: `orbd serve` against `qemu-nbd`, with caches",
    ),
    (
        Subject::Library,
        "Libraries: `orbd bench` against `rbd bench`, without caches",
    ),
    (
        Subject::CachedLibrary,
        "Libraries: `orbd bench` against `rbd bench`, with caches",
    ),
    (
        Subject::Objects,
        "Objects: our crate `rados` against the published one",
    ),
    (
        Subject::Growth,
        "Cost that must not grow: `orbd serve` against itself",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outside_the_markers_stays() {
        let old = format!("# A\n\n{BEGIN}\nold\n{END}\n\nprose\n");
        let new = replaced(&old, "new\n").unwrap();
        assert_eq!(new, format!("# A\n\n{BEGIN}\n\nnew\n\n{END}\n\nprose\n"));
        assert_eq!(replaced(&new, "new").unwrap(), new);
    }

    #[test]
    fn documents_without_markers_are_left_alone() {
        assert!(replaced("# A\n", "new").is_err());
        assert!(replaced(&format!("{BEGIN}\n"), "new").is_err());
        assert!(replaced(&format!("{BEGIN}{END}{BEGIN}{END}"), "new").is_err());
    }

    #[test]
    fn numbers_have_three_digits_that_say_something() {
        let shown = [0.0, 0.1234, 1.2345, 12.345, 123.45, 123_456.7].map(significant);
        assert_eq!(shown, ["0", "0.123", "1.23", "12.3", "123", "123457"]);
    }

    #[test]
    fn every_target_is_listed_and_nothing_measured_is_met() {
        let text = measured(&Run::default(), &[]);
        let rows = text
            .lines()
            .filter(|line| line.ends_with("| not measured |"));
        assert_eq!(rows.count(), TARGETS.len());
        assert!(!text.contains("| met |"));
    }
}
