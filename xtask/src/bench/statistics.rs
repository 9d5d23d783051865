//! Medians of turns, ratios of turns that belong together, and quantiles of histograms.

use std::collections::BTreeMap;

/// The middle of the values, or the mean of the two in the middle. Nothing for none.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *values.get(values.len() / 2 - 1)?;
    Some(f64::midpoint(lower, upper))
}

/// How many times as much as the other side it was, over all pairs of turns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ratio {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) greatest: f64,
}

impl Ratio {
    /// Of pairs of turns that were made one after the other, ours first. Nothing when there is no pair
    /// whose quotient means something.
    pub(super) fn of_pairs(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<Self> {
        let quotients: Vec<f64> = pairs
            .into_iter()
            .filter(|(_, theirs)| *theirs > 0.0)
            .map(|(ours, theirs)| ours / theirs)
            .collect();
        Some(Self {
            median: median(quotients.iter().copied())?,
            least: quotients.iter().copied().reduce(f64::min)?,
            greatest: quotients.iter().copied().reduce(f64::max)?,
        })
    }
}

/// The least value that this share of all is not above, in a histogram of values and how often they
/// came up.
pub(super) fn quantile(histogram: &BTreeMap<u64, u64>, share: f64) -> Option<u64> {
    let total: u64 = histogram.values().sum();
    let wanted = share * to_f64(total);
    let mut seen = 0;
    let mut last = None;
    for (value, count) in histogram.iter().filter(|(_, count)| **count > 0) {
        seen += count;
        last = Some(*value);
        if to_f64(seen) >= wanted {
            break;
        }
    }
    last
}

/// Exact up to 2^53, which no count or time here gets near.
pub(super) fn to_f64(number: u64) -> f64 {
    number as f64
}

/// A count that was calculated; what is less than one is none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the conversion saturates at both ends"
)]
pub(super) fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0]), Some(3.0));
        assert_eq!(median([9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median([9.0, 1.0, 5.0, 6.0]), Some(5.5));
    }

    #[test]
    fn ratios_are_of_turns_that_belong_together() {
        // The medians of both sides alone would say 1.0.
        let ratio = Ratio::of_pairs([(1.0, 2.0), (2.0, 1.0), (10.0, 5.0)]).unwrap();
        assert_eq!(
            ratio,
            Ratio {
                median: 2.0,
                least: 0.5,
                greatest: 2.0
            }
        );
        assert_eq!(Ratio::of_pairs([]), None);
        assert_eq!(Ratio::of_pairs([(1.0, 0.0)]), None);
    }

    #[test]
    fn quantiles_count_what_is_not_above() {
        let histogram = BTreeMap::from([(10, 50), (20, 49), (25, 0), (30, 1)]);
        assert_eq!(quantile(&histogram, 0.5), Some(10));
        assert_eq!(quantile(&histogram, 0.501), Some(20));
        assert_eq!(quantile(&histogram, 0.99), Some(20));
        assert_eq!(quantile(&histogram, 0.999), Some(30));
        assert_eq!(quantile(&histogram, 1.0), Some(30));
        assert_eq!(quantile(&BTreeMap::new(), 0.5), None);
    }
}
