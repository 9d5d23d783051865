//! A server of a device in memory, and the clients that other people wrote.
#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

pub(crate) mod kernel_device;
pub(crate) mod place;
pub(crate) mod side_by_side;

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mapper::device::memory::MemoryDevice;
use mapper::nbd::{Export, Server, ServerOptions};
use tokio::net::{TcpListener, UnixListener};
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const MIB: u64 = 1 << 20;

/// Exports `disk` and, read-only, `frozen`.
pub(crate) struct TestServer {
    pub(crate) disk: MemoryDevice,
    pub(crate) frozen: MemoryDevice,
    pub(crate) stop: CancellationToken,
    pub(crate) socket: PathBuf,
    pub(crate) tcp_port: u16,
    tasks: Vec<JoinHandle<()>>,
    dir: tempfile::TempDir,
}

impl TestServer {
    pub(crate) async fn start(disk: MemoryDevice) -> Self {
        Self::start_with(disk, ServerOptions::default()).await
    }

    pub(crate) async fn start_with(disk: MemoryDevice, options: ServerOptions) -> Self {
        let frozen = MemoryDevice::new(MIB);
        frozen.set_contents(0, b"frozen");
        frozen.set_read_only(true);
        let export = |name: &str, device: &MemoryDevice| Export {
            name: name.into(),
            description: format!("the {name} export"),
            is_read_only: false,
            device: Arc::new(device.clone()),
        };
        let exports = vec![export("disk", &disk), export("frozen", &frozen)];
        let server = Arc::new(Server::new(exports, options));
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("nbd.sock");
        let unix = UnixListener::bind(&socket).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp_port = tcp.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        let tasks = vec![
            tokio::spawn(Arc::clone(&server).serve(unix, stop.clone())),
            tokio::spawn(server.serve(tcp, stop.clone())),
        ];
        Self {
            disk,
            frozen,
            stop,
            socket,
            tcp_port,
            tasks,
            dir,
        }
    }

    /// Where clients find an export.
    pub(crate) fn uri(&self, export: &str) -> String {
        format!("nbd+unix:///{export}?socket={}", self.socket.display())
    }

    pub(crate) fn tcp_uri(&self, export: &str) -> String {
        format!("nbd://127.0.0.1:{}/{export}", self.tcp_port)
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Stops gracefully and waits for it.
    pub(crate) async fn finish(self) {
        self.stop.cancel();
        for task in self.tasks {
            tokio::time::timeout(LIMIT, task)
                .await
                .expect("the server stops")
                .unwrap();
        }
    }
}

/// Closes a device. The last who closes one of the NBD driver waits for all that was written to it, as long as that takes.
///
/// When this returns, no child that is started later has a copy of the descriptor, which it would then be the last to close.
pub(crate) fn close_without_waiting(device: std::fs::File) {
    use std::os::fd::AsRawFd;

    let descriptor = format!("/proc/self/fd/{}", device.as_raw_fd());
    let path = std::fs::read_link(&descriptor).unwrap();
    std::thread::spawn(move || drop(device));
    while std::fs::read_link(&descriptor).is_ok_and(|now| now == path) {
        std::thread::yield_now();
    }
}

/// Runs a program to its end, within a time limit.
pub(crate) async fn run(program: &str, args: &[&str]) -> Output {
    run_with_input(program, args, "").await
}

async fn run_with_input(program: &str, args: &[&str], input: &str) -> Output {
    use tokio::io::AsyncWriteExt;

    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{program} must be installed for this test: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    tokio::time::timeout(LIMIT, child.wait_with_output())
        .await
        .unwrap_or_else(|_| panic!("{program} {args:?} hangs"))
        .unwrap()
}

/// Runs a program that must succeed, and gives what it said.
pub(crate) async fn succeed(program: &str, args: &[&str]) -> String {
    let output = run(program, args).await;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {args:?}: {}\n{stdout}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}

/// Runs Python statements with a libnbd handle `h` that is not connected, and gives what they print.
pub(crate) async fn nbdsh(script: &str) -> String {
    let script = format!("import nbd\nh = nbd.NBD()\n{script}\n");
    // The distribution's Python has the distribution's libnbd.
    let output = run_with_input("/usr/bin/python3", &["-"], &script).await;
    assert!(
        output.status.success(),
        "{script}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// What no program in these tests takes.
const LIMIT: Duration = Duration::from_secs(120);
