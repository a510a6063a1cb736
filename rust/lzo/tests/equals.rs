// SPDX-License-Identifier: GPL-2.0

//! A stream is told to be that of some data exactly if decompressing it says so.

mod data;

use data::mixed;
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

/// What `equals` must say.
fn expected(stream: &[u8], data: &[u8]) -> bool {
    // One byte of room more: a stream of more data than this is another one.
    let mut out = vec![0; data.len() + 1];
    decompress(stream, &mut out) == Ok(data.len()) && out[..data.len()] == *data
}

#[test]
fn every_length_up_to_a_page_and_a_bit() {
    for len in 0..4200 {
        let data = mixed(len, 20 + len % 80, len as u64);
        let stream = packed(&data);
        assert!(equals(&stream, &data), "{len} bytes");
        assert!(!equals(&stream, &data[..len.saturating_sub(1)]) || len == 0);
        let mut longer = data.clone();
        longer.push(0);
        assert!(!equals(&stream, &longer));
    }
}

#[test]
fn every_byte_counts() {
    for seed in 0..4 {
        let mut data = mixed(4096, 60, seed);
        let stream = packed(&data);
        for place in 0..data.len() {
            for bit in [0, 3, 7] {
                data[place] ^= 1 << bit;
                assert!(!equals(&stream, &data), "byte {place}, bit {bit}");
                data[place] ^= 1 << bit;
            }
        }
        assert!(equals(&stream, &data));
    }
}

#[test]
fn every_change_of_a_stream_is_judged_as_by_the_decoder() {
    let mut equal = 0;
    for seed in 0..3 {
        let data = mixed(1500, 60, 100 + seed);
        let mut stream = packed(&data);
        for place in 0..stream.len() {
            for change in [1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80, 0xff] {
                stream[place] ^= change;
                let judged = equals(&stream, &data);
                assert_eq!(judged, expected(&stream, &data), "byte {place} ^ {change}");
                equal += u32::from(judged);
                stream[place] ^= change;
            }
            // Cut off, and with something behind it.
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
        for len in [20, 100, 4096, 10000, 60000] {
            let mut data: Vec<u8> = (0..len).map(|n| (n % period) as u8).collect();
            let stream = packed(&data);
            assert!(equals(&stream, &data), "period {period}, {len} bytes");
            for place in [0, period, len / 2, len - 1] {
                data[place] ^= 1;
                assert_eq!(equals(&stream, &data), expected(&stream, &data));
                data[place] ^= 1;
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
                prop_assert_eq!(equals(&stream, &out[..len]), expected(&stream, &out[..len]));
            }
        } else {
            prop_assert!(!equals(&stream, &out) || expected(&stream, &out));
        }
    }

    #[test]
    fn any_data_is_equal_to_its_stream(data in prop::collection::vec(0u8..4, 0..3000)) {
        prop_assert!(equals(&packed(&data), &data));
    }
}
