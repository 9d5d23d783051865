//! Keys: the secret that a user shares with the monitors, and those that the monitors hand out.
//!
//! ```text
//! type u16 | created utime | length u16 | secret        on the wire; base64 of this in files
//! ```
//! (ceph: src/auth/Crypto.h, `CryptoKey`)

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use denc::{Decode, Encode, Reader, UTime, Writer};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::{Zeroize as _, Zeroizing};

use crate::crypto::{cbc, krb5};
use crate::{Error, KeyUsage, Random, Result, Secret};

/// How a key encrypts (ceph: src/include/ceph_fs.h, `CEPH_CRYPTO_*`). An open set: numbers this
/// version does not know are kept and printed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyType(pub u16);

impl KeyType {
    /// No encryption; keys of this type are refused.
    pub const NONE: Self = Self(0);
    /// AES-128-CBC with a fixed initialisation vector: all keys before Ceph 20.
    pub const AES: Self = Self(1);
    /// AES-256 in the Kerberos 5 mode of RFC 8009: Ceph's default since 20.
    pub const AES256K: Self = Self(2);

    /// Bytes the secret of such a key has.
    ///
    /// # Errors
    /// [`Error::KeyType`] if the type is not one that can be used.
    pub const fn secret_len(self) -> Result<usize> {
        match self {
            Self::AES => Ok(cbc::KEY_LEN),
            Self::AES256K => Ok(krb5::KEY_LEN),
            _ => Err(Error::KeyType(self)),
        }
    }
}

/// As Ceph's options name it: `aes`, `aes256k`.
impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NONE => f.write_str("none"),
            Self::AES => f.write_str("aes"),
            Self::AES256K => f.write_str("aes256k"),
            Self(other) => write!(f, "{other}"),
        }
    }
}

impl fmt::Debug for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key that can encrypt and decrypt: its type is known and its secret has the right length.
///
/// The secret is wiped when the key is dropped and is not printed. Two keys are equal if type and
/// secret are, compared in constant time; when they were made does not matter.
#[derive(Clone)]
pub struct CryptoKey {
    created: UTime,
    cipher: Cipher,
}

#[derive(Clone)]
enum Cipher {
    Aes(Zeroizing<[u8; cbc::KEY_LEN]>),
    Aes256k(Zeroizing<[u8; krb5::KEY_LEN]>),
}

impl CryptoKey {
    /// A key with the given secret.
    ///
    /// # Errors
    /// [`Error::KeyType`] or [`Error::KeyLength`] if there is no such key.
    pub fn new(kind: KeyType, created: UTime, secret: &[u8]) -> Result<Self> {
        let length = |expected| Error::KeyLength {
            kind,
            expected,
            found: secret.len(),
        };
        let cipher = match kind {
            KeyType::AES => Cipher::Aes(Zeroizing::new(
                secret.try_into().map_err(|_| length(cbc::KEY_LEN))?,
            )),
            KeyType::AES256K => Cipher::Aes256k(Zeroizing::new(
                secret.try_into().map_err(|_| length(krb5::KEY_LEN))?,
            )),
            other => return Err(Error::KeyType(other)),
        };
        Ok(Self { created, cipher })
    }

    /// A new key made of random bytes.
    ///
    /// # Errors
    /// [`Error::KeyType`] if there are no such keys.
    pub fn generate(kind: KeyType, created: UTime, random: &mut Random<'_>) -> Result<Self> {
        let secret = Secret::generate(kind.secret_len()?, random);
        Self::new(kind, created, secret.as_slice())
    }

    /// The type.
    pub const fn kind(&self) -> KeyType {
        match self.cipher {
            Cipher::Aes(_) => KeyType::AES,
            Cipher::Aes256k(_) => KeyType::AES256K,
        }
    }

    /// When it was made.
    pub const fn created(&self) -> UTime {
        self.created
    }

    /// The secret bytes: what signs a connection's handshake when this is a session key.
    pub fn secret(&self) -> &[u8] {
        match &self.cipher {
            Cipher::Aes(secret) => &**secret,
            Cipher::Aes256k(secret) => &**secret,
        }
    }

