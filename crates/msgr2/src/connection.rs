//! One connection without its socket: bytes in, bytes and events out.

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;

use buffers::BufferPool;
use bytes::buf::Limit;
use bytes::{BufMut, BytesMut};
use denc::UTime;

use crate::auth::{ClientAuth, ServerAuth};
use crate::handshake::client::{Client, ClientOptions};
use crate::handshake::server::{Server, ServerOptions, Sessions};
use crate::handshake::{ConnectionInfo, Established, Wire, control};
use crate::receiver::{Incoming, Receiver};
use crate::sender::{Outgoing, Sender};
use crate::session::{Peer, Session};
use crate::{Error, Message, limits};

/// One connection, of either side.
///
/// Bytes that arrive are put into [`space`](Self::space) and handled by
/// [`handle_input`](Self::handle_input); then [`poll_event`](Self::poll_event) says what came of
/// them, and [`slices`](Self::slices) what is to be written. Once the session is open the
/// connection can be [split](Self::split) into its two directions.
pub struct Connection {
    state: State,
    events: VecDeque<Event>,
}

enum State {
    Banner(Side, Box<Wire>),
    Handshake(Side, Box<Wire>),
    Open(Box<Open>),
    /// After an error.
    Failed,
}

/// Which side this is.
enum Side {
    Client(Box<Client>),
    Server(Box<Server>),
}

/// An open session.
#[derive(Debug)]
pub struct Open {
    /// What was agreed on.
    pub info: ConnectionInfo,
    /// The direction in.
    pub receiver: Receiver,
    /// The direction out.
    pub sender: Sender,
    /// What else is needed to go on with the session.
    pub(crate) link: Link,
    /// The last message this side has told the peer of.
    acked: u64,
    /// The peer waits for a sign of life with this stamp.
    keepalive_due: Option<UTime>,
}

/// What names a session, and the peer it is with.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    client_cookie: u64,
    server_cookie: u64,
    connect_seq: u64,
    peer: Peer,
}

impl Link {
    /// The session as it is when its connection has ended.
    pub(crate) fn into_session(self, in_seq: u64, sent: crate::session::Sent) -> Session {
        Session {
            client_cookie: self.client_cookie,
            server_cookie: self.server_cookie,
            connect_seq: self.connect_seq,
            in_seq,
            sent,
            peer: self.peer,
        }
    }
}

/// What has come of the bytes that arrived.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The session is open.
    Established(ConnectionInfo),
    /// The session from before is lost: what was not acknowledged may or may not have arrived.
    /// Comes before [`Established`](Self::Established).
    SessionReset,
    /// A message.
    Message(Message),
    /// A sign of life, with the stamp that was sent.
    KeepaliveAck(UTime),
}

impl Connection {
    /// A client's connection. What it has to say first can be written at once.
    pub fn client(options: ClientOptions, auth: Box<dyn ClientAuth>) -> Self {
        let wire = Wire::new(&options.banner(), options.buffers.clone());
        let client = Client::new(options, auth);
        Self {
            state: State::Banner(Side::Client(Box::new(client)), Box::new(wire)),
            events: VecDeque::new(),
        }
    }

    /// A server's connection. What it has to say first can be written at once.
    pub fn server(
        options: ServerOptions,
        auth: Box<dyn ServerAuth>,
        sessions: Box<dyn Sessions>,
    ) -> Self {
        let wire = Wire::new(&options.banner(), BufferPool::default());
        let server = Server::new(options, auth, sessions);
        Self {
            state: State::Banner(Side::Server(Box::new(server)), Box::new(wire)),
            events: VecDeque::new(),
        }
    }

    /// Where the next bytes go; never empty, except after an error.
    pub fn space(&mut self) -> Option<Limit<&mut BytesMut>> {
        match &mut self.state {
            State::Banner(_, wire) | State::Handshake(_, wire) => Some(wire.decoder.space()),
            State::Open(open) => Some(open.receiver.space()),
            State::Failed => None,
        }
    }

    /// Handles everything that has been put into [`space`](Self::space).
    ///
    /// # Errors
    /// If the connection cannot go on. It is then of no more use.
    pub fn handle_input(&mut self) -> Result<(), Error> {
        loop {
            let state = std::mem::replace(&mut self.state, State::Failed);
            let (state, is_done) = self.advance(state)?;
            self.state = state;
            if is_done {
                return Ok(());
            }
        }
    }

