//! `cargo xtask demo`: the whole way once, from no cluster at all to a file that is read back.
//!
//! A cluster is started, an image is created in it and mounted as ext4, a file is written, and
//! everything is undone; mounted once more elsewhere, the file is there. In the end the image as
//! this project exports it is compared with what upstream's `rbd` exports.

mod guest;
mod host;
mod steps;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use clap::Args;
use minicluster::{Cluster, packages};
use serde_json::Value;

use crate::command::{checked, output};
use crate::interrupt::Interrupt;
use crate::{vm, workspace};
use host::Host;
use steps::Steps;

/// How the story is told.
#[derive(Args)]
pub(crate) struct Task {
    /// The kind of device the image is mounted from, as `orbd mount` has it; its own choice unless
    /// given.
    #[arg(long)]
    device_type: Option<String>,
    /// Lets the two pods be two virtual machines with the distribution's kernel, and mounts from
    /// its nbd driver.
    #[arg(long, conflicts_with = "device_type")]
    vm: bool,
    /// Builds with optimisations.
    #[arg(long)]
    release: bool,
    /// Uses this `orbd` instead of building one.
    #[arg(long, value_name = "PATH")]
    orbd: Option<PathBuf>,
}

/// Who mounts: each call is a pod that comes and goes.
trait Place {
    /// Mounts the image, writes the file, and takes everything down.
    fn write(&mut self, orbd: &Orbd, steps: &mut Steps) -> anyhow::Result<()>;
    /// Mounts the image elsewhere, compares the file, and takes everything down.
    fn read_back(&mut self, orbd: &Orbd, steps: &mut Steps) -> anyhow::Result<()>;
}

/// The `orbd` command with what it needs to reach the cluster.
struct Orbd {
    binary: PathBuf,
    conf: PathBuf,
    keyring: PathBuf,
}

impl Orbd {
    fn words(&self, args: &[&str]) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        let mut words = vec![path(&self.binary)];
        words.extend(args.iter().map(|&arg| arg.to_owned()));
        words.extend(["--conf".to_owned(), path(&self.conf)]);
        words.extend(["--id".to_owned(), USER.to_owned()]);
        words.extend(["--keyring".to_owned(), path(&self.keyring)]);
        words
    }
}

/// Tells the story; an error says at which step it failed.
pub(crate) fn run(task: &Task) -> anyhow::Result<()> {
    let interrupt = Interrupt::catch()?;
    let mut steps = Steps::new(interrupt);
    match tell(task, &mut steps) {
        Ok(()) => {
            println!(
                "\nThe demo succeeded in {}: what the first pod wrote, the second pod read, and \
                 upstream's rbd sees the same image.",
                steps.total()
            );
            Ok(())
        }
        Err(e) => Err(e.context(format!("the demo FAILED at step {}", steps.current()))),
    }
}

fn tell(task: &Task, steps: &mut Steps) -> anyhow::Result<()> {
    let binary = steps.run("the tools are there", || {
        packages::ensure(packages::CLUSTER)?;
        packages::ensure(packages::FILE_SYSTEMS)?;
        match &task.orbd {
            Some(path) => std::fs::canonicalize(path).context("orbd"),
            None if task.release => workspace::build_orbd(workspace::Profile::Release),
            None => workspace::build_orbd(workspace::Profile::Dev),
        }
    })?;
    steps.run("orbd is linked with neither librados nor librbd", || {
        check_linkage(&binary)
    })?;
    let dir = tempfile::Builder::new().prefix("orbd-demo-").tempdir()?;
    // After the directory, so that it is undone before the directory goes; and before the cluster
    // is, which the mappings need until they are undone.
    let cluster = steps.run("a cluster is up: one monitor, one manager, one OSD", || {
        Ok(Cluster::builder().start()?)
    })?;
    println!("          {} at {}", cluster.fsid(), cluster.mon_host());
    let keyring = steps.run("pool rbd and user client.demo are created", || {
        cluster.create_pool("rbd", 8)?;
        let caps = [("mon", "profile rbd"), ("osd", "profile rbd pool=rbd")];
        Ok(cluster.create_user(&format!("client.{USER}"), &caps)?)
    })?;
    let orbd = Orbd {
        binary,
        conf: cluster.conf_path(),
        keyring,
    };
    let mut host = Host::new(dir.path(), task.device_type.as_deref(), steps.interrupt());
    steps.run("orbd creates ceph-image, 128 MiB", || {
        host.orbd(&orbd, &["create", IMAGE, "--size", "128M"])
            .map(drop)
    })?;
    steps.run("upstream's rbd sees 32 objects of 4 MiB", || {
        check_image(&cluster)
    })?;

    let mut guest;
    let place: &mut dyn Place = if task.vm {
        guest = guest::Machine::new(steps.run("the virtual machine is there", vm::prepare)?);
        &mut guest
    } else {
        &mut host
    };
    place.write(&orbd, steps)?;
    place.read_back(&orbd, steps)?;

    let ours = dir.path().join("ours.img");
    let theirs = dir.path().join("theirs.img");
    steps.run("orbd exports the image", || {
        host.orbd(&orbd, &["export", IMAGE, &ours.display().to_string()])
            .map(drop)
    })?;
    steps.run("upstream's rbd exports the image", || {
        cluster.rbd(&[
            "export",
            "--no-progress",
            IMAGE,
            &theirs.display().to_string(),
        ])?;
        Ok(())
    })?;
    steps.run("the two exports are byte-identical", || {
        ensure!(
            std::fs::metadata(&ours)?.len() == IMAGE_BYTES,
            "the export is of another size"
        );
        checked(Command::new("cmp").arg(&ours).arg(&theirs))
    })?;
    steps.run("e2fsck -fn finds nothing to repair", || {
        checked(Command::new("e2fsck").arg("-fn").arg(&ours))
    })?;
    steps.run("the cluster is taken down", || Ok(cluster.destroy()?))
}

fn check_linkage(binary: &Path) -> anyhow::Result<()> {
    // A static executable makes ldd fail, and needs no looking at.
    let libraries = output(Command::new("ldd").arg(binary)).unwrap_or_default();
    let found: Vec<&str> = libraries
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("librados") || line.starts_with("librbd"))
        .collect();
    ensure!(found.is_empty(), "it needs {}", found.join(", "));
    Ok(())
}

fn check_image(cluster: &Cluster) -> anyhow::Result<()> {
    let text = cluster.rbd(&["info", "--format", "json", IMAGE])?;
    let info: Value = serde_json::from_str(&text)?;
    let number = |name: &str| info.get(name).and_then(Value::as_u64);
    let seen = (number("size"), number("objects"), number("order"));
    ensure!(
        seen == (Some(IMAGE_BYTES), Some(32), Some(22)),
        "it sees {text}"
    );
    Ok(())
}

const IMAGE: &str = "ceph-image";
const IMAGE_BYTES: u64 = 128 << 20;
const USER: &str = "demo";
const FILE: &str = "greeting";
const CONTENTS: &str = "hello ceph\n";
