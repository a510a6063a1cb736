// SPDX-License-Identifier: GPL-2.0

//! What may be stored, how much memory that may take, and what happens when it is full.
//!
//! # How much
//!
//! Two limits hold for the frames of ephemeral pages; the lower one counts.
//!
//! - A part of RAM, `limit_percent`.
//! - [`SHARE`] times the page cache. zcache and the page cache live on the same memory: while
//!   files are all that presses, the part above settles how it is split. When something else
//!   wants memory, reclaim makes the page cache small, and zcache has to follow: what is above
//!   this limit is offered to the shrinker.
//!
//! A shrinker that offered everything would be asked for two frames with each page that reclaim
//! scans, and zcache would never hold anything.
//!
//! Persistent pages have a limit of their own, `pers_limit_percent`, and come first: both together
//! take `total_limit_percent` of RAM at the most, and it is the ephemeral ones that make room. V2
//! counted persistent pages before compression instead, and refused above three quarters of RAM;
//! what takes memory is frames, so these are counted here. V2's number is in `tunables.rs`.
//!
//! All three can be changed at any time. See `Store::set_percent` for what then happens.
//!
//! # What streams through
//!
//! While the store is not full, all that comes is stored, but for one thing: a file gets no more
//! than a sixteenth for pages that were not put before, as long as none of its pages is hit
//! ([`Policy::stream`], `stream.rs`). Without that, all of the store's room goes to the first large
//! file that is copied or played, and each page of it is compressed for nothing; and the page cache
//! shrinks by as much. A tree of many files has no such limit: the first time it is read it cannot
//! be told from one that will be read again, and to keep that is what zcache is for.
//!
//! # When full
//!
//! A persistent page is stored as long as there is a hole for it, and else refused: the kernel
//! then writes it to the swap device. New frames come only when a part of them is gone, see
//! `limit.rs`. What follows is about ephemeral pages.
//!
//! When the last frames are taken, pages that would have one for themselves are refused: two
//! others can have it.
//!
//! A page that finds the store full takes the place of the frame that was filled longest ago if it
//! was put more often of late than each page in there (`history.rs`); what this put adds does not
//! count. If it was put before, but not more often, that frame becomes the youngest, so that the
//! next page is compared with another one. Of the pages that lose, those that were put before are
//! stored where a hole is large enough. Those that were not are tried in a hole as long as that
//! works, and ever more rarely if it does not: of a stream, hardly a page is compressed. Last, one
//! in [`REPLACE_ONE_IN`] that lose gets the oldest frame all the same.
//!
//! What was decided for a page, its neighbours in the file follow that leave the page cache right
//! after it: a window of which one page is missing costs a read as one of which all are
//! (`clusters.rs`). So the one in [`REPLACE_ONE_IN`] takes up to 31 neighbours with it, and the
//! ever fewer tries in holes are tries with clusters. Pages that follow others in may have a frame
//! each until the first of them finds no room.
//!
//! The reason for the contest is the scan that is a little larger than the memory, read again and
//! again. With the oldest frame always giving way, every page leaves just before it is wanted, and
//! nothing is ever hit. In a scan all pages come equally often, so nobody wins: what is stored is
//! there until it is hit, and a hit makes room. A page is taken out when it is read, and put again
//! when the page cache drops it. So the store keeps serving as much of the scan as it can hold. The
//! one in a few makes sure that pages which are never wanted again leave in the end even where more
//! comes by than the history can remember.
//!
//! Simulated with the code of `history.rs`, each page by itself, a page cache of 0.4 and a store of
//! 0.85 times RAM, in percent of lookups that hit; `one in 64` is a store that refuses all others:
//!
//! ==================================== ========= =========== ==========
//! pages                                plain LRU one in 64   history
//! ==================================== ========= =========== ==========
//! scan of 1.5 times what fits          0         55          52
//! scan of 3 times                      0         25          25
//! Zipf (0.9) over 1.5 times            72        59          71
//! Zipf (0.9) over 3 times              46        27          47
//! random over 0.85 RAM, among a stream 21        1           23
//! Zipf over 3 times, four sets in turn 37        1           18
//! ==================================== ========= =========== ==========
//!
//! The last line is the price: where the wanted pages change altogether, the old ones stay until
//! their counts are halved to nothing. LRU forgets them at once.
//!
//! `zcache.admission=all` gives every page the oldest frame, which is plain LRU.
//!
//! # How the kernel ages pages
//!
//! Nothing here asks. What the kernel keeps of a page that has left, and PG_workingset, are gone
//! under the very pressure that brings pages here; and with `CONFIG_LRU_GEN` they mean something
//! else. All that counts is which pages come, and how often. Reads of the disk that zcache saves,
//! in six pairs of guests with it and without, median and 95 % interval (`bench/lru-gen`):
//!
//! ===================== ====================== ======================
//! the kernel's LRU      scan of 1.5 times RAM, random in 4 times RAM,
//!                       twelve rounds          the store full
//! ===================== ====================== ======================
//! no `CONFIG_LRU_GEN`   27 % (25 to 31)        5 % (3 to 7)
//! `lru_gen/enabled` 0   29 % (25 to 33)        5 % (2 to 7)
//! `lru_gen/enabled` 7   35 % (32 to 37)        3 % (0 to 5)
//! ===================== ====================== ======================
//!
//! With generations the page cache itself saves 2 % of the random reads; the kernel without zcache
//! does not gain by them in the scan. Why zcache does there was not looked into.

