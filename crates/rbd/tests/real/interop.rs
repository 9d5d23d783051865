//! What upstream writes, read by us, and the other way round.

use rbd::{Image, OpenOptions, Segment};

use crate::support::*;

async fn open_to_read(name: &str) -> Image {
    let options = OpenOptions {
        read_only: true,
        ..OpenOptions::default()
    };
    Image::open(&pool().await, name, options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_imported_is_read() {
    let mut random = Random::new(11);
    let mut content = random.bytes(9_000_000).to_vec();
    content[1_000_000..7_000_000].fill(0);
    let (_dir, path) = file(&content);
    rbd(&[
        "import",
        "--no-progress",
        "--stripe-unit",
        "64K",
        "--stripe-count",
        "5",
        path.to_str().unwrap(),
        "rbd/imported",
    ]);
    let image = open_to_read("imported").await;
    assert_same("imported", &read_all(&image).await, &content);
    let read = image.read(0, 9_000_000).await.unwrap();
    let zeros: u64 = read
        .segments
        .iter()
        .map(|segment| match segment {
            Segment::Zero(len) => *len,
            Segment::Data(_) => 0,
        })
        .sum();
    assert!(zeros > 1_000_000, "{zeros}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fio_writes_is_read() {
    rbd(&[
        "create",
        "--size",
        "48M",
        "--data-pool",
        "ec",
        "--stripe-unit",
        "16K",
        "--stripe-count",
        "3",
        "rbd/fio",
    ]);
    let output = blocking(|| {
        cluster()
            .command("fio")
            .args([
                "--name=job",
                "--ioengine=rbd",
                "--clientname=admin",
                "--pool=rbd",
                "--rbdname=fio",
            ])
            .args([
                "--rw=randwrite",
                "--bsrange=4k-256k",
                "--iodepth=16",
                "--io_size=24M",
                "--size=48M",
            ])
            .args(["--randrepeat=1", "--refill_buffers=1", "--end_fsync=1"])
            .output()
    })
    .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let ours = read_all(&open_to_read("fio").await).await;
    assert!(ours.iter().any(|byte| *byte != 0));
    assert_same("fio", &ours, &export("rbd/fio"));
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_in_parallel_are_exported() {
    let pool = pool().await;
    rbd::create(&pool, "parallel", &plain_options(64 << 20))
        .await
        .unwrap();
    let image = open(&pool, "parallel").await;
    let data = Random::new(3).bytes(64 << 20);
    let mut tasks = tokio::task::JoinSet::new();
    let mut random = Random::new(4);
    let mut offset = 0;
    while offset < data.len() {
        let len = usize::try_from(512 + random.below(300_000))
            .unwrap()
            .min(data.len() - offset);
        let (image, part) = (image.clone(), data.slice(offset..offset + len));
        tasks.spawn(async move { image.write(offset as u64, part).await });
        offset += len;
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
    assert_same("parallel", &export("rbd/parallel"), &data);
}
