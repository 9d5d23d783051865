//! What a client knows of itself for as long as it lives: name, key, identity, tickets.

use std::time::SystemTime;

use denc::{AuthEntityName, EntityType, GlobalId};

use crate::authorizer::ServiceHandshake;
use crate::monitor::MonitorHandshake;
use crate::renewal::Renewal;
use crate::secret::random_u64;
use crate::tickets::Ticket;
use crate::{CryptoKey, Error, KeyType, Random, Result, Services};

/// The authentication of one client, which outlives its connections.
///
/// ```text
///                 monitor_handshake()                 service_handshake(OSD)
///   ClientSession --------------------> MonitorHandshake     ...
///        ^                                   |
///        |   adopt(Grant)                    | handle_more(), handle_done()
///        +-----------------------------------+
/// ```
/// Handshakes do not borrow the session, so several can be under way at once; the first monitor
/// handshake that succeeds is adopted and the others are dropped.
#[derive(Debug)]
pub struct ClientSession {
    name: AuthEntityName,
    pub(crate) key: CryptoKey,
    wanted: Services,
    global_id: Option<GlobalId>,
    /// Whether the next handshake is to ask for a new identity instead.
    identity_is_doubted: bool,
    auth: Option<Ticket>,
    /// Whether a service refused its ticket, so that the AUTH ticket may be worthless as well.
    auth_is_doubted: bool,
    /// At most one for each service; all carry `global_id`.
    services: Vec<ServiceTicket>,
    /// Services the monitors give this client no tickets for.
    declined: Services,
    /// The challenge of the monitor whose grant was adopted last; proofs over the open connection
    /// are made with it again.
    server_challenge: u64,
    /// Counts the tickets ever held.
    generation: u64,
}

#[derive(Debug)]
struct ServiceTicket {
    service: EntityType,
    generation: u64,
    ticket: Ticket,
}

impl ClientSession {
    /// A client that has not been authenticated yet.
    pub const fn new(name: AuthEntityName, key: CryptoKey) -> Self {
        Self {
            name,
            key,
            wanted: Services::CLIENT,
            global_id: None,
            identity_is_doubted: false,
            auth: None,
            auth_is_doubted: false,
            services: Vec::new(),
            declined: Services(0),
            server_challenge: 0,
            generation: 0,
        }
    }

    /// The user.
    pub const fn name(&self) -> &AuthEntityName {
        &self.name
    }

    /// The type of the user's key.
    pub const fn key_type(&self) -> KeyType {
        self.key.kind()
    }

    /// Proves itself with another key from now on, for when the user's was rotated. The identity and
    /// the tickets stay: they are not tied to the key. Gives false if it is the key already in use.
    pub fn set_key(&mut self, key: CryptoKey) -> bool {
        let is_other = key != self.key;
        self.key = key;
        is_other
    }

    /// The identity the monitors gave to this client, once they did.
    pub const fn global_id(&self) -> Option<GlobalId> {
        self.global_id
    }

    /// The identity that the next handshake with a monitor claims: 0 for a new one.
    pub fn claimed_identity(&self) -> GlobalId {
        if self.identity_is_doubted {
            return GlobalId(0);
        }
        self.global_id.unwrap_or_default()
    }

    /// Starts to authenticate with a monitor: on a new connection, as who we were before if we were
    /// anyone and that is not [doubted](Self::doubt_identity).
    pub fn monitor_handshake(&self) -> MonitorHandshake {
        let claimed = self.claimed_identity();
        MonitorHandshake::new(
            self.name.clone(),
            self.key.clone(),
            claimed,
            self.auth.clone().filter(|_| claimed != GlobalId(0)),
            self.wanted,
        )
    }

    /// Takes over what a monitor gave.
    ///
    /// A changed global id means a changed identity: watches, locks and blocklist entries belong to
    /// the one before, and its service tickets are dropped.
    pub fn adopt(&mut self, grant: Grant) {
        if self.global_id != Some(grant.global_id) {
            self.services.clear();
            self.global_id = Some(grant.global_id);
        }
        self.identity_is_doubted = false;
        self.server_challenge = grant.server_challenge;
        self.receive(grant.asked, grant.tickets);
    }

    /// Starts to authenticate with a service.
    ///
    /// # Errors
    /// [`Error::NoTicket`] if there is no ticket for it, or an expired one.
    pub fn service_handshake(
        &self,
        service: EntityType,
        now: SystemTime,
        random: &mut Random<'_>,
    ) -> Result<ServiceHandshake> {
        let held = self
            .services
            .iter()
            .find(|held| held.service == service && held.ticket.expires > now);
        let (Some(held), Some(global_id)) = (held, self.global_id) else {
            return Err(Error::NoTicket { service });
        };
        let id = TicketId {
            service,
            generation: held.generation,
        };
        let nonce = random_u64(random);
        Ok(ServiceHandshake::new(id, global_id, &held.ticket, nonce))
    }

    /// Whether there is a ticket for the service that has not expired.
    pub fn has_ticket(&self, service: EntityType, now: SystemTime) -> bool {
        let ticket = match service {
            EntityType::AUTH => self.auth.as_ref(),
            _ => self.held(service).map(|held| &held.ticket),
        };
        ticket.is_some_and(|ticket| ticket.expires > now)
    }

