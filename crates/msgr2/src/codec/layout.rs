//! Lengths on the wire.
//!
//! ```text
//!            | revision 2.1                                 | revision 2.0
//! crc        | preamble, seg 0, crc, [seg 1-3, epilogue 13] | preamble, seg 0-3, epilogue 17
//! secure     | A: preamble + 48 bytes of seg 0, tag         | preamble, seg 0-3 padded, epilogue 16,
//!            | B: rest of seg 0 padded, tag, if there is    |   tag: all one stretch
//!            | C: seg 1-3 padded, epilogue 16, tag, if ...  |
//! ```

use super::secure::TAG_LEN;
use crate::frame::Preamble;

/// Bytes of the first segment that are encrypted together with the preamble in revision 2.1.
pub(crate) const INLINE: usize = 48;
/// The first encrypted stretch of a frame in revision 2.1.
pub(crate) const SECURE_HEAD: usize = Preamble::LEN + INLINE + TAG_LEN;
/// A checksum.
pub(crate) const CRC_LEN: usize = 4;
/// Status and three checksums.
pub(crate) const CRC_EPILOGUE: usize = 13;
/// Status and four checksums.
pub(crate) const CRC_EPILOGUE_V2_0: usize = 17;
/// Status and padding.
pub(crate) const SECURE_EPILOGUE: usize = 16;

/// `len` rounded up to the cipher's block.
pub(crate) const fn padded(len: usize) -> usize {
    len.next_multiple_of(16)
}

impl Preamble {
    /// A whole frame in crc mode of revision 2.1.
    pub(crate) fn crc_v2_1(&self) -> usize {
        let epilogue = if self.count == 1 { 0 } else { CRC_EPILOGUE };
        let segments = self.lens.into_iter().sum::<usize>();
        Self::LEN + segments + CRC_LEN + epilogue
    }

    /// The second encrypted stretch in revision 2.1; 0 if there is none.
    pub(crate) fn secure_remainder(&self) -> usize {
        let [control, ..] = self.lens;
        match control.saturating_sub(INLINE) {
            0 => 0,
            rest => padded(rest) + TAG_LEN,
        }
    }

    /// The third encrypted stretch in revision 2.1; 0 if there is none.
    pub(crate) fn secure_tail(&self) -> usize {
        let [_, tail @ ..] = self.lens;
        match self.count {
            1 => 0,
            _ => tail.into_iter().map(padded).sum::<usize>() + SECURE_EPILOGUE + TAG_LEN,
        }
    }

    /// The whole frame in revision 2.0, encrypted.
    pub(crate) fn secure_v2_0(&self) -> usize {
        let segments = self.lens.into_iter().map(padded).sum::<usize>();
        Self::LEN + segments + SECURE_EPILOGUE + TAG_LEN
    }
}
