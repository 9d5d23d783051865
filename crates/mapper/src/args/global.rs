//! Options of every command: which cluster, and who we are there.

use serde::{Deserialize, Serialize};

/// Which cluster, and who we are there.
#[derive(Clone, Debug, Default, clap::Args, Serialize, Deserialize)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct Global {
    /// Configuration files, separated by commas.
    #[arg(short, long, global = true, value_name = "path")]
    pub(crate) conf: Option<String>,

    /// Name of the cluster, for finding its configuration and keyring.
    #[arg(long, global = true)]
    pub(crate) cluster: Option<String>,

    /// User, without `client.`.
    #[arg(short, long, visible_alias = "user", global = true)]
    pub(crate) id: Option<String>,

    /// User, with its type: `client.admin`.
    #[arg(short, long, global = true)]
    pub(crate) name: Option<String>,

    /// Monitors: addresses or names.
    #[arg(
        short,
        long = "mon-host",
        alias = "mon_host",
        global = true,
        value_name = "hosts"
    )]
    pub(crate) mon_host: Option<String>,

    /// File that holds the user's key and nothing else.
    #[arg(short = 'K', long, global = true, value_name = "path")]
    pub(crate) keyfile: Option<String>,

    /// Keyring files, separated by commas.
    #[arg(short, long, global = true, value_name = "path")]
    pub(crate) keyring: Option<String>,

    /// Do not take options from the monitors (`ceph config set client ...`).
    #[arg(long, alias = "no_mon_config", global = true)]
    pub(crate) no_mon_config: bool,

    /// Print the version.
    #[arg(short = 'v', long = "version")]
    pub(crate) is_version_wanted: bool,
}
