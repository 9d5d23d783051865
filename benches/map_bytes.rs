//! OSD maps as monitors of Nautilus to Quincy write them, for clusters of any size: racks of hosts of OSDs,
//! all of them up and in, and one pool of three replicas.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use denc::{EntityAddr, Epoch, PoolId, UTime, Writer};

/// How many of what there is.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) racks: u16,
    pub(crate) hosts_in_rack: u16,
    pub(crate) osds_in_host: u16,
    pub(crate) pg_num: u32,
}

/// The pool's number.
pub(crate) const POOL: PoolId = PoolId(1);

/// A small cluster.
pub(crate) const THREE: Shape = Shape {
    racks: 3,
    hosts_in_rack: 1,
    osds_in_host: 1,
    pg_num: 128,
};

/// The largest that monitors allow without being told (`mon_max_osd`, `mon_max_pool_pg_num`).
pub(crate) const TEN_THOUSAND: Shape = Shape {
    racks: 25,
    hosts_in_rack: 20,
    osds_in_host: 20,
    pg_num: 65_536,
};

impl Shape {
    pub(crate) const fn osds(self) -> u32 {
        self.racks as u32 * self.hosts_in_rack as u32 * self.osds_in_host as u32
    }

    /// The full map.
    pub(crate) fn full_map(self) -> Bytes {
        let mut writer = Writer::new();
        writer.envelope(8, 7, |writer| {
            writer.envelope(9, 1, |writer| self.client_part(writer));
            writer.envelope(9, 1, |writer| self.osd_part(writer));
            writer.u32(0);
        });
        let mut bytes = writer.into_inner();
        let (front, checksum) = bytes.split_last_chunk_mut::<4>().unwrap();
        *checksum = (!crc32c::crc32c_append(0, front)).to_le_bytes();
        bytes.freeze()
    }

    fn client_part(self, writer: &mut Writer) {
        let time = UTime::default();
        writer.zeros(16).put(&Epoch(1)).put(&time).put(&time);
        writer.u32(1).put(&POOL);
        self.pool(writer);
        writer.u32(1).put(&POOL).str("rbd").i32(1);
        // flags: sortbitwise, recovery_deletes, purged_snapdirs, pglog_hardlimit
        writer.u32(1 << 15 | 1 << 19 | 1 << 20 | 1 << 22);
        writer.u32(self.osds());
        // Each of them exists and is up, and has its full weight.
        for number in [3, 0x1_0000] {
            writer.u32(self.osds());
            (0..self.osds()).for_each(|_| {
                writer.u32(number);
            });
        }
        self.addrs(writer, 6800);
        // pg_temp, primary_temp, affinities
        writer.zeros(4 * 3);
        writer.with_length(|writer| self.crush(writer));
        // erasure_code_profiles, upmaps, crush_version, new_removed_snaps, new_purged_snaps
        writer.zeros(4 * 6).put(&time).put(&time);
    }

    fn osd_part(self, writer: &mut Writer) {
        self.addrs(writer, 6804);
        writer.u32(self.osds());
        for _ in 0..self.osds() {
            // osd_info_t: six epochs
            writer.u8(1).zeros(2 * 4).u32(1).u32(1).zeros(2 * 4);
        }
        // blocklist
        writer.u32(0);
        self.addrs(writer, 6802);
        // cluster_snapshot_epoch, cluster_snapshot
        writer.u32(0).str("");
        writer.u32(self.osds());
        for osd in 0..self.osds() {
            writer.u32(osd).zeros(12);
        }
        writer.u32(self.osds());
        for _ in 0..self.osds() {
            // osd_xinfo_t
            writer.envelope(3, 1, |writer| {
                writer.zeros(8 + 4 + 4 + 8 + 4);
            });
        }
        self.addrs(writer, 6806);
        for ratio in [0.85_f32, 0.95, 0.9] {
            writer.u32(ratio.to_bits());
        }
        // require_min_compat_client: luminous, require_osd_release: pacific
        writer.u8(12).u8(16);
        // removed_snaps_queue, crush_node_flags, device_class_flags
        writer.zeros(4 * 3);
    }

