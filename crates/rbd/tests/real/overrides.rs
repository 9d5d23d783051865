//! Options that `rbd config` sets for images and pools.

use std::process::Command;
use std::time::{Duration, SystemTime};

use minicluster::Release;
use rados::Pool;

use crate::support::*;

/// The word in upstream's options and commands.
fn list() -> &'static str {
    if cluster().release() < Release::Pacific {
        "blacklist"
    } else {
        "blocklist"
    }
}

/// Has upstream lock an image, breaks that lock, and gives the remaining time for which its former
/// owner is blocklisted, if it is.
async fn break_lock(spec: &str) -> Option<Duration> {
    rbd(&["lock", "add", spec, "theirs"]);
    let (path, name) = spec.rsplit_once('/').unwrap();
    let image = open(&pool_at(path).await, name).await;
    let lockers = image.lockers().await.unwrap().lockers;
    image.lock_remove(lockers[0].name, "theirs").await.unwrap();
    assert!(image.lockers().await.unwrap().lockers.is_empty());
    let dump = blocking(|| cluster().ceph_json(&["osd", "dump"])).unwrap();
    let addr = lockers[0].addr;
    let (socket, nonce) = (addr.socket.unwrap(), addr.nonce);
    let until = dump[list()][format!("{socket}/{nonce}")].as_str()?;
    let seconds = Command::new("date")
        .env("TZ", "UTC")
        .args(["+%s", "-d", until])
        .output()
        .unwrap();
    assert!(seconds.status.success(), "{until}");
    let seconds = String::from_utf8(seconds.stdout).unwrap();
    let until = Duration::from_secs(seconds.trim().parse().unwrap());
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    Some(until - now)
}

fn hours(duration: Option<Duration>) -> u64 {
    // What has passed since then is made up for.
    (duration.unwrap().as_secs() + 1800) / 3600
}

/// A pool, or a namespace of one.
async fn pool_at(path: &str) -> Pool {
    let (pool, namespace) = path.split_once('/').unwrap_or((path, ""));
    let pool = connect().await.pool(pool).await.unwrap();
    pool.in_namespace(namespace)
}

#[tokio::test(flavor = "multi_thread")]
async fn images_and_pools_say_how_locks_are_broken() {
    rbd(&["namespace", "create", "data/overridden"]);
    for path in ["data", "data/overridden"] {
        let pool = pool_at(path).await;
        for name in ["plain", "own", "unfenced", "odd"] {
            let options = locked_options(8 << 20);
            rbd::create(&pool, name, &options).await.unwrap();
        }
    }
    assert_eq!(hours(break_lock("data/plain").await), 1);
    let [expire, fence] =
        ["expire_seconds", "on_break_lock"].map(|option| format!("rbd_{}_{option}", list()));
    let key = format!("conf_{expire}");
    rbd(&["config", "pool", "set", "data", &expire, "36000"]);
    rbd(&["config", "image", "set", "data/own", &expire, "72000"]);
    rbd(&["config", "image", "set", "data/unfenced", &fence, "false"]);
    let odd = open(&pool_at("data").await, "odd").await;
    odd.metadata_set(&key, b"soon").await.unwrap();
    odd.close().await.unwrap();
    assert_eq!(hours(break_lock("data/plain").await), 10);
    assert_eq!(hours(break_lock("data/own").await), 20);
    assert_eq!(break_lock("data/unfenced").await, None);
    // What cannot be understood does not count.
    assert_eq!(hours(break_lock("data/odd").await), 1);
    // Pools set theirs for all their namespaces.
    assert_eq!(hours(break_lock("data/overridden/plain").await), 10);
    rbd(&["config", "pool", "remove", "data", &expire]);
    assert_eq!(hours(break_lock("data/plain").await), 1);
}
