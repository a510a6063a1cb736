// SPDX-License-Identifier: GPL-2.0

//! What is known of files, or of parts of them: one number for each, and of a few of them.
//!
//! A table has a place for each hash of a file. Of the files that share a place it knows one: which
//! that is stands in the upper half of a word, its number in the lower one. Nothing but a few pages
//! more or less in the store may depend on it, so that there is no lock: two processors that change
//! a place at once may lose one of the changes.

use core::num::NonZeroU32;

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

use crate::{
    history::mix,
    tmem::BackRef, //
};

/// Bits of a word that are the number.
const NUMBER_BITS: u32 = 32;

/// The table.
pub(crate) struct Files {
    words: KVec<Atomic<u64>>,
}

impl Files {
    /// A table of so many places, of 8 bytes each, in which nothing is known. May sleep. Fails with
    /// [`ENOMEM`].
    pub(crate) fn new(places: usize) -> Result<Self> {
        let mut words = KVec::with_capacity(places, GFP_KERNEL)?;
        for _ in 0..places {
            words.push(Atomic::new(0), GFP_KERNEL)?;
        }
        Ok(Self { words })
    }

    /// Memory that it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<Atomic<u64>>()
    }

    /// The place of a page's file; [`None`] if the table has none. Any context.
    pub(crate) fn place(&self, page: BackRef) -> Option<Place<'_>> {
        self.place_of(BackRef { index: 0, ..page })
    }

    /// The same for a table that knows parts of files, of `pages` pages each. Any context.
    pub(crate) fn place_of_part(&self, page: BackRef, pages: NonZeroU32) -> Option<Place<'_>> {
        self.place_of(BackRef {
            index: page.index / pages,
            ..page
        })
    }

    fn place_of(&self, name: BackRef) -> Option<Place<'_>> {
        let hash = mix(name);
        // CAST: The lower half, and the upper one.
        let (spread, file) = (hash as u32, (hash >> 32) as u32);
        // CAST: Below the number of places: a product instead of a division.
        let number = ((u64::from(spread) * self.words.len() as u64) >> 32) as usize;
        let word = self.words.get(number)?;
        Some(Place { word, file })
    }
}

/// The place of a file, which may know another one. Any context.
pub(crate) struct Place<'a> {
    word: &'a Atomic<u64>,
    file: u32,
}

impl Place<'_> {
    /// The number of the file, if it is the one that is known here.
    pub(crate) fn number(&self) -> Option<u32> {
        let word = self.word.load(Relaxed);
        // CAST: One half, and the other.
        ((word >> NUMBER_BITS) as u32 == self.file).then_some(word as u32)
    }

    /// Makes the file known here, with this number.
    pub(crate) fn set(&self, number: u32) {
        let word = u64::from(self.file) << NUMBER_BITS | u64::from(number);
        self.word.store(word, Relaxed);
    }

    /// Takes one off the number that is here, of whichever file. False if it is nought.
    pub(crate) fn wear_off(&self) -> bool {
        let word = self.word.load(Relaxed);
        // CAST: The lower half.
        let left = word as u32 != 0;
        if left {
            self.word.store(word - 1, Relaxed);
        }
        left
    }

    /// Is that the same place?
    #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
    pub(crate) fn is(&self, other: &Self) -> bool {
        core::ptr::eq(self.word, other.word)
    }
}

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
#[kernel::macros::kunit_tests(zcache_files)]
mod tests {
    use super::*;
    use crate::test_pages::of_file as page;

    #[test]
    fn a_place_knows_one_file() -> Result {
        // All share the only place.
        let files = Files::new(1)?;
        let one = files.place(page(1, 0)).ok_or(EINVAL)?;
        let other = files.place(page(2, 0)).ok_or(EINVAL)?;
        assert!(one.is(&other));
        assert_eq!((one.number(), other.number()), (None, None));
        one.set(2);
        assert_eq!((one.number(), other.number()), (Some(2), None));
        // Whoever it is worn off by.
        for left in [1, 0] {
            assert!(other.wear_off());
            assert_eq!(one.number(), Some(left));
        }
        assert!(!other.wear_off());
        assert_eq!(one.number(), Some(0));
        other.set(u32::MAX);
        assert_eq!((one.number(), other.number()), (None, Some(u32::MAX)));
        Ok(())
    }

    #[test]
    fn all_pages_of_a_file_have_its_place() -> Result {
        let files = Files::new(64)?;
        assert!(files.bytes() >= 64 * 8);
        files.place(page(1, 0)).ok_or(EINVAL)?.set(7);
        for index in 0..100 {
            let place = files.place(page(1, index)).ok_or(EINVAL)?;
            assert_eq!(place.number(), Some(7));
        }
        assert!(Files::new(0)?.place(page(1, 0)).is_none());
        Ok(())
    }

    #[test]
    fn parts_of_a_file_have_places_of_their_own() -> Result {
        let pages = NonZeroU32::new(8).ok_or(EINVAL)?;
        let parts = Files::new(64)?;
        let number = |index| Some(parts.place_of_part(page(1, index), pages)?.number());
        parts
            .place_of_part(page(1, 19), pages)
            .ok_or(EINVAL)?
            .set(7);
        for index in 0..32 {
            let here = (16..24).contains(&index).then_some(7);
            assert_eq!(number(index), Some(here));
        }
        Ok(())
    }
}
