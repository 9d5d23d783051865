//! Changes of an image that others have open: announced by whoever makes them, and made by the owner of
//! the image's lock for whoever asks. Here, all of them are clients of ours.

use std::sync::{Arc, Mutex, mpsc};

use std::time::Duration;

use bytes::Bytes;
use denc::Writer;
use rados::{Errno, Notification, NotifyReply, Pool, Watch, WatchHandler};
use rbd::{Error, Features, Image, LockPolicy, LockStatus, OpenOptions, Progress, Segment};

use crate::support::*;

pub(crate) fn following() -> OpenOptions {
    OpenOptions {
        watch: true,
        ..OpenOptions::default()
    }
}

/// By a client of its own.
pub(crate) async fn open_and_follow(name: &str) -> Image {
    Image::open(&pool().await, name, following()).await.unwrap()
}

/// As above, with the lock.
pub(crate) async fn own(name: &str) -> Image {
    let image = open_and_follow(name).await;
    image.acquire_lock().await.unwrap();
    image
}

/// Who has the lock, as the cluster says.
pub(crate) async fn owner_of(image: &Image) -> String {
    let info = image.lockers().await.unwrap();
    assert_eq!(info.lockers.len(), 1, "{info:?}");
    info.lockers[0].to_string()
}

/// What is said about an image.
pub(crate) struct Heard {
    _watch: Watch,
    pool: Pool,
    header: String,
    payloads: mpsc::Receiver<Bytes>,
}

impl Heard {
    pub(crate) async fn of(image: &Image) -> Self {
        let (sender, payloads) = mpsc::channel();
        let pool = image.pool().clone();
        let header = format!("rbd_header.{}", image.id());
        let watch = pool.watch(&header, Arc::new(Listener(sender))).await;
        Self {
            _watch: watch.unwrap(),
            pool,
            header,
            payloads,
        }
    }

    /// The numbers of all operations since this was last asked, apart from news about the lock.
    pub(crate) async fn operations(&self) -> Vec<u8> {
        let mut operations = self.all_operations().await;
        operations.retain(|operation| ![ACQUIRED_LOCK, RELEASED_LOCK].contains(operation));
        operations
    }

    pub(crate) async fn all_operations(&self) -> Vec<u8> {
        // What somebody else has heard already may still be on its way to us, but not after this.
        let asked = self.pool.notify(&self.header, UNKNOWN, LIMIT).await;
        assert_eq!(asked.unwrap().timed_out, []);
        let heard = self.payloads.try_iter();
        let before = heard.take_while(|payload| payload != UNKNOWN);
        before.map(|payload| payload[6]).collect()
    }
}

/// A notification of a kind that nobody knows.
const UNKNOWN: &[u8] = b"\x01\x01\x04\0\0\0\xff\0\0\0";
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) const ACQUIRED_LOCK: u8 = 0;
pub(crate) const RELEASED_LOCK: u8 = 1;
pub(crate) const REQUEST_LOCK: u8 = 2;
pub(crate) const HEADER_UPDATE: u8 = 3;
pub(crate) const ASYNC_PROGRESS: u8 = 4;
pub(crate) const ASYNC_COMPLETE: u8 = 5;

struct Listener(mpsc::Sender<Bytes>);

impl WatchHandler for Listener {
    fn notified(&self, notification: Notification, _reply: NotifyReply) {
        self.0.send(notification.payload).unwrap();
    }

    fn lost(&self, _error: &rados::Error) {}

    fn missed(&self) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn what_we_change_is_known_to_others_at_once() {
    let pool = pool().await;
    rbd::create(&pool, "announced", &plain_options(8 << 20))
        .await
        .unwrap();
    let ours = open(&pool, "announced").await;
    let other = open_and_follow("announced").await;
    let heard = Heard::of(&ours).await;
    let assert_announced = async || {
        assert_eq!(heard.operations().await, [HEADER_UPDATE]);
    };

    ours.resize(16 << 20, false, |_| ()).await.unwrap();
    let end = other.read(12 << 20, 1 << 20).await.unwrap();
    assert_eq!(end.segments[..], [Segment::Zero(1 << 20)]);
    other
        .write(12 << 20, Bytes::from(vec![7; 4096]))
        .await
        .unwrap();
    assert_announced().await;
    ours.resize(4 << 20, true, |_| ()).await.unwrap();
    let error = other.read(12 << 20, 1 << 20).await.unwrap_err();
    assert!(matches!(error, Error::OutOfBounds { size, .. } if size == 4 << 20));
    assert_announced().await;
    ours.metadata_set("key", b"value").await.unwrap();
    assert_announced().await;
    ours.metadata_remove("key").await.unwrap();
    assert_announced().await;

    // What fails is no news.
    ours.metadata_remove("key").await.unwrap_err();
    ours.resize(1 << 20, false, |_| ()).await.unwrap_err();
    assert!(heard.operations().await.is_empty());
    other.close().await.unwrap();
}

/// Never answers.
#[derive(Default)]
struct Mute(Mutex<Vec<NotifyReply>>);

impl WatchHandler for Mute {
    fn notified(&self, _notification: Notification, reply: NotifyReply) {
        self.0.lock().unwrap().push(reply);
    }

