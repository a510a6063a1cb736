// SPDX-License-Identifier: GPL-2.0

//! Is a stream that of certain data? Told without decompressing it.
//!
//! Every instruction of a stream makes bytes: copies of earlier ones, or literals. If the data is
//! what the stream makes, then each copy can be checked in the data itself, as all that came
//! before is right. So nothing is written, nothing waits for what was written before, and a
//! difference need not stop anything: differences are gathered, and looked at in the end.
//!
//! Two lanes, as in the decompressor: [`Checker::fast`] for what is frequent and has room around
//! it, [`Checker::careful`] for everything. What takes the decompressor's time is to guess, and to
//! guess wrong, which kind of instruction comes next. The fast lane does not ask: a table says of
//! each first byte what there is to compare, and nothing is compared as well as something.

use super::{
    decompress::long_len,
    END,
    M2_MAX_DISTANCE,
    M3_MAX_DISTANCE,
    VERSION_MARK, //
};

/// Whether `src` is an LZO1X stream of exactly `data`: whether [`decompress`](super::decompress())
/// would succeed, with these bytes and no more.
///
/// `src` must be the stream and nothing else. Any `src` is safe.
pub fn equals<D: AsRef<[u8]> + ?Sized>(src: &[u8], data: &D) -> bool {
    check(src, data).is_some()
}

fn check<D: AsRef<[u8]> + ?Sized>(src: &[u8], data: &D) -> Option<()> {
    if src.len() < END.len() {
        return None;
    }
    let input = match src {
        [VERSION_MARK, 0, stream @ ..] if stream.len() >= 3 => stream,
        [VERSION_MARK, _, _, _, _, ..] => return None,
        _ => src,
    };
    let mut checker = Checker {
        input,
        data,
        at: 0,
        state: 0,
    };
    if let Some((&first @ 18.., rest)) = input.split_first() {
        let run = usize::from(first - 17);
        checker.input = rest;
        checker.literals(run)?;
        checker.state = run.min(RUN);
    }
    loop {
        checker.fast()?;
        if checker.careful()? {
            return (checker.at == data.as_ref().len()).then_some(());
        }
    }
}

/// [`Checker::state`] after a literal run.
const RUN: usize = 4;

/// The longest match that [`KINDS`] has, in bytes.
const LONGEST: usize = 31;

/// The most literals that one instruction of [`KINDS`] has.
const MOST_LITERALS: usize = 16;

/// Bytes of the stream that the fast lane reads at once: an instruction and its literals.
const AHEAD: usize = 3 + 1 + MOST_LITERALS;

/// What the first byte of an instruction says.
#[derive(Clone, Copy)]
#[repr(align(8))]
struct Kind {
    /// Bytes to copy, up to [`LONGEST`].
    len: u8,
    /// Bytes of the instruction, and the literals that the first byte names.
    advance: u8,
    /// The literals that the first byte names.
    literals: u8,
    /// The bits of the second byte that name more literals.
    more: u8,
    /// What the first byte adds to the distance.
    low: u8,
    /// Where the rest of the distance begins, in the first three bytes.
    shift: u8,
    /// The states in which this is for the careful lane.
    bar: u8,
}

/// A bit that is in every state of the fast lane: it bars a kind in all of them.
const ALWAYS: u8 = 0x80;

/// The instructions by their first byte.
static KINDS: [Kind; 256] = {
    let rare = Kind {
        len: 0,
        advance: 0,
        literals: 0,
        more: 0,
        low: 0,
        shift: 0,
        bar: ALWAYS,
    };
    let mut kinds = [rare; 256];
    let mut t = 0;
    while t < 256 {
        // CAST: Below 256.
        let byte = t as u8;
        if t >= 64 {
            kinds[t] = Kind {
                len: (byte >> 5) + 1,
                advance: 2 + (byte & 3),
                literals: byte & 3,
                low: 1 + ((byte >> 2) & 7),
                shift: 5,
                bar: 0,
                ..rare
            };
        } else if t > 32 && (t & 31) + 2 <= LONGEST {
            kinds[t] = Kind {
                len: 2 + (byte & 31),
                advance: 3,
                more: 3,
                low: 1,
                shift: 10,
                bar: 0,
                ..rare
            };
        } else if t > 0 && t + 3 <= MOST_LITERALS {
            // A run, unless literals came before.
            kinds[t] = Kind {
                advance: 1 + byte + 3,
                literals: byte + 3,
                bar: !ALWAYS,
                ..rare
            };
        }
        t += 1;
    }
    kinds
};

