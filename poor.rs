// SPDX-License-Identifier: GPL-2.0

//! Files whose pages do not shrink: archives, pictures, films, what is encrypted.
//!
//! To find out that a page does not shrink takes about as long as to compress one. Pages of a file
//! are alike, so after [`STREAK`] of them in a row that did not shrink, all but one in [`PROBE`]
//! of that file's pages are refused unseen, and after [`LONG_STREAK`] all but one in
//! [`RARE_PROBE`]. The first one that does shrink ends that.
//!
//! What is known is the number of tries in a row that failed. A file that comes to a place of the
//! table (`files.rs`) drops what was known of another there.

use kernel::prelude::*;

use crate::{
    files::Files,
    history::mix,
    tmem::BackRef, //
};

/// Files that are known at a time: 16 KiB.
const PLACES: usize = 2048;

/// So many pages in a row that did not shrink make a file one whose pages do not.
const STREAK: u32 = 8;

/// Of such a file, one page in so many is tried all the same.
const PROBE: u64 = 16;

/// So many tries in a row that failed, and even that is too often.
const LONG_STREAK: u32 = 16;

/// Of a file with a long streak, one page in so many is tried. A multiple of [`PROBE`].
///
/// A try takes some three microseconds, and all else that a refusal takes 0.3. An
/// archive of which a part does shrink has this many pages of that part refused before it shows.
const RARE_PROBE: u64 = 64;

/// What is known of files.
pub(crate) struct Poor(Files);

impl Poor {
    /// Nothing is known yet. May sleep. Fails with [`ENOMEM`].
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(Files::new(PLACES)?))
    }

    /// Shall this page be refused without a try? Any context.
    pub(crate) fn refuses(&self, page: BackRef) -> bool {
        let streak = self.0.place(page).and_then(|place| place.number());
        let probe = match streak.unwrap_or(0) {
            LONG_STREAK.. => RARE_PROBE,
            STREAK.. => PROBE,
            _ => return false,
        };
        // By the page's name: the same pages are tried each time, and they lie all over the file.
        mix(page) % probe != 0
    }

    /// Notes whether a page shrank. Any context.
    pub(crate) fn note(&self, page: BackRef, shrank: bool) {
        let Some(place) = self.0.place(page) else {
            return;
        };
        match (shrank, place.number().unwrap_or(0)) {
            (false, streak) => place.set((streak + 1).min(LONG_STREAK)),
            // Most files' pages do, and leave the line to its other readers.
            (true, 0) => {}
            (true, _) => place.set(0),
        }
    }

    /// Memory that it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
#[kernel::macros::kunit_tests(zcache_poor)]
mod tests {
    use super::*;
    use crate::test_pages::of_file as page;

    fn refused(poor: &Poor, file: u32) -> usize {
        (0..1600)
            .filter(|index| poor.refuses(page(file, *index)))
            .count()
    }

    #[test]
    fn only_a_streak_makes_a_file_poor() -> Result {
        let poor = Poor::new()?;
        for index in 0..STREAK {
            assert_eq!(refused(&poor, 1), 0);
            poor.note(page(1, index), false);
        }
        // All but about one in sixteen, of 1600.
        let count = refused(&poor, 1);
        assert!(count > 1400 && count < 1550);
        for index in STREAK..LONG_STREAK {
            assert_eq!(refused(&poor, 1), count);
            poor.note(page(1, index), false);
        }
        // All but about 25.
        let count = refused(&poor, 1);
        assert!(count > 1550 && count < 1600);
        assert_eq!(refused(&poor, 2), 0);
        Ok(())
    }

    #[test]
    fn one_page_that_shrinks_ends_it() -> Result {
        let poor = Poor::new()?;
        for _ in 0..2 {
            for index in 0..1000 {
                poor.note(page(1, index), false);
            }
            assert!(refused(&poor, 1) > 0);
            poor.note(page(1, 1000), true);
            assert_eq!(refused(&poor, 1), 0);
        }
        Ok(())
    }

    #[test]
    fn a_page_that_shrinks_breaks_a_streak() -> Result {
        let poor = Poor::new()?;
        for index in 0..1000 {
            poor.note(page(1, index), index % STREAK == STREAK - 1);
            assert_eq!(refused(&poor, 1), 0);
        }
        Ok(())
    }

    #[test]
    fn a_full_table_forgets() -> Result {
        let poor = Poor::new()?;
        // CAST: Far below 2^32.
        let files = 8 * PLACES as u32;
        for file in 0..files {
            for index in 0..STREAK {
                poor.note(page(file, index), false);
            }
        }
        let known = (0..files).filter(|file| refused(&poor, *file) > 0).count();
        assert!(known <= PLACES);
        assert!(known > PLACES * 9 / 10);
        assert!(poor.bytes() >= 8 * PLACES);
        Ok(())
    }
}
