// SPDX-License-Identifier: GPL-2.0

//! What [`Zbud`](super::Zbud) knows about its frames: a table of descriptors, and lists through it.
//!
//! Everything here but [`Lists::new`] runs under the lock of that type, and neither allocates or
//! frees memory nor touches the content of a frame.

use super::{
    Bud,
    Stats,
    CHUNK,
    CHUNKS, //
};
use crate::{
    frame::{
        FrameBytes,
        ReclaimableFrame, //
    },
    segments,
    tmem::{
        BackRef,
        Group,
        PoolId, //
    },
};
use core::{
    mem,
    ops::{
        Index,
        IndexMut,
        Range, //
    },
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};

/// No frame: the end of a list.
const NIL: u32 = u32::MAX;

/// What an unused place of a descriptor holds instead of a back reference.
const NO_BACK: BackRef = BackRef {
    pool: PoolId(0),
    hash: 0,
    index: 0,
};

/// Chunks that `len` bytes take.
pub(super) const fn chunks(len: usize) -> usize {
    len.div_ceil(CHUNK)
}

/// A frame's neighbours on one list.
#[derive(Clone, Copy)]
pub(super) struct Link {
    pub(super) prev: u32,
    pub(super) next: u32,
}

/// What is known about one frame. The field arrays are indexed by side.
pub(super) struct Desc {
    /// The frame; none while the descriptor is free.
    pub(super) frame: Option<ReclaimableFrame>,
    /// Where eviction finds the index entry of each bud.
    pub(super) back: [BackRef; 2],
    /// Neighbours, by [`ORDER`] and [`SIZE`].
    pub(super) links: [Link; 2],
    /// Bytes of each bud. 0 if there is none.
    pub(super) len: [u16; 2],
    /// References to each bud. 0 also while it is being filled: then nobody can know its name.
    pub(super) refs: [u16; 2],
    /// Whose page each bud was when it was put.
    pub(super) groups: [Group; 2],
    /// Users that rely on the frame without holding the lock.
    pub(super) pins: u16,
    /// The unbuddied list the frame is on, by free chunks. 0 if on none.
    pub(super) hole: u8,
    /// Whether the frame is on the LRU list.
    pub(super) on_lru: bool,
}

// 1.8 % of a frame of 4 KiB.
static_assert!(size_of::<Desc>() == 72);

impl Desc {
    pub(super) const fn new() -> Self {
        let link = Link {
            prev: NIL,
            next: NIL,
        };
        Self {
            frame: None,
            back: [NO_BACK; 2],
            links: [link; 2],
            len: [0; 2],
            refs: [0; 2],
            groups: [Group::NONE; 2],
            pins: 0,
            hole: 0,
            on_lru: false,
        }
    }

    /// How many buds can be seen from outside.
    pub(super) fn buds(&self) -> usize {
        self.refs.iter().filter(|&&refs| refs != 0).count()
    }

    /// The bytes of a bud in its frame. Ends at or before [`PAGE_SIZE`], as `len` is at most
    /// [`MAX_BUD`]. Those of the two buds are disjoint, as their chunks together are at most
    /// [`CHUNKS`].
    pub(super) fn range(&self, side: usize) -> Range<usize> {
        let len = usize::from(self.len[side]);
        let start = match side {
            0 => 0,
            _ => (CHUNKS - chunks(len)) * CHUNK,
        };
        start..start + len
    }
}

/// Descriptors in a segment: as many as fit one page.
pub(super) const SEGMENT: usize = PAGE_SIZE / size_of::<Desc>();

pub(super) type Segment = [Desc; SEGMENT];

/// All descriptors, in segments, so that growing moves none and allocates nothing large.
///
/// Indexed by frame number; never shrinks, so a number that was once valid remains so.
pub(super) struct Table {
    pub(super) segments: KVVec<KBox<Segment>>,
}

impl Table {
    /// Descriptors, used and free.
    pub(super) fn len(&self) -> usize {
        self.segments.len() * SEGMENT
    }
}

impl Index<u32> for Table {
    type Output = Desc;

    // PANIC: Frame numbers come from `Lists::live`, which checks them, or off a list, which has
    // only those of descriptors that exist.
    fn index(&self, frame: u32) -> &Desc {
        // CAST: `u32` to `usize` is lossless on 64 bits.
        &self.segments[frame as usize / SEGMENT][frame as usize % SEGMENT]
    }
}

impl IndexMut<u32> for Table {
    // PANIC: As for `index`.
    fn index_mut(&mut self, frame: u32) -> &mut Desc {
        // CAST: As for `index`.
        &mut self.segments[frame as usize / SEGMENT][frame as usize % SEGMENT]
    }
}

