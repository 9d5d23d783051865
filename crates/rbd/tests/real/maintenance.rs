//! Changes of an image that others have open: announced by whoever makes them, and made by the owner of
//! the image's lock for whoever asks.

use std::sync::{Arc, Mutex, mpsc};

use bytes::Bytes;
use rados::{Notification, NotifyReply, WatchHandler};
use rbd::{Error, Image, OpenOptions, Segment};

use crate::support::*;

async fn open_and_follow(name: &str) -> Image {
    let options = OpenOptions {
        watch: true,
        ..OpenOptions::default()
    };
    Image::open(&pool().await, name, options).await.unwrap()
}

/// Hears what is said about an image.
struct Listener(mpsc::Sender<Bytes>);

impl WatchHandler for Listener {
    fn notified(&self, notification: Notification, _reply: NotifyReply) {
        self.0.send(notification.payload).unwrap();
    }

    fn lost(&self, _error: &rados::Error) {}

    fn missed(&self) {}
}

/// What is announced of a header that has changed, as upstream's clients do it.
const HEADER_UPDATE: &[u8] = &[7, 1, 4, 0, 0, 0, 3, 0, 0, 0];

#[tokio::test(flavor = "multi_thread")]
async fn what_we_change_is_known_to_others_at_once() {
    let pool = pool().await;
    rbd::create(&pool, "announced", &plain_options(8 << 20))
        .await
        .unwrap();
    let ours = open(&pool, "announced").await;
    let other = open_and_follow("announced").await;
    let (sender, heard) = mpsc::channel();
    let header = format!("rbd_header.{}", ours.id());
    let watch = pool.watch(&header, Arc::new(Listener(sender)));
    let watch = watch.await.unwrap();
    let assert_announced = || {
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [HEADER_UPDATE]);
    };

    ours.resize(16 << 20, false, |_| ()).await.unwrap();
    let end = other.read(12 << 20, 1 << 20).await.unwrap();
    assert_eq!(end.segments[..], [Segment::Zero(1 << 20)]);
    other
        .write(12 << 20, Bytes::from(vec![7; 4096]))
        .await
        .unwrap();
    assert_announced();
    ours.resize(4 << 20, true, |_| ()).await.unwrap();
    let error = other.read(12 << 20, 1 << 20).await.unwrap_err();
    assert!(matches!(error, Error::OutOfBounds { size, .. } if size == 4 << 20));
    assert_announced();
    ours.metadata_set("key", b"value").await.unwrap();
    assert_announced();
    ours.metadata_remove("key").await.unwrap();
    assert_announced();

    // What fails is no news.
    ours.metadata_remove("key").await.unwrap_err();
    ours.resize(1 << 20, false, |_| ()).await.unwrap_err();
    assert!(heard.try_recv().is_err());
    watch.end().await.unwrap();
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
