//! Random operations on images of all kinds of layout, held against bytes in memory.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::FutureExt;
use rados::{Errno, Pool};
use rbd::{
    Cache, CacheOptions, CreateOptions, Error, Image, Layout, OpenOptions, ReadAheadOptions,
    Segment, Zeroes,
};

use crate::support::*;

/// Zeros what a discard gives back, byte by byte: granules of 64 KiB, or of the object if that is
/// smaller, that are discarded as a whole. In objects of one granule, their tails, too.
fn discard(held: &mut [u8], layout: &Layout, offset: u64, len: u64) {
    let granule = layout.object_size().min(64 << 10);
    let mut discarded: BTreeMap<(u64, u64), Vec<u64>> = BTreeMap::new();
    for at in offset..offset + len {
        let (object, in_object) = layout.locate(at);
        discarded
            .entry((object, in_object / granule))
            .or_default()
            .push(at);
    }
    for bytes in discarded.into_values() {
        let whole = bytes.len() as u64 == granule;
        let tail = bytes
            .iter()
            .any(|at| layout.locate(*at).1 == layout.object_size() - 1);
        if whole || (tail && granule == layout.object_size()) {
            for at in bytes {
                held[usize::try_from(at).unwrap()] = 0;
            }
        }
    }
}

fn range(offset: u64, len: u64) -> std::ops::Range<usize> {
    usize::try_from(offset).unwrap()..usize::try_from(offset + len).unwrap()
}

struct Run {
    image: Image,
    held: Vec<u8>,
    random: Random,
    max_len: u64,
}

impl Run {
    /// A range within the image, often small, sometimes cut at units and objects.
    fn range(&mut self) -> (u64, u64) {
        let size = self.held.len() as u64;
        let mut offset = self.random.below(size);
        let mut len = match self.random.below(4) {
            0 => 1 + self.random.below(4096),
            1 => 1 + self.random.below(70_000),
            _ => 1 + self.random.below(self.max_len),
        };
        let unit = self.image.layout().stripe_unit();
        match self.random.below(4) {
            0 => offset -= offset % unit,
            1 => {
                offset -= offset % unit;
                len = len.next_multiple_of(unit);
            }
            2 => {
                offset -= offset % self.image.object_size();
                len = len.next_multiple_of(self.image.object_size());
            }
            _ => {}
        }
        (offset, len.min(size - offset))
    }

    async fn step(&mut self) {
        let (offset, len) = self.range();
        match self.random.below(16) {
            0..5 => {
                let data = self.random.bytes(len);
                self.held[range(offset, len)].copy_from_slice(&data);
                self.image.write(offset, data).await.unwrap();
            }
            5 => {
                let data = self.random.bytes(len);
                self.held[range(offset, len)].copy_from_slice(&data);
                let cut = usize::try_from(self.random.below(len)).unwrap();
                let parts = [data.slice(..cut), Bytes::new(), data.slice(cut..)];
                self.image.write_vectored(offset, &parts).await.unwrap();
            }
            6..8 => {
                discard(&mut self.held, self.image.layout(), offset, len);
                self.image.discard(offset, len).await.unwrap();
            }
            8 => {
                self.held[range(offset, len)].fill(0);
                self.image
                    .write_zeroes(offset, len, Zeroes::Deallocate)
                    .await
                    .unwrap();
            }
            9 => {
                self.held[range(offset, len)].fill(0);
                self.image
                    .write_zeroes(offset, len, Zeroes::Allocate)
                    .await
                    .unwrap();
                let extents = self.image.extents(offset, len).await.unwrap();
                assert!(extents.iter().all(|extent| extent.allocated), "{extents:?}");
            }
            10 => self.resize().await,
            11 => self.check_extents(offset, len).await,
            _ => {
                let read = self.image.read(offset, len).await.unwrap();
                let expected = &self.held[range(offset, len)];
                assert_same(
                    &format!("{len} bytes at {offset}"),
                    &read.to_vec(),
                    expected,
                );
            }
        }
    }

