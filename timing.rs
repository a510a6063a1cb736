// SPDX-License-Identifier: GPL-2.0

//! How long puts and gets take, for benchmarks. Without `CONFIG_ZCACHE_TIMING` all of this is
//! nothing, and without the boot word `zcache_timing` nobody looks at the clock.

#[cfg(CONFIG_ZCACHE_TIMING)]
use kernel::{
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    time::{
        Instant,
        Monotonic, //
    },
};

#[cfg(CONFIG_ZCACHE_TIMING)]
crate::setup::boot_word! {
    /// Measures.
    static ZCACHE_TIMING: c"zcache_timing";
}

/// Something that has begun.
pub(crate) struct Timer {
    #[cfg(CONFIG_ZCACHE_TIMING)]
    begun: Option<Instant<Monotonic>>,
}

impl Timer {
    /// Begins now. Any context.
    #[inline(always)]
    pub(crate) fn start() -> Self {
        Self {
            #[cfg(CONFIG_ZCACHE_TIMING)]
            begun: ZCACHE_TIMING.given().then(Instant::now),
        }
    }

    /// Nanoseconds since it began. 0 if nobody measures.
    #[inline(always)]
    pub(crate) fn elapsed(&self) -> u64 {
        #[cfg(CONFIG_ZCACHE_TIMING)]
        if let Some(begun) = self.begun {
            return u64::try_from(begun.elapsed().as_nanos()).unwrap_or(0);
        }
        0
    }
}

/// Parts of an octave that are told apart.
#[cfg(CONFIG_ZCACHE_TIMING)]
const PARTS: usize = 32;

/// Octaves, from the first nanosecond on. What takes more than 16 ms counts as 16 ms.
#[cfg(CONFIG_ZCACHE_TIMING)]
const OCTAVES: usize = 20;

/// What takes longer, in nanoseconds, was interrupted, and does not count for the sum.
#[cfg(CONFIG_ZCACHE_TIMING)]
const LONGEST: u64 = 1 << 16;

/// How often something took how long, within 3 %.
///
/// The clock of user-mode Linux moves in steps of 256 ns, so medians of short times are such
/// steps. Sums have no such error.
pub(crate) struct Times {
    #[cfg(CONFIG_ZCACHE_TIMING)]
    counts: [Atomic<u32>; PARTS * OCTAVES],
    /// Sum of those times that were not longer than [`LONGEST`], and how many these are.
    #[cfg(CONFIG_ZCACHE_TIMING)]
    sum: Atomic<u64>,
    #[cfg(CONFIG_ZCACHE_TIMING)]
    summed: Atomic<u64>,
}

impl Times {
    /// Nothing yet.
    pub(crate) const fn new() -> Self {
        Self {
            #[cfg(CONFIG_ZCACHE_TIMING)]
            counts: [const { Atomic::new(0) }; PARTS * OCTAVES],
            #[cfg(CONFIG_ZCACHE_TIMING)]
            sum: Atomic::new(0),
            #[cfg(CONFIG_ZCACHE_TIMING)]
            summed: Atomic::new(0),
        }
    }

    /// Notes that it took `nanoseconds`, unless nobody measures.
    #[inline(always)]
    #[cfg_attr(not(CONFIG_ZCACHE_TIMING), allow(unused_variables))]
    pub(crate) fn add(&self, nanoseconds: u64) {
        #[cfg(CONFIG_ZCACHE_TIMING)]
        if ZCACHE_TIMING.given() {
            self.note(nanoseconds);
        }
    }
}

#[cfg(CONFIG_ZCACHE_TIMING)]
impl Times {
    fn note(&self, nanoseconds: u64) {
        if let Some(count) = self.counts.get(place(nanoseconds)).or(self.counts.last()) {
            count.fetch_add(1, Relaxed);
        }
        if nanoseconds <= LONGEST {
            self.sum.fetch_add(nanoseconds, Relaxed);
            self.summed.fetch_add(1, Relaxed);
        }
    }

    /// How often, without those that were interrupted.
    pub(crate) fn count(&self) -> u64 {
        self.summed.load(Relaxed)
    }

    /// How long, in nanoseconds, all that [`Times::count`] counts took together.
    pub(crate) fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }

    /// The time, in nanoseconds, within which `percent` of all were done. 0 if there were none.
    pub(crate) fn percentile(&self, percent: u64) -> u64 {
        self.permille(10 * percent)
    }

    /// The same for thousandths.
    pub(crate) fn permille(&self, permille: u64) -> u64 {
        let all = self.counts.iter().map(|count| count.load(Relaxed));
        let wanted = (all.map(u64::from).sum::<u64>() * permille).div_ceil(1000);
        let mut so_far = 0;
        for (place, count) in self.counts.iter().enumerate() {
            so_far += u64::from(count.load(Relaxed));
            if so_far >= wanted && so_far != 0 {
                return middle(place);
            }
        }
        0
    }
}

/// Where a time is counted: exact up to [`PARTS`] nanoseconds, then in parts of octaves.
#[cfg(CONFIG_ZCACHE_TIMING)]
fn place(nanoseconds: u64) -> usize {
    let parts = PARTS.ilog2();
    let octave = (nanoseconds | 1).ilog2().saturating_sub(parts);
    // CAST: At most 58 octaves of `PARTS`.
    (octave as usize) * PARTS + (nanoseconds >> octave) as usize
}

/// The middle of the times that are counted in one place.
#[cfg(CONFIG_ZCACHE_TIMING)]
fn middle(place: usize) -> u64 {
    let octave = (place / PARTS).saturating_sub(1);
    let part = (place - octave * PARTS) as u64;
    (part << octave) + ((1u64 << octave) >> 1)
}

#[cfg(all(CONFIG_ZCACHE_KUNIT_TEST, CONFIG_ZCACHE_TIMING))]
#[kernel::macros::kunit_tests(zcache_timing)]
mod tests {
    use super::*;

    #[test]
    fn places_and_middles_agree() {
        let mut last = 0;
        for nanoseconds in 0..1 << 18 {
            let place = place(nanoseconds);
            assert!(place == last || place == last + 1);
            last = place;
            let middle = middle(place);
            assert!(middle.abs_diff(nanoseconds) <= nanoseconds / 32);
        }
    }

    #[test]
    fn percentiles() {
        static TIMES: Times = Times::new();
        assert_eq!(TIMES.percentile(50), 0);
        for nanoseconds in [10, 11, 12, 13, 1 << 40] {
            TIMES.note(nanoseconds);
        }
        assert_eq!(TIMES.sum(), 46);
        assert_eq!(TIMES.count(), 4);
        assert_eq!(TIMES.percentile(1), 10);
        assert_eq!(TIMES.percentile(50), 12);
        assert_eq!(TIMES.percentile(80), 13);
        assert!(TIMES.percentile(99) > 1 << 23);
        assert_eq!(TIMES.permille(800), 13);
        assert_eq!(TIMES.permille(801), TIMES.percentile(99));
        // One in two thousand that takes long is beyond the last thousandth that counts.
        static MANY: Times = Times::new();
        for _ in 0..1999 {
            MANY.note(20);
        }
        MANY.note(5000);
        assert_eq!(MANY.permille(999), 20);
        assert!(MANY.permille(1000) > 4800);
    }
}
