// SPDX-License-Identifier: GPL-2.0

//! A checksum behind each stream, and damage on purpose; both for `CONFIG_ZCACHE_DEBUG` only.
//!
//! LZO1X has no checksum: a stream that was damaged may well decompress to one page, which is then
//! a wrong one. Memory does not do that often, and the page cache itself would not notice either;
//! but a bug in who owns a frame would look like it, and this tells.
//!
//! The boot word `zcache_corrupt` flips a bit in one of [`ONE_IN`] streams, to see that all damage
//! is found, and that it costs a miss and nothing else.

use crate::tmem::PageBytes;

#[cfg(CONFIG_ZCACHE_DEBUG)]
pub(crate) use self::real::*;

#[cfg(not(CONFIG_ZCACHE_DEBUG))]
pub(crate) use self::none::*;

#[cfg(CONFIG_ZCACHE_DEBUG)]
mod real {
    use super::PageBytes;
    use crate::setup::boot_word;
    use kernel::sync::atomic::{
        Atomic,
        Relaxed, //
    };

    boot_word! {
        /// Damages streams.
        static ZCACHE_CORRUPT: c"zcache_corrupt";
    }

    /// One in so many streams is damaged.
    const ONE_IN: u32 = 16;

    /// Bytes that a seal takes behind a stream.
    pub(crate) const BYTES: usize = 8;

    /// A hash in which every bit of the page counts.
    fn hash(page: &PageBytes) -> u64 {
        page.chunks_exact(8).fold(0x9e37_79b9, |sum: u64, word| {
            // PANIC: A chunk has eight bytes.
            let word = u64::from_le_bytes([
                word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7],
            ]);
            // The multiplier is odd, so that no step loses anything.
            (sum ^ word)
                .wrapping_mul(0x9fb2_1c65_1e98_df25)
                .rotate_left(29)
        })
    }

    /// Writes the seal of `page` into the last [`BYTES`] bytes of `stream`.
    pub(crate) fn close(page: &PageBytes, stream: &mut [u8]) {
        static TURN: Atomic<u32> = Atomic::new(0);
        if let Some(seal) = stream.last_chunk_mut::<BYTES>() {
            *seal = hash(page).to_le_bytes();
        }
        if ZCACHE_CORRUPT.given() {
            let turn = TURN.fetch_add(1, Relaxed);
            // CAST: Any number will do.
            let place = turn.wrapping_mul(2_654_435_761) as usize % stream.len().max(1);
            if turn % ONE_IN == 0 {
                if let Some(byte) = stream.get_mut(place) {
                    *byte ^= 1 << (turn / ONE_IN % 8);
                }
            }
        }
    }

    /// Takes the seal off a stream.
    pub(crate) fn open(stream: &[u8]) -> Option<(&[u8], [u8; BYTES])> {
        stream
            .split_last_chunk::<BYTES>()
            .map(|(stream, seal)| (stream, *seal))
    }

    /// Is `page` the one that was sealed?
    pub(crate) fn holds(seal: [u8; BYTES], page: &PageBytes) -> bool {
        hash(page).to_le_bytes() == seal
    }
}

#[cfg(not(CONFIG_ZCACHE_DEBUG))]
mod none {
    use super::PageBytes;

    /// Bytes that a seal takes behind a stream.
    pub(crate) const BYTES: usize = 0;

    /// Writes nothing.
    pub(crate) fn close(_page: &PageBytes, _stream: &mut [u8]) {}

    /// Takes nothing off a stream.
    pub(crate) fn open(stream: &[u8]) -> Option<(&[u8], [u8; BYTES])> {
        Some((stream, []))
    }

    /// Whatever the page is.
    pub(crate) fn holds(_seal: [u8; BYTES], _page: &PageBytes) -> bool {
        true
    }
}
