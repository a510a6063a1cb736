// SPDX-License-Identifier: GPL-2.0

//! What may be stored, how much memory that may take, and what happens when it is full.
//!
//! # How much
//!
//! Two limits hold for the frames of ephemeral pages; the lower one counts.
//!
//! - A part of RAM, `zcache.limit_percent`.
//! - [`SHARE`] times the page cache. zcache and the page cache live on the same memory: while
//!   files are all that presses, the part above settles how it is split. When something else
//!   wants memory, reclaim makes the page cache small, and zcache has to follow: what is above
//!   this limit is offered to the shrinker.
//!
//! A shrinker that offered everything would be asked for two frames with each page that reclaim
//! scans, and zcache would never hold anything.
//!
//! # When full
//!
//! When the last frames are taken, pages that would have one for themselves are refused: two
//! others can have it.
//!
//! A page is stored where a hole is large enough for it. Else all but one in [`REPLACE_ONE_IN`]
//! are refused, and that one takes the place of the frame that was filled longest ago.
//!
//! The reason is the scan that is a little larger than the memory, read again and again. With the
//! oldest frame always giving way, every page leaves just before it is wanted, and nothing is ever
//! hit. With newcomers refused, what is stored stays until it is hit, and a hit makes room: a page
//! is taken out when it is read, and put again when the page cache drops it. So the store keeps
//! serving as much of the scan as it can hold. The one in a few makes sure that pages which are
//! never wanted again leave in the end.

