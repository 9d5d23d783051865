//! What all connections of one client have in common: its address and nonce, by which the cluster
//! knows it, its credentials, its preferences.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use buffers::BufferPool;
use cephx::ClientSession;
use denc::{AddrType, EntityAddr, EntityType, GlobalId, Uuid};
use msgr2::auth::ClientAuth;
use msgr2::driver::{Handler, Link};
use msgr2::{Banner, ClientOptions, CompressionOptions, ProtocolFeatures, SessionRequest};

use crate::auth::{self, ConnectionModes, Credentials, Granted, random};
use crate::config::{AuthMethod, Config, ConfigError, ConnectionMode};
use crate::features;

/// Makes this client's connections.
#[derive(Debug)]
pub(crate) struct Messenger {
    pub(crate) credentials: Credentials,
    settings: ArcSwap<MessengerSettings>,
    /// Tells this client from others on the same host, which are all at port 0.
    nonce: u32,
    /// Learned from the first server that says as whom it sees us.
    ip: OnceLock<IpAddr>,
    fsid: OnceLock<Uuid>,
    /// Counts connections, so that a server can tell an old one from a new one.
    global_seq: AtomicU64,
    /// What all connections read into.
    pub(crate) buffers: BufferPool,
    /// What to pass for with OSDs: a client, except in tests. The present OSDs compress with other
    /// OSDs only.
    pub(crate) kind_for_osds: EntityType,
    /// What of the protocol is offered: everything, except in tests.
    pub(crate) protocol: ProtocolFeatures,
    /// Where to connect to in place of some addresses: everything is passed on from there.
    #[cfg(test)]
    pub(crate) detours: std::collections::HashMap<SocketAddr, SocketAddr>,
}

/// Preferences for connections.
#[derive(Clone, Debug)]
pub(crate) struct MessengerSettings {
    /// Modes for connections to monitors, most wanted first.
    pub(crate) monitor_modes: ConnectionModes,
    /// Modes for connections to OSDs, most wanted first.
    pub(crate) service_modes: ConnectionModes,
    /// What to ask OSDs for, besides a mode.
    pub(crate) compression: Option<CompressionOptions>,
    /// How long connecting and authenticating may take.
    pub(crate) connect_timeout: Duration,
}

impl MessengerSettings {
    pub(crate) fn of_config(config: &Config) -> Result<Self, ConfigError> {
        Ok(Self {
            monitor_modes: modes(&config.mon_client_modes()?),
            service_modes: modes(&config.client_modes()?),
            compression: config.osd_compression()?,
            connect_timeout: CONNECT_TIMEOUT,
        })
    }
}

impl Messenger {
    /// A messenger for the user that `config` names.
    pub(crate) fn from_config(config: &Config) -> Result<Self, ConfigError> {
        // The first method listed that this client has is used; there is no falling back to none.
        let credentials = match config.auth_methods()?.first() {
            Some(AuthMethod::None) => Credentials::none(config.name().clone()),
            _ => Credentials::cephx(ClientSession::new(config.name().clone(), config.key()?)),
        };
        Ok(Self::new(
            credentials,
            MessengerSettings::of_config(config)?,
        ))
    }

