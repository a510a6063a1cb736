// SPDX-License-Identifier: GPL-2.0

//! Memory for persistent pages: compressed pages ("parcels") of any length, side by side in frames.
//!
//! A persistent page stays until its owner wants it back, so nothing here is evicted to make room,
//! and density is all that counts. A frame is one physical page, and holds as many parcels as fit
//! it, one behind the other; a parcel that finds no gap of its length takes two. So a frame has
//! hardly a gap when another one is begun, however long the parcels are.
//!
//! ```text
//!             0                                                        PAGE_SIZE
//!             +-----------+----------------------+------------+----------------+
//!    frame 0  | parcel 0  | parcel 1             | hole       | parcel 2, head |
//!             +-----------+-------------+--------+------------+----------------+
//!    frame 1  | parcel 2, rest          | hole                                 |
//!             +-------------------------+--------------------------------------+
//! ```
//!
//! Space is counted in grains, [`GRAINS`] a frame: 8 bytes each where pages have 4 KiB. A frame is
//! covered by *runs*, each one a hole, a parcel, or a piece of one. A run has a record *outside* of
//! the frames, which knows the runs before and after it. So a hole is split, and made one with its
//! neighbours, in constant time, and all bytes of a frame can hold data.
//!
//! # Where a parcel goes
//!
//! 1. Into the smallest hole that is large enough. There is a list of holes for each size, and
//!    two levels of bits that tell which are not empty: what xvmalloc is named for.
//! 2. Else its head fills the largest hole, and the rest goes into the smallest that takes it.
//! 3. Else into a spare frame, after what the largest hole takes.
//!
//! A frame that has become one hole goes back to the system at once, but for one that is kept for
//! the next put, as long as there is a parcel.
//!
//! # When memory is short
//!
//! Parcels are freed in any order, so after a while many frames may be half empty. As a name leads
//! to a record and not to an address, parcels can be moved: [`Xvmalloc::compact`] empties the
//! frames with the least in them into the holes of others, and gives them back. zsmalloc's shrinker
//! does the same.
//!
//! # Who owns a parcel
//!
//! [`Reservation::create`] gives out one reference, [`Xvmalloc::get_ref`] more,
//! [`Xvmalloc::free`] takes one, and the last frees the parcel. A private pool never asks for a
//! second one; a get from a shared pool does, and reads while somebody else may flush.
//!
//! A [`Parcel`] is a number, not a capability: one that names no parcel is refused and counted
//! ([`Stats::stale`]). It has a 16-bit age as well, by which a name that was given out before is
//! told from the present one. A caller who frees what it does not own, at an age that has come
//! round, frees a parcel of somebody else, but nobody ever uses memory that is not a parcel: that
//! depends on pins alone, which never leave this file.

// Locking
//
// There is one lock, a plain spinlock over all of `Heap`. It is a leaf: while it is held nothing
// else is locked, no memory is allocated or freed, no data is copied. `get_ref` takes it under an
// index lock, `free` perhaps with interrupts off. Nothing here may be called from an interrupt.
// The reader of `with_data` runs without it, and may call anything here.
//
// Order: index lock or swap cluster lock, then this one.

