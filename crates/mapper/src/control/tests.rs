use std::sync::Arc;

use tokio::sync::Notify;

use super::*;
use crate::kernel::{DeviceType, Identity};
use crate::state::MappedSpec;

const LIMIT: Duration = Duration::from_secs(20);

/// A daemon whose cluster answers when it is told to.
#[derive(Default)]
struct Daemon {
    answers: Notify,
}

impl Subject for Daemon {
    async fn status(&self, limit: Duration) -> Status {
        let answered = tokio::time::timeout(limit, self.answers.notified()).await;
        Status {
            is_stopping: false,
            traffic: Traffic::default(),
            cluster: match answered {
                Ok(()) => ClusterState::Answers,
                Err(_) => ClusterState::Silent,
            },
        }
    }
}

fn mapping() -> Mapping {
    Mapping {
        process: ProcessId::current().unwrap(),
        spec: MappedSpec {
            cluster: "11-22".to_owned(),
            pool: "rbd".to_owned(),
            namespace: String::new(),
            image: "one".to_owned(),
            snapshot: None,
        },
        device_type: DeviceType::Fuse,
        is_read_only: false,
        device: None,
        mount_point: None,
        identifier: None,
        identity: Identity::default(),
        log_file: None,
    }
}

/// A directory whose name is longer than an address may be.
fn directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("d".repeat(150));
    std::fs::create_dir(&path).unwrap();
    (directory, path)
}

#[tokio::test]
async fn a_daemon_says_how_it_is() {
    let (_directory, path) = directory();
    let (mapping, daemon) = (mapping(), Arc::new(Daemon::default()));
    let socket = socket(&path, mapping.process);
    let control = Control::listen(&socket, Arc::clone(&daemon)).unwrap();
    let silent = status(&path, &mapping, Duration::from_millis(1)).await;
    assert_eq!(silent.unwrap().cluster, ClusterState::Silent);
    daemon.answers.notify_one();
    let answering = status(&path, &mapping, LIMIT).await.unwrap();
    assert_eq!(answering.cluster, ClusterState::Answers);
    control.close().await;
    assert!(!socket.exists());
}

#[tokio::test]
async fn who_asks_to_stop_hears_how_it_goes_and_how_it_went() {
    let (_directory, path) = directory();
    let mapping = mapping();
    let socket = socket(&path, mapping.process);
    let mut control = Control::listen(&socket, Arc::new(Daemon::default())).unwrap();
    let heard = Notify::new();
    let asked = stop(&path, &mapping, Stop::FORCED, |_| heard.notify_one());
    let obeyed = async {
        let request = control.next_stop().await;
        assert_eq!(request.stop, Stop::FORCED);
        let dropped = Tally {
            flushes: 1,
            ..Tally::default()
        };
        heard.notified().await;
        request.reply(Answer::Stopped(dropped));
        control.close().await;
    };
    let (dropped, ()) = tokio::join!(asked, obeyed);
    assert_eq!(dropped.unwrap().flushes, 1);
}

#[tokio::test]
async fn a_refusal_comes_with_its_reason() {
    let (_directory, path) = directory();
    let mapping = mapping();
    let socket = socket(&path, mapping.process);
    let mut control = Control::listen(&socket, Arc::new(Daemon::default())).unwrap();
    let asked = stop(&path, &mapping, Stop::GRACEFUL, |_| {});
    let refused = async {
        let request = control.next_stop().await;
        request.reply(Answer::Refused {
            errno: 16,
            message: "it is in use".to_owned(),
        });
    };
    let (answer, ()) = tokio::join!(asked, refused);
    let error = answer.unwrap_err();
    assert_eq!(
        (error.errno(), error.to_string()),
        (16, "it is in use".to_owned())
    );
}

#[tokio::test]
async fn a_daemon_that_is_not_there_or_goes_away_is_silent() {
    let (_directory, path) = directory();
    let mapping = mapping();
    let nobody = status(&path, &mapping, LIMIT).await;
    assert!(matches!(nobody, Err(Error::Silent { .. })), "{nobody:?}");
    let socket = socket(&path, mapping.process);
    let control = Control::listen(&socket, Arc::new(Daemon::default())).unwrap();
    let asked = stop(&path, &mapping, Stop::GRACEFUL, |_| {});
    let (gone, ()) = tokio::join!(asked, async {
        tokio::task::yield_now().await;
        control.close().await;
    });
    assert!(matches!(gone, Err(Error::Silent { .. })), "{gone:?}");
}
