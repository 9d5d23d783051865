//! What is recognised on a device, against the programs that make such things, and against `blkid`.
#![expect(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use mapper::mount::{Contents, Kind, probe};
use support::{MIB, run, succeed};

/// A file of zeroes that a device could be.
fn blank(dir: &Path, name: &str, size: u64) -> String {
    let path = dir.join(name);
    File::create(&path).unwrap().set_len(size).unwrap();
    path.to_str().unwrap().to_owned()
}

/// What `blkid` calls it.
async fn blkid(path: &str) -> String {
    let args = ["-p", "-o", "value", "-s", "TYPE", "-s", "PTTYPE", path];
    let output = run("blkid", &args).await;
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn it_agrees_with_blkid_on_what_others_made() {
    let dir = tempfile::tempdir().unwrap();
    let made: &[(&str, u64, &[&str])] = &[
        ("ext2", 8, &["mkfs.ext2", "-q"]),
        ("ext3", 16, &["mkfs.ext3", "-q"]),
        ("ext4", 16, &["mkfs.ext4", "-q"]),
        (
            "ext4-1k",
            64,
            &["mkfs.ext4", "-q", "-b1024", "-O^has_journal"],
        ),
        ("xfs", 512, &["mkfs.xfs", "-q"]),
        ("btrfs", 256, &["mkfs.btrfs", "-q"]),
        ("swap", 8, &["mkswap", "-q"]),
        ("swap-64k", 8, &["mkswap", "-q", "-p65536"]),
        (
            "luks1",
            32,
            &[
                "cryptsetup",
                "luksFormat",
                "-q",
                "--type=luks1",
                "--iter-time=1",
            ],
        ),
        (
            "luks2",
            32,
            &[
                "cryptsetup",
                "luksFormat",
                "-q",
                "--type=luks2",
                "--pbkdf=pbkdf2",
                "--iter-time=1",
            ],
        ),
    ];
    let key = dir.path().join("key");
    std::fs::write(&key, b"secret").unwrap();
    for (name, mebibytes, command) in made {
        let path = blank(dir.path(), name, mebibytes * MIB);
        let [program, args @ ..] = command else {
            panic!("no command for {name}");
        };
        let mut args = args.to_vec();
        args.push(&path);
        if *program == "cryptsetup" {
            args.push(key.to_str().unwrap());
        }
        succeed(program, &args).await;
        let contents = probe(Path::new(&path)).await.unwrap();
        let Contents::One(signature) = &contents else {
            panic!("{name}: {contents:?}");
        };
        assert_eq!(signature.name, blkid(&path).await, "{name}");
        assert_eq!(
            signature.kind == Kind::FileSystem,
            !name.contains("luks") && !name.contains("swap")
        );
    }
}

#[tokio::test]
async fn partition_tables_are_recognised_at_both_ends() {
    let dir = tempfile::tempdir().unwrap();
    for (label, blkid_name) in [("dos", "dos"), ("gpt", "gpt")] {
        let path = blank(dir.path(), label, 64 * MIB);
        succeed(
            "sh",
            &["-c", &format!("echo 'label: {label}' | sfdisk -q {path}")],
        )
        .await;
        let contents = probe(Path::new(&path)).await.unwrap();
        assert_eq!(contents.describe(), blkid_name);
        assert_eq!(contents.describe(), blkid(&path).await);
        if label == "gpt" {
            // The beginning is overwritten, as installers do, and the copy at the end remains.
            let file = File::options().write(true).open(&path).unwrap();
            file.write_all_at(&vec![0; 1 << 20], 0).unwrap();
            assert_eq!(probe(Path::new(&path)).await.unwrap().describe(), "gpt");
        }
    }
}

#[tokio::test]
async fn luks2_is_recognised_by_its_second_header() {
    let dir = tempfile::tempdir().unwrap();
    let path = blank(dir.path(), "luks2", 32 * MIB);
    let key = dir.path().join("key");
    std::fs::write(&key, b"secret").unwrap();
    let args = [
        "luksFormat",
        "-q",
        "--type=luks2",
        "--pbkdf=pbkdf2",
        "--iter-time=1",
        &path,
        key.to_str().unwrap(),
    ];
    succeed("cryptsetup", &args).await;
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0; 4096], 0).unwrap();
    assert_eq!(
        probe(Path::new(&path)).await.unwrap().describe(),
        "crypto_LUKS"
    );
}

#[tokio::test]
async fn small_and_blank_devices_are_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for size in [0, 512, MIB - 512, MIB, 3 * MIB] {
        let path = blank(dir.path(), "blank", size);
        assert_eq!(probe(Path::new(&path)).await.unwrap(), Contents::Nothing);
    }
}
