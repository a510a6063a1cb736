// SPDX-License-Identifier: GPL-2.0

//! Medians, and how sure they are, without a guess at how the samples are
//! distributed.

/// The middle one, or the mean of the two in the middle.
pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(match sorted.len() % 2 {
        0 => (sorted[sorted.len() / 2 - 1] + upper) / 2.0,
        _ => upper,
    })
}

/// A median and an interval that the true one lies in.
#[derive(Debug, PartialEq, Clone, Copy)]
pub struct Interval {
    /// The median of the samples.
    pub median: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The interval of at least 95 % for the median, by order statistics: each
/// sample lies below the true median with a chance of one half, so the number
/// of those that do is binomial, and the ends are samples themselves. None with
/// fewer than six: the least and the greatest of five hold it in 94 % only.
pub fn interval(samples: &[f64]) -> Option<Interval> {
    let left_out = left_out(samples.len())?;
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(Interval {
        median: median(&sorted)?,
        low: sorted[left_out],
        high: sorted[sorted.len() - 1 - left_out],
    })
}

/// How many samples lie outside at each end.
fn left_out(count: usize) -> Option<usize> {
    // Chance of exactly `below` samples under the median, added up. Counts
    // where 2^-n is no number are far above what anybody measures.
    let mut exactly = 0.5f64.powi(i32::try_from(count).ok()?);
    let mut at_most = 0.0;
    let mut result = None;
    for below in 0..count / 2 {
        at_most += exactly;
        if 2.0 * at_most > 0.05 {
            break;
        }
        result = Some(below);
        exactly *= (count - below) as f64 / (below + 1) as f64;
    }
    result
}

/// What each pair says: how much more the second took, in percent of the first.
pub fn percent_more(first: &[f64], second: &[f64]) -> Vec<f64> {
    let pair = first.iter().zip(second);
    pair.filter(|(first, _)| **first > 0.0)
        .map(|(first, second)| 100.0 * (second - first) / first)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn ends_are_those_of_the_tables() {
        // The usual tables of the sign test count from one.
        for (count, rank) in [(6, 1), (8, 1), (9, 2), (10, 2), (12, 3), (20, 6), (50, 18)] {
            assert_eq!(left_out(count), Some(rank - 1), "{count}");
        }
        for count in 0..6 {
            assert_eq!(left_out(count), None);
            assert_eq!(interval(&vec![1.0; count]), None);
        }
    }

    /// Against what tables of the sign test say.
    #[test]
    fn intervals_of_medians() {
        let upto = |count: u32| (1..=count).rev().map(f64::from).collect::<Vec<_>>();
        for (count, expected) in [
            (0, None),
            (5, None),
            (6, Some((1.0, 6.0))),
            (8, Some((1.0, 8.0))),
            (9, Some((2.0, 8.0))),
            (10, Some((2.0, 9.0))),
            (12, Some((3.0, 10.0))),
            (20, Some((6.0, 15.0))),
            (25, Some((8.0, 18.0))),
        ] {
            let ends = interval(&upto(count)).map(|ends| (ends.low, ends.high));
            assert_eq!(ends, expected, "{count} samples");
        }
    }

    #[test]
    fn interval_does_not_depend_on_order() {
        let samples: Vec<f64> = (1..=20).map(f64::from).collect();
        let mut other = samples.clone();
        other.reverse();
        other.swap(3, 11);
        let expected = Interval {
            median: 10.5,
            low: 6.0,
            high: 15.0,
        };
        assert_eq!(interval(&samples), Some(expected));
        assert_eq!(interval(&other), Some(expected));
    }

    #[test]
    fn interval_holds_the_true_median_as_often_as_it_says() {
        // Fixed numbers, far from a normal distribution; the median is 0.25.
        let mut state = 1u64;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        for count in [6, 20] {
            let held = (0..4000).filter(|_| {
                let samples: Vec<f64> = (0..count).map(|_| random().powi(2)).collect();
                interval(&samples).is_some_and(|ends| (ends.low..=ends.high).contains(&0.25))
            });
            let held = held.count();
            assert!((3760..=3960).contains(&held), "{count}: {held} of 4000");
        }
    }

    #[test]
    fn pairs_are_differences_in_percent_of_the_first() {
        assert_eq!(percent_more(&[2.0, 4.0], &[3.0, 3.0]), [50.0, -25.0]);
        assert!(percent_more(&[0.0], &[1.0]).is_empty());
    }
}
