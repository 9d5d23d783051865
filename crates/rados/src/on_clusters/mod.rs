//! What can be tested on real clusters only, and not from outside this crate.
//!
//! Nothing is done unless the environment says with which release: unit tests need no cluster.

mod cancelling;
mod compression;
mod cuts;
mod revision;
mod sessions;

use minicluster::Release;

use crate::config::Config;

/// The release to test.
fn release() -> Option<Release> {
    if std::env::var_os(Release::VARIABLE).is_none() {
        println!("SKIPPED: {} is not set", Release::VARIABLE);
        return None;
    }
    Some(Release::default_of_tests().unwrap())
}

/// The configuration of `client.admin`, with other options.
fn config(cluster: &minicluster::Cluster, options: &[(&str, &str)]) -> Config {
    let conf = cluster.conf_path();
    let keyring = cluster.keyring_path();
    let builder = Config::builder()
        .conf(conf.to_str().unwrap())
        .option("keyring", keyring.to_str().unwrap());
    let builder = options.iter().fold(builder, |builder, (name, value)| {
        builder.option(name, *value)
    });
    builder.load().unwrap()
}
