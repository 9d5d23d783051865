//! The answering side: what monitors and services do, for scripted peers and tests.
//!
//! It knows users, keeps one rotating key for each service, and checks what clients send as strictly
//! as Ceph does. It is not a monitor: keys do not rotate by themselves and there are no caps.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use denc::{AuthEntityName, Decode, Encode, EntityType, GlobalId, Reader, UTime, Writer};
use subtle::ConstantTimeEq as _;

use crate::monitor::ConnectionKeys;
use crate::proto::{
    Authenticate, Authorize, AuthorizeReply, Authorizer, Challenge, ConnectionSecret,
    GET_AUTH_SESSION_KEY, GET_PRINCIPAL_SESSION_KEY, MonitorRequest, ResponseHeader, SealedTicket,
    TicketBlob, TicketReply, TicketRequest, TicketSecret, monitor_proof, new_challenge, seal_blob,
    version,
};
use crate::{CryptoKey, Error, KeyType, KeyUsage, Random, Result, Secret, Services};

/// The authentication of a pretended cluster. Shared by its pretended monitors and services.
#[derive(Debug)]
pub struct AuthServer {
    /// The type of the session keys that are made.
    pub session_keys: KeyType,
    /// How long AUTH tickets are good for.
    pub auth_validity: Duration,
    /// How long tickets for other services are good for.
    pub service_validity: Duration,
    users: BTreeMap<AuthEntityName, CryptoKey>,
    services: BTreeMap<EntityType, ServiceKey>,
}

#[derive(Debug)]
struct ServiceKey {
    id: u64,
    key: CryptoKey,
}

/// A client that has been let in.
#[derive(Debug)]
pub struct Accepted {
    /// The user.
    pub name: AuthEntityName,
    /// The identity.
    pub global_id: GlobalId,
    /// The payload of AUTH_DONE.
    pub payload: Bytes,
    /// What the connection is signed and encrypted with.
    pub keys: ConnectionKeys,
}

impl AuthServer {
    /// A cluster without users and services, whose tickets are good for as long as Ceph's.
    pub const fn new(session_keys: KeyType) -> Self {
        Self {
            session_keys,
            auth_validity: Duration::from_secs(72 * 3600),
            service_validity: Duration::from_secs(3600),
            users: BTreeMap::new(),
            services: BTreeMap::new(),
        }
    }

    /// Adds a user, or changes its key.
    pub fn set_user(&mut self, name: AuthEntityName, key: CryptoKey) {
        self.users.insert(name, key);
    }

    /// Adds a service, or rotates its key: tickets made under the one before are refused from here
    /// on. Monitors need the service [`EntityType::AUTH`].
    pub fn set_service(&mut self, service: EntityType, key: CryptoKey) {
        let id = self.services.get(&service).map_or(1, |old| old.id + 1);
        self.services.insert(service, ServiceKey { id, key });
    }

    /// Takes the payload of AUTH_REQUEST to a monitor; gives the exchange and the payload of
    /// AUTH_REPLY_MORE.
    ///
    /// # Errors
    /// [`Error::Decode`], or [`Error::UnknownUser`].
    pub fn begin_monitor(
        &self,
        payload: &[u8],
        random: &mut Random<'_>,
    ) -> Result<(MonitorExchange, Bytes)> {
        let request = MonitorRequest::decode_all("request", payload)?;
        let key = self
            .users
            .get(&request.name)
            .ok_or_else(|| Error::UnknownUser(request.name.clone()))?;
        let challenge = new_challenge(random);
        let exchange = MonitorExchange {
            request,
            key: key.clone(),
            challenge,
        };
        Ok((exchange, Writer::encode(&challenge)))
    }

