//! Makes the files of a new cluster: configuration, keys, and the stores of monitors and OSDs.
//!
//! Everything is made offline by the daemons' own `--mkfs`. The keys of all daemons are part of
//! the monitors' first state, so that nothing has to be asked of the running cluster but to
//! register the OSDs.

use std::fs;
use std::process::Stdio;
use std::thread;

use crate::address::Reservation;
use crate::builder::Builder;
use crate::ciphers::Ciphers;
use crate::conf::Conf;
use crate::keyring::{self, KeyMaker};
use crate::launcher::Launcher;
use crate::layout::Layout;
use crate::{Daemon, Error, Release};

/// A cluster whose files are being made.
pub(crate) struct Bootstrap<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) launcher: &'a Launcher,
    pub(crate) options: &'a Builder,
    pub(crate) release: Release,
    /// Nothing if the release knows one type of keys only.
    pub(crate) ciphers: Option<Ciphers>,
    pub(crate) fsid: &'a str,
    pub(crate) reserved: &'a Reservation,
}

/// The commands for the running monitors that complete what is in the files.
pub(crate) struct Registration {
    lines: String,
}

impl Bootstrap<'_> {
    /// Makes all files.
    pub(crate) fn run(&self) -> Result<Registration, Error> {
        let Self {
            layout,
            options,
            fsid,
            reserved,
            ..
        } = *self;
        for dir in [layout.run(), layout.logs()] {
            fs::create_dir_all(&dir).map_err(Error::file(&dir))?;
        }
        let mons = &reserved.mons;
        let text = Conf {
            layout,
            options,
            fsid,
            ciphers: self.ciphers,
            mons,
            ip: reserved.ip,
        }
        .to_text();
        fs::write(layout.conf(), text).map_err(Error::file(layout.conf()))?;

        let osds: Vec<Daemon> = Daemon::osds(options.osds).collect();
        let uuids: Vec<String> = osds
            .iter()
            .map(|_| random_uuid())
            .collect::<Result<_, _>>()?;
        self.make_keys(&osds)?;
        self.make_monmap()?;

        thread::scope(|scope| {
            let mut jobs = Vec::new();
            for mon in Daemon::mons(options.mons) {
                jobs.push(scope.spawn(move || self.make_mon(mon)));
            }
            for (osd, uuid) in osds.iter().zip(&uuids) {
                jobs.push(scope.spawn(move || self.make_osd(*osd, uuid)));
            }
            jobs.into_iter().try_for_each(|job| match job.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;

        // Otherwise the manager makes a pool of its own, and ids are not what tests expect. The
        // monitors know the options of modules only once a manager has told them.
        let option = "mgr/devicehealth/enable_monitoring";
        let mut lines = format!("config set mgr {option} false --force\n");
        let old_keys = self.ciphers.map_or(&[][..], Ciphers::unwanted_warnings);
        // Debian's manager of this release cannot load them, and serves what it does itself.
        let modules = (self.release == Release::Reef).then_some(&"MGR_MODULE_DEPENDENCY");
        for warning in old_keys.iter().chain(modules) {
            lines.push_str(&format!("health mute {warning} --sticky\n"));
        }
        for (osd, uuid) in osds.iter().zip(&uuids) {
            lines.push_str(&format!("osd new {uuid} {}\n", osd.id()));
        }
        Ok(Registration { lines })
    }

    fn make_keys(&self, osds: &[Daemon]) -> Result<(), Error> {
        let Self {
            layout,
            launcher,
            ciphers,
            ..
        } = *self;
        let keys = KeyMaker { launcher, ciphers };
        let mut all = vec![keys.monitor()?];
        let admin = keys.administrator()?;
        keyring::write(&layout.client_keyring("client.admin"), &[&admin])?;
        all.push(admin);
        for daemon in osds.iter().copied().chain([Daemon::Mgr]) {
            let dir = layout.data(daemon);
            fs::create_dir_all(&dir).map_err(Error::file(&dir))?;
            let entry = keys.daemon(daemon)?;
            keyring::write(&layout.daemon_keyring(daemon), &[&entry])?;
            all.push(entry);
        }
        keyring::write(&layout.mon_keyring(), &all.iter().collect::<Vec<_>>())
    }

    fn make_monmap(&self) -> Result<(), Error> {
        let mut args = vec![
            "--create".to_owned(),
            "--fsid".to_owned(),
            self.fsid.to_owned(),
        ];
        for (daemon, address) in Daemon::mons(self.options.mons).zip(&self.reserved.mons) {
            args.extend(["--addv".to_owned(), daemon.id(), address.to_addrvec()]);
        }
        let ciphers = self.ciphers.iter().flat_map(|c| c.monmaptool_args());
        args.extend(ciphers.map(str::to_owned));
        args.push(self.layout.monmap().display().to_string());
        self.launcher.run("monmaptool", &args, |_| {}).map(drop)
    }

    fn make_mon(&self, daemon: Daemon) -> Result<(), Error> {
        let Self {
            layout, launcher, ..
        } = *self;
        let dir = layout.data(daemon);
        fs::create_dir_all(&dir).map_err(Error::file(&dir))?;
        launcher
            .run("ceph-mon", &["--mkfs", "-i", &daemon.id()], |command| {
                command.arg("-c").arg(layout.conf());
                command.arg("--monmap").arg(layout.monmap());
                command.arg("--keyring").arg(layout.mon_keyring());
            })
            .map(drop)
    }

    fn make_osd(&self, daemon: Daemon, uuid: &str) -> Result<(), Error> {
        let Self {
            layout, launcher, ..
        } = *self;
        // The monitors are not there yet to be asked for their part of the configuration.
        let args = [
            "--mkfs",
            "--no-mon-config",
            "-i",
            &daemon.id(),
            "--osd-uuid",
            uuid,
        ];
        launcher
            .run("ceph-osd", &args, |command| {
                command.arg("-c").arg(layout.conf());
            })
            .map(drop)
    }
}

impl Registration {
    /// Tells the running monitors, all in one go of the `ceph` command.
    pub(crate) fn run(&self, layout: &Layout, launcher: &Launcher) -> Result<(), Error> {
        let path = layout.run().join("registration");
        fs::write(&path, &self.lines).map_err(Error::file(&path))?;
        let file = fs::File::open(&path).map_err(Error::file(&path))?;
        launcher
            .run::<&str>("ceph", &["--connect-timeout", "60"], |command| {
                command
                    .arg("-c")
                    .arg(layout.conf())
                    .stdin(Stdio::from(file));
            })
            .map(drop)
    }
}

/// A random version 4 UUID, made by the kernel.
pub(crate) fn random_uuid() -> Result<String, Error> {
    let path = "/proc/sys/kernel/random/uuid";
    let text = fs::read_to_string(path).map_err(Error::file(path))?;
    Ok(text.trim().to_owned())
}
