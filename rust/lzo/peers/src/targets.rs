// SPDX-License-Identifier: GPL-2.0

//! What the fuzzer runs: each function takes any bytes, and panics if a promise is broken.

use crate::{
    kernel,
    lzo2,
    model, //
};
use lzo_rs::{
    compress,
    decompress,
    equals,
    worst_case,
    Error,
    Workspace,
    MAX_INPUT, //
};

/// Splits off two bytes that say how much room there is for the output.
fn with_room(data: &[u8]) -> Option<(usize, &[u8])> {
    let (room, rest) = data.split_first_chunk()?;
    Some((usize::from(u16::from_le_bytes(*room)), rest))
}

/// Decompresses anything; the model must agree, the error included. And if it is a stream, it is
/// equal to what it makes, and to nothing else.
pub fn decode_any(data: &[u8]) {
    let Some((room, src)) = with_room(data) else {
        return;
    };
    let mut out = vec![0xa5; room];
    let result = decompress(src, &mut out).map(|len| out[..len].to_vec());
    assert_eq!(result, model::decompress(src, room));
    match result {
        Ok(mut data) => {
            assert!(equals(src, &data));
            // Which byte: any will do, but not the same one each time.
            let place = src.iter().fold(0, |sum: usize, &byte| {
                31 * (sum % 65536) + usize::from(byte)
            });
            if !data.is_empty() {
                let place = place % data.len();
                data[place] ^= 0xff;
                assert!(!equals(src, &data));
                data[place] ^= 0xff;
            }
            data.push(0);
            assert!(!equals(src, &data));
        }
        Err(_) => assert!(!equals(src, &out)),
    }
}

/// Compresses anything to a limit; what fits comes back, what does not is named.
pub fn round_trip(data: &[u8]) {
    let Some((room, src)) = with_room(data) else {
        return;
    };
    if src.len() > MAX_INPUT {
        return;
    }
    let ws = &mut Workspace::new();
    let mut packed = vec![0xa5; worst_case(src.len())];
    let len = compress(src, &mut packed, ws).expect("the worst case fits");
    let mut back = vec![0x5a; src.len()];
    assert_eq!(decompress(&packed[..len], &mut back), Ok(src.len()));
    assert!(back == src);
    assert!(equals(&packed[..len], src));

    let mut limited = vec![0xa5; room];
    match compress(src, &mut limited, ws) {
        Ok(short) => assert_eq!(limited[..short], packed[..len]),
        Err(error) => assert!(error == Error::OutputFull && room < len),
    }
}

/// Decompresses and compresses anything, here and with the C codecs that are there.
pub fn differential(data: &[u8]) {
    let Some((room, src)) = with_room(data) else {
        return;
    };
    if kernel::PRESENT {
        same_as_kernel(src, room);
        kernel_reads_us(src);
    }
    if lzo2::PRESENT {
        same_as_lzo2(src, room);
        lzo2_reads_us(src);
    }
}

/// Decompresses `src` here and with the kernel's C.
pub fn same_as_kernel(src: &[u8], room: usize) {
    let mut ours = vec![0xa5; room];
    let mut theirs = vec![0xa5; room];
    let result = decompress(src, &mut ours);
    let wanted = kernel::decompress(src, &mut theirs);
    // The kernel reads lzo-rle too.
    if result == Err(Error::UnsupportedVersion) {
        assert!(src[0] == 17 && src[1] != 0);
        return;
    }
    assert_eq!(
        result.ok(),
        wanted.ok(),
        "{result:?}, not {wanted:?} for {src:02x?}"
    );
    if let Ok(len) = result {
        assert!(ours[..len] == theirs[..len], "{src:02x?}");
    }
}

/// Decompresses `src` here and with liblzo2.
pub fn same_as_lzo2(src: &[u8], room: usize) {
    let mut ours = vec![0xa5; room];
    let mut theirs = vec![0xa5; room];
    let result = decompress(src, &mut ours);
    let wanted = lzo2::decompress(src, &mut theirs);
    // Only Linux knows versions, and liblzo2 does not look at the length in the end mark.
    if src.len() >= 5 && src[0] == 17 || result == Err(Error::BadEndMark) {
        return;
    }
    assert_eq!(
        result.ok(),
        wanted.ok(),
        "{result:?}, not {wanted:?} for {src:02x?}"
    );
    if let Ok(len) = result {
        assert!(ours[..len] == theirs[..len], "{src:02x?}");
    }
}

/// Compresses `data` here, decompresses with the kernel's C; and the other way round.
pub fn kernel_reads_us(data: &[u8]) {
    let work = &mut [0; kernel::WORK / 8];
    let mut back = vec![0x5a; data.len()];
    if data.len() <= MAX_INPUT {
        let packed = ours(data);
        assert_eq!(kernel::decompress(&packed, &mut back), Ok(data.len()));
        assert!(back == data);
    }
    for compress in [kernel::compress, kernel::compress_safe] {
        let mut packed = vec![0; worst_case(data.len())];
        let len = compress(data, &mut packed, work).expect("the worst case fits");
        back.fill(0xa5);
        assert_eq!(decompress(&packed[..len], &mut back), Ok(data.len()));
        assert!(back == data);
    }
    let mut packed = vec![0; worst_case(data.len())];
    let len = kernel::compress_rle(data, &mut packed, work).expect("the worst case fits");
    assert_eq!(
        decompress(&packed[..len], &mut back),
        Err(Error::UnsupportedVersion)
    );
}

/// Compresses `data` here, decompresses with liblzo2; and the other way round.
pub fn lzo2_reads_us(data: &[u8]) {
    let mut back = vec![0x5a; data.len()];
    if data.len() <= MAX_INPUT {
        let packed = ours(data);
        assert_eq!(lzo2::decompress(&packed, &mut back), Ok(data.len()));
        assert!(back == data);
    }
    for level in [1, 999] {
        let packed = lzo2::compress(data, level).expect("the worst case fits");
        back.fill(0xa5);
        assert_eq!(decompress(&packed, &mut back), Ok(data.len()));
        assert!(back == data);
    }
}

fn ours(data: &[u8]) -> Vec<u8> {
    let mut packed = vec![0; worst_case(data.len())];
    let len = compress(data, &mut packed, &mut Workspace::new()).expect("the worst case fits");
    packed.truncate(len);
    packed
}
