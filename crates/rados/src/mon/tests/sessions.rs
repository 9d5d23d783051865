//! Monitors that are lost, fall silent, or cannot be reached at first.

use denc::{Epoch, Tid};
use serde_json::json;
use tokio::time::Instant;

use super::peer::FSID;
use super::*;
use crate::msg::kind;
use crate::relay::{Direction, Harm, Plan};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_new_session_goes_on_where_the_last_one_ended() {
    let (quorum, key) = Quorum::new();
    let monitor = Monitor::start(&quorum).await;
    let client = Client::start(&[&monitor], &key).await;
    let mut first = monitor.accept().await;
    let starts = first.subscriptions().await;
    assert_eq!((starts["monmap"], starts["osdmap"]), (0, 0));
    let (osdmap, epoch) = first_osdmap();
    first.tell_monmap(Epoch(5), &[monitor.addr]);
    first.send(kind::OSD_MAP, Tid(0), osdmap);

    let version = client.ask();
    let command = tokio::spawn({
        let monitors = Arc::clone(&client.monitors);
        async move {
            monitors
                .command(&json!({"prefix": "df"}), Bytes::new())
                .await
        }
    });
    let asked = [
        first.expect(kind::MON_GET_VERSION).await,
        first.expect(kind::MON_COMMAND).await,
    ];
    drop(first);

    let mut second = monitor.accept().await;
    let starts = second.subscriptions().await;
    assert_eq!(starts["monmap"], 6);
    assert_eq!(starts["osdmap"], u64::from(epoch) + 1);
    let again = [
        second.expect(kind::MON_GET_VERSION).await,
        second.expect(kind::MON_COMMAND).await,
    ];
    let numbers = |messages: &[msgr2::Message; 2]| messages.each_ref().map(|it| it.tid);
    assert_eq!(numbers(&again), numbers(&asked));
    // The first answer counts, and only that.
    for (newest, status) in [(77, "first"), (88, "second")] {
        second.answer_version(&again[0], newest);
        second.answer_command(&again[1], status);
    }
    assert_eq!(version.await.unwrap(), Epoch(77));
    assert_eq!(command.await.unwrap().unwrap().status, "first");
    assert_eq!(client.monitors.open_questions(), 0);
    assert_eq!(client.monitors.messenger.fsid(), Some(FSID));
}

/// A monitor that stops, or is cut off, closes no connection.
#[tokio::test(start_paused = true)]
async fn a_silent_monitor_is_left_soon_if_it_owes_something() {
    let (quorum, key) = Quorum::new();
    let monitors = [Monitor::start(&quorum).await, Monitor::start(&quorum).await];
    let client = Client::start(&[&monitors[0], &monitors[1]], &key).await;
    let (silent, mut conn) = whoever_is_asked(&monitors).await;
    conn.subscriptions().await;
    pass(SECOND).await;
    monitors[silent].relay.stall(true);

    let asked = Instant::now();
    let answer = client.ask();
    let mut other = monitors[1 - silent].accept().await;
    assert!(asked.elapsed() < 4 * SECOND, "{:?}", asked.elapsed());
    other.subscriptions().await;
    let question = other.expect(kind::MON_GET_VERSION).await;
    other.answer_version(&question, 9);
    assert_eq!(answer.await.unwrap(), Epoch(9));
}

#[tokio::test(start_paused = true)]
async fn a_silent_monitor_is_given_time_if_nobody_waits_for_it() {
    let (quorum, key) = Quorum::new();
    let monitors = [Monitor::start(&quorum).await, Monitor::start(&quorum).await];
    let _client = Client::start(&[&monitors[0], &monitors[1]], &key).await;
    let (silent, mut conn) = whoever_is_asked(&monitors).await;
    conn.subscriptions().await;
    pass(SECOND).await;

    // It may be away for less than `mon_client_ping_timeout`, and again.
    for _ in 0..3 {
        monitors[silent].relay.stall(true);
        pass(25 * SECOND).await;
        monitors[silent].relay.stall(false);
        pass(15 * SECOND).await;
    }
    assert_eq!(connections(&monitors), 1);
    monitors[silent].relay.stall(true);
    let began = Instant::now();
    monitors[1 - silent].accept().await.subscriptions().await;
    assert!(began.elapsed() > 25 * SECOND && began.elapsed() < 45 * SECOND);
}

fn connections(monitors: &[Monitor]) -> u64 {
    let counts = monitors.iter().map(|monitor| monitor.relay.connections());
    counts.sum::<u64>() - LOST_RACES.min(monitors.len() as u64 - 1)
}

/// Both monitors are tried at first, and one attempt is given up.
const LOST_RACES: u64 = 1;

/// As one does that has just been started, or whose quorum has just been lost.
#[tokio::test(start_paused = true)]
async fn a_monitor_that_turns_clients_away_is_asked_again_soon() {
    let (quorum, key) = Quorum::new();
    let monitor = Monitor::start(&quorum).await;
    for _ in 0..3 {
        monitor.relay.plan(Plan {
            direction: Direction::ToClient,
            after: 0,
            harm: Harm::Reset,
        });
    }
    let began = Instant::now();
    let _client = Client::start(&[&monitor], &key).await;
    monitor.accept().await.subscriptions().await;
    assert_eq!(monitor.relay.connections(), 4);
    // After 0.2 s, 0.4 s and 0.8 s.
    assert!(began.elapsed() < 2 * SECOND, "{:?}", began.elapsed());
}

/// Patience grows until an answer that takes long is waited for.
#[tokio::test(start_paused = true)]
async fn a_slow_monitor_is_reached_in_the_end() {
    let (quorum, key) = Quorum::new();
    let monitor = Monitor::start(&quorum).await;
    let client = Client::start(&[&monitor], &key).await;
    let slow = async {
        loop {
            monitor.relay.stall(true);
            pass(4 * SECOND).await;
            monitor.relay.stall(false);
            pass(SECOND / 100).await;
        }
    };
    let answer = async {
        let answer = client.ask();
        loop {
            let mut conn = monitor.accept().await;
            while let Some(message) = conn.message().await {
                if message.kind == kind::MON_GET_VERSION {
                    conn.answer_version(&message, 12);
                    return answer.await.unwrap();
                }
            }
        }
    };
    let answer = tokio::select! {
        answer = answer => answer,
        () = slow => unreachable!(),
        () = pass(600 * SECOND) => panic!("never reached"),
    };
    assert_eq!(answer, Epoch(12));
}
