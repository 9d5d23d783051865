//! What daemons write and clients only read.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use denc::{
    Encode, EntityAddr, EntityAddrVec, Epoch, OsdId, PoolId, Reader, SnapId, Tid, UTime, Uuid,
    Writer,
};
use msgr2::Message;

use crate::msg::kind;
use crate::osdmap::{MapFlags, ObjectLocator, OsdMap, PgId, PgPool, Release, ShardedPgId};

/// What is changed by an incremental map.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    pub(super) flags: Option<MapFlags>,
    pub(super) pools: BTreeMap<PoolId, PgPool>,
    pub(super) old_pools: BTreeSet<PoolId>,
    pub(super) up: BTreeMap<OsdId, EntityAddrVec>,
    /// Bits to be toggled; 0 is up.
    pub(super) states: BTreeMap<OsdId, u32>,
    pub(super) pg_temp: BTreeMap<PgId, Vec<OsdId>>,
    pub(super) blocklist: BTreeMap<EntityAddr, UTime>,
    pub(super) removed_snaps: BTreeMap<PoolId, Vec<(SnapId, u64)>>,
    pub(super) release: Option<Release>,
}

/// `OSDMap::Incremental` as Nautilus to Quincy write it.
pub(super) fn incremental(fsid: Uuid, epoch: Epoch, change: &Change) -> Bytes {
    let mut writer = Writer::new();
    writer.envelope(8, 7, |writer| {
        writer.envelope(8, 1, |writer| client_part(writer, fsid, epoch, change));
        writer.envelope(9, 1, |writer| osd_part(writer, change));
        // The checksum of this, and that of the whole map, which clients cannot check.
        writer.u32(0).u32(0);
    });
    with_checksum(&writer.freeze(), 8)
}

fn client_part(writer: &mut Writer, fsid: Uuid, epoch: Epoch, change: &Change) {
    let flags = change.flags.map_or(-1, |flags| flags.0.cast_signed());
    writer.put(&fsid).put(&epoch).put(&UTime::default());
    writer.i64(-1).i32(flags).blob(&[]).blob(&[]).i32(-1);
    writer.count(change.pools.len());
    for (id, it) in &change.pools {
        writer.put(id);
        pool(writer, it);
    }
    writer.u32(0).put(&change.old_pools).put(&change.up);
    writer.put(&change.states).u32(0).put(&change.pg_temp);
    // primary_temp, affinities, profiles, upmaps
    writer.zeros(4 * 8);
    writer.put(&change.removed_snaps).u32(0);
    writer.put(&UTime::default()).put(&UTime::default());
}

fn osd_part(writer: &mut Writer, change: &Change) {
    writer.zeros(4 * 4).put(&change.blocklist).u32(0);
    // new_up_cluster, cluster_snapshot, new_uuid, new_xinfo, new_hb_front_up, encode_features
    writer.zeros(4 * 5 + 8);
    for _ in 0..3 {
        writer.u32((-1.0_f32).to_bits());
    }
    writer.u8(u8::MAX);
    writer.u8(change.release.map_or(u8::MAX, |release| release.0));
    writer.zeros(4 * 2);
}

/// `pg_pool_t` as Octopus to Quincy write it.
fn pool(writer: &mut Writer, pool: &PgPool) {
    let tier = |tier: Option<PoolId>| tier.map_or(-1, |pool| pool.0);
    writer.envelope(29, 5, |writer| {
        writer.u8(pool.kind.0).u8(pool.size).u8(pool.crush_rule);
        writer.u8(pool.object_hash.0);
        writer.u32(pool.pg_num).u32(pool.pgp_num).zeros(8);
        writer.put(&pool.last_change);
        // snap_seq, snap_epoch, snaps, removed_snaps, auid
        writer.zeros(8 + 4 + 4 + 4 + 8);
        writer.put(&pool.flags).u32(0).u8(pool.min_size).zeros(16);
        // tiers, tier_of, cache_mode
        writer.u32(0).i64(-1).u8(0);
        writer.i64(tier(pool.read_tier)).i64(tier(pool.write_tier));
        writer.u32(0);
        writer.envelope(1, 1, |_| {});
        // Of hit sets, stripes, and caches.
        writer.zeros(8 + 4 + 16 + 16).str("");
        writer.put(&pool.last_force_op_resend_preluminous);
        writer.zeros(4 + 8 + 4 + 4 + 1 + 1 + 8);
        writer.envelope(1, 1, |_| {});
        writer.put(&pool.last_force_op_resend_prenautilus);
        writer.u32(0).put(&UTime::default());
        writer.u32(pool.pg_num_target).u32(pool.pgp_num);
        writer.u32(pool.pg_num_pending).zeros(8);
        writer.put(&pool.last_force_op_resend).u8(0);
        writer.envelope(1, 1, |_| {});
    });
}

