//! One client: a process that works on an image and, where the image is served by another program, that
//! program.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::lane::{Lane, Stage};
use super::spec::ClientKind;

/// Killed when dropped. What goes through its server then is not to come back to the process as an error
/// that it could still note.
pub(super) struct Worker {
    pub(super) kind: ClientKind,
    pub(super) generation: u32,
    /// By which the cluster knows it.
    pub(super) address: String,
    /// Speaks to the cluster in the process's stead. What the process has in the kernel ends with it.
    server: Option<Process>,
    process: Process,
}

/// What a client is to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    /// Load until it is told to end.
    Load,
    /// Read everything once, and end.
    ReadBack,
}

impl Worker {
    /// Starts a client and waits until it has the image open.
    pub(super) fn start(
        lane: &Lane,
        stage: &Stage<'_>,
        kind: ClientKind,
        generation: u32,
        job: Job,
    ) -> anyhow::Result<Self> {
        let (mut command, server) = match kind {
            ClientKind::Orbd => (client(lane, stage, generation, &[])?, None),
            ClientKind::Cached => {
                let mut command = client(lane, stage, generation, &[])?;
                command.arg("--cached");
                (command, None)
            }
            ClientKind::Librbd => {
                let (server, socket) = serve(lane, stage, generation)?;
                let mut command = client(lane, stage, generation, &[])?;
                command.arg("--nbd").arg(socket);
                (command, Some(server))
            }
            ClientKind::Ext4 => {
                let (server, device) = map(lane, stage, generation)?;
                // What is mounted there goes with the process.
                let mut command = client(lane, stage, generation, &["unshare", "--mount"])?;
                command.arg("--device").arg(device);
                let directory = stage.dir.join(format!("{}.mounted", lane.number));
                command.arg("--directory").arg(directory);
                (command, Some(server))
            }
        };
        if job == Job::ReadBack {
            command.arg("--read-back");
        }
        let process = Process(command.spawn().context("the client")?);
        let mut worker = Self {
            kind,
            generation,
            address: String::new(),
            server,
            process,
        };
        let deadline = Instant::now() + OPEN_LIMIT;
        let address = loop {
            if let Some(address) = stage.checker.opened(lane.number, generation)? {
                break address;
            }
            let name = lane.name();
            if let Some(status) = worker.ended()? {
                let log = lane.log(stage);
                bail!("the client of {name} ended: {status}\n{log}");
            }
            if Instant::now() > deadline {
                bail!("the client of {name} did not open it within {OPEN_LIMIT:?}");
            }
            thread::sleep(POLL);
        };
        worker.address = match address {
            Some(address) => address,
            None => lane.new_watcher(stage)?,
        };
        Ok(worker)
    }

    /// `SIGSTOP` or `SIGCONT` for what speaks to the cluster.
    pub(super) fn pause(&self, is_paused: bool) -> anyhow::Result<()> {
        let Process(child) = self.server.as_ref().unwrap_or(&self.process);
        let signal = if is_paused {
            Signal::STOP
        } else {
            Signal::CONT
        };
        Ok(kill_process(Pid::from_child(child), signal)?)
    }

    /// How the client ended, if it has.
    pub(super) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        for Process(child) in self.server.iter_mut().chain([&mut self.process]) {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
        }
        Ok(None)
    }

    /// Lets the client finish what it has begun, and waits for its end. False if it does not end.
    pub(super) fn finish(mut self, lane: &Lane, stage: &Stage<'_>) -> anyhow::Result<bool> {
        drop(self.process.0.stdin.take());
        let deadline = Instant::now() + END_LIMIT;
        let Some(status) = self.process.wait_until(deadline)? else {
            return Ok(false);
        };
        let is_closed = stage.checker.is_closed(lane.number, self.generation)?;
        if !status.success() || !is_closed {
            let what = format!("the client ended: {status}\n{}", lane.log(stage));
            stage.checker.complain(lane.number, what)?;
        }
        if let Some(server) = &mut self.server {
            kill_process(Pid::from_child(&server.0), Signal::TERM)?;
            if server.wait_until(Instant::now() + END_LIMIT)?.is_none() {
                bail!("the server of {} did not end", lane.name());
            }
        }
        Ok(true)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.process.0.kill();
    }
}

/// Killed when dropped.
struct Process(Child);

