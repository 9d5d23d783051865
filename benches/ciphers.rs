//! AES-128-GCM in place, beside AES alone.

use aes::cipher::BlockCipherEncrypt;
use aes::{Aes128, Block};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, KeyInit, Nonce};
use criterion::Criterion;
use ctr::Ctr32BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use graviola::aead::AesGcm;

use crate::subject::{LENGTHS, Subject, noise};

const KEY: [u8; 16] = [7; 16];
const NONCE: [u8; 12] = [9; 12];

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut subject = Subject::new(criterion, "ciphers");
    let ours = Aes128Gcm::new(&KEY.into());
    let other = AesGcm::new(&KEY);
    let nonce = Nonce::from(NONCE);
    for (len, text) in [HEAD].into_iter().chain(LENGTHS) {
        let plain = noise(len);
        let mut bytes = plain.clone();
        let tag = ours
            .encrypt_inout_detached(&nonce, &[], (&mut bytes[..]).into())
            .unwrap();
        let sealed = bytes.clone();
        let mut other_tag = [0; 16];
        bytes.copy_from_slice(&plain);
        other.encrypt(&NONCE, &[], &mut bytes, &mut other_tag);
        assert_eq!((&bytes, other_tag), (&sealed, tag.into()));

        let mut blocks = vec![Block::default(); len / 16];
        let aes = Aes128::new(&KEY.into());
        let alone = subject.cost(&format!("aes {text}"), Some(len), || {
            aes.encrypt_blocks(&mut blocks);
        });
        let counter = subject.cost(&format!("aes-ctr {text}"), Some(len), || {
            Ctr32BE::<Aes128>::new(&KEY.into(), &[1; 16].into()).apply_keystream(&mut bytes);
        });
        let seal = subject.cost(&format!("aes-gcm seal {text}"), Some(len), || {
            ours.encrypt_inout_detached(&nonce, &[], (&mut bytes[..]).into())
        });
        let other_seal = subject.cost(&format!("graviola seal {text}"), Some(len), || {
            other.encrypt(&NONCE, &[], &mut bytes, &mut other_tag);
            other_tag
        });
        let at_once = at_once(len);
        let open = subject.prepared_cost(
            &format!("aes-gcm open {text}"),
            Some(len),
            at_once,
            |count| copies(&sealed, count),
            |mut copies| {
                for bytes in &mut copies {
                    ours.decrypt_inout_detached(&nonce, &[], (&mut bytes[..]).into(), &tag)
                        .unwrap();
                }
                copies
            },
        );
        let other_open = subject.prepared_cost(
            &format!("graviola open {text}"),
            Some(len),
            at_once,
            |count| copies(&sealed, count),
            |mut copies| {
                for bytes in &mut copies {
                    other.decrypt(&NONCE, &[], bytes, &tag).unwrap();
                }
                copies
            },
        );
        let limit = format!("AES, {text}");
        for (name, cost) in [
            ("crates aes and ctr, AES-CTR", counter),
            ("crate aes-gcm, sealing", seal),
            ("crate aes-gcm, opening", open),
            ("crate graviola, sealing", other_seal),
            ("crate graviola, opening", other_open),
        ] {
            subject.beside(&format!("{name} {text}"), cost, &limit, alone);
        }
    }
    subject.finish();
}

fn copies(bytes: &[u8], count: u64) -> Vec<Vec<u8>> {
    (0..count).map(|_| bytes.to_vec()).collect()
}

/// What is encrypted first of every frame: its preamble and the start of its first segment.
const HEAD: (usize, &str) = (80, "80 B");

/// How many of this length are handled together, so that they stay in the cache.
pub(crate) fn at_once(len: usize) -> u64 {
    ((256 << 10) / len.max(1)).max(1) as u64
}
