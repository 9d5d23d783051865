//! The inside of a root: a mount namespace in which programs of another system run.
//!
//! A namespace begins as a copy of all mounts of this machine, which keeps them in use until the copy
//! is let go of. So there is one for all clusters of this process, made before any of them starts.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::Error;

/// The namespace for programs of `root` that have to see `dir`, as the path of its file.
pub(crate) fn namespace(root: &Path, dir: &Path) -> Result<PathBuf, Error> {
    // Clusters in temporary directories share one.
    let seen = dir.parent().unwrap_or(dir);
    let mut all = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (root.to_owned(), seen.to_owned());
    let pid = match all.get(&key) {
        Some(holder) => holder.id(),
        None => {
            let holder = hold(root, seen)?;
            all.entry(key).or_insert(holder).id()
        }
    };
    Ok(format!("/proc/{pid}/ns/mnt").into())
}

/// Starts a process that keeps the namespace while this process lives: until its input ends.
fn hold(root: &Path, seen: &Path) -> Result<Child, Error> {
    let mut child = Command::new("unshare")
        // What is unmounted elsewhere must not live on in it.
        .args(["--mount", "--propagation", "slave", "sh", "-c", HOLD, "sh"])
        .args([root, seen])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|source| Error::Spawn {
            program: "unshare".into(),
            source,
        })?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        // An error leaves the line empty, which is reported below.
        let _ = BufReader::new(stdout).read_line(&mut line);
    }
    if line.trim() == READY {
        return Ok(child);
    }
    // It has ended, or is about to: what it said went to standard error.
    drop(child.stdin.take());
    let _ = child.wait();
    Err(Error::Output {
        command: format!("unshare for {}", root.display()),
        output: line,
    })
}

static HOLDERS: Mutex<BTreeMap<(PathBuf, PathBuf), Child>> = Mutex::new(BTreeMap::new());

const READY: &str = "ready";
/// All but the operating system itself is this machine's, at the same paths, and the directory that
/// is the second argument in any case. Mounts below these are not taken along, and the rest of this
/// machine's is let go of, or whoever unmounts one of them would find it still in use.
const HOLD: &str = r#"
root=$1 seen=$2
mount --bind "$root" "$root" || exit 1
for top in /*; do
    case $top in /bin|/boot|/etc|/lib*|/lost+found|/sbin|/usr|/var) continue ;; esac
    [ -d "$top" ] && [ ! -L "$top" ] || continue
    mkdir -p "$root$top" && mount --bind "$top" "$root$top" || exit 1
done
mkdir -p "$root$seen" && mount --bind "$seen" "$root$seen" || exit 1
cd "$root" && pivot_root . . && umount -l . || exit 1
exec chroot . sh -c 'echo ready; exec >&-; read -r _'
"#;