/// The link for lists of which a frame is on one at most: free, spare, LRU.
const ORDER: usize = 0;

/// The link for unbuddied lists.
const SIZE: usize = 1;

/// A doubly linked list of frames through their link number `LINK`.
///
/// The caller sees to it that a frame is on at most one list of each link, and that
/// [`List::remove`] is called on the list that it is on.
pub(super) struct List<const LINK: usize> {
    first: u32,
    pub(super) last: u32,
    pub(super) len: u32,
}

impl<const LINK: usize> List<LINK> {
    pub(super) const fn new() -> Self {
        Self {
            first: NIL,
            last: NIL,
            len: 0,
        }
    }

    pub(super) fn push_first(&mut self, table: &mut Table, frame: u32) {
        table[frame].links[LINK] = Link {
            prev: NIL,
            next: self.first,
        };
        match self.first {
            NIL => self.last = frame,
            first => table[first].links[LINK].prev = frame,
        }
        self.first = frame;
        self.len += 1;
    }

    fn push_last(&mut self, table: &mut Table, frame: u32) {
        table[frame].links[LINK] = Link {
            prev: self.last,
            next: NIL,
        };
        match self.last {
            NIL => self.first = frame,
            last => table[last].links[LINK].next = frame,
        }
        self.last = frame;
        self.len += 1;
    }

    fn remove(&mut self, table: &mut Table, frame: u32) {
        let Link { prev, next } = table[frame].links[LINK];
        match prev {
            NIL => self.first = next,
            prev => table[prev].links[LINK].next = next,
        }
        match next {
            NIL => self.last = prev,
            next => table[next].links[LINK].prev = prev,
        }
        self.len -= 1;
    }

    pub(super) fn first(&self) -> Option<u32> {
        (self.first != NIL).then_some(self.first)
    }

    fn pop_first(&mut self, table: &mut Table) -> Option<u32> {
        let frame = self.first()?;
        self.remove(table, frame);
        Some(frame)
    }
}

/// Everything under the lock.
pub(super) struct Lists {
    pub(super) table: Table,
    /// Descriptors without a frame.
    pub(super) free: List<ORDER>,
    /// Frames without a bud.
    pub(super) spare: List<ORDER>,
    /// Frames with a bud, the oldest first; not those under eviction.
    pub(super) lru: List<ORDER>,
    /// Frames with one bud, by free chunks; not pinned ones.
    pub(super) unbuddied: [List<SIZE>; CHUNKS],
    /// Bit n: list n of these is not empty. n is never 0.
    pub(super) holes: u64,
    /// Spare frames that belong to a [`Reservation`].
    pub(super) promised: u32,
    /// Frames that become empty are kept as spare ones up to this number.
    pub(super) keep: u32,
    /// Frames being allocated.
    pub(super) growing: u32,
    /// Frames allowed now.
    pub(super) limit: u32,
    /// The highest limit for which the table has room.
    pub(super) max: u32,
    pub(super) stats: Stats,
    pub(super) cumul_chunks: [u64; CHUNKS],
}

impl Lists {
    /// Lists for at most `max` frames, of which there are none yet. May sleep.
    pub(super) fn new(max: usize) -> Result<Self> {
        let (max, segments) = Self::room(max);
        Ok(Self {
            table: Table {
                segments: segments::with_room(segments)?,
            },
            free: List::new(),
            spare: List::new(),
            lru: List::new(),
            unbuddied: [const { List::new() }; CHUNKS],
            holes: 0,
            promised: 0,
            keep: 0,
            growing: 0,
            limit: max,
            max,
            stats: Stats::default(),
            cumul_chunks: [0; CHUNKS],
        })
    }

    /// The most frames that `max` can stand for, and the segments of descriptors for them.
    pub(super) fn room(max: usize) -> (u32, usize) {
        // Whole segments of descriptors must not reach 2^31, so that a name fits 32 bits.
        let max = max.min((1 << 31) - SEGMENT);
        // CAST: Below 2^31.
        (max as u32, max.div_ceil(SEGMENT))
    }

    /// Where a bud is, if it is one.
    pub(super) fn live(&mut self, bud: Bud) -> Option<(u32, usize)> {
        let (frame, side) = (bud.frame(), bud.side());

        // CAST: Lossless on 64 bits.
        if (frame as usize) < self.table.len() && self.table[frame].refs[side] != 0 {
            Some((frame, side))
        } else {
            self.stats.stale += 1;
            None
        }
    }

