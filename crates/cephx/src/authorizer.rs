//! The client's side of authentication with an OSD or a manager.

use bytes::Bytes;
use denc::{EntityType, GlobalId, Writer};

use crate::monitor::ConnectionKeys;
use crate::proto::{Authorize, AuthorizeReply, Authorizer, Challenge, TicketBlob, open_blob};
use crate::session::TicketId;
use crate::tickets::Ticket;
use crate::{CryptoKey, Error, KeyUsage, Random, Result, Secret};

/// Authentication on one connection to a service, by a ticket for it.
///
/// ```text
///   request() ------- ticket, sealed nonce ------------------------> service
///   handle_more() <-- sealed challenge -----------------------------
///            -------- ticket, sealed nonce and challenge + 1 ------> service
///   handle_done() <-- sealed nonce + 1, connection secret ----------
/// ```
/// A server that has stolen the address of the service, but cannot read tickets, is found out in
/// the second step at the latest in the fourth: it does not know the session key.
#[derive(Debug)]
pub struct ServiceHandshake {
    id: TicketId,
    global_id: GlobalId,
    session_key: CryptoKey,
    blob: TicketBlob,
    nonce: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Requested,
    Challenged,
    Finished,
}

impl ServiceHandshake {
    pub(crate) fn new(id: TicketId, global_id: GlobalId, ticket: &Ticket, nonce: u64) -> Self {
        Self {
            id,
            global_id,
            session_key: ticket.session_key.clone(),
            blob: ticket.blob.clone(),
            nonce,
            state: State::Requested,
        }
    }

    /// The ticket that is shown, to be [invalidated](crate::ClientSession::invalidate) if the
    /// service refuses it.
    pub const fn ticket(&self) -> TicketId {
        self.id
    }

    /// The payload of AUTH_REQUEST. May be sent again, with other modes, if the service did not
    /// like those of the first.
    pub fn request(&self, random: &mut Random<'_>) -> Bytes {
        self.authorizer(None, random)
    }

    /// Answers AUTH_REPLY_MORE with the payload of AUTH_REQUEST_MORE.
    ///
    /// # Errors
    /// [`Error::ServerUnproven`] if the challenge is not sealed with the session key,
    /// [`Error::OutOfOrder`] if there was one before.
    pub fn handle_more(&mut self, payload: &[u8], random: &mut Random<'_>) -> Result<Bytes> {
        let State::Requested = self.state else {
            return Err(Error::OutOfOrder {
                message: "a challenge",
                state: "after the answer to the first one",
            });
        };
        let usage = KeyUsage::AUTHORIZE_CHALLENGE;
        let Challenge(challenge) = self
            .session_key
            .open(usage, "challenge of the service", payload)
            .map_err(|error| self.unproven(error))?;
        self.state = State::Challenged;
        Ok(self.authorizer(Some(challenge), random))
    }

    /// Takes AUTH_DONE: the end of the exchange.
    ///
    /// # Errors
    /// [`Error::ServerUnproven`] if the answer is not sealed with the session key or does not fit
    /// what was sent, [`Error::OutOfOrder`] if we were not even challenged.
    pub fn handle_done(&mut self, payload: &[u8]) -> Result<ConnectionKeys> {
        let State::Challenged = self.state else {
            return Err(Error::OutOfOrder {
                message: "the end of authentication",
                state: "before a challenge",
            });
        };
        self.state = State::Finished;
        let usage = KeyUsage::AUTHORIZE_REPLY;
        let what = "answer of the service";
        let reply: AuthorizeReply = open_blob(&self.session_key, usage, what, payload)
            .map_err(|error| self.unproven(error))?;
        if reply.nonce_plus_one != self.nonce.wrapping_add(1) {
            return Err(Error::ServerUnproven {
                service: self.id.service,
            });
        }
        Ok(ConnectionKeys {
            session_key: Secret::new(self.session_key.secret()),
            connection_secret: reply.connection_secret,
        })
    }

    #[cfg(test)]
    pub(crate) const fn session_key(&self) -> &CryptoKey {
        &self.session_key
    }

    fn authorizer(&self, challenge: Option<u64>, random: &mut Random<'_>) -> Bytes {
        let authorize = Authorize {
            nonce: self.nonce,
            challenge,
        };
        seal_authorizer(
            self.global_id,
            self.id.service,
            &self.session_key,
            &self.blob,
            authorize,
            random,
        )
    }

    fn unproven(&self, error: Error) -> Error {
        match error {
            Error::Undecipherable { .. } => Error::ServerUnproven {
                service: self.id.service,
            },
            other => other,
        }
    }
}

/// The proof that a ticket is ours.
pub(crate) fn seal_authorizer(
    global_id: GlobalId,
    service: EntityType,
    session_key: &CryptoKey,
    blob: &TicketBlob,
    authorize: Authorize,
    random: &mut Random<'_>,
) -> Bytes {
    let sealed = session_key.seal(KeyUsage::AUTHORIZE, &authorize, random);
    Writer::encode(&Authorizer {
        global_id,
        service,
        ticket: blob.clone(),
        authorize: sealed.into(),
    })
}
