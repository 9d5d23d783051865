//! How the sockets of connections are set up.
//!
//! A connection over which nothing is sent may have ended without this side hearing of it: the peer's
//! host is gone, or something in between has forgotten the connection. The first message would find
//! that out, by getting no answer; and it takes long to tell that from a peer that is only slow. So the
//! kernel probes idle connections, and ends those that are dead before there is anything to send. The
//! peer's kernel answers, whatever the peer is busy with, and connections over which something is on
//! its way are not probed. Upstream does not do this.
//!
//! `TCP_USER_TIMEOUT` would end dead connections that are in use, too. It would also end those to peers
//! that read nothing for so long, though they are there: an OSD that has as much to do as it may take
//! on does that, and to connect anew and to send everything again is the last thing that it needs.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

pub(super) fn set_up(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let probing = TcpKeepalive::new()
        .with_time(IDLE)
        .with_interval(INTERVAL)
        .with_retries(PROBES);
    SockRef::from(stream).set_tcp_keepalive(&probing)
}

/// How long a connection is idle before it is probed for the first time.
const IDLE: Duration = Duration::from_secs(10);
/// How long after one probe comes the next.
const INTERVAL: Duration = Duration::from_secs(5);
/// How many probes without an answer end it.
const PROBES: u32 = 3;
