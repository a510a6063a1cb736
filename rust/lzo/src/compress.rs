// SPDX-License-Identifier: GPL-2.0

//! The LZO1X-1 compressor: greedy, one probe a position, one hash table.

use core::mem;

use super::{
    Error,
    END,
    M2_MAX_DISTANCE,
    M3_MAX_DISTANCE,
    M4_MAX_DISTANCE, //
};

/// The longest `src` that [`compress`] takes, in bytes: positions are 16 bits wide.
pub const MAX_INPUT: usize = 1 << 16;

/// One bit less than the kernel's: it costs up to 0.3 % in size, and halves what a call drives
/// from the cache.
const DICT_BITS: u32 = 12;

/// No match starts in the last bytes of the input, so that 16 bytes can be loaded at any start.
const TAIL: usize = 15;

/// The first match starts here at the earliest: only a run of 4 literals or more has an
/// instruction of its own, and there is no match before the first to carry fewer.
const FIRST_MATCH: usize = 4;

/// Spreads 4 bytes over the bits of a word: 2^32 divided by the golden ratio.
const HASH: u32 = 0x9e37_79b1;

/// Room that is enough for any [`Output::sequence`].
const SEQUENCE: usize = 1 + 16 + 3;

/// The kind of a match, in the bits of its first byte.
const M3: u8 = 0x20;
const M4: u8 = 0x10;

/// The longest match that has its length in its first byte.
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
        // No match yet. Nothing reads this: the first literals are 4 or more, or the last.
        carry: &mut 0,
    };
    let last = match src.len().checked_sub(TAIL) {
        Some(limit) => matches(src, limit, &mut out, ws)?,
        None => src,
    };
    match last.len() {
        // Nothing but literals has a short form of its own.
        count @ 1..=238 if count == src.len() => {
            out.put(&[17 + count as u8])?;
            out.put(last)?;
        }
        _ => out.literals(last)?,
    }
    out.put(&END)?;
    Ok(room.saturating_sub(out.rest.len()))
}

/// Writes all matches that start before `limit`, and the literals before each of them.
///
/// Returns what follows the last match.
fn matches<'a>(
    src: &'a [u8],
    limit: usize,
    out: &mut Output<'_>,
    ws: &mut Workspace,
) -> Result<&'a [u8], Error> {
    // Where the literals begin that are not written yet, and where to look for a match. Both are
    // `MAX_INPUT` at most, and the first one is never the greater: what wraps here never does,
    // it only has no check that the compiler cannot see through.
    let mut anchor = 0;
    let mut ip = FIRST_MATCH;

    ws.heads.fill(0);
    while ip < limit {
        let Some(word) = load4(src, ip) else { break };
        let hash = word.wrapping_mul(HASH) >> (u32::BITS - DICT_BITS);
        // PANIC: A number of `DICT_BITS` bits is less than the length.
        let head = &mut ws.heads[hash as usize];
        let from = usize::from(*head);
        // CAST: `limit` is below `MAX_INPUT`.
        *head = ip as u16;

        if load4(src, from) != Some(word) {
            // The longer nothing was found, the less is looked at.
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
        let literals = src.get(anchor..anchor.wrapping_add(16));
        if out.sequence(literals, run, len, distance).is_none() {
            out.literals(src.get(anchor..ip).unwrap_or_default())?;
            out.matched(len, distance)?;
        }
        ip = ip.wrapping_add(len);
        anchor = ip;
    }
    Ok(src.get(anchor..).unwrap_or_default())
}