    /// The text that keyrings hold.
    pub fn to_base64(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(HEADER_LEN + self.secret().len()));
        bytes.extend_from_slice(&self.kind().0.to_le_bytes());
        bytes.extend_from_slice(&self.created.seconds.to_le_bytes());
        bytes.extend_from_slice(&self.created.nanoseconds.to_le_bytes());
        bytes.extend_from_slice(&self.secret_len().to_le_bytes());
        bytes.extend_from_slice(self.secret());
        Zeroizing::new(STANDARD.encode(&*bytes))
    }

    /// Encrypts `plaintext`. Keys of type `aes256k` give another ciphertext each time.
    pub fn encrypt(&self, usage: KeyUsage, plaintext: &[u8], random: &mut Random<'_>) -> Vec<u8> {
        match &self.cipher {
            Cipher::Aes(secret) => cbc::encrypt(secret, plaintext),
            Cipher::Aes256k(secret) => {
                let mut confounder = [0; krb5::CONFOUNDER_LEN];
                random(&mut confounder);
                krb5::encrypt(secret, usage, confounder, plaintext)
            }
        }
    }

    /// Decrypts `ciphertext`, which is called `what` in errors.
    ///
    /// # Errors
    /// [`Error::Undecipherable`] if it was made with another key, for another usage, or was changed.
    /// With keys of type `aes` that is noticed only if the padding came out wrong.
    pub fn decrypt(
        &self,
        usage: KeyUsage,
        what: &'static str,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>> {
        match &self.cipher {
            Cipher::Aes(secret) => cbc::decrypt(secret, ciphertext),
            Cipher::Aes256k(secret) => krb5::decrypt(secret, usage, ciphertext),
        }
        .ok_or(Error::Undecipherable { what })
    }

    /// Encrypts a value in the envelope that lets the reader see whether decryption worked
    /// (ceph: src/auth/cephx/CephxProtocol.h, `encode_encrypt_enc_bl`).
    pub fn seal(
        &self,
        usage: KeyUsage,
        value: &(impl Encode + ?Sized),
        random: &mut Random<'_>,
    ) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u8(1).u64(ENVELOPE_MAGIC).put(value);
        let mut plaintext = writer.into_inner();
        let ciphertext = self.encrypt(usage, &plaintext, random);
        plaintext.zeroize();
        ciphertext
    }

    /// Decrypts what [`seal`](Self::seal) made. Fields that a newer writer appended are skipped.
    ///
    /// # Errors
    /// [`Error::Undecipherable`] if this is not the key, [`Error::Decode`] if the value inside is
    /// not of the expected form.
    pub fn open<T: Decode>(
        &self,
        usage: KeyUsage,
        what: &'static str,
        ciphertext: &[u8],
    ) -> Result<T> {
        let plaintext = self.decrypt(usage, what, ciphertext)?;
        let mut reader = Reader::new(what, &plaintext);
        let envelope = (reader.u8(), reader.u64());
        if !matches!(envelope, (Ok(_), Ok(ENVELOPE_MAGIC))) {
            return Err(Error::Undecipherable { what });
        }
        Ok(reader.get()?)
    }

    /// HMAC-SHA256 under this key.
    pub(crate) fn hmac_sha256(&self, message: &[u8]) -> [u8; 32] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.secret()).expect("HMAC takes keys of any length");
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    const fn secret_len(&self) -> u16 {
        match self.cipher {
            Cipher::Aes(_) => 16,
            Cipher::Aes256k(_) => 32,
        }
    }
}

/// Says only the type.
impl fmt::Debug for CryptoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CryptoKey({})", self.kind())
    }
}

impl PartialEq for CryptoKey {
    fn eq(&self, other: &Self) -> bool {
        use subtle::ConstantTimeEq as _;
        self.kind() == other.kind() && self.secret().ct_eq(other.secret()).into()
    }
}

impl Eq for CryptoKey {}

/// Reads the base64 text that keyrings hold and `ceph auth print-key` prints; white space around it
/// does not matter.
impl FromStr for CryptoKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Error::NotBase64);
        }
        let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| Error::NotBase64)?);
        let mut reader = Reader::new("key", &bytes);
        let key = read(&mut reader)?;
        reader.finish()?;
        Ok(key)
    }
}

impl Encode for CryptoKey {
    fn encode(&self, writer: &mut Writer) {
        writer
            .u16(self.kind().0)
            .put(&self.created)
            .u16(self.secret_len())
            .raw(self.secret());
    }
}

impl Decode for CryptoKey {
    const MIN_LEN: usize = HEADER_LEN;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        let start = reader.clone();
        read(reader).map_err(|error| match error {
            Error::Decode(error) => error,
            Error::KeyLength { found, .. } => start.invalid("length of a key", found as u64),
            Error::KeyType(kind) => start.invalid("type of a key", kind.0.into()),
            _ => start.invalid("key", 0),
        })
    }
}