/// `OSDMap` as Nautilus to Quincy write it, with the bytes of its CRUSH map.
pub(super) fn full(map: &OsdMap, crush: &[u8]) -> Bytes {
    let mut writer = Writer::new();
    writer.envelope(8, 7, |writer| {
        writer.envelope(9, 1, |writer| full_client_part(writer, map, crush));
        writer.envelope(9, 1, |writer| {
            // hb_back_addrs, osd_info
            writer.zeros(4 + 4).put(&map.blocklist.addrs);
            // cluster_addrs, cluster_snapshot, osd_uuid, osd_xinfo, hb_front_addrs
            writer.zeros(4 + 4 + 4 + 4 + 4 + 4).zeros(4 * 3);
            writer.u8(map.require_min_compat_client.0);
            writer.u8(map.require_osd_release.0);
            // removed_snaps_queue, crush_node_flags, device_class_flags
            writer.zeros(4 * 3);
        });
        writer.u32(0);
    });
    with_checksum(&writer.freeze(), 4)
}

fn full_client_part(writer: &mut Writer, map: &OsdMap, crush: &[u8]) {
    writer.put(&map.fsid).put(&map.epoch);
    writer.put(&map.created).put(&map.modified);
    writer.count(map.pools.len());
    for (id, it) in &*map.pools {
        writer.put(id);
        pool(writer, it);
    }
    writer.put(&*map.pool_names).i32(9).put(&map.flags);
    writer.count(map.states.len());
    writer.put(&*map.states).put(&*map.weights);
    writer.count(map.states.len());
    for osd in (0..).map(OsdId).take(map.states.len()) {
        let nowhere = EntityAddrVec::from(EntityAddr::NONE);
        writer.put(map.addrs.get(&osd).unwrap_or(&nowhere));
    }
    writer.put(&*map.pg_temp).put(&*map.primary_temp);
    writer.u32(0).blob(crush);
    // erasure_code_profiles, upmaps, crush_version, new_removed_snaps, new_purged_snaps
    writer.zeros(4 * 6);
    writer.put(&map.last_up_change).put(&map.last_in_change);
}

/// Puts the checksum where there is room for it, `back` bytes from the end.
fn with_checksum(bytes: &[u8], back: usize) -> Bytes {
    let mut bytes = bytes.to_vec();
    let at = bytes.len() - back;
    let sum = crc32c::crc32c_append(crc32c::crc32c_append(0, &bytes[..at]), &bytes[at + 4..]);
    bytes[at..at + 4].copy_from_slice(&(!sum).to_le_bytes());
    bytes.into()
}

/// `MOSDMap` without what clients do not read.
pub(super) fn map_message(
    fsid: Uuid,
    incremental: &[(Epoch, Bytes)],
    full: &[(Epoch, Bytes)],
) -> Bytes {
    let mut writer = Writer::new();
    writer.put(&fsid);
    for maps in [incremental, full] {
        writer.count(maps.len());
        for (epoch, bytes) in maps {
            writer.put(epoch).blob(bytes);
        }
    }
    writer.freeze()
}

/// An operation as an OSD gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) tid: Tid,
    pub(super) pg: ShardedPgId,
    pub(super) epoch: Epoch,
    pub(super) flags: u32,
    pub(super) pool: PoolId,
    pub(super) object: String,
    pub(super) snaps: Vec<SnapId>,
    pub(super) attempt: i32,
}

impl Request {
    pub(super) fn parse(message: &Message) -> denc::Result<Self> {
        let mut reader = Reader::new("MOSDOp", &message.front);
        let pg = reader.get()?;
        reader.u32()?;
        let epoch = reader.get()?;
        let flags = reader.u32()?;
        reader.envelope("reqid", 2)?;
        reader.skip(24)?;
        if message.version >= 9 {
            reader.envelope("otel", 1)?;
        }
        reader.u32()?;
        reader.get::<UTime>()?;
        let locator: ObjectLocator = reader.get()?;
        let object = reader.get()?;
        let steps = usize::from(reader.u16()?);
        reader.skip(38 * steps)?;
        reader.skip(8 + 8)?;
        Ok(Self {
            tid: message.tid,
            pg,
            epoch,
            flags,
            pool: locator.pool,
            object,
            snaps: reader.get()?,
            attempt: reader.i32()?,
        })
    }
}

/// `MOSDOpReply`, version 8. A redirect says the pool to go to.
pub(super) fn reply(
    request: &Request,
    attempt: i32,
    result: i32,
    redirect: Option<PoolId>,
) -> Message {
    let mut writer = Writer::new();
    writer.str(&request.object).put(&request.pg.pg).u64(0);
    writer.i32(result).zeros(12).put(&request.epoch).u32(0);
    writer.i32(attempt).zeros(12).u64(7);
    writer.bool(redirect.is_some());
    if let Some(pool) = redirect {
        writer.envelope(1, 1, |writer| {
            writer.put(&ObjectLocator::new(pool)).str("").u32(0);
        });
    }
    writer.zeros(24);
    Message {
        tid: request.tid,
        kind: kind::OSD_OPREPLY,
        version: 8,
        compat_version: 2,
        front: writer.freeze(),
        ..Message::default()
    }
}

/// A message of a kind with a front.
pub(super) fn message(kind: msgr2::MessageType, front: &(impl Encode + ?Sized)) -> Message {
    Message {
        kind,
        version: 1,
        compat_version: 1,
        front: Writer::encode(front),
        ..Message::default()
    }
}