use crate::{
    frame::Frame,
    segments, //
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

mod compact;
mod heap;
#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
mod tests;

use heap::{
    Heap,
    Piece,
    Run,
    Slot,
    State,
    NIL,
    RUNS,
    SLOTS, //
};

/// Grains in a frame.
pub(crate) const GRAINS: usize = 512;

/// Bytes in a grain.
pub(crate) const GRAIN: usize = PAGE_SIZE / GRAINS;

/// The longest parcel in bytes: 3584 where pages have 4096, as in V2.
///
/// What is longer gains too little for what it costs to compress and to keep it.
pub(crate) const MAX_PARCEL: usize = PAGE_SIZE / 8 * 7;

/// The smallest hole, in grains, for the head of a parcel whose rest is elsewhere.
///
/// It is the gap that the longest parcel leaves. Smaller ones are left for short parcels, which
/// cost no second record and no putting together: on a stream of programs' memory, 15 % of the
/// parcels are in two pieces, instead of 27 % with 8 grains, and there are 0.3 % more frames.
const MIN_PIECE: usize = 64;

/// A hole must have so many grains: what is smaller is not worth a record, and stays unused behind
/// the parcel before it.
const SLACK: usize = 4;

/// Records that one parcel may need: a frame is opened, which makes one, and divided.
const RUNS_EACH: u32 = 2;

/// Runs a frame for which there can be records: enough for pages that shrink to a tenth or so.
///
/// With shorter ones, records run out before frames do, when the pages stored are several times as
/// many as the frames allowed.
const RUNS_PER_FRAME: usize = 16;

/// The name of a parcel, of 48 bits: the record of its run, and an age.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parcel(u64);

impl Parcel {
    /// Bits of a name.
    pub(crate) const BITS: u32 = 48;

    /// The name as a number, as an index keeps it.
    pub(crate) const fn to_raw(self) -> u64 {
        self.0
    }

    /// The inverse of [`Parcel::to_raw`]. Every number is allowed, see the top of this file.
    pub(crate) const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    fn new(number: u32, age: u16) -> Self {
        Self(u64::from(age) << 32 | u64::from(number))
    }

    const fn number(self) -> u32 {
        // CAST: The lower half is what is wanted.
        self.0 as u32
    }
}

/// Where a frame comes from, if none is spare.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The system, or else the other one who is asked.
    System,
    /// The other one who is asked, or else the system.
    Other,
    /// Nowhere.
    None,
}

/// Why something was refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The data is empty or longer than [`MAX_PARCEL`].
    Size,
    /// All frames that the limit allows are in use, or the holes are too small.
    Full,
    /// The system had no memory to spare.
    Memory,
}

/// Counters. All belong to one moment, see [`Xvmalloc::stats`].
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    /// Frames now owned, spare ones included.
    pub(crate) frames: u64,
    /// Frames now spare.
    pub(crate) spare: u64,
    /// Parcels now held.
    pub(crate) pages: u64,
    /// Bytes now held, without the rounding to grains.
    pub(crate) bytes: u64,
    /// Parcels now in two pieces.
    pub(crate) split: u64,
    /// Holes now between parcels.
    pub(crate) holes: u64,
    /// Bytes in these.
    pub(crate) hole_bytes: u64,
    /// Frames ever emptied by moving what was in them.
    pub(crate) compacted: u64,
    /// Parcels ever created.
    pub(crate) ever_pages: u64,
    /// Bytes ever created.
    pub(crate) ever_bytes: u64,
    /// Frames that the page allocator refused.
    pub(crate) failed_get_free_pages: u64,
    /// Segments of records that could not be allocated.
    pub(crate) failed_alloc: u64,
    /// Calls with a name that named no parcel: each one is a bug of the caller.
    pub(crate) stale: u64,
}

/// The allocator.
///
/// Dropping it frees everything that it holds.
#[pin_data]
pub(crate) struct Xvmalloc {
    #[pin]
    heap: SpinLock<Heap>,
    /// A copy of [`Stats::frames`], to be read without the lock.
    frames: Atomic<usize>,
    /// The most that it ever was.
    frames_max: Atomic<usize>,
    /// Allocations to go until one fails, for tests. 0 means none.
    #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
    fail: Atomic<u32>,
}

