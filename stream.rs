// SPDX-License-Identifier: GPL-2.0

//! Files that stream through: of which many pages were stored, and none was wanted again.
//!
//! A film, an image that is copied, a dump, a log: each page comes once, and each that is stored
//! was compressed for nothing, and took a frame from the page cache. As long as the store has room
//! nothing else would stop that. So pages that were not put before ("new" here) are counted for
//! each file as they are stored, and a file that has reached its share (`policy.rs`) gets no more
//! of them in. Each page that is hit takes [`PER_HIT`] off the count: a file that is read again
//! soon has all the room that there is. A page that was put before, and the one behind it in the
//! file as well, is never refused for this.
//!
//! A page of another file that comes to the same place of the table (`files.rs`) takes one off the
//! count there, and has the place when the count is nought. So many small files do not make a large
//! one forgotten, but time does.

use kernel::prelude::*;

use crate::{
    files::Files,
    tmem::BackRef, //
};

/// Files that are known at a time: 8 KiB.
const PLACES: usize = 1024;

/// New pages that a file may have stored for each of its pages that is hit.
///
/// A page that is hit leaves, and is not new when it comes again, if it is still remembered then.
/// With more than one, a file of which a part is wanted gets the whole store in a few rounds, even
/// where a round is longer than the history.
const PER_HIT: u32 = 8;

/// What is known of files.
pub(crate) struct Streams(Files);

impl Streams {
    /// Nothing is known yet. May sleep. Fails with [`ENOMEM`].
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(Files::new(PLACES)?))
    }

    /// Has the file of this page its `share` of new pages? Any context.
    pub(crate) fn refuses(&self, page: BackRef, share: usize) -> bool {
        let count = self.0.place(page).and_then(|place| place.number());
        // CAST: `u32` to `usize` is lossless.
        count.is_some_and(|count| count as usize >= share)
    }

    /// Notes that a new page was stored. Any context.
    pub(crate) fn stored(&self, page: BackRef) {
        let Some(place) = self.0.place(page) else {
            return;
        };
        match place.number() {
            Some(count) => place.set(count.saturating_add(1)),
            None if place.wear_off() => {}
            None => place.set(1),
        }
    }

    /// Notes that a page was hit. Any context.
    pub(crate) fn hit(&self, page: BackRef) {
        let Some(place) = self.0.place(page) else {
            return;
        };
        match place.number() {
            None | Some(0) => {}
            Some(count) => place.set(count.saturating_sub(PER_HIT)),
        }
    }

    /// Memory that it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
#[kernel::macros::kunit_tests(zcache_stream)]
mod tests {
    use super::*;
    use crate::test_pages::of_file as page;

    const SHARE: usize = 100;

    /// Stores new pages of a file until one is refused, and returns how many; at most 1000.
    fn fill(streams: &Streams, file: u32) -> u32 {
        let stored = (0..1000).take_while(|index| {
            let page = page(file, *index);
            let taken = !streams.refuses(page, SHARE);
            if taken {
                streams.stored(page);
            }
            taken
        });
        // CAST: At most 1000.
        stored.count() as u32
    }

    #[test]
    fn a_file_has_its_share() -> Result {
        let streams = Streams::new()?;
        assert_eq!(fill(&streams, 1), 100);
        assert_eq!(fill(&streams, 1), 0);
        assert_eq!(fill(&streams, 2), 100);
        assert!(streams.refuses(page(1, 7), SHARE));
        // Of any file: nothing is known of it, so nothing is held against it.
        assert!(!streams.refuses(page(3, 7), SHARE));
        assert!(streams.bytes() >= 8 * PLACES);
        Ok(())
    }

    /// One hit makes room for a few, and many for as many more: nought is the least.
    #[test]
    fn hits_make_room() -> Result {
        let streams = Streams::new()?;
        streams.hit(page(1, 0));
        assert_eq!(fill(&streams, 1), 100);
        streams.hit(page(1, 0));
        assert_eq!(fill(&streams, 1), PER_HIT);
        for index in 0..1000 {
            streams.hit(page(1, index));
        }
        assert_eq!(fill(&streams, 1), 100);
        // Another file's do not.
        streams.hit(page(2, 0));
        assert_eq!(fill(&streams, 1), 0);
        Ok(())
    }

    /// Small files do not push a large one out of its place at once, but in the end.
    #[test]
    fn others_wear_it_off() -> Result {
        let streams = Streams::new()?;
        fill(&streams, 1);
        let place = streams.0.place(page(1, 0)).ok_or(EINVAL)?;
        // Files that come to the same place, found one by one.
        let mut others = (2..).filter(|file| {
            let other = streams.0.place(page(*file, 0));
            other.is_some_and(|other| other.is(&place))
        });
        for left in (0..100).rev() {
            let other = others.next().ok_or(EINVAL)?;
            streams.stored(page(other, 0));
            let share = |more: usize| streams.refuses(page(1, 0), left + more);
            assert!(share(0) && !share(1));
        }
        let last = others.next().ok_or(EINVAL)?;
        streams.stored(page(last, 0));
        assert!(!streams.refuses(page(1, 0), 0));
        assert!(streams.refuses(page(last, 0), 1));
        Ok(())
    }
}
