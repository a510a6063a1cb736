// SPDX-License-Identifier: GPL-2.0

//! The LZO1X decompressor: two lanes.
//!
//! [`Decoder::fast`] is where nearly all the time is spent. It copies whole words, and so writes
//! past the end of what it copies: it needs room behind every instruction, and stops in front of
//! the first one that lacks it, that is rare, or that is wrong. [`Decoder::careful`] executes
//! that one instruction to the byte, or names the error. The careful lane alone would do.

use super::{
    Error,
    END,
    M2_MAX_DISTANCE,
    M3_MAX_DISTANCE,
    VERSION_MARK, //
};

/// Decompresses the LZO1X stream `src` into `dst` and returns the length of the data, in bytes.
///
/// `src` must be the stream and nothing else. Any `src` is safe: what is no stream gives an
/// error, or some data. Bytes of `dst` beyond the returned length are unspecified, all of them
/// after an error.
///
/// # Errors
///
/// [`Error::InputOverrun`], [`Error::OutputOverrun`], [`Error::LookbehindOverrun`],
/// [`Error::InputNotConsumed`], [`Error::BadEndMark`] and [`Error::UnsupportedVersion`].
pub fn decompress(src: &[u8], dst: &mut [u8]) -> Result<usize, Error> {
    if src.len() < END.len() {
        return Err(Error::InputOverrun);
    }
    let input = match src {
        [VERSION_MARK, 0, stream @ ..] if stream.len() >= 3 => stream,
        [VERSION_MARK, _, _, _, _, ..] => return Err(Error::UnsupportedVersion),
        _ => src,
    };
    let mut decoder = Decoder {
        input,
        room: dst.len(),
        dst,
        state: 0,
    };
    if let Some((&first @ 18.., rest)) = input.split_first() {
        let run = usize::from(first - 17);
        decoder.input = rest;
        decoder.literals(run)?;
        decoder.state = run.min(RUN);
    }
    loop {
        decoder.fast();
        if let Some(len) = decoder.careful()? {
            return Ok(len);
        }
    }
}

/// [`Decoder::state`] after a literal run.
const RUN: usize = 4;

/// Where decoding stands, between two instructions.
struct Decoder<'a> {
    /// The stream from the next instruction on.
    input: &'a [u8],
    dst: &'a mut [u8],
    /// How many bytes at the end of `dst` are not written yet.
    room: usize,
    /// How many literals the last instruction copied, [`RUN`] for all above 3.
    state: usize,
}

