//! Keys of type `aes256k`: aes256-cts-hmac-sha384-192 of RFC 8009 (Kerberos encryption type 20).
//!
//! ```text
//! CTS( random 16 bytes | plaintext ) | first 24 bytes of HMAC-SHA384( 16 zero bytes | CTS )
//! ```
//! CTS is AES-256-CBC from a zero vector with ciphertext stealing, variant CS3: the last two blocks
//! change places and the last one is cut to the length of the input; a single block is plain CBC.

use aes::Aes256;
use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockCipherDecrypt, BlockModeDecrypt, BlockModeEncrypt, KeyInit, KeyIvInit};
use hmac::{Hmac, Mac};
use sha2::Sha384;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::KeyUsage;

/// Bytes of a key.
pub(crate) const KEY_LEN: usize = 32;
/// Random bytes in front of each plaintext.
pub(crate) const CONFOUNDER_LEN: usize = BLOCK_LEN;

/// The ciphertext: 40 bytes longer than the plaintext.
pub(crate) fn encrypt(
    key: &[u8; KEY_LEN],
    usage: KeyUsage,
    confounder: [u8; CONFOUNDER_LEN],
    plaintext: &[u8],
) -> Vec<u8> {
    let keys = UsageKeys::derive(key, usage);
    let mut buffer = [&confounder, plaintext].concat();
    encrypt_cts(&keys.encryption, &mut buffer);
    let tag = keys.tag(&buffer);
    buffer.extend_from_slice(&*tag);
    buffer
}

/// The plaintext, unless the tag shows that the ciphertext was not made with this key, for this
/// usage.
pub(crate) fn decrypt(
    key: &[u8; KEY_LEN],
    usage: KeyUsage,
    ciphertext: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let (body, tag) = ciphertext.split_last_chunk::<TAG_LEN>()?;
    if body.len() < CONFOUNDER_LEN {
        return None;
    }
    let keys = UsageKeys::derive(key, usage);
    if !bool::from(keys.tag(body).ct_eq(tag)) {
        return None;
    }
    let mut buffer = Zeroizing::new(body.to_vec());
    decrypt_cts(&keys.encryption, &mut buffer)?;
    buffer.drain(..CONFOUNDER_LEN);
    Some(buffer)
}

/// The keys for one usage.
struct UsageKeys {
    /// `Ke` of the RFC.
    encryption: Zeroizing<[u8; KEY_LEN]>,
    /// `Ki` of the RFC.
    integrity: Zeroizing<[u8; TAG_LEN]>,
}

impl UsageKeys {
    fn derive(key: &[u8; KEY_LEN], usage: KeyUsage) -> Self {
        Self {
            encryption: derive(key, usage, 0xaa),
            integrity: derive(key, usage, 0x55),
        }
    }

    fn tag(&self, ciphertext: &[u8]) -> Zeroizing<[u8; TAG_LEN]> {
        hmac_sha384(&*self.integrity, &[&[0; BLOCK_LEN], ciphertext])
    }
}

/// KDF-HMAC-SHA2 of the RFC's section 3: counter 1, label `usage | purpose`, a zero byte, the length
/// in bits.
fn derive<const N: usize>(key: &[u8; KEY_LEN], usage: KeyUsage, purpose: u8) -> Zeroizing<[u8; N]> {
    const { assert!(N <= 48, "more would need a second round of HMAC") };
    #[expect(clippy::cast_possible_truncation, reason = "at most 48 bytes")]
    let bits = (N as u32) * 8;
    let input: [&[u8]; 5] = [
        &1u32.to_be_bytes(),
        &usage.0.to_be_bytes(),
        &[purpose],
        &[0],
        &bits.to_be_bytes(),
    ];
    hmac_sha384(key, &input)
}

/// The first `N` bytes of the HMAC of some pieces.
fn hmac_sha384<const N: usize>(key: &[u8], pieces: &[&[u8]]) -> Zeroizing<[u8; N]> {
    let mut mac =
        <Hmac<Sha384> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    for piece in pieces {
        mac.update(piece);
    }
    let mut full = mac.finalize().into_bytes();
    let mut bytes = Zeroizing::new([0; N]);
    bytes.copy_from_slice(
        full.first_chunk::<N>()
            .expect("no caller wants more than the 48 bytes of SHA-384"),
    );
    zeroize::Zeroize::zeroize(full.as_mut_slice());
    bytes
}

/// Encrypts at least one block in place.
fn encrypt_cts(key: &[u8; KEY_LEN], buffer: &mut Vec<u8>) {
    let len = buffer.len();
    let padded = len.next_multiple_of(BLOCK_LEN);
    buffer.resize(padded, 0);
    cbc::Encryptor::<Aes256>::new(&(*key).into(), &[0; BLOCK_LEN].into())
        .encrypt_padded::<NoPadding>(buffer, padded)
        .expect("whole blocks need no padding");
    if let Some(start) = padded.checked_sub(2 * BLOCK_LEN)
        && let Some(last_two) = buffer.get_mut(start..)
    {
        last_two.rotate_left(BLOCK_LEN);
        buffer.truncate(len);
    }
}

