//! What belongs to cephx.

use cephx::{CryptoKey, Keyring};

use crate::{decode, text};

/// All structures of the protocol, as if they had been decrypted.
pub fn cephx(data: &[u8]) {
    cephx::decode_any(data);
}

/// Keyring files.
pub fn keyring(data: &[u8]) {
    let _ = text(data).parse::<Keyring>();
}

/// Keys, encoded and as text.
pub fn crypto_key(data: &[u8]) {
    decode::<CryptoKey>(data);
    if let Ok(key) = text(data).parse::<CryptoKey>() {
        assert!(key.to_base64().parse::<CryptoKey>().is_ok());
    }
}
