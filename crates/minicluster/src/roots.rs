//! Root directories of other Debian systems, for releases of Ceph that this one does not have.
//!
//! A root is made once by `debootstrap` and kept: in the directory named by `ORBD_TEST_ROOTS`, or
//! `$XDG_CACHE_HOME/orbd/roots`, or `/var/cache/orbd/roots`. It is made under another name and
//! renamed when it is complete, so what has the right name can be used.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::packages::{self, Package, package};
use crate::{Error, Release};

/// The root that has `release`, made if it is not there yet, which takes some minutes.
pub(crate) fn ensure(release: Release) -> Result<PathBuf, Error> {
    let suite = release.suite().ok_or_else(|| {
        Error::Unsupported(format!(
            "Ceph {release} is in no Debian, and not installed here"
        ))
    })?;
    if !rustix::process::geteuid().is_root() {
        return Err(Error::RootNeeded { release });
    }
    ensure_in(&directory(), suite, |suite, root| {
        packages::ensure(BUILDING)?;
        build(suite, root)
    })
}

/// The root of `suite` in the directory `roots`, made by `build` if it is not there yet. Processes
/// and threads that want the same one wait for the first of them.
fn ensure_in(
    roots: &Path,
    suite: &str,
    build: impl FnOnce(&str, &Path) -> Result<(), Error>,
) -> Result<PathBuf, Error> {
    let root = roots.join(suite);
    if root.exists() {
        return Ok(root);
    }
    fs::create_dir_all(roots).map_err(Error::file(roots))?;
    let path = roots.join(format!("{suite}.lock"));
    let lock = File::create(&path).map_err(Error::file(&path))?;
    lock.lock().map_err(Error::file(&path))?;
    if !root.exists() {
        let partial = roots.join(format!("{suite}.partial"));
        // What an interrupted process left. Nothing is mounted in it: mounts go with their
        // processes.
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(Error::file(&partial))?;
        }
        build(suite, &partial)?;
        fs::rename(&partial, &root).map_err(Error::file(&root))?;
    }
    Ok(root)
}

/// The root that has `release`, if it is there.
pub(crate) fn find(release: Release) -> Option<PathBuf> {
    let root = directory().join(release.suite()?);
    root.exists().then_some(root)
}

fn directory() -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    match (variable(VARIABLE), variable("XDG_CACHE_HOME")) {
        (Some(roots), _) => roots.into(),
        (None, Some(cache)) => Path::new(&cache).join("orbd/roots"),
        (None, None) => "/var/cache/orbd/roots".into(),
    }
}

fn build(suite: &str, root: &Path) -> Result<(), Error> {
    tracing::info!(suite, root = %root.display(), "making a root");
    let script = Path::new(SCRIPTS).join(suite);
    let script = if script.exists() {
        script
    } else {
        Path::new(SCRIPTS).join(NEWEST_SCRIPT)
    };
    let mut debootstrap = confined("debootstrap");
    debootstrap
        .args(["--variant=minbase", "--force-check-gpg", suite])
        .arg(root)
        .arg(mirror())
        .arg(script);
    run(debootstrap, &format!("debootstrap {suite}"))?;

    let settings = [
        // A root is made anew rather than repaired, so there is nothing to be careful about.
        ("etc/dpkg/dpkg.cfg.d/root", "force-unsafe-io\n"),
        // Nothing is to be started by its installation.
        ("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n"),
    ];
    for (name, text) in settings {
        let path = root.join(name);
        let write = || {
            fs::write(&path, text)?;
            fs::set_permissions(&path, Permissions::from_mode(0o755))
        };
        write().map_err(Error::file(&path))?;
    }
    // Not by debootstrap: it does not know what stands in for a virtual package.
    let mut install = confined("sh");
    install.args(["-c", INSTALL, "sh"]).arg(root).args(PROGRAMS);
    run(install, &format!("apt-get install in {}", root.display()))
}

