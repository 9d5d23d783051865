//! Connections that break anywhere.

use denc::Epoch;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::*;
use crate::msg::kind;
use crate::relay::{Direction, Harm, Plan};

/// Lets clients in and answers them, for ever.
async fn serve(monitor: &Monitor) {
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            (stream, from) = monitor.next_connection() => connections.push(async move {
                let Ok(mut conn) = monitor.let_in(stream, from).await else {
                    return;
                };
                while let Some(message) = conn.message().await {
                    if message.kind == kind::MON_GET_VERSION {
                        conn.answer_version(&message, message.tid.0);
                    }
                }
            }),
            Some(()) = connections.next() => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_is_answered_wherever_the_connection_breaks() {
    let (quorum, key) = Quorum::new();
    let monitor = Monitor::start(&quorum).await;
    let relay = &monitor.relay;
    let scenario = async {
        // How much is said on a connection on which a question is asked and answered.
        let client = Client::start(&[&monitor], &key).await;
        client.ask().await.unwrap();
        drop(client);
        let lengths = Direction::BOTH.map(|direction| relay.passed(direction));

        let client = Client::start(&[&monitor], &key).await;
        let mut asked = client.ask().await.unwrap().0;
        let mut planned = 0;
        for (direction, len) in Direction::BOTH.into_iter().zip(lengths) {
            for after in 0..usize::try_from(len).unwrap() {
                let bit = u8::try_from(after % 8).unwrap();
                let harm = [Harm::Close, Harm::Reset, Harm::Flip(bit), Harm::Stall][after % 4];
                planned += 1;
                relay.plan(Plan {
                    direction,
                    after,
                    harm,
                });
                relay.end_connections();
                asked += 1;
                let answer = tokio::time::timeout(Duration::from_secs(600), client.ask());
                let answer = answer.await.expect("no answer").unwrap();
                assert_eq!(
                    answer,
                    Epoch(asked),
                    "{harm:?} after {after} bytes {direction:?}"
                );
            }
        }
        assert_eq!(client.monitors.open_questions(), 0);
        // Less may be said to a client that has been there before.
        assert!(
            relay.struck() * 10 > planned * 9,
            "{} {planned}",
            relay.struck()
        );
    };
    tokio::select! {
        () = scenario => {}
        () = serve(&monitor) => unreachable!(),
    }
}
