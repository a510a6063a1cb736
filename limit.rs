// SPDX-License-Identifier: GPL-2.0

//! How many frames there may be, and what is taken once they are there.
//!
//! For frames from which nothing is evicted to make room: those of swapped pages. Such a half is
//! full until somebody wants a page back, and one page that goes would let one in: each page would
//! go to the swap device or not by chance, its neighbours elsewhere, and each swap-in would be
//! followed by another try to allocate. So there is a gap. Once the limit was reached, no frame is
//! added until one in [`GAP_ONE_IN`] of them are gone. What fits the holes in the frames that are
//! there is taken all the while: it costs no memory.
//!
//! zswap opens again at 90 % of its limit (`accept_threshold_percent`), because it writes pages
//! back meanwhile. Here that is done only when slots or memory run out (`mm/frontswap.c`), whatever
//! the limit, and all that lies in the gap is lost to the half, so this gap is small: 1.6 %. On a
//! guest of 128 MiB it is 1 MiB, what reclaim needs for about 18 batches.
//!
//! Frames of file pages need no gap. A full half does not refuse, it replaces; and frames that
//! become empty stay with it (`policy::keep`).

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// So large is the gap: one in so many of the frames that are allowed.
const GAP_ONE_IN: usize = 64;

/// What may be taken for a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Another frame.
    Frame,
    /// A place in the frames that are there.
    Hole,
    /// Nothing: there are more frames than are allowed.
    Nothing,
}

/// A limit that can be changed at any time.
///
/// Any context. Two processors that ask at once may both hear that there is room for the last
/// frame; who allocates it has to look again.
pub(crate) struct Limit {
    frames: Atomic<usize>,
    /// It was reached, and the gap is not free yet.
    full: Atomic<bool>,
}

impl Limit {
    /// A limit of so many frames.
    pub(crate) fn new(frames: usize) -> Self {
        Self {
            frames: Atomic::new(frames),
            full: Atomic::new(false),
        }
    }

    /// Frames allowed.
    pub(crate) fn frames(&self) -> usize {
        self.frames.load(Relaxed)
    }

    /// Allows so many frames from now on. A limit that is raised has room at once.
    pub(crate) fn set(&self, frames: usize) {
        if frames > self.frames() {
            self.full.store(false, Relaxed);
        }
        self.frames.store(frames, Relaxed);
    }

    /// What may be taken where `held` frames are.
    pub(crate) fn room(&self, held: usize) -> Room {
        let frames = self.frames();
        let full = held >= frames
            || self.full.load(Relaxed) && held > frames - frames.div_ceil(GAP_ONE_IN);
        if full != self.full.load(Relaxed) {
            self.full.store(full, Relaxed);
        }
        match full {
            _ if held > frames => Room::Nothing,
            true => Room::Hole,
            false => Room::Frame,
        }
    }
}

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
#[kernel::macros::kunit_tests(zcache_limit)]
mod tests {
    use super::*;

    /// Every way of one limit: filled up to it, and then emptied, with each point of return.
    #[test]
    fn once_full_there_is_no_frame_until_the_gap_is_free() {
        for frames in 0..200_usize {
            let opens = frames.saturating_sub(frames.div_ceil(GAP_ONE_IN));
            for turn in 0..=frames {
                let limit = Limit::new(frames);
                for held in 0..frames {
                    assert_eq!(limit.room(held), Room::Frame);
                }
                assert_eq!(limit.room(frames), Room::Hole);
                for held in (turn..frames).rev() {
                    let expected = match held > opens {
                        true => Room::Hole,
                        false => Room::Frame,
                    };
                    assert_eq!(limit.room(held), expected);
                }
                // On the way back it is as it was at the point of return.
                for held in turn..frames {
                    let expected = match turn > opens {
                        true => Room::Hole,
                        false => Room::Frame,
                    };
                    assert_eq!(limit.room(held), expected);
                }
                assert_eq!(limit.room(frames), Room::Hole);
            }
        }
    }

    /// Every change from one limit to another, with every number of frames held.
    #[test]
    fn a_limit_that_changes() {
        for (from, to) in (0..80).flat_map(|from| (0..80).map(move |to| (from, to))) {
            for held in 0..=from {
                let limit = Limit::new(from);
                limit.room(held);
                limit.set(to);
                assert_eq!(limit.frames(), to);
                let opens = to - to.div_ceil(GAP_ONE_IN);
                let expected = match held {
                    _ if held > to => Room::Nothing,
                    // Only what was full and is now so, too: what was raised has room at once.
                    _ if held == to => Room::Hole,
                    _ => Room::Frame,
                };
                assert_eq!(limit.room(held), expected);
                // Above a lowered limit, and then below: the gap counts.
                if held > to {
                    for less in (0..held).rev() {
                        let expected = match less {
                            _ if less > to => Room::Nothing,
                            _ if less > opens || less == to => Room::Hole,
                            _ => Room::Frame,
                        };
                        assert_eq!(limit.room(less), expected);
                    }
                }
            }
        }
    }

    #[test]
    fn huge_limits() {
        let limit = Limit::new(usize::MAX);
        assert_eq!(limit.room(usize::MAX - 1), Room::Frame);
        assert_eq!(limit.room(usize::MAX), Room::Hole);
        assert_eq!(limit.room(usize::MAX - 1), Room::Hole);
        assert_eq!(limit.room(0), Room::Frame);
    }
}
