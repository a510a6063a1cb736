// SPDX-License-Identifier: GPL-2.0

//! A stream is told to be that of some data exactly if decompressing it says so.
//!
//! What is no stream, and streams of no compressor, are in `hostile.rs`.

mod data;

use data::{
    mixed,
    Random, //
};
use lzo_rs::{
    compress,
    decompress,
    equals,
    worst_case,
    Workspace, //
};
use proptest::prelude::*;

fn packed(data: &[u8]) -> Vec<u8> {
    let mut packed = vec![0; worst_case(data.len())];
    let len = compress(data, &mut packed, &mut Workspace::new()).unwrap();
    packed.truncate(len);
    packed
}

/// What [`equals`] must say.
fn expected(stream: &[u8], data: &[u8]) -> bool {
    // One byte of room more: a stream of more data than this is another one.
    let mut out = vec![0; data.len() + 1];
    decompress(stream, &mut out) == Ok(data.len()) && out[..data.len()] == *data
}

#[test]
fn every_length_up_to_a_page_and_a_bit() {
    for len in 0..4200 {
        let mut data = mixed(len, 20 + len % 40, len as u64);
        let stream = packed(&data);
        assert!(equals(&stream, &data), "{len} bytes");
        assert!(len == 0 || !equals(&stream, &data[..len - 1]));
        data.push(0);
        assert!(!equals(&stream, &data));
    }
}

#[test]
fn every_byte_of_a_page_counts() {
    for (seed, noise) in [(1, 4), (2, 16), (3, 40), (4, 100)] {
        let mut data = mixed(4096, noise, seed);
        let stream = packed(&data);
        assert!(equals(&stream, &data));
        for place in 0..data.len() {
            for bit in 0..8 {
                data[place] ^= 1 << bit;
                assert!(!equals(&stream, &data), "byte {place}, bit {bit}");
                data[place] ^= 1 << bit;
            }
        }
        assert!(equals(&stream, &data));
    }
}

/// Two bytes that are wrong in the same way are not right together.
#[test]
fn differences_do_not_make_up_for_each_other() {
    let mut random = Random::new(5);
    for seed in 0..20 {
        let mut data = mixed(4096, 30, seed);
        let stream = packed(&data);
        for _ in 0..2000 {
            let (a, b, bit) = (random.below(4096), random.below(4096), random.below(8));
            data[a] ^= 1 << bit;
            data[b] ^= 1 << bit;
            assert_eq!(equals(&stream, &data), a == b, "bytes {a} and {b}");
            data[a] ^= 1 << bit;
            data[b] ^= 1 << bit;
        }
    }
}

#[test]
fn every_change_of_a_stream_is_judged_as_by_the_decoder() {
    let mut equal = 0;
    for seed in 0..3 {
        let data = mixed(1500, 30, seed);
        let mut stream = packed(&data);
        for place in 0..stream.len() {
            for change in 1..=255 {
                stream[place] ^= change;
                let judged = equals(&stream, &data);
                assert_eq!(judged, expected(&stream, &data), "byte {place} ^ {change}");
                equal += u32::from(judged);
                stream[place] ^= change;
            }
            // Cut off.
            assert!(!equals(&stream[..place], &data));
        }
        stream.push(0);
        assert!(!equals(&stream, &data));
    }
    // Some other distances lead to the same bytes.
    assert!(equal > 0);
}

#[test]
fn short_distances_and_long_lengths() {
    for period in 1..20 {
        for len in [20, 33, 34, 100, 4096, 10000, 60000] {
            let mut data: Vec<u8> = (0..len).map(|n| (n % period) as u8).collect();
            let stream = packed(&data);
            assert!(equals(&stream, &data), "period {period}, {len} bytes");
            for place in [0, period, len / 2, len - 17, len - 16, len - 1] {
                data[place] ^= 1;
                assert!(!equals(&stream, &data), "period {period}, byte {place}");
                data[place] ^= 1;
            }
        }
    }
}

/// Matches and runs around the lengths at which another piece of code takes over.
#[test]
fn every_length_of_a_match_and_of_a_run() {
    let mut random = Random::new(9);
    let noise: Vec<u8> = (0..600).map(|_| random.word() as u8).collect();
    for run in 0..40 {
        for len in 3..80 {
            let mut data = noise[..300].to_vec();
            data.extend(&noise[100..100 + len]);
            data.extend(&noise[300..300 + run]);
            data.extend(&noise[7..80]);
            data.extend(&noise[400..]);
            let stream = packed(&data);
            assert!(equals(&stream, &data));
            for place in 298..302 + len + run {
                data[place] ^= 0x40;
                assert!(!equals(&stream, &data), "{len}, {run}: byte {place}");
                data[place] ^= 0x40;
            }
        }
    }
}

proptest! {
    #[test]
    fn any_stream_is_judged_as_by_the_decoder(
        stream in prop::collection::vec(any::<u8>(), 0..200),
        room in 0usize..400,
    ) {
        let mut out = vec![0; room];
        if let Ok(len) = decompress(&stream, &mut out) {
            prop_assert!(equals(&stream, &out[..len]));
            if len > 0 {
                out[len / 2] ^= 1;
                prop_assert!(!equals(&stream, &out[..len]));
            }
        } else {
            prop_assert!(!equals(&stream, &out));
        }
    }

    #[test]
    fn any_data_is_equal_to_its_stream(data in prop::collection::vec(0u8..4, 0..3000)) {
        prop_assert!(equals(&packed(&data), &data));
    }

    /// A stream with some bytes changed, against what it makes and against what it made.
    #[test]
    fn changed_streams_are_judged_as_by_the_decoder(
        seed in any::<u64>(),
        noise in 1usize..120,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let data = mixed(4096, noise, seed);
        let mut stream = packed(&data);
        for (place, byte) in changes {
            let place = place.index(stream.len());
            stream[place] = byte;
        }
        prop_assert_eq!(equals(&stream, &data), expected(&stream, &data));
        let mut out = vec![0; 5000];
        match decompress(&stream, &mut out) {
            Ok(len) => prop_assert!(equals(&stream, &out[..len])),
            Err(_) => prop_assert!(!equals(&stream, &out) && !equals(&stream, &out[..4096])),
        }
    }
}
