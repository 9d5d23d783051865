//! Authentication of connections: what the messenger asks, cephx answers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use cephx::{
    ClientSession, CryptoKey, Grant, KeyType, MonitorHandshake, ServiceHandshake, TicketId,
};
use denc::{AuthEntityName, EntityType, GlobalId};
use msgr2::auth::{AuthSecrets, ClientAuth};
use msgr2::frame::auth::{AuthRequest, BadMethod};
use msgr2::{AuthError, AuthMethod, ConnectionMode};
use smallvec::SmallVec;

/// Connection modes, most wanted first.
pub(crate) type ConnectionModes = SmallVec<[ConnectionMode; 2]>;

/// Who this client is and how it proves it. Shared by all its connections.
#[derive(Debug)]
pub(crate) struct Credentials {
    name: AuthEntityName,
    method: Method,
}

#[derive(Debug)]
enum Method {
    /// The cluster asks for no proof.
    None(Mutex<GlobalId>),
    Cephx(Box<Mutex<ClientSession>>),
}

impl Credentials {
    /// A client that proves itself with `session`'s key.
    pub(crate) fn cephx(session: ClientSession) -> Self {
        Self {
            name: session.name().clone(),
            method: Method::Cephx(Box::new(Mutex::new(session))),
        }
    }

    /// A client of a cluster that asks for no proof.
    pub(crate) const fn none(name: AuthEntityName) -> Self {
        Self {
            name,
            method: Method::None(Mutex::new(GlobalId(0))),
        }
    }

    /// The user.
    pub(crate) const fn name(&self) -> &AuthEntityName {
        &self.name
    }

    /// The identity the monitors gave to this client, 0 before they did.
    pub(crate) fn global_id(&self) -> GlobalId {
        match &self.method {
            Method::None(id) => *lock(id),
            Method::Cephx(session) => lock(session).global_id().unwrap_or_default(),
        }
    }

    /// Uses another key from now on. Gives false if it is the one in use, or none is needed.
    pub(crate) fn set_key(&self, key: CryptoKey) -> bool {
        match &self.method {
            Method::None(_) => false,
            Method::Cephx(session) => lock(session).set_key(key),
        }
    }

    /// Authentication for a connection to a monitor.
    pub(crate) fn for_monitor(&self, modes: ConnectionModes) -> MonitorAuth {
        let exchange = match &self.method {
            Method::None(_) => MonitorExchange::None(self.global_id()),
            Method::Cephx(session) => {
                let session = lock(session);
                MonitorExchange::Cephx {
                    handshake: Box::new(session.monitor_handshake()),
                    key_type: session.key_type(),
                }
            }
        };
        let name = self.name.clone();
        MonitorAuth {
            name,
            modes,
            exchange,
            granted: Arc::default(),
        }
    }

    /// Authentication for a connection to an OSD or manager.
    ///
    /// # Errors
    /// If there is no ticket for the service: the monitors have to be asked for one.
    pub(crate) fn for_service(
        &self,
        service: EntityType,
        modes: ConnectionModes,
    ) -> Result<ServiceAuth, cephx::Error> {
        let exchange = match &self.method {
            Method::None(_) => ServiceExchange::None(self.global_id()),
            Method::Cephx(session) => {
                let handshake =
                    lock(session).service_handshake(service, SystemTime::now(), &mut random)?;
                ServiceExchange::Cephx(handshake)
            }
        };
        Ok(ServiceAuth {
            name: self.name.clone(),
            modes,
            exchange,
        })
    }

    /// Takes over what a monitor granted on a connection that will be used.
    pub(crate) fn adopt(&self, granted: Granted) {
        match (&self.method, granted) {
            (Method::None(id), Granted::None(granted)) => *lock(id) = granted,
            (Method::Cephx(session), Granted::Cephx(grant)) => lock(session).adopt(*grant),
            _ => {}
        }
    }

    /// A service refused this ticket.
    pub(crate) fn invalidate(&self, ticket: TicketId) {
        if let Method::Cephx(session) = &self.method {
            lock(session).invalidate(ticket);
        }
    }

    /// Gives up the identity, which the monitors would not give back.
    pub(crate) fn forget_identity(&self) {
        if let Method::Cephx(session) = &self.method {
            lock(session).forget_identity();
        }
    }

    /// A request for tickets that are missing or about to expire, if there are any.
    pub(crate) fn renewal(&self) -> Option<cephx::Renewal> {
        match &self.method {
            Method::None(_) => None,
            Method::Cephx(session) => lock(session).renewal(SystemTime::now(), &mut random),
        }
    }

