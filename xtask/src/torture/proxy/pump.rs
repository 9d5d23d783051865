//! One connection's bytes, from either end to the other.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::rules::{Control, Direction};

/// Why one direction ended.
enum End {
    /// Its sender has nothing more to say, or is gone.
    Closed,
    Cut,
}

/// Passes bytes on both ways until either end closes, or the rules end it.
pub(super) async fn run(mut client: TcpStream, mut daemon: TcpStream, control: &Control) {
    let reset = control.next_reset();
    // Messages are small, and nobody is to wait for more of them. Errors mean that it is over.
    let _ = client.set_nodelay(true);
    let _ = daemon.set_nodelay(true);
    let is_hard = {
        let (from_client, to_client) = client.split();
        let (from_daemon, to_daemon) = daemon.split();
        tokio::select! {
            end = pass(from_client, to_daemon, control, Direction::ToDaemon) => end.is_hard(control),
            end = pass(from_daemon, to_client, control, Direction::ToClient) => end.is_hard(control),
            () = reset => true,
        }
    };
    if is_hard {
        let _ = client.set_zero_linger();
        let _ = daemon.set_zero_linger();
    }
}

impl End {
    fn is_hard(&self, control: &Control) -> bool {
        matches!(self, Self::Cut) && control.cuts_hard()
    }
}

async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    control: &Control,
    direction: Direction,
) -> End {
    let mut buffer = vec![0; BUFFER];
    loop {
        let Ok(len @ 1..) = from.read(&mut buffer).await else {
            // The end is held up like everything else.
            control.wait_to_pass(direction).await;
            return End::Closed;
        };
        control.wait_to_pass(direction).await;
        let verdict = control.judge(len);
        if let Some((at, bit)) = verdict.flip
            && let Some(byte) = buffer.get_mut(at)
        {
            *byte ^= 1 << bit;
        }
        let len = verdict.cut_after.unwrap_or(len).min(len);
        let piece = buffer.get(..len).unwrap_or_default();
        if to.write_all(piece).await.is_err() {
            return End::Closed;
        }
        if verdict.cut_after.is_some() {
            return End::Cut;
        }
    }
}

const BUFFER: usize = 64 << 10;
