// SPDX-License-Identifier: GPL-2.0

//! Memory for ephemeral pages: pairs of compressed pages ("buds") in frames.
//!
//! A frame is one physical page. It holds at most two buds: one from its first byte on, one right
//! before its end. So nothing ever has to be moved, freeing a bud is freeing at most one frame, and
//! giving memory back to the system costs the loss of two pages at most. The price is that no
//! frame ever holds more than two pages.
//!
//! ```text
//!          0                                                       PAGE_SIZE
//!          +-----------------+-------------------+---------------------+---+
//!    frame | bud 0           | free chunks       | bud 1               |...|
//!          +-----------------+-------------------+---------------------+---+
//!            whole chunks                          whole chunks, the last
//!                                                  one filled in part
//! ```
//!
//! Space is counted in chunks, [`CHUNKS`] a frame: 64 bytes each where pages have 4 KiB. What there
//! is to know about a frame is in a descriptor *outside* of it, so all of its bytes can hold data.
//!
//! # Where a frame can be
//!
//! - *spare*: holds nothing, waits for a put. See [`Zbud::reserve_within`].
//! - *on the LRU list*: holds one or two buds. A bud that is added makes its frame the youngest,
//!   eviction takes the oldest.
//! - *on an unbuddied list* as well: holds one bud, and the other's place is on offer. There is one
//!   such list for each number of free chunks, and a bitmap of those that are not empty, so that
//!   the best fit is found in constant time.
//! - *pinned*: somebody reads, fills or evicts one of its buds without holding the lock. A pinned
//!   frame is not freed, is not evicted, and its place is not on offer. Whoever unpins it last
//!   decides by what is then left in it ([`Lists::settle`]). So a bud that is freed while its frame
//!   is under eviction leaves the frame to the evictor.
//!
//! # Who owns a bud
//!
//! [`Zbud::create_of`] gives out one reference, [`Zbud::get_ref`] more, [`Zbud::free`] takes one,
//! and the last frees the bud. Eviction owns none: it asks the index to let go of its one, and may
//! be refused, because a reader was quicker or because the bud is not in the index yet.
//!
//! A [`Bud`] is a number, not a capability. One that is out of range or names no bud is refused and
//! counted ([`Stats::stale`]). One that was freed and has been given out anew cannot be told from
//! the new one: a caller with such a bug reads or frees the wrong bud, but never uses memory that
//! is not a bud. That depends on pins alone, and those never leave this file.

// Locking
//
// There is one lock, a plain spinlock over all of `Lists`. It is a leaf: while it is held nothing
// else is locked, no memory is allocated or freed, no data is copied. `get_ref` takes it under an
// index lock. Nothing here may be called from interrupt context; interrupts may be off where
// nothing sleeps. The callers' closures (`forget`, the reader of `with_data`) run without it, and
// may call anything here.
//
// Order: index lock, then this one.

use crate::{
    frame::{
        Frame,
        ReclaimableFrame, //
    },
    segments,
    tmem::{
        BackRef,
        Group, //
    }, //
};
use core::mem;
use kernel::{
    alloc::{
        AllocError,
        Flags, //
    },
    new_spinlock,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        lock::{
            spinlock::SpinLockBackend,
            Guard, //
        },
        SpinLock, //
    },
};

mod lists;
#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
mod tests;

use lists::{
    Desc,
    Lists,
    Segment, //
};

/// Chunks in a frame: one bit of a `u64` for each number of free ones.
pub(crate) const CHUNKS: usize = 64;

/// Bytes in a chunk.
pub(crate) const CHUNK: usize = PAGE_SIZE / CHUNKS;

/// The longest bud in bytes: 3840 where pages have 4096.
///
/// One that long takes a frame for itself, as the page did that it stands for, so it gains no
/// memory. But it loses none either: measured with LZO and best fit, the gain for ELF files and for
/// text is the same (1.47 and 1.63) whether buds up to 3072 or up to 3584 bytes are accepted, and
/// one in five pages of programs lies between these two. Whoever is short of frames can ask
/// for less.
pub(crate) const MAX_BUD: usize = 60 * CHUNK;