use kernel::{
    alloc::{
        flags::{
            __GFP_NOMEMALLOC,
            __GFP_NORETRY,
            __GFP_NOWARN,
            GFP_ATOMIC,
            GFP_NOWAIT, //
        },
        Flags, //
    },
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

use crate::{
    param::Choice,
    trial::{
        self,
        Gfp, //
    },
};

/// Frames that ephemeral pages may take for each page of the page cache.
///
/// Three quarters of the memory that files have is the most: below a quarter, the page cache gets
/// too small to hold even a readahead window for each reader.
const SHARE: usize = 3;

/// One page in so many of those that lose takes the place of old ones when the store is full.
///
/// Of those that are judged, that is. A guess: the whole store is replaced after this many times
/// its size has streamed past, and a
/// scan that does not fit loses that fraction of its hits.
const REPLACE_ONE_IN: u32 = 64;

/// A file of which no page was wanted again may have one new page stored for so many of the frames.
///
/// That fills a sixteenth of them if two pages share each, and an eighth at most. A file that
/// streams through costs that much, and no longer the whole store; enough of them still fill it. Of
/// a file that is larger and is wanted again, the second round hits that much, and each hit lets
/// more in.
///
/// Of a file of four times the 40 MiB of a guest, 11080 of 32153 pages were stored without this,
/// and with one in four 1231 of 29760. To compress those was 13 of the 31 ms that zcache took then,
/// of 1.1 s; with one in eight it is 8 of 22 (perf, four guests each).
const STREAM_ONE_IN: usize = 8;

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
/// and be missing when memory is short, which is when they are needed. The part is this large
/// because files that are read one after the other do not compress alike: with one in 32, a store
/// that was read in turns lost a few frames in each, a sixth of all in four.
const KEEP_ONE_IN: usize = 8;

/// Percent of RAM that ephemeral pages may take unless the user says otherwise.
pub(crate) const DEFAULT_LIMIT_PERCENT: u32 = 50;

/// The highest percentage that the user may ask for, for ephemeral pages and for all; of the latter
/// also what holds unless the user says otherwise.
pub(crate) const MAX_LIMIT_PERCENT: u32 = 90;

/// Percent of RAM that persistent pages may take unless the user says otherwise.
///
/// Programs' memory shrinks to a third or a quarter. So a set of 1.5 times the RAM fits a machine
/// with half of the RAM for it, and would not with the fifth that zswap has by default.
pub(crate) const DEFAULT_PERSISTENT_PERCENT: u32 = 50;

/// The highest percentage for persistent pages that the user may ask for.
///
/// They give way to nothing as long as there are swap slots and memory: until then, what they take
/// is lost for everything else until they are read again.
pub(crate) const MAX_PERSISTENT_PERCENT: u32 = 75;

/// How memory is allocated on behalf of a put.
///
/// A put runs in reclaim: it must not enter reclaim again, nor use the reserves that let reclaim
/// itself make progress. Failure is common and handled.
///
/// V2's letter asks whether `GFP_ATOMIC` would be better: rude, but with a higher hit rate. So it
/// is, by little: in three runs each of `scripts/run`'s backup (94 MiB of files, a guest with 96
/// MiB), the second pass hit 98.1 to 99.0 % of lookups with these flags and 99.3 to 99.6 % with
/// [`swap_flags`]; the third 98.9 to 99.2 and 99.0 to 99.3 %. Of the disk the second pass read 6 to
/// 8 MiB and 3 to 4 MiB of 97, the third 6 to 9 and 7 to 11. That is what allocating ahead leaves
/// of the difference. A file page can be read again, and what is below the watermark is for those
/// who cannot wait, network cards above all; so file pages stay timid. The boot word
/// `zcache_gfp_rude` repeats it (`trial.rs`).
pub(crate) fn put_flags() -> Flags {
    match trial::gfp() {
        Gfp::Decided => timid_flags(),
        #[cfg(CONFIG_ZCACHE_TIMING)]
        Gfp::Timid => timid_flags(),
        #[cfg(CONFIG_ZCACHE_TIMING)]
        Gfp::Rude => rude_flags(),
    }
}

fn timid_flags() -> Flags {
    GFP_NOWAIT | __GFP_NORETRY | __GFP_NOWARN | __GFP_NOMEMALLOC
}

fn rude_flags() -> Flags {
    GFP_ATOMIC | timid_flags()
}

/// How memory is allocated to store a swapped page.
///
/// Pages are swapped out when memory is exhausted, mostly in the middle of an allocation that found
/// none. [`put_flags`] alone cannot get a frame then: what is free lies below the mark above which
/// anybody may allocate. So this asks as those do who cannot wait, or whom reclaim needs to make
/// progress: it may go on to half of that mark. The rest stays for reclaim itself, and the reserves
/// without any limit are not touched, as the kernel clears `PF_MEMALLOC` around a store.
///
/// It is a loan. A batch of reclaim takes 32 pages, which need some 14 frames, and 32 frames are
/// free when it is done; even pages that hardly shrink take no more than they give. If the loan is
/// refused, the page goes to the swap device.
///
/// Measured, a program with data of 1.5 times its 57 MiB of RAM, on one processor: with
/// [`put_flags`] and a worker that allocates up to 453 frames ahead, 8700 of 13600 pages were
/// refused while the data was made, and 4.6 of 8 MiB of it that were visited then came from the
/// disk. With these, none was refused and nothing came from the disk. Without the worker, as it is
/// now, and in three runs each: with [`put_flags`] 70 to 92 % of the pages were refused while the
/// data was made, and of those that came back in the visits 13 % came from memory (1249 of 9930,
/// readahead included); with these none was refused then, and all came from memory (11873). The
/// boot word `zcache_gfp_timid` repeats it.
pub(crate) fn swap_flags() -> Flags {
    match trial::gfp() {
        Gfp::Decided => rude_flags(),
        #[cfg(CONFIG_ZCACHE_TIMING)]
        Gfp::Rude => rude_flags(),
        #[cfg(CONFIG_ZCACHE_TIMING)]
        Gfp::Timid => timid_flags(),
    }
}

/// Which ephemeral pages a full store takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Those that were put more often than the ones that have to leave.
    History,
    /// All.
    All,
}

