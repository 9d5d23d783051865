//! What becomes of an operation, and whether anything is left of it in the end.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use super::cells::Cell;
use super::world::{NO_POOL, World, pass, quiet};
use crate::op::request_flags;
use crate::{Errno, Error};

impl Cell {
    /// Whether it is as expected.
    pub(super) async fn check(&mut self, expected: &str) -> Result<(), String> {
        match expected {
            "." => Err("it happened".to_string()),
            "=" => self.check_stays().await,
            "kept" | "drop" => {
                let error = (&mut self.call).await.unwrap_err();
                assert!(error.is_cancelled());
                let found = if self.world.is_idle() { "drop" } else { "kept" };
                (found == expected)
                    .then_some(())
                    .ok_or_else(|| found.to_string())
            }
            "late" => {
                let found = self.ended().await;
                (found == "time" && !self.world.is_idle())
                    .then_some(())
                    .ok_or(found)
            }
            "ok" | "eio" | "gone" | "list" | "time" | "shut" => {
                let found = self.ended().await;
                (found == expected).then_some(()).ok_or(found)
            }
            place => self.check_sent(place).await,
        }
    }

    /// How it ended; `=` if it did not.
    async fn ended(&mut self) -> String {
        quiet().await;
        if !self.call.is_finished() {
            return "=".to_string();
        }
        let outcome = (&mut self.call).await.unwrap();
        match outcome {
            Ok((0, _)) => "ok".to_string(),
            Ok((result, _)) if result == -Errno::EIO.0 => "eio".to_string(),
            Err(Error::PoolGone { .. }) => "gone".to_string(),
            Err(Error::Blocklisted { .. }) => "list".to_string(),
            Err(Error::OperationTimedOut { .. }) => "time".to_string(),
            Err(Error::ShutDown) => "shut".to_string(),
            other => format!("{other:?}"),
        }
    }

    /// Whether nothing has become of it.
    async fn check_stays(&mut self) -> Result<(), String> {
        if let Some(conn) = &mut self.conn {
            self.news = conn.requests().await.pop();
        }
        let mut arrived = self.arrived.take().map(|arrived| (self.at, arrived));
        for at in 0..self.world.peers.len() {
            if let Some((at, (stream, from))) = arrived.take() {
                let mut conn = self.world.peers[at].let_in(stream, from).await.unwrap();
                let news = conn.requests().await.pop();
                self.news = news.or_else(|| self.news.take());
                self.conn = Some(conn);
            }
            let pending = self.world.peers[at].pending().await;
            arrived = pending.map(|pending| (at, pending));
            // To be connected is not yet to be sent.
            if self.conn.is_none() && self.request.is_none() && at == self.at {
                arrived = None;
            }
        }
        if let Some(news) = &self.news {
            return Err(format!("{news:?}"));
        }
        if self.call.is_finished() {
            return Err(self.ended().await);
        }
        Ok(())
    }

    /// Whether it has been sent as `place` says: to which OSD, and as which attempt.
    async fn check_sent(&mut self, place: &str) -> Result<(), String> {
        let (osd, attempt) = place.split_at(1);
        let osd = "abc".find(osd).unwrap();
        let mut here = self.conn.take();
        if let Some(conn) = &mut here {
            self.news = conn.requests().await.pop();
        }
        if self.call.is_finished() {
            return Err(self.ended().await);
        }
        let is_here = osd == self.at && here.as_ref().is_some_and(|conn| !conn.link.is_closed());
        if is_here {
            self.conn = here;
        } else {
            if let (Some(news), "a" | "b" | "c") = (&self.news, &place[..1]) {
                return Err(format!("{news:?} to osd.{}", self.at));
            }
            let Some((stream, from)) = self.connection_to(osd).await else {
                return Err(format!("no connection to osd.{osd}"));
            };
            let mut conn = self.world.peers[osd].let_in(stream, from).await.unwrap();
            self.news = conn.requests().await.pop();
            self.conn = Some(conn);
            if let Some(before) = here {
                tokio::spawn(before.serve(None));
            }
        }
        let Some(request) = self.news.take() else {
            return Err(format!("nothing is sent to osd.{osd}"));
        };
        if request.attempt.to_string() != attempt {
            return Err(format!("attempt {}", request.attempt));
        }
        assert_eq!(
            request.flags & request_flags::RETRY != 0,
            request.attempt > 0
        );
        assert_eq!(request.epoch, self.world.objecter.view().epoch());
        assert_eq!(request.pool, request.pg.pg.pool);
        self.request = Some(request);
        Ok(())
    }

    async fn connection_to(&mut self, osd: usize) -> Option<(TcpStream, SocketAddr)> {
        if let Some(arrived) = self.arrived.take() {
            return Some(arrived);
        }
        let pending = self.world.peers[osd].pending().await;
        if pending.is_some() {
            return pending;
        }
        // Attempts do not follow each other any faster.
        pass(Duration::from_millis(300)).await;
        self.world.peers[osd].pending().await
    }

    /// Everything becomes well, the operation has its answer, and nothing is left.
    pub(super) async fn end(mut self, expected: &str) -> Result<(), String> {
        if let Some(conn) = self.conn.take() {
            tokio::spawn(conn.serve(self.request.take()));
        }
        match expected {
            "ok" | "eio" | "gone" | "list" | "time" | "shut" | "drop" => {}
            "kept" | "late" => self.world.heal(World::is_idle).await,
            _ => {
                let call = self.call;
                self.world
                    .heal(|world| call.is_finished() && world.is_idle())
                    .await;
                match call.await.unwrap() {
                    Ok((0, _)) => {}
                    // There was little time left.
                    Err(Error::OperationTimedOut { .. }) if expected != "a0" => {}
                    // There is none in the end either.
                    Err(Error::PoolGone { pool: NO_POOL }) => {}
                    other => return Err(format!("{other:?} in the end")),
                }
            }
        }
        quiet().await;
        self.world.assert_idle();
        Ok(())
    }
}
