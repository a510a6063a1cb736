// SPDX-License-Identifier: GPL-2.0

//! What zcache of Linux 3.1 let root say about swapped pages, under the same names.
//!
//! They mean what they meant, but for their defaults: nothing is refused because of them until they
//! are set. There, each page counted before compression, and a full store refused pages one by one
//! in the middle of reclaim; here a limit counts frames, and pages lie in them without gaps, so a
//! page that shrinks to 2600 bytes gains a third of a frame, whatever the others are.
//!
//! A fourth number of that time, the limit in frames, is `pers_limit_percent`.

use crate::{
    param::Number,
    xvmalloc::MAX_PARCEL, //
};

/// The three numbers. Any context.
pub(crate) struct Tunables {
    /// Bytes: a page that compresses to more is refused. 7/8 of a page, as then.
    pub(crate) max_zsize: Number,
    /// Bytes: while the pages here have more on average, one that compresses to more is refused.
    /// 5/8 of a page then, so that a store of pages that hardly shrink took no more of these. As
    /// much as `max_zsize` here, which is never reached.
    pub(crate) max_mean_zsize: Number,
    /// Percent of RAM: more pages than that, as they were before compression, are refused. 75 then,
    /// of 1 to 150; 0 here, which is no such limit: at 50 % of RAM in frames, a hundred pages in 40
    /// frames are 125 %.
    pub(crate) page_count_policy_percent: Number,
}

/// As a number of bytes that a user gives.
// CAST: Less than a page.
const MOST: u32 = MAX_PARCEL as u32;

impl Tunables {
    /// All as if nobody had set them.
    pub(crate) const fn new() -> Self {
        Self {
            max_zsize: Number::new(1, MOST, MOST),
            max_mean_zsize: Number::new(1, MOST, MOST),
            page_count_policy_percent: Number::new(0, 150, 0),
        }
    }

    /// The longest stream to take, in bytes.
    pub(crate) fn longest(&self) -> usize {
        // CAST: `u32` to `usize` is lossless.
        self.max_zsize.get() as usize
    }

    /// Would a stream of `len` bytes be one too many of the long ones, among `pages` pages of
    /// `bytes` bytes? Asks for these only if it is a long one.
    pub(crate) fn too_long(&self, len: usize, here: impl FnOnce() -> (u64, u64)) -> bool {
        let most = u64::from(self.max_mean_zsize.get());
        // CAST: Less than a page.
        if len as u64 <= most {
            return false;
        }
        let (pages, bytes) = here();
        bytes.checked_div(pages).is_some_and(|mean| mean > most)
    }

    /// Are there too many pages, of `ram` in all? Asks for their number only if there is a limit.
    pub(crate) fn too_many(&self, ram: usize, pages: impl FnOnce() -> u64) -> bool {
        match self.page_count_policy_percent.get() {
            0 => false,
            // CAST: Lossless.
            percent => pages() > (ram as u64).saturating_mul(percent.into()) / 100,
        }
    }
}

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
#[kernel::macros::kunit_tests(zcache_tunables)]
mod tests {
    use super::*;
    use kernel::prelude::*;

    #[test]
    fn unset_they_refuse_nothing() {
        let tunables = Tunables::new();
        assert_eq!(tunables.longest(), MAX_PARCEL);
        for len in [1, 2560, MAX_PARCEL] {
            assert!(!tunables.too_long(len, || (1, MAX_PARCEL as u64)));
        }
        assert!(!tunables.too_many(0, || u64::MAX));
    }

    #[test]
    fn ranges_are_those_of_then() {
        let tunables = Tunables::new();
        for (number, good, bad) in [
            (&tunables.max_zsize, [1, 3584], [0, 3585]),
            (&tunables.max_mean_zsize, [1, 3584], [0, 3585]),
            (
                &tunables.page_count_policy_percent,
                [0, 150],
                [151, u32::MAX],
            ),
        ] {
            for value in good {
                assert!(number.set(value).is_ok());
                for value in bad {
                    assert_eq!(number.set(value), Err(EINVAL));
                }
                assert_eq!(number.get(), value);
            }
        }
    }

    /// Only what is above the mean is refused, and only while the mean is too high.
    #[test]
    fn the_mean() -> Result {
        let tunables = Tunables::new();
        tunables.max_mean_zsize.set(2560)?;
        for (len, pages, bytes, refused) in [
            (2560, 10, 30_000, false),
            (2561, 10, 30_000, true),
            (2561, 10, 25_600, false),
            (2561, 10, 25_610, true),
            (3584, 0, 0, false),
            (3584, 10, 1000, false),
        ] {
            assert_eq!(tunables.too_long(len, || (pages, bytes)), refused);
        }
        Ok(())
    }

    #[test]
    fn the_number_of_pages() -> Result {
        let tunables = Tunables::new();
        for (percent, pages, refused) in [(75, 750, false), (75, 751, true), (150, 1500, false)] {
            tunables.page_count_policy_percent.set(percent)?;
            assert_eq!(tunables.too_many(1000, || pages), refused);
        }
        Ok(())
    }
}
