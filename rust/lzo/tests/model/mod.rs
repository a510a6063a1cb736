// SPDX-License-Identifier: GPL-2.0

//! LZO1X as plainly as it can be said: the decoder that the fast one is measured against.
//!
//! Byte by byte, one check before each step, no thought for speed.

use lzo_rs::Error;

struct Stream<'a> {
    rest: &'a [u8],
    data: Vec<u8>,
    room: usize,
}

impl Stream<'_> {
    fn byte(&mut self) -> Result<usize, Error> {
        let (&first, rest) = self.rest.split_first().ok_or(Error::InputOverrun)?;
        self.rest = rest;
        Ok(usize::from(first))
    }

    /// A length of which the field of the instruction held `field`, and can hold up to `max`.
    fn length(&mut self, field: usize, max: usize) -> Result<usize, Error> {
        if field != 0 {
            return Ok(field);
        }
        let mut length = max;
        loop {
            match self.byte()? {
                0 => length += 255,
                last => return Ok(length + last),
            }
        }
    }

    fn push(&mut self, byte: u8) -> Result<(), Error> {
        if self.data.len() == self.room {
            return Err(Error::OutputOverrun);
        }
        self.data.push(byte);
        Ok(())
    }

    fn literals(&mut self, count: usize) -> Result<(), Error> {
        if count > self.rest.len() {
            return Err(Error::InputOverrun);
        }
        for _ in 0..count {
            let byte = self.byte()?;
            self.push(byte as u8)?;
        }
        Ok(())
    }

    fn matched(&mut self, length: usize, distance: usize) -> Result<(), Error> {
        if distance > self.data.len() {
            return Err(Error::LookbehindOverrun);
        }
        for _ in 0..length {
            self.push(self.data[self.data.len() - distance])?;
        }
        Ok(())
    }
}

/// Decompresses `src` to at most `room` bytes.
pub fn decompress(src: &[u8], room: usize) -> Result<Vec<u8>, Error> {
    let mut s = Stream {
        rest: src,
        data: Vec::new(),
        room,
    };
    if src.len() < 3 {
        return Err(Error::InputOverrun);
    }
    if src.len() >= 5 && src[0] == 17 {
        if src[1] != 0 {
            return Err(Error::UnsupportedVersion);
        }
        s.rest = &src[2..];
    }

    // How many literals the last instruction copied; 4 stands for all above 3.
    let mut before = 0;
    if s.rest[0] > 17 {
        let count = s.byte()? - 17;
        s.literals(count)?;
        before = count.min(4);
    }
    loop {
        let op = s.byte()?;
        let (length, distance, after);
        match (op, before) {
            (0..16, 0) => {
                let count = 3 + s.length(op, 15)?;
                s.literals(count)?;
                before = 4;
                continue;
            }
            (0..16, 1..4) => {
                length = 2;
                distance = (s.byte()? << 2) + (op >> 2) + 1;
                after = op & 3;
            }
            (0..16, _) => {
                length = 3;
                distance = (s.byte()? << 2) + (op >> 2) + 2049;
                after = op & 3;
            }
            (16..32, _) => {
                length = 2 + s.length(op & 7, 7)?;
                let d = s.byte()? | s.byte()? << 8;
                distance = 16384 + ((op & 8) << 11) + (d >> 2);
                after = d & 3;
                if distance == 16384 {
                    return match (length, s.rest) {
                        (3, []) => Ok(s.data),
                        (3, _) => Err(Error::InputNotConsumed),
                        _ => Err(Error::BadEndMark),
                    };
                }
            }
            (32..64, _) => {
                length = 2 + s.length(op & 31, 31)?;
                let d = s.byte()? | s.byte()? << 8;
                distance = (d >> 2) + 1;
                after = d & 3;
            }
            (_, _) => {
                length = (op >> 5) + 1;
                distance = (s.byte()? << 3) + ((op >> 2) & 7) + 1;
                after = op & 3;
            }
        }
        s.matched(length, distance)?;
        s.literals(after)?;
        before = after;
    }
}
