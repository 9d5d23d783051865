//! Watching objects and notifying those who do: among our clients, and with Ceph's tools.

use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use minicluster::{Cluster, Daemon, Store};
use rados::{
    Errno, Error, Notification, NotifyAnswers, NotifyReply, Operation, Pool, Watch, WatchHandler,
    WatcherId, Watchers,
};
use tokio::sync::mpsc;

use crate::support;

/// What a handler was told.
#[derive(Debug)]
enum Told {
    Notified(Notification, NotifyReply),
    Lost(Error),
    Missed,
}

struct Recorder(mpsc::UnboundedSender<Told>);

impl WatchHandler for Recorder {
    fn notified(&self, notification: Notification, reply: NotifyReply) {
        let _ = self.0.send(Told::Notified(notification, reply));
    }

    fn lost(&self, error: &Error) {
        let _ = self.0.send(Told::Lost(error.clone()));
    }

    fn missed(&self) {
        let _ = self.0.send(Told::Missed);
    }
}

/// A watch and what its handler was told.
struct Watching {
    watch: Watch,
    told: mpsc::UnboundedReceiver<Told>,
}

impl Watching {
    async fn start(pool: &Pool, object: &str) -> Self {
        let (sender, told) = mpsc::unbounded_channel();
        let watch = pool.watch(object, Arc::new(Recorder(sender))).await;
        Self {
            watch: watch.unwrap(),
            told,
        }
    }

    fn id(&self, pool: &Pool) -> WatcherId {
        WatcherId {
            client: pool.cluster().global_id(),
            cookie: self.watch.cookie(),
        }
    }

    async fn next(&mut self) -> Told {
        soon(self.told.recv()).await.unwrap()
    }

    /// The next notification that is not one of those before.
    async fn notified(&mut self) -> (Notification, NotifyReply) {
        match self.next().await {
            Told::Notified(notification, reply) => (notification, reply),
            other => panic!("{other:?} instead of a notification"),
        }
    }

    async fn lost(&mut self) -> Error {
        match self.next().await {
            Told::Lost(error) => error,
            other => panic!("{other:?} instead of a loss"),
        }
    }

    async fn missed(&mut self) {
        let told = self.next().await;
        assert!(matches!(told, Told::Missed), "{told:?} instead of missed");
    }
}

/// What does not happen must not be waited for endlessly.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(60);
    let ended = tokio::time::timeout(limit, future).await;
    ended.expect("this was to happen within seconds")
}

/// The pool "data" of a new client of `cluster`.
async fn open(cluster: &Cluster) -> Pool {
    let ours = support::connect(cluster).await;
    ours.pool("data").await.unwrap()
}

/// Starts a cluster with the pool "data" and the object "o" in it.
async fn start(store: Store) -> (Cluster, Pool) {
    let cluster = support::cluster(1).store(store).start().unwrap();
    cluster.create_pool("data", 8).unwrap();
    let pool = open(&cluster).await;
    pool.write_full("o", "x").await.unwrap();
    (cluster, pool)
}

async fn watchers(pool: &Pool) -> Vec<rados::Watcher> {
    let listing = pool.execute("o", Operation::new().list_watchers()).await;
    let Watchers(watchers) = listing.unwrap().decode(0, "watchers").unwrap();
    watchers
}

fn answers(answers: &NotifyAnswers) -> Vec<(WatcherId, &[u8])> {
    let answers = answers.answers.iter();
    answers
        .map(|answer| (answer.watcher, &answer.payload[..]))
        .collect()
}

