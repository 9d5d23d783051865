//! Keys of type `aes`: AES-128-CBC with a fixed initialisation vector and PKCS#7 padding
//! (ceph: src/auth/Crypto.cc, `CryptoAESKeyHandler`). There is no authentication tag.

use aes::Aes128;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use zeroize::Zeroizing;

/// Bytes of a key.
pub(crate) const KEY_LEN: usize = 16;

/// The ciphertext: one to sixteen bytes longer than the plaintext.
pub(crate) fn encrypt(key: &[u8; KEY_LEN], plaintext: &[u8]) -> Vec<u8> {
    let mut buffer = plaintext.to_vec();
    buffer.resize(plaintext.len() - plaintext.len() % BLOCK_LEN + BLOCK_LEN, 0);
    cbc::Encryptor::<Aes128>::new(&(*key).into(), &IV.into())
        .encrypt_padded::<Pkcs7>(&mut buffer, plaintext.len())
        .expect("the buffer has room for the padding");
    buffer
}

/// The plaintext, unless the padding shows that the ciphertext was not made with this key.
pub(crate) fn decrypt(key: &[u8; KEY_LEN], ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let len = cbc::Decryptor::<Aes128>::new(&(*key).into(), &IV.into())
        .decrypt_padded::<Pkcs7>(&mut buffer)
        .ok()?
        .len();
    buffer.truncate(len);
    Some(buffer)
}

const BLOCK_LEN: usize = 16;
/// Ceph's `CEPH_AES_IV`.
const IV: [u8; BLOCK_LEN] = *b"cephsageyudagreg";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_never_missing() {
        for (len, padded) in [(0, 16), (15, 16), (16, 32), (17, 32)] {
            let plaintext = vec![7; len];
            let ciphertext = encrypt(&[1; 16], &plaintext);
            assert_eq!(ciphertext.len(), padded);
            assert_eq!(*decrypt(&[1; 16], &ciphertext).unwrap(), plaintext);
        }
    }

    #[test]
    fn cut_ciphertext_is_refused() {
        let ciphertext = encrypt(&[1; 16], &[7; 20]);
        for len in 0..ciphertext.len() {
            let cut = decrypt(&[1; 16], &ciphertext[..len]);
            assert!(len == 16 || cut.is_none(), "cut at {len}");
            assert!(cut.is_none_or(|plaintext| plaintext.len() < 16));
        }
    }
}
