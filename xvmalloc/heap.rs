// SPDX-License-Identifier: GPL-2.0

//! What [`Xvmalloc`](super::Xvmalloc) knows about its frames: runs, and the holes by size.
//!
//! How frames are emptied is in `compact.rs`. Everything here but [`Heap::new`] runs under the lock
//! of that type, and neither allocates or frees memory nor touches the content of a frame.

use super::{
    Parcel,
    Stats,
    GRAIN,
    GRAINS,
    MIN_PIECE,
    RUNS_EACH,
    SLACK, //
};
use crate::{
    frame::{
        Frame,
        FrameBytes, //
    },
    segments, //
};
use core::ops::{
    Index,
    IndexMut,
    Range, //
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};

/// No run, no slot: the end of a list.
pub(super) const NIL: u32 = u32::MAX;

/// What a run is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The record stands for no run. `next` is another such record.
    Unused { next: u32 },
    /// Free, with its neighbours on the list of holes of its size.
    Hole { prev: u32, next: u32 },
    /// A parcel, or its first piece.
    Head {
        /// References. 0 also while it is being filled: then nobody can know its name.
        refs: u16,
        /// Users that rely on the memory without holding the lock.
        pins: u16,
        /// Length of the parcel in bytes.
        bytes: u16,
        /// The run with the second piece, or [`NIL`].
        rest: u32,
    },
    /// The second piece of the parcel in run `head`; [`NIL`] until that is settled.
    Rest { head: u32 },
    /// Free, but not to be had: its frame is being emptied.
    Closed,
}

/// A used run that is not yet said what for.
const TAKEN: State = State::Rest { head: NIL };

/// A stretch of a frame. The runs of a frame cover it without gaps, and no two holes touch.
pub(super) struct Run {
    /// The slot of the frame.
    pub(super) frame: u32,
    /// The runs around it in the frame.
    pub(super) before: u32,
    pub(super) after: u32,
    /// In grains. `start + len` is at most [`GRAINS`].
    pub(super) start: u16,
    pub(super) len: u16,
    /// Goes up with each parcel that had its name here: so an old name is known as such.
    pub(super) age: u16,
    pub(super) state: State,
}

// 1.3 runs a parcel, or so: see `Documentation/design.rst` for what was measured.
static_assert!(size_of::<Run>() == 32);

/// A place for a frame.
pub(super) struct Slot {
    /// None while the slot is unused.
    pub(super) frame: Option<Frame>,
    /// The first run of the frame. If it has none, the next slot on the list of spare frames, or
    /// of unused slots.
    pub(super) next: u32,
    /// Grains that are not in holes.
    pub(super) used: u16,
}

/// Runs in a segment of the table: one page of them.
pub(super) const RUNS: usize = PAGE_SIZE / size_of::<Run>();

/// Slots in a segment of the table: one page of them.
pub(super) const SLOTS: usize = PAGE_SIZE / size_of::<Slot>();

/// Records in segments, so that growing moves none and allocates nothing large.
///
/// Indexed by number; never shrinks, so a number that was once valid remains so.
pub(super) struct Table<T, const N: usize> {
    pub(super) segments: KVVec<KBox<[T; N]>>,
}

impl<T, const N: usize> Table<T, N> {
    /// An empty table of at most that many segments. May sleep.
    fn new(most: usize) -> Result<Self> {
        Ok(Self {
            segments: segments::with_room(most)?,
        })
    }

    /// Records, used and unused.
    pub(super) fn len(&self) -> usize {
        self.segments.len() * N
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.segments.len() * size_of::<[T; N]>()
            + self.segments.capacity() * size_of::<KBox<[T; N]>>()
    }
}

impl<T, const N: usize> Index<u32> for Table<T, N> {
    type Output = T;

    // PANIC: Numbers come from `Heap::live`, which checks them, or out of another record, where
    // there are only those of records that exist; `NIL` is compared with before.
    fn index(&self, number: u32) -> &T {
        // CAST: `u32` to `usize` is lossless on 64 bits.
        &self.segments[number as usize / N][number as usize % N]
    }
}

