// SPDX-License-Identifier: GPL-2.0

//! What was compressed comes back, and a limit on the output is kept to the byte.

mod data;
mod model;

use data::mixed;
use lzo_rs::{
    compress,
    decompress,
    worst_case,
    Error,
    Workspace,
    MAX_INPUT, //
};
use proptest::prelude::*;

/// Compresses `data`, checks that it comes back, and returns the stream.
fn check(data: &[u8], ws: &mut Workspace) -> Vec<u8> {
    let mut packed = vec![0xa5; worst_case(data.len())];
    let n = compress(data, &mut packed, ws).unwrap();
    packed.truncate(n);

    // Exactly full, and with room to spare: the decoder takes different ways.
    for room in [data.len(), data.len() + 100] {
        let mut back = vec![0x5a; room];
        assert_eq!(decompress(&packed, &mut back), Ok(data.len()));
        assert!(
            back[..data.len()] == *data,
            "{} bytes came back changed",
            data.len()
        );
    }
    packed
}

/// Compresses `data` into every length of output near that of `packed`, its stream.
fn check_limits(data: &[u8], packed: &[u8], ws: &mut Workspace) {
    let n = packed.len();
    for room in (0..40).chain(n.saturating_sub(40)..n + 40) {
        // One byte more than is lent: it must stay.
        let mut out = vec![0xa5; room + 1];
        let result = compress(data, &mut out[..room], ws);
        if room < n {
            assert_eq!(
                result,
                Err(Error::OutputFull),
                "{n} bytes cannot fit into {room}"
            );
        } else {
            assert_eq!(result, Ok(n));
            assert_eq!(out[..n], *packed);
        }
        assert_eq!(out[room], 0xa5);
    }
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
fn long_inputs_with_distances_up_to_the_longest() {
    let ws = &mut Workspace::new();
    for len in [8192, 16384, 16405, 49151, 49152, 49153, 65535, MAX_INPUT] {
        for noise in [0, 1, 10, 100, 256] {
            check(&mixed(len, noise, len as u64), ws);
        }
    }
    // The same 40 bytes of noise twice, this far apart, or other 40 bytes.
    let noise = mixed(80, 256, 7);
    for distance in [
        1000, 2048, 2049, 16384, 16385, 32767, 32768, 32769, 49151, 49152, 65000,
    ] {
        let packed = [0, 40].map(|second| {
            let mut data = vec![0; MAX_INPUT];
            data[100..140].copy_from_slice(&noise[..40]);
            data[100 + distance..140 + distance].copy_from_slice(&noise[second..second + 40]);
            check(&data, ws).len()
        });
        assert_eq!(
            packed[0] < packed[1],
            distance <= 49151,
            "{packed:?} at {distance}"
        );
    }
}

#[test]
fn input_too_long() {
    let ws = &mut Workspace::new();
    let mut out = vec![0; worst_case(MAX_INPUT + 1)];
    let result = compress(&vec![0; MAX_INPUT + 1], &mut out, ws);
    assert_eq!(result, Err(Error::InputTooLong));
}

#[test]
fn the_worst_case_holds() {
    let ws = &mut Workspace::new();
    for len in (0..600).chain([4095, 4096, 4097, MAX_INPUT]) {
        // Noise is one literal run; 4 noisy bytes between short matches is what costs most else.
        check(&mixed(len, 256, 3), ws);
        for period in 4..12 {
            let mut data = mixed(len, 256, 5);
            for at in (period..len.saturating_sub(4)).step_by(period) {
                data.copy_within(0..4, at);
            }
            check(&data, ws);
        }
    }
    assert_eq!(worst_case(4096), 4421);
    assert_eq!(worst_case(usize::MAX), usize::MAX);
}

#[test]
fn a_limit_is_kept_to_the_byte() {
    let ws = &mut Workspace::new();
    for len in (0..300).chain([1000, 4096]) {
        for noise in [0, 20, 60, 120, 256] {
            let data = mixed(len, noise, (len + noise) as u64);
            let packed = check(&data, ws);
            check_limits(&data, &packed, ws);
        }
    }
    // Every limit there is, for a page.
    let data = mixed(4096, 60, 9);
    let n = check(&data, ws).len();
    let mut out = vec![0; n];
    for room in 0..n {
        assert_eq!(
            compress(&data, &mut out[..room], ws),
            Err(Error::OutputFull)
        );
    }
}

#[test]
fn a_used_workspace_is_as_good_as_a_new_one() {
    let ws = &mut Workspace::default();
    check(&mixed(MAX_INPUT, 30, 2), ws);
    for seed in 0..50 {
        let data = mixed(4096, 60, seed);
        assert_eq!(check(&data, ws), check(&data, &mut Workspace::new()));
    }
    assert_eq!(size_of::<Workspace>(), 8192);
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_bytes(data in prop::collection::vec(any::<u8>(), 0..6000)) {
        check(&data, &mut Workspace::new());
    }

    #[test]
    fn few_symbols(data in prop::collection::vec(0..4u8, 0..6000)) {
        let ws = &mut Workspace::new();
        let packed = check(&data, ws);
        check_limits(&data, &packed, ws);
    }

    #[test]
    fn repeats(len in 0..=MAX_INPUT, noise in 0..=256usize, seed: u64) {
        let data = mixed(len, noise, seed);
        let packed = check(&data, &mut Workspace::new());
        prop_assert_eq!(model::decompress(&packed, len), Ok(data));
    }
}