/// A program in mount and process namespaces of its own: nothing that it mounts or starts is left
/// when it ends, when it takes too long, or when this process dies.
fn confined(program: &str) -> Command {
    let limit = BUILD_LIMIT_SECONDS.to_string();
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL"])
        .args([
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .args(["timeout", "--kill-after=5", &limit, program])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    command
}

fn run(mut command: Command, shown: &str) -> Result<(), Error> {
    let output = command.output().map_err(|source| Error::Spawn {
        program: shown.to_owned(),
        source,
    })?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let end = lines.get(lines.len().saturating_sub(SHOWN_LINES)..);
    Err(Error::Command {
        command: shown.to_owned(),
        status: output.status.to_string(),
        output: end.unwrap_or_default().join("\n"),
    })
}

/// The mirror that this machine's own packages come from, if it is one of Debian.
fn mirror() -> String {
    let asked = Command::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(REPO_URI)",
            "Origin: Debian",
            "Component: main",
        ])
        .args(["Identifier: Packages", "Label: Debian"])
        .stdin(Stdio::null())
        .output();
    // Where there is no apt there is no mirror of its own either.
    let text = asked.map_or_else(
        |_| String::new(),
        |o| String::from_utf8_lossy(&o.stdout).into(),
    );
    mirror_among(&text).to_owned()
}

fn mirror_among(uris: &str) -> &str {
    let is_usable = |uri: &&str| uri.starts_with("http://") || uri.starts_with("https://");
    let mut uris = uris.lines().map(|uri| uri.trim_end_matches('/'));
    uris.find(is_usable).unwrap_or(MIRROR)
}

/// The programs of a release, and fio for the release's own librbd.
const PROGRAMS: [&str; 5] = ["ceph-mon", "ceph-mgr", "ceph-osd", "ceph-common", "fio"];

/// Signatures are checked, their age is not: those of retired systems are not renewed, and a mirror
/// may be behind.
const INSTALL: &str = r#"
root=$1; shift
mount -t proc proc "$root/proc" || exit 1
exec chroot "$root" sh -c '
    apt-get -q -o Acquire::Check-Valid-Until=false update &&
    apt-get -q -y --no-install-recommends install "$@" &&
    apt-get clean &&
    rm -rf /var/lib/apt/lists/* /usr/share/doc/* /usr/share/man/*
' sh "$@"
"#;

/// What roots are made with.
const BUILDING: &[Package] = &[
    package(
        "debootstrap",
        "debootstrap",
        "makes roots of other Debian systems",
    ),
    package(
        "debian-archive-keyring",
        "/usr/share/keyrings/debian-archive-keyring.gpg",
        "the keys that Debian's archive is signed with",
    ),
    package("gpgv", "gpgv", "checks its signatures"),
];

/// Names a directory of roots to use instead of the usual one.
const VARIABLE: &str = "ORBD_TEST_ROOTS";
const MIRROR: &str = "http://deb.debian.org/debian";
const SCRIPTS: &str = "/usr/share/debootstrap/scripts";
/// The script for Debian systems newer than debootstrap itself; since 2014 they are all the same.
const NEWEST_SCRIPT: &str = "sid";
/// Enough for a slow mirror.
const BUILD_LIMIT_SECONDS: u32 = 1800;
const SHOWN_LINES: usize = 25;

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn the_mirror_is_one_that_debootstrap_can_use() {
        assert_eq!(mirror_among(""), MIRROR);
        assert_eq!(mirror_among("file:/media/cdrom/\n"), MIRROR);
        let several = "cdrom:[x]/\nhttps://mirror.example/debian/\nhttp://other.example/debian\n";
        assert_eq!(mirror_among(several), "https://mirror.example/debian");
    }

    /// Makes a root of one file; fails when something is there already.
    fn make(root: &Path) -> Result<(), Error> {
        fs::create_dir(root).map_err(Error::file(root))?;
        fs::write(root.join("program"), "").map_err(Error::file(root))
    }

    #[test]
    fn a_root_is_made_once_by_whoever_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let roots = dir.path().join("roots");
        let made = AtomicU32::new(0);
        let arrived = Barrier::new(4);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    arrived.wait();
                    let root = ensure_in(&roots, "trixie", |_, root| {
                        made.fetch_add(1, Ordering::Relaxed);
                        make(root)
                    });
                    assert!(root.unwrap().join("program").exists());
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }

    #[test]
    fn a_root_that_is_not_complete_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let failed = ensure_in(dir.path(), "trixie", |_, root| {
            make(root)?;
            Err(Error::Unsupported("no network".into()))
        });
        assert!(matches!(failed, Err(Error::Unsupported(_))), "{failed:?}");
        assert!(!dir.path().join("trixie").exists());
        let root = ensure_in(dir.path(), "trixie", |_, root| make(root)).unwrap();
        assert_eq!(root, dir.path().join("trixie"));
        assert!(!dir.path().join("trixie.partial").exists());
        ensure_in(dir.path(), "trixie", |_, _| panic!("it is there")).unwrap();
    }
}