/// Frames that one eviction tries, from the oldest on, before it gives up.
const TRIES: usize = 8;

/// The name of a bud: twice its frame's number, plus its side.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bud(u32);

impl Bud {
    /// The name as a number, as an index keeps it.
    pub(crate) const fn to_raw(self) -> u32 {
        self.0
    }

    /// The inverse of [`Bud::to_raw`]. Every number is allowed, see the top of this file.
    pub(crate) const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    fn new(frame: u32, side: usize) -> Self {
        // CAST: `side` is 0 or 1. Frame numbers are below 2^31, see `Lists::room`.
        Self((frame << 1) | side as u32)
    }

    const fn frame(self) -> u32 {
        self.0 >> 1
    }

    const fn side(self) -> usize {
        // CAST: 0 or 1.
        (self.0 & 1) as usize
    }
}

/// How many frames there may be. Put and get say it with each call, as it changes with the memory
/// that others want.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    /// Frames allowed. More than [`Zbud::new`] was given, or [`Zbud::enlarge`], are not.
    pub(crate) limit: usize,
    /// Frames that become empty are kept as spare ones up to this number, as long as there is a
    /// bud.
    pub(crate) keep: u32,
    /// Spare frames that are to be ready for the puts to come.
    pub(crate) ahead: u32,
}

/// Why [`Zbud::reserve_within`] had no frame to give.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoFrame {
    /// All frames that the limit allows are in use.
    Limit,
    /// The system had no memory to spare.
    Memory,
}

/// Why a bud was not created.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The data is empty or longer than [`MAX_BUD`].
    Size,
    /// No hole is large enough, and no spare frame is free.
    Full,
}

/// What [`Zbud`] asks before it evicts. A closure is one that spares nothing.
pub(crate) trait Forget {
    /// Shall this bud stay for another round? Its frame is then left as it is, with both buds.
    ///
    /// Whoever says so must say no soon, or nothing can be evicted.
    fn spares(&mut self, _back: BackRef, _bud: Bud) -> bool {
        false
    }

    /// Drops the index entry that `back` leads to, if it has exactly this bud. If it returns true,
    /// the reference that the entry owned belongs to the eviction.
    fn forget(&mut self, back: BackRef, bud: Bud) -> bool;

    /// For whose page the room is wanted, if it is for one.
    fn wanted_for(&self) -> Option<Group> {
        None
    }
}

impl<F: FnMut(BackRef, Bud) -> bool> Forget for F {
    fn forget(&mut self, back: BackRef, bud: Bud) -> bool {
        self(back, bud)
    }
}

/// What an eviction has achieved.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Evicted {
    /// Frames given back to the system.
    pub(crate) frames: usize,
    /// Pages dropped. Some may come from frames that were not won as a whole.
    pub(crate) pages: usize,
}

/// Counters. All belong to one moment, see [`Zbud::stats`].
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    /// Frames now owned, spare ones included.
    pub(crate) curr_raw_pages: u64,
    /// Frames now spare.
    pub(crate) unused_list_count: u64,
    /// Frames now holding two buds.
    pub(crate) buddied_count: u64,
    /// Buds now held.
    pub(crate) curr_zpages: u64,
    /// Bytes now held, without the rounding to chunks.
    pub(crate) curr_zbytes: u64,
    /// Buds ever created.
    pub(crate) cumul_zpages: u64,
    /// Bytes ever created.
    pub(crate) cumul_zbytes: u64,
    /// Frames ever won by eviction.
    pub(crate) evicted_raw_pages: u64,
    /// Those of them that held one bud when they were chosen.
    pub(crate) evicted_unbuddied_pages: u64,
    /// Those of them that held two.
    pub(crate) evicted_buddied_pages: u64,
    /// Pages ever dropped by eviction.
    pub(crate) evicted_zpages: u64,
    /// Those of them that made room for a page of another group.
    pub(crate) evicted_by_other_group: u64,
    /// Frames that the page allocator refused.
    pub(crate) failed_get_free_pages: u64,
    /// Descriptor segments that could not be allocated.
    pub(crate) failed_alloc: u64,
    /// Calls with a name that named no bud: each one is a bug of the caller.
    pub(crate) stale: u64,
}

