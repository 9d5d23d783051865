//! Pods on this machine: two directories, one after the other.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::{CONTENTS, FILE, IMAGE, Orbd, Place, Steps};
use crate::command::output;
use crate::interrupt::Interrupt;

/// This machine.
pub(crate) struct Host {
    dir: PathBuf,
    device_type: Option<String>,
    interrupt: Interrupt,
    /// What has to be unmounted if anything goes wrong: the command for it, and where.
    mounted: Option<(Vec<String>, PathBuf)>,
}

impl Host {
    pub(crate) fn new(dir: &Path, device_type: Option<&str>, interrupt: Interrupt) -> Self {
        Self {
            dir: dir.to_owned(),
            device_type: device_type.map(str::to_owned),
            interrupt,
            mounted: None,
        }
    }

    /// Runs an `orbd` command and returns what it printed.
    pub(crate) fn orbd(&self, orbd: &Orbd, args: &[&str]) -> anyhow::Result<String> {
        run(&orbd.words(args), &self.dir, || self.interrupt.check())
    }

    fn mount(&mut self, orbd: &Orbd, dir: &Path) -> anyhow::Result<()> {
        fs::create_dir(dir)?;
        let path = dir.display().to_string();
        let mut args = vec!["mount", IMAGE, &path];
        if let Some(device_type) = &self.device_type {
            args.extend(["--device-type", device_type]);
        }
        // Before it is: an interrupted mount has to be undone, too.
        self.mounted = Some((orbd.words(&["umount", &path]), dir.to_owned()));
        self.orbd(orbd, &args)?;
        let mount = find_mount(dir)?.context("orbd mount succeeded, but nothing is mounted")?;
        ensure!(mount.fs_type == "ext4", "{} is mounted", mount.fs_type);
        println!("          {} on {path}", mount.source);
        Ok(())
    }

    fn unmount(&mut self, orbd: &Orbd, dir: &Path) -> anyhow::Result<()> {
        let mount = find_mount(dir)?.context("it is not mounted any more")?;
        self.orbd(orbd, &["umount", &dir.display().to_string()])?;
        ensure!(find_mount(dir)?.is_none(), "it is still mounted");
        self.mounted = None;
        let devices = self.orbd(orbd, &["device", "list"])?;
        let is_listed = devices
            .split_ascii_whitespace()
            .any(|word| word == mount.source);
        ensure!(!is_listed, "{} is still mapped:\n{devices}", mount.source);
        Ok(())
    }
}

impl Place for Host {
    fn write(&mut self, orbd: &Orbd, steps: &mut Steps) -> anyhow::Result<()> {
        let dir = self.dir.join("first-pod");
        steps.run("first pod: the image is mounted", || self.mount(orbd, &dir))?;
        steps.run("first pod: \"hello ceph\" is written", || {
            let mut file = File::create_new(dir.join(FILE))?;
            file.write_all(CONTENTS.as_bytes())?;
            Ok(file.sync_all()?)
        })?;
        steps.run("first pod: unmounted, unmapped, gone", || {
            self.unmount(orbd, &dir)
        })
    }

    fn read_back(&mut self, orbd: &Orbd, steps: &mut Steps) -> anyhow::Result<()> {
        let dir = self.dir.join("second-pod");
        steps.run("second pod: the image is mounted elsewhere", || {
            self.mount(orbd, &dir)
        })?;
        steps.run("second pod: the file says \"hello ceph\"", || {
            let found = fs::read_to_string(dir.join(FILE))?;
            ensure!(found == CONTENTS, "it says {found:?}");
            Ok(())
        })?;
        steps.run("second pod: unmounted, unmapped, gone", || {
            self.unmount(orbd, &dir)
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let Some((words, dir)) = self.mounted.take() else {
            return;
        };
        if let Err(e) = run(&words, &self.dir, || Ok(())) {
            eprintln!("taking down: {e:#}");
        }
        if matches!(find_mount(&dir), Ok(Some(_))) {
            // Otherwise the directory, which is removed next, would be that of the image.
            if let Err(e) = output(Command::new("umount").arg("--lazy").arg(&dir)) {
                eprintln!("taking down: {e:#}");
            }
        }
    }
}

/// Runs a command to its end, within the limit, and returns what it printed.
///
/// It prints to a file: a daemon that it leaves behind would keep a pipe open. It gets no signals
/// from the terminal, so that taking down is not cut short by a second interrupt.
fn run(
    words: &[String],
    dir: &Path,
    may_go_on: impl Fn() -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let (program, args) = words.split_first().context("an empty command")?;
    let shown = words.join(" ");
    let path = dir.join("output");
    let file = File::create(&path)?;
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .process_group(0)
        .spawn()
        .with_context(|| shown.clone())?;
    let deadline = Instant::now() + COMMAND_LIMIT;
    let status: anyhow::Result<ExitStatus> = loop {
        if let Some(status) = child.try_wait()? {
            break Ok(status);
        }
        if let Err(e) = may_go_on() {
            break Err(e);
        }
        if Instant::now() >= deadline {
            break Err(anyhow::anyhow!(
                "not done after {} s",
                COMMAND_LIMIT.as_secs()
            ));
        }
        thread::sleep(POLL);
    };
    if status.is_err() {
        child.kill()?;
        child.wait()?;
    }
    let printed = fs::read_to_string(&path)?;
    match status {
        Ok(status) if status.success() => Ok(printed),
        Ok(status) => bail!("{shown}: {status}\n{printed}"),
        Err(e) => Err(e.context(format!("{shown}\n{printed}"))),
    }
}

/// A line of `/proc/self/mountinfo`.
struct Mount {
    fs_type: String,
    source: String,
}

/// What is mounted at `dir`, whose path holds no characters that are escaped there.
fn find_mount(dir: &Path) -> anyhow::Result<Option<Mount>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let wanted = dir.to_str().context("a path that is not text")?;
    let mut found = None;
    for line in table.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let mut right = right.split(' ').map(str::to_owned);
        if left.split(' ').nth(4) == Some(wanted)
            && let (Some(fs_type), Some(source)) = (right.next(), right.next())
        {
            found = Some(Mount { fs_type, source });
        }
    }
    Ok(found)
}

/// More than mapping, making a file system and mounting takes on a loaded machine.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(10);