    /// Puts `bytes` into [`space`](Self::space) and handles them.
    ///
    /// # Errors
    /// As [`handle_input`](Self::handle_input).
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let Some(mut space) = self.space() else {
                return Err(Error::Closed);
            };
            let (now, later) = bytes.split_at(bytes.len().min(space.remaining_mut()));
            space.put_slice(now);
            bytes = later;
            self.handle_input()?;
        }
        Ok(())
    }

    /// One step, and whether it was the last one possible.
    fn advance(&mut self, state: State) -> Result<(State, bool), Error> {
        match state {
            State::Banner(mut side, mut wire) => {
                let Some(theirs) = wire.banner()? else {
                    return Ok((State::Banner(side, wire), true));
                };
                match &mut side {
                    Side::Client(client) => client.banner(&theirs, &mut wire)?,
                    Side::Server(server) => server.banner(&theirs, &mut wire)?,
                }
                Ok((State::Handshake(side, wire), false))
            }
            State::Handshake(side, mut wire) => {
                let Some(frame) = wire.decoder.next_frame()? else {
                    return Ok((State::Handshake(side, wire), true));
                };
                let frame = control(&frame)?;
                let next = match side {
                    Side::Client(client) => client
                        .handle(frame, &mut wire)?
                        .map(|client| Side::Client(Box::new(client))),
                    Side::Server(server) => server
                        .handle(frame, &mut wire)?
                        .map(|server| Side::Server(Box::new(server))),
                };
                match next {
                    Ok(side) => Ok((State::Handshake(side, wire), false)),
                    Err(established) => {
                        let open = self.open(*established, *wire)?;
                        Ok((State::Open(Box::new(open)), false))
                    }
                }
            }
            State::Open(mut open) => {
                while let Some(incoming) = open.receiver.poll_incoming()? {
                    let event = open.handle(incoming)?;
                    self.events.extend(event);
                }
                open.answer()?;
                Ok((State::Open(open), true))
            }
            State::Failed => Err(Error::Closed),
        }
    }

    fn open(&mut self, established: Established, wire: Wire) -> Result<Open, Error> {
        let Established {
            info,
            session,
            is_reset,
        } = established;
        if is_reset {
            self.events.push_back(Event::SessionReset);
        }
        tracing::debug!(peer = %info.peer_addrs, mode = %info.mode, "session open");
        self.events.push_back(Event::Established(info.clone()));
        let sender = Sender::new(
            wire.encoder,
            wire.output,
            session.sent,
            info.is_lossy,
            session.in_seq,
        )?;
        Ok(Open {
            info,
            receiver: Receiver::new(wire.decoder, session.in_seq),
            sender,
            link: Link {
                client_cookie: session.client_cookie,
                server_cookie: session.server_cookie,
                connect_seq: session.connect_seq,
                peer: session.peer,
            },
            acked: session.in_seq,
            keepalive_due: None,
        })
    }

    /// What has happened next, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Queues a message.
    ///
    /// # Errors
    /// [`Error::NotOpen`] before the session is open, [`Error::Closed`] after an error,
    /// [`Error::MessageTooLong`], [`Error::NoncesUsedUp`].
    pub fn send(&mut self, message: Message) -> Result<(), Error> {
        let open = self.opened()?;
        let outgoing = Outgoing::new(message, open.sender.form())?;
        open.acked = open.receiver.last_received();
        open.sender.send(outgoing, open.acked)
    }

    /// Queues a request for a sign of life; its answer is [`Event::KeepaliveAck`] with the same
    /// stamp.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn keepalive(&mut self, stamp: UTime) -> Result<(), Error> {
        self.opened()?.sender.keepalive(stamp)
    }

    /// Fills `slices` with what is to be written next and says how many there are.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        match &self.state {
            State::Banner(_, wire) | State::Handshake(_, wire) => wire.slices(slices),
            State::Open(open) => open.sender.slices(slices),
            State::Failed => 0,
        }
    }

    /// The first `written` bytes have been written.
    ///
    /// # Errors
    /// [`Error::NoncesUsedUp`].
    pub fn advance_output(&mut self, written: usize) -> Result<(), Error> {
        match &mut self.state {
            State::Banner(_, wire) | State::Handshake(_, wire) => wire.output.advance(written),
            State::Open(open) => open.sender.advance(written)?,
            State::Failed => {}
        }
        Ok(())
    }

    /// The two directions of the open session, to be used independently. Events that have not been
    /// polled are lost; bytes that have arrived are not.
    ///
    /// # Errors
    /// The connection itself, if its session is not open.
    pub fn split(self) -> Result<Open, Self> {
        match self.state {
            State::Open(open) => Ok(*open),
            state => Err(Self {
                state,
                events: self.events,
            }),
        }
    }

    /// The session, to go on with it over another connection. Nothing if it is lossy or was never
    /// open.
    pub fn into_session(self) -> Option<Session> {
        match self.state {
            State::Open(open) if !open.info.is_lossy => Some(
                open.link
                    .into_session(open.receiver.last_received(), open.sender.into_sent()),
            ),
            _ => None,
        }
    }

    fn opened(&mut self) -> Result<&mut Open, Error> {
        match &mut self.state {
            State::Open(open) => Ok(open),
            State::Failed => Err(Error::Closed),
            _ => Err(Error::NotOpen),
        }
    }
}

impl Open {
    fn handle(&mut self, incoming: Incoming) -> Result<Option<Event>, Error> {
        Ok(match incoming {
            Incoming::Message(message, ack_seq) => {
                self.sender.acknowledged(ack_seq)?;
                Some(Event::Message(message))
            }
            Incoming::Ack(seq) => {
                self.sender.acknowledged(seq)?;
                None
            }
            Incoming::Keepalive(stamp) => {
                self.keepalive_due = Some(stamp);
                None
            }
            Incoming::KeepaliveAck(stamp) => Some(Event::KeepaliveAck(stamp)),
        })
    }

    /// Gives signs of life, and tells the peer what has arrived if it is time.
    ///
    /// A peer that asks but does not read gets no answers, which would only pile up.
    fn answer(&mut self) -> Result<(), Error> {
        if self.sender.queued_bytes() >= limits::UNREAD_ANSWERS {
            return Ok(());
        }
        if let Some(stamp) = self.keepalive_due.take() {
            self.sender.keepalive_ack(stamp)?;
        }
        let received = self.receiver.last_received();
        if received - self.acked >= ack_every(self.info.is_lossy) {
            self.acked = received;
            self.sender.ack(received)?;
        }
        Ok(())
    }
}

/// After how many messages an acknowledgement is due.
pub(crate) const fn ack_every(is_lossy: bool) -> u64 {
    if is_lossy { limits::LOSSY_ACK_EVERY } else { 1 }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Banner(..) => "Connection(banner)",
            State::Handshake(..) => "Connection(handshake)",
            State::Open(_) => "Connection(open)",
            State::Failed => "Connection(failed)",
        })
    }
}
