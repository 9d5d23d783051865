//! One cluster for all tests of this program, and connections of ours to it.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::OnceLock;

use bytes::Bytes;
use minicluster::{Cluster, Store};
use rados::Pool;
use rados::config::Config;
use rbd::{CreateOptions, Features, Image, OpenOptions};
use serde_json::Value;

/// Three OSDs, for the pool `ec` is erasure-coded over all of them. `ecplain` is so, too, but may not
/// be overwritten. The test process takes it all down when it ends.
pub(crate) fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster = Cluster::builder()
            .osds(3)
            .mgr(false)
            .store(Store::Bluestore)
            .conf("osd pool default size = 2")
            .conf("osd pool default min size = 1")
            .start()
            .unwrap();
        cluster.create_pool("rbd", 8).unwrap();
        cluster.create_pool("data", 8).unwrap();
        let profile = [
            "osd",
            "erasure-code-profile",
            "set",
            "p",
            "k=2",
            "m=1",
            "crush-failure-domain=osd",
        ];
        cluster.ceph(&profile).unwrap();
        for pool in ["ec", "ecplain"] {
            cluster
                .ceph(&["osd", "pool", "create", pool, "8", "8", "erasure", "p"])
                .unwrap();
            cluster
                .ceph(&["osd", "pool", "application", "enable", pool, "rbd"])
                .unwrap();
        }
        cluster
            .ceph(&["osd", "pool", "set", "ec", "allow_ec_overwrites", "true"])
            .unwrap();
        cluster.rados(&["-p", "ec", "ls"]).unwrap();
        cluster
    })
}

/// A connection of ours as `client.admin`.
pub(crate) async fn connect() -> rados::Cluster {
    connect_as("admin").await
}

/// A connection of ours as another user.
pub(crate) async fn connect_as(id: &str) -> rados::Cluster {
    let conf = blocking(|| cluster().conf_path());
    connect_with(&conf, id, &[]).await
}

/// A connection of ours as another user, with options.
pub(crate) async fn connect_with(
    conf: &std::path::Path,
    id: &str,
    options: &[(&str, &str)],
) -> rados::Cluster {
    let mut config = Config::builder().conf(conf.to_str().unwrap()).id(id);
    for (name, value) in options {
        config = config.option(name, *value);
    }
    rados::Cluster::connect(config.load().unwrap())
        .await
        .unwrap()
}

/// The pool for headers.
pub(crate) async fn pool() -> Pool {
    connect().await.pool("rbd").await.unwrap()
}

/// Runs something that blocks, from a test's task.
pub(crate) fn blocking<T>(run: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(run)
}

/// Runs `rbd`.
pub(crate) fn rbd(args: &[&str]) -> String {
    blocking(|| cluster().rbd(args)).unwrap()
}

/// Runs `rbd` and expects it to print JSON.
pub(crate) fn rbd_json(args: &[&str]) -> Value {
    let args = [args, &["--format", "json"]].concat();
    serde_json::from_str(&rbd(&args)).unwrap()
}

/// The names of all objects of a pool in all namespaces, ordered.
pub(crate) fn objects(pool: &str) -> Vec<String> {
    let listed = blocking(|| cluster().rados(&["-p", pool, "ls", "--all"])).unwrap();
    let mut names: Vec<String> = listed
        .lines()
        .map(|line| line.rsplit('\t').next().unwrap_or(line).to_string())
        .collect();
    names.sort();
    names
}

/// What upstream reads from an image or a snapshot.
pub(crate) fn export(spec: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    rbd(&["export", "--no-progress", spec, path.to_str().unwrap()]);
    std::fs::read(path).unwrap()
}

/// A file with this content, in a directory that goes when it is dropped.
pub(crate) fn file(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    std::fs::write(&path, content).unwrap();
    (dir, path)
}

/// Features that this version writes.
pub(crate) fn plain_options(size_bytes: u64) -> CreateOptions {
    CreateOptions {
        features: Features::LAYERING,
        ..CreateOptions::new(size_bytes)
    }
}

/// With a lock, and without an object map.
pub(crate) fn locked_options(size_bytes: u64) -> CreateOptions {
    CreateOptions {
        features: Features::LAYERING | Features::EXCLUSIVE_LOCK,
        ..CreateOptions::new(size_bytes)
    }
}

/// Makes an image with a lock.
pub(crate) async fn create_locked(name: &str, size_bytes: u64) {
    rbd::create(&pool().await, name, &locked_options(size_bytes))
        .await
        .unwrap();
}

/// Opens for reading and writing.
pub(crate) async fn open(pool: &Pool, name: &str) -> Image {
    Image::open(pool, name, OpenOptions::default())
        .await
        .unwrap()
}

/// Everything that an image or a snapshot holds, as we read it.
pub(crate) async fn read_all(image: &Image) -> Vec<u8> {
    let mut all = Vec::new();
    let size = image.size_bytes();
    while (all.len() as u64) < size {
        let len = (size - all.len() as u64).min(7 << 20);
        let data = image.read(all.len() as u64, len).await.unwrap();
        assert_eq!(data.len(), len);
        all.extend(data.to_vec());
    }
    all
}

/// Fails with the first difference, instead of printing megabytes.
pub(crate) fn assert_same(what: &str, ours: &[u8], expected: &[u8]) {
    assert_eq!(ours.len(), expected.len(), "{what}: length");
    if let Some(at) = ours.iter().zip(expected).position(|(a, b)| a != b) {
        panic!(
            "{what}: byte {at} is {:#x}, should be {:#x}",
            ours[at], expected[at]
        );
    }
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Xorshift.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub(crate) fn bytes(&mut self, len: u64) -> Bytes {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < len {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(usize::try_from(len).unwrap());
        bytes.into()
    }
}

/// A process of upstream's, killed when dropped.
pub(crate) struct Process(Child);

impl Process {
    /// Starts `rbd` and leaves it running. It ends by itself when its input does.
    pub(crate) fn rbd(args: &[&str]) -> Self {
        Self::start("rbd", args)
    }

    /// Starts a program and leaves it running.
    pub(crate) fn start(program: &str, args: &[&str]) -> Self {
        let child = cluster()
            .command(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Process {
    /// Waits for its end, and whether that was a good one.
    pub(crate) fn wait(&mut self) -> bool {
        self.0.wait().unwrap().success()
    }

    /// Ends its input, and waits for its end.
    pub(crate) fn finish(mut self) {
        drop(self.0.stdin.take());
        assert!(self.wait());
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