impl Choice for Admission {
    const ALL: &'static [(&'static str, Self)] = &[("history", Self::History), ("all", Self::All)];
}

/// Whether it is worth while to try something that has failed: after each failure in a row twice as
/// many chances are passed by, up to [`Patience::MOST`].
pub(crate) struct Patience {
    /// Chances to pass by now.
    wait: Atomic<u32>,
    /// Chances to pass by after the next failure.
    next: Atomic<u32>,
}

impl Patience {
    const MOST: u32 = 63;

    /// Nothing has failed yet.
    pub(crate) fn new() -> Self {
        Self {
            wait: Atomic::new(0),
            next: Atomic::new(0),
        }
    }

    /// Is this chance to be taken? Two processors that ask at once may get the same answer.
    pub(crate) fn allows(&self) -> bool {
        let wait = self.wait.load(Relaxed);
        if wait != 0 {
            self.wait.store(wait - 1, Relaxed);
        }
        wait == 0
    }

    /// Notes how a try went.
    pub(crate) fn note(&self, worked: bool) {
        let next = self.next.load(Relaxed);
        let (wait, next) = match worked {
            true => (0, 0),
            false => (next, (2 * next + 1).min(Self::MOST)),
        };
        self.wait.store(wait, Relaxed);
        self.next.store(next, Relaxed);
    }
}

/// What frames may take, in percent of RAM.
#[derive(Clone, Copy)]
pub(crate) struct Percent {
    /// Those of ephemeral pages.
    pub(crate) ephemeral: u32,
    /// Those of persistent pages.
    pub(crate) persistent: u32,
    /// All together.
    pub(crate) together: u32,
}

