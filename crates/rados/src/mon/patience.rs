//! For how long monitors are waited for: longer after each attempt that led nowhere, so that slow
//! ones are reached in the end, and less again once they answer (ceph: src/mon/MonClient.cc,
//! `reopen_interval_multiplier`).

use std::time::Duration;

use super::configuration::Timing;

/// How often the least time is waited.
#[derive(Debug)]
pub(super) struct Patience {
    multiple: f64,
}

impl Patience {
    pub(super) const fn new() -> Self {
        Self { multiple: 1.0 }
    }

    /// How long an answer is waited for.
    pub(super) fn limit(&self, timing: &Timing) -> Duration {
        // The configuration may hold numbers that make no duration.
        let seconds = timing.hunt_interval.as_secs_f64() * self.multiple;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// The time was not enough.
    pub(super) fn grow(&mut self, timing: &Timing) {
        self.multiple = (self.multiple * timing.hunt_backoff)
            .min(timing.hunt_max_multiple)
            .max(1.0);
    }

    /// There was an answer.
    pub(super) fn shrink(&mut self, timing: &Timing) {
        self.multiple = (self.multiple / timing.hunt_backoff.max(1.0)).max(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn timing(interval: &str) -> Timing {
        let config = Config::builder().without_file();
        let config = config.option("mon_client_hunt_interval", interval);
        Timing::of_config(&config.load().unwrap()).unwrap()
    }

    #[test]
    fn it_grows_to_a_limit_and_shrinks_as_fast() {
        let timing = timing("2");
        let mut patience = Patience::new();
        let mut limits = vec![patience.limit(&timing)];
        for _ in 0..20 {
            patience.grow(&timing);
            limits.push(patience.limit(&timing));
        }
        let seconds = |limit: &Duration| limit.as_secs_f64();
        let first: Vec<f64> = limits.iter().take(4).map(seconds).collect();
        assert_eq!(first, [2.0, 3.0, 4.5, 6.75]);
        assert_eq!(limits.last().map(seconds), Some(20.0));
        for _ in 0..20 {
            patience.shrink(&timing);
        }
        assert_eq!(patience.limit(&timing), Duration::from_secs(2));
    }

    #[test]
    fn numbers_that_make_no_duration_are_no_limit() {
        let mut timing = timing("2");
        for nonsense in [f64::NAN, f64::INFINITY, -1.0] {
            timing.hunt_backoff = nonsense;
            timing.hunt_max_multiple = nonsense;
            let mut patience = Patience::new();
            patience.grow(&timing);
            patience.shrink(&timing);
            assert!(patience.limit(&timing) >= Duration::from_secs(2));
        }
    }
}
