// SPDX-License-Identifier: GPL-2.0

//! The LZO1X decompressor.

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
    let (mut ip, mut op) = (0, 0);
    let mut state;

    if src[0] == VERSION_MARK && src.len() >= 5 {
        if src[1] != 0 {
            return Err(Error::UnsupportedVersion);
        }
        ip = 2;
    }
    let first = usize::from(src[ip]);
    if first > 17 {
        ip += 1;
        copy_literals(dst, &mut op, src, &mut ip, first - 17)?;
        state = (first - 17).min(4);
    } else {
        state = 0;
    }

    loop {
        let t = usize::from(byte(src, &mut ip)?);
        let (len, distance, next);
        if t >= 64 {
            len = (t >> 5) + 1;
            distance = 1 + ((t >> 2) & 7) + (usize::from(byte(src, &mut ip)?) << 3);
            next = t & 3;
        } else if t >= 16 {
            let (mask, base) = if t >= 32 {
                (31, 1)
            } else {
                (7, M3_MAX_DISTANCE + ((t & 8) << 11))
            };
            len = 2 + match t & mask {
                0 => long_len(src, &mut ip)?.saturating_add(mask),
                short => short,
            };
            let low = usize::from(byte(src, &mut ip)?);
            let high = usize::from(byte(src, &mut ip)?);
            distance = base + (low >> 2) + (high << 6);
            next = low & 3;
            if distance == M3_MAX_DISTANCE && t < 32 {
                return if len != 3 {
                    Err(Error::BadEndMark)
                } else if ip != src.len() {
                    Err(Error::InputNotConsumed)
                } else {
                    Ok(op)
                };
            }
        } else if state == 0 {
            let run = 3 + match t {
                0 => long_len(src, &mut ip)?.saturating_add(15),
                short => short,
            };
            copy_literals(dst, &mut op, src, &mut ip, run)?;
            state = 4;
            continue;
        } else {
            let far = state == 4;
            len = 2 + usize::from(far);
            distance = 1
                + (t >> 2)
                + (usize::from(byte(src, &mut ip)?) << 2)
                + if far { M2_MAX_DISTANCE } else { 0 };
            next = t & 3;
        }

        if distance > op {
            return Err(Error::LookbehindOverrun);
        }
        if len > dst.len() - op {
            return Err(Error::OutputOverrun);
        }
        for at in op..op + len {
            dst[at] = dst[at - distance];
        }
        op += len;
        copy_literals(dst, &mut op, src, &mut ip, next)?;
        state = next;
    }
}

#[inline(always)]
fn byte(src: &[u8], ip: &mut usize) -> Result<u8, Error> {
    let byte = *src.get(*ip).ok_or(Error::InputOverrun)?;
    *ip += 1;
    Ok(byte)
}

/// Reads a length that did not fit its field, without what the field stands for. Saturates.
fn long_len(src: &[u8], ip: &mut usize) -> Result<usize, Error> {
    let mut len = 0usize;
    loop {
        match byte(src, ip)? {
            0 => len = len.saturating_add(255),
            last => return Ok(len.saturating_add(usize::from(last)) & (usize::MAX >> 1)),
        }
    }
}

fn copy_literals(
    dst: &mut [u8],
    op: &mut usize,
    src: &[u8],
    ip: &mut usize,
    len: usize,
) -> Result<(), Error> {
    let from = src.get(*ip..).and_then(|rest| rest.get(..len));
    let to = dst.get_mut(*op..).and_then(|rest| rest.get_mut(..len));
    to.ok_or(Error::OutputOverrun)?
        .copy_from_slice(from.ok_or(Error::InputOverrun)?);
    *ip += len;
    *op += len;
    Ok(())
}
