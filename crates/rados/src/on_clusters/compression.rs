//! Compressed connections to OSDs of the releases that compress.
//!
//! These OSDs agree to compress with other OSDs and refuse clients, whatever either side is
//! configured to. So the objecter of these tests passes for the one that OSDs have themselves, which
//! sends the same operations.

use std::io::Write;
use std::process::{Command, Stdio};

use denc::EntityType;
use minicluster::{Daemon, Mode, Release, Store};
use msgr2::driver::{CompressedFrames, Handle};
use msgr2::{CompressionMethod, ConnectionMode};

use super::config;
use crate::messenger::Messenger;
use crate::{Cluster, Pool};

const POOL: &str = "compressed";
/// Below, at and above the threshold, and more than one read of the socket.
const TEXTS: [usize; 4] = [1, 1024, 100_003, 8 << 20];
const NOISES: [usize; 2] = [4096, 1 << 20];

/// What the OSDs of a release have. Debian's plug-ins of 20.2 for the others want a library that is not
/// installed along with them; an OSD agrees to such a method all the same, and aborts when it is used.
fn methods(release: Release) -> Vec<CompressionMethod> {
    if release < Release::Tentacle {
        CompressionMethod::ALL.to_vec()
    } else {
        vec![CompressionMethod::Snappy, CompressionMethod::Zstd]
    }
}

/// The release to test, if it is one that compresses.
fn release() -> Option<Release> {
    super::release().filter(|release| {
        let compresses = *release >= Release::Quincy;
        if !compresses {
            println!("SKIPPED: {release} does not compress");
        }
        compresses
    })
}

/// One OSD, which has nobody to talk to but its clients.
fn start(release: Release) -> minicluster::Cluster {
    let cluster = minicluster::Cluster::builder()
        .release(release)
        .mons(1)
        .osds(1)
        .mgr(false)
        .store(Store::Memstore)
        .mode(Mode::Default)
        .conf("ms_osd_compress_mode = force")
        .conf("ms_osd_compression_algorithm = lz4 zstd zlib snappy")
        .conf("osd_pool_default_size = 1")
        // OSDs take a message's compressed size from this budget and give back the other one, until
        // they notice that this cannot be and end themselves. Without a limit they do not count.
        .conf("osd_client_message_size_cap = 0")
        .start()
        .unwrap();
    cluster.create_pool(POOL, 8).unwrap();
    cluster
}

async fn connect_as(kind: EntityType, config: crate::config::Config) -> Cluster {
    let mut messenger = Messenger::from_config(&config).unwrap();
    messenger.kind_for_osds = kind;
    Cluster::with_messenger(config, messenger).await.unwrap()
}

fn link(cluster: &Cluster) -> Handle {
    let mut links = cluster.objecter().links();
    assert_eq!(links.len(), 1);
    links.remove(0)
}

/// Text of some use to a compressor.
fn text(len: usize) -> Vec<u8> {
    let lines = (0..).map(|number| format!("line {number} of a text that goes on like this\n"));
    lines.flat_map(String::into_bytes).take(len).collect()
}

/// Bytes of no use to one.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    });
    noise.flatten().take(len).collect()
}

fn rados(cluster: &minicluster::Cluster, action: &str, object: &str) -> Command {
    let mut command = cluster.command("rados");
    command.args([
        "--rados-osd-op-timeout",
        "60",
        "-p",
        POOL,
        action,
        object,
        "-",
    ]);
    command
}

/// What we write, Ceph's own program reads, and the reverse.
async fn exchange(daemons: &minicluster::Cluster, pool: &Pool, contents: &[u8], name: &str) {
    pool.write_full(name, contents.to_vec()).await.unwrap();
    let read = rados(daemons, "get", name).output().unwrap();
    assert!(read.status.success());
    assert!(read.stdout == contents, "{name} read by rados");
    assert!(pool.read(name, 0, 0).await.unwrap() == contents, "{name}");

    let name = format!("{name}-theirs");
    let mut put = rados(daemons, "put", &name)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    put.stdin.take().unwrap().write_all(contents).unwrap();
    assert!(put.wait().unwrap().success());
    assert!(pool.read(&name, 0, 0).await.unwrap() == contents, "{name}");
}

