// SPDX-License-Identifier: GPL-2.0

//! Blocks that describe themselves.
//!
//! A block knows the file, the place and the write that it was made for, and
//! carries a checksum; so a wrong one tells whose it is and how old.

/// Bytes of a block: the smallest that any file system here can move.
pub const BLOCK: usize = 512;
/// Bytes of a page.
pub const PAGE: usize = 4096;
/// Blocks of a page.
pub const PER_PAGE: usize = PAGE / BLOCK;
const WORDS: usize = BLOCK / 8;
/// Words that do not compress; the rest of a block repeats one.
const NOISE: usize = 24;

/// Who made a block. All zero: nobody, a hole.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stamp {
    /// The file, over all files ever made in this run.
    pub file: u32,
    /// The block's place when it was written. It may have been moved since.
    pub place: u32,
    /// The write, counted over the run.
    pub write: u32,
}

impl Stamp {
    /// What a hole has.
    pub const HOLE: Stamp = Stamp {
        file: 0,
        place: 0,
        write: 0,
    };

    fn words(self) -> [u64; 2] {
        let first = u64::from(self.file) << 32 | u64::from(self.place);
        let second = u64::from(self.write) << 32;
        let check = mix(first ^ mix(second)) >> 32;
        [first, second | check]
    }
}

/// splitmix64's finisher: each bit of the result depends on each of `x`.
pub fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn word(head: [u64; 2], number: usize) -> u64 {
    let seed = head[0].wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ head[1];
    match number {
        0 | 1 => head[number],
        2..NOISE => seed.wrapping_mul(2 * number as u64 + 1).rotate_left(17) ^ seed,
        _ => seed,
    }
}

/// Makes a block.
pub fn fill(block: &mut [u8], stamp: Stamp) {
    if stamp == Stamp::HOLE {
        block.fill(0);
        return;
    }
    let head = stamp.words();
    for (number, bytes) in block.chunks_exact_mut(8).enumerate() {
        bytes.copy_from_slice(&word(head, number).to_le_bytes());
    }
}

/// Is this block the one with that stamp, to the last byte?
pub fn is(block: &[u8], stamp: Stamp) -> bool {
    if stamp == Stamp::HOLE {
        return block.iter().all(|byte| *byte == 0);
    }
    let head = stamp.words();
    block
        .chunks_exact(8)
        .enumerate()
        .all(|(number, bytes)| bytes == word(head, number).to_le_bytes())
}

/// The stamp of a block, if it is whole.
pub fn read(block: &[u8]) -> Option<Stamp> {
    if block.iter().all(|byte| *byte == 0) {
        return Some(Stamp::HOLE);
    }
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&block[8 * at..8 * at + 8]);
        u64::from_le_bytes(bytes)
    };
    let stamp = Stamp {
        file: (number(0) >> 32) as u32,
        place: number(0) as u32,
        write: (number(1) >> 32) as u32,
    };
    (block.len() == 8 * WORDS && is(block, stamp)).then_some(stamp)
}

/// Says whose block it is.
pub fn describe(block: &[u8]) -> String {
    match read(block) {
        Some(Stamp::HOLE) => "zeros".to_string(),
        Some(stamp) => format!(
            "file {}, block {}, write {}",
            stamp.file, stamp.place, stamp.write
        ),
        None => format!("no block at all: {:02x?}...", &block[..24]),
    }
}

/// Numbers that are the same for the same seed.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    /// A row of numbers.
    pub fn new(seed: u64) -> Self {
        Random(mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)) | 1)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_tells_whose_it_is() {
        let stamp = Stamp {
            file: 3,
            place: 70_000,
            write: 9,
        };
        let mut block = [0; BLOCK];
        fill(&mut block, stamp);
        assert_eq!(read(&block), Some(stamp));
        assert!(is(&block, stamp));
        assert!(!is(&block, Stamp { write: 8, ..stamp }));
        for place in [0, 8, 12, 100, BLOCK - 1] {
            let mut bad = block;
            bad[place] ^= 1;
            assert_eq!(read(&bad), None, "byte {place}");
            assert!(!is(&bad, stamp));
        }
        fill(&mut block, Stamp::HOLE);
        assert_eq!(read(&block), Some(Stamp::HOLE));
    }
}
