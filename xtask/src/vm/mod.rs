//! `cargo xtask vm`: a command on a stock Debian kernel, under qemu.
//!
//! The guest sees this machine's root read-only with a layer in memory on top, and this machine's
//! loopback as its own, so that programs built here and clusters running here are used as they are.

mod initramfs;
mod kernel;
mod qemu;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use minicluster::packages::{self, Package};

pub(crate) use qemu::{Guest, TimedOut};

/// The command, and the machine to run it in.
#[derive(Args)]
pub(crate) struct Task {
    /// Processors of the guest.
    #[arg(long, default_value_t = 2)]
    smp: u32,
    /// Memory of the guest, in MiB.
    #[arg(long, default_value_t = 2048)]
    memory: u32,
    /// Ends the guest after so many seconds, with status 124.
    #[arg(long, default_value_t = 300)]
    time_limit: u32,
    /// Leaves 127.0.0.0/8 to the guest: clusters are then started in it, not used from it.
    #[arg(long)]
    own_loopback: bool,
    /// The command, as for a shell; several words are joined by spaces.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Runs the command and ends with its status.
pub(crate) fn run(task: &Task) -> anyhow::Result<ExitCode> {
    let guest = Guest {
        smp: task.smp,
        memory_mib: task.memory,
        time_limit: Duration::from_secs(task.time_limit.into()),
        has_own_loopback: task.own_loopback,
        ..prepare()?
    };
    match guest.run(&task.command.join(" ")) {
        Ok(status) => Ok(ExitCode::from(status)),
        Err(e) if e.is::<TimedOut>() => {
            eprintln!("{e:#}");
            Ok(ExitCode::from(TIMED_OUT_STATUS))
        }
        Err(e) => Err(e),
    }
}

/// Everything a guest needs, made unless it is there from an earlier time.
pub(crate) fn prepare() -> anyhow::Result<Guest> {
    packages::ensure(PACKAGES)?;
    let cache = cache_dir();
    fs::create_dir_all(&cache)?;
    let kernel = kernel::provide(&cache)?;
    let initramfs = initramfs::provide(&kernel)?;
    Ok(Guest {
        kernel: kernel.vmlinux,
        initramfs,
        smp: 2,
        memory_mib: 2048,
        time_limit: Duration::from_secs(300),
        has_own_loopback: false,
    })
}

fn cache_dir() -> PathBuf {
    crate::workspace::target_dir().join("vm")
}

const PACKAGES: &[Package] = &[
    Package {
        name: "qemu-system-x86",
        proof: "qemu-system-x86_64",
        purpose: "the guest's machine",
    },
    Package {
        name: "busybox-static",
        proof: "busybox",
        purpose: "the programs of the initramfs",
    },
    Package {
        name: "cpio",
        proof: "cpio",
        purpose: "packs the initramfs",
    },
    Package {
        name: "xz-utils",
        proof: "xz",
        purpose: "unpacks kernels and modules",
    },
    Package {
        name: "zstd",
        proof: "zstd",
        purpose: "unpacks kernels and modules of later releases",
    },
];

/// As `timeout` has it.
const TIMED_OUT_STATUS: u8 = 124;
