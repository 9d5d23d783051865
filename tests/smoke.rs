//! The least that has to work on every release: connections with checksums and encrypted, and an
//! image that we and upstream write and read.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(dead_code, reason = "of what tests share, this uses a part")]

mod key_types;
mod support;

use minicluster::Mode;
use rbd::{CreateOptions, Features, Image, OpenOptions};

const MIB: usize = 1 << 20;
const SIZE: usize = 9 * MIB;

#[tokio::test(flavor = "multi_thread")]
async fn images_are_exchanged_with_checksums() {
    exchange_images(Mode::Crc).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_exchanged_encrypted() {
    exchange_images(Mode::Secure).await;
}

async fn exchange_images(mode: Mode) {
    let cluster = support::cluster(1).mode(mode).start().unwrap();
    println!("{} {mode:?}", cluster.release());
    cluster.create_pool("rbd", 8).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = |name| dir.path().join(name).to_str().unwrap().to_owned();
    let ours = support::connect(&cluster).await;
    assert_eq!(ours.fsid().to_string(), cluster.fsid());
    let pool = ours.pool("rbd").await.unwrap();

    let options = CreateOptions {
        features: Features::LAYERING,
        ..CreateOptions::new(SIZE as u64)
    };
    rbd::create(&pool, "ours", &options).await.unwrap();
    let image = Image::open(&pool, "ours", OpenOptions::default())
        .await
        .unwrap();
    let mut expected = vec![0; SIZE];
    // Within an object, over the border of two, and at the end.
    for (seed, offset, len) in [
        (1, 0, 4096),
        (2, 4 * MIB - 1000, 70_000),
        (3, SIZE - 512, 512),
    ] {
        let data = contents(seed, len);
        expected
            .get_mut(offset..offset + len)
            .unwrap()
            .copy_from_slice(&data);
        image.write(offset as u64, data.into()).await.unwrap();
    }
    assert!(image.read(0, SIZE as u64).await.unwrap().to_vec() == expected);
    image.close().await.unwrap();
    let exported = path("exported");
    cluster
        .rbd(&["export", "--no-progress", "rbd/ours", &exported])
        .unwrap();
    assert!(std::fs::read(exported).unwrap() == expected, "read by rbd");

    let imported = path("imported");
    let theirs = contents(4, SIZE);
    std::fs::write(&imported, &theirs).unwrap();
    cluster
        .rbd(&["import", "--no-progress", &imported, "rbd/theirs"])
        .unwrap();
    let options = OpenOptions {
        read_only: true,
        ..OpenOptions::default()
    };
    let image = Image::open(&pool, "theirs", options).await.unwrap();
    assert_eq!(image.size_bytes(), SIZE as u64);
    assert!(
        image.read(0, SIZE as u64).await.unwrap().to_vec() == theirs,
        "read by us"
    );
    image.close().await.unwrap();
    let mut names: Vec<String> = rbd::list(&pool)
        .await
        .unwrap()
        .into_iter()
        .map(|e| e.name)
        .collect();
    names.sort();
    assert_eq!(names, ["ours", "theirs"]);
}

/// Bytes that differ from place to place.
fn contents(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