    fn new(credentials: Credentials, settings: MessengerSettings) -> Self {
        let mut nonce = [0; 4];
        random(&mut nonce);
        Self {
            credentials,
            settings: ArcSwap::from_pointee(settings),
            kind_for_osds: EntityType::CLIENT,
            protocol: ProtocolFeatures::ALL,
            #[cfg(test)]
            detours: Default::default(),
            // Blocklist entries of nonce 0 mean every client of the host.
            nonce: u32::from_le_bytes(nonce).max(1),
            ip: OnceLock::new(),
            fsid: OnceLock::new(),
            global_seq: AtomicU64::new(0),
            buffers: BufferPool::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn settings(&self) -> Arc<MessengerSettings> {
        self.settings.load_full()
    }

    /// The address by which watches, locks and the blocklist know this client.
    pub(crate) fn addr(&self) -> EntityAddr {
        let ip = self
            .ip
            .get()
            .copied()
            .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        EntityAddr {
            kind: AddrType::ANY,
            nonce: self.nonce,
            socket: Some(SocketAddr::new(ip, 0)),
        }
    }

    /// Other preferences for connections that are made from now on. Gives those before.
    pub(crate) fn replace_settings(&self, settings: MessengerSettings) -> Arc<MessengerSettings> {
        self.settings.swap(Arc::new(settings))
    }

    /// The identity the monitors gave to this client.
    pub(crate) fn global_id(&self) -> GlobalId {
        self.credentials.global_id()
    }

    /// The cluster, as far as it is known yet.
    pub(crate) fn fsid(&self) -> Option<Uuid> {
        self.fsid.get().copied()
    }

    /// Whether `fsid` is the cluster's; the first one asked about is.
    pub(crate) fn check_fsid(&self, fsid: Uuid) -> bool {
        *self.fsid.get_or_init(|| fsid) == fsid
    }

    /// Connects to a monitor. What it grants is returned, not yet adopted.
    pub(crate) async fn connect_monitor(
        &self,
        addr: EntityAddr,
        timeout: Duration,
        handler: Arc<impl Handler>,
    ) -> Result<(Link, Option<Granted>), msgr2::Error> {
        let auth = self
            .credentials
            .for_monitor(self.settings.load().monitor_modes.clone());
        let slot = auth.grant_slot();
        let options = self.options(addr, EntityType::MON);
        let link = self.connect(options, timeout, auth, handler).await?;
        self.learn_ip(&link);
        let granted = slot.lock().ok().and_then(|mut slot| slot.take());
        Ok((link, granted))
    }

    /// Connects to an OSD.
    pub(crate) async fn connect_osd(
        &self,
        addr: EntityAddr,
        osd: denc::OsdId,
        handler: Arc<impl Handler>,
    ) -> Result<Link, ConnectError> {
        let auth = self
            .credentials
            .for_service(EntityType::OSD, self.settings.load().service_modes.clone())
            .map_err(ConnectError::NoTicket)?;
        let ticket = auth.ticket();
        let options = ClientOptions {
            peer_id: Some(i64::from(osd.0)),
            gid: Some(self.global_id()),
            my_type: self.kind_for_osds,
            compression: self.settings.load().compression.clone(),
            ..self.options(addr, EntityType::OSD)
        };
        let timeout = self.settings.load().connect_timeout;
        let connected = self.connect(options, timeout, auth, handler).await;
        if let (Err(error), Some(ticket)) = (&connected, ticket)
            && auth::is_of_the_proof(error)
        {
            self.credentials.invalidate(ticket);
        }
        let link = connected.map_err(ConnectError::Messenger)?;
        self.learn_ip(&link);
        Ok(link)
    }

    async fn connect(
        &self,
        options: ClientOptions,
        timeout: Duration,
        auth: impl ClientAuth + 'static,
        handler: Arc<impl Handler>,
    ) -> Result<Link, msgr2::Error> {
        #[cfg(test)]
        if let Some(socket) = options.peer_addr.socket
            && let Some(via) = self.detours.get(&socket)
        {
            return msgr2::driver::connect_via(*via, options, timeout, auth, handler).await;
        }
        msgr2::driver::connect(options, timeout, auth, handler).await
    }

    fn options(&self, addr: EntityAddr, peer_type: EntityType) -> ClientOptions {
        ClientOptions {
            peer_addr: addr,
            peer_type,
            peer_id: None,
            my_type: EntityType::CLIENT,
            my_nonce: self.nonce,
            my_ip: self.ip.get().copied(),
            gid: None,
            supported: features::SUPPORTED,
            required: features::REQUIRED,
            protocol: Banner {
                supported: self.protocol,
                required: ProtocolFeatures(0),
            },
            compression: None,
            global_seq: self.global_seq.fetch_add(1, Ordering::Relaxed) + 1,
            session: SessionRequest::Lossy,
            buffers: self.buffers.clone(),
        }
    }

    fn learn_ip(&self, link: &Link) {
        let info = link.info();
        if let Some(socket) = info.my_addr.socket {
            let _ = self.ip.set(socket.ip());
        }
        self.global_seq
            .fetch_max(info.global_seq, Ordering::Relaxed);
    }
}

fn modes(configured: &[ConnectionMode]) -> ConnectionModes {
    let modes = configured.iter().map(|mode| match mode {
        ConnectionMode::Crc => msgr2::ConnectionMode::CRC,
        ConnectionMode::Secure => msgr2::ConnectionMode::SECURE,
    });
    modes.collect()
}

/// How long connecting to an OSD and authenticating may take before it is tried again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no connection to an OSD.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The monitors have to be asked for a ticket first.
    #[error("no ticket")]
    NoTicket(#[source] cephx::Error),
    #[error(transparent)]
    Messenger(msgr2::Error),
}