impl<T, const N: usize> IndexMut<u32> for Table<T, N> {
    // PANIC: As for `index`.
    fn index_mut(&mut self, number: u32) -> &mut T {
        // CAST: As for `index`.
        &mut self.segments[number as usize / N][number as usize % N]
    }
}

/// A singly linked list of records that are of no use now.
pub(super) struct Chain {
    pub(super) first: u32,
    pub(super) len: u32,
}

impl Chain {
    const fn new() -> Self {
        Self { first: NIL, len: 0 }
    }
}

/// Which sizes of holes there are, in two levels of bits: a find looks at three words at most.
pub(super) struct Sizes {
    /// Bit `n % 64` of word `n / 64`: there is a hole of `n` grains.
    pub(super) words: [u64; GRAINS / 64],
    /// Bit `n`: word `n` is not zero.
    pub(super) top: u64,
}

// `top` has a bit for each word, and one to shift beyond.
static_assert!(GRAINS / 64 < 64);

impl Sizes {
    fn set(&mut self, size: usize) {
        self.words[size / 64] |= 1 << (size % 64);
        self.top |= 1 << (size / 64);
    }

    fn clear(&mut self, size: usize) {
        let word = &mut self.words[size / 64];
        *word &= !(1 << (size % 64));
        if *word == 0 {
            self.top &= !(1 << (size / 64));
        }
    }

    /// The smallest size that is `size` or more.
    pub(super) fn from(&self, size: usize) -> Option<usize> {
        let word = size / 64;
        let near = self.words.get(word)? & (!0 << (size % 64));
        if near != 0 {
            // CAST: Below 64, here and below.
            return Some(word * 64 + near.trailing_zeros() as usize);
        }
        let far = self.top & (!0 << (word + 1));
        if far == 0 {
            return None;
        }
        let word = far.trailing_zeros() as usize;
        Some(word * 64 + self.words[word].trailing_zeros() as usize)
    }

    /// The largest size that is below `size`.
    fn below(&self, size: usize) -> Option<usize> {
        let word = size / 64;
        // CAST: Below 64, here and below.
        let near = self.words.get(word).copied().unwrap_or(0) & !(!0 << (size % 64));
        if let Some(bit) = near.checked_ilog2() {
            return Some(word * 64 + bit as usize);
        }
        let word = (self.top & !(!0 << word)).checked_ilog2()? as usize;
        Some(word * 64 + self.words[word].checked_ilog2()? as usize)
    }
}

/// A stretch of memory of a parcel.
pub(super) struct Piece {
    pub(super) bytes: FrameBytes,
    /// Bytes of the frame. Ends at or before [`PAGE_SIZE`].
    pub(super) range: Range<usize>,
}

/// Where a pinned parcel lies.
pub(super) struct Place {
    /// The run of the first piece.
    pub(super) number: u32,
    pub(super) first: Piece,
    pub(super) rest: Option<Piece>,
}

/// Everything under the lock.
pub(super) struct Heap {
    pub(super) runs: Table<Run, RUNS>,
    pub(super) slots: Table<Slot, SLOTS>,
    /// Records of runs that stand for none.
    pub(super) unused_runs: Chain,
    /// Slots without a frame.
    pub(super) unused_slots: Chain,
    /// Frames without a run.
    pub(super) spare: Chain,
    /// The first hole of each size.
    pub(super) holes: KVec<u32>,
    pub(super) sizes: Sizes,
    /// Reservations of a spare frame, and of [`RUNS_EACH`] records. Those that wait for an
    /// allocation count already.
    pub(super) promised: u32,
    pub(super) promised_runs: u32,
    /// Frames that become empty are kept as spare ones up to this number.
    pub(super) keep: u32,
    /// Frames being allocated.
    pub(super) growing: u32,
    /// Frames allowed.
    pub(super) limit: u32,
    /// The highest limit for which the tables have room.
    pub(super) max: u32,
    /// Whether somebody is emptying frames, and the slot to look at next.
    pub(super) compacting: bool,
    pub(super) cursor: u32,
    pub(super) stats: Stats,
}

