//! The one place where programs of the cluster's release are turned into commands.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::Error;

/// How programs of the cluster's release are run: bare, or in the root directory of another system,
/// and either behind a prefix such as `ip netns exec NAME`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Launcher {
    pub(crate) prefix: Vec<OsString>,
    /// The mount namespace that the release is in, if it is not this machine's own.
    pub(crate) namespace: Option<PathBuf>,
}

impl Launcher {
    /// The words that start `program`, before its own arguments. All of them replace each other, so
    /// that the program is the process that was started.
    pub(crate) fn words(&self, program: &str) -> Vec<OsString> {
        let mut words = self.prefix.clone();
        if let Some(namespace) = &self.namespace {
            let mut mount = OsString::from("--mount=");
            mount.push(namespace);
            words.extend(["nsenter".into(), mount]);
            // Cargo's are for this machine's programs.
            let clean = ["env", "-u", "LD_LIBRARY_PATH", "-u", "LD_PRELOAD"];
            words.extend(clean.map(OsString::from));
        }
        words.push(program.into());
        words
    }

    /// `program`, without arguments yet.
    pub(crate) fn command(&self, program: &str) -> Command {
        let words = self.words(program);
        command_of(&words)
    }

    /// Runs a program that ends by itself, and returns what it printed.
    ///
    /// It is ended after [`TOOL_LIMIT_SECONDS`], and when the thread that waits for it dies.
    pub(crate) fn run<S: AsRef<OsStr>>(
        &self,
        program: &str,
        args: &[S],
        configure: impl FnOnce(&mut Command),
    ) -> Result<String, Error> {
        let limit = TOOL_LIMIT_SECONDS.to_string();
        let mut words: Vec<OsString> = [
            "setpriv",
            "--pdeathsig",
            "TERM",
            "timeout",
            "-k",
            "5",
            &limit,
        ]
        .map(OsString::from)
        .into();
        words.extend(self.words(program));
        let mut command = command_of(&words);
        command.args(args).stdin(Stdio::null());
        configure(&mut command);
        let shown = describe(program, args);
        tracing::debug!(command = shown, "run");
        let output = command.output().map_err(|source| Error::Spawn {
            program: program.to_owned(),
            source,
        })?;
        checked(shown, &output)
    }
}

/// A command from its words; the first is the program.
pub(crate) fn command_of(words: &[OsString]) -> Command {
    let mut words = words.iter();
    let mut command = Command::new(
        words
            .next()
            .map_or_else(|| OsStr::new("false"), OsString::as_os_str),
    );
    command.args(words);
    command
}

fn checked(command: String, output: &Output) -> Result<String, Error> {
    let stdout = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(stdout.into_owned());
    }
    let status = if output.status.code() == Some(TIMED_OUT_STATUS) {
        format!("not done after {TOOL_LIMIT_SECONDS} s")
    } else {
        output.status.to_string()
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    let output = format!("{}\n{}", stdout.trim_end(), stderr.trim_end())
        .trim()
        .to_owned();
    Err(Error::Command {
        command,
        status,
        output,
    })
}

fn describe<S: AsRef<OsStr>>(program: &str, args: &[S]) -> String {
    let mut shown = program.to_owned();
    for arg in args {
        shown.push(' ');
        shown.push_str(&arg.as_ref().to_string_lossy());
    }
    shown
}

/// Long enough for the slowest tool on a loaded machine, short enough to notice one that hangs.
const TOOL_LIMIT_SECONDS: u32 = 180;
/// The exit status of `timeout` when it had to end the program.
const TIMED_OUT_STATUS: i32 = 124;
