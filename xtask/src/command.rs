//! Programs run to their end.

use std::convert::Infallible;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use anyhow::{Context, bail};

/// Runs a program; what it wrote is shown only if it fails.
pub(crate) fn checked(command: &mut Command) -> anyhow::Result<()> {
    output(command).map(drop)
}

/// Runs a program and returns what it printed.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = run(command, &[])?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program and returns what it printed; `watch` is called with its process id, in a thread of its
/// own, and is to return when its second argument says that the program has ended.
pub(crate) fn output_watched(
    command: &mut Command,
    watch: impl FnOnce(u32, Receiver<Infallible>) + Send,
) -> anyhow::Result<String> {
    let output = run_watched(command, &[], watch)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program and returns what it said on standard error.
pub(crate) fn diagnostics(command: &mut Command) -> anyhow::Result<String> {
    let output = run(command, &[])?;
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Runs a program with `input` on its standard input and returns what it printed.
pub(crate) fn filtered(command: &mut Command, input: &[u8]) -> anyhow::Result<Vec<u8>> {
    Ok(run(command, input)?.stdout)
}

/// How a command line looks, for messages.
pub(crate) fn shown(command: &Command) -> String {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

fn run(command: &mut Command, input: &[u8]) -> anyhow::Result<Output> {
    run_watched(command, input, |_, _| {})
}

fn run_watched(
    command: &mut Command,
    input: &[u8],
    watch: impl FnOnce(u32, Receiver<Infallible>) + Send,
) -> anyhow::Result<Output> {
    let name = shown(command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| name.clone())?;
    let stdin = child.stdin.take();
    let pid = child.id();
    let (running, ended) = mpsc::channel();
    let output = thread::scope(|scope| {
        scope.spawn(move || watch(pid, ended));
        scope.spawn(|| {
            // A program that does not read to the end says why by its status.
            let _ = stdin.map(|mut stdin| stdin.write_all(input));
        });
        let output = child.wait_with_output();
        drop(running);
        output
    })
    .with_context(|| name.clone())?;
    if !output.status.success() {
        let out = String::from_utf8_lossy(&output.stdout);
        let err = String::from_utf8_lossy(&output.stderr);
        bail!("{name}: {}\n{}{}", output.status, out, err);
    }
    Ok(output)
}