/// What the tables need for some number of frames.
pub(super) struct Capacity {
    /// The frames.
    pub(super) frames: u32,
    /// Segments of the table of slots.
    pub(super) slots: usize,
    /// Segments of the table of runs.
    pub(super) runs: usize,
}

impl Capacity {
    /// For at most `max` frames with `runs` runs each on average.
    pub(super) fn of(max: usize, runs: usize) -> Self {
        // No record may have the number `NIL`.
        let most = (1 << 31) - RUNS.max(SLOTS);
        let max = max.min(most);
        Self {
            // CAST: Below 2^31.
            frames: max as u32,
            slots: max.div_ceil(SLOTS),
            runs: max.saturating_mul(runs).min(most).div_ceil(RUNS),
        }
    }
}

impl Heap {
    /// For at most `max` frames with `runs` runs each on average. May sleep.
    pub(super) fn new(max: usize, runs: usize) -> Result<Self> {
        let room = Capacity::of(max, runs);
        Ok(Self {
            runs: Table::new(room.runs)?,
            slots: Table::new(room.slots)?,
            unused_runs: Chain::new(),
            unused_slots: Chain::new(),
            spare: Chain::new(),
            holes: KVec::from_elem(NIL, GRAINS, GFP_KERNEL)?,
            sizes: Sizes {
                words: [0; GRAINS / 64],
                top: 0,
            },
            promised: 0,
            promised_runs: 0,
            keep: 0,
            growing: 0,
            limit: room.frames,
            max: room.frames,
            compacting: false,
            cursor: 0,
            stats: Stats::default(),
        })
    }

    /// Bytes of memory besides the frames.
    pub(super) fn bytes(&self) -> usize {
        self.runs.bytes() + self.slots.bytes() + self.holes.capacity() * size_of::<u32>()
    }

    /// Frames owned, and those that are being allocated.
    pub(super) fn claimed(&self) -> u64 {
        self.stats.frames + u64::from(self.growing)
    }

    /// Whether a spare frame is not promised to anyone.
    pub(super) fn has_idle(&self) -> bool {
        self.spare.len > self.promised
    }

    /// Whether there are too few records of runs for those to whom some were promised.
    pub(super) fn lacks_runs(&self) -> bool {
        self.unused_runs.len < self.promised_runs * RUNS_EACH
    }

    /// Spare frames to keep now beyond the promised ones.
    pub(super) fn spares_wanted(&self) -> u32 {
        if self.stats.pages == 0 {
            0
        } else {
            self.keep.max(1)
        }
    }

    // Records.

    /// Adds unused records. If the table is full, the segment comes back.
    pub(super) fn add_runs(&mut self, segment: KBox<[Run; RUNS]>) -> Option<KBox<[Run; RUNS]>> {
        let start = self.runs.len();
        if let Err(error) = self.runs.segments.push_within_capacity(segment) {
            return Some(error.0);
        }
        // The lowest number first. CAST: Below 2^31, see `Capacity::of`.
        for number in (start..self.runs.len()).rev() {
            self.drop_run(number as u32);
        }
        None
    }

    /// As [`Heap::add_runs`], for slots.
    pub(super) fn add_slots(
        &mut self,
        segment: KBox<[Slot; SLOTS]>,
    ) -> Option<KBox<[Slot; SLOTS]>> {
        let start = self.slots.len();
        if let Err(error) = self.slots.segments.push_within_capacity(segment) {
            return Some(error.0);
        }
        // CAST: As for `add_runs`.
        for number in (start..self.slots.len()).rev() {
            push(&mut self.unused_slots, &mut self.slots, number as u32);
        }
        None
    }

    /// Makes a run out of a record. [`None`] without a reservation only.
    fn new_run(&mut self, run: Run) -> Option<u32> {
        let number = self.unused_runs.first;
        if number == NIL {
            return None;
        }
        let State::Unused { next } = self.runs[number].state else {
            return None;
        };
        self.unused_runs.first = next;
        self.unused_runs.len -= 1;
        let age = self.runs[number].age;
        self.runs[number] = Run { age, ..run };
        Some(number)
    }

