//! Bytes that nobody should see.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Secret bytes: wiped when dropped, not printed, compared in constant time.
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Copies the bytes; wiping the original is up to the caller.
    pub fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// Draws `len` random bytes.
    pub fn generate(len: usize, random: &mut Random<'_>) -> Self {
        let mut bytes = Zeroizing::new(vec![0; len]);
        random(&mut bytes);
        Self(bytes)
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to be kept by another owner, who wipes them as well.
    pub fn into_inner(self) -> Zeroizing<Vec<u8>> {
        self.0
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Says only how long it is.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

/// Where randomness comes from: fills the slice it is given with unpredictable bytes.
pub type Random<'a> = dyn FnMut(&mut [u8]) + 'a;

/// A random number.
pub(crate) fn random_u64(random: &mut Random<'_>) -> u64 {
    let mut bytes = [0; 8];
    random(&mut bytes);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_length_is_printed() {
        assert_eq!(format!("{:?}", Secret::new(b"hunter2")), "Secret(7 bytes)");
    }

    #[test]
    fn equal_bytes_are_equal() {
        assert_eq!(Secret::new(b"ab"), Secret::new(b"ab"));
        assert_ne!(Secret::new(b"ab"), Secret::new(b"ac"));
        assert_ne!(Secret::new(b"ab"), Secret::new(b"abc"));
    }
}