impl Decoder<'_> {
    /// Executes instructions while there is room around them.
    #[inline(never)]
    fn fast(&mut self) {
        let Decoder {
            mut input,
            mut room,
            mut state,
            ..
        } = *self;
        let dst = &mut *self.dst;

        // The longest instruction, but for those of a long length, has 6 bytes with its literals.
        while let Some(&head) = input.first_chunk::<8>() {
            let Some(op) = dst.len().checked_sub(room) else {
                break;
            };
            let mut word = u64::from_le_bytes(head);
            let t = (word & 0xff) as usize;
            let (len, distance, next, literals, after);
            if t >= 64 {
                len = (t >> 5) + 1;
                distance = 1 + ((t >> 2) & 7) + ((word >> 5) & 0x7f8) as usize;
                next = t & 3;
                literals = (word >> 16) as u32;
                // PANIC: Here and below at least 8 bytes are left.
                after = &input[2..];
            } else if t >= 32 {
                let mut short = t & 31;
                if short == 0 {
                    let Some((extra, rest)) = input.get(1..).and_then(long_len) else {
                        break;
                    };
                    let Some(&head) = rest.first_chunk::<8>() else {
                        break;
                    };
                    // As if the last byte of the length were the instruction.
                    word = u64::from_le_bytes(head) << 8;
                    after = &rest[2..];
                    short = extra.saturating_add(31);
                } else {
                    after = &input[3..];
                }
                len = short.saturating_add(2);
                distance = 1 + ((word >> 10) & 0x3fff) as usize;
                next = ((word >> 8) & 3) as usize;
                literals = (word >> 24) as u32;
            } else if t < 16 && state == 0 {
                let Some((rest, left)) = dst.get_mut(op..).and_then(|free| run(input, t, free))
                else {
                    break;
                };
                input = rest;
                room = left;
                state = RUN;
                continue;
            } else {
                break;
            }

            if copy(dst, op, len, distance, literals).is_none() {
                break;
            }
            // This wraps nothing: there was room to copy so much.
            let all = len.wrapping_add(next);
            let (Some(rest), Some(left)) = (after.get(next..), room.checked_sub(all)) else {
                break;
            };
            input = rest;
            room = left;
            state = next;
        }
        self.input = input;
        self.room = room;
        self.state = state;
    }

    /// Executes one instruction, or finds what is wrong with it.
    ///
    /// Returns the length of the data if it was the last one.
    #[inline(never)]
    fn careful(&mut self) -> Result<Option<usize>, Error> {
        let t = self.byte()?;
        let (len, distance, next);
        if t >= 64 {
            len = (t >> 5) + 1;
            distance = 1 + ((self.byte()? << 3) | ((t >> 2) & 7));
            next = t & 3;
        } else if t >= 16 {
            let (mask, base) = if t >= 32 {
                (31, 1)
            } else {
                (7, M3_MAX_DISTANCE + ((t & 8) << 11))
            };
            len = self.field(t & mask, mask)?.saturating_add(2);
            let low = self.byte()?;
            distance = base + ((self.byte()? << 6) | (low >> 2));
            next = low & 3;
            if t < 32 && distance == M3_MAX_DISTANCE {
                return if len != 3 {
                    Err(Error::BadEndMark)
                } else if !self.input.is_empty() {
                    Err(Error::InputNotConsumed)
                } else {
                    Ok(Some(self.op()))
                };
            }
        } else if self.state == 0 {
            let run = self.field(t, 15)?.saturating_add(3);
            self.literals(run)?;
            self.state = RUN;
            return Ok(None);
        } else if self.state < RUN {
            len = 2;
            distance = 1 + ((self.byte()? << 2) | (t >> 2));
            next = t & 3;
        } else {
            len = 3;
            distance = 1 + M2_MAX_DISTANCE + ((self.byte()? << 2) | (t >> 2));
            next = t & 3;
        }

        self.matched(len, distance)?;
        self.literals(next)?;
        self.state = next;
        Ok(None)
    }

    /// How many bytes of `dst` are written.
    fn op(&self) -> usize {
        self.dst.len().saturating_sub(self.room)
    }

    /// Takes a byte from the stream.
    // Inlined, so that the range of the result is known where it is added to.
    #[inline(always)]
    fn byte(&mut self) -> Result<usize, Error> {
        let (&first, rest) = self.input.split_first().ok_or(Error::InputOverrun)?;
        self.input = rest;
        Ok(first.into())
    }

    /// Completes a length of which the instruction holds `short`, and `max` if that is not 0.
    fn field(&mut self, short: usize, max: usize) -> Result<usize, Error> {
        if short != 0 {
            return Ok(short);
        }
        let (extra, rest) = long_len(self.input).ok_or(Error::InputOverrun)?;
        self.input = rest;
        Ok(max.saturating_add(extra))
    }

    /// Copies `len` bytes from the stream.
    fn literals(&mut self, len: usize) -> Result<(), Error> {
        let (from, rest) = self
            .input
            .split_at_checked(len)
            .ok_or(Error::InputOverrun)?;
        let op = self.op();
        let free = self.dst.get_mut(op..).unwrap_or_default();
        let to = free.get_mut(..from.len()).ok_or(Error::OutputOverrun)?;
        to.copy_from_slice(from);
        self.input = rest;
        self.room = self.room.saturating_sub(len);
        Ok(())
    }

    /// Copies `len` bytes that were written `distance` before; they may overlap the new ones.
    fn matched(&mut self, len: usize, distance: usize) -> Result<(), Error> {
        let from = self.op().checked_sub(distance);
        let from = from.ok_or(Error::LookbehindOverrun)?;
        self.room = self.room.checked_sub(len).ok_or(Error::OutputOverrun)?;

        // What was written is as good a source as what was there: the next copy may be longer.
        let window = self.dst.get_mut(from..).unwrap_or_default();
        let (mut source, mut left) = (distance, len);
        while left > 0 {
            let count = left.min(source);
            let (old, new) = window.split_at_mut_checked(source).unwrap_or_default();
            let (Some(old), Some(new)) = (old.get(..count), new.get_mut(..count)) else {
                return Err(Error::OutputOverrun);
            };
            new.copy_from_slice(old);
            source = source.saturating_add(count);
            left -= count;
        }
        Ok(())
    }
}