fn read(reader: &mut Reader<'_>) -> Result<CryptoKey> {
    let kind = KeyType(reader.u16()?);
    let created = reader.get()?;
    let len = reader.u16()?;
    CryptoKey::new(kind, created, reader.take(len.into())?)
}

/// Bytes in front of the secret.
const HEADER_LEN: usize = 2 + UTime::LEN + 2;
/// Ceph's `AUTH_ENC_MAGIC`.
const ENVELOPE_MAGIC: u64 = 0xff00_9cad_8826_aa55;

#[cfg(test)]
mod tests {
    use super::*;

    /// `ceph-authtool --gen-print-key` of Ceph 16.2.15.
    const AES: &str = "AQDoUwNrCDHEMhAA4f/lymn87nZe++dDU8YVjA==";

    fn random(bytes: &mut [u8]) {
        bytes.fill(0x5a);
    }

    fn both() -> [CryptoKey; 2] {
        [KeyType::AES, KeyType::AES256K]
            .map(|kind| CryptoKey::generate(kind, UTime::default(), &mut random).unwrap())
    }

    #[test]
    fn keys_of_ceph_print_as_they_were_parsed() {
        let key: CryptoKey = format!(" {AES}\n").parse().unwrap();
        assert_eq!(key.kind(), KeyType::AES);
        // The machine that made it had this clock.
        assert_eq!(key.created().seconds, 0x6b03_53e8);
        assert_eq!(*key.to_base64(), AES);
        assert_eq!(Writer::encode(&key)[..], STANDARD.decode(AES).unwrap());
    }

    #[test]
    fn the_two_types_are_told_by_their_first_letters() {
        let [aes, aes256k] = both();
        assert!(aes.to_base64().starts_with("AQ"));
        assert!(aes256k.to_base64().starts_with("Ag"));
        assert_eq!(aes256k.to_base64().parse::<CryptoKey>().unwrap(), aes256k);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert_eq!("".parse::<CryptoKey>(), Err(Error::NotBase64));
        assert_eq!("[client.x]".parse::<CryptoKey>(), Err(Error::NotBase64));
        assert!(matches!(
            AES[..20].parse::<CryptoKey>(),
            Err(Error::Decode(_))
        ));
        let key = |kind: u8, len: u8| {
            let mut bytes = vec![kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, len, 0];
            bytes.resize(12 + usize::from(len), 1);
            STANDARD.encode(bytes).parse::<CryptoKey>()
        };
        assert!(key(1, 16).is_ok());
        assert_eq!(key(7, 16), Err(Error::KeyType(KeyType(7))));
        assert_eq!(key(0, 0), Err(Error::KeyType(KeyType::NONE)));
        assert_eq!(
            key(2, 16),
            Err(Error::KeyLength {
                kind: KeyType::AES256K,
                expected: 32,
                found: 16
            })
        );
    }

    #[test]
    fn every_cut_of_a_key_is_an_error() {
        for key in both() {
            let bytes = Writer::encode(&key);
            assert_eq!(CryptoKey::decode_all("key", &bytes).unwrap(), key);
            for len in 0..bytes.len() {
                assert!(CryptoKey::decode_all("key", &bytes[..len]).is_err());
            }
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let key: CryptoKey = AES.parse().unwrap();
        assert_eq!(format!("{key:?}"), "CryptoKey(aes)");
        let error = AES[1..].parse::<CryptoKey>().unwrap_err();
        assert!(!error.to_string().contains(&AES[5..12]));
    }

    #[test]
    fn what_is_sealed_is_opened_by_the_same_key_alone() {
        let usage = KeyUsage::AUTHORIZE;
        for key in both() {
            let sealed = key.seal(usage, &7u64, &mut random);
            assert_eq!(key.open::<u64>(usage, "number", &sealed), Ok(7));
            for other in [
                CryptoKey::new(key.kind(), UTime::default(), &vec![3; key.secret().len()]).unwrap(),
                both().into_iter().find(|other| other != &key).unwrap(),
            ] {
                assert_eq!(
                    other.open::<u64>(usage, "number", &sealed),
                    Err(Error::Undecipherable { what: "number" })
                );
            }
            for len in 0..sealed.len() {
                assert!(key.open::<u64>(usage, "number", &sealed[..len]).is_err());
            }
        }
    }

    #[test]
    fn a_plaintext_without_the_magic_is_refused() {
        for key in both() {
            let sealed = key.encrypt(KeyUsage::AUTHORIZE, &[1; 30], &mut random);
            assert_eq!(
                key.open::<u64>(KeyUsage::AUTHORIZE, "number", &sealed),
                Err(Error::Undecipherable { what: "number" })
            );
        }
    }
}
