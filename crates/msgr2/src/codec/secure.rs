//! AES-128-GCM over frames: one key, one nonce counter for each direction
//! (ceph: src/msg/async/crypto_onwire.cc).

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

pub(crate) use super::cipher::TAG_LEN;
use super::cipher::{Cipher, KEY_LEN, NONCE_LEN};
use crate::{Error, Revision};

/// Encrypts or decrypts one direction. Every operation uses the next nonce.
pub(crate) struct Gcm {
    cipher: Cipher,
    nonce: NonceCounter,
}

impl Gcm {
    /// The two directions out of a connection secret: what the client receives, what it sends.
    pub(crate) fn pair(secret: &[u8], revision: Revision) -> Result<(Self, Self), Error> {
        let short = Error::NoConnectionSecret { len: secret.len() };
        let Some((key, rest)) = secret.split_first_chunk::<KEY_LEN>() else {
            return Err(short);
        };
        let Some((to_client, rest)) = rest.split_first_chunk::<NONCE_LEN>() else {
            return Err(short);
        };
        let Some((to_server, _)) = rest.split_first_chunk::<NONCE_LEN>() else {
            return Err(short);
        };
        let direction = |nonce| Self {
            cipher: Cipher::new(key),
            nonce: NonceCounter::new(nonce, revision),
        };
        Ok((direction(*to_client), direction(*to_server)))
    }

    /// Encrypts in place.
    pub(crate) fn seal(&mut self, bytes: &mut [u8]) -> Result<[u8; TAG_LEN], Error> {
        let nonce = self.nonce.next()?;
        self.cipher.seal(nonce, bytes)
    }

    /// Verifies and decrypts in place.
    pub(crate) fn open(&mut self, bytes: &mut [u8], tag: [u8; TAG_LEN]) -> Result<(), Error> {
        let nonce = self.nonce.next()?;
        self.cipher.open(nonce, bytes, tag)
    }

    /// Decrypts the first bytes of the next stretch without verifying them, and without using up
    /// the nonce: revision 2.0 hides the length of a stretch inside it.
    ///
    /// Encrypting zeros gives the key stream; what is encrypted here never leaves this function.
    pub(crate) fn peek<const N: usize>(&self, start: &[u8; N]) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.cipher.seal(self.nonce.current, &mut bytes)?;
        bytes
            .iter_mut()
            .zip(start)
            .for_each(|(key, byte)| *key ^= byte);
        Ok(bytes)
    }
}

/// The key stays inside.
impl fmt::Debug for Gcm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gcm")
    }
}

/// 12 bytes that are never used twice: 2.1 counts in the last eight, 2.0 in the first four.
#[derive(Zeroize, ZeroizeOnDrop)]
struct NonceCounter {
    current: [u8; NONCE_LEN],
    first: [u8; NONCE_LEN],
    is_used: bool,
    #[zeroize(skip)]
    revision: Revision,
}

impl NonceCounter {
    const fn new(first: [u8; NONCE_LEN], revision: Revision) -> Self {
        Self {
            current: first,
            first,
            is_used: false,
            revision,
        }
    }

    fn next(&mut self) -> Result<[u8; NONCE_LEN], Error> {
        if self.is_used && self.current == self.first {
            return Err(Error::NoncesUsedUp);
        }
        self.is_used = true;
        let nonce = self.current;
        match self.revision {
            Revision::V2_0 => {
                if let Some(counter) = self.current.first_chunk_mut() {
                    *counter = u32::from_le_bytes(*counter).wrapping_add(1).to_le_bytes();
                }
            }
            Revision::V2_1 => {
                if let Some(counter) = self.current.last_chunk_mut() {
                    *counter = u64::from_le_bytes(*counter).wrapping_add(1).to_le_bytes();
                }
            }
        }
        Ok(nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_count_where_the_revision_says() {
        let first = [0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 8];
        let mut old = NonceCounter::new(first, Revision::V2_0);
        assert_eq!(old.next().unwrap(), first);
        assert_eq!(old.next().unwrap(), [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let first = [1, 2, 3, 4, 0xff, 0xff, 0, 0, 0, 0, 0, 0];
        let mut new = NonceCounter::new(first, Revision::V2_1);
        assert_eq!(new.next().unwrap(), first);
        assert_eq!(new.next().unwrap(), [1, 2, 3, 4, 0, 0, 1, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_nonce_is_never_used_again() {
        let mut counter = NonceCounter::new([7; 12], Revision::V2_1);
        counter.next().unwrap();
        counter.current = counter.first;
        assert!(matches!(counter.next(), Err(Error::NoncesUsedUp)));
    }

    #[test]
    fn each_side_opens_what_the_other_seals() {
        let secret: Vec<u8> = (0..64).collect();
        let (mut client_in, mut client_out) = Gcm::pair(&secret, Revision::V2_1).unwrap();
        let (mut server_out, mut server_in) = Gcm::pair(&secret, Revision::V2_1).unwrap();
        for (from, to) in [
            (&mut client_out, &mut server_in),
            (&mut server_out, &mut client_in),
        ] {
            let mut bytes = *b"sixteen byte msg";
            let tag = from.seal(&mut bytes).unwrap();
            assert_eq!(to.peek(&bytes).unwrap(), *b"sixteen byte msg");
            to.open(&mut bytes, tag).unwrap();
            assert_eq!(bytes, *b"sixteen byte msg");
        }
        let mut bytes = [0; 16];
        let tag = client_out.seal(&mut bytes).unwrap();
        assert!(matches!(
            client_in.open(&mut bytes, tag),
            Err(Error::GcmTag)
        ));
    }

    /// NIST's test case 2 for AES-128-GCM (McGrew and Viega, "The Galois/Counter Mode of
    /// Operation", appendix B): zero key, zero nonce, one zero block.
    #[test]
    fn agrees_with_the_published_vector() {
        let (mut gcm, _) = Gcm::pair(&[0; 40], Revision::V2_1).unwrap();
        let mut bytes = [0; 16];
        let tag = gcm.seal(&mut bytes).unwrap();
        assert_eq!(
            bytes,
            0x0388_dace_60b6_a392_f328_c2b9_71b2_fe78_u128.to_be_bytes()
        );
        assert_eq!(
            tag,
            0xab6e_47d4_2cec_13bd_f53a_67b2_1257_bddf_u128.to_be_bytes()
        );
    }

    #[test]
    fn refuses_a_short_secret() {
        for len in 0..40 {
            assert!(matches!(
                Gcm::pair(&vec![1; len], Revision::V2_1),
                Err(Error::NoConnectionSecret { len: found }) if found == len
            ));
        }
        Gcm::pair(&[1; 40], Revision::V2_1).unwrap();
    }
}
