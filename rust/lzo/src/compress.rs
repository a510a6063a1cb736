// SPDX-License-Identifier: GPL-2.0

//! The LZO1X-1 compressor: greedy, one probe a position, one hash table.

use super::{
    load4,
    load8,
    slot,
    Error,
    END,
    M2_MAX_DISTANCE,
    M3_MAX_DISTANCE,
    M4_MAX_DISTANCE, //
};

/// The longest `src` that [`compress`] takes, in bytes: positions are 16 bits wide.
pub const MAX_INPUT: usize = 1 << 16;

const DICT_BITS: u32 = 12;

/// No match starts in the last bytes of the input, so that the loads need no care there.
const TAIL: usize = 20;

/// The first match starts here at the earliest: only a run of 4 literals or more has an
/// instruction of its own, and there is no match before the first to carry fewer.
const FIRST_MATCH: usize = 4;

const M2_MAX_LEN: usize = 8;
const M3_MAX_LEN: usize = 33;
const M4_MAX_LEN: usize = 9;

/// The compressor's memory: 8 KiB, for one call at a time.
///
/// Nothing is carried from one call to the next, and any content is valid, all bytes zero too:
/// it may be created in zeroed memory without passing over the stack.
#[repr(transparent)]
pub struct Workspace {
    /// The last position with a given hash.
    heads: [u16; 1 << DICT_BITS],
}

impl Workspace {
    /// A workspace, ready for [`compress`].
    pub const fn new() -> Self {
        Workspace {
            heads: [0; 1 << DICT_BITS],
        }
    }
}

impl Default for Workspace {
    fn default() -> Self {
        Self::new()
    }
}

/// The size of a `dst` that is long enough for [`compress`] whatever `len` bytes it is given.
///
/// In bytes; saturates instead of wrapping.
pub const fn worst_case(len: usize) -> usize {
    // Incompressible data is one literal run: one byte in 255 and a few more. Short matches
    // between short literal runs never grow, but the kernel's bound is the one users know.
    len.saturating_add(len / 16 + 64 + 3 + 2)
}

/// Compresses `src` into `dst` and returns the length of the result, in bytes.
///
/// A `dst` shorter than [`worst_case`] is an output limit: the call succeeds if, and only if, the
/// result fits. Bytes of `dst` beyond the returned length are unspecified, all of them after an
/// error.
///
/// # Errors
///
/// - [`Error::OutputFull`]: the result does not fit. Found while it is written, so a low limit
///   also saves time.
/// - [`Error::InputTooLong`]: `src` is longer than [`MAX_INPUT`].
pub fn compress(src: &[u8], dst: &mut [u8], ws: &mut Workspace) -> Result<usize, Error> {
    if src.len() > MAX_INPUT {
        return Err(Error::InputTooLong);
    }

    let limit = src.len().saturating_sub(TAIL);
    // Read position, write position, start of the literals that are not written yet.
    let (mut ip, mut op, mut anchor) = (FIRST_MATCH, 0, 0);

    ws.heads.fill(0);
    while ip < limit {
        let Some(word) = load4(src, ip) else { break };
        let hash = word.wrapping_mul(0x9e37_79b1) >> (u32::BITS - DICT_BITS);
        let head = &mut ws.heads[hash as usize];
        let from = usize::from(*head);
        *head = ip as u16;

        let distance = ip.wrapping_sub(from);
        if load4(src, from) != Some(word) || distance > M4_MAX_DISTANCE {
            ip += 1 + ((ip - anchor) >> 5);
            continue;
        }

        let len = match_len(src, ip, from, limit);
        op = put_literals(dst, op, src, anchor, ip)?;
        op = put_match(dst, op, len, distance)?;
        ip += len;
        anchor = ip;
    }

    op = put_last_literals(dst, op, src, anchor)?;
    *slot(dst, op).ok_or(Error::OutputFull)? = END;
    Ok(op + END.len())
}

/// How many bytes at `ip` equal those at `from`; the first 4 are known to.
#[inline(always)]
fn match_len(src: &[u8], ip: usize, from: usize, limit: usize) -> usize {
    let mut len = 4;
    while ip + len < limit + 8 {
        let (Some(a), Some(b)) = (load8(src, ip + len), load8(src, from + len)) else {
            break;
        };
        if a != b {
            return len + ((a ^ b).trailing_zeros() / 8) as usize;
        }
        len += 8;
    }
    len
}

#[inline(always)]
fn put(dst: &mut [u8], op: usize, byte: u8) -> Result<usize, Error> {
    *dst.get_mut(op).ok_or(Error::OutputFull)? = byte;
    Ok(op + 1)
}

/// Writes what is left of a length that did not fit its field.
#[inline(always)]
fn put_long(dst: &mut [u8], mut op: usize, mut rest: usize) -> Result<usize, Error> {
    while rest > 255 {
        op = put(dst, op, 0)?;
        rest -= 255;
    }
    put(dst, op, rest as u8)
}

#[inline(always)]
fn put_literals(
    dst: &mut [u8],
    mut op: usize,
    src: &[u8],
    from: usize,
    to: usize,
) -> Result<usize, Error> {
    let len = to - from;
    if len == 0 {
        return Ok(op);
    }
    if len <= 3 {
        *dst.get_mut(op.wrapping_sub(2)).ok_or(Error::OutputFull)? |= len as u8;
    } else if len <= 18 {
        op = put(dst, op, (len - 3) as u8)?;
    } else {
        op = put(dst, op, 0)?;
        op = put_long(dst, op, len - 18)?;
    }
    copy(dst, op, src, from, to)
}

fn copy(dst: &mut [u8], op: usize, src: &[u8], from: usize, to: usize) -> Result<usize, Error> {
    let literals = src.get(from..to).unwrap_or(&[]);
    let end = op.saturating_add(literals.len());
    dst.get_mut(op..end)
        .ok_or(Error::OutputFull)?
        .copy_from_slice(literals);
    Ok(end)
}

#[inline(always)]
fn put_match(dst: &mut [u8], mut op: usize, len: usize, distance: usize) -> Result<usize, Error> {
    if len <= M2_MAX_LEN && distance <= M2_MAX_DISTANCE {
        let d = distance - 1;
        *slot(dst, op).ok_or(Error::OutputFull)? =
            [(((len - 1) << 5) | ((d & 7) << 2)) as u8, (d >> 3) as u8];
        return Ok(op + 2);
    }
    let (kind, max_len, d) = if distance <= M3_MAX_DISTANCE {
        (0x20, M3_MAX_LEN, distance - 1)
    } else {
        let d = distance - M3_MAX_DISTANCE;
        (0x10 | ((d >> 11) & 8), M4_MAX_LEN, d)
    };
    if len <= max_len {
        op = put(dst, op, (kind | (len - 2)) as u8)?;
    } else {
        op = put(dst, op, kind as u8)?;
        op = put_long(dst, op, len - max_len)?;
    }
    *slot(dst, op).ok_or(Error::OutputFull)? = [(d << 2) as u8, (d >> 6) as u8];
    Ok(op + 2)
}

fn put_last_literals(dst: &mut [u8], op: usize, src: &[u8], from: usize) -> Result<usize, Error> {
    let len = src.len() - from;
    if op == 0 && len > 0 && len <= 238 {
        let op = put(dst, op, (17 + len) as u8)?;
        copy(dst, op, src, from, src.len())
    } else {
        put_literals(dst, op, src, from, src.len())
    }
}
