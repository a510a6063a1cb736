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
    let room = dst.len();
    let mut out = Output {
        rest: dst,
        carry: &mut 0,
    };
    let anchor = match src.len().checked_sub(TAIL) {
        Some(limit) => body(src, limit, &mut out, ws)?,
        None => 0,
    };

    let last = src.get(anchor..).unwrap_or(&[]);
    match last.len() {
        len @ 1..=238 if anchor == 0 => out.put(&[17 + len as u8])?,
        len => out.run(len)?,
    }
    out.put(last)?;
    out.put(&END)?;
    Ok(room - out.rest.len())
}

/// Writes all matches that start before `limit`, and the literals before them.
///
/// Returns the end of the last match.
fn body(
    src: &[u8],
    limit: usize,
    out: &mut Output<'_>,
    ws: &mut Workspace,
) -> Result<usize, Error> {
    // Start of the literals that are not written yet, read position.
    let (mut anchor, mut ip) = (0, FIRST_MATCH);

    ws.heads.fill(0);
    while ip < limit {
        let Some(word) = load4(src, ip) else { break };
        let hash = word.wrapping_mul(0x9e37_79b1) >> (u32::BITS - DICT_BITS);
        let head = &mut ws.heads[hash as usize];
        let from = usize::from(*head);
        *head = ip as u16;

        if load4(src, from) != Some(word) {
            ip += 1 + (ip.wrapping_sub(anchor) >> 5);
            continue;
        }
        let distance = ip.wrapping_sub(from);
        if distance > M4_MAX_DISTANCE {
            ip += 1;
            continue;
        }

        let len = match_len(src, ip, from);
        let run = ip.wrapping_sub(anchor);
        if !(run <= 16
            && len <= M3_MAX_LEN
            && distance <= M3_MAX_DISTANCE
            && out.short(src, anchor, run, len, distance))
        {
            out.run(run)?;
            out.put(src.get(anchor..ip).unwrap_or(&[]))?;
            out.matched(len, distance)?;
        }
        ip += len;
        anchor = ip;
    }
    Ok(anchor)
}

/// How many bytes at `ip` equal those at `from`, which is less; the first 4 are known to.
#[inline(always)]
fn match_len(src: &[u8], ip: usize, from: usize) -> usize {
    let mut len = 4;
    while let (Some(a), Some(b)) = (load8(src, ip + len), load8(src, from + len)) {
        if a != b {
            return len + ((a ^ b).trailing_zeros() / 8) as usize;
        }
        len += 8;
    }
    // The last 7 bytes. `None` equals no byte, so this ends.
    while src.get(ip + len) == src.get(from + len) {
        len += 1;
    }
    len
}

/// The part of `dst` that is not written yet.
struct Output<'a> {
    rest: &'a mut [u8],
    /// Where the last match says how many literals follow it.
    carry: &'a mut u8,
}

impl<'a> Output<'a> {
    fn advance(&mut self, len: usize) -> Result<&'a mut [u8], Error> {
        let rest = core::mem::take(&mut self.rest);
        let (head, tail) = rest.split_at_mut_checked(len).ok_or(Error::OutputFull)?;
        self.rest = tail;
        Ok(head)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.advance(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    #[inline(always)]
    fn short(
        &mut self,
        src: &[u8],
        anchor: usize,
        run: usize,
        len: usize,
        distance: usize,
    ) -> bool {
        let rest = core::mem::take(&mut self.rest);
        let (Some(literals), Some(head)) =
            (src.get(anchor..anchor + 16), rest.first_chunk_mut::<24>())
        else {
            self.rest = rest;
            return false;
        };
        let mut used = run;
        if run > 3 {
            head[0] = (run - 3) as u8;
            head[1..17].copy_from_slice(literals);
            used += 1;
        } else if run > 0 {
            *self.carry |= run as u8;
            head[..4].copy_from_slice(&literals[..4]);
        }
        let d = distance - 1;
        if len <= M2_MAX_LEN && distance <= M2_MAX_DISTANCE {
            head[used] = (((len - 1) << 5) | ((d & 7) << 2)) as u8;
            head[used + 1] = (d >> 3) as u8;
        } else {
            head[used] = (0x20 | (len - 2)) as u8;
            used += 1;
            head[used] = (d << 2) as u8;
            head[used + 1] = (d >> 6) as u8;
        }
        let (head, tail) = rest.split_at_mut(used + 2);
        self.carry = &mut head[used];
        self.rest = tail;
        true
    }

    /// Writes what is left of a length that did not fit its field.
    fn long(&mut self, mut rest: usize) -> Result<(), Error> {
        while rest > 255 {
            self.put(&[0])?;
            rest -= 255;
        }
        self.put(&[rest as u8])
    }

    /// Announces `len` literals.
    fn run(&mut self, len: usize) -> Result<(), Error> {
        match len {
            0..4 => *self.carry |= len as u8,
            4..19 => self.put(&[(len - 3) as u8])?,
            _ => {
                self.put(&[0])?;
                self.long(len - 18)?;
            }
        }
        Ok(())
    }

    fn matched(&mut self, len: usize, distance: usize) -> Result<(), Error> {
        let tail;
        if len <= M2_MAX_LEN && distance <= M2_MAX_DISTANCE {
            let d = distance - 1;
            tail = [(((len - 1) << 5) | ((d & 7) << 2)) as u8, (d >> 3) as u8];
        } else {
            let (kind, max_len, d) = if distance <= M3_MAX_DISTANCE {
                (0x20, M3_MAX_LEN, distance - 1)
            } else {
                let d = distance - M3_MAX_DISTANCE;
                (0x10 | ((d >> 11) & 8), M4_MAX_LEN, d)
            };
            if len <= max_len {
                self.put(&[(kind | (len - 2)) as u8])?;
            } else {
                self.put(&[kind as u8])?;
                self.long(len - max_len)?;
            }
            tail = [(d << 2) as u8, (d >> 6) as u8];
        }
        let head = self.advance(2)?;
        head.copy_from_slice(&tail);
        self.carry = &mut head[0];
        Ok(())
    }
}
