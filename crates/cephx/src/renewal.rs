//! New tickets over an open connection to a monitor: the payloads of the messages MAuth and
//! MAuthReply (ceph: src/auth/cephx/CephxClientHandler.cc, `build_request`, `handle_response`).

use std::time::SystemTime;

use bytes::Bytes;
use denc::{EntityType, GlobalId, Reader, Writer};

use crate::authorizer::seal_authorizer;
use crate::monitor::{AuthAnswer, expect_response, prove, unproven};
use crate::proto::{Authorize, GET_PRINCIPAL_SESSION_KEY, TicketReply, TicketRequest};
use crate::secret::random_u64;
use crate::tickets::{Ticket, open_tickets};
use crate::{CryptoKey, Random, Result, Services};

/// A request for new tickets, waiting for its answer. Several must not be under way at once, because
/// answers do not say which request they belong to.
#[derive(Debug)]
pub struct Renewal {
    payload: Bytes,
    asked: Services,
    /// The AUTH ticket that was shown.
    auth: Ticket,
}

impl Renewal {
    pub(crate) fn of_auth(
        key: &CryptoKey,
        auth: Ticket,
        server_challenge: u64,
        wanted: Services,
        random: &mut Random<'_>,
    ) -> Self {
        Self {
            payload: prove(key, server_challenge, Some(&auth), wanted, random),
            asked: wanted,
            auth,
        }
    }

    pub(crate) fn of_services(
        global_id: GlobalId,
        auth: Ticket,
        wanted: Services,
        random: &mut Random<'_>,
    ) -> Self {
        let authorize = Authorize {
            nonce: random_u64(random),
            challenge: None,
        };
        let mut writer = Writer::new();
        writer
            .u16(GET_PRINCIPAL_SESSION_KEY)
            .raw(&seal_authorizer(
                global_id,
                EntityType::AUTH,
                &auth.session_key,
                &auth.blob,
                authorize,
                random,
            ))
            .put(&TicketRequest(wanted));
        Self {
            payload: writer.freeze(),
            asked: wanted,
            auth,
        }
    }

    /// What MAuth carries as its payload, for protocol 2.
    pub fn payload(&self) -> Bytes {
        self.payload.clone()
    }

    /// The tickets that were asked for.
    pub const fn asked(&self) -> Services {
        self.asked
    }

    /// The tickets in the payload of MAuthReply.
    pub(crate) fn open(
        &self,
        key: &CryptoKey,
        payload: &[u8],
        now: SystemTime,
    ) -> Result<Vec<(EntityType, Ticket)>> {
        if self.asked.contains(EntityType::AUTH) {
            return Ok(AuthAnswer::open(payload, key, Some(&self.auth), now)?.tickets);
        }
        let mut reader = Reader::new("answer of the monitor", payload);
        expect_response(&mut reader, GET_PRINCIPAL_SESSION_KEY)?;
        let reply: TicketReply = reader.get()?;
        open_tickets(&reply, &self.auth.session_key, None, now).map_err(unproven)
    }
}