/// What became of one try to evict a frame.
enum Try {
    /// There is no frame to evict.
    Nothing,
    /// Something is left in the frame. It is now the youngest, or will be when it is unpinned.
    Lost,
    /// The frame is owned no more. It must be dropped without the lock.
    Freed(Option<ReclaimableFrame>),
    /// The frame is now spare, and promised to the caller. With it, so many are in use.
    Kept(usize),
}

/// The allocator.
///
/// Dropping it frees everything that it holds.
#[pin_data]
pub(crate) struct Zbud {
    #[pin]
    lists: SpinLock<Lists>,
    /// A copy of [`Stats::curr_raw_pages`], to be read without the lock.
    frames: Atomic<usize>,
    /// The most that it ever was.
    frames_max: Atomic<usize>,
    /// Allocations to go until one fails, for tests. 0 means none.
    #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
    fail: Atomic<u32>,
}

impl Zbud {
    /// Makes an allocator for at most `max` frames, and at most about 2^31. That is also its first
    /// limit. Allocates 8 bytes for each 56 of them at once; may sleep.
    pub(crate) fn new(max: usize) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            lists <- new_spinlock!(Lists::new(max)?, "zbud"),
            frames: Atomic::new(0),
            frames_max: Atomic::new(0),
            #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
            fail: Atomic::new(0),
        })
    }

    /// Makes sure that a bud can be created, however long it turns out to be, within `budget`.
    ///
    /// Meant to be called before a workspace is taken: [`Reservation::create_of`] then neither
    /// allocates nor waits. Locks once where a spare frame is there and enough are left. Else it
    /// allocates a frame, and at times a segment of descriptors, both with `flags`; sleeps only if
    /// these allow it. At most one frame is allocated ahead: whoever puts in direct reclaim is to
    /// leave something for others.
    ///
    /// Lowers the limit without freeing anything: call [`Zbud::shrink`], or let
    /// [`Zbud::reserve_oldest`] do so by and by.
    pub(crate) fn reserve_within(
        &self,
        budget: Budget,
        flags: Flags,
    ) -> Result<Reservation<'_>, NoFrame> {
        let mut lists = self.lists.lock();
        lists.set_limit(budget.limit);
        lists.keep = budget.keep;
        self.promise(lists, budget.ahead, flags)
    }

    /// The same within the budget that was given last, and with no frame ahead.
    #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
    pub(crate) fn reserve(&self, flags: Flags) -> Result<Reservation<'_>, NoFrame> {
        self.promise(self.lists.lock(), 0, flags)
    }

    fn promise(
        &self,
        mut lists: Guard<'_, Lists, SpinLockBackend>,
        ahead: u32,
        flags: Flags,
    ) -> Result<Reservation<'_>, NoFrame> {
        if lists.has_idle() {
            lists.promised += 1;
            let used = lists.used();
            if lists.lacks_spares(ahead) {
                // Without one ahead, this put is none the worse.
                let _ = self.grow(lists, false, flags);
            }
            return Ok(Reservation { zbud: self, used });
        }
        let used = self.grow(lists, true, flags)?;
        let reservation = Reservation { zbud: self, used };
        self.top_up(ahead, 1, flags);
        Ok(reservation)
    }

    /// Allocates up to `most` spare frames, as long as there are fewer than `enough`. None if there
    /// is no bud.
    ///
    /// For those who have memory, on behalf of those who will have none: a put in the middle of
    /// direct reclaim finds the system at its last reserves. Memory as for
    /// [`Zbud::reserve_within`].
    pub(crate) fn top_up(&self, enough: u32, most: u32, flags: Flags) {
        for _ in 0..most {
            let lists = self.lists.lock();
            if !lists.lacks_spares(enough) || self.grow(lists, false, flags).is_err() {
                break;
            }
        }
    }

    /// Adds a spare frame, and promises it to the caller if told so. Returns how many are in use.
    fn grow(
        &self,
        mut lists: Guard<'_, Lists, SpinLockBackend>,
        promise: bool,
        flags: Flags,
    ) -> Result<usize, NoFrame> {
        if lists.claimed() >= lists.limit.into() {
            return Err(NoFrame::Limit);
        }
        lists.growing += 1;
        // Each of those who are growing now takes one descriptor. Who finds too few adds more than
        // it takes, so that the others' are still there.
        let short = lists.free.len < lists.growing;
        drop(lists);

        let page = self
            .attempt(|| ReclaimableFrame::new(flags))
            .map_err(|_| self.not_grown(|stats| &mut stats.failed_get_free_pages))?;
        let segment = if short {
            let init = pin_init::init_array_from_fn(|_| Desc::new());
            let segment = self
                .attempt(|| KBox::<Segment>::init(init, flags))
                .map_err(|_| self.not_grown(|stats| &mut stats.failed_alloc))?;
            Some(segment)
        } else {
            None
        };

        let mut lists = self.lists.lock();
        lists.growing -= 1;
        // Others may have filled the table meanwhile. It then has a descriptor for each frame that
        // the limit allows.
        let unused = segment.and_then(|segment| lists.add_segment(segment));
        let rejected = lists.add_frame(page);
        lists.promised += u32::from(promise && rejected.is_none());
        let used = lists.used();
        self.finish(lists, None);

        drop(unused);
        match rejected {
            None => Ok(used),
            Some(_) => Err(NoFrame::Memory),
        }
    }

    /// Like [`Zbud::reserve_within`], for when that has failed: reserves a frame that eviction
    /// empties.
    ///
    /// `forget` as in [`Zbud::shrink`]. Allocates nothing. If more frames are owned than the limit
    /// allows, the frame goes back to the system instead: so a lowered limit takes effect.
    pub(crate) fn reserve_oldest(&self, mut forget: impl Forget) -> Option<Reservation<'_>> {
        let mut pages = 0;
        for _ in 0..TRIES {
            match self.try_evict(true, &mut forget, &mut pages) {
                Try::Lost => continue,
                Try::Kept(used) => return Some(Reservation { zbud: self, used }),
                Try::Nothing | Try::Freed(_) => break,
            }
        }
        None
    }

    /// Gives a frame away: a spare one, or else one that eviction empties. `forget` as in
    /// [`Zbud::shrink`]. Allocates nothing.
    pub(crate) fn take_frame(&self, mut forget: impl Forget) -> Option<Frame> {
        let mut lists = self.lists.lock();
        let spare = lists.retire_spare(0);
        self.count_frames(&lists);
        drop(lists);
        if spare.is_some() {
            return spare.map(ReclaimableFrame::into_frame);
        }
        let mut pages = 0;
        for _ in 0..TRIES {
            match self.try_evict(false, &mut forget, &mut pages) {
                Try::Lost => continue,
                Try::Freed(frame) => return frame.map(ReclaimableFrame::into_frame),
                Try::Nothing | Try::Kept(_) => break,
            }
        }
        None
    }

    /// Is each page of the oldest frame `weak`? If not, the frame becomes the youngest, so that the
    /// next question is about another one. False also if there is no frame.
    ///
    /// No lock is held around `weak`, and the frame not kept: what it says may be of the past.
    pub(crate) fn oldest_is(&self, weak: impl Fn(BackRef) -> bool) -> bool {
        let lists = self.lists.lock();
        let Some(frame) = lists.lru.first() else {
            return false;
        };
        let desc = &lists.table[frame];
        let back = [0, 1].map(|side| (desc.refs[side] != 0).then_some(desc.back[side]));
        drop(lists);
        let all_weak = back.into_iter().flatten().all(weak);
        if !all_weak {
            let mut lists = self.lists.lock();
            if lists.lru.first() == Some(frame) {
                lists.renew(frame);
            }
        }
        all_weak
    }

    /// The longest bud in bytes that [`Zbud::create_of`] would accept now. 0 if none.
    ///
    /// A codec that is given this as its limit stops early on data that could not be stored anyway.
    /// A hint: others may take the place first. With a [`Reservation`] it is always [`MAX_BUD`].
    pub(crate) fn room(&self) -> usize {
        let lists = self.lists.lock();
        match lists.holes.checked_ilog2() {
            _ if lists.has_idle() => MAX_BUD,
            // CAST: At most 63.
            Some(hole) => MAX_BUD.min(hole as usize * CHUNK),
            None => 0,
        }
    }

    /// Stores a copy of `data`, a page of `group`, as far as there is room without a reservation.
    ///
    /// `back` comes back in [`Zbud::shrink`]. That can happen before this returns: the index then
    /// does not have the bud yet and must say so.
    ///
    /// The caller owns the one reference to the bud. Never sleeps or allocates.
    pub(crate) fn create_of(
        &self,
        group: Group,
        data: &[u8],
        back: BackRef,
    ) -> Result<Bud, Refused> {
        self.fill(group, data, back, false)
    }

    /// Like [`Zbud::create_of`], for a page of no group.
    #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
    pub(crate) fn create(&self, data: &[u8], back: BackRef) -> Result<Bud, Refused> {
        self.create_of(Group::NONE, data, back)
    }

    fn fill(
        &self,
        group: Group,
        data: &[u8],
        back: BackRef,
        promised: bool,
    ) -> Result<Bud, Refused> {
        if data.is_empty() || data.len() > MAX_BUD {
            return Err(Refused::Size);
        }
        let mut lists = self.lists.lock();
        let place = lists
            .place(data.len(), back, group, promised)
            .ok_or(Refused::Full)?;
        drop(lists);

        // SAFETY:
        // - `place` has pinned the frame, and a pinned frame is not freed.
        // - The range ends within the page and has the length of `data`, see `Desc::range`.
        // - Nobody else writes to it: another bud could get a part of it only through an unbuddied
        //   list, where no pinned frame is. The other bud's range, if there is one, is disjoint:
        //   a place is given only for chunks that it leaves free. If that bud goes meanwhile, its
        //   range is not given out either, for the same reason.
        // - Nobody reads it: `with_data` demands a reference, and the bud has none yet. An earlier
        //   bud there has no readers left: such a reader would have the frame pinned, and the frame
        //   would not have been on the list where `place` found it.
        unsafe { place.bytes.write(place.range.start, data) };

        let mut lists = self.lists.lock();
        let frame = place.bud.frame();
        lists.publish(frame, place.bud.side());
        lists.unpin(frame);
        let empty = lists.settle_or_retire(frame);
        self.finish(lists, empty);
        Ok(place.bud)
    }

    /// Takes one more reference to a bud. May be called under a spinlock.
    ///
    /// Fails with [`EINVAL`] if there is no such bud, with [`EOVERFLOW`] if it has 65535 already.
    pub(crate) fn get_ref(&self, bud: Bud) -> Result {
        let mut lists = self.lists.lock();
        let (frame, side) = lists.live(bud).ok_or(EINVAL)?;
        let refs = &mut lists.table[frame].refs[side];
        *refs = refs.checked_add(1).ok_or(EOVERFLOW)?;
        Ok(())
    }

    /// Gives back one reference to a bud. The last one frees it, and its frame if that is then
    /// empty. Never sleeps. A bud that does not exist is ignored and counted.
    pub(crate) fn free(&self, bud: Bud) {
        let mut lists = self.lists.lock();
        let Some((frame, side)) = lists.live(bud) else {
            return;
        };
        lists.unref(frame, side);
        let empty = lists.settle_or_retire(frame);
        self.finish(lists, empty);
    }

    /// Runs `f` on the bytes of a bud, of which the caller owns a reference.
    ///
    /// No lock is held meanwhile. Fails with [`EINVAL`] if there is no such bud, with [`EBUSY`] if
    /// its frame has 65535 readers.
    pub(crate) fn with_data<R>(&self, bud: Bud, f: impl FnOnce(&[u8]) -> R) -> Result<R> {
        let mut lists = self.lists.lock();
        let (frame, side) = lists.live(bud).ok_or(EINVAL)?;
        let desc = &lists.table[frame];
        let range = desc.range(side);
        let bytes = desc.frame.as_ref().ok_or(EINVAL)?.bytes();
        lists.pin(frame)?;
        drop(lists);

        // SAFETY:
        // - The frame is pinned, and a pinned frame is not freed.
        // - The range ends within the page, see `Desc::range`.
        // - It has been written as a whole: `live` saw a reference to the bud, and the first one is
        //   made, under the same lock, after `fill` has written all of it.
        // - Nobody writes to it: only `fill` writes, to a bud without a reference, in a range that
        //   is disjoint from all other buds. Even if a caller who has lost count frees this bud
        //   meanwhile, its range is not given out anew as long as the frame is pinned.
        let result = unsafe { bytes.read(range, f) };

        let mut lists = self.lists.lock();
        lists.unpin(frame);
        let empty = lists.settle_or_retire(frame);
        self.finish(lists, empty);
        Ok(result)
    }

    /// Frees the oldest frame that can be had, as [`Zbud::shrink`] does.
    #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
    pub(crate) fn evict(&self, forget: impl Forget) -> Evicted {
        self.evict_one(&mut { forget })
    }

    fn evict_one(&self, forget: &mut impl Forget) -> Evicted {
        let mut done = Evicted::default();
        for _ in 0..TRIES {
            match self.try_evict(false, forget, &mut done.pages) {
                Try::Lost => continue,
                Try::Nothing => break,
                Try::Freed(_) | Try::Kept(_) => {
                    done.frames = 1;
                    break;
                }
            }
        }
        done
    }

    /// Frees up to `frames` of the oldest frames that can be had.
    ///
    /// For each bud in it, `forget` is asked to drop the index entry that `BackRef` leads to if it
    /// has exactly this [`Bud`]. If it returns true, the reference that the entry owned belongs to
    /// the eviction, which gives it back. If it returns false, somebody else is about to use the
    /// bud: then the frame stays, as the youngest, and the next one is tried, up to eight. So it
    /// does if one of its buds is spared. No lock is held around `forget`.
    pub(crate) fn shrink(&self, frames: usize, mut forget: impl Forget) -> Evicted {
        let mut done = Evicted::default();
        while done.frames < frames {
            let once = self.evict_one(&mut forget);
            done.pages += once.pages;
            done.frames += once.frames;
            if once.frames == 0 {
                break;
            }
        }
        done
    }

    /// Tries to evict the oldest frame. Adds the pages that it drops to `pages`.
    fn try_evict(&self, keep: bool, forget: &mut impl Forget, pages: &mut usize) -> Try {
        let mut lists = self.lists.lock();
        let Some(frame) = lists.lru.first() else {
            return Try::Nothing;
        };
        lists.leave_lru(frame);
        // If somebody is using it, that one will settle it, which makes it the youngest.
        if lists.table[frame].pins != 0 || lists.pin(frame).is_err() {
            return Try::Lost;
        }
        let desc = &lists.table[frame];
        let buds = desc.buds();
        let back = [0, 1].map(|side| (desc.refs[side] != 0).then_some(desc.back[side]));
        drop(lists);

        // The pin keeps these names from being given out anew, so if the index has one, it is for
        // the page that was seen above. Both are asked first: a page that goes while the other
        // stays wins no frame.
        let buds_seen = [0, 1].map(|side| Some((back[side]?, Bud::new(frame, side))));
        let spared = buds_seen
            .iter()
            .flatten()
            .any(|(back, bud)| forget.spares(*back, *bud));
        let won = buds_seen
            .map(|seen| !spared && seen.is_some_and(|(back, bud)| forget.forget(back, bud)));

        let mut lists = self.lists.lock();
        for side in [0, 1] {
            if won[side] {
                lists.unref(frame, side);
                lists.stats.evicted_zpages += 1;
                let own = lists.table[frame].groups[side];
                let other = forget.wanted_for().is_some_and(|wanted| wanted != own);
                lists.stats.evicted_by_other_group += u64::from(other);
                *pages += 1;
            }
        }
        lists.unpin(frame);
        if !lists.settle(frame) {
            self.finish(lists, None);
            return Try::Lost;
        }
        lists.stats.evicted_raw_pages += 1;
        match buds {
            2 => lists.stats.evicted_buddied_pages += 1,
            _ => lists.stats.evicted_unbuddied_pages += 1,
        }
        if keep && lists.claimed() <= lists.limit.into() {
            lists.make_spare(frame);
            lists.promised += 1;
            let used = lists.used();
            self.finish(lists, None);
            Try::Kept(used)
        } else {
            let empty = lists.retire(frame);
            self.finish(lists, None);
            Try::Freed(empty)
        }
    }

    /// Gives all spare frames back to the system, except for those that somebody has reserved.
    pub(crate) fn drop_spares(&self) {
        loop {
            let mut lists = self.lists.lock();
            let page = lists.retire_spare(0);
            self.count_frames(&lists);
            drop(lists);
            if page.is_none() {
                break;
            }
        }
    }

    /// Sets one part of the budget, see [`Budget::keep`]. None are kept unless set.
    #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
    pub(crate) fn set_keep(&self, frames: u32) {
        self.lists.lock().keep = frames;
    }

    /// Frames now owned, spare ones included. Takes no lock and changes nothing.
    pub(crate) fn frames(&self) -> usize {
        self.frames.load(Relaxed)
    }

    /// The most frames ever owned.
    pub(crate) fn frames_max(&self) -> usize {
        self.frames_max.load(Relaxed)
    }

    /// Frames that hold a bud or are promised for one.
    #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
    pub(crate) fn used(&self) -> usize {
        self.lists.lock().used()
    }

    /// Frames allowed.
    // The policy knows, and tests ask.
    #[cfg_attr(not(CONFIG_ZCACHE_KUNIT_TEST), allow(dead_code))]
    pub(crate) fn limit(&self) -> usize {
        // CAST: Lossless on 64 bits.
        self.lists.lock().limit as usize
    }

    /// Makes room in the tables for `max` frames, if there is less. May sleep. Fails with
    /// [`ENOMEM`], and nothing has changed then.
    pub(crate) fn enlarge(&self, max: usize) -> Result {
        let (max, segments) = Lists::room(max);
        if max > self.lists.lock().max {
            let mut larger = self.attempt(|| segments::with_room(segments))?;
            let mut lists = self.lists.lock();
            segments::adopt(&mut lists.table.segments, &mut larger);
            lists.max = max.max(lists.max);
            drop(lists);
        }
        Ok(())
    }

    /// Sets one part of the budget, see [`Budget::limit`], up to the number that [`Zbud::new`] was
    /// given, or [`Zbud::enlarge`].
    pub(crate) fn set_limit(&self, frames: usize) {
        self.lists.lock().set_limit(frames);
    }

    /// All counters, as they are at one moment.
    pub(crate) fn stats(&self) -> Stats {
        let lists = self.lists.lock();
        Stats {
            unused_list_count: lists.spare.len.into(),
            ..lists.stats
        }
    }

    /// How many frames with one bud there are, by the chunks that it takes.
    pub(crate) fn unbuddied_list_counts(&self) -> [u32; CHUNKS] {
        let mut counts = [0; CHUNKS];
        let lists = self.lists.lock();
        // List 0 is always empty, and no frame with one bud has none of its chunks in use.
        for (free, list) in lists.unbuddied.iter().enumerate().skip(1) {
            counts[CHUNKS - free] = list.len;
        }
        counts
    }

    /// How many buds were ever created, by the chunks that they took.
    pub(crate) fn cumul_chunk_counts(&self) -> [u64; CHUNKS] {
        self.lists.lock().cumul_chunks
    }

    /// Bytes of memory that the descriptors take. They are kept for reuse when frames go.
    pub(crate) fn metadata_bytes(&self) -> usize {
        let lists = self.lists.lock();
        let segments = &lists.table.segments;
        segments.len() * size_of::<Segment>() + segments.capacity() * size_of::<KBox<Segment>>()
    }

    /// Ends a step under the lock, and gives memory back after it.
    ///
    /// As many spare frames are kept beyond those that are promised as [`Budget::keep`] says, or
    /// one, but none if there is no bud: so when the last page is gone, the last frame is too. Else
    /// no step adds more than one to that surplus: none makes two frames spare, breaks two
    /// promises, or does both.
    fn finish(
        &self,
        mut lists: Guard<'_, Lists, SpinLockBackend>,
        empty: Option<ReclaimableFrame>,
    ) {
        let wanted = lists.spares_wanted();
        let surplus = lists.retire_spare(wanted);
        let all = wanted == 0 && lists.has_idle();
        self.count_frames(&lists);
        drop(lists);
        drop((empty, surplus));
        if all {
            self.drop_spares();
        }
    }

    /// Makes the number of frames visible to those who do not lock.
    fn count_frames(&self, lists: &Lists) {
        // CAST: At most 2^31.
        let frames = lists.stats.curr_raw_pages as usize;
        self.frames.store(frames, Relaxed);
        // Written under the lock only.
        if self.frames_max.load(Relaxed) < frames {
            self.frames_max.store(frames, Relaxed);
        }
    }

    /// Ends an attempt to grow that has failed, and counts it.
    fn not_grown(&self, counter: impl FnOnce(&mut Stats) -> &mut u64) -> NoFrame {
        let mut lists = self.lists.lock();
        lists.growing -= 1;
        *counter(&mut lists.stats) += 1;
        NoFrame::Memory
    }

    /// Makes one of the allocations to come fail.
    #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
    pub(crate) fn fail_after(&self, allocations: u32) {
        self.fail.store(allocations, Relaxed);
    }

    /// Runs an allocation, unless a test wants it to fail.
    fn attempt<T, E: From<AllocError>>(
        &self,
        allocate: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
        {
            let left = self.fail.load(Relaxed);
            self.fail.store(left.saturating_sub(1), Relaxed);
            if left == 1 {
                return Err(AllocError.into());
            }
        }
        allocate()
    }
}

/// A promise of a spare frame. Given back on drop.
#[must_use = "if unused, the frame is given back at once"]
pub(crate) struct Reservation<'a> {
    zbud: &'a Zbud,
    used: usize,
}

impl Reservation<'_> {
    /// How many frames, with this one, held a bud or were promised for one when it was made.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Stores a copy of `data`, like [`Zbud::create_of`]. Always succeeds if the length allows it.
    ///
    /// The frame that was promised is used only if `data` fits no hole.
    pub(crate) fn create_of(
        self,
        group: Group,
        data: &[u8],
        back: BackRef,
    ) -> Result<Bud, Refused> {
        let bud = self.zbud.fill(group, data, back, true)?;
        // `fill` has used up the promise.
        mem::forget(self);
        Ok(bud)
    }

    /// Like [`Reservation::create_of`], for a page of no group.
    #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
    pub(crate) fn create(self, data: &[u8], back: BackRef) -> Result<Bud, Refused> {
        self.create_of(Group::NONE, data, back)
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut lists = self.zbud.lists.lock();
        lists.promised -= 1;
        self.zbud.finish(lists, None);
    }
}
