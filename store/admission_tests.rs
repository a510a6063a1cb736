// SPDX-License-Identifier: GPL-2.0

//! What a full store takes, and what it does not even try.

use super::*;
use crate::{
    policy::Admission,
    test_pages::{
        noisy as page,
        of_file, //
    }, //
};
use kernel::page::PAGE_SIZE;

const FRAMES: usize = 16;

/// A page of a file of its own: no stream, and no neighbours.
fn back(number: u32) -> BackRef {
    of_file(number, 0)
}

fn new_store(frames: usize, admission: fn() -> Admission) -> Result<Pin<KBox<Store>>> {
    KBox::try_pin_init(
        Store::new(
            Policy::new(frames * 100, Percent::files(1)).with_admission(admission),
            |_, _| true,
            || usize::MAX,
            // As is the default: frames then have the names of contents, and of who came first.
            || Mode::Pool,
        ),
        GFP_KERNEL,
    )
}

/// A store of which each frame has a page that was put once.
fn full_store() -> Result<Pin<KBox<Store>>> {
    let store = new_store(FRAMES, || Admission::History)?;
    for number in 0..FRAMES as u32 {
        if !put(&store, number)? {
            return Err(EILSEQ);
        }
    }
    Ok(store)
}

/// Puts a page that fills more than half a frame; is it stored?
fn put(store: &Store, number: u32) -> Result<bool> {
    put_as(store, back(number), 2500)
}

/// Puts a page of which `random` bytes do not shrink; is it stored?
fn put_as(store: &Store, back: BackRef, random: usize) -> Result<bool> {
    let page = page(64 * back.hash + back.index, random)?;
    Ok(store.create(Kind::Ephemeral, &page, back).is_ok())
}

#[kernel::macros::kunit_tests(zcache_admission)]
mod tests {
    use super::*;

    /// A page that was put more often than the oldest takes its place at once; one that comes for
    /// the first time does not, and is not compressed.
    #[test]
    fn seen_more_often_wins() -> Result {
        let store = full_store()?;
        // The first loser of all replaces, and one in so many later on.
        assert!(put(&store, 1000)?);
        for number in 1001..1011 {
            assert!(!put(&store, number)?);
        }
        assert!(store.stats().unseen.get() > 0);
        assert_eq!(store.stats().outdone.get(), 0);
        // Equally often: no. More often: yes.
        assert!(!put(&store, 1001)?);
        assert!(put(&store, 1001)?);
        assert_eq!(store.stats().outdone.get(), 1);
        assert_eq!(store.zbud().frames(), FRAMES);
        Ok(())
    }

    /// The frame that is not beaten becomes the youngest, so that one old page that was seen often
    /// does not shield the others.
    #[test]
    fn one_strong_page_does_not_shield_the_rest() -> Result {
        let store = new_store(FRAMES, || Admission::History)?;
        for _ in 0..6 {
            store.history.put(back(1));
        }
        for number in 0..FRAMES as u32 {
            assert!(put(&store, number)?);
        }
        // The first that loses takes the oldest frame all the same: that of page 0.
        assert!(put(&store, 500)?);
        for _ in 0..2 {
            store.history.put(back(600));
        }
        assert!(!put(&store, 600)?);
        assert!(put(&store, 600)?);
        assert_eq!(store.stats().outdone.get(), 1);
        Ok(())
    }

    /// Those beside a page that was refused are not tried, until other pages come in between; those
    /// beside one that pushed out others do so, too.
    #[test]
    fn neighbours_share_their_fate() -> Result {
        let store = full_store()?;
        let put = |back: BackRef| put_as(&store, back, 2500);
        // The first that loses takes the oldest frame all the same, and the one beside it the next.
        // A third one would make the file a stream.
        let evicted = || store.zbud().stats().evicted_raw_pages;
        for index in 0..2 {
            assert!(put(of_file(500, index))?);
            assert_eq!(evicted(), u64::from(index) + 1);
        }
        assert!(!put(back(600))?);
        for index in 1..20 {
            assert!(!put(of_file(600, index))?);
        }
        assert_eq!(store.stats().neighbours.get(), 19);
        // One that was put more often does not follow, and those beside it follow that one.
        for index in [20, 21, 20, 21] {
            store.history.put(of_file(600, index));
        }
        assert!(put(of_file(600, 20))? && put(of_file(600, 21))?);
        assert_eq!(store.stats().outdone.get(), 1);
        assert_eq!(evicted(), 4);
        // What is long ago does not count: its next page is judged.
        assert!(!put(back(700))?);
        for number in 0..100 {
            store.history.put(back(1000 + number));
        }
        assert!(!put(of_file(700, 1))?);
        assert_eq!(store.stats().neighbours.get(), 19);
        Ok(())
    }

