//! The signature of the handshake: each side signs every byte it received up to the end of
//! authentication, so that a change on the way, of a feature or a mode say, does not go unnoticed.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::Error;
use crate::auth::AuthSecrets;
use crate::frame::auth::AuthSignature;

/// Signs what was received. Without a session key there is nothing to sign with.
pub(crate) fn sign(secrets: &AuthSecrets, received: &[u8]) -> AuthSignature {
    AuthSignature(digest(secrets, received))
}

/// Verifies the peer's signature of what was sent to it.
pub(crate) fn verify(expected: &AuthSignature, found: &AuthSignature) -> Result<(), Error> {
    if bool::from(expected.0.ct_eq(&found.0)) {
        Ok(())
    } else {
        Err(Error::BadSignature)
    }
}

fn digest(secrets: &AuthSecrets, bytes: &[u8]) -> [u8; 32] {
    let Some(key) = &secrets.session_key else {
        return [0; 32];
    };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        unreachable!("HMAC takes keys of any length");
    };
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn secrets(key: &[u8]) -> AuthSecrets {
        AuthSecrets {
            session_key: Some(Zeroizing::new(key.to_vec())),
            ..AuthSecrets::default()
        }
    }

    /// RFC 4231, test case 2.
    #[test]
    fn is_hmac_sha256() {
        let signature = sign(&secrets(b"Jefe"), b"what do ya want for nothing?");
        assert_eq!(signature.0[..4], [0x5b, 0xdc, 0xc1, 0x46]);
        assert_eq!(signature.0[28..], [0x64, 0xec, 0x38, 0x43]);
    }

    #[test]
    fn is_zero_without_a_key() {
        assert_eq!(sign(&AuthSecrets::default(), b"x").0, [0; 32]);
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let expected = sign(&secrets(b"key"), b"bytes");
        verify(&expected, &sign(&secrets(b"key"), b"bytes")).unwrap();
        for bit in 0..256 {
            let mut changed = expected.clone();
            changed.0[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(
                verify(&expected, &changed),
                Err(Error::BadSignature)
            ));
        }
    }
}
