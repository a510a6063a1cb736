// SPDX-License-Identifier: GPL-2.0

//! The LZO1X decompressor: two lanes.
//!
//! [`fast`] is where nearly all the time is spent. It copies in whole words and so writes past
//! the end of what it copies; it takes an instruction only if all of its loads and stores are
//! inside the slices, and stops in front of the first one for which it cannot tell. [`careful`]
//! goes on from there, to the byte, and is the only one that knows errors. It alone would do.

use super::{
    load8,
    slot,
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
    let stream = match src {
        [VERSION_MARK, 0, stream @ ..] if src.len() >= 5 => stream,
        [VERSION_MARK, _, _, _, _, ..] => return Err(Error::UnsupportedVersion),
        _ => src,
    };

    let mut at = Position {
        ip: 0,
        op: 0,
        state: 0,
    };
    if let Some(&first @ 18..) = stream.first() {
        let run = usize::from(first) - 17;
        at.ip = 1;
        copy_literals(stream, dst, &mut at, run)?;
        at.state = run.min(RUN);
    }
    loop {
        fast(stream, dst, &mut at);
        if let Some(len) = careful(stream, dst, &mut at)? {
            return Ok(len);
        }
    }
}

/// Where a lane stands, between two instructions.
struct Position {
    /// Bytes of the stream that were read.
    ip: usize,
    /// Bytes of the data that were written.
    op: usize,
    /// Literals that the last instruction copied, [`RUN`] for all above 3.
    state: usize,
}

/// [`Position::state`] after a literal run.
const RUN: usize = 4;

/// How a match with a distance below 8 goes on: see [`fast`].
///
/// The factor that repeats a word of so many bytes up to 8, and the smallest multiple of the
/// distance that is 8 or more.
const REPEAT: [(u64, usize); 8] = [
    (0, 8),
    (0x0101_0101_0101_0101, 8),
    (0x0001_0001_0001_0001, 8),
    (0x0001_0000_0100_0001, 9),
    (0x0000_0001_0000_0001, 8),
    (0x0000_0100_0000_0001, 10),
    (0x0001_0000_0000_0001, 12),
    (0x0100_0000_0000_0001, 14),
];

/// Executes instructions as long as there is room around them.
fn fast(src: &[u8], dst: &mut [u8], at: &mut Position) {
    let mut input = src.get(at.ip..).unwrap_or(&[]);
    let mut room = dst.len() - at.op;
    let mut state = at.state;

    // The longest instruction with its literals has 6 bytes, but for those of a long length.
    while let Some(&head) = input.first_chunk::<8>() {
        let Some(op) = dst.len().checked_sub(room) else {
            break;
        };
        let word = u64::from_le_bytes(head);
        let t = (word & 0xff) as usize;
        let (len, distance, next, literals, size);
        let mut tail = input;
        if t >= 64 {
            len = (t >> 5) + 1;
            distance = 1 + ((t >> 2) & 7) + ((word >> 8 & 0xff) << 3) as usize;
            next = t & 3;
            literals = (word >> 16) as u32;
            size = 2;
        } else if t >= 32 {
            let mut word = word;
            let mut short = t & 31;
            if short == 0 {
                let Some((extra, last)) = long_len(input, 1) else {
                    break;
                };
                tail = &input[last..];
                let Some(&head) = tail.first_chunk::<8>() else {
                    break;
                };
                short = 31 + extra;
                word = u64::from_le_bytes(head);
            }
            len = 2 + short;
            distance = 1 + (word >> 10 & 0x3fff) as usize;
            next = (word >> 8 & 3) as usize;
            literals = (word >> 24) as u32;
            size = 3;
        } else if t < 16 && state == 0 {
            let rest = &mut dst[op..];
            if let (1..14, Some(source), Some(target)) =
                (t, input.first_chunk::<17>(), rest.first_chunk_mut::<16>())
            {
                target.copy_from_slice(&source[1..]);
                input = &input[t + 4..];
                room -= t + 3;
            } else {
                let (mut run, mut from) = (t, 1);
                if run == 0 {
                    let Some((extra, last)) = long_len(input, 1) else {
                        break;
                    };
                    run = 15 + extra;
                    from = last + 1;
                }
                run += 3;
                let (Some(source), Some(target)) =
                    (input.get(from..from + run), rest.get_mut(..run))
                else {
                    break;
                };
                target.copy_from_slice(source);
                input = &input[from + run..];
                room -= run;
            }
            state = RUN;
            continue;
        } else {
            break;
        }

        if len <= 16 && distance >= 16 {
            let (done, rest) = dst.split_at_mut(op);
            let (Some(from), Some(target)) =
                (op.checked_sub(distance), rest.first_chunk_mut::<20>())
            else {
                break;
            };
            let Some(source) = done[from..].first_chunk::<16>() else {
                break;
            };
            target[..16].copy_from_slice(source);
            target[len..len + 4].copy_from_slice(&literals.to_le_bytes());
        } else {
            let stop = op + len;
            if repeat(dst, op, stop, distance).is_none() {
                break;
            }
            let Some(target) = slot(dst, stop) else { break };
            *target = literals.to_le_bytes();
        }
        input = &tail[size + next..];
        room -= len + next;
        state = next;
    }
    *at = Position {
        ip: src.len() - input.len(),
        op: dst.len() - room,
        state,
    };
}

