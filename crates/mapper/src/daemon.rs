//! How a command goes to the background: the daemon that serves a mapping is this program, started anew.
//!
//! [`spawn`] starts it with an internal subcommand and hands it its orders, which may hold secrets, through a pipe: they are
//! never among the arguments, which everybody can read. The daemon begins with [`Daemon::start`], before there are any
//! threads, reports through another pipe that it is [ready](Daemon::ready) or [what went wrong](Daemon::failed), and from
//! then on belongs to nobody.
//!
//! ```text
//!   parent: spawn ---orders---> daemon: start ... attach ... ready
//!   parent: spawn <----------------report--------------------'      serve ... stop ... detach, exit
//! ```

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tracing::{debug, error};
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// What a daemon reports: one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Report<T> {
    Ready(T),
    Failed { exit_code: u8, message: String },
}

/// Starts this program again as a daemon with these arguments, gives it its orders, and waits until it reports. What it says
/// on standard error goes to `log_file`, or nowhere.
///
/// **Cancellation:** the daemon is killed if it has not reported yet.
///
/// # Errors
/// [`Error::Daemon`] if the daemon reports a failure or dies, and [`Error::TimedOut`] if it reports nothing within `limit`; it
/// is killed then.
pub async fn spawn<O, R>(
    args: &[impl AsRef<OsStr>],
    orders: &O,
    log_file: Option<&Path>,
    limit: Duration,
) -> Result<R>
where
    O: Serialize,
    R: DeserializeOwned,
{
    let program = "/proc/self/exe";
    let orders = serde_json::to_vec(orders).map(Zeroizing::new);
    let orders = orders.map_err(Error::system("write down the orders of a daemon"))?;
    let stderr = match log_file {
        Some(path) => open_log(path)?.into(),
        None => Stdio::null(),
    };
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .map_err(Error::path("run", program))?;
    let mut child = KilledOnDrop(Some(child));
    let (stdin, stdout) = child.take_pipes();
    let conversation = async {
        if let Some(mut stdin) = stdin {
            // A daemon that dies early is told apart below.
            let _ = stdin.write_all(&orders).await;
        }
        let mut report = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(MAX_REPORT).read_to_end(&mut report).await?;
        }
        io::Result::Ok(report)
    };
    let action = "starting the daemon";
    let report = tokio::time::timeout(limit, conversation)
        .await
        .map_err(|_| Error::TimedOut { action, limit })?
        .map_err(Error::system("hear from a daemon"))?;
    match serde_json::from_slice(&report) {
        Ok(Report::Ready(report)) => {
            child.leave();
            Ok(report)
        }
        Ok(Report::Failed { exit_code, message }) => {
            let _ = child.wait().await;
            Err(Error::Daemon { exit_code, message })
        }
        Err(_) => {
            let status = child
                .wait()
                .await
                .map_err(Error::system("wait for a daemon"))?;
            Err(Error::Daemon {
                exit_code: 1,
                message: format!("the daemon ended unexpectedly ({status})"),
            })
        }
    }
}

/// A child that has not reported yet.
struct KilledOnDrop(Option<Child>);

impl KilledOnDrop {
    fn take_pipes(&mut self) -> (Option<ChildStdin>, Option<ChildStdout>) {
        match &mut self.0 {
            Some(child) => (child.stdin.take(), child.stdout.take()),
            None => (None, None),
        }
    }

    async fn wait(&mut self) -> io::Result<ExitStatus> {
        match &mut self.0 {
            Some(child) => child.wait().await,
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Lets it go on.
    fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It may have ended by itself.
            let _ = child.start_kill();
        }
    }
}

fn open_log(path: &Path) -> Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::path("open", path))
}

/// This process as a daemon that has not reported yet.
#[derive(Debug)]
pub struct Daemon {
    has_reported: bool,
}

impl Daemon {
    /// Becomes a daemon and takes the orders. To be called first of all, when there are no other threads: what it
    /// sets holds for the threads that come after.
    ///
    /// The process gets a session of its own, so that no terminal ends it, and `/` for its directory, so that it holds no
    /// file system. It is kept from waiting, for memory, for the very device it serves, and is the last to be killed for
    /// want of memory, as far as it has the rights.
    ///
    /// # Errors
    /// If it was not started by [`spawn`].
    pub fn start<O: DeserializeOwned>() -> Result<(Self, O)> {
        let mut orders = Zeroizing::new(Vec::with_capacity(USUAL_ORDERS));
        // Not through the library's standard input, which would keep a copy.
        rustix::stdio::stdin()
            .try_clone_to_owned()
            .and_then(|stdin| File::from(stdin).read_to_end(&mut orders))
            .map_err(Error::system("read the orders"))?;
        let orders =
            serde_json::from_slice(&orders).map_err(Error::system("understand the orders"))?;
        // Started by a shell's job control, it may lead a group already, and needs no session then.
        let _ = rustix::process::setsid();
        rustix::process::chdir("/").map_err(Error::path("go to", "/"))?;
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        let null = OpenOptions::new().read(true).open("/dev/null");
        let null = null.map_err(Error::path("open", "/dev/null"))?;
        rustix::stdio::dup2_stdin(&null).map_err(Error::system("let go of standard input"))?;
        protect();
        Ok((
            Self {
                has_reported: false,
            },
            orders,
        ))
    }

    /// Reports that all is ready, with what the parent is waiting for.
    ///
    /// # Errors
    /// If the parent is gone: nobody knows of this daemon, and it had better undo what it did.
    pub fn ready<R: Serialize>(mut self, report: R) -> Result<()> {
        self.report(&Report::Ready(report))
    }

    /// Reports that it did not work: the parent shows the message and exits with the code.
    pub fn failed(mut self, message: impl Into<String>, exit_code: u8) {
        let message = message.into();
        let report = Report::<()>::Failed { exit_code, message };
        if let Err(error) = self.report(&report) {
            error!(%error, "nobody hears of the failure");
        }
    }

    fn report<R: Serialize>(&mut self, report: &Report<R>) -> Result<()> {
        let failed = Error::system::<io::Error>("report to the parent");
        self.has_reported = true;
        let mut line = match serde_json::to_vec(report) {
            Ok(line) => line,
            Err(error) => return Err(failed(error.into())),
        };
        line.push(b'\n');
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(&line).and_then(|()| stdout.flush());
        // The parent reads up to the end, which this is.
        let null = OpenOptions::new().write(true).open("/dev/null");
        let closed = null.and_then(|null| Ok(rustix::stdio::dup2_stdout(&null)?));
        written.and(closed).map_err(failed)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.has_reported {
            let message = "the daemon gave up without a word".to_owned();
            let exit_code = 1;
            // The parent may be gone, too.
            let _ = self.report(&Report::<()>::Failed { exit_code, message });
        }
    }
}

/// Keeps the kernel from having this process wait for itself or killing it first, as far as it may be told so.
fn protect() {
    // Memory is made free by writing back, which is what this process is there for.
    if let Err(error) = rustix::process::configure_io_flusher_behavior(true) {
        debug!(%error, "no protection from waiting for ourselves");
    }
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "-1000") {
        debug!(%error, "no protection from being killed for want of memory");
    }
}

/// Room for orders without moving them, which would leave copies behind.
const USUAL_ORDERS: usize = 64 << 10;

/// The longest report, in bytes.
const MAX_REPORT: u64 = 1 << 20;
