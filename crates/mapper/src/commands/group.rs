//! The names of groups of images, which images know by number only (ceph: src/cls/rbd/cls_rbd.cc).

use denc::{Decode, PoolId, Reader, Writer};
use rados::{Errno, Operation, Pool};

/// The pool of a group that an image of `pool` belongs to. Both are in the same namespace.
pub(super) async fn group_pool(pool: &Pool, group_pool: PoolId) -> rbd::Result<Pool> {
    let home = pool.cluster().pool_by_id(group_pool).await?;
    Ok(home.in_namespace(pool.namespace()))
}

/// The name of a group; its id if it is in no directory.
pub(super) async fn group_name(pool: &Pool, id: &str) -> rbd::Result<String> {
    // Groups are listed as images are, in an object of their own.
    let name = ask(pool, "rbd_group_directory", "dir_get_name", id).await?;
    Ok(name.unwrap_or_else(|| id.to_owned()))
}

/// The name of a snapshot of a group; its id if the group does not know it.
pub(super) async fn group_snapshot_name(pool: &Pool, group: &str, id: &str) -> rbd::Result<String> {
    let header = format!("rbd_group_header.{group}");
    let snapshot: Option<GroupSnapshot> = ask(pool, &header, "group_snap_get_by_id", id).await?;
    Ok(snapshot.map_or_else(|| id.to_owned(), |snapshot| snapshot.name))
}

/// What a method says about an id; nothing if there is no such thing.
async fn ask<T: Decode>(
    pool: &Pool,
    object: &str,
    method: &'static str,
    id: &str,
) -> rbd::Result<Option<T>> {
    let operation = Operation::new().call("rbd", method, &Writer::encode(id));
    match pool.execute(object, operation).await {
        Ok(reply) => match reply.decode(0, method) {
            Ok(answer) => Ok(Some(answer)),
            Err(source) => Err(pool.decode_error(object, source).into()),
        },
        Err(error) if error.errno() == Errno::ENOENT => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The part of a group's snapshot that is of interest here (`cls::rbd::GroupSnapshot`).
struct GroupSnapshot {
    name: String,
}

impl Decode for GroupSnapshot {
    const MIN_LEN: usize = 6;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        let mut fields = reader.envelope("GroupSnapshot", 1)?.reader;
        let _id: String = fields.get()?;
        Ok(Self {
            name: fields.get()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// What `ceph-dencoder` of Ceph 14.2 encodes, and what it prints of that.
    const LINES: &str = include_str!("../../testdata/group_snapshots.jsonl");

    #[test]
    fn snapshots_of_groups_are_what_ceph_reads() {
        for line in LINES.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let digits = line["bytes"].as_str().unwrap();
            let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
            let bytes: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
            let snapshot = GroupSnapshot::decode_all("snapshot", &bytes).unwrap();
            assert_eq!(snapshot.name, line["says"]["name"].as_str().unwrap());
            for len in 0..bytes.len() {
                assert!(GroupSnapshot::decode_all("snapshot", &bytes[..len]).is_err());
            }
        }
        assert_eq!(LINES.lines().count(), 2);
    }
}
