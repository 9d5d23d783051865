//! An NBD server of an image: ours, or qemu's on librbd.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::ground::{Caching, Ground, POOL};
use super::nbd;
use crate::command;

/// What serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// An `orbd`, at this path.
    Orbd(PathBuf),
    /// `qemu-nbd` with librbd.
    Qemu,
}

/// A server that runs; it is ended when it is dropped.
pub(super) struct Server {
    child: Child,
    socket: PathBuf,
    name: String,
    /// From its start to the first byte of the image.
    first_byte: Duration,
}

impl Server {
    /// Starts it and waits until it has served a first sector.
    pub(super) fn start(
        program: &Program,
        ground: &Ground,
        image: &str,
        caching: Caching,
    ) -> anyhow::Result<Self> {
        let name = match program {
            Program::Orbd(_) => "orbd",
            Program::Qemu => "qemu-nbd",
        };
        let socket = ground.socket(&format!("{name}-{}", fastrand::u64(..)));
        let mut command = program.command(ground, image, caching, &socket)?;
        let name = command::shown(&command);
        let start = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| name.clone())?;
        let mut server = Self {
            child,
            socket,
            name,
            first_byte: Duration::ZERO,
        };
        while let Err(error) = nbd::read_first_sector(&server.socket) {
            if let Some(status) = server.child.try_wait()? {
                bail!("{}: {status}", server.name);
            }
            if start.elapsed() > START_LIMIT {
                return Err(error.context(format!("{} does not serve", server.name)));
            }
            // A socket that is not there yet cannot be waited for.
            thread::sleep(POLL);
        }
        server.first_byte = start.elapsed();
        Ok(server)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// How long it took to the first byte.
    pub(super) fn first_byte(&self) -> Duration {
        self.first_byte
    }

    /// Has it end in order, so that all that it was told to write is written.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "{}: {status}", self.name);
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After `stop` there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    fn command(
        &self,
        ground: &Ground,
        image: &str,
        caching: Caching,
        socket: &Path,
    ) -> anyhow::Result<Command> {
        let conf = ground.conf_with(caching)?;
        let mut command = match self {
            Self::Orbd(path) => {
                let mut command = Command::new(path);
                command.arg("serve").arg(format!("{POOL}/{image}"));
                command.arg("--socket").arg(socket);
                command.args(["--rbd-cache", is_on(caching)]);
                command
            }
            Self::Qemu => {
                let mut command = Command::new("qemu-nbd");
                command.args(["--format", "raw", "--persistent", "--shared", "8"]);
                // What qemu sets librbd's cache by.
                command.arg(match caching {
                    Caching::Off => "--cache=none",
                    Caching::On => "--cache=writeback",
                });
                command.arg("--socket").arg(socket);
                command.arg(format!("rbd:{POOL}/{image}:conf={}", conf.display()));
                command
            }
        };
        ground.set_environment(&mut command);
        command.env("CEPH_CONF", conf);
        Ok(command)
    }
}

/// The value of the option `rbd_cache`.
pub(super) fn is_on(caching: Caching) -> &'static str {
    match caching {
        Caching::Off => "false",
        Caching::On => "true",
    }
}

/// Much less than a server takes to start.
const POLL: Duration = Duration::from_micros(200);
const START_LIMIT: Duration = Duration::from_secs(60);
