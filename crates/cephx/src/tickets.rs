//! Tickets: what a client holds to be let in by a service, and for how long.

use std::fmt;
use std::time::{Duration, SystemTime};

use denc::{Decode, Encode, EntityType, Reader, Writer};

use crate::proto::{SealedTicket, TicketBlob, TicketReply, TicketSecret, open_blob};
use crate::{CryptoKey, Error, KeyUsage, Result};

/// A set of services, as a mask of their entity types.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Services(pub u32);

impl Services {
    /// What a client of objects needs: the AUTH ticket, OSDs and managers.
    pub const CLIENT: Self =
        Self((EntityType::AUTH.0 | EntityType::OSD.0 | EntityType::MGR.0) as u32);

    /// Whether `service` is one of them.
    pub const fn contains(self, service: EntityType) -> bool {
        self.0 & service.0 as u32 != 0
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// These and `service`.
    #[must_use]
    pub const fn with(self, service: EntityType) -> Self {
        Self(self.0 | service.0 as u32)
    }

    /// These but not those of `others`.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = EntityType> {
        (0..u8::BITS)
            .map(|bit| EntityType(1 << bit))
            .filter(move |service| self.contains(*service))
    }
}

impl FromIterator<EntityType> for Services {
    fn from_iter<T: IntoIterator<Item = EntityType>>(services: T) -> Self {
        services.into_iter().fold(Self::default(), Self::with)
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Encode for Services {
    fn encode(&self, writer: &mut Writer) {
        writer.u32(self.0);
    }
}

impl Decode for Services {
    const MIN_LEN: usize = 4;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        reader.u32().map(Self)
    }
}

/// A ticket with the key that proves it is ours.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    /// Shared by the client and whoever can read the ticket.
    pub(crate) session_key: CryptoKey,
    pub(crate) blob: TicketBlob,
    pub(crate) expires: SystemTime,
    /// From here on a new one should be asked for.
    pub(crate) renew_after: SystemTime,
}

impl Ticket {
    fn new(secret: TicketSecret, blob: TicketBlob, now: SystemTime) -> Self {
        let validity = secret.validity.as_duration();
        let after = |wait: Duration| now.checked_add(wait).unwrap_or(now);
        Self {
            session_key: secret.session_key,
            blob,
            expires: after(validity),
            renew_after: after(validity - validity / 4),
        }
    }
}

/// Opens the tickets of a reply.
///
/// `key` seals the client's half of each; `old_session_key` is that of the AUTH ticket which was
/// shown when a new one was asked for.
pub(crate) fn open_tickets(
    reply: &TicketReply,
    key: &CryptoKey,
    old_session_key: Option<&CryptoKey>,
    now: SystemTime,
) -> Result<Vec<(EntityType, Ticket)>> {
    let open = |sealed: &SealedTicket| {
        let secret = key.open(
            KeyUsage::TICKET_SESSION_KEY,
            "session key of a ticket",
            &sealed.secret,
        )?;
        let what = "renewed ticket";
        let inner: TicketBlob = if sealed.ticket_is_sealed {
            let old = old_session_key.ok_or(Error::Undecipherable { what })?;
            let blob: bytes::Bytes = old.open(KeyUsage::TICKET_BLOB, what, &sealed.ticket)?;
            Reader::new(what, &blob).get()?
        } else {
            Reader::new("ticket", &sealed.ticket).get()?
        };
        Ok((sealed.service, Ticket::new(secret, inner, now)))
    };
    reply.0.iter().map(open).collect()
}

/// Opens the tickets that come as a blob in a larger answer; an empty blob has none.
pub(crate) fn open_extra_tickets(
    blob: &[u8],
    key: &CryptoKey,
    now: SystemTime,
) -> Result<Vec<(EntityType, Ticket)>> {
    if blob.is_empty() {
        return Ok(Vec::new());
    }
    let reply = Reader::new("service tickets", blob).get()?;
    open_tickets(&reply, key, None, now)
}

/// Opens the connection secret of a monitor's answer; an empty blob means there is none.
pub(crate) fn open_connection_secret(blob: &[u8], key: &CryptoKey) -> Result<crate::Secret> {
    if blob.is_empty() {
        return Ok(crate::Secret::default());
    }
    open_blob::<crate::proto::ConnectionSecret>(
        key,
        KeyUsage::CONNECTION_SECRET,
        "connection secret",
        blob,
    )
    .map(|secret| secret.0)
}