    /// Ends a run that is on no list. Its record is unused from now on.
    fn drop_run(&mut self, number: u32) {
        self.runs[number].state = State::Unused {
            next: self.unused_runs.first,
        };
        self.unused_runs.first = number;
        self.unused_runs.len += 1;
    }

    // Frames.

    /// Adds a spare frame. If there is no slot for it, it comes back.
    pub(super) fn add_frame(&mut self, page: Frame) -> Option<Frame> {
        let Some(slot) = pop(&mut self.unused_slots, &self.slots) else {
            return Some(page);
        };
        self.slots[slot].frame = Some(page);
        push(&mut self.spare, &mut self.slots, slot);
        self.stats.frames += 1;
        None
    }

    /// Takes a spare frame away if there are more than are promised and wanted. It must be dropped
    /// without the lock.
    pub(super) fn surplus(&mut self, wanted: u32) -> Option<Frame> {
        // No overflow: both numbers count frames or tasks.
        if self.spare.len <= self.promised + wanted {
            return None;
        }
        let slot = pop(&mut self.spare, &self.slots)?;
        let page = self.slots[slot].frame.take();
        push(&mut self.unused_slots, &mut self.slots, slot);
        self.stats.frames -= u64::from(page.is_some());
        page
    }

    /// Makes a spare frame one hole, which is not listed. [`None`] without a reservation only.
    fn open(&mut self) -> Option<u32> {
        let slot = pop(&mut self.spare, &self.slots)?;
        let whole = self.new_run(Run {
            frame: slot,
            before: NIL,
            after: NIL,
            start: 0,
            // CAST: Fits, see `GRAINS`.
            len: GRAINS as u16,
            age: 0,
            state: TAKEN,
        });
        match whole {
            Some(number) => self.slots[slot].next = number,
            None => push(&mut self.spare, &mut self.slots, slot),
        }
        whole
    }

    // Holes.

    /// Puts a hole on the list of its size.
    fn list(&mut self, number: u32) {
        let size = usize::from(self.runs[number].len);
        let next = self.holes[size];
        self.runs[number].state = State::Hole { prev: NIL, next };
        if next == NIL {
            self.sizes.set(size);
        } else if let State::Hole { prev, .. } = &mut self.runs[next].state {
            *prev = number;
        }
        self.holes[size] = number;
        self.stats.holes += 1;
        self.stats.hole_bytes += (size * GRAIN) as u64;
    }

    /// Takes a hole off its list, if that run is one. What it then is, the caller says.
    pub(super) fn unlist(&mut self, number: u32) -> bool {
        let State::Hole { prev, next } = self.runs[number].state else {
            return false;
        };
        if next != NIL {
            if let State::Hole { prev: back, .. } = &mut self.runs[next].state {
                *back = prev;
            }
        }
        let size = usize::from(self.runs[number].len);
        if prev == NIL {
            self.holes[size] = next;
            if next == NIL {
                self.sizes.clear(size);
            }
        } else if let State::Hole { next: on, .. } = &mut self.runs[prev].state {
            *on = next;
        }
        self.stats.holes -= 1;
        self.stats.hole_bytes -= (size * GRAIN) as u64;
        true
    }

    /// Takes the first hole of a size off its list.
    pub(super) fn take_hole(&mut self, size: usize) -> Option<u32> {
        let number = self.holes.get(size).copied().filter(|&hole| hole != NIL)?;
        self.unlist(number).then_some(number)
    }

    /// Makes the start of a hole that is not listed a used run of `len` grains, and what is left
    /// another hole.
    pub(super) fn carve(&mut self, number: u32, len: usize) {
        let Run {
            frame,
            after,
            start,
            len: whole,
            ..
        } = self.runs[number];
        let left = usize::from(whole) - len;
        self.runs[number].state = TAKEN;
        self.slots[frame].used += whole;
        if left < SLACK {
            return;
        }
        let hole = self.new_run(Run {
            frame,
            before: number,
            after,
            // CAST: Both are at most `whole`.
            start: start + len as u16,
            len: left as u16,
            age: 0,
            state: TAKEN,
        });
        // There is always a record, by the reservation. If not, the parcel has the rest as well.
        if let Some(hole) = hole {
            self.runs[number].len = len as u16;
            self.runs[number].after = hole;
            self.slots[frame].used -= left as u16;
            if after != NIL {
                self.runs[after].before = hole;
            }
            self.list(hole);
        }
    }

