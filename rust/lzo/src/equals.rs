// SPDX-License-Identifier: GPL-2.0

//! Is a stream that of certain data? Told without decompressing it.
//!
//! Every instruction of a stream makes bytes: copies of earlier ones, or literals. If the data is
//! what the stream makes, then each copy can be checked in the data itself, as all that came
//! before is right. So nothing is written, nothing waits for what was written before, and
//! differences need not stop anything: they are gathered, and looked at in the end.
//!
//! Two lanes, as in the decompressor: [`Checker::fast`] for what is frequent and has room around
//! it, [`Checker::careful`] for everything.

use super::{
    decompress::long_len,
    END,
    M2_MAX_DISTANCE,
    M3_MAX_DISTANCE,
    VERSION_MARK, //
};

/// Whether `src` is an LZO1X stream of exactly `data`: whether [`decompress`](super::decompress)
/// would succeed, with these bytes and no more.
///
/// `src` must be the stream and nothing else. Any `src` is safe.
pub fn equals(src: &[u8], data: &[u8]) -> bool {
    check(src, data).is_some()
}

fn check(src: &[u8], data: &[u8]) -> Option<()> {
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
            return (checker.at == data.len()).then_some(());
        }
    }
}

/// [`Checker::state`] after a literal run.
const RUN: usize = 4;

/// Where checking stands, between two instructions. All of `data` up to `at` is right.
struct Checker<'a> {
    /// The stream from the next instruction on.
    input: &'a [u8],
    data: &'a [u8],
    at: usize,
    /// How many literals the last instruction had, [`RUN`] for all above 3.
    state: usize,
}

impl Checker<'_> {
    /// Checks instructions while there is room around them. [`None`] if one was not right.
    #[inline(never)]
    fn fast(&mut self) -> Option<()> {
        let Checker {
            mut input,
            data,
            mut at,
            mut state,
        } = *self;
        // Bits that differ.
        let mut wrong = 0u64;

        while let Some(&head) = input.first_chunk::<8>() {
            if wrong != 0 {
                return None;
            }
            let mut word = u64::from_le_bytes(head);
            let t = (word & 0xff) as usize;
            let (len, distance, next, literals, after);
            if t >= 64 {
                len = (t >> 5) + 1;
                distance = 1 + ((t >> 2) & 7) + ((word >> 5) & 0x7f8) as usize;
                next = t & 3;
                literals = (word >> 16) as u32;
                after = input.get(2..)?;
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
                    after = rest.get(2..)?;
                    short = 31 + extra;
                } else {
                    after = input.get(3..)?;
                }
                len = 2 + short;
                distance = 1 + ((word >> 10) & 0x3fff) as usize;
                next = ((word >> 8) & 3) as usize;
                literals = (word >> 24) as u32;
            } else if (1..14).contains(&t) && state == 0 {
                // A run of up to 16 literals.
                let (Some(made), Some(wanted)) = (input.first_chunk::<17>(), chunk(data, at))
                else {
                    break;
                };
                let run = t + 3;
                wrong |= differs(made.last_chunk()?, wanted, run);
                input = input.get(1 + run..)?;
                // Here and below: no sum is beyond the end of `data`, where bytes were just read.
                at = at.wrapping_add(run);
                state = RUN;
                continue;
            } else {
                break;
            }

            let Some(rest) = after.get(next..) else {
                break;
            };
            let Some(from) = at.checked_sub(distance) else {
                break;
            };
            // Sixteen bytes at a time, and the last may reach beyond the match: most end here.
            let (mut left, mut old, mut new) = (len, from, at);
            while left > 16 {
                wrong |= differs(chunk::<16>(data, old)?, chunk::<16>(data, new)?, 16);
                old = old.wrapping_add(16);
                new = new.wrapping_add(16);
                left -= 16;
            }
            let (Some(a), Some(b)) = (chunk::<16>(data, old), chunk::<20>(data, new)) else {
                break;
            };
            let (Some(b16), Some(behind)) = (b.first_chunk(), chunk::<4>(b, left)) else {
                break;
            };
            wrong |= differs(a, b16, left);
            wrong |= u64::from((u32::from_le_bytes(*behind) ^ literals) & LITERALS[next]);
            input = rest;
            at = new.wrapping_add(left + next);
            state = next;
        }
        self.input = input;
        self.at = at;
        self.state = state;
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
        let wanted = self.data.get(self.at..)?.get(..len)?;
        self.input = rest;
        self.at = self.at.saturating_add(len);
        (made == wanted).then_some(())
    }

    /// Checks `len` bytes that came `distance` before as well.
    fn matched(&mut self, len: usize, distance: usize) -> Option<()> {
        let old = self
            .data
            .get(self.at.checked_sub(distance)?..)?
            .get(..len)?;
        let new = self.data.get(self.at..)?.get(..len)?;
        self.at = self.at.saturating_add(len);
        (old == new).then_some(())
    }
}

/// Ones for so many of 16 bytes, the lower ones first.
const FIRST: [[u64; 2]; 17] = {
    let mut masks = [[0; 2]; 17];
    let mut bytes = 0;
    while bytes <= 16 {
        let ones = match bytes {
            16 => u128::MAX,
            _ => (1u128 << (8 * bytes)) - 1,
        };
        masks[bytes] = [ones as u64, (ones >> 64) as u64];
        bytes += 1;
    }
    masks
};

/// Ones for so many of four bytes.
const LITERALS: [u32; 4] = [0, 0xff, 0xffff, 0xff_ffff];

/// Zero if the first `len` bytes are equal, at most 16.
#[inline(always)]
fn differs(a: &[u8; 16], b: &[u8; 16], len: usize) -> u64 {
    let [low, high] = FIRST.get(len).copied().unwrap_or([u64::MAX; 2]);
    let (a, b) = (u128::from_le_bytes(*a), u128::from_le_bytes(*b));
    let differs = a ^ b;
    ((differs as u64) & low) | (((differs >> 64) as u64) & high)
}

/// The `N` bytes at `at`.
#[inline(always)]
fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Option<&[u8; N]> {
    bytes.get(at..)?.first_chunk()
}
