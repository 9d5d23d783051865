//! Where monitors may be found.

use std::net::{IpAddr, SocketAddr};

use denc::EntityAddr;

use crate::config::{Candidate, Config, ConfigError, Host, Protocol};
use crate::monmap::MonMap;

/// The port where monitors speak messenger v2 by default.
pub(super) const DEFAULT_PORT: u16 = 3300;

/// A monitor by the places where it may speak messenger v2, the likeliest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Monitor {
    pub(crate) places: Vec<Candidate>,
}

/// The monitors that the configuration names.
pub(super) fn of_config(config: &Config) -> Result<Vec<Monitor>, ConfigError> {
    let monitors = config.monitors()?.into_iter();
    Ok(monitors
        .map(|monitor| {
            let mut places = Vec::new();
            for candidate in monitor.candidates {
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
            Monitor { places }
        })
        .collect())
}

/// The monitors of a map.
pub(super) fn of_monmap(monmap: &MonMap) -> Vec<Monitor> {
    let addrs = monmap.monitors.values().filter_map(|addrs| addrs.v2());
    addrs
        .filter_map(|addr| {
            let socket = addr.socket?;
            let (host, port) = (Host::Ip(socket.ip()), socket.port());
            let place = Candidate {
                protocol: Protocol::V2,
                host,
                port,
                nonce: addr.nonce,
            };
            Some(Monitor {
                places: vec![place],
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
        Host::Name(name) => tokio::net::lookup_host((name.as_str(), place.port))
            .await
            .map_err(|error| format!("cannot resolve {name}: {error}"))?
            .collect(),
    };
    Ok(sockets
        .into_iter()
        .map(|socket| EntityAddr::v2(socket, place.nonce))
        .collect())
}