    /// Takes the payload of AUTH_REQUEST to `service`; gives the exchange and the payload of
    /// AUTH_REPLY_MORE.
    ///
    /// # Errors
    /// [`Error::Decode`], or [`Error::ClientUnproven`] if the ticket is not good.
    pub fn begin_service(
        &self,
        service: EntityType,
        payload: &[u8],
        now: SystemTime,
        random: &mut Random<'_>,
    ) -> Result<(ServiceExchange, Bytes)> {
        let authorizer = Authorizer::decode_all("authorizer", payload)?;
        let (ticket, _) = self.check_authorizer(service, &authorizer, now)?;
        let challenge = new_challenge(random);
        let usage = KeyUsage::AUTHORIZE_CHALLENGE;
        let sealed = ticket.session_key.seal(usage, &challenge, random);
        Ok((ServiceExchange { service, challenge }, sealed.into()))
    }

    fn check_authorizer(
        &self,
        service: EntityType,
        authorizer: &Authorizer,
        now: SystemTime,
    ) -> Result<(TicketContents, Authorize)> {
        let ticket = self.open_ticket(service, &authorizer.ticket, now)?;
        if authorizer.service != service || authorizer.global_id != ticket.global_id {
            return Err(Error::ClientUnproven {
                what: "the identity",
            });
        }
        let authorize =
            ticket
                .session_key
                .open(KeyUsage::AUTHORIZE, "authorizer", &authorizer.authorize)?;
        Ok((ticket, authorize))
    }

    fn open_ticket(
        &self,
        service: EntityType,
        blob: &TicketBlob,
        now: SystemTime,
    ) -> Result<TicketContents> {
        let wrong = Error::ClientUnproven { what: "the ticket" };
        let key = self
            .services
            .get(&service)
            .filter(|key| key.id == blob.secret_id)
            .ok_or_else(|| wrong.clone())?;
        let ticket: TicketContents =
            key.key
                .open(KeyUsage::SERVICE_TICKET, "ticket", &blob.blob)?;
        if ticket.expires.as_system_time() <= now {
            return Err(wrong);
        }
        Ok(ticket)
    }

    /// A ticket for `service`, whose client's half is sealed with `client_key`.
    fn make_ticket(
        &self,
        service: EntityType,
        client: &Client<'_>,
        now: SystemTime,
        random: &mut Random<'_>,
    ) -> Result<(SealedTicket, CryptoKey)> {
        let no_key = Error::NoTicket { service };
        let service_key = self.services.get(&service).ok_or(no_key)?;
        let session_key = CryptoKey::generate(self.session_keys, now.into(), random)?;
        let validity = match service {
            EntityType::AUTH => self.auth_validity,
            _ => self.service_validity,
        };
        let contents = TicketContents {
            name: client.name.clone(),
            global_id: client.global_id,
            created: now.into(),
            expires: (now + validity).into(),
            session_key: session_key.clone(),
        };
        let blob = TicketBlob {
            secret_id: service_key.id,
            blob: service_key
                .key
                .seal(KeyUsage::SERVICE_TICKET, &contents, random)
                .into(),
        };
        let encoded = Writer::encode(&blob);
        let secret = TicketSecret {
            session_key: session_key.clone(),
            validity: validity.into(),
        };
        let usage = KeyUsage::TICKET_SESSION_KEY;
        let ticket = SealedTicket {
            service,
            secret: client.key.seal(usage, &secret, random).into(),
            ticket_is_sealed: client.old_session_key.is_some(),
            ticket: match client.old_session_key {
                Some(old) => old.seal(KeyUsage::TICKET_BLOB, &encoded, random).into(),
                None => encoded,
            },
        };
        Ok((ticket, session_key))
    }

    /// Tickets for those services that exist.
    fn make_tickets(
        &self,
        services: Services,
        client: &Client<'_>,
        now: SystemTime,
        random: &mut Random<'_>,
    ) -> Result<TicketReply> {
        services
            .iter()
            .filter(|service| self.services.contains_key(service))
            .map(|service| Ok(self.make_ticket(service, client, now, random)?.0))
            .collect::<Result<_>>()
            .map(TicketReply)
    }
}

/// Whom tickets are made for.
struct Client<'a> {
    name: &'a AuthEntityName,
    global_id: GlobalId,
    /// Seals the client's half.
    key: &'a CryptoKey,
    /// Seals the ticket itself, when it replaces one.
    old_session_key: Option<&'a CryptoKey>,
}

