//! A logarithm in integers (ceph: src/crush/mapper.c, `crush_ln`).

use crate::ln_table::{HIGH, LOW};

/// 2^44 * log2(x + 1), as exactly as the tables say.
pub(crate) fn ln(x: u16) -> u64 {
    let x = u64::from(x) + 1;
    // Shift into 0x8000..=0x10000; x is at least 1 and at most 0x10000.
    let shift = x.leading_zeros().saturating_sub(u64::BITS - 16);
    let normal = x << shift;
    let exponent = u64::from(15 - shift.min(15));
    let (reciprocal, high) = entry(&HIGH, (normal >> 8).wrapping_sub(128));
    let low = entry(&LOW, (normal.wrapping_mul(reciprocal) >> 48) & 0xff);
    (exponent << 44) + ((high + low) >> 4)
}

/// The indices are within the tables by how they are computed.
fn entry<T: Copy + Default>(table: &[T], index: u64) -> T {
    usize::try_from(index)
        .ok()
        .and_then(|index| table.get(index).copied())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_logarithm_but_for_the_tables_faults() {
        for x in 0..=u16::MAX {
            let exact = (f64::from(x) + 1.0).log2() * 2f64.powi(44);
            #[expect(clippy::cast_precision_loss, reason = "48 bits fit")]
            let off = (ln(x) as f64 - exact).abs();
            // The faults of the tables are below 2^33 of 2^48.
            assert!(off <= 2f64.powi(32), "{x}: off by {off}");
        }
        assert_eq!(ln(0), 0);
        assert_eq!(ln(u16::MAX), 0xffff_f000_0000);
    }
}
