//! Pods as virtual machines: the second is another boot, which knows nothing of the first.

use anyhow::ensure;

use super::{CONTENTS, FILE, IMAGE, Orbd, Place, Steps};
use crate::vm::Guest;

/// The machine that both pods are booted on.
pub(crate) struct Machine {
    guest: Guest,
}

impl Machine {
    pub(crate) fn new(guest: Guest) -> Self {
        Self { guest }
    }

    /// Boots, mounts, does `action` in the mounted directory, and takes everything down.
    fn pod(&self, orbd: &Orbd, action: &str) -> anyhow::Result<()> {
        let line = |args: &[&str]| -> String {
            let words: Vec<String> = orbd.words(args).iter().map(|word| quoted(word)).collect();
            words.join(" ")
        };
        let script = SCRIPT
            .replace(
                "@MOUNT@",
                &line(&["mount", IMAGE, DIR, "--device-type", "nbd"]),
            )
            .replace("@UMOUNT@", &line(&["umount", DIR]))
            .replace("@LIST@", &line(&["device", "list"]))
            .replace("@ACTION@", action)
            .replace("@DIR@", DIR);
        let status = self.guest.run(&script)?;
        ensure!(status == 0, "the guest's status is {status}");
        Ok(())
    }
}

impl Place for Machine {
    fn write(&mut self, orbd: &Orbd, steps: &mut Steps) -> anyhow::Result<()> {
        let action = format!("printf %s {} > {DIR}/{FILE}", quoted(CONTENTS));
        steps.run(
            "first pod: a machine that mounts, writes \"hello ceph\" and is gone",
            || self.pod(orbd, &action),
        )
    }

    fn read_back(&mut self, orbd: &Orbd, steps: &mut Steps) -> anyhow::Result<()> {
        let action = format!("printf %s {} | cmp - {DIR}/{FILE}", quoted(CONTENTS));
        steps.run(
            "second pod: a machine that mounts, reads \"hello ceph\" and is gone",
            || self.pod(orbd, &action),
        )
    }
}

/// For the shell, which takes nothing for special between single quotes.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Each line is shown with the guest's own uptime before it is run.
const SCRIPT: &str = r#"
say() { echo "          guest: $(cut -d' ' -f1 /proc/uptime) s: $*"; }
fail() { say "FAILED: $*"; exit 1; }
say "Linux $(uname -r)"
modprobe nbd || fail "no nbd driver"
mkdir -p @DIR@
@MOUNT@ || fail "mount"
device=$(awk '$2 == "@DIR@" && $3 == "ext4" { print $1 }' /proc/mounts)
case $device in
    /dev/nbd*) say "$device is mounted" ;;
    *) fail "mounted is '$device'" ;;
esac
@ACTION@ || fail "the file"
sync
@UMOUNT@ || fail "umount"
grep -q " @DIR@ " /proc/mounts && fail "still mounted"
@LIST@ | grep -q "$device" && fail "still mapped"
[ "$(cat /sys/block/${device#/dev/}/size)" = 0 ] || fail "the driver still has it"
say "unmounted and unmapped"
"#;
const DIR: &str = "/mnt/pod";