/// By the first byte: the bits of the first three that belong to the distance, without those that
/// [`Kind::low`] knows.
static REACH: [u32; 256] = {
    let mut reach = [0; 256];
    let mut t = 32;
    while t < 256 {
        reach[t] = if t >= 64 { 0xff00 } else { 0xff_fc00 };
        t += 1;
    }
    reach
};

/// Where checking stands, between two instructions. All of `data` up to `at` is right.
struct Checker<'a, D: ?Sized> {
    /// The stream from the next instruction on.
    input: &'a [u8],
    data: &'a D,
    at: usize,
    /// How many literals the last instruction had, [`RUN`] for all above 3.
    state: usize,
}

impl<D: AsRef<[u8]> + ?Sized> Checker<'_, D> {
    /// Checks instructions while there is room around them. [`None`] if one was not right.
    #[inline(never)]
    fn fast(&mut self) -> Option<()> {
        let Checker {
            mut input,
            data,
            mut at,
            mut state,
        } = *self;
        let data = data.as_ref();
        // Bits that differ.
        let mut wrong = 0;

        while let Some(head) = input.first_chunk::<AHEAD>() {
            // PANIC: A byte is an index of both tables.
            let t = usize::from(head[0]);
            let kind = &KINDS[t];
            // CAST: `MOST_LITERALS` at most.
            if kind.bar & (state as u8 | ALWAYS) != 0 {
                // Not worth a branch of its own, but where there is one anyway.
                if wrong != 0 {
                    break;
                }
                let Some(after) = long(input, data, at, state, &mut wrong) else {
                    break;
                };
                (input, at, state) = after;
                continue;
            }
            let word = u32::from_le_bytes([head[0], head[1], head[2], 0]);
            // CAST: 14 bits. The mask tells the compiler that the shift is not too far.
            let far = ((word & REACH[t]) >> (kind.shift & 31)) as usize;
            let distance = far + usize::from(kind.low);
            let more = usize::from(head[1] & kind.more);
            let advance = usize::from(kind.advance) + more;
            // These masks are for the compiler too: no entry of the table has more.
            let size = usize::from(kind.advance.wrapping_sub(kind.literals)) & 3;
            let literals = (usize::from(kind.literals) + more) & 31;
            let len = usize::from(kind.len) & 31;

            let (Some(from), Some(rest), Some(new)) = (
                at.checked_sub(distance),
                input.get(advance..),
                chunk::<{ LONGEST + 1 }>(data, at),
            ) else {
                break;
            };
            let (Some(old), Some(made), Some(wanted)) = (
                chunk::<{ LONGEST + 1 }>(data, from),
                chunk::<MOST_LITERALS>(head, size),
                chunk::<MOST_LITERALS>(data, at.wrapping_add(len)),
            ) else {
                break;
            };
            wrong |= differs(old, new, len) | differs(made, wanted, literals);
            input = rest;
            // This wraps nothing: bytes behind it were just read.
            at = at.wrapping_add(len + literals);
            state = literals;
        }
        self.input = input;
        self.at = at;
        self.state = state.min(RUN);
        (wrong == 0).then_some(())
    }

    /// Checks one instruction. Whether it was the last; [`None`] if it was not right.
    #[inline(never)]
    fn careful(&mut self) -> Option<bool> {
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
                return (len == 3 && self.input.is_empty()).then_some(true);
            }
        } else if self.state == 0 {
            let run = self.field(t, 15)?.saturating_add(3);
            self.literals(run)?;
            self.state = RUN;
            return Some(false);
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
        Some(false)
    }

    /// Takes a byte from the stream.
    // Inlined, so that the range of the result is known where it is added to.
    #[inline(always)]
    fn byte(&mut self) -> Option<usize> {
        let (&first, rest) = self.input.split_first()?;
        self.input = rest;
        Some(first.into())
    }

    /// Completes a length of which the instruction holds `short`, and `max` if that is not 0.
    fn field(&mut self, short: usize, max: usize) -> Option<usize> {
        if short != 0 {
            return Some(short);
        }
        let (extra, rest) = long_len(self.input)?;
        self.input = rest;
        Some(max.saturating_add(extra))
    }

    /// Checks `len` bytes of the stream.
    fn literals(&mut self, len: usize) -> Option<()> {
        let (made, rest) = self.input.split_at_checked(len)?;
        let wanted = self.data.as_ref().get(self.at..)?.get(..len)?;
        self.input = rest;
        self.at = self.at.saturating_add(len);
        (made == wanted).then_some(())
    }

    /// Checks `len` bytes that came `distance` before as well.
    fn matched(&mut self, len: usize, distance: usize) -> Option<()> {
        let old = self
            .data
            .as_ref()
            .get(self.at.checked_sub(distance)?..)?
            .get(..len)?;
        let new = self.data.as_ref().get(self.at..)?.get(..len)?;
        self.at = self.at.saturating_add(len);
        (old == new).then_some(())
    }
}

