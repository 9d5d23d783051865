//! `orbd serve` under valgrind, between a cluster and a client that are outside.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use hot_path::{Cluster, IMAGE, POOL, Script, nbd};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// What valgrind looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    /// Instructions and calls.
    Instructions,
    /// Allocations.
    Allocations,
    /// Copies of memory.
    Copies,
}

impl Tool {
    /// The options for it, and that of the file to write.
    const fn options(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Instructions => (&["--tool=callgrind"], "--callgrind-out-file"),
            Self::Allocations => (&["--tool=dhat", "--num-callers=40"], "--dhat-out-file"),
            Self::Copies => (
                &["--tool=dhat", "--mode=copy", "--num-callers=40"],
                "--dhat-out-file",
            ),
        }
    }
}

/// Has `orbd` do what a script asks for, and gives what valgrind wrote about it.
pub(crate) fn watch(tool: Tool, orbd: &Path, script: &Script) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Runtime::new()?;
    let cluster = runtime.block_on(Cluster::start())?;
    let place = TempDir::new()?;
    let mut server = Server::start(tool, orbd, &cluster, place.path())?;
    let mut client = nbd::Client::connect(&server.socket)?;
    client.run(script)?;
    client.disconnect()?;
    server.stop()?;
    let complaints = cluster.complaints();
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    std::fs::read_to_string(&server.report).context("what valgrind wrote")
}

struct Server {
    process: Child,
    socket: PathBuf,
    report: PathBuf,
}

impl Server {
    /// Starts it, and waits until clients can connect.
    fn start(tool: Tool, orbd: &Path, cluster: &Cluster, place: &Path) -> anyhow::Result<Self> {
        let (socket, report, conf) = (
            place.join("socket"),
            place.join("report"),
            place.join("conf"),
        );
        std::fs::write(&conf, "")?;
        let (options, report_option) = tool.options();
        let mut command = Command::new("valgrind");
        command
            .args(["--quiet", "--error-exitcode=0"])
            .args(options)
            .arg(format!("{report_option}={}", report.display()))
            .arg(orbd)
            .arg("--conf")
            .arg(&conf)
            .args(["--mon-host", &cluster.mon_host()])
            .args(["--auth-client-required", "none"])
            // What is cached costs nothing here and something later.
            .args(["--rbd-cache", "false"])
            .args(["serve", &format!("{POOL}/{IMAGE}"), "--socket"])
            .arg(&socket)
            .env_remove("ORBD_LOG")
            .env("GLIBC_TUNABLES", WITHOUT_STRING_INSTRUCTIONS)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let process = command.spawn().context("valgrind")?;
        let mut server = Self {
            process,
            socket,
            report,
        };
        let stdout = server.process.stdout.take().context("its output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(
            line.starts_with("nbd+unix:"),
            "orbd does not serve: {line:?}"
        );
        Ok(server)
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.process), Signal::TERM)?;
        let status = self.process.wait()?;
        ensure!(status.success(), "orbd serve: {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Usually it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Each byte that an instruction copies by itself counts as an instruction: larger copies are not to be made by such.
const WITHOUT_STRING_INSTRUCTIONS: &str = "glibc.cpu.x86_rep_movsb_threshold=0x7fffffffffff:glibc.cpu.x86_rep_stosb_threshold=0x7fffffffffff";
