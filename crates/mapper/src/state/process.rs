//! Processes, told apart even if they have the same number at different times.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

use crate::blocking::blocking;
use crate::error::{Error, Result};

/// A process: its number, and when it was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pid: i32,
    /// In clock ticks since the machine was started.
    start_time: u64,
}

impl ProcessId {
    /// This process.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn current() -> Result<Self> {
        let pid = rustix::process::getpid().as_raw_pid();
        let start_time = start_time(pid)?;
        Ok(Self { pid, start_time })
    }

    /// Its number.
    pub const fn pid(self) -> i32 {
        self.pid
    }

    /// Whether it is there.
    pub fn is_alive(self) -> bool {
        start_time(self.pid).is_ok_and(|start_time| start_time == self.start_time)
    }

    /// Sends a signal, if the process is there.
    pub(super) fn signal(self, signal: Signal) -> Result<()> {
        let Some(process) = self.open()? else {
            return Ok(());
        };
        match rustix::process::pidfd_send_signal(&process, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(Error::system("signal a daemon")(error)),
        }
    }

    /// Waits until the process is gone, and says whether it is.
    pub(super) async fn wait(self, limit: Duration) -> Result<bool> {
        match self.open()? {
            Some(process) => blocking("wait for a daemon", move || wait(&process, limit)).await,
            None => Ok(true),
        }
    }

    /// A descriptor of the process; none if it is gone.
    fn open(self) -> Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(None);
        };
        match rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK) {
            // If it is this process still, the descriptor cannot be another's.
            Ok(process) => Ok(self.is_alive().then_some(process)),
            Err(Errno::SRCH) => Ok(None),
            // Somebody it has started is left, and its number with him: that of his group or session, but of no process.
            Err(Errno::INVAL) if !self.is_alive() => Ok(None),
            Err(error) => Err(Error::system("find a daemon")(error)),
        }
    }
}

/// Waits until a process has ended, and says whether it has.
fn wait(process: &OwnedFd, limit: Duration) -> Result<bool> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| Errno::INVAL);
        // Readable when the process has ended.
        let mut process = [PollFd::new(process, PollFlags::IN)];
        match left.and_then(|left| poll(&mut process, Some(&left))) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(Error::system("wait for a daemon")(error)),
        }
    }
}

/// The 22nd field of `/proc/PID/stat`; the second may have blanks and parentheses in it.
fn start_time(pid: i32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).map_err(Error::path("read", &path))?;
    let parse = || {
        let (_, fields) = stat.rsplit_once(')')?;
        // A process that has ended and that nobody has asked about still has a number, but it serves nothing.
        let mut fields = fields.split_ascii_whitespace();
        let state = fields.next()?;
        (state != "Z" && state != "X").then_some(())?;
        fields.nth(18)?.parse().ok()
    };
    parse().ok_or_else(|| Error::Path {
        action: "find a start time in",
        path: path.into(),
        source: std::io::ErrorKind::InvalidData.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_its_predecessor_is_not() {
        let current = ProcessId::current().unwrap();
        assert!(current.is_alive());
        let predecessor = ProcessId {
            start_time: current.start_time - 1,
            ..current
        };
        assert!(!predecessor.is_alive());
    }

    fn sleeper() -> (std::process::Child, ProcessId) {
        let mut sleep = std::process::Command::new("sleep");
        let child = sleep.arg("1000").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let start_time = start_time(pid).unwrap();
        (child, ProcessId { pid, start_time })
    }

    #[tokio::test]
    async fn a_process_ends_once() {
        const LIMIT: Duration = Duration::from_secs(20);

        let (mut child, process) = sleeper();
        process.signal(Signal::TERM).unwrap();
        assert!(process.wait(LIMIT).await.unwrap());
        assert!(!process.is_alive());
        child.wait().unwrap();
        process.signal(Signal::TERM).unwrap();
        assert!(process.wait(LIMIT).await.unwrap());
    }

    #[tokio::test]
    async fn a_process_is_gone_even_if_its_group_is_not() {
        use std::os::unix::process::CommandExt;

        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "sleep 1000 >&2 & echo $!; read line"]);
        let mut shell = shell
            .process_group(0)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = i32::try_from(shell.id()).unwrap();
        let process = ProcessId {
            pid,
            start_time: start_time(pid).unwrap(),
        };
        drop(shell.stdin.take());
        let left = std::io::read_to_string(shell.stdout.take().unwrap()).unwrap();
        shell.wait().unwrap();
        let is_gone = process.wait(Duration::ZERO).await;
        let signalled = process.signal(Signal::TERM);
        let left = Pid::from_raw(left.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(left, Signal::KILL).unwrap();
        assert!(is_gone.unwrap());
        signalled.unwrap();
    }

    #[tokio::test]
    async fn a_process_that_stays_is_waited_for_no_longer_than_that() {
        let (mut child, process) = sleeper();
        process.signal(Signal::CONT).unwrap();
        assert!(!process.wait(Duration::from_millis(50)).await.unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
