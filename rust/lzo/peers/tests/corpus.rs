// SPDX-License-Identifier: GPL-2.0

//! Runs every file of the fuzzer's corpora through its target, without the fuzzer.

use lzo_peers::{
    kernel,
    lzo2,
    require,
    targets, //
};
use std::{
    fs,
    path::Path, //
};

fn run(name: &str, target: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(name);
    let mut count = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        // The harness shows this if the target panics.
        println!("{}", path.display());
        target(&fs::read(path).unwrap());
        count += 1;
    }
    assert!(count > 20, "only {count} files of {name}");
}

#[test]
fn decode_any() {
    run("decode_any", targets::decode_any);
}

#[test]
fn round_trip() {
    run("round_trip", targets::round_trip);
}

#[test]
fn differential() {
    require(kernel::PRESENT, kernel::NAME);
    require(lzo2::PRESENT, lzo2::NAME);
    run("differential", targets::differential);
}
