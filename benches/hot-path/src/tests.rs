//! Our own library takes the cluster for a real one.

use bytes::{Bytes, BytesMut};
use rados::config::Config;
use rbd::{Image, OpenOptions, ReadData, Segment};

use crate::{Cluster, IMAGE, IMAGE_SIZE, OBJECT_SIZE, POOL, pattern};

async fn open(cluster: &Cluster) -> Image {
    let config = Config::builder()
        .without_file()
        .option("mon_host", cluster.mon_host())
        .option("auth_client_required", "none")
        .load()
        .unwrap();
    let client = rados::Cluster::connect(config).await.unwrap();
    let pool = client.pool(POOL).await.unwrap();
    let options = OpenOptions {
        watch: true,
        ..OpenOptions::default()
    };
    Image::open(&pool, IMAGE, options).await.unwrap()
}

fn joined(read: &ReadData) -> BytesMut {
    let mut bytes = BytesMut::new();
    for segment in &read.segments {
        match segment {
            Segment::Data(data) => bytes.extend_from_slice(data),
            Segment::Zero(_) => panic!("a hole"),
        }
    }
    bytes
}

#[tokio::test]
async fn an_image_is_opened_locked_read_and_written() {
    let cluster = Cluster::start().await.unwrap();
    let image = open(&cluster).await;
    assert_eq!(image.size_bytes(), IMAGE_SIZE);
    for (offset, len) in [
        (5 * OBJECT_SIZE + 4096, 4096),
        (0, OBJECT_SIZE),
        (1 << 20, 1 << 16),
    ] {
        let at = usize::try_from(offset % OBJECT_SIZE).unwrap();
        let expected = pattern().slice(at..at + usize::try_from(len).unwrap());
        let read = image.read(offset, len).await.unwrap();
        assert_eq!(joined(&read), expected);
        image.write(offset, expected).await.unwrap();
    }
    image.close().await.unwrap();
    assert_eq!(cluster.complaints(), [""; 0]);
}

#[tokio::test]
async fn what_is_not_the_pattern_is_complained_about() {
    let cluster = Cluster::start().await.unwrap();
    let image = open(&cluster).await;
    image
        .write(0, Bytes::from(vec![0; 4096]))
        .await
        .unwrap_err();
    assert_eq!(cluster.complaints().len(), 1);
}
