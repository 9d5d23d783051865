//! Configuration files.

use rados::config::{Config, SizeBytes};

use crate::text;

/// The syntax of ceph.conf and of keyrings.
pub fn ini(data: &[u8]) {
    let _ = cephx::ini::parse(&text(data));
}

/// A ceph.conf, and everything that is looked up in it without looking at other files.
pub fn ceph_conf(data: &[u8]) {
    let Ok(config) = Config::builder().conf_text(&text(data)).load() else {
        return;
    };
    let _ = config.monitors();
    let _ = config.auth_methods();
    let _ = config.client_modes();
    let _ = config.mon_client_modes();
    let _ = config.rbd_defaults();
    let _ = config.timeouts();
    let _ = config.get::<SizeBytes>("size");
    let _ = config.value("keyring");
}

/// Lists of monitors as people write them.
pub fn mon_host(data: &[u8]) {
    let builder = Config::builder().without_file();
    let builder = builder.option("mon_host", text(data));
    if let Ok(config) = builder.load() {
        let _ = config.monitors();
    }
}
