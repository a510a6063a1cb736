// SPDX-License-Identifier: GPL-2.0

//! What was compressed comes back.

use lzo_rs::{
    compress,
    decompress,
    worst_case,
    Workspace,
    MAX_INPUT, //
};

/// A small generator: the tests must not depend on luck.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Data in which matches of all distances and lengths occur; `noise` in 256 is fresh bytes.
fn mixed(len: usize, noise: u64, seed: u64) -> Vec<u8> {
    let mut random = Random(seed | 1);
    let mut data = Vec::with_capacity(len + 64);
    while data.len() < len {
        if data.is_empty() || random.next() % 256 < noise {
            for _ in 0..random.next() % 24 {
                data.push(random.next() as u8);
            }
        } else {
            let distance = 1 + random.next() as usize % data.len();
            for _ in 0..2 + random.next() % 40 {
                data.push(data[data.len() - distance]);
            }
        }
    }
    data.truncate(len);
    data
}

fn check(data: &[u8], ws: &mut Workspace) {
    let mut packed = vec![0xa5; worst_case(data.len())];
    let n = compress(data, &mut packed, ws).unwrap();
    let mut back = vec![0x5a; data.len()];
    assert_eq!(decompress(&packed[..n], &mut back), Ok(data.len()));
    assert!(
        back == data,
        "{} bytes differ after a round trip",
        data.len()
    );
}

#[test]
fn every_length_up_to_a_page_and_a_bit() {
    let ws = &mut Workspace::new();
    for len in 0..=4200 {
        check(&vec![0; len], ws);
        check(&mixed(len, 256, 1), ws);
        check(&mixed(len, 60, len as u64), ws);
    }
}

#[test]
fn long_inputs() {
    let ws = &mut Workspace::new();
    for len in [8192, 16384, 16405, 49151, 49152, 49153, 65535, MAX_INPUT] {
        for noise in [0, 1, 10, 100, 256] {
            check(&mixed(len, noise, len as u64), ws);
        }
    }
}
