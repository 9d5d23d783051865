//! The Debian packages that clusters and tests take their programs from.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::Error;

/// A Debian package, and how to see that it is there.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// Its name.
    pub name: &'static str,
    /// A program it brings, to be found on the path; or an absolute path.
    pub proof: &'static str,
    /// What it is needed for.
    pub purpose: &'static str,
}

pub(crate) const fn package(
    name: &'static str,
    proof: &'static str,
    purpose: &'static str,
) -> Package {
    Package {
        name,
        proof,
        purpose,
    }
}

/// What a cluster is made of.
pub const CLUSTER: &[Package] = &[
    package("ceph-mon", "ceph-mon", "the monitors"),
    package(
        "ceph-mgr",
        "ceph-mgr",
        "the manager: statistics, and orders that go through it",
    ),
    package("ceph-osd", "ceph-osd", "the OSDs"),
    package(
        "ceph-common",
        "ceph",
        "ceph, rados, rbd: set-up and the other side of comparisons",
    ),
    package(
        "ceph-base",
        "osdmaptool",
        "osdmaptool, monmaptool, crushtool",
    ),
    package(
        "util-linux",
        "setpriv",
        "ties the daemons to the process that owns them",
    ),
];

/// What makes, checks and mounts file systems on images.
pub const FILE_SYSTEMS: &[Package] = &[
    package(
        "e2fsprogs",
        "mkfs.ext4",
        "ext4 file systems and their check",
    ),
    package("mount", "umount", "mounting them"),
];

/// What the tests compare with and drive images by, besides the cluster itself.
pub const TESTS: &[Package] = &[
    package("rbd-nbd", "rbd-nbd", "upstream's mapper, for comparison"),
    package(
        "fio",
        "fio",
        "load with verification, through librbd, NBD and block devices",
    ),
    package("libnbd-bin", "nbdinfo", "nbdinfo, nbdcopy: an NBD client"),
    package(
        "nbdkit",
        "nbdkit",
        "an NBD server and fault filters to compare with",
    ),
    package(
        "python3-libnbd",
        "nbdsh",
        "nbdsh: an NBD client that can be scripted",
    ),
    package(
        "qemu-utils",
        "qemu-img",
        "qemu-img, qemu-io: another NBD client",
    ),
    package(
        "fuse3",
        "fusermount3",
        "mounting through FUSE as an ordinary user",
    ),
    package("xfsprogs", "mkfs.xfs", "xfs file systems and their check"),
    package("btrfs-progs", "mkfs.btrfs", "btrfs, to be recognised"),
    package("cryptsetup-bin", "cryptsetup", "LUKS, to be recognised"),
    package("fdisk", "sfdisk", "partition tables, to be recognised"),
    package("iproute2", "ip", "network namespaces"),
    package("dnsmasq-base", "dnsmasq", "a name server"),
    package("valgrind", "valgrind", "counting instructions"),
];

/// Images through librbd as an NBD server, and networks of one's own.
pub const QEMU_RBD: &[Package] = &[
    package("qemu-utils", "qemu-nbd", "qemu-nbd: an NBD server"),
    package(
        "qemu-block-extra",
        "/usr/lib/x86_64-linux-gnu/qemu/block-rbd.so",
        "its way to librbd",
    ),
];

/// What measures, and what is measured against, besides the cluster's own programs.
pub const BENCH: &[Package] = &[
    package("fio", "fio", "load on NBD servers and on librbd"),
    package(
        "qemu-utils",
        "qemu-nbd",
        "qemu-nbd: the NBD server to compare with",
    ),
    package(
        "qemu-block-extra",
        "/usr/lib/x86_64-linux-gnu/qemu/block-rbd.so",
        "its way to librbd",
    ),
];