    /// Of each OSD, the addresses for both protocols, from this port on.
    fn addrs(self, writer: &mut Writer, port: u16) {
        writer.u32(self.osds());
        for osd in 0..self.osds() {
            let host = u32::from(Ipv4Addr::new(10, 0, 0, 1)) + osd / u32::from(self.osds_in_host);
            let socket = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::from(host)), port);
            writer.u8(2).u32(2);
            writer.put(&EntityAddr::v2(socket(port), osd));
            writer.put(&EntityAddr::v1(socket(port + 1), osd));
        }
    }

    /// `pg_pool_t`
    fn pool(self, writer: &mut Writer) {
        writer.envelope(29, 5, |writer| {
            // Replicated, three times, by rule 0, names hashed with rjenkins.
            writer.u8(1).u8(3).u8(0).u8(2);
            writer.u32(self.pg_num).u32(self.pg_num).zeros(8).u32(1);
            // snap_seq, snap_epoch, snaps, removed_snaps, auid
            writer.zeros(8 + 4 + 4 + 4 + 8);
            // flags: hashpspool
            writer.u64(1).u32(0).u8(2).zeros(16);
            // tiers, tier_of, cache_mode, read_tier, write_tier, properties
            writer.u32(0).i64(-1).u8(0).i64(-1).i64(-1).u32(0);
            writer.envelope(1, 1, |writer| {
                // hit_set_params: none
                writer.u8(0);
            });
            // Of hit sets, stripes, and caches.
            writer.zeros(8 + 4 + 16 + 16).str("").u32(0);
            writer.zeros(4 + 8 + 4 + 4 + 1 + 1 + 8);
            writer.envelope(2, 1, |writer| {
                // pool_opts_t: none
                writer.u32(0);
            });
            writer.u32(0).u32(0).put(&UTime::default());
            writer.u32(self.pg_num).u32(self.pg_num).u32(self.pg_num);
            writer.zeros(8).u32(0).u8(0);
            writer.envelope(1, 1, |writer| {
                // pg_merge_meta_t
                writer.zeros(17 + 3 * 4 + 2 * 12);
            });
        });
    }

    fn crush(self, writer: &mut Writer) {
        let racks = i32::from(self.racks);
        let hosts = racks * i32::from(self.hosts_in_rack);
        let (first_rack, first_host) = (-2, -2 - racks);
        writer.u32(0x0001_0000).i32(1 + racks + hosts).u32(1);
        writer.u32(self.osds());
        let host_weight = 0x1_0000 * u32::from(self.osds_in_host);
        let rack_weight = host_weight * u32::from(self.hosts_in_rack);
        let children = |first: i32, count: u16, step: i32| {
            (0..i32::from(count)).map(move |index| first + step * index)
        };
        bucket(
            writer,
            -1,
            ROOT,
            rack_weight,
            children(first_rack, self.racks, -1),
        );
        for rack in 0..racks {
            let first = first_host - rack * i32::from(self.hosts_in_rack);
            let items = children(first, self.hosts_in_rack, -1);
            bucket(writer, first_rack - rack, RACK, host_weight, items);
        }
        for host in 0..hosts {
            let first = host * i32::from(self.osds_in_host);
            let items = children(first, self.osds_in_host, 1);
            bucket(writer, first_host - host, HOST, 0x1_0000, items);
        }
        // Rule 0, replicated: take the root, choose as many racks as there are replicas and an OSD in each.
        writer.u32(1).u32(3).u8(0).u8(1).u8(1).u8(10);
        for step in [(1, -1, 0), (6, 0, i32::from(RACK)), (4, 0, 0)] {
            writer.u32(step.0).i32(step.1).i32(step.2);
        }
        names(
            writer,
            [
                (0, "osd"),
                (HOST.into(), "host"),
                (RACK.into(), "rack"),
                (ROOT.into(), "root"),
            ]
            .map(|(number, name)| (number, name.to_owned()))
            .into_iter(),
        );
        let osds = (0..self.osds().cast_signed()).map(|osd| (osd, format!("osd.{osd}")));
        let hosts = (0..hosts).map(|host| (first_host - host, format!("host{host}")));
        let racks = (0..racks).map(|rack| (first_rack - rack, format!("rack{rack}")));
        let root = [(-1, "default".to_owned())].into_iter();
        let all: Vec<_> = osds.chain(hosts).chain(racks).chain(root).collect();
        names(writer, all.into_iter());
        names(writer, [(0, "replicated_rule".to_owned())].into_iter());
        // The tunables of Jewel and later.
        writer
            .u32(0)
            .u32(0)
            .u32(50)
            .u32(1)
            .u8(1)
            .u8(1)
            .u32(54)
            .u8(1);
        // classes, class_name, class_bucket, choose_args
        writer.zeros(4 * 4);
    }
}

/// A straw2 bucket of items of the same weight.
fn bucket(
    writer: &mut Writer,
    id: i32,
    kind: u16,
    item_weight: u32,
    items: impl ExactSizeIterator<Item = i32>,
) {
    let count = items.len();
    let weights = std::iter::repeat_n(item_weight, count);
    writer.u32(STRAW2.into()).i32(id).u16(kind).u8(STRAW2).u8(0);
    writer.u32(weights.clone().sum()).count(count);
    items.for_each(|item| {
        writer.i32(item);
    });
    weights.for_each(|weight| {
        writer.u32(weight);
    });
}

fn names(writer: &mut Writer, names: impl ExactSizeIterator<Item = (i32, String)>) {
    writer.count(names.len());
    for (number, name) in names {
        writer.i32(number).str(&name);
    }
}

const STRAW2: u8 = 5;

/// Types of buckets.
const HOST: u16 = 1;
const RACK: u16 = 3;
const ROOT: u16 = 11;
