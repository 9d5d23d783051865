//! The first byte of a frame's end: whether the sender meant the frame in the end.
//!
//! Revision 2.1 says so in the low four bits, far enough apart that one wrong bit is noticed; 2.0 in
//! the lowest bit alone.

use crate::{Error, Revision};

/// What a sender may say once the segments are out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LateStatus {
    Complete,
    /// To be discarded as if it had never been sent.
    Aborted,
}

impl LateStatus {
    pub(crate) const fn complete(revision: Revision) -> u8 {
        match revision {
            Revision::V2_0 => 0,
            Revision::V2_1 => COMPLETE,
        }
    }

    pub(crate) const fn decode(byte: u8, revision: Revision) -> Result<Self, Error> {
        match (revision, byte & MASK) {
            (Revision::V2_0, _) if byte & 1 == 0 => Ok(Self::Complete),
            (Revision::V2_0, _) => Ok(Self::Aborted),
            (Revision::V2_1, COMPLETE) => Ok(Self::Complete),
            (Revision::V2_1, ABORTED) => Ok(Self::Aborted),
            (Revision::V2_1, _) => Err(Error::LateStatus(byte)),
        }
    }
}

const MASK: u8 = 0x0f;
const COMPLETE: u8 = 0x0e;
const ABORTED: u8 = 0x01;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revision_1_knows_two_answers() {
        for byte in 0..=u8::MAX {
            let status = LateStatus::decode(byte, Revision::V2_1);
            match byte & 0x0f {
                0x0e => assert_eq!(status.unwrap(), LateStatus::Complete),
                0x01 => assert_eq!(status.unwrap(), LateStatus::Aborted),
                _ => assert!(matches!(status, Err(Error::LateStatus(found)) if found == byte)),
            }
        }
    }

    #[test]
    fn revision_0_has_one_flag() {
        let decode = |byte| LateStatus::decode(byte, Revision::V2_0).unwrap();
        assert_eq!(decode(0), LateStatus::Complete);
        assert_eq!(decode(1), LateStatus::Aborted);
    }
}
