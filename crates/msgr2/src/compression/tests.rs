//! Round trips, and bytes that mean harm.

use bytes::BufMut;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Text of some use to a compressor, and noise of none.
fn samples() -> Vec<Vec<u8>> {
    let text = b"the quick brown fox jumps over the lazy dog; ";
    let noise = |len: u64| -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[3]
            })
            .collect()
    };
    let mut samples = vec![vec![7], noise(1), noise(1000), noise(300_000)];
    samples.push(text.iter().copied().cycle().take(200_000).collect());
    samples.push(vec![0; 3 << 20]);
    samples.push([noise(70_000), noise(70_000)].concat());
    samples
}

#[test]
fn what_is_compressed_is_decompressed() {
    for method in CompressionMethod::ALL {
        for sample in samples() {
            let compressed = method.compress(&sample).unwrap();
            let again = method.decompress(&compressed, sample.len()).unwrap();
            assert!(again == sample, "{method}, {} bytes", sample.len());
        }
        let text = samples().remove(4);
        assert!(method.compress(&text).unwrap().len() < text.len() / 8);
    }
}

#[test]
fn one_byte_more_than_the_limit_is_refused() {
    for method in CompressionMethod::ALL {
        for sample in samples() {
            let compressed = method.compress(&sample).unwrap();
            let max = sample.len() - 1;
            assert_eq!(
                method.decompress(&compressed, max),
                Err(DecompressError::TooLong { max }),
                "{method}"
            );
        }
    }
}

#[test]
fn bytes_cut_anywhere_are_refused() {
    let text = samples().remove(4);
    for method in CompressionMethod::ALL {
        let compressed = method.compress(text.get(..5000).unwrap()).unwrap();
        for len in 0..compressed.len() {
            let cut = compressed.get(..len).unwrap();
            assert!(method.decompress(cut, 5000).is_err(), "{method} at {len}");
        }
    }
}

#[test]
fn bytes_behind_the_end_are_refused() {
    for method in CompressionMethod::ALL {
        let mut compressed = method.compress(b"abcabcabcabcabc").unwrap();
        compressed.extend(b"xyz");
        let error = method.decompress(&compressed, 1000).unwrap_err();
        match method {
            // Its bytes say only how many there should be in the end.
            CompressionMethod::Snappy => {
                assert!(matches!(error, DecompressError::Damaged(_)), "{error}");
            }
            _ => assert_eq!(error, DecompressError::Trailing(3), "{method}"),
        }
    }
}

#[test]
fn a_length_that_so_few_bytes_cannot_have_sets_nothing_aside() {
    let gibibyte = 1_usize << 30;
    let snappy = b"\x80\x80\x80\x80\x04\x00a";
    assert_eq!(
        CompressionMethod::Snappy.decompress(snappy, gibibyte),
        Err(DecompressError::Implausible {
            claimed: gibibyte,
            len: snappy.len()
        })
    );
    let mut lz4 = Vec::new();
    for word in [1, 1 << 30, 3] {
        lz4.put_u32_le(word);
    }
    lz4.extend(b"\x10ab");
    assert_eq!(
        CompressionMethod::Lz4.decompress(&lz4, gibibyte),
        Err(DecompressError::Implausible {
            claimed: gibibyte,
            len: 3
        })
    );
}

#[test]
fn a_wrong_length_is_refused() {
    let patched = |method: CompressionMethod, at: usize, by: u8| {
        let mut compressed = method.compress(b"abcabcabcabcabcabc").unwrap();
        let byte = compressed.get_mut(at).unwrap();
        *byte = byte.wrapping_add(by);
        method.decompress(&compressed, 1000).unwrap_err()
    };
    for by in [1, 255] {
        let error = patched(CompressionMethod::Zstd, 0, by);
        assert!(matches!(error, DecompressError::WrongLength { .. }));
        // The number comes first in one, behind the count in the other.
        assert!(matches!(
            patched(CompressionMethod::Snappy, 0, by),
            DecompressError::WrongLength { .. } | DecompressError::Damaged(_)
        ));
        assert!(matches!(
            patched(CompressionMethod::Lz4, 4, by),
            DecompressError::WrongLength { .. } | DecompressError::Damaged(_)
        ));
    }
}

#[test]
fn more_blocks_than_there_are_bytes_are_refused() {
    let bytes = [0xff; 64];
    let error = CompressionMethod::Lz4.decompress(&bytes, 1 << 20);
    assert_eq!(error, Err(DecompressError::Truncated));
}

/// What Ceph makes of data in several pieces: later blocks refer to earlier ones.
#[test]
fn a_block_may_refer_to_the_one_before() {
    let mut compressed = Vec::new();
    for word in [2, 8, 9, 12, 9] {
        compressed.put_u32_le(word);
    }
    compressed.extend(b"\x80abcdefgh");
    // No literals, 7 bytes from 8 back; then 5 literals.
    compressed.extend(b"\x03\x08\x00\x50vwxyz");
    let found = CompressionMethod::Lz4.decompress(&compressed, 100).unwrap();
    assert_eq!(found, &b"abcdefghabcdefgvwxyz"[..]);
}

#[test]
fn a_window_larger_than_any_limit_is_refused() {
    // Magic, no content size, a window of 3.75 TiB; one raw block of a byte.
    let mut frame = 1_u32.to_le_bytes().to_vec();
    frame.extend(0xfd2f_b528_u32.to_le_bytes());
    frame.extend([0x00, 0xff, 0x09, 0x00, 0x00, b'a']);
    let error = CompressionMethod::Zstd.decompress(&frame, 1000);
    assert!(matches!(error, Err(DecompressError::Damaged(_))));
    // The smallest window there is.
    if let Some(window) = frame.get_mut(9) {
        *window = 0;
    }
    let found = CompressionMethod::Zstd.decompress(&frame, 1000).unwrap();
    assert_eq!(found, &b"a"[..]);
}

proptest! {
    #[test]
    fn any_bytes_are_decompressed_or_refused(bytes in vec(any::<u8>(), 0..300), max in 0..100_000_usize) {
        for method in CompressionMethod::ALL {
            if let Ok(decompressed) = method.decompress(&bytes, max) {
                prop_assert!(decompressed.len() <= max);
            }
        }
    }

    #[test]
    fn damaged_bytes_are_decompressed_or_refused(
        sample in vec(0..4_u8, 1..3000), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for method in CompressionMethod::ALL {
            let mut compressed = method.compress(&sample).unwrap();
            for (index, byte) in &changes {
                let index = index.index(compressed.len());
                compressed[index] = *byte;
            }
            if let Ok(decompressed) = method.decompress(&compressed, 10_000) {
                prop_assert!(decompressed.len() <= 10_000);
            }
        }
    }
}
