//! A daemon's process: started so that it cannot outlive its owner, or detached on purpose.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::launcher::Launcher;
use crate::layout::Layout;
use crate::{Daemon, Error};

/// A running daemon.
#[derive(Debug)]
pub(crate) struct Process {
    daemon: Daemon,
    pid: Pid,
    /// When the process was started, in clock ticks since boot: tells it from a later process with
    /// the same pid.
    start_ticks: u64,
    /// The shell between us and an owned daemon. Holds the write end of the pipe whose closing
    /// kills the daemon. A detached daemon has none.
    supervisor: Option<Child>,
}

impl Process {
    /// Starts a daemon that dies with this process, however this process dies.
    pub(crate) fn spawn_owned(
        layout: &Layout,
        launcher: &Launcher,
        daemon: Daemon,
    ) -> Result<Self, Error> {
        let mut child = Command::new("sh")
            .args(["-c", SUPERVISOR, "sh"])
            .arg(layout.output(daemon))
            .args(daemon_words(layout, launcher, daemon))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // An interrupt at the terminal is for us to act on, in order.
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Spawn {
                program: "sh".into(),
                source,
            })?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            // An error leaves the line empty, which is reported below.
            let _ = BufReader::new(stdout).read_line(&mut line);
        }
        let pid = parse_pid(line.trim()).ok_or_else(|| Error::Output {
            command: format!("the supervisor of {daemon}"),
            output: line.clone(),
        })?;
        let start_ticks = start_ticks(pid).unwrap_or_default();
        Ok(Self {
            daemon,
            pid,
            start_ticks,
            supervisor: Some(child),
        })
    }

    /// Starts a daemon that stays when this process ends, and notes its pid in the directory.
    pub(crate) fn spawn_detached(
        layout: &Layout,
        launcher: &Launcher,
        daemon: Daemon,
    ) -> Result<Self, Error> {
        let path = layout.output(daemon);
        let output = append(&path).map_err(Error::file(&path))?;
        let errors = output.try_clone().map_err(Error::file(&path))?;
        let child = Command::new("setsid")
            .args(daemon_words(layout, launcher, daemon))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|source| Error::Spawn {
                program: "setsid".into(),
                source,
            })?;
        let pid = Pid::from_child(&child);
        let start_ticks = start_ticks(pid).unwrap_or_default();
        let path = layout.pid(daemon);
        fs::write(&path, format!("{} {start_ticks}\n", pid.as_raw_nonzero()))
            .map_err(Error::file(&path))?;
        Ok(Self {
            daemon,
            pid,
            start_ticks,
            supervisor: None,
        })
    }

    /// The detached daemon noted in the directory, if it still runs.
    pub(crate) fn find_detached(layout: &Layout, daemon: Daemon) -> Option<Self> {
        let text = fs::read_to_string(layout.pid(daemon)).ok()?;
        let (pid, ticks) = text.trim().split_once(' ')?;
        let process = Self {
            daemon,
            pid: parse_pid(pid)?,
            start_ticks: ticks.parse().ok()?,
            supervisor: None,
        };
        process.is_same_process().then_some(process)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// How the daemon ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<String> {
        match &mut self.supervisor {
            // An error here means that it was reaped before, so it has ended.
            Some(child) => match child.try_wait() {
                Ok(None) => None,
                Ok(Some(status)) => Some(describe(status)),
                Err(e) => Some(e.to_string()),
            },
            None => (!self.is_same_process()).then(|| "not running".to_owned()),
        }
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Error> {
        if !self.is_same_process() {
            return Err(Error::Signal {
                daemon: self.daemon.to_string(),
                source: io::Error::from(rustix::io::Errno::SRCH),
            });
        }
        kill_process(self.pid, signal).map_err(|e| Error::Signal {
            daemon: self.daemon.to_string(),
            source: e.into(),
        })
    }

    /// Waits until the daemon is gone; false if it is still there after `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            if self.ended().is_some() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(POLL);
        }
    }

    /// Kills the daemon without warning and waits for its end.
    pub(crate) fn kill(&mut self) {
        if self.ended().is_none() {
            // It may have ended in between, which is what is wanted.
            let _ = self.signal(Signal::KILL);
            self.wait(KILL_LIMIT);
        }
    }

    /// A process that has ended but is not reaped yet does not count.
    fn is_same_process(&self) -> bool {
        start_ticks(self.pid) == Some(self.start_ticks)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.supervisor.is_some() {
            self.kill();
        }
    }
}

/// The daemon in the foreground. `setpriv` ends it when the supervisor is killed.
fn daemon_words(
    layout: &Layout,
    launcher: &Launcher,
    daemon: Daemon,
) -> impl Iterator<Item = std::ffi::OsString> {
    let program = daemon.program();
    launcher.words(program).into_iter().chain([
        "-f".into(),
        "-i".into(),
        daemon.id().into(),
        "-c".into(),
        layout.conf().into(),
    ])
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn parse_pid(text: &str) -> Option<Pid> {
    text.parse().ok().and_then(Pid::from_raw)
}

/// The start time in `/proc/PID/stat` (its field 22) of a process that has not ended.
fn start_ticks(pid: Pid) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The second field is the name in parentheses, which may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The supervisor ends with the daemon's status as a shell reports it.
fn describe(status: ExitStatus) -> String {
    match status.code() {
        Some(code) if code > 128 => format!("killed by signal {}", code - 128),
        Some(code) => format!("exit status {code}"),
        None => status.to_string(),
    }
}

/// Runs a daemon (arguments from the second on, its output to the file that is the first), prints
/// its pid, and ends as it ends. Its standard input is a pipe that nobody writes to: when its other
/// end closes, its owner is gone, and the whole process group is killed. A supervisor that is
/// killed itself takes the daemon along through the parent-death signal.
const SUPERVISOR: &str = r#"
output=$1; shift
exec 3<&0
setpriv --pdeathsig KILL "$@" </dev/null >>"$output" 2>&1 3<&- &
daemon=$!
echo $daemon
exec >&-
{ read -r _ <&3; kill -KILL 0; } &
watcher=$!
exec 3<&-
wait $daemon
status=$?
kill $watcher
exit $status
"#;
const POLL: Duration = Duration::from_millis(10);
/// A killed process ends at once unless the kernel holds it in an uninterruptible wait.
const KILL_LIMIT: Duration = Duration::from_secs(30);
