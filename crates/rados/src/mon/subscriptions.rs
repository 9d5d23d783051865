//! Which maps the monitors are to send, and from which version on.

use std::collections::BTreeMap;

use denc::Epoch;

use crate::msg::mon::Subscription;

/// The maps that are wanted.
#[derive(Debug)]
pub(super) struct Subscriptions {
    wanted: BTreeMap<&'static str, Subscription>,
}

pub(super) const MONMAP: &str = "monmap";
pub(super) const OSDMAP: &str = "osdmap";
pub(super) const CONFIG: &str = "config";

impl Default for Subscriptions {
    fn default() -> Self {
        Self::new(true)
    }
}

impl Subscriptions {
    /// The options that the monitors keep for us are among them if they are wanted.
    pub(super) fn new(wants_config: bool) -> Self {
        let always = Subscription {
            start: 0,
            once: false,
        };
        let mut wanted = BTreeMap::from([(MONMAP, always), (OSDMAP, always)]);
        if wants_config {
            wanted.insert(CONFIG, always);
        }
        Self { wanted }
    }

    /// We have the map of this epoch and want those after it.
    pub(super) fn have(&mut self, map: &'static str, epoch: Epoch) {
        let start = if epoch == Epoch(0) {
            0
        } else {
            u64::from(epoch.0) + 1
        };
        self.wanted.insert(map, Subscription { start, once: false });
    }

    /// We want the current map as a whole.
    pub(super) fn want_whole(&mut self, map: &'static str) {
        self.wanted.insert(
            map,
            Subscription {
                start: 0,
                once: false,
            },
        );
    }

    pub(super) const fn wanted(&self) -> &BTreeMap<&'static str, Subscription> {
        &self.wanted
    }
}