    /// Takes the answer to a renewal.
    pub(crate) fn handle_renewal(
        &self,
        renewal: &cephx::Renewal,
        payload: &[u8],
    ) -> Result<(), cephx::Error> {
        match &self.method {
            Method::None(_) => Ok(()),
            Method::Cephx(session) => lock(session)
                .handle_renewal(renewal, payload, SystemTime::now())
                .map(drop),
        }
    }
}

/// What a monitor granted. Worth nothing until the connection's signature has been checked.
#[derive(Debug)]
pub(crate) enum Granted {
    None(GlobalId),
    Cephx(Box<Grant>),
}

/// Authentication of one connection to a monitor.
#[derive(Debug)]
pub(crate) struct MonitorAuth {
    name: AuthEntityName,
    modes: ConnectionModes,
    exchange: MonitorExchange,
    granted: GrantSlot,
}

#[derive(Debug)]
enum MonitorExchange {
    None(GlobalId),
    Cephx {
        handshake: Box<MonitorHandshake>,
        key_type: KeyType,
    },
}

/// Where a connection attempt leaves what was granted.
pub(crate) type GrantSlot = Arc<Mutex<Option<Granted>>>;

impl MonitorAuth {
    /// Where to find what was granted once the connection is open.
    pub(crate) fn grant_slot(&self) -> GrantSlot {
        Arc::clone(&self.granted)
    }
}

impl ClientAuth for MonitorAuth {
    fn begin(&mut self) -> Result<AuthRequest, AuthError> {
        let (method, payload) = match &self.exchange {
            MonitorExchange::None(id) => (
                AuthMethod::NONE,
                cephx::none::monitor_request(&self.name, *id),
            ),
            MonitorExchange::Cephx { handshake, .. } => (AuthMethod::CEPHX, handshake.request()),
        };
        Ok(AuthRequest {
            method,
            modes: self.modes.clone(),
            payload,
        })
    }

    fn bad_method(&mut self, refusal: &BadMethod) -> Result<AuthRequest, AuthError> {
        let key_type = match &self.exchange {
            MonitorExchange::None(_) => None,
            MonitorExchange::Cephx { key_type, .. } => Some(*key_type),
        };
        retry_with_allowed_modes(&mut self.modes, refusal, key_type)?;
        self.begin()
    }

    fn more(&mut self, payload: &[u8]) -> Result<Bytes, AuthError> {
        match &mut self.exchange {
            MonitorExchange::None(_) => Err("a challenge although no proof is asked for".into()),
            MonitorExchange::Cephx { handshake, .. } => {
                Ok(handshake.handle_more(payload, &mut random)?)
            }
        }
    }

    fn done(
        &mut self,
        global_id: GlobalId,
        _mode: ConnectionMode,
        payload: &[u8],
    ) -> Result<AuthSecrets, AuthError> {
        let (granted, secrets) = match &mut self.exchange {
            MonitorExchange::None(_) => (Granted::None(global_id), AuthSecrets::default()),
            MonitorExchange::Cephx { handshake, .. } => {
                let (keys, grant) = handshake.handle_done(global_id, payload, SystemTime::now())?;
                (Granted::Cephx(Box::new(grant)), secrets(&keys))
            }
        };
        *lock(&self.granted) = Some(granted);
        Ok(secrets)
    }
}

/// Authentication of one connection to an OSD or manager.
#[derive(Debug)]
pub(crate) struct ServiceAuth {
    name: AuthEntityName,
    modes: ConnectionModes,
    exchange: ServiceExchange,
}

#[derive(Debug)]
enum ServiceExchange {
    None(GlobalId),
    Cephx(ServiceHandshake),
}

impl ServiceAuth {
    /// The ticket it uses, if it uses one.
    pub(crate) const fn ticket(&self) -> Option<TicketId> {
        match &self.exchange {
            ServiceExchange::None(_) => None,
            ServiceExchange::Cephx(handshake) => Some(handshake.ticket()),
        }
    }
}

impl ClientAuth for ServiceAuth {
    fn begin(&mut self) -> Result<AuthRequest, AuthError> {
        let (method, payload) = match &self.exchange {
            ServiceExchange::None(id) => (
                AuthMethod::NONE,
                cephx::none::service_request(&self.name, *id),
            ),
            ServiceExchange::Cephx(handshake) => {
                (AuthMethod::CEPHX, handshake.request(&mut random))
            }
        };
        Ok(AuthRequest {
            method,
            modes: self.modes.clone(),
            payload,
        })
    }