    /// Keeps a frame from being freed, evicted or filled while the lock is not held. Fails if there
    /// are too many pins already.
    pub(super) fn pin(&mut self, frame: u32) -> Result {
        let pins = &mut self.table[frame].pins;
        *pins = pins.checked_add(1).ok_or(EBUSY)?;
        self.leave_unbuddied(frame);
        Ok(())
    }

    /// Undoes one [`Lists::pin`]. The frame must be settled afterwards.
    pub(super) fn unpin(&mut self, frame: u32) {
        self.table[frame].pins -= 1;
    }

    /// Puts a frame, after any change to it, on the lists where it belongs, unless it is pinned.
    ///
    /// If this returns true, it holds nothing any more and is on no list: the caller must retire it
    /// or make it spare before dropping the lock.
    #[must_use]
    pub(super) fn settle(&mut self, frame: u32) -> bool {
        let desc = &self.table[frame];
        if desc.pins != 0 {
            return false;
        }

        let single = match desc.len {
            [0, 0] => {
                self.leave_unbuddied(frame);
                self.leave_lru(frame);
                return true;
            }
            [len, 0] | [0, len] => Some(CHUNKS - chunks(len.into())),
            _ => None,
        };
        let young = !desc.on_lru;
        if let Some(hole) = single.filter(|_| desc.hole == 0) {
            // A bud has 1 to `MAX_BUD / CHUNK` chunks, so `hole` is neither 0 nor `CHUNKS`.
            // CAST: Below `CHUNKS`.
            self.table[frame].hole = hole as u8;
            self.holes |= 1 << hole;
            // A bud that fills the hole makes the frame young, which is better done to one that is
            // young already: then both buds of a frame are of about the same age.
            if young {
                self.unbuddied[hole].push_first(&mut self.table, frame);
            } else {
                self.unbuddied[hole].push_last(&mut self.table, frame);
            }
        }
        if young {
            self.table[frame].on_lru = true;
            self.lru.push_last(&mut self.table, frame);
        }
        false
    }

    fn leave_unbuddied(&mut self, frame: u32) {
        let hole = usize::from(mem::take(&mut self.table[frame].hole));
        if hole != 0 {
            self.unbuddied[hole].remove(&mut self.table, frame);
            if self.unbuddied[hole].first().is_none() {
                self.holes &= !(1 << hole);
            }
        }
    }

    pub(super) fn leave_lru(&mut self, frame: u32) {
        if mem::take(&mut self.table[frame].on_lru) {
            self.lru.remove(&mut self.table, frame);
        }
    }

    /// Makes a frame that is on the LRU list the youngest there.
    pub(super) fn renew(&mut self, frame: u32) {
        self.leave_lru(frame);
        self.table[frame].on_lru = true;
        self.lru.push_last(&mut self.table, frame);
    }

    /// Makes a filled bud visible, with one reference, and its frame the youngest. The frame must
    /// be settled afterwards.
    pub(super) fn publish(&mut self, frame: u32, side: usize) {
        let desc = &mut self.table[frame];
        let len = desc.len[side];
        desc.refs[side] = 1;
        self.stats.buddied_count += u64::from(desc.refs[side ^ 1] != 0);
        self.stats.curr_zpages += 1;
        self.stats.curr_zbytes += u64::from(len);
        self.stats.cumul_zpages += 1;
        self.stats.cumul_zbytes += u64::from(len);
        self.cumul_chunks[chunks(len.into())] += 1;
        self.leave_lru(frame);
    }

    /// Takes away one reference to a bud, and the bud if it was the last. The frame must be settled
    /// afterwards.
    pub(super) fn unref(&mut self, frame: u32, side: usize) {
        let desc = &mut self.table[frame];
        let Some(left) = desc.refs[side].checked_sub(1) else {
            self.stats.stale += 1;
            return;
        };
        desc.refs[side] = left;
        if left == 0 {
            let len = mem::take(&mut desc.len[side]);
            self.stats.buddied_count -= u64::from(desc.refs[side ^ 1] != 0);
            self.stats.curr_zpages -= 1;
            self.stats.curr_zbytes -= u64::from(len);
        }
    }

    /// Settles a frame. If that leaves it empty, keeps it as a spare one or retires it.
    pub(super) fn settle_or_retire(&mut self, frame: u32) -> Option<ReclaimableFrame> {
        if !self.settle(frame) {
            return None;
        }
        if self.stats.curr_zpages != 0 && self.spare.len < self.promised + self.keep {
            self.make_spare(frame);
            return None;
        }
        self.retire(frame)
    }

