//! Futures that are dropped at each point at which they wait.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use minicluster::Store;
use serde_json::json;

use super::{config, release};
use crate::{Cluster, Notification, NotifyReply, Operation, Result, WatchHandler};

/// Longer than anything takes that comes to an end.
const PATIENCE: Duration = Duration::from_secs(60);
/// So few that one that is lost is missed.
const FEW: &str = "3";
/// More than any of the futures has to be polled.
const POLLS: usize = 1000;

/// A future's result, or nothing if it is not ready after it has been polled so often.
async fn polled<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut polls = 0;
    std::future::poll_fn(|context| {
        if polls == times {
            return Poll::Ready(None);
        }
        polls += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            // The future goes in the state that this poll has left it in.
            Poll::Pending if polls == times => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Begins something over and over, and drops it after having polled it one time more each time, until
/// it is ready before. `check` is done after each.
async fn drop_at_each_wait<T>(
    mut begin: impl AsyncFnMut() -> Result<T>,
    check: impl AsyncFn(),
) -> usize {
    for times in 0..POLLS {
        let output = tokio::time::timeout(PATIENCE, polled(begin(), times)).await;
        let is_over = output.expect("it hangs").map(Result::unwrap).is_some();
        tokio::time::timeout(PATIENCE, check()).await.unwrap();
        if is_over {
            return times;
        }
    }
    panic!("never ready");
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn start() -> Option<minicluster::Cluster> {
    let cluster = minicluster::Cluster::builder()
        .release(release()?)
        .mons(1)
        .osds(1)
        .mgr(false)
        .store(Store::Memstore)
        .start()
        .unwrap();
    cluster.create_pool("data", 8).unwrap();
    Some(cluster)
}

/// Answers nothing.
struct Silent;

impl WatchHandler for Silent {
    fn notified(&self, _notification: Notification, _reply: NotifyReply) {}
    fn lost(&self, _error: &crate::Error) {}
    fn missed(&self) {}
}

#[tokio::test]
async fn nothing_is_left_of_an_operation_that_is_dropped() {
    let Some(daemons) = start() else {
        return;
    };
    let config = config(&daemons, &[("objecter_inflight_ops", FEW)]);
    let limits = config.in_flight_limits().unwrap();
    let ours = Cluster::connect(config).await.unwrap();
    let pool = ours.pool("data").await.unwrap();
    pool.write_full("object", "before").await.unwrap();
    let check = async || {
        // What was sent is answered, and nothing else was.
        until(|| ours.objecter().is_idle()).await;
        assert!(ours.objecter().limits_are_untouched(limits));
        assert_eq!(ours.monitors().open_questions(), 0);
        assert_eq!(pool.read("object", 0, 6).await.unwrap(), "before");
    };
    let command = json!({"prefix": "fsid"});
    let second = Duration::from_secs(1);
    let append = async || pool.execute("object", Operation::new().append("x")).await;
    for polls in [
        drop_at_each_wait(append, &check).await,
        drop_at_each_wait(async || pool.read("object", 0, 0).await, &check).await,
        drop_at_each_wait(async || pool.notify("object", "", second).await, &check).await,
        drop_at_each_wait(
            async || pool.watch("object", Arc::new(Silent)).await,
            &check,
        )
        .await,
        drop_at_each_wait(
            async || ours.monitor_command(&command, Bytes::new()).await,
            &check,
        )
        .await,
        drop_at_each_wait(async || ours.update_osdmap().await, &check).await,
    ] {
        println!("dropped after up to {polls} polls");
        assert!(polls > 1);
    }
}

#[tokio::test]
async fn nothing_is_left_of_a_connection_that_is_given_up() {
    let Some(daemons) = start() else {
        return;
    };
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    let connect = async || {
        let ours = Cluster::connect(config(&daemons, &[])).await?;
        let pool = ours.pool("data").await?;
        pool.write_full("object", "x").await
    };
    let polls = drop_at_each_wait(connect, async || until(|| tasks() == before).await).await;
    println!("dropped after up to {polls} polls");
    assert!(polls > 1);
}