    /// Makes a used run a hole, one with the holes before and after it. If that is all of the
    /// frame, the frame is a spare one from now on, and this returns true.
    pub(super) fn release(&mut self, number: u32) -> bool {
        let Run { frame, len, .. } = self.runs[number];
        self.slots[frame].used -= len;
        let next = self.runs[number].after;
        if next != NIL && self.unlist(next) {
            self.merge(number, next);
        }
        let prev = self.runs[number].before;
        let mut hole = number;
        if prev != NIL && self.unlist(prev) {
            self.merge(prev, number);
            hole = prev;
        }
        let empty = usize::from(self.runs[hole].len) == GRAINS;
        if empty {
            self.drop_run(hole);
            push(&mut self.spare, &mut self.slots, frame);
        } else {
            self.list(hole);
        }
        empty
    }

    /// Makes two neighbours one. None of them is on a list.
    fn merge(&mut self, low: u32, high: u32) {
        let Run { after, len, .. } = self.runs[high];
        self.runs[low].len += len;
        self.runs[low].after = after;
        if after != NIL {
            self.runs[after].before = low;
        }
        self.drop_run(high);
    }

    // Parcels.

    /// The longest parcel that holes alone have room for, in bytes. A promise for none.
    pub(super) fn room(&self) -> usize {
        let Some(first) = self.sizes.below(GRAINS) else {
            return 0;
        };
        let twice = match self.runs[self.holes[first]].state {
            State::Hole { next, .. } => next != NIL,
            _ => false,
        };
        let second = match twice {
            true => first,
            false => self.sizes.below(first).unwrap_or(0),
        };
        match first >= MIN_PIECE {
            true => (first + second) * GRAIN,
            false => first * GRAIN,
        }
    }

    /// Sets room apart for `bytes`, and pins it: in the smallest hole that is large enough; else in
    /// the largest one and the smallest that takes the rest; and if there is no such pair, in a
    /// spare frame, after what the largest hole takes. Uses up a promise of the caller's: of
    /// records, and of a frame if `frame` says so. Without one, it may find no room.
    pub(super) fn place(&mut self, bytes: usize, frame: bool) -> Option<Place> {
        let found = self.find(bytes.div_ceil(GRAIN), frame);
        self.promised_runs -= 1;
        self.promised -= u32::from(frame);
        let (number, rest) = found?;
        self.runs[number].state = State::Head {
            refs: 0,
            pins: 1,
            // CAST: Less than a frame.
            bytes: bytes as u16,
            rest,
        };
        if rest != NIL {
            self.runs[rest].state = State::Rest { head: number };
        }
        self.stats.pages += 1;
        self.stats.bytes += bytes as u64;
        self.stats.split += u64::from(rest != NIL);
        self.stats.ever_pages += 1;
        self.stats.ever_bytes += bytes as u64;
        self.pieces(number)
    }

    /// One used run for `need` grains, or two.
    fn find(&mut self, need: usize, frame: bool) -> Option<(u32, u32)> {
        if let Some(size) = self.sizes.from(need) {
            let hole = self.take_hole(size)?;
            self.carve(hole, need);
            return Some((hole, NIL));
        }
        let largest = self.sizes.below(GRAINS).filter(|&size| size >= MIN_PIECE);
        let Some(most) = largest else {
            let whole = frame.then(|| self.open()).flatten()?;
            self.carve(whole, need);
            return Some((whole, NIL));
        };
        let first = self.take_hole(most)?;
        let left = need - most;
        let rest = match self.sizes.from(left) {
            Some(size) => self.take_hole(size),
            None if frame => self.open(),
            None => None,
        };
        let Some(rest) = rest else {
            self.list(first);
            return None;
        };
        self.carve(first, most);
        self.carve(rest, left);
        Some((first, rest))
    }