/// The limits, and what a full store takes.
pub(crate) struct Policy {
    /// Pages of memory of the system.
    ram: usize,
    /// Frames for ephemeral pages, from the part of RAM.
    limit: Atomic<usize>,
    /// Frames for persistent pages.
    persistent: Atomic<usize>,
    /// Frames for all.
    together: Atomic<usize>,
    /// Pages that found the store full and lost.
    turn: Atomic<u32>,
    /// Holes, and pages that were not seen before.
    holes: Patience,
    admission: fn() -> Admission,
}

impl Policy {
    /// A policy for a system with `ram` pages of memory.
    pub(crate) fn new(ram: usize, percent: Percent) -> Self {
        Self {
            ram,
            limit: Atomic::new(part(ram, percent.ephemeral)),
            persistent: Atomic::new(part(ram, percent.persistent)),
            together: Atomic::new(part(ram, percent.together)),
            turn: Atomic::new(0),
            holes: Patience::new(),
            admission: || Admission::History,
        }
    }

    /// The same, with another answer to what a full store takes.
    pub(crate) fn with_admission(self, admission: fn() -> Admission) -> Self {
        Self { admission, ..self }
    }

    /// Pages of memory of the system.
    pub(crate) fn ram(&self) -> usize {
        self.ram
    }

    /// Is every page to be taken?
    pub(crate) fn admits_all(&self) -> bool {
        (self.admission)() == Admission::All
    }

    /// Whether pages that were not seen before are to be tried in holes.
    pub(crate) fn holes(&self) -> &Patience {
        &self.holes
    }

    /// Sets other limits. To be called by one at a time.
    pub(crate) fn set_percent(&self, percent: Percent) {
        let new = Self::new(self.ram, percent);
        self.limit.store(new.limit(), Relaxed);
        self.persistent.store(new.persistent.load(Relaxed), Relaxed);
        self.together.store(new.together(), Relaxed);
    }

    /// The most frames that persistent pages may take. It does not depend on the page cache: there
    /// is no other place for them in memory.
    pub(crate) fn persistent_limit(&self) -> usize {
        self.persistent.load(Relaxed).min(self.together())
    }

    /// The most frames that all may take.
    pub(crate) fn together(&self) -> usize {
        self.together.load(Relaxed)
    }

    /// Frames that are left for ephemeral pages where persistent ones have `held`.
    pub(crate) fn beside(&self, held: usize) -> usize {
        self.together().saturating_sub(held)
    }

    /// New pages that one file may have stored while none of its pages is hit.
    pub(crate) fn stream(&self) -> usize {
        self.limit() / STREAM_ONE_IN
    }

    /// The most frames that ephemeral pages may take.
    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Relaxed)
    }

    /// Frames that ephemeral pages may take beside a page cache of `file` pages.
    pub(crate) fn allowed(&self, file: usize) -> usize {
        self.limit().min(file.saturating_mul(SHARE))
    }

    /// The longest stream, in bytes, to give a new frame, of `longest` that fit one, if `used`
    /// frames are not empty and `allowed` may be.
    pub(crate) fn longest(&self, used: usize, allowed: usize, longest: usize) -> usize {
        if used + (allowed / AHEAD_ONE_IN) < allowed {
            longest
        } else {
            longest.min(PAIRABLE)
        }
    }

    /// The store is full, and this page has lost: shall it take the place of old ones all the same?
    pub(crate) fn replaces(&self) -> bool {
        self.turn.fetch_add(1, Relaxed) % REPLACE_ONE_IN == 0
    }
}

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
impl Percent {
    /// So much for ephemeral pages, and what is usual for the others.
    pub(crate) const fn files(ephemeral: u32) -> Self {
        Self {
            ephemeral,
            persistent: DEFAULT_PERSISTENT_PERCENT,
            together: MAX_LIMIT_PERCENT,
        }
    }

    /// The same, with so much for persistent pages.
    pub(crate) const fn and_persistent(self, persistent: u32) -> Self {
        Self { persistent, ..self }
    }
}

/// `percent` of `ram`.
fn part(ram: usize, percent: u32) -> usize {
    // CAST: A percentage fits a `usize`.
    ram / 100 * percent as usize
}

/// Frames to allocate ahead of puts when `allowed` may be held.
pub(crate) fn ahead(allowed: usize) -> u32 {
    u32::try_from(allowed / AHEAD_ONE_IN).unwrap_or(u32::MAX)
}