/// Executes a literal run: `input` starts with the instruction, of which `short` is the length.
///
/// Returns what is left of the input, and how much of `free`. Bytes behind the run may change.
#[inline(always)]
fn run<'a>(input: &'a [u8], short: usize, free: &mut [u8]) -> Option<(&'a [u8], usize)> {
    if let (1..14, Some(source), Some(target)) = (
        short,
        input.first_chunk::<17>(),
        free.first_chunk_mut::<16>(),
    ) {
        // PANIC: `short + 3` is 16 at most, which both have.
        target.copy_from_slice(&source[1..]);
        return Some((&input[short + 4..], free.len() - (short + 3)));
    }
    let input = input.get(1..)?;
    let (len, input) = match short {
        0 => long_len(input).map(|(extra, rest)| (18 + extra, rest))?,
        _ => (3 + short, input),
    };
    let (source, rest) = input.split_at_checked(len)?;
    free.get_mut(..len)?.copy_from_slice(source);
    Some((rest, free.len() - len))
}

/// How a match with a distance below 8 begins and goes on: see [`copy`].
///
/// The factor that repeats a word of so many bytes up to 8, and the smallest multiple of the
/// distance that is 8 or more.
const REPEAT: [(u64, u8); 8] = [
    (0, 8),
    (0x0101_0101_0101_0101, 8),
    (0x0001_0001_0001_0001, 8),
    (0x0001_0000_0100_0001, 9),
    (0x0000_0001_0000_0001, 8),
    (0x0000_0100_0000_0001, 10),
    (0x0001_0000_0000_0001, 12),
    (0x0100_0000_0000_0001, 14),
];

/// Copies a match of `len` bytes to `op`, and behind it the bytes of `literals`.
///
/// Up to 15 more bytes of `dst` change. Without room for them nothing at `op` or behind it is
/// defined, and the result is `None`.
#[inline(always)]
fn copy(dst: &mut [u8], op: usize, len: usize, distance: usize, literals: u32) -> Option<()> {
    // From the first byte to copy on. Its position `step` is where to copy to.
    let mut window = dst.get_mut(op.checked_sub(distance)?..)?;
    let mut step = distance;
    let mut left = len;
    if step < 8 {
        let (factor, multiple) = REPEAT[step];
        let word = u64::from_le_bytes(*window.first_chunk()?) & !(u64::MAX << (8 * step));
        *slot(window, step)? = word.wrapping_mul(factor).to_le_bytes();
        if left <= 8 {
            *slot(window, step + left)? = literals.to_le_bytes();
            return Some(());
        }
        left -= 8;
        window = window.get_mut((8 + step).checked_sub(usize::from(multiple))?..)?;
        step = usize::from(multiple);
    }
    // Two steps of 8 bytes, for the second one may read what the first one wrote.
    while left > 16 {
        let both = window.get_mut(..step + 16)?;
        both.copy_within(..8, step);
        both.copy_within(8..16, step + 8);
        // PANIC: `both` was longer.
        window = &mut window[16..];
        left -= 16;
    }
    let both = window.get_mut(..step + 20)?;
    both.copy_within(..8, step);
    both.copy_within(8..16, step + 8);
    // There is: `left` is 16 at most. Not every compiler sees that.
    *slot(both, step + left)? = literals.to_le_bytes();
    Some(())
}

/// The `N` bytes at `at` for writing, or `None` if they are not all inside `bytes`.
#[inline(always)]
fn slot<const N: usize>(bytes: &mut [u8], at: usize) -> Option<&mut [u8; N]> {
    bytes.get_mut(at..)?.first_chunk_mut()
}

/// Reads a length that goes on at the start of `input`.
///
/// Returns what it adds to the length in the instruction, and the rest of the input.
pub(super) fn long_len(input: &[u8]) -> Option<(usize, &[u8])> {
    let zeros = input.iter().position(|&byte| byte != 0)?;
    let (&last, rest) = input.get(zeros..)?.split_first()?;
    let len = zeros.saturating_mul(255).saturating_add(last.into());
    // No buffer is that long, and the caller may add to it without a thought.
    Some((len.min(usize::MAX >> 1), rest))
}