/// A monitor's side of the exchange with one client, and afterwards of its renewals.
#[derive(Debug)]
pub struct MonitorExchange {
    request: MonitorRequest,
    key: CryptoKey,
    challenge: Challenge,
}

impl MonitorExchange {
    /// The user.
    pub const fn name(&self) -> &AuthEntityName {
        &self.request.name
    }

    /// Takes the payload of AUTH_REQUEST_MORE, and later that of MAuth. A client that does not
    /// reclaim an identity gets `new_id`; a `secure` connection gets a secret.
    ///
    /// # Errors
    /// [`Error::Decode`]; [`Error::ClientUnproven`] or [`Error::Undecipherable`] if the proof does
    /// not fit the user's key, or the identity is not the client's to reclaim.
    pub fn handle(
        &mut self,
        server: &AuthServer,
        payload: &[u8],
        new_id: GlobalId,
        secure: bool,
        now: SystemTime,
        random: &mut Random<'_>,
    ) -> Result<Accepted> {
        let mut reader = Reader::new("request", payload);
        match reader.u16()? {
            GET_AUTH_SESSION_KEY => {
                let authenticate = reader.get()?;
                reader.finish()?;
                self.authenticate(server, &authenticate, new_id, secure, now, random)
            }
            GET_PRINCIPAL_SESSION_KEY => {
                let authorizer = reader.get()?;
                let TicketRequest(wanted) = reader.get()?;
                reader.finish()?;
                self.renew(server, &authorizer, wanted, now, random)
            }
            other => Err(reader.invalid("request", other.into()).into()),
        }
    }

    fn authenticate(
        &mut self,
        server: &AuthServer,
        authenticate: &Authenticate,
        new_id: GlobalId,
        secure: bool,
        now: SystemTime,
        random: &mut Random<'_>,
    ) -> Result<Accepted> {
        let proof = monitor_proof(
            &self.key,
            self.challenge.0,
            authenticate.client_challenge,
            random,
        );
        let given = authenticate.proof.to_le_bytes();
        if !bool::from(proof.to_le_bytes().ct_eq(&given)) {
            return Err(Error::ClientUnproven { what: "the proof" });
        }
        let old = if self.request.global_id == GlobalId(0) {
            self.request.global_id = new_id;
            None
        } else {
            let old = server.open_ticket(EntityType::AUTH, &authenticate.old_ticket, now)?;
            if old.global_id != self.request.global_id || old.name != self.request.name {
                return Err(Error::ClientUnproven {
                    what: "the claim to a global id",
                });
            }
            Some(old)
        };
        let client = Client {
            name: &self.request.name,
            global_id: self.request.global_id,
            key: &self.key,
            old_session_key: old.as_ref().map(|old| &old.session_key),
        };
        let (auth, session_key) = server.make_ticket(EntityType::AUTH, &client, now, random)?;
        let secret = connection_secret(secure, random);
        let extra = server.make_tickets(
            authenticate
                .wanted
                .without(Services::default().with(EntityType::AUTH)),
            &Client {
                key: &session_key,
                old_session_key: None,
                ..client
            },
            now,
            random,
        )?;
        let mut writer = response(GET_AUTH_SESSION_KEY);
        writer
            .put(&TicketReply(vec![auth]))
            .blob(&seal_blob(
                &session_key,
                KeyUsage::CONNECTION_SECRET,
                &ConnectionSecret(secret.clone()),
                random,
            ))
            .blob(&Writer::encode(&extra));
        Ok(self.accepted(writer.freeze(), &session_key, secret))
    }

    fn renew(
        &self,
        server: &AuthServer,
        authorizer: &Authorizer,
        wanted: Services,
        now: SystemTime,
        random: &mut Random<'_>,
    ) -> Result<Accepted> {
        let (auth, _) = server.check_authorizer(EntityType::AUTH, authorizer, now)?;
        let client = Client {
            name: &auth.name,
            global_id: auth.global_id,
            key: &auth.session_key,
            old_session_key: None,
        };
        let reply = server.make_tickets(wanted, &client, now, random)?;
        let mut writer = response(GET_PRINCIPAL_SESSION_KEY);
        writer.put(&reply);
        Ok(self.accepted(writer.freeze(), &auth.session_key, Secret::default()))
    }

