// SPDX-License-Identifier: GPL-2.0

//! What is no stream, or no stream of ours: an error of the right name, or what the model says.

mod data;
mod model;

use data::{
    mixed,
    Random, //
};
use lzo_rs::{
    compress,
    decompress,
    equals,
    worst_case,
    Error,
    Workspace, //
};
use proptest::prelude::*;

/// Decompresses with `room` bytes of output, and compares with the model.
fn decode(src: &[u8], room: usize) -> Result<Vec<u8>, Error> {
    // What is lent lies between bytes that must stay.
    let mut out = vec![0xa5; room + 64];
    let result = decompress(src, &mut out[32..32 + room]).map(|n| out[32..32 + n].to_vec());
    assert!(out[..32]
        .iter()
        .chain(&out[32 + room..])
        .all(|&byte| byte == 0xa5));
    assert!(
        result == model::decompress(src, room),
        "{:02x?} into {room}: {:02x?}, not {:02x?}",
        src,
        result,
        model::decompress(src, room),
    );
    match &result {
        Ok(data) => only_equal_to(src, data),
        // If it were that of these bytes, or some of them, there would have been room.
        Err(_) => {
            let data = &out[32..32 + room];
            assert!(!equals(src, data), "{src:02x?}");
            assert!(!equals(src, &data[..room / 2]), "{src:02x?}");
        }
    }
    result
}

/// Looks that `src`, a stream of `data`, is told to be that of `data` and of nothing like it.
fn only_equal_to(src: &[u8], data: &[u8]) {
    assert!(equals(src, data), "{src:02x?}");
    let mut other = data.to_vec();
    for place in [0, data.len() / 2, data.len().saturating_sub(1)] {
        if let Some(byte) = other.get_mut(place) {
            *byte ^= 0x10;
            assert!(!equals(src, &other), "{src:02x?}, byte {place}");
            other[place] ^= 0x10;
        }
    }
    assert!(data.is_empty() || !equals(src, &data[1..]), "{src:02x?}");
    assert!(
        data.is_empty() || !equals(src, &data[..data.len() - 1]),
        "{src:02x?}"
    );
    other.push(0);
    assert!(!equals(src, &other), "{src:02x?}");
}

/// A stream that starts with `count` literals (1, 2, 3, ...), and goes on with `rest`.
fn after_literals(count: u8, rest: &[u8]) -> Vec<u8> {
    let mut stream = vec![17 + count];
    stream.extend(1..=count);
    stream.extend(rest);
    stream
}

/// `count` zero bytes between `head` and `tail`.
fn with_zeros(head: &[u8], count: usize, tail: &[u8]) -> Vec<u8> {
    [head, &vec![0; count], tail].concat()
}

const END: [u8; 3] = [0x11, 0, 0];

#[test]
fn every_short_input() {
    assert_eq!(decode(&[], 8), Err(Error::InputOverrun));
    for a in 0..=255 {
        assert_eq!(decode(&[a], 8), Err(Error::InputOverrun));
        for b in 0..=255 {
            assert_eq!(decode(&[a, b], 8), Err(Error::InputOverrun));
        }
    }
    let mut good = 0;
    for word in 0..1u32 << 24 {
        let src = &word.to_le_bytes()[..3];
        let mut out = [0; 8];
        let result = decompress(src, &mut out);
        // Only the end mark, with any of the bits that nobody reads.
        let end = src[0] == 0x11 && src[1] < 4 && src[2] == 0;
        assert_eq!(result.is_ok(), end, "{src:02x?}");
        good += u32::from(end);
    }
    assert_eq!(good, 4);
}

#[test]
fn every_instruction_in_every_state() {
    // After no literal (a match), 1 and 3 of them (short), and a run.
    for lead in [
        after_literals(8, &[0x60, 0]),
        after_literals(1, &[]),
        after_literals(3, &[]),
        after_literals(40, &[]),
        vec![],
    ] {
        for word in 0..1u32 << 16 {
            for third in [0, 1, 3, 0x11, 0xff] {
                let op = [word as u8, (word >> 8) as u8, third];
                let stream = [&lead[..], &op[..], &[0x11, 0, 0, 0, 0x11, 0, 0]].concat();
                let _ = decode(&stream, 300);
            }
        }
    }
}

#[test]
fn every_error_has_its_name() {
    assert_eq!(decode(&END, 0), Ok(vec![]));
    assert_eq!(decode(&[0x12, 0xaa, 0x11, 0, 0], 1), Ok(vec![0xaa]));
    assert_eq!(
        decode(&[0x12, 0xaa, 0x11, 0, 0], 0),
        Err(Error::OutputOverrun)
    );
    assert_eq!(decode(&[0x12, 0xaa, 0x11, 0], 1), Err(Error::InputOverrun));
    assert_eq!(
        decode(&[0x12, 0xaa, 0x11, 0, 0, 0], 1),
        Err(Error::InputNotConsumed)
    );
    assert_eq!(decode(&[0x12, 0xaa, 0x12, 0, 0], 1), Err(Error::BadEndMark));
    assert_eq!(
        decode(&[0x12, 0xaa, 0x10, 1, 0, 0], 1),
        Err(Error::BadEndMark)
    );
    assert_eq!(
        decode(&[0x12, 0xaa, 0x20, 1, 4, 0], 9),
        Err(Error::LookbehindOverrun)
    );
    let names = [
        Error::OutputFull,
        Error::InputTooLong,
        Error::InputOverrun,
        Error::OutputOverrun,
        Error::LookbehindOverrun,
        Error::InputNotConsumed,
        Error::BadEndMark,
        Error::UnsupportedVersion,
    ]
    .map(|error| error.to_string());
    for (at, name) in names.iter().enumerate() {
        assert!(!name.is_empty() && !names[..at].contains(name));
    }
}

