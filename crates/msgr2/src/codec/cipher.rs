//! AES-128-GCM by the fastest implementation that the processor allows: `graviola` seals 4 MiB in 0.40
//! ms where `aes-gcm` takes 1.34 ms, but needs instructions that not every processor has.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, KeyInit, Nonce};

use crate::Error;

/// One key. It is wiped when this is dropped, by either implementation.
pub(crate) enum Cipher {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    Fast(Box<graviola::aead::AesGcm>),
    Portable(Box<Aes128Gcm>),
}

pub(crate) const KEY_LEN: usize = 16;
pub(crate) const NONCE_LEN: usize = 12;
/// Bytes of tag behind every encrypted stretch.
pub(crate) const TAG_LEN: usize = 16;

impl Cipher {
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Self {
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        if graviola::util::is_cpu_supported() {
            return Self::Fast(Box::new(graviola::aead::AesGcm::new(key)));
        }
        Self::portable(key)
    }

    fn portable(key: &[u8; KEY_LEN]) -> Self {
        Self::Portable(Box::new(Aes128Gcm::new(key.into())))
    }

    /// Encrypts in place.
    pub(crate) fn seal(
        &self,
        nonce: [u8; NONCE_LEN],
        bytes: &mut [u8],
    ) -> Result<[u8; TAG_LEN], Error> {
        match self {
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            Self::Fast(cipher) => {
                let mut tag = [0; TAG_LEN];
                cipher.encrypt(&nonce, &[], bytes, &mut tag);
                Ok(tag)
            }
            Self::Portable(cipher) => cipher
                .encrypt_inout_detached(&Nonce::from(nonce), &[], bytes.into())
                .map(Into::into)
                .map_err(|_| Error::GcmTag),
        }
    }

    /// Verifies and decrypts in place. What is wrong is not decrypted.
    pub(crate) fn open(
        &self,
        nonce: [u8; NONCE_LEN],
        bytes: &mut [u8],
        tag: [u8; TAG_LEN],
    ) -> Result<(), Error> {
        match self {
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            Self::Fast(cipher) => cipher
                .decrypt(&nonce, &[], bytes, &tag)
                .map_err(|_| Error::GcmTag),
            Self::Portable(cipher) => cipher
                .decrypt_inout_detached(&Nonce::from(nonce), &[], bytes.into(), &tag.into())
                .map_err(|_| Error::GcmTag),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_implementations_agree(
            key: [u8; KEY_LEN],
            nonce: [u8; NONCE_LEN],
            bytes in vec(any::<u8>(), 0..3000),
            flipped: proptest::sample::Index,
        ) {
            let (chosen, portable) = (Cipher::new(&key), Cipher::portable(&key));
            let (mut one, mut other) = (bytes.clone(), bytes.clone());
            let tag = chosen.seal(nonce, &mut one).unwrap();
            prop_assert_eq!(tag, portable.seal(nonce, &mut other).unwrap());
            prop_assert_eq!(&one, &other);
            for cipher in [&chosen, &portable] {
                let mut opened = one.clone();
                cipher.open(nonce, &mut opened, tag).unwrap();
                prop_assert_eq!(&opened, &bytes);
                let mut wrong = [&one[..], &tag[..]].concat();
                let at = flipped.index(wrong.len());
                wrong[at] ^= 1;
                let tag = *wrong.last_chunk().unwrap();
                wrong.truncate(bytes.len());
                let refused = cipher.open(nonce, &mut wrong, tag);
                prop_assert!(matches!(refused, Err(Error::GcmTag)));
            }
        }
    }
}