impl Process {
    fn wait_until(&mut self, deadline: Instant) -> anyhow::Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() > deadline {
                return Ok(None);
            }
            thread::sleep(POLL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn client(
    lane: &Lane,
    stage: &Stage<'_>,
    generation: u32,
    prefix: &[&str],
) -> anyhow::Result<Command> {
    let mut command = in_network(lane, stage)?;
    command
        .args(prefix)
        .arg(&stage.program)
        .arg("torture-client")
        .arg("--journal")
        .arg(lane.journal(&stage.dir))
        .args(["--lane", &lane.number.to_string()])
        .args(["--generation", &generation.to_string()])
        .args(["--seed", &stage.seed.to_string()])
        .args(["--blocks", &stage.blocks.to_string()])
        .args(["--jobs", &stage.jobs.to_string()])
        .stdin(Stdio::piped());
    if lane.is_shared() {
        command.arg("--in-turns");
    }
    name_image(&mut command, lane, stage);
    Ok(command)
}

fn name_image(command: &mut Command, lane: &Lane, stage: &Stage<'_>) {
    command
        .arg("--conf")
        .arg(stage.cluster.conf_path())
        .args(["--pool", &lane.pool, "--image", &lane.image])
        .args(["--epoch", &lane.epoch.to_string()]);
    for (name, value) in &lane.options {
        command.arg("--option").arg(format!("{name}={value}"));
    }
}

/// Makes the image a block device by our library.
fn map(lane: &Lane, stage: &Stage<'_>, generation: u32) -> anyhow::Result<(Process, String)> {
    let ready = stage
        .dir
        .join(format!("{}-{generation}.device", lane.number));
    let mut command = in_network(lane, stage)?;
    command.arg(&stage.program).arg("torture-map");
    command.arg("--ready").arg(&ready).stdin(Stdio::null());
    name_image(&mut command, lane, stage);
    let server = wait_for_file(&mut command, &ready, lane, stage)?;
    Ok((server, fs::read_to_string(&ready)?))
}

/// Serves the image by librbd over a socket.
fn serve(lane: &Lane, stage: &Stage<'_>, generation: u32) -> anyhow::Result<(Process, PathBuf)> {
    let name = format!("{}-{generation}", lane.number);
    let conf = stage.dir.join(format!("{name}.conf"));
    let mut text = fs::read_to_string(stage.cluster.conf_path())?;
    text.push_str("\n[client]\n");
    for (name, value) in &lane.options {
        text.push_str(&format!("{name} = {value}\n"));
    }
    fs::write(&conf, text)?;
    let socket = stage.dir.join(format!("{name}.sock"));
    let mut command = in_network(lane, stage)?;
    let Lane { pool, image, .. } = lane;
    command
        .args([
            "qemu-nbd",
            "--image-opts",
            "--cache=none",
            "--discard=unmap",
        ])
        .args(["--shared=1", "--persistent", "--socket"])
        .arg(&socket)
        .arg(format!(
            "driver=raw,file.driver=rbd,file.pool={pool},file.image={image},file.conf={},\
             file.user=admin",
            conf.display()
        ))
        .stdin(Stdio::null());
    let server = wait_for_file(&mut command, &socket, lane, stage)?;
    Ok((server, socket))
}

/// Starts a server and waits until there is a file of its making.
fn wait_for_file(
    command: &mut Command,
    path: &Path,
    lane: &Lane,
    stage: &Stage<'_>,
) -> anyhow::Result<Process> {
    let mut server = Process(command.spawn().context("a client's server")?);
    let deadline = Instant::now() + OPEN_LIMIT;
    while !path.exists() {
        let name = lane.name();
        if let Some(status) = server.0.try_wait()? {
            let log = lane.log(stage);
            bail!("the server of {name} ended: {status}\n{log}");
        }
        if Instant::now() > deadline {
            bail!("the server of {name} did not open it within {OPEN_LIMIT:?}");
        }
        thread::sleep(POLL);
    }
    Ok(server)
}

/// A command in the clients' network, to which more is added, that dies with this thread.
fn in_network(lane: &Lane, stage: &Stage<'_>) -> anyhow::Result<Command> {
    let mut options = File::options();
    let log = options
        .create(true)
        .append(true)
        .open(lane.log_path(stage))?;
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL"])
        .args(stage.network.prefix())
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(command)
}

/// Opening includes finding monitors that may just have come back.
const OPEN_LIMIT: Duration = Duration::from_secs(120);
const END_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);