/// For the fast lane: checks one match or literal run that is longer than those in [`KINDS`].
///
/// Returns what is left of the input, and the position and the state behind it; [`None`] leaves the
/// instruction to the careful lane. Adds to `wrong` what differs.
#[inline(always)]
fn long<'a>(
    input: &'a [u8],
    data: &[u8],
    at: usize,
    state: usize,
    wrong: &mut u64,
) -> Option<(&'a [u8], usize, usize)> {
    let (&t, rest) = input.split_first()?;
    let short = usize::from(t & 31);
    let (length, rest) = match (short, rest) {
        (1.., _) => (short, rest),
        // Most of them.
        (0, &[extra, ref rest @ ..]) if extra != 0 => (usize::from(extra), rest),
        (0, _) => long_len(rest)?,
    };
    if (32..64).contains(&t) {
        let len = length.saturating_add(if short == 0 { 33 } else { 2 });
        let (word, rest) = rest.split_first_chunk()?;
        let word = usize::from(u16::from_le_bytes(*word));
        let (from, literals) = (at.checked_sub(1 + (word >> 2))?, word & 3);
        let new = data.get(at..)?;
        let (new, behind) = new.split_at_checked(len)?;
        *wrong |= differ(data.get(from..)?.get(..len)?, new)?;
        let (made, wanted) = (rest.first_chunk::<4>()?, behind.first_chunk::<4>()?);
        let made = u32::from_le_bytes(*made) ^ u32::from_le_bytes(*wanted);
        *wrong |= u64::from(made & !(u32::MAX << (8 * literals)));
        // This wraps nothing: so much was there.
        let at = at.wrapping_add(len).wrapping_add(literals);
        Some((rest.get(literals..)?, at, literals))
    } else if t < 16 && state == 0 {
        let len = length.saturating_add(if short == 0 { 18 } else { 3 });
        let (made, rest) = rest.split_at_checked(len)?;
        *wrong |= differ(made, data.get(at..)?.get(..len)?)?;
        Some((rest, at.wrapping_add(len), RUN))
    } else {
        None
    }
}

/// Zero if `a` and `b`, which have one length of at least 16, are equal.
#[inline(always)]
fn differ(a: &[u8], b: &[u8]) -> Option<u64> {
    let last = a.len().checked_sub(16)?;
    // Four pieces, which may overlap, are all of most of them: there is nothing to count.
    let mut wrong = 0;
    for at in [0, last.min(16), last.min(32), last] {
        wrong |= differs::<16>(chunk(a, at)?, chunk(b, at)?, 16);
    }
    let mut at = 48;
    while at < last {
        wrong |= differs::<16>(chunk(a, at)?, chunk(b, at)?, 16);
        at = at.saturating_add(16);
    }
    Some(wrong)
}

/// Ones in the first so many bytes of four words, and zeroes behind them.
static FIRST: [[u64; 4]; 32] = {
    let mut masks = [[0; 4]; 32];
    let mut len = 0;
    while len < 32 {
        let mut word = 0;
        while word < 4 {
            masks[len][word] = match len {
                _ if len >= 8 * (word + 1) => u64::MAX,
                _ if len <= 8 * word => 0,
                _ => !(u64::MAX << (8 * (len - 8 * word))),
            };
            word += 1;
        }
        len += 1;
    }
    masks
};

/// Zero if the first `len` bytes are equal, at most 31.
#[inline(always)]
fn differs<const M: usize>(a: &[u8; M], b: &[u8; M], len: usize) -> u64 {
    let words = a.chunks_exact(8).zip(b.chunks_exact(8));
    words
        .zip(&FIRST[len & 31])
        .fold(0, |wrong, ((a, b), mask)| {
            let word = |bytes: &[u8]| {
                bytes
                    .first_chunk()
                    .map_or(0, |word| u64::from_le_bytes(*word))
            };
            wrong | ((word(a) ^ word(b)) & mask)
        })
}

/// The `M` bytes at `at`.
#[inline(always)]
fn chunk<const M: usize>(bytes: &[u8], at: usize) -> Option<&[u8; M]> {
    bytes.get(at..)?.first_chunk()
}