    /// Where the pieces of a parcel are. The caller has it pinned.
    pub(super) fn pieces(&self, number: u32) -> Option<Place> {
        let State::Head { bytes, rest, .. } = self.runs[number].state else {
            return None;
        };
        let bytes = usize::from(bytes);
        let within = bytes.min(usize::from(self.runs[number].len) * GRAIN);
        let rest = match rest {
            NIL => None,
            rest => Some(self.piece(rest, bytes - within)?),
        };
        Some(Place {
            number,
            first: self.piece(number, within)?,
            rest,
        })
    }

    pub(super) fn piece(&self, number: u32, bytes: usize) -> Option<Piece> {
        let run = &self.runs[number];
        let start = usize::from(run.start) * GRAIN;
        Some(Piece {
            bytes: self.slots[run.frame].frame.as_ref()?.bytes(),
            range: start..start + bytes,
        })
    }

    /// The run of the parcel of that name. One that does not exist is counted.
    pub(super) fn live(&mut self, parcel: Parcel) -> Option<u32> {
        let number = parcel.number();
        // CAST: Lossless on 64 bits.
        if (number as usize) < self.runs.len() {
            let run = &self.runs[number];
            let held = matches!(run.state, State::Head { refs, .. } if refs != 0);
            if held && Parcel::new(number, run.age) == parcel {
                return Some(number);
            }
        }
        self.stats.stale += 1;
        None
    }

    /// Takes one more reference to a parcel.
    pub(super) fn get_ref(&mut self, parcel: Parcel) -> Result {
        let number = self.live(parcel).ok_or(EINVAL)?;
        if let State::Head { refs, .. } = &mut self.runs[number].state {
            *refs = refs.checked_add(1).ok_or(EOVERFLOW)?;
        }
        Ok(())
    }

    /// Keeps the memory of a parcel from being given out anew, and says where it is.
    pub(super) fn pin(&mut self, parcel: Parcel) -> Result<Place> {
        let number = self.live(parcel).ok_or(EINVAL)?;
        if let State::Head { pins, .. } = &mut self.runs[number].state {
            *pins = pins.checked_add(1).ok_or(EBUSY)?;
        }
        self.pieces(number).ok_or(EINVAL)
    }

    /// Undoes the pin of [`Heap::place`], and gives out the one reference.
    pub(super) fn publish(&mut self, number: u32) -> Parcel {
        if let State::Head { refs, pins, .. } = &mut self.runs[number].state {
            (*refs, *pins) = (1, *pins - 1);
        }
        Parcel::new(number, self.runs[number].age)
    }

    /// Undoes one [`Heap::pin`].
    pub(super) fn unpin(&mut self, number: u32) {
        if let State::Head { pins, .. } = &mut self.runs[number].state {
            *pins -= 1;
        }
        self.settle(number);
    }

    /// Takes away one reference to a parcel.
    pub(super) fn unref(&mut self, parcel: Parcel) {
        let Some(number) = self.live(parcel) else {
            return;
        };
        if let State::Head { refs, .. } = &mut self.runs[number].state {
            *refs -= 1;
        }
        self.settle(number);
    }

    /// Frees a parcel if nobody has a reference to it or a pin.
    fn settle(&mut self, number: u32) {
        let State::Head {
            refs: 0,
            pins: 0,
            bytes,
            rest,
        } = self.runs[number].state
        else {
            return;
        };
        let run = &mut self.runs[number];
        run.age = run.age.wrapping_add(1);
        self.stats.pages -= 1;
        self.stats.bytes -= u64::from(bytes);
        self.release(number);
        if rest != NIL {
            self.stats.split -= 1;
            self.release(rest);
        }
    }
}

fn push(chain: &mut Chain, slots: &mut Table<Slot, SLOTS>, slot: u32) {
    slots[slot].next = chain.first;
    chain.first = slot;
    chain.len += 1;
}

fn pop(chain: &mut Chain, slots: &Table<Slot, SLOTS>) -> Option<u32> {
    let slot = (chain.first != NIL).then_some(chain.first)?;
    chain.first = slots[slot].next;
    chain.len -= 1;
    Some(slot)
}
