// SPDX-License-Identifier: GPL-2.0

//! Data for the tests, the same on every run.

/// A small generator (xorshift): the tests must not depend on luck.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.word() >> 16) as usize % n
    }
}

/// Data in which matches of all distances and lengths occur; `noise` in 256 is fresh bytes.
pub fn mixed(len: usize, noise: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut data = Vec::with_capacity(len + 2048);
    while data.len() < len {
        if data.is_empty() || random.below(256) < noise {
            for _ in 0..=random.below(24) {
                data.push(random.word() as u8);
            }
            continue;
        }
        // Short distances and short lengths are the usual ones, the others must occur too.
        let reach = [8, 64, 2048, 3072, data.len()][random.below(5)].min(data.len());
        let distance = 1 + random.below(reach);
        let most = [8, 40, 40, 1000][random.below(4)];
        for _ in 0..2 + random.below(most) {
            data.push(data[data.len() - distance]);
        }
    }
    data.truncate(len);
    data
}