async fn exchange_all(daemons: &minicluster::Cluster, mode: &str, method: CompressionMethod) {
    let config = config(
        daemons,
        &[
            ("ms_client_mode", mode),
            ("ms_compress_secure", "true"),
            ("ms_osd_compression_algorithm", method.name()),
        ],
    );
    let cluster = connect_as(EntityType::OSD, config).await;
    let pool = cluster.pool(POOL).await.unwrap();
    let texts = if mode == "crc" {
        &TEXTS[..]
    } else {
        &TEXTS[2..3]
    };
    let noises = if mode == "crc" {
        &NOISES[..]
    } else {
        &NOISES[..1]
    };
    for len in texts {
        let name = format!("{method}-{mode}-text-{len}");
        exchange(daemons, &pool, &text(*len), &name).await;
    }
    for len in noises {
        let name = format!("{method}-{mode}-noise-{len}");
        exchange(daemons, &pool, &noise(*len), &name).await;
    }
    let link = link(&cluster);
    let info = link.info();
    assert_eq!(info.compression, Some(method));
    assert_eq!(info.mode == ConnectionMode::SECURE, mode == "secure");
    let CompressedFrames { sent, received } = link.compressed_frames();
    // Of ours the writes of texts that are long enough; of the OSD's all that is read, noise as well,
    // which it read twice: what we wrote, and what the program did.
    let long = texts.iter().filter(|len| **len > 1).count();
    assert!(
        sent >= u64::try_from(long).unwrap(),
        "{method} {mode} {sent}"
    );
    let long = 2 * (long + noises.len());
    assert!(
        received >= u64::try_from(long).unwrap(),
        "{method} {mode} {received}"
    );
    cluster.shut_down();
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_objects_are_what_they_were() {
    if let Some(release) = release() {
        let daemons = start(release);
        for method in methods(release) {
            exchange_all(&daemons, "crc", method).await;
        }
        assert!(daemons.pid(Daemon::Osd(0)).is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secure_connections_are_compressed_if_both_sides_say_so() {
    if let Some(release) = release() {
        let daemons = start(release);
        assert_eq!(agreed_in_secure_mode(&daemons, "true").await, None);
        let set = [
            "tell",
            "osd.0",
            "config",
            "set",
            "ms_compress_secure",
            "true",
        ];
        daemons.ceph(&set).unwrap();
        assert_eq!(agreed_in_secure_mode(&daemons, "false").await, None);
        for method in methods(release) {
            exchange_all(&daemons, "secure", method).await;
        }
        assert!(daemons.pid(Daemon::Osd(0)).is_some());
    }
}

async fn agreed_in_secure_mode(
    daemons: &minicluster::Cluster,
    wish: &str,
) -> Option<CompressionMethod> {
    let options = [("ms_client_mode", "secure"), ("ms_compress_secure", wish)];
    let cluster = connect_as(EntityType::OSD, config(daemons, &options)).await;
    let pool = cluster.pool(POOL).await.unwrap();
    pool.write_full("secure", text(5000)).await.unwrap();
    assert!(pool.read("secure", 0, 0).await.unwrap() == text(5000));
    let link = link(&cluster);
    assert_eq!(link.info().mode, ConnectionMode::SECURE);
    assert_eq!(link.compressed_frames(), CompressedFrames::default());
    cluster.shut_down();
    link.info().compression
}

/// What OSDs make of the wish of a client: nothing, as of those of librados.
#[tokio::test(flavor = "multi_thread")]
async fn clients_are_refused_and_go_on_uncompressed() {
    if let Some(release) = release() {
        let daemons = start(release);
        let cluster = Cluster::connect(config(&daemons, &[])).await.unwrap();
        let settings = cluster.messenger().settings();
        assert!(settings.compression.is_some());
        let pool = cluster.pool(POOL).await.unwrap();
        exchange(&daemons, &pool, &text(100_000), "text").await;
        let link = link(&cluster);
        assert_eq!(link.info().compression, None);
        assert_eq!(link.compressed_frames(), CompressedFrames::default());
        cluster.shut_down();
    }
}
