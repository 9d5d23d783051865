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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::net::TcpListener;

    use super::super::rules::Rules;
    use super::*;

    /// A client's end and a daemon's end of a connection through a proxy.
    async fn connection(control: &Arc<Control>) -> (TcpStream, TcpStream) {
        let mut ends = Vec::new();
        for _ in 0..2 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let outer = TcpStream::connect(listener.local_addr().unwrap());
            let (outer, inner) = tokio::join!(outer, listener.accept());
            ends.push((outer.unwrap(), inner.unwrap().0));
        }
        let (daemon, to_daemon) = ends.pop().unwrap();
        let (client, to_client) = ends.pop().unwrap();
        let control = Arc::clone(control);
        tokio::spawn(async move { run(to_client, to_daemon, &control).await });
        (client, daemon)
    }

    #[tokio::test]
    async fn passes_on_both_ways_until_it_is_to_stall() {
        let control = Arc::new(Control::default());
        let (mut client, mut daemon) = connection(&control).await;
        client.write_all(b"there").await.unwrap();
        let mut five = [0; 5];
        daemon.read_exact(&mut five).await.unwrap();
        assert_eq!(&five, b"there");

        control.set(Rules {
            stalls_to_daemon: true,
            ..Rules::default()
        });
        client.write_all(b"again").await.unwrap();
        daemon.write_all(b"back").await.unwrap();
        let mut four = [0; 4];
        client.read_exact(&mut four).await.unwrap();
        assert_eq!(&four, b"back");
        let nothing = daemon.try_read(&mut five).unwrap_err();
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);

        control.set(Rules::default());
        daemon.read_exact(&mut five).await.unwrap();
        assert_eq!(&five, b"again");
    }

    #[tokio::test]
    async fn flips_a_bit_and_cuts_where_it_is_told_to() {
        let control = Arc::new(Control::default());
        control.set(Rules {
            flip_every: Some(3),
            cut_every: Some(5),
            ..Rules::default()
        });
        let (mut client, mut daemon) = connection(&control).await;
        client.write_all(&[0; 8]).await.unwrap();
        let mut all = Vec::new();
        daemon.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, [0, 0, 1, 0, 0]);
        assert_eq!(client.read(&mut [0; 1]).await.unwrap_or_default(), 0);
    }

    #[tokio::test]
    async fn a_hard_cut_and_a_reset_are_seen_as_such() {
        let control = Arc::new(Control::default());
        control.set(Rules {
            cut_every: Some(2),
            cuts_hard: true,
            ..Rules::default()
        });
        let (mut client, mut daemon) = connection(&control).await;
        client.write_all(&[0; 8]).await.unwrap();
        let reset = daemon.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);

        control.set(Rules::default());
        let (mut client, mut daemon) = connection(&control).await;
        client.write_all(b"a").await.unwrap();
        daemon.read_u8().await.unwrap();
        control.reset();
        assert!(client.read_u8().await.is_err());
        assert!(daemon.read_u8().await.is_err());
    }
}
