//! Monitors that DNS names: SRV records of `_ceph-mon._tcp`
//! (ceph: doc/rados/configuration/mon-lookup-dns.rst; src/mon/MonMap.cc, `init_with_dns_srv`).
//!
//! The resolver reads `/etc/resolv.conf` and `/etc/hosts` itself, so that it also works where the C
//! library's cannot: in a static program.

use std::net::IpAddr;

use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::RData;

use super::candidates::Monitor;
use crate::config::{Host, MonHost};

/// The monitors that SRV records of `name` lead to.
///
/// # Errors
/// Why there is none.
pub(super) async fn monitors(name: &str) -> Result<Vec<Monitor>, String> {
    let resolver = resolver().map_err(|error| error.to_string())?;
    let records = resolver
        .srv_lookup(name)
        .await
        .map_err(|error| error.to_string())?;
    let mut monitors = Vec::new();
    let mut failure = "it has no SRV records".to_string();
    for record in records.answers() {
        let RData::SRV(service) = &record.data else {
            continue;
        };
        let ips = match resolver.lookup_ip(service.target.clone()).await {
            Ok(ips) => ips,
            Err(error) => {
                failure = format!("{}: {error}", service.target);
                tracing::warn!(%name, target = %service.target, %error, "a monitor has no address");
                continue;
            }
        };
        let places = ips
            .iter()
            .flat_map(|ip| MonHost::at(Host::Ip(ip), Some(service.port)).candidates);
        monitors.push(Monitor {
            priority: service.priority,
            weight: service.weight,
            ..Monitor::at(places)
        });
    }
    if monitors.is_empty() {
        return Err(failure);
    }
    Ok(monitors)
}

/// The addresses of a host, from `/etc/hosts` and DNS.
pub(super) async fn addresses(host: &str) -> Result<Vec<IpAddr>, NetError> {
    let ips = resolver()?.lookup_ip(host).await?;
    Ok(ips.iter().collect())
}

fn resolver() -> Result<TokioResolver, NetError> {
    TokioResolver::builder_tokio()?.build()
}
