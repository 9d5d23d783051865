//! Types of every layer, as Ceph encodes them and prints them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

#[path = "../testdata/dencoder.rs"]
#[expect(dead_code, reason = "others need more of it")]
mod dencoder;

use denc::{AddrType, Encode, EntityAddr, EntityAddrVec, EntityName, Writer};
use dencoder::{assert_addr, assert_addrs, vectors};

const LINES: &str = include_str!("../testdata/dencoder.jsonl");

/// What is read is written with the same bytes, in the form that all peers of ours know.
fn assert_written<T: Encode>(value: &T, bytes: &[u8]) {
    assert_eq!(Writer::encode(value)[..], *bytes);
}

#[test]
fn addresses_are_what_ceph_reads() {
    let (mut typed, mut legacy, mut v6) = (0, 0, 0);
    for vector in vectors(LINES, "entity_addr_t") {
        let addr: EntityAddr = vector.decode();
        assert_addr(&addr, &vector.says);
        v6 += usize::from(addr.socket.is_some_and(|socket| socket.is_ipv6()));
        if vector.release == "nautilus" {
            typed += 1;
            // Ceph pads the blank ones.
            if addr.kind != AddrType::NONE {
                assert_written(&addr, &vector.bytes);
            }
        } else {
            legacy += 1;
            assert_eq!(vector.bytes.len(), 8 + 128);
        }
    }
    assert_eq!((typed, legacy, v6), (9, 9, 6));
}

#[test]
fn lists_of_addresses_are_what_ceph_reads() {
    let mut sizes = Vec::new();
    for vector in vectors(LINES, "entity_addrvec_t") {
        let addrs: EntityAddrVec = vector.decode();
        assert_addrs(&addrs, &vector.says);
        if vector.release == "nautilus" {
            sizes.push(addrs.0.len());
            if addrs.iter().all(|addr| addr.kind != AddrType::NONE) {
                assert_written(&addrs, &vector.bytes);
            }
        } else {
            // One address is all that there is room for.
            assert_eq!(addrs.0.len(), 1, "{}", vector.label);
        }
    }
    assert_eq!(sizes, [0, 1, 2, 1, 1, 2, 3]);
}

#[test]
fn names_are_what_ceph_reads() {
    for vector in vectors(LINES, "entity_name_t") {
        let name: EntityName = vector.decode();
        assert_eq!(vector.says["type"], name.kind.to_string());
        assert_eq!(vector.says["num"], name.num.cast_unsigned());
        assert_written(&name, &vector.bytes);
    }
}
