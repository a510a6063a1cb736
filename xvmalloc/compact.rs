// SPDX-License-Identifier: GPL-2.0

//! Emptying frames: what is left in them moves into holes of others.
//!
//! A piece is copied without the lock, like all data. Meanwhile its parcel is pinned, and where it
//! goes is a used run that nobody knows. Then the two runs change places, if nobody else has come
//! to read: who reads relies on the old place. So a parcel keeps its record and with it its name.
//!
//! Holes of the frame are closed first, so that nothing is moved or put into them.

use super::{
    heap::{
        Heap,
        Piece,
        Run,
        State,
        NIL, //
    },
    Xvmalloc,
    GRAIN,
    GRAINS,
    RUNS_EACH,
    SLACK, //
};
use core::mem;

/// Frames of which the emptiest is taken.
const LOOK_AT: u32 = 32;

/// A frame is worth its emptying when so many grains of it, or fewer, are in use.
const WORTH: usize = GRAINS * 3 / 4;

/// Frames that turn out not to become empty, before a compaction gives up.
const TRIES: usize = 8;

/// One hole in so many frames' worth is normal, and no reason to move anything.
const NORMAL_ONE_IN: u64 = 8;

/// A piece on its way: as long as this exists, both places are its own.
pub(super) struct Move {
    from: Piece,
    to: Piece,
    /// The run to move, and the one that it changes places with.
    run: u32,
    target: u32,
    /// The run that has the counts of the parcel.
    head: u32,
}

impl Move {
    /// Copies the piece. Without the lock, between `begin_move` and `end_move`.
    pub(super) fn copy(&self) {
        let copy = |data: &[u8]| {
            // SAFETY:
            // - The frame is not freed: the target is a used run in it until `end_move`.
            // - The range ends within the page, see `with_data`, and has the length of `data`:
            //   `begin_move` made it so.
            // - Nobody else reads or writes it: runs are disjoint, and nobody knows this one.
            unsafe { self.to.bytes.write(self.to.range.start, data) };
        };
        // SAFETY: As for `with_data`: `begin_move` has seen a reference, and pinned the parcel.
        unsafe { self.from.bytes.read(self.from.range.clone(), copy) };
    }
}

impl Heap {
    /// Frames that could be had by emptying others, as far as one can tell.
    pub(super) fn compactable(&self) -> u64 {
        let grains = self.stats.hole_bytes / GRAIN as u64;
        let full = self.stats.frames - u64::from(self.spare.len);
        (grains / GRAINS as u64).saturating_sub(full / NORMAL_ONE_IN)
    }

    /// The emptiest of the next few frames, if what is in it fits the holes of others.
    fn choose(&mut self) -> Option<u32> {
        // CAST: Below 2^31.
        let slots = self.slots.len() as u32;
        let mut best = None;
        let mut seen = 0;
        for _ in 0..slots {
            if seen == LOOK_AT {
                break;
            }
            self.cursor = (self.cursor + 1) % slots;
            let used = usize::from(self.slots[self.cursor].used);
            if used == 0 {
                continue;
            }
            seen += 1;
            if used <= WORTH && best.is_none_or(|(least, _)| used < least) {
                best = Some((used, self.cursor));
            }
        }
        let (used, slot) = best?;
        let elsewhere = self.stats.hole_bytes / GRAIN as u64 - (GRAINS - used) as u64;
        (elsewhere >= used as u64).then_some(slot)
    }

    /// The first run of a frame from grain `from` on for which `wanted` holds.
    fn run_in(&self, slot: u32, from: u16, wanted: impl Fn(State) -> bool) -> Option<u32> {
        let mut at = self.slots[slot].next;
        while at != NIL {
            let run = &self.runs[at];
            if run.start >= from && wanted(run.state) {
                return Some(at);
            }
            at = run.after;
        }
        None
    }

    /// Takes the holes of a frame off their lists.
    pub(super) fn close(&mut self, slot: u32) {
        let hole = |state| matches!(state, State::Hole { .. });
        while let Some(number) = self.run_in(slot, 0, hole) {
            self.unlist(number);
            self.runs[number].state = State::Closed;
            self.slots[slot].used += self.runs[number].len;
        }
    }

    /// Makes what is closed in a frame holes again. Tells whether the frame is empty; it is then
    /// a spare one.
    pub(super) fn reopen(&mut self, slot: u32) -> bool {
        let closed = |state| state == State::Closed;
        while let Some(number) = self.run_in(slot, 0, closed) {
            if self.release(number) {
                return true;
            }
        }
        false
    }

