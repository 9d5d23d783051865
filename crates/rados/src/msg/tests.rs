//! Messages that a monitor and an OSD have sent, and cut ones.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use denc::{Decode, Encode, Epoch, GlobalId, PoolId, Reader, SnapId, Tid, Writer};

use super::mon::*;
use super::osd::*;
use crate::Watchers;
use crate::listing::{ListedObject, Page};
use crate::op::Stat;
use crate::osdmap::{HObject, Incremental, OsdMap, PgId, ShardId, ShardedPgId};
use crate::watch::NotifyAnswers;

const FSID: &str = "c2b4ca62-b7c9-4c05-8465-1eac241f8592";
/// The version of `MOSDOpReply` that the OSD sent.
const REPLY_VERSION: u16 = 8;

fn recorded(name: &str) -> Bytes {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/messages");
    fs::read(testdata.join(name)).unwrap().into()
}

/// Takes a message apart, and checks that it is refused when it is cut before its `tail`, which is
/// what is of no interest.
fn parse<T>(front: &Bytes, tail: &[u8], parse: impl Fn(&Bytes) -> denc::Result<T>) -> T {
    let needed = front.len() - tail.len();
    assert_eq!(front[needed..], *tail);
    for len in 0..front.len() {
        let cut = parse(&front.slice(..len));
        assert_eq!(cut.is_ok(), len >= needed, "cut at {len} of {needed}");
    }
    parse(front).unwrap()
}

fn decode<T: Decode>(name: &str, tail: &[u8]) -> T {
    parse(&recorded(name), tail, |front| {
        T::decode(&mut Reader::new("message", front))
    })
}

fn reply(name: &str, data: &Bytes) -> OsdOpReply {
    let front = recorded(name);
    // A context for tracing that is not used.
    let parsed = parse(&front, &[0; 24], |front| {
        OsdOpReply::parse(REPLY_VERSION, front, data)
    });
    for len in 0..data.len() {
        let cut = OsdOpReply::parse(REPLY_VERSION, &front, &data.slice(..len));
        assert!(cut.is_err(), "data cut at {len}");
    }
    assert!(parsed.redirect.is_none());
    assert_eq!(parsed.attempt, 0);
    assert_eq!(parsed.reply.results.len(), 1);
    parsed
}

#[test]
fn options_are_those_that_ceph_config_has() {
    let ConfigMessage(options) = decode("config.front", &[]);
    let options: Vec<_> = options.iter().map(|(k, v)| (&**k, &**v)).collect();
    assert_eq!(
        options,
        [("rbd_default_features", "5"), ("rbd_default_order", "23")]
    );
}

#[test]
fn monitors_are_where_the_cluster_says() {
    let MonMapMessage(map) = decode("mon_map.front", &[]);
    assert_eq!(map.fsid.to_string(), FSID);
    assert_eq!(map.epoch, Epoch(1));
    let monitors: Vec<_> = map.monitors.iter().collect();
    let [(name, addrs)] = monitors[..] else {
        panic!("{monitors:?}");
    };
    assert_eq!(name, "a");
    assert_eq!(
        addrs.to_string(),
        "[v2:127.0.0.1:14301/0,v1:127.0.0.1:26042/0]"
    );
}

#[test]
fn command_acks_carry_status_and_output() {
    // After the status, the command is repeated.
    let command = Writer::encode(&["{\"prefix\": \"fsid\"}"][..]);
    let ack: MonCommandAck = decode("command_ack.front", &command);
    assert_eq!((ack.result, ack.status.as_str()), (0, ""));
    assert_eq!(recorded("command_ack.data"), format!("{FSID}\n"));

    let front = recorded("command_ack_status.front");
    let ack = MonCommandAck::decode(&mut Reader::new("ack", &front)).unwrap();
    assert_eq!(
        (ack.result, ack.status.as_str()),
        (0, "pool 'stuck' created")
    );
}

#[test]
fn versions_are_told_by_handle() {
    // The oldest version that is still there.
    let reply: MonGetVersionReply = decode("version_reply.front", &1u64.to_le_bytes());
    assert_eq!(reply.handle, Tid(1));
    assert_eq!(reply.newest, 16);
}

#[test]
fn auth_replies_carry_a_payload_of_the_protocol() {
    let reply: AuthReply = decode("auth_reply.front", &[]);
    assert_eq!((reply.result, reply.message.as_str()), (0, ""));
    // The start of a cephx answer with tickets, CEPHX_GET_PRINCIPAL_SESSION_KEY.
    assert_eq!(reply.payload[..2], 0x0400u16.to_le_bytes());
    // Everything but protocol, result, global id and the two lengths.
    assert_eq!(reply.payload.len(), 194 - 4 - 4 - 8 - 4 - 4);
}

