//! A daemon's process: started so that it cannot outlive its owner, or detached on purpose.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::launcher::Launcher;
use crate::layout::Layout;
use crate::{Daemon, Error};

/// A running daemon.
#[derive(Debug)]
pub(crate) struct Process {
    daemon: Daemon,
    pid: Pid,
    /// Stands for exactly this process, even when its pid is given to another one. None when it had
    /// ended before it could be opened.
    handle: Option<OwnedFd>,
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
        Ok(Self {
            daemon,
            pid,
            handle: open(pid),
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
            handle: open(pid),
            supervisor: None,
        })
    }

    /// The detached daemon noted in the directory, if it still runs.
    pub(crate) fn find_detached(layout: &Layout, daemon: Daemon) -> Option<Self> {
        let text = fs::read_to_string(layout.pid(daemon)).ok()?;
        let (pid, noted_ticks) = text.trim().split_once(' ')?;
        let pid = parse_pid(pid)?;
        let process = Self {
            daemon,
            pid,
            handle: open(pid),
            supervisor: None,
        };
        // Looked at after the handle was opened, so the handle is of the process looked at.
        (start_ticks(pid) == noted_ticks.parse().ok()).then_some(process)
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
            None => has_ended(self.handle.as_ref()).then(|| "not running".to_owned()),
        }
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Error> {
        let sent = match &self.handle {
            Some(handle) => pidfd_send_signal(handle, signal),
            None => Err(Errno::SRCH),
        };
        sent.map_err(|e| Error::Signal {
            daemon: self.daemon.to_string(),
            source: e.into(),
        })
    }

    /// Stops the daemon and waits until all its threads stand still.
    pub(crate) fn pause(&self) -> Result<(), Error> {
        self.signal(Signal::STOP)?;
        while self.handle.as_ref().is_some_and(|h| !has_ended(Some(h))) {
            let tasks = task_states(self.pid);
            if !tasks.is_empty() && tasks.iter().all(|state| state == "T") {
                break;
            }
            std::thread::sleep(POLL);
        }
        Ok(())
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
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.supervisor.is_some() {
            self.kill();
        }
    }
}

/// The daemon in the foreground.
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

fn open(pid: Pid) -> Option<OwnedFd> {
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// Whether the process has ended with all its threads, reaped by its parent or not.
fn has_ended(handle: Option<&OwnedFd>) -> bool {
    let Some(handle) = handle else { return true };
    let mut fds = [PollFd::new(handle, PollFlags::IN)];
    // It does not wait, so it is not interrupted either.
    poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// The start time in `/proc/PID/stat` (its field 22) of a process that has not ended.
fn start_ticks(pid: Pid) -> Option<u64> {
    let fields = stat_fields(format!("/proc/{}/stat", pid.as_raw_nonzero()))?;
    if matches!(fields.first()?.as_str(), "Z" | "X") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

/// The state letter of every thread.
fn task_states(pid: Pid) -> Vec<String> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())) else {
        return Vec::new();
    };
    let stats = tasks.flatten().map(|task| task.path().join("stat"));
    stats
        .filter_map(|path| stat_fields(path)?.into_iter().next())
        .collect()
}

/// The fields of a `stat` file from the third on. The second is the name in parentheses, which may
/// hold anything.
fn stat_fields(path: impl AsRef<Path>) -> Option<Vec<String>> {
    let stat = fs::read_to_string(path).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_ascii_whitespace().map(str::to_owned).collect())
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