/// Reads 4 bytes at `at`, or `None` if they are not all inside `bytes`.
#[inline(always)]
fn load4(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Reads 8 bytes at `at`, or `None` if they are not all inside `bytes`.
#[inline(always)]
fn load8(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// How many bytes at `ip` equal those at `from`, which is less; the first 4 are known to.
#[inline(always)]
fn match_len(src: &[u8], ip: usize, from: usize) -> usize {
    let mut len = 4usize;
    while let (Some(a), Some(b)) = (
        load8(src, ip.wrapping_add(len)),
        load8(src, from.wrapping_add(len)),
    ) {
        if a != b {
            return len.wrapping_add(((a ^ b).trailing_zeros() / 8) as usize);
        }
        len = len.wrapping_add(8);
    }
    // The last 7 bytes. The end of the input equals no byte.
    while src.get(ip.wrapping_add(len)) == src.get(from.wrapping_add(len)) {
        len = len.wrapping_add(1);
    }
    len
}

/// The stream, as far as it is written.
struct Output<'a> {
    /// What is left of `dst`.
    rest: &'a mut [u8],
    /// The byte of the last match that says how many literals follow it.
    carry: &'a mut u8,
}

impl<'a> Output<'a> {
    /// Takes the next `len` bytes of `dst`.
    fn take(&mut self, len: usize) -> Result<&'a mut [u8], Error> {
        let rest = mem::take(&mut self.rest);
        let (head, tail) = rest.split_at_mut_checked(len).ok_or(Error::OutputFull)?;
        self.rest = tail;
        Ok(head)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.take(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Writes what is left of a length that did not fit its field.
    fn long(&mut self, mut rest: usize) -> Result<(), Error> {
        while rest > 255 {
            self.put(&[0])?;
            rest -= 255;
        }
        self.put(&[rest as u8])
    }

    fn literals(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match bytes.len() {
            count @ 0..4 => *self.carry |= count as u8,
            count @ 4..19 => self.put(&[(count - 3) as u8])?,
            count => {
                self.put(&[0])?;
                self.long(count - 18)?;
            }
        }
        self.put(bytes)
    }

    fn matched(&mut self, len: usize, distance: usize) -> Result<(), Error> {
        if len <= M2_MAX_LEN && distance <= M2_MAX_DISTANCE {
            let head = self.take(2)?;
            head.copy_from_slice(&m2(len, distance));
            self.carry = &mut head[0];
            return Ok(());
        }
        let (kind, max_len, distance) = if distance <= M3_MAX_DISTANCE {
            (M3, M3_MAX_LEN, distance.wrapping_sub(1))
        } else {
            let distance = distance - M3_MAX_DISTANCE;
            (M4 | ((distance >> 11) & 8) as u8, M4_MAX_LEN, distance)
        };
        if len <= max_len {
            self.put(&[kind | len.wrapping_sub(2) as u8])?;
        } else {
            self.put(&[kind])?;
            self.long(len - max_len)?;
        }
        let head = self.take(2)?;
        head.copy_from_slice(&[(distance << 2) as u8, (distance >> 6) as u8]);
        self.carry = &mut head[0];
        Ok(())
    }

    /// Writes the first `run` of these 16 bytes as literals, and a match, if both are short.
    ///
    /// Most are. One look at the room then replaces one for each part. `None` if nothing was
    /// written, because something is long or because the room might not do.
    #[inline(always)]
    fn sequence(
        &mut self,
        literals: Option<&[u8]>,
        run: usize,
        len: usize,
        distance: usize,
    ) -> Option<()> {
        if run > 16 || len > M3_MAX_LEN || distance > M3_MAX_DISTANCE {
            return None;
        }
        let literals = literals?.first_chunk::<16>()?;
        if self.rest.len() < SEQUENCE {
            return None;
        }
        let rest = mem::take(&mut self.rest);

        // PANIC: `op` is 17 at most before the match, which has 3 bytes at most.
        let mut op = run;
        if run > 3 {
            rest[0] = (run - 3) as u8;
            rest[1..17].copy_from_slice(literals);
            op += 1;
        } else if run > 0 {
            *self.carry |= run as u8;
            rest[..4].copy_from_slice(&literals[..4]);
        }
        if len <= M2_MAX_LEN && distance <= M2_MAX_DISTANCE {
            rest[op..op + 2].copy_from_slice(&m2(len, distance));
        } else {
            let d = distance.wrapping_sub(1);
            rest[op] = M3 | len.wrapping_sub(2) as u8;
            op += 1;
            rest[op] = (d << 2) as u8;
            rest[op + 1] = (d >> 6) as u8;
        }
        let (head, tail) = rest.split_at_mut(op + 2);
        self.carry = &mut head[op];
        self.rest = tail;
        Some(())
    }
}

/// An M2 of 3 to 8 bytes from 1 to 2048 back.
#[inline(always)]
fn m2(len: usize, distance: usize) -> [u8; 2] {
    let d = distance.wrapping_sub(1);
    let len = len.wrapping_sub(1);
    [((len << 5) | ((d & 7) << 2)) as u8, (d >> 3) as u8]
}
