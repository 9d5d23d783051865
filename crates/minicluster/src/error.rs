//! Why a cluster could not be started or driven.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::Release;

/// What went wrong, with what the daemons themselves said about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Programs are missing and this process may not install them.
    #[error("{}: not installed; run: apt-get install --no-install-recommends {}", programs.join(", "), packages.join(" "))]
    NotInstalled {
        /// The programs looked for.
        programs: Vec<String>,
        /// The Debian packages that bring them.
        packages: Vec<String>,
    },
    /// A release that this machine's own packages are not is asked for by an ordinary user.
    #[error("Ceph {release} is not what is installed here; only root can use another system's")]
    RootNeeded {
        /// The release.
        release: Release,
    },
    /// The options contradict each other.
    #[error("{0}")]
    Unsupported(String),
    /// A program could not be run at all.
    #[error("cannot run {program}")]
    Spawn {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program ended with a failure.
    #[error("{command}: {status}\n{output}")]
    Command {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// What it wrote.
        output: String,
    },
    /// A program wrote something that could not be understood.
    #[error("{command} wrote something unexpected: {output}")]
    Output {
        /// The command line.
        command: String,
        /// What it wrote.
        output: String,
    },
    /// A daemon ended although nobody asked it to.
    #[error("{daemon} ended: {status}\n{log}")]
    DaemonDied {
        /// The daemon, such as `osd.0`.
        daemon: String,
        /// How it ended.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// An address is taken by somebody else.
    #[error("{daemon} cannot bind: address already in use\n{log}")]
    AddressInUse {
        /// The daemon, such as `mon.a`.
        daemon: String,
        /// The end of its log.
        log: String,
    },
    /// Something did not happen in time.
    #[error("{what} not reached within {} s\n{log}", limit.as_secs())]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
        /// What is known about the reason.
        log: String,
    },
    /// No free addresses were found.
    #[error("no free address for the monitors: {0}")]
    NoFreeAddress(String),
    /// The directory's path makes the daemons' socket names longer than the system allows.
    #[error("{}: too long a path for unix sockets in it", path.display())]
    PathTooLong {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds no cluster, or holds one already.
    #[error("{}: {problem}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file could not be read or written.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A daemon could not be signalled.
    #[error("cannot signal {daemon}")]
    Signal {
        /// The daemon.
        daemon: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// Makes the closure that ties an I/O error to the file it happened on.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
