// SPDX-License-Identifier: GPL-2.0

//! Pages made small: a repeated word, or an LZO1X stream.

use kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};

use pin_init::Zeroable;

use crate::{
    lzo,
    seal,
    tmem::PageBytes,
    workspace::Workspaces, //
};

/// What compressing one page needs besides the page.
struct Scratch {
    lzo: lzo::Workspace,
    /// Where the stream goes: a page that does not shrink is not worth more.
    stream: PageBytes,
}

// SAFETY: An array of bytes may be zero, and so may the codec's dictionary of page offsets.
unsafe impl Zeroable for Scratch {}

/// The compressor, one workspace a processor.
pub(crate) struct Codec {
    scratch: Workspaces<Scratch>,
}

impl Codec {
    /// Allocates the workspaces. May sleep. Fails with [`ENOMEM`].
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            scratch: Workspaces::new()?,
        })
    }

    /// Compresses a page to at most `limit` bytes and calls `take` with the stream.
    ///
    /// Gives up as soon as the stream grows longer, with [`None`]. May sleep. `take` runs with the
    /// workspace held: it must neither allocate nor compress.
    pub(crate) fn compress<R>(
        &self,
        page: &PageBytes,
        limit: usize,
        take: impl FnOnce(&[u8]) -> R,
    ) -> Option<R> {
        self.scratch
            .with(|scratch| {
                let limit = limit.min(PAGE_SIZE).checked_sub(seal::BYTES)?;
                let space = scratch.stream.get_mut(..limit)?;
                let len = lzo::compress(page, space, &mut scratch.lzo).ok()?;
                let stream = scratch.stream.get_mut(..len + seal::BYTES)?;
                seal::close(page, stream);
                Some(take(stream))
            })
            .flatten()
    }

    /// As [`decompress`], for a stream in two pieces. May sleep.
    ///
    /// Puts them together first: that adds a tenth to the time of such a page (see
    /// `scripts/density`), and the decoder's loop need not know about pieces.
    pub(crate) fn decompress_pieces(
        &self,
        head: &[u8],
        rest: &[u8],
        page: &mut PageBytes,
    ) -> Result {
        let joined = self.scratch.with(|scratch| {
            let stream = scratch.stream.get_mut(..head.len() + rest.len());
            let stream = stream.ok_or(EIO)?;
            // PANIC: The lengths are those that make up the whole.
            let (to_head, to_rest) = stream.split_at_mut(head.len());
            to_head.copy_from_slice(head);
            to_rest.copy_from_slice(rest);
            decompress(stream, page)
        });
        joined.unwrap_or(Err(EIO))
    }

    /// Memory of the workspaces, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.scratch.bytes()
    }
}

/// Fills `page` from a stream.
///
/// Fails with [`EIO`] unless the stream is sound and makes exactly one page; then `page` may hold
/// anything. Does not sleep.
pub(crate) fn decompress(stream: &[u8], page: &mut PageBytes) -> Result {
    let (stream, seal) = seal::open(stream).ok_or(EIO)?;
    match lzo::decompress(stream, page) {
        Ok(PAGE_SIZE) if seal::holds(seal, page) => Ok(()),
        _ => Err(EIO),
    }
}

/// Whether a stream is sound and makes exactly `page`, in every byte. Does not sleep.
pub(crate) fn equals(stream: &[u8], page: &PageBytes) -> bool {
    seal::open(stream)
        .is_some_and(|(stream, seal)| lzo::equals(stream, page) && seal::holds(seal, page))
}

/// The word that the whole page repeats, if it does. Stops at the first that differs.
pub(crate) fn same_filled(page: &PageBytes) -> Option<u32> {
    let first = page.first_chunk::<4>()?;
    // Most pages differ early, but many of those begin with zeroes: look at the end first.
    if page.last_chunk::<4>() != Some(first) {
        return None;
    }
    page.chunks_exact(4)
        .all(|word| word == first)
        .then(|| u32::from_ne_bytes(*first))
}

/// Fills a page with a repeated word.
pub(crate) fn fill(page: &mut PageBytes, word: u32) {
    for place in page.chunks_exact_mut(4) {
        // PANIC: Both have four bytes.
        place.copy_from_slice(&word.to_ne_bytes());
    }
}
