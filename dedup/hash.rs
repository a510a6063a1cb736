// SPDX-License-Identifier: GPL-2.0

//! The hash that equal pages are found by.
//!
//! It decides nothing: pages of one hash are compared. It has to be fast, since every put pays for
//! it, and nobody may be able to make pages that collide, since they would queue up in one chain.
//! So it is keyed with random numbers that never leave the kernel. Multiplications of 64 by 64 bits
//! do the mixing: eight independent chains of them, 16 words a round, keep the multiplier busy.

use crate::{
    random,
    tmem::PageBytes, //
};

/// Chains of multiplications that run side by side.
const LANES: usize = 8;

/// Bytes that all of them take in one round.
const ROUND: usize = LANES * 2 * size_of::<u64>();

/// A secret that makes a hash function of this file's method.
pub(super) struct Key {
    lanes: [u64; LANES],
    last: [u64; LANES],
}

impl Key {
    /// A key that nobody knows. Does not sleep.
    pub(super) fn random() -> Self {
        let mut key = Self {
            lanes: [0; LANES],
            last: [0; LANES],
        };
        random::fill_words(&mut key.lanes);
        random::fill_words(&mut key.last);
        key
    }

    /// The hash of a page. `scope` makes as many functions of the key as there are numbers.
    pub(super) fn hash(&self, page: &PageBytes, scope: u64) -> u64 {
        let mut sums = self.last;
        for round in page.chunks_exact(ROUND) {
            for (lane, sum) in sums.iter_mut().enumerate() {
                // PANIC: `lane` is below `LANES`.
                *sum = fold(
                    word(round, 2 * lane) ^ self.lanes[lane],
                    word(round, 2 * lane + 1) ^ *sum,
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
}

/// Word number `n` of `bytes`, which has it.
#[inline(always)]
fn word(bytes: &[u8], n: usize) -> u64 {
    let start = n * size_of::<u64>();
    match bytes.get(start..start + size_of::<u64>()) {
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
