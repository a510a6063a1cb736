// SPDX-License-Identifier: GPL-2.0

//! The same streams, the same data, here and in C.

use lzo_peers::{
    data::{
        mixed,
        Random, //
    },
    kernel, lzo2, require,
    targets::{
        kernel_reads_us,
        lzo2_reads_us,
        same_as_kernel,
        same_as_lzo2, //
    },
};
use lzo_rs::{
    compress,
    worst_case,
    Workspace, //
};

fn kernel_is_there() -> bool {
    require(kernel::PRESENT, kernel::NAME)
}

fn lzo2_is_there() -> bool {
    require(lzo2::PRESENT, lzo2::NAME)
}

/// Data of every length up to a page and a bit, and of some longer ones.
fn for_all_data(check: impl Fn(&[u8])) {
    for len in (0..4200).chain([8192, 16384, 16500, 32768, 49152, 49300, 65535, 65536]) {
        check(&mixed(len, 60, len as u64));
        if len % 16 < 2 {
            for noise in [0, 10, 256] {
                check(&mixed(len, noise, len as u64));
            }
        }
    }
    // Longer than we compress at once: theirs must be read all the same.
    for noise in [0, 30, 256] {
        check(&mixed(300_000, noise, 1));
    }
    // Pages that are there on every machine, of code and of text.
    let text = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/differential.rs");
    for file in [std::env::current_exe().unwrap(), text.into()] {
        let pages = std::fs::read(file).unwrap();
        for page in pages.chunks(4096).take(1000) {
            check(page);
        }
    }
}

/// Streams that are none: short ones, all instructions, damaged ones of ours and of others.
fn for_all_streams(check: impl Fn(&[u8], usize)) {
    for len in 0..3 {
        for word in 0..1u32 << (8 * len) {
            check(&word.to_le_bytes()[..len], 8);
        }
    }
    for lead in [
        &[][..],
        &[0x12, 1],
        &[0x14, 1, 2, 3],
        &[0x15, 1, 2, 3, 4],
        &[0x15, 1, 2, 3, 4, 0x60, 0],
        &[17, 0, 0x12, 1],
    ] {
        for word in 0..1u32 << 16 {
            for third in [0, 1, 0x11, 0xff] {
                let op = [word as u8, (word >> 8) as u8, third];
                check(&[lead, &op, &[0x11, 0, 0]].concat(), 300);
                check(&[lead, &op, &[0, 0x11, 0, 0]].concat(), 300);
            }
        }
    }

    let ws = &mut Workspace::new();
    let mut random = Random::new(3);
    for round in 0..30_000 {
        let data = mixed(
            1 + random.below(1500),
            [10, 60, 120][round % 3],
            round as u64,
        );
        let mut stream = vec![0; worst_case(data.len())];
        let n = compress(&data, &mut stream, ws).unwrap();
        stream.truncate(n);
        if lzo2::PRESENT && round % 4 == 0 {
            stream = lzo2::compress(&data, 999).unwrap();
        }
        for _ in 0..random.below(4) {
            let at = random.below(stream.len());
            stream[at] = match random.below(3) {
                0 => 0,
                1 => stream[at] ^ (1 << random.below(8)),
                _ => random.word() as u8,
            };
        }
        if round % 5 == 0 {
            stream.truncate(random.below(stream.len()));
        }
        check(&stream, data.len());
        check(&stream, data.len() + random.below(40));
        check(&stream, data.len() - random.below(40).min(data.len()));
    }
    for _ in 0..100_000 {
        let stream: Vec<_> = (0..random.below(60)).map(|_| random.word() as u8).collect();
        check(&stream, random.below(600));
    }
    check(
        &[
            &[0x15, 1, 2, 3, 4, 0x20][..],
            &vec![0; 1 << 24],
            &[1, 0, 0, 0x11, 0, 0],
        ]
        .concat(),
        64,
    );
}

#[test]
fn data_to_and_from_the_kernel() {
    if kernel_is_there() {
        for_all_data(kernel_reads_us);
    }
}

#[test]
fn data_to_and_from_liblzo2() {
    if lzo2_is_there() {
        for_all_data(lzo2_reads_us);
    }
}

#[test]
fn any_stream_as_the_kernel() {
    if kernel_is_there() {
        for_all_streams(same_as_kernel);
    }
}

#[test]
fn any_stream_as_liblzo2() {
    if lzo2_is_there() {
        for_all_streams(same_as_lzo2);
    }
}

/// Sizes side by side, for the pages of this very program.
#[test]
fn as_small_as_the_kernel() {
    if !kernel_is_there() {
        return;
    }
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let mut out = vec![0; worst_case(4096)];
    let (mut ours, mut theirs) = (0, 0);
    for page in program.chunks_exact(4096).take(2000) {
        ours += compress(page, &mut out, &mut Workspace::new()).unwrap();
        theirs += kernel::compress(page, &mut out, &mut [0; kernel::WORK / 8]).unwrap();
    }
    assert!(
        ours * 200 <= theirs * 201,
        "{ours} bytes, not {theirs} and half a percent"
    );
}
