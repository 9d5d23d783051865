//! How daemons answer what no client does: with features missing, and going on with sessions that
//! they do not know or know better.

use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;
use std::num::NonZeroU64;
use std::time::Duration;

use bytes::Bytes;
use denc::{AuthEntityName, EntityAddr, EntityType, Features, GlobalId};
use minicluster::{Auth, Store};
use msgr2::auth::{AuthSecrets, ClientAuth};
use msgr2::frame::Control;
use msgr2::frame::auth::{AuthMethod, AuthRequest, BadMethod, ConnectionMode};
use msgr2::{
    AuthError, Banner, ClientOptions, Connection, Error, Event, Revision, SessionRequest,
    decode_frames,
};
use smallvec::smallvec;

use super::release;
use crate::features::SUPPORTED;

/// What OSDs require of each other alone (ceph: src/include/ceph_features.h, `UID`).
const UID: Features = Features(1);

/// An OSD as far as authentication is concerned, which is not asked for proof.
struct Believed;

impl ClientAuth for Believed {
    fn begin(&mut self) -> Result<AuthRequest, AuthError> {
        Ok(AuthRequest {
            method: AuthMethod::NONE,
            modes: smallvec![ConnectionMode::CRC],
            payload: cephx::none::service_request(&AuthEntityName::client("admin"), GlobalId(0)),
        })
    }

    fn bad_method(&mut self, refusal: &BadMethod) -> Result<AuthRequest, AuthError> {
        Err(format!("{refusal:?}").into())
    }

    fn more(&mut self, _payload: &[u8]) -> Result<Bytes, AuthError> {
        Err("a challenge although no proof is asked for".into())
    }

    fn done(
        &mut self,
        _global_id: GlobalId,
        _mode: ConnectionMode,
        _payload: &[u8],
    ) -> Result<AuthSecrets, AuthError> {
        Ok(AuthSecrets::default())
    }
}

/// A connection and what came of it so far.
struct Attempt {
    connection: Connection,
    socket: TcpStream,
    events: Vec<Event>,
    received: Vec<u8>,
}

impl Attempt {
    fn new(options: ClientOptions) -> Self {
        let socket = TcpStream::connect(options.peer_addr.socket.unwrap()).unwrap();
        let patience = Some(Duration::from_secs(30));
        socket.set_read_timeout(patience).unwrap();
        Self {
            connection: Connection::client(options, Box::new(Believed)),
            socket,
            events: Vec::new(),
            received: Vec::new(),
        }
    }

    /// Goes on until the session is open.
    fn establish(&mut self) -> Result<(), Error> {
        while !matches!(self.events.last(), Some(Event::Established(_))) {
            self.write();
            let mut bytes = [0; 4096];
            let count = self.socket.read(&mut bytes).unwrap();
            assert!(count > 0, "closed after {:?}", self.events);
            self.received.extend(&bytes[..count]);
            self.connection.feed(&bytes[..count])?;
            let connection = &mut self.connection;
            self.events
                .extend(std::iter::from_fn(|| connection.poll_event()));
        }
        Ok(())
    }

    fn write(&mut self) {
        loop {
            let mut slices = [IoSlice::new(&[]); 8];
            let count = self.connection.slices(&mut slices);
            if count == 0 {
                return;
            }
            let written = self.socket.write_vectored(&slices[..count]).unwrap();
            self.connection.advance_output(written).unwrap();
        }
    }

    /// What the daemon sent, but for its banner.
    fn frames(&self) -> Vec<Control> {
        let banner = Banner::frame_len(&self.received).unwrap().unwrap();
        let frames = decode_frames(Revision::V2_1, None, &self.received[banner..]).unwrap();
        let controls = frames.iter();
        controls
            .map(|frame| Control::decode(frame.tag, &frame.segments[0]).unwrap())
            .collect()
    }
}

/// The OSD and where other OSDs find it.
fn start() -> Option<(minicluster::Cluster, EntityAddr)> {
    let cluster = minicluster::Cluster::builder()
        .release(release()?)
        .osds(1)
        .mgr(false)
        .auth(Auth::None)
        .store(Store::Memstore)
        .start()
        .unwrap();
    let dump = cluster.ceph(&["osd", "dump", "--format=json"]).unwrap();
    let (_, addrs) = dump.split_once("\"cluster_addrs\":").unwrap();
    let (_, addr) = addrs.split_once("\"type\":\"v2\",\"addr\":\"").unwrap();
    let (addr, rest) = addr.split_once("\",\"nonce\":").unwrap();
    let nonce: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((cluster, format!("v2:{addr}/{nonce}").parse().unwrap()))
}

fn as_osd(addr: &EntityAddr, nonce: u32) -> ClientOptions {
    let mut options = ClientOptions::new(*addr, EntityType::OSD, nonce, SUPPORTED.with(UID));
    options.my_type = EntityType::OSD;
    options.gid = Some(GlobalId(7));
    options.session = SessionRequest::Lossless {
        cookie: NonZeroU64::MIN,
    };
    options
}

#[test]
fn who_lacks_features_is_told_which() {
    let Some((_cluster, addr)) = start() else {
        return;
    };
    let mut options = as_osd(&addr, 1);
    options.supported = Features::MSG_ADDR2;
    let mut attempt = Attempt::new(options);
    let error = attempt.establish().unwrap_err();
    let Error::MissingFeatures(missing) = error else {
        panic!("{error}");
    };
    assert!(missing.contains(UID), "{missing}");
    assert!(!missing.contains(Features::MSG_ADDR2), "{missing}");
    let answer = attempt.frames().pop().unwrap();
    assert!(
        matches!(answer, Control::IdentMissingFeatures(_)),
        "{answer:?}"
    );
}

#[test]
fn a_session_that_is_unknown_begins_anew() {
    let Some((_cluster, addr)) = start() else {
        return;
    };
    let mut first = Attempt::new(as_osd(&addr, 2));
    first.establish().unwrap();
    let session = first.connection.into_session().unwrap();
    // To the OSD this is somebody else.
    let mut options = as_osd(&addr, 3);
    options.session = SessionRequest::Resume(Box::new(session));
    let mut second = Attempt::new(options);
    second.establish().unwrap();
    assert!(
        matches!(
            second.events[..],
            [Event::SessionReset, Event::Established(_)]
        ),
        "{:?}",
        second.events
    );
    let reset = |frame: &Control| matches!(frame, Control::SessionReset(it) if it.full);
    assert!(second.frames().iter().any(reset), "{:?}", second.frames());
}

#[test]
fn a_connection_older_than_the_last_one_is_told_so() {
    let Some((_cluster, addr)) = start() else {
        return;
    };
    let mut options = as_osd(&addr, 4);
    options.global_seq = 5;
    let mut first = Attempt::new(options.clone());
    first.establish().unwrap();
    let session = first.connection.into_session().unwrap();
    options.global_seq = 3;
    options.session = SessionRequest::Resume(Box::new(session));
    let mut second = Attempt::new(options);
    second.establish().unwrap();
    assert!(
        matches!(second.events[..], [Event::Established(_)]),
        "{:?}",
        second.events
    );
    let frames = second.frames();
    let told =
        |frame: &Control| matches!(frame, Control::SessionRetryGlobal(it) if it.global_seq == 5);
    assert!(frames.iter().any(told), "{frames:?}");
    assert!(
        matches!(frames.last(), Some(Control::SessionReconnectOk(_))),
        "{frames:?}"
    );
}