    /// Tickets that are missing or due for renewal. Services for which there is none, and for which
    /// the monitors gave none when they were last asked, are left out, so that asking comes to an end.
    pub fn due(&self, now: SystemTime) -> Services {
        let due = |service: &EntityType| match *service {
            EntityType::AUTH => {
                self.auth_is_doubted
                    || self
                        .auth
                        .as_ref()
                        .is_none_or(|ticket| now >= ticket.renew_after)
            }
            service => match self.held(service) {
                Some(held) => now >= held.ticket.renew_after,
                None => !self.declined.contains(service),
            },
        };
        self.wanted.iter().filter(due).collect()
    }

    /// The earliest time at which a ticket held now becomes due; `None` if there are no tickets.
    pub fn next_due(&self) -> Option<SystemTime> {
        let services = self.services.iter().map(|held| &held.ticket);
        services
            .chain(&self.auth)
            .map(|ticket| ticket.renew_after)
            .min()
    }

    /// Asks for the tickets that are due, over an open connection to a monitor.
    ///
    /// `None` if nothing is due or this client was never authenticated. Only for connections whose
    /// handshake was [adopted](Self::adopt) last. The AUTH ticket comes first: when it is due, a
    /// second renewal may be needed for the others.
    pub fn renewal(&self, now: SystemTime, random: &mut Random<'_>) -> Option<Renewal> {
        let due = self.due(now);
        let (Some(auth), Some(global_id)) = (&self.auth, self.global_id) else {
            return None;
        };
        if due.is_empty() {
            return None;
        }
        Some(if due.contains(EntityType::AUTH) {
            Renewal::of_auth(
                &self.key,
                auth.clone(),
                self.server_challenge,
                self.wanted,
                random,
            )
        } else {
            Renewal::of_services(global_id, auth.clone(), due, random)
        })
    }

    /// Takes over what the answer to a [renewal](Self::renewal) holds.
    ///
    /// # Errors
    /// As [`MonitorHandshake::handle_done`]; the tickets held before are kept.
    pub fn handle_renewal(
        &mut self,
        renewal: &Renewal,
        payload: &[u8],
        now: SystemTime,
    ) -> Result<()> {
        let tickets = renewal.open(&self.key, payload, now)?;
        self.receive(renewal.asked(), tickets);
        Ok(())
    }

    /// Says that a service refused a ticket: new ones are due at once, both for the service and for
    /// AUTH. Does nothing if the ticket has been replaced since.
    ///
    /// The caller must not try for ever: a service refuses good tickets too, of users without rights
    /// there.
    pub fn invalidate(&mut self, ticket: TicketId) {
        let before = self.services.len();
        self.services
            .retain(|held| (held.service, held.generation) != (ticket.service, ticket.generation));
        if self.services.len() != before {
            // The ticket itself is kept: it is the proof that the global id is ours.
            self.auth_is_doubted = true;
        }
    }

    /// Says whether the next handshake is to ask for a new identity, after a monitor refused a claim
    /// to the one we have. That one and its tickets stay until another is [adopted](Self::adopt): it
    /// may be the key that is refused, and services take the tickets for as long as they are good.
    pub const fn doubt_identity(&mut self, is_doubted: bool) {
        self.identity_is_doubted = is_doubted;
    }

    /// Asks again for tickets for services that the monitors gave none for.
    pub const fn ask_for_declined(&mut self) {
        self.declined = Services(0);
    }

    fn held(&self, service: EntityType) -> Option<&ServiceTicket> {
        self.services.iter().find(|held| held.service == service)
    }

    fn receive(&mut self, asked: Services, tickets: Vec<(EntityType, Ticket)>) {
        let given = tickets.iter().map(|(service, _)| *service).collect();
        self.declined = Services(self.declined.0 | asked.0).without(given);
        for (service, ticket) in tickets {
            self.generation += 1;
            if service == EntityType::AUTH {
                self.auth = Some(ticket);
                self.auth_is_doubted = false;
            } else {
                self.services.retain(|held| held.service != service);
                self.services.push(ServiceTicket {
                    service,
                    generation: self.generation,
                    ticket,
                });
            }
        }
    }
}

/// Names one ticket of a session, so that a late refusal does not hit the one that replaced it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketId {
    pub(crate) service: EntityType,
    pub(crate) generation: u64,
}

impl TicketId {
    /// The service the ticket is for.
    pub const fn service(self) -> EntityType {
        self.service
    }
}

/// What a monitor gave: an identity and tickets. To be [adopted](ClientSession::adopt).
#[derive(Debug)]
pub struct Grant {
    pub(crate) global_id: GlobalId,
    pub(crate) server_challenge: u64,
    pub(crate) asked: Services,
    pub(crate) tickets: Vec<(EntityType, Ticket)>,
}

impl Grant {
    /// The identity. Another one than before if the monitor did not let us have that back.
    pub const fn global_id(&self) -> GlobalId {
        self.global_id
    }

    /// The services there are tickets for.
    pub fn services(&self) -> Services {
        self.tickets.iter().map(|(service, _)| *service).collect()
    }
}
