// SPDX-License-Identifier: GPL-2.0

//! Neighbours in a file share their fate when the store is full.
//!
//! Pages are read in windows, by readahead or by whoever reads, and what a read costs is mostly
//! that the disk is asked at all. So a window of which one page is missing costs as much as one of
//! which all are. If each page is judged for itself, a full store holds some pages of every window,
//! and has a hit rate that saves no read. So the first page of a *cluster* is judged, and those
//! that leave the page cache right after it follow ([`Fate`]). A page that was put less often than
//! one that pushed out others does not follow, nor one that was put more often than any other first
//! page. It is judged for itself.
//!
//! A cluster still gets torn: at the first page that finds no room, by pages that do not shrink,
//! and by eviction, which takes frames. Random reads of 16 KiB, of four times the RAM of a guest,
//! took 4.0 % less time than with each page judged for itself (10 pairs, 95 % interval 0.7 to 5.8 %
//! less), and asked the disk 3.5 % less often (6.3 % less to 0.4 % more), for as many bytes.
//! `bench/policy clusters` repeats it.
//!
//! As in `files.rs`, nothing but a few pages more or less in the store depends on what is noted.

use core::num::NonZeroU32;

use kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};

use crate::{
    files::Files,
    tmem::BackRef, //
};

/// Pages of a cluster: 128 KiB, as the window of readahead unless somebody sets another.
const PAGES: NonZeroU32 = {
    // CAST: At most 32.
    match NonZeroU32::new(((128 << 10) / PAGE_SIZE) as u32) {
        Some(pages) => pages,
        None => NonZeroU32::MIN,
    }
};

/// Clusters that are known at a time: 1 KiB. Reclaim takes 32 pages in a row, of a few files.
const PLACES: usize = 128;

/// A cluster is forgotten after so many puts of any pages, and its next page is judged. That leaves
/// each of its pages time to come when reclaim takes those of two files in turns, or two processors
/// reclaim. With more, some clusters are judged twice.
const SPAN: u32 = 64;

/// Bits of a number that are the count of puts, modulo as much.
const TIME_BITS: u32 = 24;

/// What a page does, and its neighbours after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is refused, without being compressed.
    Loses = 0,
    /// It is stored if there is room, in a hole or a frame. If not, it is judged, or refused.
    Stays = 1,
    /// It takes the place of old ones.
    Wins = 2,
}

/// What was decided of late.
pub(crate) struct Clusters(Files);

impl Clusters {
    /// Nothing is known yet. May sleep. Fails with [`ENOMEM`].
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(Files::new(PLACES)?))
    }

    /// Notes what became of a page that was put `before` times of late, the `now`th put of all. Any
    /// context.
    pub(crate) fn note(&self, page: BackRef, before: u8, now: u64, fate: Fate) {
        // CAST: As declared.
        let word = time(now) << 8 | u32::from(before) << 2 | fate as u32;
        if let Some(place) = self.0.place_of_part(page, PAGES) {
            place.set(word);
        }
    }

    /// What a page that was put `before` times of late has to follow, if anything. Any context.
    pub(crate) fn fate(&self, page: BackRef, before: u8, now: u64) -> Option<Fate> {
        let word = self.0.place_of_part(page, PAGES)?.number()?;
        if time(now.wrapping_sub(u64::from(word >> 8))) > SPAN {
            return None;
        }
        // CAST: What was noted, of which eight bits are left.
        let neighbour = word as u8 >> 2;
        match word & 3 {
            0 => (before <= neighbour).then_some(Fate::Loses),
            1 => (before <= neighbour).then_some(Fate::Stays),
            _ => (before >= neighbour).then_some(Fate::Wins),
        }
    }

    /// Memory that it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

/// A number of puts, as far as it is noted.
fn time(puts: u64) -> u32 {
    // CAST: 24 bits.
    (puts & ((1 << TIME_BITS) - 1)) as u32
}

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
#[kernel::macros::kunit_tests(zcache_clusters)]
mod tests {
    use super::*;
    use crate::{
        history::MOST,
        test_pages::of_file as page, //
    };
    use Fate::{
        Loses,
        Stays,
        Wins, //
    };

    #[test]
    fn neighbours_follow_and_nobody_else() -> Result {
        let clusters = Clusters::new()?;
        let pages = PAGES.get();
        for fate in [Wins, Stays, Loses] {
            clusters.note(page(1, 2 * pages - 1), 2, 100, fate);
            for index in 0..3 * pages {
                let follows = (pages..2 * pages).contains(&index).then_some(fate);
                assert_eq!(clusters.fate(page(1, index), 2, 101), follows);
            }
            assert_eq!(clusters.fate(page(2, pages), 2, 101), None);
        }
        assert!(clusters.bytes() >= 8 * PLACES);
        Ok(())
    }

    /// Each pair of counts.
    #[test]
    fn better_and_worse_ones_are_judged_for_themselves() -> Result {
        let clusters = Clusters::new()?;
        for first in 0..=MOST {
            for other in 0..=MOST {
                clusters.note(page(1, 0), first, 7, Wins);
                let wins = (other >= first).then_some(Wins);
                assert_eq!(clusters.fate(page(1, 0), other, 8), wins);
                for fate in [Loses, Stays] {
                    clusters.note(page(1, 0), first, 7, fate);
                    let follows = (other <= first).then_some(fate);
                    assert_eq!(clusters.fate(page(1, 0), other, 8), follows);
                }
            }
        }
        Ok(())
    }

    /// Also where the count of puts begins again.
    #[test]
    fn it_is_forgotten_soon() -> Result {
        let clusters = Clusters::new()?;
        for noted in [
            0,
            1,
            (1 << TIME_BITS) - 5,
            (1 << TIME_BITS) + 9,
            u64::MAX - 3,
        ] {
            clusters.note(page(1, 0), 0, noted, Loses);
            for later in 0..200 {
                let known = (later <= u64::from(SPAN)).then_some(Loses);
                let now = noted.wrapping_add(later);
                assert_eq!(clusters.fate(page(1, 0), 0, now), known);
            }
        }
        Ok(())
    }
}