#[test]
fn osd_maps_come_whole_and_as_differences() {
    let count = |name: &str, tail: usize| {
        let front = recorded(name);
        let tail = front.slice(front.len() - tail..);
        let message = parse(&front, &tail, OsdMapMessage::parse);
        assert_eq!(message.fsid.to_string(), FSID);
        for (epoch, bytes) in &message.full {
            let map = OsdMap::decode_all("map", bytes).unwrap();
            assert_eq!((map.fsid(), map.epoch()), (message.fsid, *epoch));
        }
        for (epoch, bytes) in &message.incremental {
            let incremental = Incremental::decode_all("incremental", bytes).unwrap();
            let found = (incremental.fsid(), incremental.epoch());
            assert_eq!(found, (message.fsid, *epoch));
        }
        (message.full.len(), message.incremental.len())
    };
    // Two epochs, and an empty map of snapshots.
    const TAIL: usize = 4 + 4 + 4;
    assert_eq!(count("osd_map_full.front", TAIL), (1, 0));
    assert_eq!(count("osd_map_incremental.front", TAIL), (0, 1));
    assert_eq!(count("osd_map_incrementals.front", TAIL), (0, 7));
}

#[test]
fn replies_say_how_it_went() {
    let written = reply("reply_write.front", &Bytes::new());
    assert_eq!(written.result, 0);
    assert!(written.reply.version > 0);
    assert_eq!(written.reply.data(0), "");

    let missing = reply("reply_missing.front", &Bytes::new());
    assert_eq!(missing.reply.epoch, Epoch(9));
    // "(2) No such file or directory"
    assert_eq!(missing.result, -2);
}

#[test]
fn replies_hand_out_the_data_step_by_step() {
    let stat = reply("reply_stat.front", &recorded("reply_stat.data"));
    let stat: Stat = stat.reply.decode(0, "stat").unwrap();
    assert_eq!(stat.size, 3);
    // 2026-11-22T22:29:08Z
    assert_eq!(stat.modified.seconds, 1_795_386_548);

    let list = reply("reply_list.front", &recorded("reply_list.data"));
    // The end of the placement group.
    assert_eq!(list.result, 1);
    let page: Page = list.reply.decode(0, "page").unwrap();
    let watched = ListedObject {
        namespace: String::new(),
        name: "watched".to_string(),
        locator: String::new(),
    };
    assert_eq!(page.objects, [watched]);

    let watchers = reply("reply_watchers.front", &recorded("reply_watchers.data"));
    let Watchers(watchers) = watchers.reply.decode(0, "watchers").unwrap();
    let [watcher] = &watchers[..] else {
        panic!("{watchers:?}");
    };
    assert_eq!(watcher.name.to_string(), "client.4117");
    assert_eq!(watcher.cookie, 93_855_447_562_592);
    assert_eq!(watcher.timeout_seconds, 30);
    assert_eq!(
        watcher.addr.to_string(),
        "any:127.0.0.1:0/400665239".replace("any:", "")
    );

    let notified = reply("reply_notify.front", &recorded("reply_notify.data"));
    assert_eq!(notified.result, 0);
}

#[test]
fn old_replies_are_refused() {
    let front = recorded("reply_write.front");
    assert!(OsdOpReply::parse(6, &front, &Bytes::new()).is_err());
}

#[test]
fn pages_are_refused_when_cut() {
    let data = recorded("reply_list.data");
    parse(&data, &[], |page| {
        Page::decode(&mut Reader::new("page", page)).map(|_| ())
    });
}

#[test]
fn watchers_hear_what_is_said_and_notifiers_who_heard() {
    let event: WatchNotify = decode("watch_notify.front", &[]);
    assert_eq!(event.event, WatchEvent::Notify);
    assert_eq!(event.cookie, 93_855_447_562_592);
    assert_eq!(event.payload[..], *b"\x05\0\0\0hello");
    assert_ne!(event.notifier, GlobalId(0));

    let complete: WatchNotify = decode("notify_complete.front", &[]);
    assert_eq!(complete.event, WatchEvent::NotifyComplete);
    assert_eq!(complete.notify_id, event.notify_id);
    assert_eq!(complete.notifier, event.notifier);
    assert_eq!(complete.payload, "");
    assert_eq!(complete.result, 0);
    let answers = parse(&recorded("notify_complete.data"), &[], NotifyAnswers::parse);
    let [answer] = &answers.answers[..] else {
        panic!("{answers:?}");
    };
    assert_eq!(answer.watcher.cookie, event.cookie);
    assert_eq!(answers.timed_out, []);
}

#[test]
fn backoffs_name_a_placement_group_and_a_range() {
    let backoff: OsdBackoff = decode("backoff.front", &[]);
    let pg = PgId {
        pool: PoolId(2),
        seed: 0,
    };
    let shard = ShardId::NONE;
    assert_eq!(backoff.pg, ShardedPgId { pg, shard });
    assert_eq!(backoff.epoch, Epoch(16));
    assert_eq!(backoff.step, BackoffStep::Block);
    assert_eq!(backoff.id, 1);
    let begin = HObject {
        pool: PoolId(2),
        snap: SnapId(0),
        ..HObject::MIN
    };
    assert_eq!((&backoff.begin, &backoff.end), (&begin, &HObject::MAX));
    // What is answered differs in the step alone.
    let mut bytes = recorded("backoff.front").to_vec();
    let ack = OsdBackoff {
        step: BackoffStep::AckBlock,
        ..backoff
    };
    bytes[6 + 18 + 4] = 2;
    assert_eq!(Writer::encode(&ack), bytes);
}

/// What is put before a message for one of the monitors' services is as long as what is skipped.
#[test]
fn the_services_prefix_has_one_length() {
    let mut writer = Writer::new();
    PaxosPrefix.encode(&mut writer);
    assert_eq!(writer.as_slice().len(), PaxosPrefix::MIN_LEN);
}
