//! What the client does according to its configuration, and what happens when the monitors change it.
//!
//! The monitors' options are part of the first session: [`Cluster::connect`](crate::Cluster::connect)
//! waits for them, so that whatever is done with the connection is done by them. If they say that
//! connections to monitors are to be protected otherwise, that session ends and another one begins.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use denc::{Decode, Epoch, Reader};
use tokio::sync::watch;

use super::MonClient;
use super::subscriptions::CONFIG;
use crate::config::{Config, ConfigError, ConnectBackoff};
use crate::messenger::MessengerSettings;
use crate::msg::mon::ConfigMessage;

/// How patient the client is with monitors.
#[derive(Clone, Debug)]
pub(crate) struct Timing {
    /// How long an answer to a question may take (ceph: `rados_mon_op_timeout`).
    pub(crate) op_timeout: Option<Duration>,
    /// How long an attempt may take before others are tried (ceph: `mon_client_hunt_interval`).
    pub(crate) hunt_interval: Duration,
    /// By what that is multiplied after each round that failed.
    pub(crate) hunt_backoff: f64,
    /// The most it is multiplied by.
    pub(crate) hunt_max_multiple: f64,
    /// How many monitors are tried at the same time; at least one.
    pub(crate) hunt_parallel: usize,
    /// How soon one that turns clients away is tried again.
    pub(crate) connect_backoff: ConnectBackoff,
    /// How often a sign of life is asked for (ceph: `mon_client_ping_interval`). Not zero. A change
    /// counts from the next session on.
    pub(crate) ping_interval: Duration,
    /// After how long a silence the monitor is given up (ceph: `mon_client_ping_timeout`).
    pub(crate) ping_timeout: Option<Duration>,
}

impl Timing {
    pub(super) fn of_config(config: &Config) -> Result<Self, ConfigError> {
        let timeouts = config.timeouts()?;
        Ok(Self {
            op_timeout: timeouts.mon_op,
            hunt_interval: timeouts.hunt_interval,
            hunt_backoff: timeouts.hunt_backoff,
            hunt_max_multiple: timeouts.hunt_max_multiple,
            hunt_parallel: usize::try_from(timeouts.hunt_parallel)
                .unwrap_or(usize::MAX)
                .max(1),
            connect_backoff: config.objecter_options()?.connect_backoff,
            ping_interval: timeouts.mon_ping_interval.max(SHORTEST_PING_INTERVAL),
            ping_timeout: Some(timeouts.mon_ping_timeout).filter(|limit| !limit.is_zero()),
        })
    }
}

impl MonClient {
    /// The configuration as it is now.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Whether everything that takes part in the configuration has been heard.
    pub(crate) fn is_configured(&self) -> watch::Receiver<bool> {
        self.is_configured.subscribe()
    }

    pub(super) fn timing(&self) -> Arc<Timing> {
        self.timing.load_full()
    }

    /// The monitors keep options for us, or other ones than before.
    pub(super) fn handle_config(&self, front: &Bytes) -> denc::Result<()> {
        let ConfigMessage(options) = ConfigMessage::decode(&mut Reader::new("MConfig", front))?;
        self.lock().subscriptions.have(CONFIG, Epoch(0));
        tracing::debug!(options = options.len(), "options from the monitors");
        let mut config = Config::clone(&self.config.load());
        config.set_monitor_options(options);
        // What the monitors set has been checked, and the rest has been obeyed since the beginning.
        if let Err(error) = self.obey(&config) {
            tracing::warn!(%error, "the options of the monitors are not obeyed");
        }
        self.config.store(Arc::new(config));
        self.is_configured.send_replace(true);
        Ok(())
    }

    fn obey(&self, config: &Config) -> Result<(), ConfigError> {
        let timing = Timing::of_config(config)?;
        let settings = MessengerSettings::of_config(config)?;
        self.objecter.set_timeout(config.timeouts()?.osd_op);
        self.objecter.set_options(config.objecter_options()?);
        self.timing.store(Arc::new(timing));
        let before = self.messenger.replace_settings(settings.clone());
        let is_first = !*self.is_configured.borrow();
        if is_first && before.monitor_modes != settings.monitor_modes {
            tracing::info!("the monitors want to be talked to in another mode");
            self.lock().session = None;
            self.wishes.wake();
        }
        Ok(())
    }
}

/// More pings than this are of no use to anybody.
const SHORTEST_PING_INTERVAL: Duration = Duration::from_millis(100);