/// Undoes [`encrypt_cts`]; `None` if there is not even one block.
fn decrypt_cts(key: &[u8; KEY_LEN], buffer: &mut Vec<u8>) -> Option<()> {
    let len = buffer.len();
    if len < BLOCK_LEN {
        return None;
    }
    let padded = len.next_multiple_of(BLOCK_LEN);
    if padded > BLOCK_LEN {
        // The block before the last is the end of the CBC chain. Decrypted, it shows the bytes that
        // were cut off the block after it, because the plaintext there was zero.
        let end = padded - 2 * BLOCK_LEN;
        let last: [u8; BLOCK_LEN] = *buffer.get(end..)?.first_chunk()?;
        let mut stolen = last.into();
        Aes256::new(&(*key).into()).decrypt_block(&mut stolen);
        let kept = len - (padded - BLOCK_LEN);
        buffer.extend_from_slice(stolen.get(kept..)?);
        buffer.get_mut(end..)?.rotate_left(BLOCK_LEN);
    }
    cbc::Decryptor::<Aes256>::new(&(*key).into(), &[0; BLOCK_LEN].into())
        .decrypt_padded::<NoPadding>(buffer)
        .ok()?;
    buffer.truncate(len);
    Some(())
}

const BLOCK_LEN: usize = 16;
const TAG_LEN: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    /// The base key of RFC 8009, appendix A, "Sample results for key derivation".
    const KEY: [u8; 32] = hex("6d404d37faf79f9df0d33568d320669800eb4836472ea8a026d16b7182460c52");
    /// All samples of the RFC have this usage.
    const USAGE: KeyUsage = KeyUsage(2);

    const fn hex<const N: usize>(text: &str) -> [u8; N] {
        const fn digit(byte: u8) -> u8 {
            match byte {
                b'0'..=b'9' => byte - b'0',
                _ => byte - b'a' + 10,
            }
        }
        assert!(text.len() == 2 * N);
        let mut bytes = [0; N];
        let mut index = 0;
        while index < N {
            let text = text.as_bytes();
            bytes[index] = digit(text[2 * index]) << 4 | digit(text[2 * index + 1]);
            index += 1;
        }
        bytes
    }

    #[test]
    fn keys_are_derived_as_in_the_rfc() {
        let keys = UsageKeys::derive(&KEY, USAGE);
        let encryption: [u8; 32] =
            hex("56ab22bee63d82d7bc5227f6773f8ea7a5eb1c825160c38312980c442e5c7e49");
        assert_eq!(*keys.encryption, encryption);
        let integrity: [u8; 24] = hex("69b16514e3cd8e56b82010d5c73012b622c4d00ffc23ed1f");
        assert_eq!(*keys.integrity, integrity);
        let checksum: [u8; 24] = hex("ef5718be86cc84963d8bbb5031e9f5c4ba41f28faf69e73d");
        assert_eq!(*derive::<24>(&KEY, USAGE, 0x99), checksum);
    }

    fn sample(plaintext: &[u8], confounder: [u8; 16], ciphertext: &[u8]) {
        assert_eq!(encrypt(&KEY, USAGE, confounder, plaintext), ciphertext);
        assert_eq!(*decrypt(&KEY, USAGE, ciphertext).unwrap(), plaintext);
        for index in 0..ciphertext.len() {
            assert!(decrypt(&KEY, USAGE, &ciphertext[..index]).is_none());
            let mut changed = ciphertext.to_vec();
            changed[index] ^= 1;
            assert!(decrypt(&KEY, USAGE, &changed).is_none(), "byte {index}");
        }
        assert!(decrypt(&KEY, KeyUsage(3), ciphertext).is_none());
        assert!(decrypt(&[0; 32], USAGE, ciphertext).is_none());
    }

    #[test]
    fn nothing_is_encrypted_as_in_the_rfc() {
        sample(
            b"",
            hex("f764e9fa15c276478b2c7d0c4e5f58e4"),
            &hex::<40>(
                "41f53fa5bfe7026d91faf9be959195a058707273a96a40f0a01960621ac612748b9bbfbe7eb4ce3c",
            ),
        );
    }

    #[test]
    fn less_than_a_block_is_encrypted_as_in_the_rfc() {
        sample(
            &hex::<6>("000102030405"),
            hex("b80d3251c1f6471494256ffe712d0b9a"),
            &hex::<46>(
                "4ed7b37c2bcac8f74f23c1cf07e62bc7b75fb3f637b9f559c7f664f69eab7b6092237526ea0d1f61cb20d69d10f2",
            ),
        );
    }

    #[test]
    fn a_block_is_encrypted_as_in_the_rfc() {
        sample(
            &hex::<16>("000102030405060708090a0b0c0d0e0f"),
            hex("53bf8a0d105265d4e276428624ce5e63"),
            &hex::<56>(
                "bc47ffec7998eb91e8115cf8d19dac4bbbe2e163e87dd37f49beca92027764f68cf51f14d798c2273f35df574d1f932e40c4ff255b36a266",
            ),
        );
    }

    #[test]
    fn more_than_a_block_is_encrypted_as_in_the_rfc() {
        sample(
            &hex::<21>("000102030405060708090a0b0c0d0e0f1011121314"),
            hex("763e65367e864f02f55153c7e3b58af1"),
            &hex::<61>(
                "40013e2df58e8751957d2878bcd2d6fe101ccfd556cb1eae79db3c3ee86429f2b2a602ac86fef6ecb647d6295fae077a1feb517508d2c16b4192e01f62",
            ),
        );
    }

    #[test]
    fn every_length_comes_back() {
        let plaintext: Vec<u8> = (0..100).collect();
        for len in 0..plaintext.len() {
            let ciphertext = encrypt(&KEY, USAGE, [9; 16], &plaintext[..len]);
            assert_eq!(ciphertext.len(), len + 40);
            assert_eq!(
                *decrypt(&KEY, USAGE, &ciphertext).unwrap(),
                plaintext[..len]
            );
        }
    }
}
