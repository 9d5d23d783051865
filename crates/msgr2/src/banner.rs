//! The first bytes in each direction: who speaks what (ceph: doc/dev/msgr2.rst, "banner").
//!
//! ```text
//! "ceph v2\n" | payload length u16 | supported features u64 | required features u64 | ...
//! ```
//! Both sides send theirs at once. A payload may be longer than known; the tail is ignored.

use std::fmt;

use denc::{Reader, Writer};

use crate::{Error, limits};

/// Features of the protocol itself, apart from the [`Features`](denc::Features) of the layers above.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ProtocolFeatures(pub u64);

impl ProtocolFeatures {
    /// Revision 2.1 of the frames.
    pub const REVISION_1: Self = Self(1);
    /// Compression of frames. Advertised by a side that has
    /// [options](crate::CompressionOptions) for it.
    pub const COMPRESSION: Self = Self(2);
    /// All that this crate does unless told otherwise.
    pub const ALL: Self = Self::REVISION_1;

    /// Whether all of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Debug for ProtocolFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// The revision of the frames, the newest that both sides support.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Revision {
    /// 2.0: of the first releases of Ceph 14 and 15.
    V2_0,
    /// 2.1: checks more, and separately.
    V2_1,
}

/// What one side says at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Banner {
    /// What it can do.
    pub supported: ProtocolFeatures,
    /// What the other side must be able to do.
    pub required: ProtocolFeatures,
}

impl Banner {
    /// What this crate does unless told otherwise, nothing required.
    pub const OURS: Self = Self {
        supported: ProtocolFeatures::ALL,
        required: ProtocolFeatures(0),
    };

    /// This banner, with compression offered as well or not at all.
    pub(crate) const fn with_compression(mut self, is_offered: bool) -> Self {
        let others = self.supported.0 & !ProtocolFeatures::COMPRESSION.0;
        self.supported = ProtocolFeatures(if is_offered {
            others | ProtocolFeatures::COMPRESSION.0
        } else {
            others
        });
        self
    }

    /// The bytes that go out.
    pub fn encode(&self) -> [u8; 26] {
        let mut writer = Writer::with_capacity(26);
        writer
            .raw(MAGIC)
            .u16(16)
            .u64(self.supported.0)
            .u64(self.required.0);
        let mut bytes = [0; 26];
        bytes.copy_from_slice(writer.as_slice());
        bytes
    }

    /// How many bytes the banner at the start of `bytes` has, or nothing as long as that cannot be
    /// said.
    ///
    /// # Errors
    /// If these are not the first bytes of a v2 banner: [`Error::V1Banner`], [`Error::NotABanner`],
    /// [`Error::BannerLength`]. Found as early as possible.
    pub fn frame_len(bytes: &[u8]) -> Result<Option<usize>, Error> {
        let magic = bytes.get(..MAGIC.len()).unwrap_or(bytes);
        if !MAGIC.starts_with(magic) {
            // A text shorter than the magic may still become a v1 banner.
            let Some(found) = bytes.first_chunk::<8>() else {
                return if V1_MAGIC.starts_with(bytes) {
                    Ok(None)
                } else {
                    let mut found = [0; 8];
                    found
                        .iter_mut()
                        .zip(bytes)
                        .for_each(|(to, from)| *to = *from);
                    Err(Error::NotABanner { found })
                };
            };
            return Err(if found.starts_with(V1_MAGIC) {
                Error::V1Banner
            } else {
                Error::NotABanner { found: *found }
            });
        }
        let Some(&[_, _, _, _, _, _, _, _, low, high]) = bytes.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let len = usize::from(u16::from_le_bytes([low, high]));
        if !(16..=limits::BANNER_PAYLOAD).contains(&len) {
            return Err(Error::BannerLength { len });
        }
        Ok(Some(HEADER_LEN + len))
    }