/// Longer than anything here is waited for.
const LONG: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_is_seen_and_survives_its_osd() {
    let (cluster, pool) = start(Store::Bluestore).await;
    let mut watching = Watching::start(&pool, "o").await;
    let id = watching.id(&pool);

    let listed = cluster.rados(&["-p", "data", "listwatchers", "o"]).unwrap();
    assert!(
        listed.contains(&format!("client.{}", id.client)),
        "{listed}"
    );
    assert!(listed.contains(&id.cookie.to_string()), "{listed}");
    let [watcher] = &watchers(&pool).await[..] else {
        panic!("not one watcher");
    };
    assert_eq!(watcher.id(), id);
    assert_eq!(watcher.timeout_seconds, 30);
    assert_eq!(watcher.addr.nonce, pool.cluster().addr().nonce);

    cluster.kill_daemon(Daemon::Osd(0)).unwrap();
    cluster.start_daemon(Daemon::Osd(0)).unwrap();
    cluster.wait_for_osds_up(1).unwrap();
    watching.missed().await;
    assert!(!watching.watch.is_lost());
    let notifying = pool.notify("o", "still there?", LONG);
    let answering = async { watching.notified().await.1.send("yes") };
    let (answered, ()) = tokio::join!(notifying, answering);
    assert_eq!(answers(&answered.unwrap()), [(id, &b"yes"[..])]);

    watching.watch.end().await.unwrap();
    assert_eq!(watchers(&pool).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_answer_when_and_what_they_like() {
    let (cluster, pool) = start(Store::Memstore).await;
    let another = open(&cluster).await;
    let mut own = Watching::start(&pool, "o").await;
    let mut other = Watching::start(&another, "o").await;
    let ids = (own.id(&pool), other.id(&another));

    // The first notification is answered after the second one.
    let first = tokio::spawn({
        let pool = pool.clone();
        async move { pool.notify("o", "first", LONG).await.unwrap() }
    });
    let (notification, own_reply) = own.notified().await;
    assert_eq!(notification.payload, "first");
    assert_eq!(notification.notifier, ids.0.client);
    let (_, other_reply) = other.notified().await;
    let second = another.notify("o", "second", LONG);
    let answering = async {
        let (notification, reply) = own.notified().await;
        assert_eq!(notification.payload, "second");
        assert_eq!(notification.notifier, ids.1.client);
        reply.send("own");
        let (notification, reply) = other.notified().await;
        assert_eq!(notification.payload, "second");
        drop(reply);
    };
    let (second, ()) = tokio::join!(second, answering);
    let mut expected = [(ids.0, &b"own"[..]), (ids.1, b"")];
    expected.sort();
    assert_eq!(answers(&second.unwrap()), expected);
    assert!(!first.is_finished());
    own_reply.send("late");
    other_reply.send("later");
    let first = soon(first).await.unwrap();
    let mut expected = [(ids.0, &b"late"[..]), (ids.1, b"later")];
    expected.sort();
    assert_eq!(answers(&first), expected);
    assert_eq!(first.timed_out, []);

    // One answers, and one does not.
    let notifying = pool.notify("o", "third", Duration::from_millis(1500));
    let answering = async {
        own.notified().await.1.send("here");
        other.notified().await
    };
    let (third, (_, unanswered)) = tokio::join!(notifying, answering);
    let third = third.unwrap();
    assert_eq!(answers(&third), [(ids.0, &b"here"[..])]);
    assert_eq!(third.timed_out, [ids.1]);
    // This is for nobody.
    unanswered.send("too late");

    own.watch.end().await.unwrap();
    other.watch.end().await.unwrap();
    let nobody = pool.notify("o", "anyone?", LONG).await.unwrap();
    assert_eq!(nobody, NotifyAnswers::default());
    let error = pool.notify("missing", "", LONG).await.unwrap_err();
    assert_eq!(error.errno(), Errno::ENOENT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_outlives_its_osd() {
    let (cluster, pool) = start(Store::Bluestore).await;
    let another = open(&cluster).await;
    let mut watching = Watching::start(&another, "o").await;
    let id = watching.id(&another);
    let notifying = tokio::spawn({
        let pool = pool.clone();
        async move { pool.notify("o", "news", LONG).await }
    });
    let (first, lost_reply) = watching.notified().await;
    // Answered after the notification's beginning has been: now nothing but its end is waited for.
    pool.stat("o").await.unwrap();

    cluster.kill_daemon(Daemon::Osd(0)).unwrap();
    lost_reply.send("to the OSD that is dead");
    cluster.start_daemon(Daemon::Osd(0)).unwrap();
    cluster.wait_for_osds_up(1).unwrap();
    // The next one tells it again, as soon as it knows of the watch or before.
    let answered = async {
        loop {
            match watching.next().await {
                Told::Missed => {}
                Told::Lost(error) => panic!("{error}"),
                Told::Notified(again, reply) => {
                    assert_eq!(again.payload, "news");
                    assert_ne!(again.id, first.id);
                    reply.send("got it");
                    break;
                }
            }
        }
        notifying.await.unwrap().unwrap()
    };
    let answered = soon(answered).await;
    assert_eq!(answers(&answered), [(id, &b"got it"[..])]);
}

/// `rados watch`, until it is dropped.
struct RadosWatch(Child);

impl RadosWatch {
    fn start(cluster: &Cluster) -> Self {
        let child = cluster
            .command("rados")
            .args(["-p", "data", "watch", "o"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }

    /// Ends it, as with the enter key, and gives what it has said.
    fn finish(mut self) -> String {
        use std::io::{Read, Write};
        self.0.stdin.take().unwrap().write_all(b"\n").unwrap();
        let mut said = String::new();
        let mut stdout = self.0.stdout.take().unwrap();
        stdout.read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for RadosWatch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cephs_tools_notify_us_and_are_notified() {
    let (cluster, pool) = start(Store::Memstore).await;
    let mut watching = Watching::start(&pool, "o").await;
    let notifying = std::thread::spawn({
        let mut command = cluster.command("rados");
        command.args(["-p", "data", "notify", "o", "hello"]);
        move || String::from_utf8(command.output().unwrap().stdout).unwrap()
    });
    let (notification, reply) = watching.notified().await;
    // They send a string with its length.
    assert_eq!(notification.payload, b"\x05\0\0\0hello"[..]);
    reply.send("our answer");
    let said = notifying.join().unwrap();
    assert!(said.contains("our answer"), "{said}");
    watching.watch.end().await.unwrap();

    let theirs = RadosWatch::start(&cluster);
    let seen = async {
        loop {
            if let [watcher] = &watchers(&pool).await[..] {
                return watcher.id();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let id = soon(seen).await;
    let payload = Bytes::from_static(b"\x02\0\0\0hi");
    let answered = pool.notify("o", payload, LONG).await.unwrap();
    assert_eq!(answered.timed_out, []);
    let [answer] = &answered.answers[..] else {
        panic!("{answered:?}");
    };
    assert_eq!(answer.watcher, id);
    let said = theirs.finish();
    let client = format!("from {}", pool.cluster().global_id());
    assert!(said.contains("NOTIFY") && said.contains(&client), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_ends_with_its_object_and_begins_again_with_it() {
    let (_cluster, pool) = start(Store::Memstore).await;
    let mut watching = Watching::start(&pool, "o").await;
    let id = watching.id(&pool);
    pool.remove("o").await.unwrap();
    let error = watching.lost().await;
    assert_eq!(error.errno(), Errno::ENOTCONN, "{error}");
    assert!(watching.watch.is_lost());
    pool.write_full("o", "y").await.unwrap();
    watching.missed().await;
    assert!(!watching.watch.is_lost());
    let ids: Vec<_> = watchers(&pool).await.iter().map(|w| w.id()).collect();
    assert_eq!(ids, [id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_is_lost_when_the_osd_is_silent_for_too_long() {
    let (cluster, _) = start(Store::Memstore).await;
    let config = rados::config::Config::builder()
        .conf(cluster.conf_path().to_str().unwrap())
        .option("keyring", cluster.keyring_path().to_str().unwrap())
        .option("osd_client_watch_timeout", "3")
        .load()
        .unwrap();
    let ours = rados::Cluster::connect(config).await.unwrap();
    let pool = ours.pool("data").await.unwrap();
    let mut watching = Watching::start(&pool, "o").await;
    assert_eq!(watchers(&pool).await[0].timeout_seconds, 3);
    cluster.pause_daemon(Daemon::Osd(0)).unwrap();
    let error = watching.lost().await;
    assert_eq!(
        error.to_string(),
        "data/o: the watch has not been confirmed for 3 s"
    );
    assert!(watching.watch.is_lost());
    cluster.resume_daemon(Daemon::Osd(0)).unwrap();
    watching.missed().await;
    // Three seconds are little: it may be lost again by now.
    while watching.watch.is_lost() {
        watching.next().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocklisted_client_loses_its_watch_and_knows_of_it() {
    let (cluster, pool) = start(Store::Memstore).await;
    let mut watching = Watching::start(&pool, "o").await;
    let (ours, another) = (pool.cluster(), open(&cluster).await);
    assert!(!ours.is_blocklisted());
    let expire = Some(Duration::from_secs(600));
    another
        .cluster()
        .blocklist(&ours.addr(), expire)
        .await
        .unwrap();
    let map = another.cluster().osdmap();
    assert!(map.blocklist().contains(&ours.addr()));
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let (_, until) = map.blocklist().addrs().next().unwrap();
    let left = i64::from(until.seconds) - i64::try_from(now.as_secs()).unwrap();
    assert!((500..=601).contains(&left), "{left}");

    let error = soon(ours.wait_blocklisted()).await;
    assert!(matches!(error, Error::Blocklisted { addr } if addr == ours.addr()));
    assert!(ours.is_blocklisted());
    // The OSD may end the watch before the client knows the map that says so.
    let error = watching.lost().await;
    assert!(
        matches!(error, Error::Blocklisted { .. }) || error.errno() == Errno::ENOTCONN,
        "{error}"
    );
    assert!(watching.watch.is_lost());
    let error = pool.notify("o", "", LONG).await.unwrap_err();
    assert!(matches!(error, Error::Blocklisted { .. }), "{error}");
    assert!(!another.cluster().is_blocklisted());
}