#[test]
fn a_version_mark() {
    // Two bytes more in front of a stream of three or more.
    for version in 0..=255 {
        let stream = [17, version, 0x13, 1, 2, 0x11, 0, 0];
        let wanted = if version == 0 {
            Ok(vec![1, 2])
        } else {
            Err(Error::UnsupportedVersion)
        };
        assert_eq!(decode(&stream, 8), wanted);
        assert_eq!(decode(&[17, version, 0x11, 0, 0], 8).is_ok(), version == 0);
    }
    // Too short for one: then 17 is the instruction that it always was.
    assert_eq!(decode(&[17, 0, 0], 8), Ok(vec![]));
    assert_eq!(decode(&[17, 0, 0, 0], 8), Err(Error::InputNotConsumed));
    assert_eq!(decode(&[17, 1, 0, 0], 8), Err(Error::InputNotConsumed));
    assert_eq!(decode(&[17, 0, 1, 0], 8), Err(Error::LookbehindOverrun));
}

#[test]
fn long_lengths() {
    // CVE-2014-4607 and -4608: a length of so many zero bytes that a sum of 255s wraps in 32 bits.
    let zeros = (1 << 24) + 0x10101;
    for head in [
        &[0][..],
        &after_literals(4, &[0x20]),
        &after_literals(4, &[0x10]),
    ] {
        for count in [0, 1, 2, 100, zeros] {
            let stream = with_zeros(head, count, &[1, 0, 0, 0x11, 0, 0]);
            let _ = decode(&stream, 4096);
        }
        // All zeros to the very end of the input.
        for count in [3, 4, 100, zeros] {
            assert_eq!(
                decode(&with_zeros(head, count, &[]), 4096),
                Err(Error::InputOverrun)
            );
        }
    }
    // A token of 0 and 255 more promise 273 literals, and 10 are there.
    let short = with_zeros(&[0, 0xff], 10, &[]);
    assert_eq!(decode(&short, 4096), Err(Error::InputOverrun));

    // Lengths that are right.
    for extra in [1, 2, 15, 16, 17, 238, 255] {
        for zeros in 0..3 {
            let run = 3 + 15 + 255 * zeros + usize::from(extra);
            let stream = [&with_zeros(&[0], zeros, &[extra]), &vec![7; run][..], &END].concat();
            assert_eq!(decode(&stream, run), Ok(vec![7; run]));
            assert_eq!(decode(&stream, run - 1), Err(Error::OutputOverrun));
            assert_eq!(decode(&stream[..run], run), Err(Error::InputOverrun));

            let len = 2 + 31 + 255 * zeros + usize::from(extra);
            let stream = with_zeros(&[0x12, 7, 0x20], zeros, &[extra, 0, 0, 0x11, 0, 0]);
            assert_eq!(decode(&stream, 1 + len), Ok(vec![7; 1 + len]));
            assert_eq!(decode(&stream, len), Err(Error::OutputOverrun));
        }
    }
}

#[test]
fn matches_from_before_the_start() {
    for count in [4u8, 5, 100, 238] {
        for distance in 1..=300u16 {
            let d = (distance - 1) << 2;
            for op in [0x21, 0x2f, 0x3f] {
                let stream = after_literals(count, &[op, d as u8, (d >> 8) as u8, 0x11, 0, 0]);
                let result = decode(&stream, 4096);
                assert_eq!(result.is_ok(), distance <= u16::from(count));
                if let Err(error) = result {
                    assert_eq!(error, Error::LookbehindOverrun);
                }
            }
        }
    }
    // M1' reaches 2049 bytes back at least, M4 16385.
    for count in 2040..2058 {
        let stream = [
            &with_zeros(&[0], 7, &[(count - 1803) as u8]),
            &vec![9; count][..],
        ]
        .concat();
        let m1 = decode(&[&stream[..], &[0, 0], &END].concat(), 4096);
        assert_eq!(m1.is_ok(), count >= 2049);
    }
    for count in 16380..16390 {
        let stream = [
            &with_zeros(&[0], 64, &[(count - 16338) as u8]),
            &vec![9; count][..],
        ]
        .concat();
        let m4 = decode(&[&stream[..], &[0x11, 4, 0], &END].concat(), 1 << 15);
        assert_eq!(m4.is_ok(), count >= 16385, "{count}");
    }
}

