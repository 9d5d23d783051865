//! A network of the clients' own: the daemons' address there belongs to the proxies, so that clients
//! reach nothing but them, at the very addresses that the maps have.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace that has no name: it goes when this process and the clients have gone, however
/// they go.
pub(super) struct Network {
    /// Lives as long as its standard input does, and keeps the path to the namespace valid.
    holder: Child,
    namespace: File,
}

impl Network {
    /// Makes a namespace with the loopback interface, and all of 127.0.0.0/8 with it.
    pub(super) fn new() -> anyhow::Result<Self> {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", HOLD])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("unshare")?;
        let mut line = String::new();
        if let Some(stdout) = holder.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let path = format!("/proc/{}/ns/net", holder.id());
        let namespace = File::open(&path).with_context(|| path.clone());
        let network = namespace.map(|namespace| Self { holder, namespace })?;
        ensure!(line == "ready\n", "no network namespace: is this root?");
        Ok(network)
    }

    /// What goes before a command that is to run in this network; it is replaced by the command.
    pub(super) fn prefix(&self) -> [String; 2] {
        let pid = self.holder.id();
        ["nsenter".to_owned(), format!("--net=/proc/{pid}/ns/net")]
    }

    /// Listens in this network.
    pub(super) fn listen(&self, addresses: Vec<SocketAddr>) -> anyhow::Result<Vec<TcpListener>> {
        let namespace = self.namespace.try_clone()?;
        // Sockets stay in the network that they were made in; a thread can change over to it.
        let thread = thread::spawn(move || -> io::Result<Vec<TcpListener>> {
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), network)?;
            addresses.into_iter().map(TcpListener::bind).collect()
        });
        let listeners = thread.join().ok().context("a thread panicked")?;
        listeners.context("listening in the clients' network")
    }

    /// Cuts the whole network off, without a word to anybody, or puts it back.
    pub(super) fn set_up(&self, is_up: bool) -> anyhow::Result<()> {
        let [nsenter, namespace] = self.prefix();
        let state = if is_up { "up" } else { "down" };
        let status = Command::new(nsenter)
            .arg(namespace)
            .args(["ip", "link", "set", "lo", state])
            .status()?;
        ensure!(status.success(), "ip link set lo {state}: {status}");
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        // An error means that it is gone.
        let _ = self.holder.wait();
    }
}

const HOLD: &str = "ip link set lo up && echo ready && exec cat >/dev/null";
