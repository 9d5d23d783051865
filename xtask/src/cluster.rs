//! `cargo xtask cluster`: a real cluster to work against by hand.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use minicluster::{Auth, Cluster, KeyType, Mode, MonPorts, Release, Store};

/// What to do with the cluster.
#[derive(Subcommand)]
pub(crate) enum Task {
    /// Starts a cluster and leaves it running.
    Up(Up),
    /// Kills the cluster's daemons and removes its directory.
    Down(Place),
    /// Shows which daemons run, and what the cluster says of itself.
    Status(Place),
}

/// Where the cluster is.
#[derive(Args)]
pub(crate) struct Place {
    /// The cluster's directory.
    #[arg(long, default_value = DEFAULT_DIR)]
    dir: PathBuf,
}

/// What kind of cluster to start.
#[derive(Args)]
pub(crate) struct Up {
    #[command(flatten)]
    place: Place,
    /// The release of Ceph, instead of this machine's own: nautilus, pacific, reef or tentacle.
    #[arg(long, env = Release::VARIABLE)]
    release: Option<Release>,
    /// The number of monitors.
    #[arg(long, default_value_t = 1)]
    mons: usize,
    /// The number of OSDs.
    #[arg(long, default_value_t = 1)]
    osds: usize,
    /// What the OSDs keep their objects in.
    #[arg(long, value_enum, default_value_t = StoreName::Memstore)]
    store: StoreName,
    /// The size of each OSD, in GiB.
    #[arg(long, default_value_t = 4)]
    osd_gib: u32,
    /// Whether the cluster asks who is there.
    #[arg(long, value_enum, default_value_t = AuthName::Cephx)]
    auth: AuthName,
    /// The type of the keys, instead of the newest that the release knows.
    #[arg(long, value_enum)]
    key_type: Option<KeyTypeName>,
    /// Accepts keys of both types.
    #[arg(long)]
    both_key_types: bool,
    /// What protects the frames of messenger v2.
    #[arg(long, value_enum, default_value_t = ModeName::Crc)]
    mode: ModeName,
    /// The ports of the monitors.
    #[arg(long, value_enum, default_value_t = PortsName::Free)]
    mon_ports: PortsName,
    /// The loopback address to bind to.
    #[arg(long)]
    ip: Option<IpAddr>,
    /// A line for the global section of ceph.conf; may be given several times.
    #[arg(long = "conf", value_name = "LINE")]
    conf: Vec<String>,
    /// Pools to create, for images, with eight PGs each; may be given several times.
    #[arg(long = "pool", value_name = "NAME", default_values_t = ["rbd".to_owned()])]
    pools: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum StoreName {
    Memstore,
    Bluestore,
}

#[derive(Clone, Copy, ValueEnum)]
enum AuthName {
    Cephx,
    None,
}

#[derive(Clone, Copy, ValueEnum)]
enum KeyTypeName {
    Aes,
    Aes256k,
}

#[derive(Clone, Copy, ValueEnum)]
enum ModeName {
    /// Checksums only.
    Crc,
    /// AES-GCM only.
    Secure,
    /// What the release does when nothing is configured.
    Default,
}

#[derive(Clone, Copy, ValueEnum)]
enum PortsName {
    /// Messenger v2 and v1 at free ports.
    Free,
    /// Messenger v2 at 3300 and v1 at 6789.
    Standard,
    /// Messenger v2 alone at 6789.
    #[value(name = "v2-6789")]
    V2At6789,
    /// Messenger v1 alone at a free port.
    V1,
}

/// Does what is asked.
pub(crate) fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Up(options) => up(&options),
        Task::Down(place) => Ok(Cluster::attach(&place.dir)?.destroy()?),
        Task::Status(place) => status(&place),
    }
}

fn up(options: &Up) -> anyhow::Result<()> {
    let mut builder = Cluster::builder()
        .dir(&options.place.dir)
        .mons(options.mons)
        .osds(options.osds)
        .osd_bytes(u64::from(options.osd_gib) << 30)
        .store(match options.store {
            StoreName::Memstore => Store::Memstore,
            StoreName::Bluestore => Store::Bluestore,
        })
        .auth(match options.auth {
            AuthName::Cephx => Auth::Cephx,
            AuthName::None => Auth::None,
        })
        .both_key_types(options.both_key_types)
        .mode(match options.mode {
            ModeName::Crc => Mode::Crc,
            ModeName::Secure => Mode::Secure,
            ModeName::Default => Mode::Default,
        })
        .mon_ports(match options.mon_ports {
            PortsName::Free => MonPorts::Free,
            PortsName::Standard => MonPorts::Standard,
            PortsName::V2At6789 => MonPorts::V2At6789,
            PortsName::V1 => MonPorts::V1Only,
        });
    if let Some(release) = options.release {
        if !release.is_there()? {
            println!("the root directory with {release} is made first, which takes some minutes");
        }
        builder = builder.release(release);
    }
    if let Some(key_type) = options.key_type {
        builder = builder.key_type(match key_type {
            KeyTypeName::Aes => KeyType::Aes,
            KeyTypeName::Aes256k => KeyType::Aes256k,
        });
    }
    if let Some(ip) = options.ip {
        builder = builder.ip(ip);
    }
    for line in &options.conf {
        builder = builder.conf(line);
    }
    let cluster = builder.start_detached()?;
    // Without OSDs nobody would create the PGs.
    if options.osds > 0 {
        for pool in &options.pools {
            cluster
                .create_pool(pool, 8)
                .with_context(|| format!("pool {pool}"))?;
        }
    }
    show(&cluster);
    println!("monitors at {}", cluster.mon_host());
    println!(
        "to use it:        export CEPH_CONF={}",
        cluster.conf_path().display()
    );
    println!(
        "to take it down:  cargo xtask cluster down --dir {}",
        cluster.dir().display()
    );
    Ok(())
}

fn show(cluster: &Cluster) {
    println!(
        "cluster {} of {} in {}",
        cluster.fsid(),
        cluster.release(),
        cluster.dir().display()
    );
}

fn status(place: &Place) -> anyhow::Result<()> {
    let cluster = Cluster::attach(&place.dir)?;
    show(&cluster);
    println!("monitors at {}", cluster.mon_host());
    println!("CEPH_CONF={}", cluster.conf_path().display());
    let mut is_any_up = false;
    for daemon in cluster.daemons() {
        match cluster.pid(daemon) {
            Some(pid) => println!("{daemon}: pid {pid}"),
            None => println!("{daemon}: not running"),
        }
        is_any_up |= cluster.pid(daemon).is_some();
    }
    anyhow::ensure!(is_any_up, "no daemon runs");
    print!("{}", cluster.ceph(&["-s", "--connect-timeout", "10"])?);
    Ok(())
}

const DEFAULT_DIR: &str = "/tmp/orbd-cluster";
