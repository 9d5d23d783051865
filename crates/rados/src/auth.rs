//! Authentication of connections: what the messenger asks, cephx answers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cephx::{
    ClientSession, CryptoKey, Grant, KeyType, MonitorHandshake, ServiceHandshake, TicketId,
};
use denc::{AuthEntityName, EntityType, GlobalId};
use msgr2::auth::{AuthSecrets, ClientAuth};
use msgr2::frame::auth::{AuthRequest, BadMethod};
use msgr2::{AuthError, AuthMethod, ConnectionMode};
use smallvec::SmallVec;
use tokio::time::Instant;

/// Connection modes, most wanted first.
pub(crate) type ConnectionModes = SmallVec<[ConnectionMode; 2]>;

/// Who this client is and how it proves it. Shared by all its connections.
#[derive(Debug)]
pub(crate) struct Credentials {
    name: AuthEntityName,
    method: Method,
    clock: Clock,
}

/// What tickets are timed by: what the system's clock would show if nobody had set it since. Tickets are
/// good for a time, not until one, so that a clock that is set must not make them seem older or newer.
///
/// While the machine sleeps it stands still. Tickets that seem better than they are are refused, and
/// replaced.
#[derive(Clone, Copy, Debug)]
struct Clock {
    origin: SystemTime,
    at_origin: Instant,
}

impl Clock {
    fn start() -> Self {
        Self {
            origin: SystemTime::now(),
            at_origin: Instant::now(),
        }
    }

    fn now(&self) -> SystemTime {
        self.origin + self.at_origin.elapsed()
    }

    /// When it will show `time`; the distant future if that is too far to say.
    fn instant_of(&self, time: SystemTime) -> Instant {
        let after = time.duration_since(self.origin).unwrap_or_default();
        self.at_origin + after.min(FAR)
    }
}

/// Farther than anything that is waited for.
const FAR: Duration = Duration::from_secs(10 * 365 * 86400);

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
            clock: Clock::start(),
        }
    }

    /// A client of a cluster that asks for no proof.
    pub(crate) fn none(name: AuthEntityName) -> Self {
        Self {
            name,
            method: Method::None(Mutex::new(GlobalId(0))),
            clock: Clock::start(),
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

    /// The identity that connections to monitors claim from now on, 0 for a new one.
    pub(crate) fn claimed_identity(&self) -> GlobalId {
        match &self.method {
            Method::None(id) => *lock(id),
            Method::Cephx(session) => lock(session).claimed_identity(),
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
            clock: self.clock,
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
                    lock(session).service_handshake(service, self.clock.now(), &mut random)?;
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

    /// Whether connections to monitors are to ask for a new identity, since the monitors would not
    /// give ours back. It is kept until there is another.
    pub(crate) fn doubt_identity(&self, is_doubted: bool) {
        if let Method::Cephx(session) = &self.method {
            lock(session).doubt_identity(is_doubted);
        }
    }

    /// Whether connections to OSDs can be made, as far as tickets go.
    pub(crate) fn serve_osds(&self) -> bool {
        match &self.method {
            Method::None(_) => true,
            Method::Cephx(session) => lock(session).has_ticket(EntityType::OSD, self.clock.now()),
        }
    }

    /// A ticket is missing of which the monitors may have said that they give none: asks again.
    pub(crate) fn insist(&self) {
        if let Method::Cephx(session) = &self.method {
            lock(session).ask_for_declined();
        }
    }

    /// When there are tickets to be asked for, which may be `now`; nothing if none are needed.
    pub(crate) fn renewal_due(&self, now: Instant) -> Option<Instant> {
        match &self.method {
            Method::None(_) => None,
            Method::Cephx(session) => {
                let session = lock(session);
                if !session.due(self.clock.now()).is_empty() {
                    return Some(now);
                }
                session.next_due().map(|due| self.clock.instant_of(due))
            }
        }
    }

    /// A request for tickets that are missing or about to expire, if there are any.
    pub(crate) fn renewal(&self) -> Option<cephx::Renewal> {
        match &self.method {
            Method::None(_) => None,
            Method::Cephx(session) => lock(session).renewal(self.clock.now(), &mut random),
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
                .handle_renewal(renewal, payload, self.clock.now())
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
    clock: Clock,
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
                let (keys, grant) = handshake.handle_done(global_id, payload, self.clock.now())?;
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