    fn accepted(
        &self,
        payload: Bytes,
        session_key: &CryptoKey,
        connection_secret: Secret,
    ) -> Accepted {
        Accepted {
            name: self.request.name.clone(),
            global_id: self.request.global_id,
            payload,
            keys: ConnectionKeys {
                session_key: Secret::new(session_key.secret()),
                connection_secret,
            },
        }
    }
}

/// A service's side of the exchange with one client.
#[derive(Debug)]
pub struct ServiceExchange {
    service: EntityType,
    challenge: Challenge,
}

impl ServiceExchange {
    /// Takes the payload of AUTH_REQUEST_MORE. A `secure` connection gets a secret.
    ///
    /// # Errors
    /// [`Error::Decode`]; [`Error::ClientUnproven`] or [`Error::Undecipherable`] if the ticket is
    /// not good or the challenge not answered.
    pub fn handle(
        self,
        server: &AuthServer,
        payload: &[u8],
        secure: bool,
        now: SystemTime,
        random: &mut Random<'_>,
    ) -> Result<Accepted> {
        let authorizer = Authorizer::decode_all("authorizer", payload)?;
        let (ticket, authorize) = server.check_authorizer(self.service, &authorizer, now)?;
        if authorize.challenge != Some(self.challenge.0) {
            return Err(Error::ClientUnproven {
                what: "the answer to the challenge",
            });
        }
        let reply = AuthorizeReply {
            nonce_plus_one: authorize.nonce.wrapping_add(1),
            connection_secret: connection_secret(secure, random),
        };
        let usage = KeyUsage::AUTHORIZE_REPLY;
        Ok(Accepted {
            name: ticket.name,
            global_id: ticket.global_id,
            payload: seal_blob(&ticket.session_key, usage, &reply, random),
            keys: ConnectionKeys {
                session_key: Secret::new(ticket.session_key.secret()),
                connection_secret: reply.connection_secret,
            },
        })
    }
}

fn response(request: u16) -> Writer {
    let mut writer = Writer::new();
    writer.put(&ResponseHeader { request, status: 0 });
    writer
}

fn connection_secret(secure: bool, random: &mut Random<'_>) -> Secret {
    let len = if secure { CONNECTION_SECRET_LEN } else { 0 };
    Secret::generate(len, random)
}

/// What only the service can read of a ticket
/// (ceph: src/auth/cephx/CephxProtocol.h, `CephXServiceTicketInfo`; src/auth/Auth.h, `AuthTicket`).
struct TicketContents {
    name: AuthEntityName,
    global_id: GlobalId,
    created: UTime,
    expires: UTime,
    session_key: CryptoKey,
}

impl Encode for TicketContents {
    fn encode(&self, writer: &mut Writer) {
        writer
            .u8(1)
            .u8(2)
            .put(&self.name)
            .put(&self.global_id)
            .u64(u64::MAX)
            .put(&self.created)
            .put(&self.expires);
        // Caps: version, not everything allowed, none given; then the flags.
        writer.u8(1).bool(false).blob(&[]).u32(0);
        writer.put(&self.session_key);
    }
}

impl Decode for TicketContents {
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        version(reader, 1)?;
        version(reader, 2)?;
        let name = reader.get()?;
        let global_id = reader.get()?;
        reader.skip(8)?;
        let created = reader.get()?;
        let expires = reader.get()?;
        version(reader, 1)?;
        reader.bool()?;
        reader.blob()?;
        reader.u32()?;
        Ok(Self {
            name,
            global_id,
            created,
            expires,
            session_key: reader.get()?,
        })
    }
}

/// Bytes of a connection secret, as Ceph makes them: key and nonces of AES-128-GCM take 40.
const CONNECTION_SECRET_LEN: usize = 64;
