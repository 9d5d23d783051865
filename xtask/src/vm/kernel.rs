//! The distribution's newest kernel: downloaded, unpacked, and its image decompressed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::command::{checked, filtered, output};

/// An unpacked kernel.
pub(crate) struct Kernel {
    /// Where everything made from it is kept.
    pub(crate) dir: PathBuf,
    /// The ELF image, which qemu starts directly (through PVH): decompressing it in the guest
    /// would take seconds.
    pub(crate) vmlinux: PathBuf,
    /// The directory of its modules.
    pub(crate) modules: PathBuf,
    /// Its version as `uname -r` says it.
    pub(crate) version: String,
}

/// Finds the kernel in the cache, or downloads it.
pub(crate) fn provide(cache: &Path) -> anyhow::Result<Kernel> {
    let package = newest_package()?;
    let dir = cache.join(&package);
    let unpacked = dir.join("kernel");
    if !unpacked.exists() {
        download(cache, &package, &unpacked)?;
    }
    let version = package
        .strip_prefix("linux-image-")
        .context("not the name of a kernel package")?
        .to_owned();
    let modules = ["lib/modules", "usr/lib/modules"]
        .map(|path| unpacked.join(path).join(&version))
        .into_iter()
        .find(|path| path.exists())
        .with_context(|| format!("{package} has no modules"))?;
    let vmlinux = dir.join("vmlinux");
    if !vmlinux.exists() {
        let image = fs::read(unpacked.join("boot").join(format!("vmlinuz-{version}")))
            .with_context(|| format!("the kernel image of {package}"))?;
        write_whole(&vmlinux, &decompress(&image)?)?;
    }
    Ok(Kernel {
        dir,
        vmlinux,
        modules,
        version,
    })
}

/// The package that the release's `linux-image-amd64` stands for. Its `cloud` sibling would lack
/// the 9p file system.
fn newest_package() -> anyhow::Result<String> {
    let depends = || -> anyhow::Result<Option<String>> {
        let text = output(Command::new("apt-cache").args(["depends", META_PACKAGE]))?;
        let mut depends = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(depends
            .find(|name| name.starts_with("linux-image-"))
            .map(str::to_owned))
    };
    if let Some(name) = depends().unwrap_or_default() {
        return Ok(name);
    }
    // A machine that has never looked at its archives.
    checked(Command::new("apt-get").args(["-q", "update"]))?;
    depends()?.with_context(|| format!("apt knows no {META_PACKAGE}"))
}

fn download(cache: &Path, package: &str, unpacked: &Path) -> anyhow::Result<()> {
    eprintln!("downloading {package}");
    // In the same file system as its place, so that it appears there complete or not at all.
    let work = tempfile::tempdir_in(cache)?;
    // The unprivileged user that apt downloads as has to write here.
    checked(Command::new("chmod").arg("0777").arg(work.path()))?;
    let fetch = || {
        checked(
            Command::new("apt-get")
                .args(["-q", "download", package])
                .current_dir(work.path()),
        )
    };
    if fetch().is_err() {
        checked(Command::new("apt-get").args(["-q", "update"]))?;
        fetch()?;
    }
    let deb = fs::read_dir(work.path())?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "deb"))
        .with_context(|| format!("apt-get download {package} left no package"))?;
    let tree = work.path().join("tree");
    checked(Command::new("dpkg").arg("-x").arg(&deb).arg(&tree))?;
    if let Some(parent) = unpacked.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::rename(&tree, unpacked)?;
    Ok(())
}

/// Takes the compressed ELF out of a bzImage.
///
/// Source: the x86 boot protocol (`Documentation/x86/boot.rst`): `setup_sects` at 0x1f1,
/// `payload_offset` at 0x248 and `payload_length` at 0x24c, the offset counted from the
/// protected-mode code, and the last four bytes of the payload being the size of its contents.
fn decompress(image: &[u8]) -> anyhow::Result<Vec<u8>> {
    let byte = |at: usize| {
        image
            .get(at)
            .copied()
            .context("the kernel image is cut short")
    };
    let word = |at: usize| -> anyhow::Result<usize> {
        let bytes = image
            .get(at..at + 4)
            .context("the kernel image is cut short")?;
        Ok(usize::try_from(u32::from_le_bytes(bytes.try_into()?))?)
    };
    ensure!(
        image.get(0x202..0x206) == Some(b"HdrS"),
        "not a kernel image"
    );
    let start = (usize::from(byte(0x1f1)?) + 1) * 512 + word(0x248)?;
    let end = (start + word(0x24c)?).saturating_sub(4);
    let payload = image
        .get(start..end)
        .context("the kernel image is cut short")?;
    let program = match payload {
        [0xfd, b'7', b'z', b'X', ..] => "xz",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        _ => bail!("the kernel image is compressed in a way not known here"),
    };
    filtered(Command::new(program).args(["-q", "-d", "-c"]), payload)
}

/// Writes a file so that it is there complete or not at all.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let unfinished = path.with_extension("unfinished");
    fs::write(&unfinished, bytes)?;
    fs::rename(&unfinished, path)?;
    Ok(())
}

const META_PACKAGE: &str = "linux-image-amd64";
