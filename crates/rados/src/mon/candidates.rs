//! Where monitors may be found.

use std::net::{IpAddr, SocketAddr};

use denc::EntityAddr;

use crate::config::{Candidate, Config, ConfigError, Host, Protocol};
use crate::monmap::MonMap;

/// The port where monitors speak messenger v2 by default.
pub(super) const DEFAULT_PORT: u16 = 3300;

/// A monitor by the places where it may speak messenger v2, the likeliest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Monitor {
    pub(crate) places: Vec<Candidate>,
    /// Monitors of a lower number are tried before.
    pub(crate) priority: u16,
    /// How often to take it among those of one priority, compared with the others.
    pub(crate) weight: u16,
}

impl Monitor {
    /// A monitor that may be found at one of `candidates`.
    pub(super) fn at(candidates: impl IntoIterator<Item = Candidate>) -> Self {
        let mut places = Vec::new();
        for candidate in candidates {
            let v2 = Candidate {
                protocol: Protocol::V2,
                ..candidate.clone()
            };
            // Where v1 is expected v2 may be spoken, and a monitor with a v1 address has a v2
            // address as well, unless it was told not to.
            let default = Candidate {
                port: DEFAULT_PORT,
                ..v2.clone()
            };
            let also = (candidate.protocol == Protocol::V1).then_some(default);
            for place in [v2].into_iter().chain(also) {
                if !places.contains(&place) {
                    places.push(place);
                }
            }
        }
        Self {
            places,
            ..Self::default()
        }
    }
}

/// The monitors that the configuration names, or that DNS does if it names none.
pub(super) async fn of_config(config: &Config) -> Result<Vec<Monitor>, ConfigError> {
    match config.monitors() {
        Ok(monitors) => Ok(monitors
            .into_iter()
            .map(|monitor| Monitor::at(monitor.candidates))
            .collect()),
        Err(error) => of_dns(config, error).await,
    }
}

#[cfg(feature = "dns")]
async fn of_dns(config: &Config, error: ConfigError) -> Result<Vec<Monitor>, ConfigError> {
    let (ConfigError::NoMonitors { file, .. }, Some(name)) = (&error, config.monitor_service())
    else {
        return Err(error);
    };
    super::dns::monitors(&name)
        .await
        .map_err(|reason| ConfigError::NoMonitors {
            file: file.clone(),
            dns: Some((name, reason)),
        })
}

#[cfg(not(feature = "dns"))]
async fn of_dns(_: &Config, error: ConfigError) -> Result<Vec<Monitor>, ConfigError> {
    Err(error)
}

/// Orders monitors by priority, and at random within one, the weightier ones rather in front. `draw`
/// gives a number below its argument.
pub(super) fn shuffle(
    mut monitors: Vec<Monitor>,
    mut draw: impl FnMut(u64) -> u64,
) -> Vec<Monitor> {
    let mut order = Vec::with_capacity(monitors.len());
    while let Some(priority) = monitors.iter().map(|monitor| monitor.priority).min() {
        let chance = |monitor: &Monitor| {
            // One of weight 0 is taken now and then if there are others, and like them if not.
            let weight = u64::from(monitor.weight) * 1000 + 1;
            if monitor.priority == priority {
                weight
            } else {
                0
            }
        };
        let mut left = draw(monitors.iter().map(chance).sum());
        let chosen = monitors.iter().position(|monitor| {
            let before = left;
            left = left.saturating_sub(chance(monitor));
            before < chance(monitor)
        });
        order.push(monitors.remove(chosen.unwrap_or(0)));
    }
    order
}

/// The monitors of a map.
pub(super) fn of_monmap(monmap: &MonMap) -> Vec<Monitor> {
    let monitors = monmap.monitors.iter();
    monitors
        .filter_map(|(name, addrs)| {
            let addr = addrs.v2()?;
            let socket = addr.socket?;
            let preference = monmap.preferences.get(name).copied().unwrap_or_default();
            let (host, port) = (Host::Ip(socket.ip()), socket.port());
            let place = Candidate {
                protocol: Protocol::V2,
                host,
                port,
                nonce: addr.nonce,
            };
            Some(Monitor {
                places: vec![place],
                priority: preference.priority,
                weight: preference.weight,
            })
        })
        .collect()
}

/// Messenger v2 at the default port of a host that was found to speak v1 elsewhere.
pub(super) const fn default_place(ip: IpAddr) -> Candidate {
    Candidate {
        protocol: Protocol::V2,
        host: Host::Ip(ip),
        port: DEFAULT_PORT,
        nonce: 0,
    }
}

/// The addresses a place stands for.
///
/// # Errors
/// If it is a name that cannot be resolved.
pub(super) async fn resolve(place: &Candidate) -> Result<Vec<EntityAddr>, String> {
    let sockets: Vec<SocketAddr> = match &place.host {
        Host::Ip(ip) => vec![SocketAddr::new(*ip, place.port)],
        Host::Name(name) => lookup(name, place.port).await?,
    };
    Ok(sockets
        .into_iter()
        .map(|socket| EntityAddr::v2(socket, place.nonce))
        .collect())
}

/// Asks the C library, and if that knows nothing, which it does not where it is linked statically, DNS.
async fn lookup(name: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let error = match tokio::net::lookup_host((name, port)).await {
        Ok(sockets) => return Ok(sockets.collect()),
        Err(error) => error,
    };
    #[cfg(feature = "dns")]
    if let Ok(ips) = super::dns::addresses(name).await {
        return Ok(ips
            .into_iter()
            .map(|ip| SocketAddr::new(ip, port))
            .collect());
    }
    Err(format!("cannot resolve {name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn monitor(priority: u16, weight: u16) -> Monitor {
        Monitor {
            places: Vec::new(),
            priority,
            weight,
        }
    }

    /// How often each of the weights came first among those of its priority, in every possible case.
    fn firsts(monitors: &[Monitor]) -> Vec<u64> {
        let mut all = 0;
        shuffle(monitors.to_vec(), |bound| {
            all = all.max(bound);
            0
        });
        let mut counts = vec![0; monitors.len()];
        for number in 0..all {
            let order = shuffle(monitors.to_vec(), |bound| number.min(bound - 1));
            let first = monitors.iter().position(|it| *it == order[0]).unwrap();
            counts[first] += 1;
        }
        counts
    }

    #[test]
    fn monitors_of_a_lower_priority_number_come_first() {
        let monitors = [
            monitor(20, 9),
            monitor(10, 0),
            monitor(30, 5),
            monitor(10, 1),
        ];
        for number in [0, 1, 2, 500, u64::MAX] {
            let order = shuffle(monitors.to_vec(), |bound| number.min(bound - 1));
            let priorities: Vec<u16> = order.iter().map(|it| it.priority).collect();
            assert_eq!(priorities, [10, 10, 20, 30]);
        }
    }

    #[test]
    fn weight_decides_how_often_a_monitor_is_the_first() {
        assert_eq!(firsts(&[monitor(0, 3), monitor(0, 1)]), [3001, 1001]);
        assert_eq!(firsts(&[monitor(0, 2), monitor(0, 0)]), [2001, 1]);
        assert_eq!(firsts(&[monitor(7, 0)]), [1]);
    }
}