/// Sees to it that all of `packages` are installed.
///
/// Missing ones are installed by `apt-get` when this process is root.
///
/// # Errors
///
/// [`Error::NotInstalled`] with the command to type when it is not root, and [`Error::Command`]
/// with what `apt-get` said when the installation fails.
pub fn ensure(packages: &[Package]) -> Result<(), Error> {
    let missing: Vec<&Package> = packages.iter().filter(|p| !is_installed(p)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        return Err(not_installed(&missing));
    }
    // The tests of one process ask at the same time; the first one installs for all.
    let _turn = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let missing: Vec<&Package> = missing.into_iter().filter(|p| !is_installed(p)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    apt_get(&["update"])?;
    let mut names: Vec<String> = Vec::new();
    let mut args = vec!["install", "-y", "--no-install-recommends"];
    for package in &missing {
        names.push(package.name.to_owned());
        let exact = exact_dependencies(&record(package)?, packages);
        if !exact.is_empty() {
            args.push("--allow-downgrades");
        }
        names.extend(exact);
    }
    tracing::info!(packages = names.join(" "), "installing");
    args.extend(names.iter().map(String::as_str));
    apt_get(&args)?;
    let missing: Vec<&Package> = missing.into_iter().filter(|p| !is_installed(p)).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(not_installed(&missing))
    }
}

/// Whether a program is found where shells of this machine look for it, or in the directories of
/// the administrator's programs, which ordinary users do not search.
#[must_use]
pub fn is_program_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(Into::into))
        .any(|dir| dir.join(program).is_file())
}

fn is_installed(package: &Package) -> bool {
    if package.proof.starts_with('/') {
        Path::new(package.proof).exists()
    } else {
        is_program_there(package.proof)
    }
}

fn not_installed(missing: &[&Package]) -> Error {
    Error::NotInstalled {
        programs: missing.iter().map(|p| p.proof.to_owned()).collect(),
        packages: missing.iter().map(|p| p.name.to_owned()).collect(),
    }
}

/// What the archive says about the version of a package that would be installed.
fn record(package: &Package) -> Result<String, Error> {
    run("apt-cache", &["show", "--no-all-versions", package.name])
}

/// The packages of a group that a package needs in one version alone, as `apt-get install` wants them:
/// an installed one may be of another, newer or older, and would not be touched unless named.
fn exact_dependencies(record: &str, group: &[Package]) -> Vec<String> {
    let mut lines = record.lines();
    let depends = lines.find_map(|line| line.strip_prefix("Depends: "));
    let alternatives = depends.unwrap_or_default().split([',', '|']);
    let exact = alternatives.filter_map(|alternative| {
        let (name, version) = alternative.trim().split_once(" (= ")?;
        let is_meant = group.iter().any(|package| package.name == name);
        is_meant.then(|| format!("{name}={}", version.trim_end_matches(')')))
    });
    exact.collect()
}

fn apt_get(args: &[&str]) -> Result<(), Error> {
    // Another process may be installing, too.
    let patient: &[&str] = &["-q", "-o", "DPkg::Lock::Timeout=600"];
    run("apt-get", &[patient, args].concat()).map(drop)
}

fn run(program: &str, args: &[&str]) -> Result<String, Error> {
    let output = Command::new(program)
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Spawn {
            program: program.into(),
            source,
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Command {
        command: format!("{program} {}", args.join(" ")),
        status: output.status.to_string(),
        output: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

static INSTALLING: Mutex<()> = Mutex::new(());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_to_install() {
        let absent = package("no-such-package", "no-such-program", "nothing");
        let present = package("dash", "sh", "shells");
        assert!(is_installed(&present));
        assert!(!is_installed(&absent));
        assert_eq!(
            not_installed(&[&absent]).to_string(),
            "no-such-program: not installed; run: apt-get install --no-install-recommends no-such-package"
        );
    }

    #[test]
    fn names_the_one_version_that_fits_of_the_same_group() {
        let record = "Package: qemu-block-extra\n\
                      Depends: libc6 (>= 2.29), libx (= 3), qemu-system-arm (= 1:7.2+b3) | \
                      qemu-utils (= 1:7.2+b3), qemu-utils (>= 1)\n\
                      Enhances: qemu-utils (= 9)\n";
        let exact = exact_dependencies(record, QEMU_RBD);
        assert_eq!(exact, ["qemu-utils=1:7.2+b3"]);
        assert!(exact_dependencies(record, FILE_SYSTEMS).is_empty());
        assert!(exact_dependencies("Package: bash\n", QEMU_RBD).is_empty());
    }
}