#[inline(always)]
fn repeat(dst: &mut [u8], op: usize, stop: usize, distance: usize) -> Option<()> {
    let mut from = op.checked_sub(distance)?;
    let mut to = op;
    if distance < 8 {
        let (factor, multiple) = REPEAT[distance];
        let word = load8(dst, from)?;
        let mask = (1 << (8 * distance)) - 1;
        *slot(dst, to)? = (word & mask).wrapping_mul(factor).to_le_bytes();
        to += 8;
        from = to - multiple;
    }
    while to < stop {
        *slot(dst, to)? = load8(dst, from)?.to_le_bytes();
        from += 8;
        to += 8;
    }
    Some(())
}

/// Reads a length that goes on at `ip`: what it adds to the field's, and its last byte's place.
#[inline(always)]
fn long_len(src: &[u8], mut ip: usize) -> Option<(usize, usize)> {
    let mut len = 0usize;
    loop {
        match *src.get(ip)? {
            0 => len += 255,
            last => return Some((len + usize::from(last), ip)),
        }
        ip += 1;
    }
}

/// Executes one instruction, or finds what is wrong with it.
///
/// Returns the length of the data if it was the last one.
fn careful(src: &[u8], dst: &mut [u8], at: &mut Position) -> Result<Option<usize>, Error> {
    let t = usize::from(byte(src, at)?);
    let (len, distance, next);
    if t >= 64 {
        len = (t >> 5) + 1;
        distance = 1 + ((t >> 2) & 7) + (usize::from(byte(src, at)?) << 3);
        next = t & 3;
    } else if t >= 16 {
        let (mask, base) = if t >= 32 {
            (31, 1)
        } else {
            (7, M3_MAX_DISTANCE + ((t & 8) << 11))
        };
        len = 2 + field(src, at, t & mask, mask)?;
        let low = usize::from(byte(src, at)?);
        let high = usize::from(byte(src, at)?);
        distance = base + (low >> 2) + (high << 6);
        next = low & 3;
        if distance == M3_MAX_DISTANCE && t < 32 {
            return if len != 3 {
                Err(Error::BadEndMark)
            } else if at.ip != src.len() {
                Err(Error::InputNotConsumed)
            } else {
                Ok(Some(at.op))
            };
        }
    } else if at.state == 0 {
        let run = 3 + field(src, at, t, 15)?;
        copy_literals(src, dst, at, run)?;
        at.state = RUN;
        return Ok(None);
    } else {
        let far = at.state == RUN;
        let high = usize::from(byte(src, at)?) << 2;
        len = 2 + usize::from(far);
        distance = 1 + (t >> 2) + high + if far { M2_MAX_DISTANCE } else { 0 };
        next = t & 3;
    }

    if distance > at.op {
        return Err(Error::LookbehindOverrun);
    }
    if len > dst.len() - at.op {
        return Err(Error::OutputOverrun);
    }
    for i in at.op..at.op + len {
        dst[i] = dst[i - distance];
    }
    at.op += len;
    copy_literals(src, dst, at, next)?;
    at.state = next;
    Ok(None)
}

#[inline(always)]
fn byte(src: &[u8], at: &mut Position) -> Result<u8, Error> {
    let byte = *src.get(at.ip).ok_or(Error::InputOverrun)?;
    at.ip += 1;
    Ok(byte)
}

/// Completes a length of which the instruction holds `short`, and `max` if that is not 0.
fn field(src: &[u8], at: &mut Position, short: usize, max: usize) -> Result<usize, Error> {
    if short != 0 {
        return Ok(short);
    }
    let (extra, last) = long_len(src, at.ip).ok_or(Error::InputOverrun)?;
    at.ip = last + 1;
    Ok(max + extra)
}

fn copy_literals(src: &[u8], dst: &mut [u8], at: &mut Position, len: usize) -> Result<(), Error> {
    let from = src.get(at.ip..).and_then(|rest| rest.get(..len));
    let to = dst.get_mut(at.op..).and_then(|rest| rest.get_mut(..len));
    let from = from.ok_or(Error::InputOverrun)?;
    to.ok_or(Error::OutputOverrun)?.copy_from_slice(from);
    at.ip += len;
    at.op += len;
    Ok(())
}