    /// Where a gap is large enough, a page that loses is stored, and those beside it are as long as
    /// there is one. They push nobody out, and the first that finds none ends it.
    #[test]
    fn a_page_in_a_gap_speaks_for_gaps() -> Result {
        let store = full_store()?;
        let put = |index: u32, random: usize| put_as(&store, of_file(600, index), random);
        // This is the one that replaces. Its file has two pages in, so those below were put before.
        assert!(super::put(&store, 500)?);
        for index in 0..8 {
            store.history.put(of_file(600, index));
        }
        assert!(put(0, 1000)? && put(1, 1000)? && put(2, 1000)?);
        assert!(!put(3, 2500)?);
        assert_eq!(store.stats().neighbours.get(), 0);
        assert!(!put(4, 1000)?);
        assert_eq!(store.stats().neighbours.get(), 1);
        let evicted = || store.zbud().stats().evicted_raw_pages;
        assert_eq!(evicted(), 1);
        // More often than the others, and than the oldest.
        store.history.put(of_file(600, 5));
        assert!(put(5, 1000)?);
        assert_eq!(evicted(), 2);
        Ok(())
    }

    /// It is the contest that counts, not what becomes of the one that won it.
    #[test]
    fn a_winner_that_does_not_shrink_speaks_for_its_neighbours() -> Result {
        let store = full_store()?;
        // This is the one that replaces.
        assert!(put(&store, 500)?);
        for index in [0, 1, 0, 1] {
            store.history.put(of_file(600, index));
        }
        assert!(!put_as(&store, of_file(600, 0), PAGE_SIZE)?);
        assert_eq!(store.stats().outdone.get(), 1);
        assert!(put_as(&store, of_file(600, 1), 2500)?);
        // It needed no contest.
        assert_eq!(store.stats().outdone.get(), 1);
        Ok(())
    }

    /// Where the system has no frame to spare, that is no verdict on anybody's neighbours: neither
    /// for the one that may push out others, which is the first, nor for those that are refused.
    #[test]
    fn want_of_memory_is_held_against_nobody() -> Result {
        let store = new_store(100, || Admission::History)?;
        for index in 0..8 {
            store.zbud.fail_after(1);
            assert!(!put_as(&store, of_file(600 + index / 2, index), 2500)?);
            store.zbud.fail_after(0);
            assert_eq!(store.fate(of_file(600 + index / 2, index), 0), None);
        }
        assert!(put_as(&store, of_file(600, 9), 2500)?);
        assert_eq!(store.fate(of_file(600, 0), 0), Some(Fate::Stays));
        assert_eq!(store.stats().neighbours.get(), 0);
        Ok(())
    }

    /// Also those whose neighbours were refused a moment ago, by another admission.
    #[test]
    fn all_takes_all() -> Result {
        static ALL: Atomic<bool> = Atomic::new(false);
        let admission = || match ALL.load(Relaxed) {
            true => Admission::All,
            false => Admission::History,
        };
        let store = new_store(FRAMES, admission)?;
        for number in 0..FRAMES as u32 {
            assert!(put(&store, number)?);
        }
        assert!(put(&store, 500)? && !put(&store, 501)?);
        let refused = store.stats().full.get();
        ALL.store(true, Relaxed);
        for index in 1..200 {
            assert!(put_as(&store, of_file(501, index), 2500)?);
        }
        assert_eq!(store.stats().full.get(), refused);
        assert_eq!(store.zbud().stats().evicted_raw_pages, 200);
        ALL.store(false, Relaxed);
        Ok(())
    }

    /// While there is room everything is admitted, whatever was seen.
    #[test]
    fn room_is_for_everybody() -> Result {
        let store = new_store(100, || Admission::History)?;
        for number in 0..90 {
            assert!(put(&store, number)?);
        }
        Ok(())
    }

