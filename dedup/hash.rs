// SPDX-License-Identifier: GPL-2.0

//! The hash that equal pages are found by.
//!
//! It decides nothing: pages of one hash are compared. Every put pays for it, so it has to be fast,
//! and a page that is put has not been used for long: what costs is to get it from memory. That
//! takes a microsecond for all of its 64 cache lines, while compression, which reads them one by
//! one, does not wait for them at all. So the hash takes [`LINES`] lines: the first one, which is
//! all that short files have, and one out of each eighth.
//!
//! Pages that differ in other lines only have one hash. They are told apart by a comparison, a few
//! of them; see `CANDIDATES`. Which lines count is secret and random, as is the key: nobody
//! can do more than make his own puts slower.

use crate::{
    random,
    tmem::PageBytes, //
};

use core::hint;

use kernel::page::PAGE_SIZE;

/// Bytes that are taken or left together.
const LINE: usize = 64;

/// Parts of the page of which each gives one line, beside the first line.
const PARTS: usize = 8;

/// Lines that are taken.
const LINES: usize = PARTS + 1;

/// Chains of multiplications that run side by side: each takes two words of every line.
const LANES: usize = LINE / (2 * size_of::<u64>());

/// A secret that makes a hash function of this file's method.
pub(super) struct Key {
    lanes: [u64; LANES],
    last: [u64; LANES],
    /// Where the lines start.
    starts: [usize; LINES],
}

impl Key {
    /// A key that nobody knows. Does not sleep.
    pub(super) fn random() -> Self {
        let mut key = Self {
            lanes: [0; LANES],
            last: [0; LANES],
            starts: [0; LINES],
        };
        random::fill_words(&mut key.lanes);
        random::fill_words(&mut key.last);
        let mut places = [0; PARTS];
        random::fill_words(&mut places);
        let lines = PAGE_SIZE / LINE / PARTS;
        for (part, (start, place)) in key.starts.iter_mut().skip(1).zip(places).enumerate() {
            // Not the first line again.
            let skip = usize::from(part == 0);
            // CAST: What is left after the division is far below 2^32.
            let line = skip + (place % (lines - skip) as u64) as usize;
            *start = (part * lines + line) * LINE;
        }
        key
    }

    /// For [`Key::hash`], soon: reads a byte of each line. They come from memory all at the same
    /// time, while the caller looks up other things.
    ///
    /// To prefetch them had less of that effect: what a put that found nothing took for that was
    /// 0.61 to 0.64 us, and 0.46 to 0.49 with this (an AMD EPYC, a guest of user-mode Linux, with
    /// nothing to look up in between).
    pub(super) fn read_ahead(&self, page: &PageBytes) {
        let mut all = 0;
        for start in self.starts {
            all ^= page.get(start).copied().unwrap_or(0);
        }
        hint::black_box(all);
    }

    /// The hash of a page. `scope` makes as many functions of the key as there are numbers.
    pub(super) fn hash(&self, page: &PageBytes, scope: u64) -> u64 {
        let mut sums = self.last;
        for start in self.starts {
            let line: &[u8; LINE] = match page.get(start..).and_then(<[u8]>::first_chunk) {
                Some(line) => line,
                None => continue,
            };
            for (lane, sum) in sums.iter_mut().enumerate() {
                // PANIC: `lane` is below `LANES`.
                *sum = fold(
                    word(line, 2 * lane) ^ self.lanes[lane],
                    word(line, 2 * lane + 1) ^ *sum,
                );
            }
        }
        // All that is left of each chain goes through two more multiplications.
        let mut hash = scope;
        for (lane, sum) in sums.iter().enumerate() {
            // PANIC: The first is below `LANES`, and so is the remainder.
            hash = fold(hash ^ self.last[lane], sum ^ self.lanes[(lane + 1) % LANES]);
        }
        fold(hash, self.lanes[0])
    }

    /// Whether the hash depends on this byte of the page.
    #[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
    pub(super) fn takes(&self, byte: usize) -> bool {
        self.starts
            .iter()
            .any(|start| (*start..start + LINE).contains(&byte))
    }
}

/// Word number `n` of a line, which has it.
#[inline(always)]
fn word(line: &[u8; LINE], n: usize) -> u64 {
    let start = n * size_of::<u64>();
    match line.get(start..start + size_of::<u64>()) {
        Some(word) => u64::from_ne_bytes(word.first_chunk().copied().unwrap_or_default()),
        None => 0,
    }
}

/// The product of two words, its upper half folded onto the lower one.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    // CAST: Both halves, one after the other.
    (product as u64) ^ ((product >> 64) as u64)
}