/// Empty frames to keep when `allowed` may be held.
pub(crate) fn keep(allowed: usize) -> u32 {
    u32::try_from(allowed / KEEP_ONE_IN).unwrap_or(u32::MAX)
}

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
#[kernel::macros::kunit_tests(zcache_policy)]
mod tests {
    use super::*;

    #[test]
    fn lower_of_both_limits_counts() {
        let policy = Policy::new(1000, Percent::files(50));
        assert_eq!(policy.limit(), 500);
        for (file, allowed) in [(0, 0), (1, 3), (166, 498), (167, 500), (usize::MAX, 500)] {
            assert_eq!(policy.allowed(file), allowed);
        }
    }

    #[test]
    fn nearly_full_takes_only_what_pairs() {
        let policy = Policy::new(1000, Percent::files(50));
        for (held, longest) in [(0, 4000), (629, 4000), (630, PAIRABLE), (640, PAIRABLE)] {
            assert_eq!(policy.longest(held, 640, 4000), longest);
        }
        assert_eq!(policy.longest(640, 640, 2000), 2000);
        assert_eq!(policy.longest(0, 0, 4000), PAIRABLE);
    }

    #[test]
    fn a_stream_has_a_sixteenth_in_pairs() {
        assert_eq!(
            Policy::new(8000, Percent::files(50)).stream(),
            4000 / 16 * 2
        );
        assert_eq!(Policy::new(0, Percent::files(50)).stream(), 0);
    }

    #[test]
    fn one_in_a_few_replaces() {
        let policy = Policy::new(1000, Percent::files(50));
        let replaced = (0..10 * REPLACE_ONE_IN)
            .filter(|_| policy.replaces())
            .count();
        assert_eq!(replaced, 10);
    }

    #[test]
    fn patience_wears_off_and_comes_back() {
        let patience = Patience::new();
        // Chances that are passed by between tries that fail.
        for passed in [0, 1, 3, 7, 15, 31, 63, 63] {
            assert!(patience.allows());
            patience.note(false);
            assert_eq!((0..passed).filter(|_| patience.allows()).count(), 0);
        }
        assert!(patience.allows());
        patience.note(true);
        for _ in 0..10 {
            assert!(patience.allows());
        }
        patience.note(false);
        assert!(patience.allows());
    }

    #[test]
    fn admission_is_asked_for_each_page() {
        assert!(!Policy::new(1000, Percent::files(50)).admits_all());
        let all = Policy::new(1000, Percent::files(50)).with_admission(|| Admission::All);
        assert!(all.admits_all());
        assert_eq!(all.ram(), 1000);
    }

    #[test]
    fn frames_kept_empty_are_a_part() {
        for (allowed, frames_ahead, frames_kept) in [(0, 0, 0), (63, 0, 7), (640, 10, 80)] {
            assert_eq!(ahead(allowed), frames_ahead);
            assert_eq!(keep(allowed), frames_kept);
        }
        assert_eq!(keep(usize::MAX), u32::MAX);
    }

    #[test]
    fn persistent_pages_come_first() {
        let policy = Policy::new(1000, Percent::files(50).and_persistent(60));
        assert_eq!(policy.persistent_limit(), 600);
        for (held, left) in [(0, 900), (1, 899), (600, 300), (900, 0), (1000, 0)] {
            assert_eq!(policy.beside(held), left);
        }
    }

    #[test]
    fn limits_change() {
        let policy = Policy::new(1000, Percent::files(50));
        policy.set_percent(Percent {
            ephemeral: 10,
            persistent: 40,
            together: 30,
        });
        assert_eq!(policy.limit(), 100);
        assert_eq!(policy.allowed(usize::MAX), 100);
        assert_eq!(policy.beside(250), 50);
        // What holds for all holds for each.
        assert_eq!(policy.persistent_limit(), 300);
        policy.set_percent(Percent::files(90));
        assert_eq!((policy.limit(), policy.persistent_limit()), (900, 500));
    }

    #[test]
    fn tiny_and_huge_machines() {
        assert_eq!(Policy::new(0, Percent::files(50)).limit(), 0);
        assert_eq!(Policy::new(99, Percent::files(50)).limit(), 0);
        // 16 TiB.
        assert_eq!(
            Policy::new(1 << 32, Percent::files(90)).allowed(usize::MAX),
            (1 << 32) / 100 * 90
        );
    }
}
