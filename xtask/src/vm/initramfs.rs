//! The guest's initramfs: busybox, the first process, and those modules that are of use.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use super::kernel::{Kernel, write_whole};
use crate::command::{checked, filtered, output};

/// Finds the initramfs in the cache, or packs it.
pub(crate) fn provide(kernel: &Kernel) -> anyhow::Result<PathBuf> {
    // It is another one when what goes into it changes.
    let mut hasher = DefaultHasher::new();
    (INIT, BOOT_MODULES, OTHER_MODULES).hash(&mut hasher);
    let packed = kernel
        .dir
        .join(format!("initramfs-{:016x}", hasher.finish()));
    if !packed.exists() {
        let tree = tempfile::tempdir_in(&kernel.dir)?;
        fill(tree.path(), kernel)?;
        pack(tree.path(), &packed)?;
    }
    Ok(packed)
}

fn fill(tree: &Path, kernel: &Kernel) -> anyhow::Result<()> {
    for dir in ["bin", "sbin", "etc", "proc", "sys", "dev", "mnt"] {
        fs::create_dir(tree.join(dir))?;
    }
    let busybox = output(Command::new("sh").args(["-c", "command -v busybox"]))?;
    // Only a static one makes ldd fail, and only a static one runs where there are no libraries.
    let is_static = output(Command::new("ldd").arg(busybox.trim())).is_err();
    ensure!(
        is_static,
        "busybox needs libraries: install busybox-static in its place"
    );
    fs::copy(busybox.trim(), tree.join("bin/busybox")).context("busybox")?;
    symlink("busybox", tree.join("bin/sh"))?;
    // What the kernel runs when it needs a module.
    symlink("../bin/busybox", tree.join("sbin/modprobe"))?;
    let init = tree.join("init");
    fs::write(&init, INIT)?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;

    let target = tree.join("lib/modules").join(&kernel.version);
    fs::create_dir_all(&target)?;
    let mut modules = Modules::of(&kernel.modules)?;
    for name in BOOT_MODULES {
        modules.copy(name, &target)?;
    }
    let order = modules.copied_in_order.join("\n");
    fs::write(tree.join("etc/modules.boot"), format!("{order}\n"))?;
    for name in OTHER_MODULES {
        modules.copy(name, &target)?;
    }
    fs::copy(
        kernel.modules.join("modules.builtin"),
        target.join("modules.builtin"),
    )?;
    checked(
        Command::new("busybox")
            .args(["depmod", "-b"])
            .arg(tree)
            .arg(&kernel.version),
    )
}

/// Not compressed: the guest's processor is the slow one.
fn pack(tree: &Path, packed: &Path) -> anyhow::Result<()> {
    let names = output(Command::new("find").arg(".").current_dir(tree))?;
    let mut cpio = Command::new("cpio");
    cpio.args(["-o", "-H", "newc", "--quiet", "-R", "0:0"])
        .current_dir(tree);
    write_whole(packed, &filtered(&mut cpio, names.as_bytes())?)
}

/// The kernel's modules by name, and which of them have been copied.
struct Modules {
    files: BTreeMap<String, PathBuf>,
    copied: BTreeSet<String>,
    /// Each after those it depends on.
    copied_in_order: Vec<String>,
}

impl Modules {
    fn of(dir: &Path) -> anyhow::Result<Self> {
        let found = output(Command::new("find").arg(dir).args(["-name", "*.ko*"]))?;
        let name_of = |path: &str| {
            let file = path.rsplit('/').next().unwrap_or(path);
            normal(file.split(".ko").next().unwrap_or(file))
        };
        let files = found
            .lines()
            .map(|path| (name_of(path), PathBuf::from(path)));
        Ok(Self {
            files: files.collect(),
            copied: BTreeSet::new(),
            copied_in_order: Vec::new(),
        })
    }

    /// Copies a module and, before it, those it depends on. One that has no file is built in.
    fn copy(&mut self, name: &str, target: &Path) -> anyhow::Result<()> {
        let name = normal(name);
        let Some(file) = self.files.get(&name) else {
            return Ok(());
        };
        if !self.copied.insert(name.clone()) {
            return Ok(());
        }
        let bytes = read_module(file)?;
        fs::write(target.join(format!("{name}.ko")), &bytes)?;
        for dependency in dependencies(&bytes) {
            self.copy(&dependency, target)?;
        }
        self.copied_in_order.push(name);
        Ok(())
    }
}

fn read_module(file: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = fs::read(file)?;
    match file.extension().and_then(|e| e.to_str()) {
        Some("xz") => filtered(Command::new("xz").args(["-q", "-d", "-c"]), &bytes),
        Some("zst") => filtered(Command::new("zstd").args(["-q", "-d", "-c"]), &bytes),
        _ => Ok(bytes),
    }
}

/// The `depends=a,b` among the zero-ended strings of a module's `.modinfo` section.
fn dependencies(module: &[u8]) -> Vec<String> {
    let value = module
        .split(|byte| *byte == 0)
        .find_map(|string| string.strip_prefix(b"depends="))
        .unwrap_or_default();
    let value = String::from_utf8_lossy(value);
    let names = value.split(',').filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

/// The kernel takes dashes and underscores in the names of modules for the same.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

const INIT: &str = include_str!("../../vm/init");
/// What the guest needs to get at its root and its network.
const BOOT_MODULES: &[&str] = &[
    "virtio_pci",
    "9pnet_virtio",
    "9p",
    "overlay",
    "virtio_net",
    "virtio_rng",
];
/// What is loaded when somebody asks for it: block devices, file systems, and the ciphers and
/// checksums they and the kernel's own Ceph client use.
const OTHER_MODULES: &[&str] = &[
    "nbd",
    "rbd",
    "loop",
    "fuse",
    "ublk_drv",
    "null_blk",
    "brd",
    "dm_mod",
    "dm_crypt",
    "ext4",
    "xfs",
    "btrfs",
    "tun",
    "af_packet",
    "crc32c_generic",
    "crc32c_intel",
    "libcrc32c",
    "aes_generic",
    "aesni_intel",
    "cbc",
    "ctr",
    "gcm",
    "ccm",
    "cts",
    "xts",
    "ghash_generic",
    "ghash_clmulni_intel",
    "hmac",
    "sha256_generic",
    "sha256_ssse3",
    "seqiv",
    "cryptomgr",
    "cryptd",
    "krb5",
    "krb5enc",
    "authenc",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_from_modinfo() {
        let module = b"\x7fELF..\0license=GPL\0depends=crc16,jbd2,mbcache\0intree=Y\0";
        assert_eq!(dependencies(module), ["crc16", "jbd2", "mbcache"]);
        assert!(dependencies(b"\0license=GPL\0depends=\0intree=Y\0").is_empty());
        assert!(dependencies(b"").is_empty());
    }
}