    async fn resize(&mut self) {
        let old = self.held.len() as u64;
        let new = (old / 2 + self.random.below(old)).clamp(1 << 20, 48 << 20);
        self.held.resize(usize::try_from(new).unwrap(), 0);
        if new < old {
            let error = self.image.resize(new, false, |_| {}).await.unwrap_err();
            assert!(matches!(error, Error::ShrinkRefused { .. }), "{error:?}");
        }
        let mut last = None;
        let report = |progress: rbd::Progress| last = Some(progress);
        self.image.resize(new, true, report).await.unwrap();
        if let Some(last) = last {
            assert_eq!(last.done, last.total);
        }
        assert_eq!(self.image.size_bytes(), new);
    }

    /// What counts as not stored must be zeros.
    async fn check_extents(&self, offset: u64, len: u64) {
        let mut at = offset;
        for extent in self.image.extents(offset, len).await.unwrap() {
            if !extent.allocated {
                let held = &self.held[range(at, extent.len)];
                assert!(held.iter().all(|byte| *byte == 0));
            }
            at += extent.len;
        }
        assert_eq!(at, offset + len);
    }
}

async fn run(pool: &Pool, name: &str, options: &CreateOptions, steps: u32, max_len: u64) {
    run_cached(pool, name, options, steps, max_len, Cache::None).await;
}

