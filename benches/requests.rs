//! Messages of operations, and answers to them, beside touching their bytes once.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::Criterion;
use denc::{Epoch, Writer};
use rados::Operation;
use rados::bench::{Request, decode_reply};
use rados::osdmap::{ObjectLocator, PgId, ShardId, ShardedPgId};

use crate::map_bytes::POOL;
use crate::subject::{Subject, noise};

const OBJECT: &str = "rbd_data.1020de14bd1.0000000000000001";
const LEN: u64 = 4096;
const PG: PgId = PgId {
    pool: POOL,
    seed: 0x1f,
};

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut subject = Subject::new(criterion, "requests");
    let data = Bytes::from(noise(4096));
    let read = Operation::new().read(8192, LEN);
    let write = Operation::new().write(8192, data.clone());
    for (name, operation) in [("read", &read), ("write", &write)] {
        let locator = ObjectLocator::new(POOL);
        let request = Request {
            pg: ShardedPgId {
                pg: PG,
                shard: ShardId::NONE,
            },
            hash: 0xabcd_001f,
            locator: &locator,
            object: OBJECT,
            operation,
        };
        let mut arena = BytesMut::new();
        let (front, _) = request.encode(&mut arena);
        let copied = subject.cost(&format!("copy of request, {name}"), None, || {
            let mut copy = BytesMut::with_capacity(front.len());
            copy.extend_from_slice(black_box(&front));
            copy.freeze()
        });
        let encoded = subject.cost(&format!("encode {name}"), None, || {
            black_box(&request).encode(&mut arena)
        });
        let text = format!("encode a {name} of 4 KiB");
        subject.beside(&text, encoded, "a copy of it", copied);
    }
    for (name, output) in [("read", data), ("write", Bytes::new())] {
        let front = reply(output.len());
        let summed = subject.cost(&format!("crc32c of reply, {name}"), None, || {
            crc32c::crc32c(black_box(&front))
        });
        let decoded = subject.cost(&format!("decode reply, {name}"), None, || {
            decode_reply(8, black_box(&front), &output).unwrap()
        });
        let text = format!("decode the reply to a {name} of 4 KiB");
        subject.beside(&text, decoded, "one CRC", summed);
    }
    subject.finish();
}

/// The front of an `MOSDOpReply`, version 8, with one step.
fn reply(output_len: usize) -> Bytes {
    let mut writer = Writer::new();
    // flags, result, bad_replay_version, epoch
    writer
        .str(OBJECT)
        .put(&PG)
        .u64(0)
        .i32(0)
        .zeros(12)
        .put(&Epoch(1));
    // One step, of which the length of its output is the last field.
    writer.u32(1).zeros(34).count(output_len);
    // attempt, result of the step, replay_version, user_version, no redirect, trace
    writer.i32(0).i32(0).zeros(12).u64(7).bool(false).zeros(24);
    writer.freeze()
}
