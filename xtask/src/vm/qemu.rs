//! A guest: one command from boot to power-off.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};

/// A machine that can be booted any number of times; it forgets everything in between.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
    pub(crate) smp: u32,
    pub(crate) memory_mib: u32,
    pub(crate) time_limit: Duration,
    /// Whether 127.0.0.0/8 in the guest is its own rather than this machine's.
    pub(crate) has_own_loopback: bool,
}

/// The guest had to be ended.
#[derive(Debug)]
pub(crate) struct TimedOut(Duration);

impl std::fmt::Display for TimedOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the guest did not end within {} s", self.0.as_secs())
    }
}

impl std::error::Error for TimedOut {}

impl Guest {
    /// Boots, runs a line of shell, and returns its status. What it prints is printed here, its
    /// standard error mixed in.
    pub(crate) fn run(&self, command: &str) -> anyhow::Result<u8> {
        let io = tempfile::tempdir()?;
        fs::write(io.path().join("command"), format!("{command}\n"))?;
        let mut qemu = self
            .command(io.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("qemu-system-x86_64")?;
        let output = qemu.stdout.take().context("qemu's output")?;
        let (ended, end) = mpsc::channel();
        let printer = thread::spawn(move || {
            print_plain(output);
            // The other side is gone when it has ended the guest for its time limit.
            let _ = ended.send(());
        });
        let is_in_time = end.recv_timeout(self.time_limit).is_ok();
        if !is_in_time {
            qemu.kill()?;
        }
        let _ = printer.join();
        finish(&mut qemu)?;
        let console = || console_tail(io.path());
        if !is_in_time {
            return Err(anyhow::Error::new(TimedOut(self.time_limit)).context(console()));
        }
        match fs::read_to_string(io.path().join("status")) {
            Ok(status) if !status.trim().is_empty() => Ok(status.trim().parse()?),
            _ => bail!("the guest ended without a status{}", console()),
        }
    }

    fn command(&self, io: &Path) -> Command {
        // Tied to this thread, which waits for it. An interrupt from the terminal ends it, too.
        let mut qemu = Command::new("setpriv");
        qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        qemu.args(["-nodefaults", "-no-user-config", "-no-reboot"]);
        qemu.args(["-display", "none", "-M", "q35"]);
        qemu.args(["-accel", "tcg,thread=multi,tb-size=512"]);
        // Without 5-level page tables, which cost time and bring nothing here.
        qemu.args(["-cpu", "max,la57=off"]);
        qemu.args(["-smp", &self.smp.to_string()]);
        qemu.args(["-m", &self.memory_mib.to_string()]);
        qemu.arg("-kernel").arg(&self.kernel);
        qemu.arg("-initrd").arg(&self.initramfs);
        let mut kernel_line = KERNEL_LINE.to_vec();
        if !self.has_own_loopback {
            kernel_line.extend(GUEST_ADDRESSES);
            qemu.args(["-netdev", "user,id=net"]);
            qemu.args(["-device", "virtio-net-pci,netdev=net,romfile="]);
        }
        qemu.args(["-append", &kernel_line.join(" ")]);
        let share = "security_model=none,multidevs=remap";
        qemu.args([
            "-fsdev",
            &format!("local,id=root,path=/,readonly=on,{share}"),
        ]);
        qemu.args(["-device", "virtio-9p-pci,fsdev=root,mount_tag=root"]);
        let io_path = io.display();
        qemu.args(["-fsdev", &format!("local,id=io,path={io_path},{share}")]);
        qemu.args(["-device", "virtio-9p-pci,fsdev=io,mount_tag=io"]);
        qemu.args(["-device", "virtio-rng-pci"]);
        let console = io.join("console").display().to_string();
        qemu.args(["-serial", &format!("file:{console}")]);
        qemu.args(["-serial", "stdio"]);
        qemu
    }
}

fn finish(qemu: &mut Child) -> anyhow::Result<()> {
    qemu.wait().context("qemu-system-x86_64").map(drop)
}

/// Copies to standard output without the carriage returns that a serial line adds.
fn print_plain(mut from: impl Read) {
    let mut buffer = [0; 4096];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        let mut plain: Vec<u8> = buffer.iter().copied().take(len).collect();
        plain.retain(|byte| *byte != b'\r');
        let mut stdout = std::io::stdout().lock();
        // Nobody is left to tell when standard output is closed.
        let _ = stdout.write_all(&plain).and_then(|()| stdout.flush());
    }
}

fn console_tail(io: &Path) -> String {
    let bytes = fs::read(io.join("console")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines
        .get(lines.len().saturating_sub(20)..)
        .unwrap_or_default();
    if tail.is_empty() {
        return String::new();
    }
    format!("; its console:\n{}", tail.join("\n"))
}

/// No check whether the timer ticks: it counts the ticks of so many cycles, and a processor that is emulated on a loaded machine
/// has too few by then, upon which the kernel gives up.
const KERNEL_LINE: [&str; 9] = [
    "console=ttyS0",
    "quiet",
    "panic=-1",
    "mitigations=off",
    "nokaslr",
    "audit=0",
    "tsc=reliable",
    "no_timer_check",
    "random.trust_cpu=on",
];

/// What qemu's user-mode network gives its guests.
const GUEST_ADDRESSES: [&str; 2] = ["guest_address=10.0.2.15", "guest_gateway=10.0.2.2"];