async fn run_cached(
    pool: &Pool,
    name: &str,
    options: &CreateOptions,
    steps: u32,
    max_len: u64,
    cache: Cache,
) {
    rbd::create(pool, name, options).await.unwrap();
    let seed = name.bytes().map(u64::from).sum();
    let open_options = OpenOptions {
        cache,
        ..OpenOptions::default()
    };
    let mut run = Run {
        image: Image::open(pool, name, open_options).await.unwrap(),
        held: vec![0; usize::try_from(options.size_bytes).unwrap()],
        random: Random::new(seed),
        max_len,
    };
    for _ in 0..steps {
        run.step().await;
    }
    run.image.flush().await.unwrap();
    assert_same("read by us", &read_all(&run.image).await, &run.held);
    assert_same(
        "read by upstream",
        &export(&format!("rbd/{name}")),
        &run.held,
    );
    let again = open(pool, name).await;
    assert_same("read again", &read_all(&again).await, &run.held);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_layout() {
    let pool = pool().await;
    run(
        &pool,
        "oracle-default",
        &plain_options(21 << 20),
        250,
        6 << 20,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn striped_over_five() {
    let pool = pool().await;
    let mut options = plain_options(33 << 20);
    (options.stripe_unit, options.stripe_count) = (64 << 10, 5);
    run(&pool, "oracle-striped", &options, 250, 3 << 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tiny_units_in_small_objects() {
    let pool = pool().await;
    let mut options = plain_options((2 << 20) + 512);
    (options.order, options.stripe_unit, options.stripe_count) = (14, 512, 3);
    run(&pool, "oracle-tiny", &options, 150, 200 << 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_64_kib() {
    let pool = pool().await;
    let options = CreateOptions {
        order: 16,
        ..plain_options(3 << 20)
    };
    run(&pool, "oracle-64k", &options, 250, 500 << 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_32_mib() {
    let pool = pool().await;
    let options = CreateOptions {
        order: 25,
        ..plain_options(40 << 20)
    };
    run(&pool, "oracle-32m", &options, 150, 3 << 20).await;
}

/// So small that everything happens: writes that do not fit, and waiting for room.
fn small_cache() -> Cache {
    Cache::With(CacheOptions {
        writethrough_until_flush: false,
        max_dirty_bytes: 1 << 20,
        target_dirty_bytes: 700 << 10,
        read_ahead: ReadAheadOptions {
            trigger_requests: 0,
            ..ReadAheadOptions::default()
        },
        ..CacheOptions::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_in_the_default_layout() {
    let (pool, options) = (pool().await, plain_options(21 << 20));
    let name = "oracle-cached-default";
    run_cached(&pool, name, &options, 400, 2 << 20, small_cache()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_and_striped_over_five() {
    let pool = pool().await;
    let mut options = CreateOptions::new(33 << 20);
    (options.stripe_unit, options.stripe_count) = (64 << 10, 5);
    let name = "oracle-cached-striped";
    run_cached(&pool, name, &options, 400, 800 << 10, small_cache()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_in_tiny_units_in_small_objects() {
    let pool = pool().await;
    let mut options = plain_options((2 << 20) + 512);
    (options.order, options.stripe_unit, options.stripe_count) = (14, 512, 3);
    let name = "oracle-cached-tiny";
    run_cached(&pool, name, &options, 250, 200 << 10, small_cache()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn erasure_coded_data() {
    let pool = pool().await;
    let data_pool = Some(pool.cluster().pool("ec").await.unwrap());
    let mut options = CreateOptions {
        data_pool,
        ..plain_options(12 << 20)
    };
    (options.stripe_unit, options.stripe_count) = (64 << 10, 5);
    run(&pool, "oracle-ec", &options, 150, 1 << 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_written_is_not_stored() {
    let pool = pool().await;
    rbd::create(&pool, "holes", &plain_options(100 << 20))
        .await
        .unwrap();
    let image = open(&pool, "holes").await;
    let read = image.read(0, 100 << 20).await.unwrap();
    assert_eq!(read.segments[..], [Segment::Zero(100 << 20)]);
    image
        .write(48 << 20, Bytes::from_static(b"here"))
        .await
        .unwrap();
    let read = image.read((48 << 20) - 10, 100).await.unwrap();
    let expected = [
        Segment::Zero(10),
        Segment::Data("here".into()),
        Segment::Zero(86),
    ];
    assert_eq!(read.segments[..], expected);
    // A hole within an object, large enough to be left out of the answer.
    image
        .write(50 << 20, Bytes::from(vec![1; 4096]))
        .await
        .unwrap();
    image
        .write((51 << 20) + 4096, Bytes::from(vec![2; 4096]))
        .await
        .unwrap();
    let read = image.read(50 << 20, 2 << 20).await.unwrap();
    assert!(
        read.segments.len() >= 4,
        "{:?}",
        read.segments.iter().map(Segment::len).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_beyond_the_end_are_refused() {
    let pool = pool().await;
    rbd::create(&pool, "bounds", &plain_options(1000))
        .await
        .unwrap();
    let image = open(&pool, "bounds").await;
    let data = || Bytes::from_static(b"xy");
    image.write(998, data()).await.unwrap();
    for (offset, len) in [(999, 2), (1000, 1), (u64::MAX, 2), (0, 1001)] {
        let data = Bytes::from(vec![0; usize::try_from(len).unwrap()]);
        let results = [
            image.read(offset, len).await.map(drop),
            image.write(offset, data).await,
            image.discard(offset, len).await,
            image.write_zeroes(offset, len, Zeroes::Deallocate).await,
            image.extents(offset, len).await.map(drop),
        ];
        for result in results {
            let error = result.unwrap_err();
            assert!(
                matches!(error, Error::OutOfBounds { size: 1000, .. }),
                "{error:?}"
            );
            assert_eq!(error.errno(), Errno::EINVAL);
        }
    }
    image.read(1000, 0).await.unwrap();
    image.write(1000, Bytes::new()).await.unwrap();
    assert_eq!(image.read(998, 2).await.unwrap().to_vec(), b"xy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_comes_after_the_writes_before_it() {
    let pool = pool().await;
    rbd::create(&pool, "flushed", &plain_options(64 << 20))
        .await
        .unwrap();
    let image = open(&pool, "flushed").await;
    let data = Random::new(5).bytes(64 << 20);
    let mut writes = Vec::new();
    for start in (0..64usize << 20).step_by(1 << 20) {
        let (image, data) = (image.clone(), data.slice(start..start + (1 << 20)));
        writes.push(Box::pin(
            async move { image.write(start as u64, data).await },
        ));
    }
    // Polled once each, so that they are submitted.
    for write in &mut writes {
        assert!(write.now_or_never().is_none());
    }
    let (image_to_flush, pool_to_read) = (image.clone(), pool.clone());
    let flushed = tokio::spawn(async move {
        image_to_flush.flush().await.unwrap();
        let other = open(&pool_to_read, "flushed").await;
        read_all(&other).await
    });
    for write in writes {
        write.await.unwrap();
    }
    assert_same("after the flush", &flushed.await.unwrap(), &data);
}