impl Xvmalloc {
    /// Makes an allocator for at most `max` frames, and at most about 2^31. Allocates about 1 byte
    /// a frame at once; may sleep.
    pub(crate) fn new(max: usize) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            heap <- new_spinlock!(Heap::new(max, RUNS_PER_FRAME)?, "xvmalloc"),
            frames: Atomic::new(0),
            frames_max: Atomic::new(0),
            #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
            fail: Atomic::new(0),
        })
    }

    /// Makes sure that a parcel can be created, however long it turns out to be.
    ///
    /// Meant to be called before a workspace is taken: [`Reservation::create`] then neither
    /// allocates nor waits. Allocates a frame unless a spare one is there, and at times a segment
    /// of records, all with `flags`; sleeps only if these allow it. `source` says when `other` is
    /// asked for a frame; no lock is held meanwhile.
    pub(crate) fn reserve(
        &self,
        flags: Flags,
        source: Source,
        other: impl FnOnce() -> Option<Frame>,
    ) -> Result<Reservation<'_>, Refused> {
        let mut heap = self.heap.lock();
        let grow = !heap.has_idle();
        if grow && (source == Source::None || heap.claimed() >= heap.limit.into()) {
            return Err(Refused::Full);
        }
        // Promised first, and then made true: whoever comes meanwhile sees that more is needed.
        heap.promised += 1;
        let reservation = self.promise_runs(&mut heap, true);
        let short = heap.lacks_runs();
        if grow {
            self.grow(heap, flags, source, other)?;
        } else {
            drop(heap);
        }
        if short {
            self.add_runs(flags)?;
        }
        Ok(reservation)
    }

    /// Like [`Xvmalloc::reserve`], for when that has failed: promises no frame, so that only holes
    /// are left. [`Xvmalloc::room`] tells what can be created at best.
    pub(crate) fn reserve_hole(&self, flags: Flags) -> Result<Reservation<'_>, Refused> {
        let mut heap = self.heap.lock();
        let reservation = self.promise_runs(&mut heap, false);
        let short = heap.lacks_runs();
        drop(heap);
        if short {
            self.add_runs(flags)?;
        }
        Ok(reservation)
    }

    /// Counts a reservation, which counts itself out when it is dropped.
    fn promise_runs(&self, heap: &mut Heap, frame: bool) -> Reservation<'_> {
        heap.promised_runs += 1;
        Reservation {
            xvmalloc: self,
            frame,
        }
    }

    /// Allocates up to `most` spare frames, as long as there are fewer than `enough`. None if there
    /// is no parcel.
    ///
    /// For those who have memory, on behalf of those who will have none: a put in the middle of
    /// direct reclaim finds the system at its last reserves. Memory as for [`Xvmalloc::reserve`].
    pub(crate) fn top_up(&self, enough: u32, most: u32, flags: Flags) {
        for _ in 0..most {
            let heap = self.heap.lock();
            // Beyond what is kept, the next step of anybody would give it back.
            let enough = enough.min(heap.spares_wanted());
            if heap.spare.len >= heap.promised + enough || heap.claimed() >= heap.limit.into() {
                break;
            }
            if self.grow(heap, flags, Source::System, || None).is_err() {
                break;
            }
        }
    }

    /// Adds a spare frame.
    fn grow<'a>(
        &'a self,
        mut heap: Guard<'a, Heap, SpinLockBackend>,
        flags: Flags,
        source: Source,
        other: impl FnOnce() -> Option<Frame>,
    ) -> Result<(), Refused> {
        heap.growing += 1;
        // Each of those who are growing now takes one slot. Who finds too few adds more than it
        // takes, so that the others' are still there.
        let short = heap.unused_slots.len < heap.growing;
        drop(heap);

        let mut failed = false;
        let mut system = || {
            let page = self.attempt(|| Frame::new(flags)).ok();
            failed = page.is_none();
            page
        };
        let page = match source {
            Source::System => system().or_else(other),
            Source::Other => other().or_else(system),
            Source::None => None,
        };
        let segment = if short && page.is_some() {
            let init = pin_init::init_array_from_fn(|_| Slot {
                frame: None,
                next: NIL,
                used: 0,
            });
            self.attempt(|| KBox::<[Slot; SLOTS]>::init(init, flags))
                .ok()
        } else {
            None
        };

        let mut heap = self.heap.lock();
        heap.growing -= 1;
        heap.stats.failed_get_free_pages += u64::from(failed);
        heap.stats.failed_alloc += u64::from(short && page.is_some() && segment.is_none());
        // Others may have filled the table meanwhile. It then has a slot for each frame that the
        // limit allows.
        let unused = segment.and_then(|segment| heap.add_slots(segment));
        let added = page.map(|page| heap.add_frame(page));
        self.finish(heap);

        drop(unused);
        match added {
            Some(None) => Ok(()),
            _ => Err(Refused::Memory),
        }
    }

    /// Adds a segment of records.
    fn add_runs(&self, flags: Flags) -> Result<(), Refused> {
        let init = pin_init::init_array_from_fn(|_| Run {
            frame: 0,
            before: NIL,
            after: NIL,
            start: 0,
            len: 0,
            age: 0,
            state: State::Unused { next: NIL },
        });
        let segment = self.attempt(|| KBox::<[Run; RUNS]>::init(init, flags));
        let mut heap = self.heap.lock();
        let Ok(segment) = segment else {
            heap.stats.failed_alloc += 1;
            return Err(Refused::Memory);
        };
        let unused = heap.add_runs(segment);
        drop(heap);
        match unused {
            None => Ok(()),
            Some(_) => Err(Refused::Full),
        }
    }

    /// The longest parcel, in bytes, that [`Xvmalloc::reserve_hole`] has room for now.
    ///
    /// A codec that is given this as its limit stops early on data that could not be stored anyway.
    /// A hint: others may take the place first.
    pub(crate) fn room(&self) -> usize {
        self.heap.lock().room().min(MAX_PARCEL)
    }

    /// Takes one more reference to a parcel. May be called under a spinlock.
    ///
    /// Fails with [`EINVAL`] if there is no such parcel, with [`EOVERFLOW`] if it has 65535.
    pub(crate) fn get_ref(&self, parcel: Parcel) -> Result {
        self.heap.lock().get_ref(parcel)
    }

    /// Gives back one reference to a parcel. The last one frees it, and its frames if they are then
    /// empty. Never sleeps or allocates; interrupts may be off. A parcel that does not exist is
    /// ignored and counted.
    pub(crate) fn free(&self, parcel: Parcel) {
        let mut heap = self.heap.lock();
        heap.unref(parcel);
        self.finish(heap);
    }

    /// Runs `f` on the bytes of a parcel, of which the caller owns a reference: on its two pieces,
    /// the second of which is empty if it lies in one.
    ///
    /// No lock is held meanwhile. Fails with [`EINVAL`] if there is no such parcel, with [`EBUSY`]
    /// if it has 65535 readers.
    pub(crate) fn with_data<R>(
        &self,
        parcel: Parcel,
        f: impl FnOnce(&[u8], &[u8]) -> R,
    ) -> Result<R> {
        let place = self.heap.lock().pin(parcel)?;
        let Piece { bytes, range } = place.first;

        // SAFETY: For both pieces:
        // - The frame is not freed: only one without a used run is, and the runs of a pinned parcel
        //   are used until it is unpinned.
        // - The range ends within the page, as `start + len` of a run is at most `GRAINS`, and
        //   `Heap::pieces` takes no more bytes than it has.
        // - It has been written as a whole: `live` saw a reference to the parcel, and the first one
        //   is made, under the same lock, after `fill` has written all of it.
        // - Nobody writes to it: only `fill` writes, to a parcel without a reference, and runs are
        //   disjoint. Even if a caller who has lost count frees this parcel meanwhile, its runs are
        //   not given out anew as long as it is pinned.
        let result = unsafe {
            match place.rest {
                None => bytes.read(range, |all| f(all, &[])),
                Some(rest) => bytes.read(range, |head| {
                    rest.bytes.read(rest.range, |rest| f(head, rest))
                }),
            }
        };

        let mut heap = self.heap.lock();
        heap.unpin(place.number);
        self.finish(heap);
        Ok(result)
    }

    /// Stores a copy of `data`, and uses up a promise.
    fn fill(&self, data: &[u8], frame: bool) -> Option<Parcel> {
        let mut heap = self.heap.lock();
        let place = heap.place(data.len(), frame);
        if place.is_none() {
            self.finish(heap);
            return None;
        }
        drop(heap);
        let place = place?;
        // PANIC: The length of the first piece is at most that of all.
        let (head, rest) = data.split_at(place.first.range.len());

        let write = |piece: Piece, data: &[u8]| {
            // SAFETY:
            // - The frame is not freed: `place` has pinned the parcel, and its runs are used until
            //   it is unpinned.
            // - The range ends within the page, see `with_data`, and has the length of `data`:
            //   `place` has divided `data.len()` between both.
            // - Nobody else writes to it: runs are disjoint, and those of a pinned parcel are not
            //   given out.
            // - Nobody reads it: `with_data` demands a reference, and this parcel has none yet. An
            //   earlier parcel there has no readers left: its runs would not have been free.
            unsafe { piece.bytes.write(piece.range.start, data) };
        };
        write(place.first, head);
        if let Some(piece) = place.rest {
            write(piece, rest);
        }

        let mut heap = self.heap.lock();
        let parcel = heap.publish(place.number);
        self.finish(heap);
        Some(parcel)
    }

    /// Gives all spare frames back to the system, except for those that somebody has reserved.
    pub(crate) fn drop_spares(&self) {
        while self.drop_spare(self.heap.lock(), 0) {}
    }

    /// Sets how many frames that become empty are kept as spare ones, as long as there is a parcel.
    /// One unless set.
    pub(crate) fn set_keep(&self, frames: u32) {
        self.heap.lock().keep = frames;
    }

    /// Frames now owned, spare ones included. Takes no lock and changes nothing.
    pub(crate) fn frames(&self) -> usize {
        self.frames.load(Relaxed)
    }

    /// The most frames that were ever owned.
    pub(crate) fn frames_max(&self) -> usize {
        self.frames_max.load(Relaxed)
    }

    /// Frames allowed.
    // The policy knows, and tests ask.
    #[cfg_attr(not(CONFIG_ZCACHE_KUNIT_TEST), allow(dead_code))]
    pub(crate) fn limit(&self) -> usize {
        // CAST: Lossless on 64 bits.
        self.heap.lock().limit as usize
    }

    /// Sets how many frames are allowed, and makes room for them in the tables if there is less.
    /// Frees nothing. May sleep. Fails with [`ENOMEM`], and nothing has changed then.
    pub(crate) fn set_limit(&self, frames: usize) -> Result {
        let room = heap::Capacity::of(frames, RUNS_PER_FRAME);
        let mut slots = KVVec::new();
        let mut runs = KVVec::new();
        if room.frames > self.heap.lock().max {
            slots = self.attempt(|| segments::with_room(room.slots))?;
            runs = self.attempt(|| segments::with_room(room.runs))?;
        }
        let mut heap = self.heap.lock();
        segments::adopt(&mut heap.slots.segments, &mut slots);
        segments::adopt(&mut heap.runs.segments, &mut runs);
        heap.max = heap.max.max(room.frames);
        heap.limit = room.frames;
        drop(heap);
        Ok(())
    }

    /// Parcels now held, and their bytes.
    pub(crate) fn held(&self) -> (u64, u64) {
        let heap = self.heap.lock();
        (heap.stats.pages, heap.stats.bytes)
    }

    /// All counters, as they are at one moment.
    pub(crate) fn stats(&self) -> Stats {
        let heap = self.heap.lock();
        Stats {
            spare: heap.spare.len.into(),
            ..heap.stats
        }
    }

    /// Bytes of memory that the records take. They are kept for reuse when parcels go.
    pub(crate) fn metadata_bytes(&self) -> usize {
        self.heap.lock().bytes()
    }

    /// Ends a step under the lock, and gives memory back after it.
    ///
    /// A step makes two frames spare at the most, and breaks one promise. So this is over soon, but
    /// for the last parcel, after which none is kept.
    fn finish<'a>(&'a self, mut heap: Guard<'a, Heap, SpinLockBackend>) {
        loop {
            let wanted = heap.spares_wanted();
            if !self.drop_spare(heap, wanted) {
                break;
            }
            heap = self.heap.lock();
        }
    }

    /// Gives one spare frame back, if there are more than are promised and `wanted`. Tells whether
    /// it did.
    fn drop_spare(&self, mut heap: Guard<'_, Heap, SpinLockBackend>, wanted: u32) -> bool {
        let page = heap.surplus(wanted);
        // CAST: At most 2^31.
        let frames = heap.stats.frames as usize;
        self.frames.store(frames, Relaxed);
        // Written under the lock only.
        if self.frames_max.load(Relaxed) < frames {
            self.frames_max.store(frames, Relaxed);
        }
        drop(heap);
        page.is_some()
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

/// A promise of room. Given back on drop.
#[must_use = "if unused, the room is given back at once"]
pub(crate) struct Reservation<'a> {
    xvmalloc: &'a Xvmalloc,
    /// Whether a spare frame is promised too.
    frame: bool,
}

impl Reservation<'_> {
    /// Stores a copy of `data`. The caller owns the one reference to the parcel. Never sleeps.
    ///
    /// With a reservation from [`Xvmalloc::reserve`] it always succeeds if the length allows it;
    /// the frame that was promised is used only if the holes have no room.
    pub(crate) fn create(self, data: &[u8]) -> Result<Parcel, Refused> {
        if data.is_empty() || data.len() > MAX_PARCEL {
            return Err(Refused::Size);
        }
        let created = self.xvmalloc.fill(data, self.frame);
        // `fill` has used up the promise, even if it found no room.
        mem::forget(self);
        created.ok_or(Refused::Full)
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut heap = self.xvmalloc.heap.lock();
        heap.promised_runs -= 1;
        heap.promised -= u32::from(self.frame);
        self.xvmalloc.finish(heap);
    }
}