    /// Of a stream through a full store, hardly a page is compressed; yet what fits a hole is
    /// found.
    #[test]
    fn streams_are_hardly_tried() -> Result {
        let store = new_store(FRAMES, || Admission::History)?;
        // Each leaves a hole of some 1500 bytes.
        for number in 0..FRAMES as u32 {
            assert!(put(&store, number)?);
        }
        for number in 1000..2000 {
            put(&store, number)?;
        }
        // 63 in 64 of them, but for the first few.
        assert!(store.stats().unseen.get() > 900);
        // Now pages come that do fit: within 64 of them one is tried, and then each.
        let zpages = store.zbud().stats().curr_zpages;
        for number in 2000..2100 {
            let small = page(number, 1000)?;
            // What does not fit is not an error here.
            let _ = store.create(Kind::Ephemeral, &small, back(number));
        }
        assert!(store.zbud().stats().curr_zpages >= zpages + FRAMES as u64 / 2);
        Ok(())
    }

    /// A file has its share of new pages stored, and no more until one of them is hit, whatever
    /// room there is; a page that was put before is none of them.
    #[test]
    fn a_file_that_streams_has_its_share() -> Result {
        let store = new_store(400, || Admission::History)?;
        let put = |index: u32| -> Result<Result<Handle>> {
            let back = of_file(9, index);
            Ok(store.create(Kind::Ephemeral, &*page(index, 2500)?, back))
        };
        for index in 0..50 {
            assert!(put(index)?.is_ok());
        }
        for index in 50..200 {
            assert_eq!(put(index)?.err(), Some(EAGAIN));
        }
        assert_eq!(store.stats().stream.get(), 150);
        assert_eq!(store.stats().full.get(), 0);
        assert!(put(150)?.is_ok());
        // The page behind this one was not, so that this may be an error of the history.
        assert_eq!(put(199)?.err(), Some(EAGAIN));
        // Other files, and what was put before, also if it takes no frame.
        assert!(super::put(&store, 1)?);
        let zeroes = page(0, 0)?;
        assert!(store.create(Kind::Ephemeral, &zeroes, back(18)).is_ok());
        let hit = of_file(9, 40);
        // If it is new, not even that.
        let new = BackRef { index: 1000, ..hit };
        let refused = store.create(Kind::Ephemeral, &zeroes, new);
        assert_eq!(refused.err(), Some(EAGAIN));
        store.hit(Kind::Persistent, hit);
        assert!(put(200)?.is_err());
        store.hit(Kind::Ephemeral, hit);
        for index in 201..215 {
            assert_eq!(put(index)?.is_ok(), index < 209);
        }
        Ok(())
    }

    /// With `all`, nothing is held against a file.
    #[test]
    fn all_takes_streams() -> Result {
        let store = new_store(100, || Admission::All)?;
        for index in 0..90 {
            let back = of_file(9, index);
            store.create(Kind::Ephemeral, &*page(index, 2500)?, back)?;
        }
        assert_eq!(store.stats().stream.get(), 0);
        Ok(())
    }

    /// Eight pages of a file that do not shrink, and the others are refused unseen; with `all`,
    /// each is tried.
    #[test]
    fn files_that_do_not_shrink_are_left_alone() -> Result {
        for (admission, tried) in [
            ((|| Admission::History) as fn() -> Admission, 8..200),
            (|| Admission::All, 1000..1001),
        ] {
            let store = new_store(100, admission)?;
            let mut errors = 0;
            for index in 0..1000 {
                let back = of_file(9, index);
                let result = store.create(Kind::Ephemeral, &*page(index, PAGE_SIZE)?, back);
                match result.err() {
                    Some(E2BIG) => errors += 1,
                    error => assert_eq!(error, Some(EPERM)),
                }
            }
            let (poor, skipped) = (store.stats().poor.get(), store.stats().poor_file.get());
            assert_eq!((poor, poor + skipped), (errors, 1000));
            assert!(tried.contains(&poor));
            // Other files are none the worse for it.
            assert!(put(&store, 1)?);
        }
        Ok(())
    }

    /// A page that repeats a word shrinks more than any other: it ends a streak as well.
    #[test]
    fn a_repeated_word_ends_a_streak() -> Result {
        let store = new_store(100, || Admission::History)?;
        let put = |page: &PageBytes, index: u32| {
            let back = of_file(9, index);
            store.create(Kind::Ephemeral, page, back)
        };
        let (noise, zeroes) = (page(1, PAGE_SIZE)?, page(0, 0)?);
        for index in 0..100 {
            assert!(put(&noise, index).is_err());
        }
        // One in a few is tried.
        let tried = (100..1000).find(|index| put(&zeroes, *index).is_ok());
        let next = tried.ok_or(EINVAL)? + 1;
        assert_eq!(put(&noise, next).err(), Some(E2BIG));
        Ok(())
    }
}