use kernel::{
    alloc::{
        flags::{
            __GFP_NOMEMALLOC,
            __GFP_NORETRY,
            __GFP_NOWARN,
            GFP_NOWAIT, //
        },
        Flags, //
    },
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// Frames that ephemeral pages may take for each page of the page cache.
///
/// Three quarters of the memory that files have is the most: below a quarter, the page cache gets
/// too small to hold even a readahead window for each reader.
const SHARE: usize = 3;

/// One page in so many takes the place of old ones when the store is full.
///
/// A guess: the whole store is replaced after this many times its size has streamed past, and a
/// scan that does not fit loses that fraction of its hits.
const REPLACE_ONE_IN: u32 = 64;

/// The longest stream, in bytes, that leaves a hole which other pages do fit.
///
/// Of programs' pages, three quarters compress to less than about 3 KiB, and one in ten to less
/// than 1.2.
const PAIRABLE: usize = 3072;

/// One in so many of the frames allowed is allocated ahead of puts.
///
/// Reclaim takes 32 pages at a time, and at times has several such batches before a reader can
/// allocate again. On a guest with 128 MiB, this is 1 MiB.
const AHEAD_ONE_IN: usize = 64;

/// One in so many of the frames allowed may stay empty after hits took the pages out.
///
/// The pages of a window that is read go from zcache to the page cache, and others come in return:
/// the frames change hands. Without this they would go to the system in between, which is easy,
/// and be missing when memory is short, which is when they are needed.
const KEEP_ONE_IN: usize = 32;

/// Percent of RAM that ephemeral pages may take unless the user says otherwise.
pub(crate) const DEFAULT_LIMIT_PERCENT: u32 = 50;

/// The highest percentage that the user may ask for.
pub(crate) const MAX_LIMIT_PERCENT: u32 = 90;

/// How memory is allocated on behalf of a put.
///
/// A put runs in reclaim: it must not enter reclaim again, nor use the reserves that let reclaim
/// itself make progress. Failure is common and handled.
pub(crate) fn put_flags() -> Flags {
    GFP_NOWAIT | __GFP_NORETRY | __GFP_NOWARN | __GFP_NOMEMALLOC
}

/// The limits, and the turn of the next page when full.
pub(crate) struct Policy {
    /// Frames for ephemeral pages, from the part of RAM.
    limit: usize,
    /// Pages that found the store full.
    turn: Atomic<u32>,
}

impl Policy {
    /// A policy for a system with `ram` pages of memory.
    pub(crate) fn new(ram: usize, percent: u32) -> Self {
        Self {
            // CAST: A percentage fits a `usize`.
            limit: ram / 100 * percent as usize,
            turn: Atomic::new(0),
        }
    }

    /// The most frames that ephemeral pages may ever take.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Frames that ephemeral pages may take beside a page cache of `file` pages.
    pub(crate) fn allowed(&self, file: usize) -> usize {
        self.limit.min(file.saturating_mul(SHARE))
    }

    /// The longest stream, in bytes, to give a new frame, of `longest` that fit one, if `held`
    /// frames are taken and `allowed` may be.
    pub(crate) fn longest(&self, held: usize, allowed: usize, longest: usize) -> usize {
        if held + (allowed / AHEAD_ONE_IN) < allowed {
            longest
        } else {
            longest.min(PAIRABLE)
        }
    }

    /// Frames of `held` to give back when memory is short, beside a page cache of `file` pages.
    pub(crate) fn surplus(&self, held: usize, file: usize) -> usize {
        held.saturating_sub(self.allowed(file))
    }

    /// The store is full: shall this page take the place of old ones?
    pub(crate) fn replaces(&self) -> bool {
        self.turn.fetch_add(1, Relaxed) % REPLACE_ONE_IN == 0
    }
}

/// Frames to allocate ahead of puts when `allowed` may be held.
pub(crate) fn ahead(allowed: usize) -> u32 {
    u32::try_from(allowed / AHEAD_ONE_IN).unwrap_or(u32::MAX)
}

/// Empty frames to keep when `allowed` may be held.
pub(crate) fn keep(allowed: usize) -> u32 {
    u32::try_from(allowed / KEEP_ONE_IN).unwrap_or(u32::MAX)
}

/// The percentage to use when the user asked for `percent`; [`None`] if that is out of range.
pub(crate) fn checked_percent(percent: u32) -> Option<u32> {
    (1..=MAX_LIMIT_PERCENT)
        .contains(&percent)
        .then_some(percent)
}

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
#[kernel::macros::kunit_tests(zcache_policy)]
mod tests {
    use super::*;

    #[test]
    fn lower_of_both_limits_counts() {
        let policy = Policy::new(1000, 50);
        assert_eq!(policy.limit(), 500);
        for (file, allowed) in [(0, 0), (1, 3), (166, 498), (167, 500), (usize::MAX, 500)] {
            assert_eq!(policy.allowed(file), allowed);
        }
    }

    #[test]
    fn surplus_is_what_is_above_the_limit() {
        let policy = Policy::new(1000, 50);
        for (held, file, surplus) in [
            (0, 0, 0),
            (10, 0, 10),
            (300, 100, 0),
            (301, 100, 1),
            (500, 1000, 0),
            (501, 1000, 1),
        ] {
            assert_eq!(policy.surplus(held, file), surplus);
        }
    }

    #[test]
    fn nearly_full_takes_only_what_pairs() {
        let policy = Policy::new(1000, 50);
        for (held, longest) in [(0, 4000), (629, 4000), (630, PAIRABLE), (640, PAIRABLE)] {
            assert_eq!(policy.longest(held, 640, 4000), longest);
        }
        assert_eq!(policy.longest(640, 640, 2000), 2000);
        assert_eq!(policy.longest(0, 0, 4000), PAIRABLE);
    }

    #[test]
    fn one_in_a_few_replaces() {
        let policy = Policy::new(1000, 50);
        let replaced = (0..10 * REPLACE_ONE_IN)
            .filter(|_| policy.replaces())
            .count();
        assert_eq!(replaced, 10);
    }

    #[test]
    fn frames_kept_empty_are_a_part() {
        for (allowed, frames_ahead, frames_kept) in [(0, 0, 0), (63, 0, 1), (640, 10, 20)] {
            assert_eq!(ahead(allowed), frames_ahead);
            assert_eq!(keep(allowed), frames_kept);
        }
        assert_eq!(keep(usize::MAX), u32::MAX);
    }

    #[test]
    fn odd_percentages_are_refused() {
        for percent in [0, MAX_LIMIT_PERCENT + 1, u32::MAX] {
            assert_eq!(checked_percent(percent), None);
        }
        for percent in [1, DEFAULT_LIMIT_PERCENT, MAX_LIMIT_PERCENT] {
            assert_eq!(checked_percent(percent), Some(percent));
        }
    }

    #[test]
    fn tiny_and_huge_machines() {
        assert_eq!(Policy::new(0, 50).limit(), 0);
        assert_eq!(Policy::new(99, 50).limit(), 0);
        // 16 TiB.
        assert_eq!(
            Policy::new(1 << 32, 90).allowed(usize::MAX),
            (1 << 32) / 100 * 90
        );
    }
}