    /// Takes the page from a frame that is on no list. It must be dropped without the lock.
    pub(super) fn retire(&mut self, frame: u32) -> Option<ReclaimableFrame> {
        let page = self.table[frame].frame.take();
        self.stats.curr_raw_pages -= u64::from(page.is_some());
        self.free.push_first(&mut self.table, frame);
        page
    }

    /// Sets the limit, which is never above the highest.
    pub(super) fn set_limit(&mut self, frames: usize) {
        self.limit = u32::try_from(frames).map_or(self.max, |frames| frames.min(self.max));
    }

    /// Frames that hold a bud or are promised for one.
    pub(super) fn used(&self) -> usize {
        let idle = u64::from(self.spare.len - self.promised);
        // CAST: Lossless on 64 bits.
        (self.stats.curr_raw_pages - idle) as usize
    }

    /// Whether fewer than `enough` spare frames are not promised, and another one would stay:
    /// beyond what is kept, the next step of anybody would give it back.
    pub(super) fn lacks_spares(&self, enough: u32) -> bool {
        self.spare.len < self.promised + enough.min(self.spares_wanted())
    }

    /// Spare frames to keep now beyond the promised ones.
    pub(super) fn spares_wanted(&self) -> u32 {
        if self.stats.curr_zpages == 0 {
            0
        } else {
            self.keep.max(1)
        }
    }

    /// Whether a spare frame is not promised to anyone.
    pub(super) fn has_idle(&self) -> bool {
        self.spare.len > self.promised
    }

    /// Retires a spare frame if there are more than `idle` that are not promised.
    pub(super) fn retire_spare(&mut self, idle: u32) -> Option<ReclaimableFrame> {
        // No overflow: both numbers count frames or tasks.
        if self.spare.len > self.promised + idle {
            let frame = self.spare.pop_first(&mut self.table)?;
            self.retire(frame)
        } else {
            None
        }
    }

    /// Frames owned, and those that are being allocated.
    pub(super) fn claimed(&self) -> u64 {
        self.stats.curr_raw_pages + u64::from(self.growing)
    }

    /// Adds free descriptors. If the table is full, the segment comes back.
    pub(super) fn add_segment(&mut self, segment: KBox<Segment>) -> Option<KBox<Segment>> {
        let start = self.table.len();
        if let Err(error) = self.table.segments.push_within_capacity(segment) {
            return Some(error.0);
        }
        // The lowest number first.
        for frame in (start..self.table.len()).rev() {
            // CAST: Below 2^31, see `Lists::room`.
            self.free.push_first(&mut self.table, frame as u32);
        }
        None
    }

    /// Adds a spare frame. If there is no descriptor for it, it comes back.
    pub(super) fn add_frame(&mut self, page: ReclaimableFrame) -> Option<ReclaimableFrame> {
        let Some(frame) = self.free.pop_first(&mut self.table) else {
            return Some(page);
        };
        self.table[frame].frame = Some(page);
        self.stats.curr_raw_pages += 1;
        self.make_spare(frame);
        None
    }

    /// Makes a frame spare that is empty and on no list.
    pub(super) fn make_spare(&mut self, frame: u32) {
        self.spare.push_first(&mut self.table, frame);
    }

    /// Pins a frame that has room for a bud of `len` bytes, and sets the room apart for it: in the
    /// smallest hole that is large enough, or else in a spare frame. If `promised`, this uses up a
    /// promise of the caller's.
    pub(super) fn place(
        &mut self,
        len: usize,
        back: BackRef,
        group: Group,
        promised: bool,
    ) -> Option<Place> {
        let fits = self.holes & (!0 << chunks(len));
        let frame = match fits {
            0 if promised || self.has_idle() => self.spare.first()?,
            0 => return None,
            // CAST: At most 63.
            fits => self.unbuddied[fits.trailing_zeros() as usize].first()?,
        };
        let bytes = self.table[frame].frame.as_ref()?.bytes();
        // Cannot fail: frames on these lists are not pinned.
        self.pin(frame).ok()?;
        if fits == 0 {
            self.spare.remove(&mut self.table, frame);
        }
        self.promised -= u32::from(promised);

        let desc = &mut self.table[frame];
        let side = usize::from(desc.len[0] != 0);
        desc.back[side] = back;
        desc.groups[side] = group;
        // CAST: At most `MAX_BUD`, which a `u16` can hold for any page size up to 64 KiB.
        desc.len[side] = len as u16;
        Some(Place {
            bytes,
            range: desc.range(side),
            bud: Bud::new(frame, side),
        })
    }
}

/// Room set apart for a bud, in a pinned frame.
pub(super) struct Place {
    pub(super) bytes: FrameBytes,
    pub(super) range: Range<usize>,
    pub(super) bud: Bud,
}
