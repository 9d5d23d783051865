//! Tickets that expire, keys that change, and monitors that do not let the client in any more.

use std::time::SystemTime;

use tokio::time::Instant;

use super::peer::NEW_IDENTITY;
use super::*;
use crate::msg::kind;

const MINUTE: Duration = Duration::from_secs(60);
const EACCES: i32 = -crate::Errno::EACCES.0;

/// A client that a monitor has just let in.
async fn let_in(quorum: &Quorum, key: &cephx::CryptoKey) -> (Monitor, Client, Conn) {
    let monitor = Monitor::start(quorum).await;
    let client = Client::start(&[&monitor], key).await;
    let mut conn = monitor.accept().await;
    conn.subscriptions().await;
    (monitor, client, conn)
}

/// Hours pass here of which the system's clock shows nothing: it might as well have been set back.
#[tokio::test(start_paused = true)]
async fn tickets_are_renewed_before_they_expire_whatever_the_systems_clock_shows() {
    let (quorum, key) = Quorum::new();
    let (_monitor, client, mut conn) = let_in(&quorum, &key).await;
    let credentials = &client.monitors.messenger.credentials;
    let (began, on_the_wall) = (Instant::now(), SystemTime::now());
    for round in 1..=20 {
        let request = conn.expect(kind::AUTH).await;
        assert_eq!(began.elapsed().as_secs() / 60, round * 45);
        assert!(credentials.serve_osds(), "too late");
        conn.answer_renewal(&request, 0);
    }
    pass(MINUTE).await;
    assert!(credentials.serve_osds());
    assert!(on_the_wall.elapsed().unwrap() < began.elapsed() / 2);
}

#[tokio::test(start_paused = true)]
async fn tickets_that_do_not_last_are_no_reason_for_a_storm() {
    let (quorum, key) = Quorum::new();
    quorum.auth.lock().unwrap().service_validity = Duration::ZERO;
    let (_monitor, _client, mut conn) = let_in(&quorum, &key).await;
    let over = Instant::now() + 10 * MINUTE;
    let mut renewals = 0;
    while let Ok(Some(message)) = tokio::time::timeout_at(over, conn.message()).await {
        assert_eq!(message.kind, kind::AUTH);
        conn.answer_renewal(&message, 0);
        renewals += 1;
    }
    assert!((10..100).contains(&renewals), "{renewals}");
}

#[tokio::test(start_paused = true)]
async fn a_monitor_that_renews_no_tickets_is_left_for_one_that_lets_us_in() {
    let (quorum, key) = Quorum::new();
    let (monitor, client, mut conn) = let_in(&quorum, &key).await;
    let began = Instant::now();
    let request = conn.expect(kind::AUTH).await;
    conn.answer_renewal(&request, EACCES);
    let mut conn = monitor.accept().await;
    conn.subscriptions().await;
    assert!(began.elapsed() < 46 * MINUTE);
    // One that says nothing to it, although it is there.
    conn.expect(kind::AUTH).await;
    monitor.accept().await.subscriptions().await;
    assert!(began.elapsed() < 93 * MINUTE, "{:?}", began.elapsed());
    assert!(client.monitors.messenger.credentials.serve_osds());
    assert_eq!(client.monitors.messenger.global_id(), NEW_IDENTITY);
}

/// The key was changed, and this client hears of it late: until then it is who it was, and has what it
/// had.
#[tokio::test(start_paused = true)]
async fn who_is_refused_for_a_while_is_who_it_was_afterwards() {
    let (quorum, key) = Quorum::new();
    let (monitor, client, conn) = let_in(&quorum, &key).await;
    let credentials = &client.monitors.messenger.credentials;
    quorum.rotate_key();
    drop(conn);
    for _ in 0..6 {
        assert!(monitor.try_accept().await.is_err());
        assert!(credentials.serve_osds());
    }
    quorum.set_key(key);
    monitor.accept().await.subscriptions().await;
    assert_eq!(credentials.global_id(), NEW_IDENTITY);
    assert!(credentials.serve_osds());
}

/// Monitors give an identity back to whoever has a ticket for it, and that one has expired.
#[tokio::test(start_paused = true)]
async fn who_was_away_for_too_long_becomes_somebody_else() {
    let (quorum, key) = Quorum::new();
    {
        let mut auth = quorum.auth.lock().unwrap();
        auth.auth_validity = 10 * MINUTE;
        auth.service_validity = 10 * MINUTE;
    }
    let (monitor, client, conn) = let_in(&quorum, &key).await;
    monitor.relay.stall(true);
    pass(15 * MINUTE).await;
    assert!(!client.monitors.messenger.credentials.serve_osds());
    monitor.relay.stall(false);
    drop(conn);
    let began = Instant::now();
    monitor.accept().await.subscriptions().await;
    assert!(began.elapsed() < MINUTE, "{:?}", began.elapsed());
    assert!(client.monitors.messenger.credentials.serve_osds());
}