    /// Pins the parcel of a run, and takes a hole for that piece. [`None`] if there is none, or if
    /// the parcel is in use.
    pub(super) fn begin_move(&mut self, run: u32) -> Option<Move> {
        let head = match self.runs[run].state {
            State::Head { .. } => run,
            State::Rest { head } if head != NIL => head,
            _ => return None,
        };
        let State::Head {
            refs: 1.., pins: 0, ..
        } = self.runs[head].state
        else {
            return None;
        };
        let place = self.pieces(head)?;
        let (from, exact) = match place.rest {
            None => (place.first, false),
            // The bytes of a head go on where its run ends.
            Some(_) if run == head => (place.first, true),
            Some(rest) => (rest, false),
        };
        // One record may be needed, and none that was promised to others.
        if self.unused_runs.len <= self.promised_runs * RUNS_EACH {
            return None;
        }
        let need = from.range.len().div_ceil(GRAIN);
        let mut size = self.sizes.from(need)?;
        if exact && size != need && size < need + SLACK {
            size = self.sizes.from(need + SLACK)?;
        }
        let target = self.take_hole(size)?;
        self.carve(target, need);
        let to = self.piece(target, from.range.len())?;
        self.set_pins(head, 1);
        Some(Move {
            from,
            to,
            run,
            target,
            head,
        })
    }

    /// The piece has been copied: from now on it is there, unless somebody reads it here.
    pub(super) fn end_move(&mut self, step: Move) {
        let alone = matches!(
            self.runs[step.head].state,
            State::Head {
                refs: 1..,
                pins: 1,
                ..
            }
        );
        if alone {
            self.exchange(step.run, step.target);
            self.runs[step.target].state = State::Closed;
        } else {
            self.release(step.target);
        }
        self.unpin(step.head);
    }

    fn set_pins(&mut self, head: u32, count: u16) {
        if let State::Head { pins, .. } = &mut self.runs[head].state {
            *pins = count;
        }
    }

    /// Two runs of different frames change places.
    fn exchange(&mut self, one: u32, other: u32) {
        let swap = |run: &mut Run, with: &mut Run| {
            mem::swap(&mut run.frame, &mut with.frame);
            mem::swap(&mut run.before, &mut with.before);
            mem::swap(&mut run.after, &mut with.after);
            mem::swap(&mut run.start, &mut with.start);
            mem::swap(&mut run.len, &mut with.len);
        };
        let mut held = Run {
            state: State::Closed,
            ..self.runs[other]
        };
        swap(&mut self.runs[one], &mut held);
        swap(&mut self.runs[other], &mut held);
        for number in [one, other] {
            let Run {
                frame,
                before,
                after,
                ..
            } = self.runs[number];
            match before {
                NIL => self.slots[frame].next = number,
                before => self.runs[before].after = number,
            }
            if after != NIL {
                self.runs[after].before = number;
            }
        }
    }
}

impl Xvmalloc {
    /// Frames that [`Xvmalloc::compact`] may give back. Does not sleep, and changes nothing.
    pub(crate) fn compactable(&self) -> usize {
        // CAST: At most 2^31.
        self.heap.lock().compactable() as usize
    }

    /// Empties up to `frames` frames into the holes of others, and gives them back to the system;
    /// returns how many. One task at a time does so. Does not sleep or allocate.
    pub(crate) fn compact(&self, frames: usize) -> usize {
        let mut heap = self.heap.lock();
        if mem::replace(&mut heap.compacting, true) {
            return 0;
        }
        drop(heap);
        let (mut done, mut tries) = (0, 0);
        while done < frames && tries < TRIES {
            match self.empty_one() {
                None => break,
                Some(true) => done += 1,
                Some(false) => tries += 1,
            }
        }
        self.heap.lock().compacting = false;
        done
    }

    /// Tries to empty the emptiest frame of a few. [`None`] if there is nothing to be gained.
    fn empty_one(&self) -> Option<bool> {
        let mut heap = self.heap.lock();
        if heap.compactable() == 0 {
            return None;
        }
        let slot = heap.choose()?;
        heap.close(slot);
        let used = |state| matches!(state, State::Head { .. } | State::Rest { .. });
        let mut from = 0;
        while let Some(run) = heap.run_in(slot, from, used) {
            from = heap.runs[run].start + heap.runs[run].len;
            let Some(step) = heap.begin_move(run) else {
                break;
            };
            drop(heap);

            step.copy();

            heap = self.heap.lock();
            heap.end_move(step);
        }
        let empty = heap.reopen(slot);
        heap.stats.compacted += u64::from(empty);
        // It is for the system, not for puts to come, of which others take care.
        let spare = heap.spare.len;
        let wanted = spare.saturating_sub(heap.promised + u32::from(empty));
        let page = heap.surplus(wanted);
        self.finish(heap);
        drop(page);
        Some(empty)
    }
}