    fn bad_method(&mut self, refusal: &BadMethod) -> Result<AuthRequest, AuthError> {
        retry_with_allowed_modes(&mut self.modes, refusal, None)?;
        self.begin()
    }

    fn more(&mut self, payload: &[u8]) -> Result<Bytes, AuthError> {
        match &mut self.exchange {
            ServiceExchange::None(_) => Err("a challenge although no proof is asked for".into()),
            ServiceExchange::Cephx(handshake) => Ok(handshake.handle_more(payload, &mut random)?),
        }
    }

    fn done(
        &mut self,
        _global_id: GlobalId,
        _mode: ConnectionMode,
        payload: &[u8],
    ) -> Result<AuthSecrets, AuthError> {
        match &mut self.exchange {
            ServiceExchange::None(_) => Ok(AuthSecrets::default()),
            ServiceExchange::Cephx(handshake) => Ok(secrets(&handshake.handle_done(payload)?)),
        }
    }
}

fn secrets(keys: &cephx::ConnectionKeys) -> AuthSecrets {
    AuthSecrets {
        session_key: Some(keys.session_key.as_slice().to_vec().into()),
        connection_secret: keys.connection_secret.as_slice().to_vec().into(),
    }
}

/// The server does not accept what was offered. Only connection modes can be changed: another
/// method would mean another, weaker proof than the one configured.
fn retry_with_allowed_modes(
    modes: &mut ConnectionModes,
    refusal: &BadMethod,
    key_type: Option<KeyType>,
) -> Result<(), AuthError> {
    let allowed: ConnectionModes = modes
        .iter()
        .copied()
        .filter(|mode| refusal.allowed_modes.contains(mode))
        .collect();
    // Any other result refuses the proof, which would be no better the second time.
    let is_negotiable = refusal.result == -crate::Errno::EOPNOTSUPP.0;
    if !is_negotiable || allowed.is_empty() || allowed == *modes {
        return Err(Box::new(Refused {
            refusal: refusal.clone(),
            offered: modes.clone(),
            key_type,
        }));
    }
    *modes = allowed;
    Ok(())
}

/// The server does not accept how this client wants to authenticate, or does not accept it at all.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) refusal: BadMethod,
    offered: ConnectionModes,
    /// The type of the key that was no proof. Monitors say no more than "no", and the reason may be
    /// that they allow no keys of this type.
    key_type: Option<KeyType>,
}

impl std::error::Error for Refused {}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let BadMethod {
            method,
            result,
            allowed_methods,
            allowed_modes,
        } = &self.refusal;
        let errno = crate::Errno(result.saturating_neg());
        if !allowed_methods.contains(method) {
            write!(
                f,
                "it wants authentication by {}, not {method}",
                list(allowed_methods)
            )
        } else if !self.offered.iter().any(|mode| allowed_modes.contains(mode)) {
            let (allowed, offered) = (list(allowed_modes), list(&self.offered));
            write!(
                f,
                "it allows {allowed} connections only, and {offered} ones are wanted"
            )
        } else if let Some(key_type) = self.key_type {
            write!(f, "{errno}, asked with a key of type {key_type}")
        } else {
            write!(f, "{errno}")
        }
    }
}

/// Why the peer does not accept us, or we do not accept it, if that is why a connection failed:
/// trying again changes nothing.
pub(crate) fn refusal(error: &msgr2::Error) -> Option<String> {
    match error {
        msgr2::Error::Auth(reason) => Some(reason.to_string()),
        msgr2::Error::BadSignature | msgr2::Error::ModeNotOffered { .. } => Some(error.to_string()),
        _ => None,
    }
}

/// Whether a connection failed because one side does not accept the other's proof: another ticket may
/// help. It does not help against a mode or method that the other side does not have.
pub(crate) fn is_of_the_proof(error: &msgr2::Error) -> bool {
    match error {
        msgr2::Error::Auth(reason) => reason
            .downcast_ref::<Refused>()
            .is_none_or(|refused| refused.refusal.result != -crate::Errno::EOPNOTSUPP.0),
        msgr2::Error::BadSignature => true,
        _ => false,
    }
}

fn list(items: &[impl std::fmt::Display]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(" or ")
}

/// Fills `bytes` from the system's random source.
pub(crate) fn random(bytes: &mut [u8]) {
    // The source cannot fail on any Linux that runs tokio, and there is no safe way on without it.
    #[expect(clippy::expect_used, reason = "no randomness, no safe connection")]
    getrandom::fill(bytes).expect("the system's random source works");
}

/// Nothing panics while one of these locks is held, so poisoning means nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