    /// Reads a banner from all of `bytes`.
    ///
    /// # Errors
    /// As [`frame_len`](Self::frame_len), and if the bytes are fewer than the banner has.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        Self::frame_len(bytes)?;
        let mut reader = Reader::new("banner", bytes);
        reader.skip(MAGIC.len())?;
        let len = reader.u16()?;
        let mut payload = reader.sub(len.into())?;
        Ok(Self {
            supported: ProtocolFeatures(payload.u64()?),
            required: ProtocolFeatures(payload.u64()?),
        })
    }

    /// The revision to use with a peer that sent `theirs`.
    ///
    /// # Errors
    /// If either side lacks what the other one requires.
    pub fn agree(&self, theirs: &Self) -> Result<Revision, Error> {
        match self.required.0 & !theirs.supported.0 {
            0 => {}
            missing => return Err(Error::PeerLacksProtocolFeatures { missing }),
        }
        match theirs.required.0 & !self.supported.0 {
            0 => {}
            missing => return Err(Error::MissingProtocolFeatures { missing }),
        }
        let both = ProtocolFeatures(self.supported.0 & theirs.supported.0);
        Ok(if both.contains(ProtocolFeatures::REVISION_1) {
            Revision::V2_1
        } else {
            Revision::V2_0
        })
    }
}

const MAGIC: &[u8] = b"ceph v2\n";
/// The v1 banner goes on with its version, 027.
const V1_MAGIC: &[u8] = b"ceph v0";
const HEADER_LEN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Banner = Banner::OURS;

    #[test]
    fn the_banner_of_a_16_2_monitor() {
        let bytes = b"ceph v2\n\x10\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        assert_eq!(Banner::frame_len(bytes).unwrap(), Some(bytes.len()));
        assert_eq!(Banner::decode(bytes).unwrap(), OURS);
        assert_eq!(OURS.encode(), *bytes);
        for len in 0..bytes.len() {
            assert!(Banner::decode(&bytes[..len]).is_err());
        }
    }

    #[test]
    fn a_longer_payload_is_accepted() {
        let bytes = b"ceph v2\n\x12\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0zz";
        assert_eq!(Banner::frame_len(bytes).unwrap(), Some(28));
        assert_eq!(Banner::decode(bytes).unwrap().supported.0, 3);
    }

    #[test]
    fn what_is_no_banner_is_told_apart() {
        let check = |bytes: &[u8]| Banner::frame_len(bytes);
        assert!(matches!(check(b"ceph v027"), Err(Error::V1Banner)));
        assert!(matches!(check(b"SSH-2.0-"), Err(Error::NotABanner { .. })));
        assert!(matches!(check(b"S"), Err(Error::NotABanner { .. })));
        assert!(matches!(check(b"ceph v0"), Ok(None)));
        assert!(matches!(check(b"ceph v"), Ok(None)));
        assert!(matches!(
            check(b"ceph v2\n\xff\xff"),
            Err(Error::BannerLength { len: 65535 })
        ));
        assert!(matches!(
            check(b"ceph v2\n\x0f\0"),
            Err(Error::BannerLength { len: 15 })
        ));
    }

    #[test]
    fn the_revision_is_what_both_have() {
        let old = Banner {
            supported: ProtocolFeatures(0),
            required: ProtocolFeatures(0),
        };
        assert_eq!(OURS.agree(&OURS).unwrap(), Revision::V2_1);
        assert_eq!(OURS.agree(&old).unwrap(), Revision::V2_0);
        assert_eq!(old.agree(&OURS).unwrap(), Revision::V2_0);
        let strict = Banner {
            required: ProtocolFeatures::REVISION_1,
            ..OURS
        };
        assert!(matches!(
            strict.agree(&old),
            Err(Error::PeerLacksProtocolFeatures { missing: 1 })
        ));
        assert!(matches!(
            old.agree(&strict),
            Err(Error::MissingProtocolFeatures { missing: 1 })
        ));
    }
}