    fn lost(&self, _error: &rados::Error) {}

    fn missed(&self) {}
}

/// A change that has been made is no failure because of somebody who does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_answer_is_not_waited_for_for_ever() {
    let pool = pool().await;
    rbd::create(&pool, "unheard", &plain_options(8 << 20))
        .await
        .unwrap();
    let image = open(&pool, "unheard").await;
    let mute = Arc::new(Mute::default());
    let header = format!("rbd_header.{}", image.id());
    let watch = pool.watch(&header, Arc::clone(&mute) as _).await.unwrap();
    image.resize(16 << 20, false, |_| ()).await.unwrap();
    assert_eq!(mute.0.lock().unwrap().len(), 1);
    assert_eq!(rbd_json(&["info", "rbd/unheard"])["size"], 16 << 20);
    watch.end().await.unwrap();
}

/// Load on the first 16 MiB of an image, and what it should be.
pub(crate) struct Load {
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<(Vec<u8>, u64)>,
}

impl Load {
    pub(crate) const SIZE: u64 = 16 << 20;

    pub(crate) fn on(image: &Image) -> Self {
        let image = image.clone();
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let mut random = Random::new(77);
            let mut held = vec![0; usize::try_from(Self::SIZE).unwrap()];
            let mut writes = 0;
            while stopped.try_recv().is_err() {
                let at = random.below(Self::SIZE - 9000);
                let data = random.bytes(1 + random_len(writes));
                image.write(at, data.clone()).await.unwrap();
                let at = usize::try_from(at).unwrap();
                held[at..at + data.len()].copy_from_slice(&data);
                writes += 1;
            }
            (held, writes)
        });
        Self { stop, task }
    }

    /// Ends it. Gives what must be there.
    pub(crate) async fn end(self) -> Vec<u8> {
        self.stop.send(()).unwrap();
        let (held, writes) = self.task.await.unwrap();
        assert!(writes > 10, "{writes} writes");
        held
    }
}

