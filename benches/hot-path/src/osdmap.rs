//! A map with one OSD, one pool and one placement group, in the form of Nautilus to Quincy
//! (ceph: src/osd/OSDMap.cc, `OSDMap::encode`).

use std::net::SocketAddr;

use bytes::Bytes;
use denc::{EntityAddr, EntityAddrVec, UTime, Writer};

use crate::POOL;
use crate::daemon::Daemon;
use crate::monitor::{EPOCH, FSID};
use crate::osd::Osd;

/// `MOSDMap` with the whole map.
pub(crate) fn message(osd: SocketAddr) -> Bytes {
    let mut front = Writer::new();
    front.put(&FSID).u32(0).u32(1).put(&EPOCH).blob(&map(osd));
    front.freeze()
}

fn map(osd: SocketAddr) -> Bytes {
    let mut writer = Writer::new();
    writer.envelope(8, 7, |writer| {
        writer.envelope(9, 1, |writer| for_clients(writer, osd));
        writer.envelope(9, 1, for_osds);
        writer.u32(0);
    });
    with_checksum(&writer.freeze())
}

fn for_clients(writer: &mut Writer, osd: SocketAddr) {
    let addrs = EntityAddrVec::from(EntityAddr::v2(osd, Osd::NONCE));
    writer.put(&FSID).put(&EPOCH);
    writer.put(&UTime::default()).put(&UTime::default());
    writer.u32(1).i64(POOL_ID);
    pool(writer);
    writer.u32(1).i64(POOL_ID).str(POOL);
    // pool_max, flags: sortbitwise, recovery_deletes, purged_snapdirs
    writer.i32(1).u32(0x13_8000);
    // max_osd, and of each: exists and is up, is in with all its weight, where it is
    writer.u32(1).u32(1).u32(0b11).u32(1).u32(0x1_0000);
    writer.u32(1).put(&addrs);
    // pg_temp: what CRUSH would say, which has no rules here
    writer
        .u32(1)
        .u8(1)
        .i64(POOL_ID)
        .u32(0)
        .i32(-1)
        .u32(1)
        .i32(0);
    // primary_temp, affinities
    writer.u32(0).u32(0);
    writer.with_length(crush);
    // erasure_code_profiles, upmaps, crush_version, new_removed_snaps, new_purged_snaps
    writer.zeros(4 * 6);
    writer.put(&UTime::default()).put(&UTime::default());
}

/// No buckets, no rules, one device, no names.
fn crush(writer: &mut Writer) {
    const MAGIC: u32 = 0x1_0000;
    writer.u32(MAGIC).u32(0).u32(0).i32(1).zeros(3 * 4);
}

fn for_osds(writer: &mut Writer) {
    // hb_back_addrs, osd_info, blocklist
    writer.zeros(3 * 4);
    // cluster_addrs, cluster_snapshot, osd_uuid, osd_xinfo, hb_front_addrs, ratios
    writer.zeros(6 * 4 + 3 * 4);
    const QUINCY: u8 = 17;
    const LUMINOUS: u8 = 12;
    writer.u8(LUMINOUS).u8(QUINCY);
    // removed_snaps_queue, crush_node_flags, device_class_flags
    writer.zeros(3 * 4);
}

/// `pg_pool_t` as Octopus to Quincy write it.
fn pool(writer: &mut Writer) {
    const REPLICATED: u8 = 1;
    const RJENKINS: u8 = 2;
    const HASHPSPOOL: u64 = 1;
    writer.envelope(29, 5, |writer| {
        // type, size, rule, hash, pg_num, pgp_num, local ones, last_change
        writer.u8(REPLICATED).u8(1).u8(0).u8(RJENKINS);
        writer.u32(1).u32(1).zeros(8).put(&EPOCH);
        // snap_seq, snap_epoch, snaps, removed_snaps, auid
        writer.zeros(8 + 4 + 4 + 4 + 8);
        // flags, crash_replay_interval, min_size, quotas
        writer.u64(HASHPSPOOL).u32(0).u8(1).zeros(16);
        // tiers, tier_of, cache_mode, read_tier, write_tier, properties
        writer.u32(0).i64(-1).u8(0).i64(-1).i64(-1).u32(0);
        // Of hit sets, stripes, and caches.
        writer.envelope(1, 1, |_| {});
        writer.zeros(8 + 4 + 16 + 16).str("");
        writer.zeros(4 + 4 + 8 + 4 + 4 + 1 + 1 + 8);
        writer.envelope(1, 1, |_| {});
        // last_force_op_resend_prenautilus, application_metadata, create_time
        writer.zeros(4 + 4).put(&UTime::default());
        // pg_num_target, pgp_num_target, pg_num_pending, and of merges
        writer.u32(1).u32(1).u32(1).zeros(8);
        // last_force_op_resend, autoscaling, last_pg_merge_meta
        writer.zeros(4 + 1);
        writer.envelope(1, 1, |_| {});
    });
}

/// Puts the checksum of everything else into the last four bytes.
fn with_checksum(bytes: &[u8]) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes.truncate(bytes.len().saturating_sub(4));
    // Ceph's CRC-32C begins with all ones and is not inverted in the end.
    let sum = !crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes.into()
}

/// The number of the pool.
pub(crate) const POOL_ID: i64 = 1;
