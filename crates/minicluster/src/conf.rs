//! The cluster's `ceph.conf`, the same for every release: all of them ignore options that they do not
//! know.

use std::fmt::Write;
use std::net::IpAddr;

use crate::address::MonAddress;
use crate::builder::{Auth, Builder, Mode, Store};
use crate::ciphers::Ciphers;
use crate::layout::Layout;

/// Everything that decides what is in the file.
pub(crate) struct Conf<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) options: &'a Builder,
    pub(crate) ciphers: Option<Ciphers>,
    pub(crate) fsid: &'a str,
    pub(crate) mons: &'a [MonAddress],
    pub(crate) ip: IpAddr,
}

impl Conf<'_> {
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::from("[global]\n");
        let mut set = |name: &str, value: &dyn std::fmt::Display| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name} = {value}");
        };
        let options = self.options;
        let dir = self.layout.dir().display();
        set("fsid", &self.fsid);
        let hosts: Vec<String> = self.mons.iter().map(MonAddress::to_addrvec).collect();
        set("mon_host", &hosts.join(","));

        let auth = match options.auth {
            Auth::Cephx => "cephx",
            Auth::None => "none",
        };
        for name in [
            "auth_cluster_required",
            "auth_service_required",
            "auth_client_required",
        ] {
            set(name, &auth);
        }
        // Old clients may not reclaim their id; the daemons would raise a health warning about it.
        set("auth_allow_insecure_global_id_reclaim", &"false");
        let mode = match options.mode {
            Mode::Crc => Some("crc"),
            Mode::Secure => Some("secure"),
            Mode::Default => None,
        };
        for name in MODE_OPTIONS {
            if let Some(mode) = mode {
                set(name, &mode);
            }
        }

        set("public_addr", &self.ip);
        set("cluster_addr", &self.ip);
        set("ms_bind_ipv4", &self.ip.is_ipv4());
        set("ms_bind_ipv6", &self.ip.is_ipv6());
        set("ms_bind_msgr1", &options.mon_ports.has_v1());
        set("ms_bind_msgr2", &options.mon_ports.has_v2());
        // The daemons of several clusters share an address; the usual 500 ports are soon used up.
        set("ms_bind_port_max", &9300);

        let size = options.osds.clamp(1, 3);
        set("osd_pool_default_size", &size);
        set("osd_pool_default_min_size", &size.saturating_sub(1).max(1));
        set("osd_crush_chooseleaf_type", &0);
        set("osd_pool_default_pg_num", &8);
        set("osd_pool_default_pg_autoscale_mode", &"off");
        set("mon_max_pg_per_osd", &1000);
        set("mon_allow_pool_size_one", &"true");
        set("mon_allow_pool_delete", &"true");
        set("mon_warn_on_pool_no_redundancy", &"false");
        // The host's file system may be as full as it likes.
        set("mon_data_avail_warn", &1);
        set("mon_data_avail_crit", &0);
        set("mon_osd_min_down_reporters", &1);
        // Gathering changes for a second before proposing them is for clusters of thousands.
        set("paxos_propose_interval", &0.02);
        set("paxos_min_wait", &0.01);
        set("mon_tick_interval", &1);
        set("mgr_tick_period", &1);
        set("mgr_stats_period", &1);
        // Since quincy the manager makes a pool of its own, and ids are not what tests expect.
        set("mgr_pool", &"false");
        // Its tables would push everything else out of the end of a log.
        set("debug_rocksdb", &"1/5");
        if options.fast_failure_detection {
            set("osd_heartbeat_interval", &1);
            set("osd_heartbeat_grace", &4);
            set("osd_mon_report_interval", &1);
            set("osd_beacon_report_interval", &2);
            set("mon_osd_report_timeout", &8);
            set("mon_lease", &1);
            set("mon_election_timeout", &2);
        }

        if options.osds == 1 {
            // An OSD without peers that has stood still, stopped or for want of processor time, may
            // take its own lease for expired and keep an operation until that is renewed; pacific's
            // forgets it then (ceph: `PeeringState::proc_renew_lease`, which looks again in later
            // releases). Only peers have a use for leases.
            set("osd_pool_default_read_lease_ratio", &30);
        }

        set(
            "osd_objectstore",
            &match options.store {
                Store::Memstore => "memstore",
                Store::Bluestore => "bluestore",
            },
        );
        set("memstore_device_bytes", &options.osd_bytes);
        set("bluestore_block_size", &options.osd_bytes);
        set("bluestore_block_create", &"true");
        set("osd_memory_target", &"939524096");
        for line in &options.extra_conf {
            let _ = writeln!(text, "{line}");
        }

        let _ = write!(
            text,
            "\n[client]\nkeyring = {dir}/ceph.$name.keyring\n\
             \n[mon]\nmon_data = {dir}/mon.$id\n{ciphers}{daemon}\
             \n[mgr]\nmgr_data = {dir}/mgr.$id\nmgr_initial_modules =\n\
             mgr_disabled_modules = {disabled}\n{daemon}\
             \n[osd]\nosd_data = {dir}/osd.$id\nosd_class_update_on_start = false\n{daemon}",
            ciphers = self.ciphers.map_or("", Ciphers::conf),
            disabled = UNUSED_MODULES.join(" "),
            daemon = format_args!(
                "run_dir = {dir}/run\nadmin_socket = {dir}/run/$name.asok\n\
                 log_file = {dir}/log/$name.log\nlog_to_stderr = false\n\
                 crash_dir = {dir}/run\n"
            ),
        );
        text
    }
}

const MODE_OPTIONS: [&str; 6] = [
    "ms_cluster_mode",
    "ms_service_mode",
    "ms_client_mode",
    "ms_mon_cluster_mode",
    "ms_mon_service_mode",
    "ms_mon_client_mode",
];

/// Modules of the manager that are not always on: not even looked at, which saves seconds.
const UNUSED_MODULES: [&str; 23] = [
    "alerts",
    "cephadm",
    "cli_api",
    "dashboard",
    "diskprediction_local",
    "feedback",
    "hello",
    "influx",
    "insights",
    "iostat",
    "k8sevents",
    "localpool",
    "mds_autoscaler",
    "mirroring",
    "nfs",
    "osd_perf_query",
    "osd_support",
    "prometheus",
    "restful",
    "rook",
    "selftest",
    "snap_schedule",
    "zabbix",
];