fn random_len(writes: u64) -> u64 {
    writes.wrapping_mul(7919) % 8999
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_of_ours_does_what_we_ask_for() {
    let options = rbd::CreateOptions {
        features: Features::LAYERING | Features::EXCLUSIVE_LOCK | Features::DEEP_FLATTEN,
        ..rbd::CreateOptions::new(32 << 20)
    };
    rbd::create(&pool().await, "served", &options)
        .await
        .unwrap();
    let owner = own("served").await;
    let lock = owner_of(&owner).await;
    let heard = Heard::of(&owner).await;
    let load = Load::on(&owner);

    // One that does not watch the image by itself.
    let other = open(&pool().await, "served").await;
    other.resize(200 << 20, false, |_| ()).await.unwrap();
    assert_eq!(other.size_bytes(), 200 << 20);
    owner
        .write(199 << 20, Bytes::from_static(b"x"))
        .await
        .unwrap();
    assert_eq!(heard.operations().await, [7, HEADER_UPDATE, ASYNC_COMPLETE]);
    for object in 10..40 {
        let at = object * (4 << 20);
        owner.write(at, Bytes::from_static(b"x")).await.unwrap();
    }
    let mut steps: Vec<Progress> = Vec::new();
    other
        .resize(32 << 20, true, |step| steps.push(step))
        .await
        .unwrap();
    assert!(!steps.is_empty() && steps.iter().all(|step| step.total == 42));
    let said = heard.operations().await;
    assert_eq!(said[..2], [7, ASYNC_PROGRESS]);
    assert_eq!(said[said.len() - 2..], [HEADER_UPDATE, ASYNC_COMPLETE]);
    assert_eq!(owner.size_bytes(), 32 << 20);
    let past = owner.write(32 << 20, Bytes::from_static(b"x")).await;
    assert!(matches!(past, Err(Error::OutOfBounds { .. })), "{past:?}");

    other.metadata_set("key", b"value").await.unwrap();
    assert_eq!(owner.metadata_get("key").await.unwrap(), "value");
    other.metadata_remove("key").await.unwrap();
    let said = [20, HEADER_UPDATE, ASYNC_COMPLETE];
    assert_eq!(heard.operations().await, [said, said].concat());
    other
        .disable_features(Features::DEEP_FLATTEN)
        .await
        .unwrap();
    assert!(!other.features().contains(Features::DEEP_FLATTEN));
    // Without an id, for the sake of old owners.
    assert_eq!(heard.operations().await, [15, HEADER_UPDATE]);

    assert_eq!(owner_of(&owner).await, lock);
    assert_eq!(owner.lock_status(), LockStatus::Owned);
    let held = load.end().await;
    assert_same("served", &export("rbd/served")[..held.len()], &held);
    assert_eq!(rbd_json(&["info", "rbd/served"])["size"], 32 << 20);

    // The lock goes with the feature.
    other
        .disable_features(Features::EXCLUSIVE_LOCK)
        .await
        .unwrap();
    owner.write(0, Bytes::from_static(b"x")).await.unwrap();
    other.write(1, Bytes::from_static(b"y")).await.unwrap();
    assert_eq!(owner.lock_status(), LockStatus::Unlocked);
    assert!(owner.lockers().await.unwrap().lockers.is_empty());
    assert_eq!(export("rbd/served")[..2], *b"xy");
    owner.close().await.unwrap();
    other.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_owner_cannot_do_is_said() {
    create_locked("unservable", 8 << 20).await;
    let options = OpenOptions {
        lock_policy: LockPolicy::Exclusive,
        ..following()
    };
    let owner = Image::open(&pool().await, "unservable", options)
        .await
        .unwrap();
    owner.acquire_lock().await.unwrap();
    let header = format!("rbd_header.{}", owner.id());
    let name = owner_of(&owner).await;

    // It keeps the lock and works for others all the same.
    let other = open(&pool().await, "unservable").await;
    other.resize(16 << 20, false, |_| ()).await.unwrap();
    // Shrinking is allowed by the request only.
    let answers = ask(owner.pool(), &header, 7, |fields| {
        fields.u64(4 << 20).zeros(24).u8(0);
    });
    assert_eq!(answers.await, [None, Some(-Errno::EINVAL.0)]);
    owner.refresh().await.unwrap();
    assert_eq!(owner.size_bytes(), 16 << 20);
    rbd::create(&pool().await, "name-taken", &plain_options(1 << 20))
        .await
        .unwrap();
    let answers = ask(owner.pool(), &header, 14, |fields| {
        fields.str("name-taken").zeros(24);
    });
    assert_eq!(answers.await, [None, Some(-Errno::EEXIST.0)]);
    assert_eq!(owner_of(&owner).await, name);
    owner.close().await.unwrap();
    other.close().await.unwrap();
}

/// Notifies the watchers of a header, and gives the results in their answers, in order.
async fn ask(
    pool: &Pool,
    header: &str,
    operation: u32,
    fields: impl FnOnce(&mut Writer),
) -> Vec<Option<i32>> {
    let mut message = Writer::new();
    message.envelope(7, 1, |writer| fields(writer.u32(operation)));
    let payload = message.freeze();
    let answers = pool.notify(header, payload, Duration::from_secs(20)).await;
    let answers = answers.unwrap();
    assert_eq!(answers.timed_out, []);
    let results = answers.answers.iter().map(|answer| {
        let result = answer.payload.get(6..10)?;
        Some(i32::from_le_bytes(result.try_into().unwrap()))
    });
    let mut results: Vec<_> = results.collect();
    results.sort_unstable();
    results
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_answers_and_does_everything_once() {
    create_locked("asked", 8 << 20).await;
    let image = open_and_follow("asked").await;
    let header = format!("rbd_header.{}", image.id());
    let pool = image.pool().clone();
    let rename = |number: u64| {
        ask(&pool, &header, 14, move |fields| {
            fields.str("asked-again").u64(7).u64(8).u64(number);
        })
    };
    let no_id = |fields: &mut Writer| {
        fields.zeros(24);
    };
    let flatten = || ask(&pool, &header, 6, no_id);
    let unknown = || ask(&pool, &header, 21, |_| ());
    let quiesce = || ask(&pool, &header, 18, no_id);
    for answers in [rename(1).await, flatten().await, unknown().await] {
        assert_eq!(answers, [None]);
    }
    assert_eq!(quiesce().await, [Some(0)]);

    image.acquire_lock().await.unwrap();
    let unsupported = [Some(-Errno::EOPNOTSUPP.0)];
    assert_eq!(flatten().await, unsupported);
    assert_eq!(unknown().await, unsupported);
    assert_eq!(quiesce().await, [Some(0)]);

    // The same request three times, and another one for the same.
    let heard = Heard::of(&image).await;
    let completions = |count: usize| {
        let mut results = Vec::new();
        while results.len() < count {
            let payload = heard.payloads.recv_timeout(Duration::from_secs(60));
            let payload = payload.unwrap();
            if payload[6] == ASYNC_COMPLETE {
                let number = u64::from_le_bytes(payload[26..34].try_into().unwrap());
                let result = i32::from_le_bytes(payload[34..38].try_into().unwrap());
                results.push((number, result));
            }
        }
        results
    };
    // The listener answers, too.
    let accepted = [None, Some(0)];
    assert_eq!(rename(1).await, accepted);
    assert_eq!(blocking(|| completions(1)), [(1, 0)]);
    assert_eq!(rename(1).await, accepted);
    assert_eq!(blocking(|| completions(1)), [(1, 0)]);
    assert_eq!(rename(1).await, accepted);
    assert_eq!(rename(2).await, accepted);
    let mut results = blocking(|| completions(2));
    results.sort_unstable();
    assert_eq!(results, [(1, 0), (2, -Errno::EEXIST.0)]);
    assert_eq!(rbd_json(&["info", "rbd/asked-again"])["id"], image.id());
    image.close().await.unwrap();
    assert!(image.lockers().await.unwrap().lockers.is_empty());
}

/// An owner that stands still neither answers nor goes away, until its watch has run out.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_dying_owner_does_not_do_we_do() {
    create_locked("orphaned", 8 << 20).await;
    let stopped = crate::stopped::Stopped::start(
        &[("osd_client_watch_timeout", "4")],
        |connection| async move {
            let pool = connection.pool("rbd").await.unwrap();
            let image = Image::open(&pool, "orphaned", following()).await.unwrap();
            image.write(0, vec![1; 4096].into()).await.unwrap();
            image
        },
        |image| async move { image.write(0, vec![2; 4096].into()).await.unwrap_err() },
    )
    .await;
    let image = open(&pool().await, "orphaned").await;
    let before = owner_of(&image).await;
    image.resize(16 << 20, false, |_| ()).await.unwrap();
    assert_ne!(owner_of(&image).await, before);
    assert_eq!(rbd_json(&["info", "rbd/orphaned"])["size"], 16 << 20);
    stopped.resume();
    assert_eq!(export("rbd/orphaned")[..4096], [1; 4096]);
    image.close().await.unwrap();
}

/// Removing objects takes its time, and reading and writing go on meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn shrinking_holds_nobody_up() {
    let pool = pool().await;
    rbd::create(&pool, "shrinking", &plain_options(32 << 20))
        .await
        .unwrap();
    let image = open_and_follow("shrinking").await;
    image.write(0, vec![1; 32 << 20].into()).await.unwrap();
    let (sender, begun) = mpsc::channel();
    let (go_on, gone_on) = mpsc::channel::<()>();
    let shrinking = {
        let image = image.clone();
        tokio::spawn(async move {
            let resized = image.resize(8 << 20, true, move |step| {
                if step.done == 1 {
                    sender.send(()).unwrap();
                    blocking(|| gone_on.recv()).unwrap();
                }
            });
            resized.await
        })
    };
    blocking(|| begun.recv()).unwrap();
    // Others change the header, which does not have the new size yet.
    let other = open(&pool, "shrinking").await;
    assert_eq!(other.size_bytes(), 32 << 20);
    let changed = async {
        other.metadata_set("key", b"value").await.unwrap();
        image.write(0, vec![2; 4096].into()).await.unwrap();
        image.write(16 << 20, vec![2; 4096].into()).await
    };
    let past = tokio::time::timeout(Duration::from_secs(60), changed).await;
    go_on.send(()).unwrap();
    assert!(
        matches!(past, Ok(Err(Error::OutOfBounds { size, .. })) if size == 8 << 20),
        "{past:?}"
    );
    shrinking.await.unwrap().unwrap();
    image.resize(32 << 20, false, |_| ()).await.unwrap();
    let content = export("rbd/shrinking");
    assert_eq!(content[..4096], [2; 4096]);
    assert!(content[4096..8 << 20].iter().all(|byte| *byte == 1));
    assert!(content[8 << 20..].iter().all(|byte| *byte == 0));
    image.close().await.unwrap();
}
