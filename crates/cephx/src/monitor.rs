//! The client's side of authentication with a monitor.

use std::time::SystemTime;

use bytes::Bytes;
use denc::{AuthEntityName, Decode, EntityType, GlobalId, Reader, Writer};

use crate::proto::{
    Authenticate, Challenge, GET_AUTH_SESSION_KEY, MonitorRequest, ResponseHeader, TicketBlob,
    TicketReply, monitor_proof,
};
use crate::secret::random_u64;
use crate::session::Grant;
use crate::tickets::{Ticket, open_connection_secret, open_extra_tickets, open_tickets};
use crate::{CryptoKey, Error, Random, Result, Secret, Services};

/// What both ends of an authenticated connection share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionKeys {
    /// Signs the handshake.
    pub session_key: Secret,
    /// Encrypts the connection; empty if the server did not send one, as it does in crc mode. A
    /// connection in secure mode must be given up if it is empty.
    pub connection_secret: Secret,
}

/// Authentication on one connection to a monitor.
///
/// ```text
///   start -- request() ------------> monitor
///     |   <- challenge --------------
///   handle_more() -- proof --------> monitor
///     |   <- global id, tickets -----
///   handle_done() -> ConnectionKeys, Grant
/// ```
/// A monitor that does not know our key cannot make tickets that we can read. With keys of type
/// `aes` that shows only in the handshake's signature, made with the session key, so that must be
/// checked before anything from the [`Grant`] is used.
#[derive(Debug)]
pub struct MonitorHandshake {
    name: AuthEntityName,
    key: CryptoKey,
    /// The identity to reclaim, 0 for a new one.
    global_id: GlobalId,
    /// The proof that it is ours.
    old: Option<Ticket>,
    wanted: Services,
    state: State,
}

#[derive(Debug)]
enum State {
    Requested,
    /// The monitor's challenge has been answered.
    Challenged(u64),
    Finished,
}

impl MonitorHandshake {
    pub(crate) const fn new(
        name: AuthEntityName,
        key: CryptoKey,
        global_id: GlobalId,
        old: Option<Ticket>,
        wanted: Services,
    ) -> Self {
        Self {
            name,
            key,
            global_id,
            old,
            wanted,
            state: State::Requested,
        }
    }

    /// The payload of AUTH_REQUEST. May be sent again, with other modes, if the monitor did not like
    /// those of the first.
    pub fn request(&self) -> Bytes {
        Writer::encode(&MonitorRequest {
            name: self.name.clone(),
            global_id: self.global_id,
        })
    }

    /// Answers AUTH_REPLY_MORE with the payload of AUTH_REQUEST_MORE.
    ///
    /// # Errors
    /// [`Error::Decode`] if the payload is no challenge, [`Error::OutOfOrder`] if there was one
    /// before.
    pub fn handle_more(&mut self, payload: &[u8], random: &mut Random<'_>) -> Result<Bytes> {
        let State::Requested = self.state else {
            return Err(Error::OutOfOrder {
                message: "a challenge",
                state: "after the answer to the first one",
            });
        };
        let Challenge(server_challenge) = Challenge::decode_all("server challenge", payload)?;
        self.state = State::Challenged(server_challenge);
        Ok(prove(
            &self.key,
            server_challenge,
            self.old.as_ref(),
            self.wanted,
            random,
        ))
    }

    /// Takes AUTH_DONE: the end of the exchange.
    ///
    /// # Errors
    /// [`Error::ServerUnproven`] if the tickets are not readable with our key, [`Error::Refused`]
    /// if the payload says so, [`Error::TicketMissing`] if there is no AUTH ticket in it,
    /// [`Error::OutOfOrder`] if we were not even challenged.
    pub fn handle_done(
        &mut self,
        global_id: GlobalId,
        payload: &[u8],
        now: SystemTime,
    ) -> Result<(ConnectionKeys, Grant)> {
        let State::Challenged(server_challenge) = self.state else {
            return Err(Error::OutOfOrder {
                message: "the end of authentication",
                state: "before a challenge",
            });
        };
        self.state = State::Finished;
        let answer = AuthAnswer::open(payload, &self.key, self.old.as_ref(), now)?;
        let keys = ConnectionKeys {
            session_key: Secret::new(answer.session_key.secret()),
            connection_secret: answer.connection_secret,
        };
        let grant = Grant {
            global_id,
            server_challenge,
            asked: self.wanted,
            tickets: answer.tickets,
        };
        Ok((keys, grant))
    }
}

/// The request for an AUTH ticket, with the proof that we have the key.
pub(crate) fn prove(
    key: &CryptoKey,
    server_challenge: u64,
    old: Option<&Ticket>,
    wanted: Services,
    random: &mut Random<'_>,
) -> Bytes {
    let client_challenge = random_u64(random);
    let mut writer = Writer::new();
    writer.u16(GET_AUTH_SESSION_KEY).put(&Authenticate {
        client_challenge,
        proof: monitor_proof(key, server_challenge, client_challenge, random),
        old_ticket: old.map_or_else(TicketBlob::default, |ticket| ticket.blob.clone()),
        wanted,
    });
    writer.freeze()
}

/// The answer to [`prove`].
pub(crate) struct AuthAnswer {
    session_key: CryptoKey,
    connection_secret: Secret,
    pub(crate) tickets: Vec<(EntityType, Ticket)>,
}

impl AuthAnswer {
    pub(crate) fn open(
        payload: &[u8],
        key: &CryptoKey,
        old: Option<&Ticket>,
        now: SystemTime,
    ) -> Result<Self> {
        let mut reader = Reader::new("answer of the monitor", payload);
        expect_response(&mut reader, GET_AUTH_SESSION_KEY)?;
        let reply: TicketReply = reader.get()?;
        let old_session_key = old.map(|ticket| &ticket.session_key);
        let mut tickets = open_tickets(&reply, key, old_session_key, now).map_err(unproven)?;
        let session_key = tickets
            .iter()
            .find(|(service, _)| *service == EntityType::AUTH)
            .map(|(_, ticket)| ticket.session_key.clone())
            .ok_or(Error::TicketMissing {
                service: EntityType::AUTH,
            })?;
        let connection_secret =
            open_connection_secret(reader.blob()?, &session_key).map_err(unproven)?;
        tickets.extend(open_extra_tickets(reader.blob()?, &session_key, now).map_err(unproven)?);
        Ok(Self {
            session_key,
            connection_secret,
            tickets,
        })
    }
}

/// Reads the front of an answer to `request`.
pub(crate) fn expect_response(reader: &mut Reader<'_>, request: u16) -> Result<()> {
    let header: ResponseHeader = reader.get()?;
    if header.request != request {
        return Err(Error::OtherRequest {
            expected: request,
            found: header.request,
        });
    }
    match header.status {
        0 => Ok(()),
        status => Err(Error::Refused { status }),
    }
}

/// A monitor whose answers we cannot decrypt does not know our key.
pub(crate) fn unproven(error: Error) -> Error {
    match error {
        Error::Undecipherable { .. } => Error::ServerUnproven {
            service: EntityType::MON,
        },
        other => other,
    }
}