#[test]
fn overlapping_matches() {
    for distance in 1..=40u8 {
        for len in 3..=300usize {
            let mut wanted: Vec<_> = (1..=distance).collect();
            for _ in 0..len {
                wanted.push(wanted[wanted.len() - usize::from(distance)]);
            }
            wanted.extend([0xaa, 0xbb]);

            let d = ((distance - 1) << 2) | 2;
            let op: &[u8] = match len {
                0..=33 => &[0x20 | (len - 2) as u8],
                34..=288 => &[0x20, (len - 33) as u8],
                _ => &[0x20, 0, (len - 288) as u8],
            };
            // M3 needs state 0 or any: literals 1 to 3 and runs alike may go before it.
            let stream = [
                &after_literals(distance, &[])[..],
                op,
                &[d, 0, 0xaa, 0xbb, 0x11, 0, 0],
            ]
            .concat();
            for room in wanted.len()..wanted.len() + 20 {
                assert_eq!(decode(&stream, room).as_ref(), Ok(&wanted));
            }
            for room in 0..wanted.len() {
                if room + 20 > wanted.len() {
                    assert_eq!(decode(&stream, room), Err(Error::OutputOverrun));
                }
            }
        }
    }
}

/// A valid stream of every kind of instruction, and what it stands for.
fn all_kinds() -> (Vec<u8>, Vec<u8>) {
    let mut random = Random::new(11);
    let mut stream = vec![0; 1];
    // 18 + 255 * 64 + 242 = 16580 literals, for the distances of M4.
    stream.extend([0; 64]);
    stream.push(242);
    stream.extend((0..16580).map(|_| random.word() as u8));
    stream.extend([0x0b, 0x20, 1, 2, 3]); // M1', 3 literals
    stream.extend([0x0d, 0x10, 4]); // M1, 1 literal
    stream.extend([0x0c, 0xff]); // M1, none
    stream.extend([0x03, 1, 2, 3, 4, 5, 6]); // a run of 6
    stream.extend([0x06, 0xff, 7, 8]); // M1', 2 literals
    stream.extend([0xfd, 0xff, 9]); // M2 of 8
    stream.extend([0x40, 0]); // M2 of 3
    stream.extend([0x21, 0xfd, 0xff, 1]); // M3 of 3, farthest
    stream.extend([0x20, 0, 5, 2, 0, 1, 2]); // M3 of 293, distance 1
    stream.extend([0x17, 0x05, 0, 3]); // M4 of 9
    stream.extend([0x10, 9, 0x08, 0]); // M4 of 18
    stream.extend(END);
    let data = model::decompress(&stream, usize::MAX).unwrap();
    (stream, data)
}

#[test]
fn every_kind_of_instruction() {
    let (stream, data) = all_kinds();
    for room in data.len()..data.len() + 40 {
        assert_eq!(decode(&stream, room).as_ref(), Ok(&data));
    }
    for room in data.len() - 400..data.len() {
        assert_eq!(decode(&stream, room), Err(Error::OutputOverrun));
    }
}

#[test]
fn every_truncation_is_an_error() {
    let ws = &mut Workspace::new();
    let mut streams = vec![all_kinds().0];
    for noise in [0, 20, 60, 120, 256] {
        let data = mixed(4096, noise, noise as u64);
        let mut packed = vec![0; worst_case(data.len())];
        let n = compress(&data, &mut packed, ws).unwrap();
        streams.push(packed[..n].to_vec());
    }
    for stream in streams {
        for len in 0..stream.len() {
            if len < 100 || len % 7 == 0 || len + 900 > stream.len() {
                assert_eq!(decode(&stream[..len], 1 << 16), Err(Error::InputOverrun));
            }
        }
        let longer = [&stream[..], &[0]].concat();
        assert_eq!(decode(&longer, 1 << 16), Err(Error::InputNotConsumed));
    }
}

#[test]
fn damaged_streams() {
    let ws = &mut Workspace::new();
    let mut random = Random::new(5);
    for round in 0..4000 {
        let data = mixed(
            1 + random.below(1500),
            [10, 60, 120][round % 3],
            round as u64,
        );
        let mut stream = vec![0; worst_case(data.len())];
        let n = compress(&data, &mut stream, ws).unwrap();
        stream.truncate(n);
        for _ in 0..=random.below(4) {
            let at = random.below(n);
            stream[at] = match random.below(3) {
                0 => 0,
                1 => stream[at] ^ (1 << random.below(8)),
                _ => random.word() as u8,
            };
        }
        let _ = decode(&stream, data.len() + random.below(3) * 10);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_bytes(src in prop::collection::vec(any::<u8>(), 0..200), room in 0..5000usize) {
        let _ = decode(&src, room);
    }

    // Bytes that are short instructions more often than not.
    #[test]
    fn likely_bytes(
        src in prop::collection::vec(prop_oneof![0..4u8, 0x10..0x44u8, any::<u8>()], 0..200),
        room in 0..5000usize,
    ) {
        let _ = decode(&[&[20, 1, 2, 3][..], &src, &END].concat(), room);
    }
}
