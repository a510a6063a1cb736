// SPDX-License-Identifier: GPL-2.0

//! LZO1X: the compressed format of the kernel's `lib/lzo` and of liblzo2.
//!
//! [`compress()`] writes what `lzo1x_1_compress()` would (another choice of matches, the same
//! language), [`decompress()`] reads every LZO1X stream, whichever compressor made it. [`equals()`]
//! tells whether a stream is that of certain data, and takes less time than to decompress it.
//!
//! # The format
//!
//! A stream is a list of instructions. Each one copies bytes that were already written (a
//! *match*: so many bytes, from so far back) or takes new ones from the stream (*literals*).
//! Two bits in every match say how many literals, 0 to 3, follow it at once; a longer run is an
//! instruction of its own. The first byte of an instruction names its kind:
//!
//! ```text
//! 1LLDDDSS DDDDDDDD               M2   5..8 bytes, from up to 2 KiB back
//! 01LDDDSS DDDDDDDD               M2   3..4 bytes, from up to 2 KiB back
//! 001LLLLL ... DDDDDDSS DDDDDDDD  M3   3 bytes or more, from up to 16 KiB back
//! 0001DLLL ... DDDDDDSS DDDDDDDD  M4   3 bytes or more, from 16 to 48 KiB back
//! 0000DDSS DDDDDDDD               M1   2 bytes, from up to 1 KiB back, after 1..3 literals
//! 0000DDSS DDDDDDDD               M1'  3 bytes, from 2 to 3 KiB back, after a literal run
//! 0000LLLL ...                         literal run, at the start or after a match without any
//! ```
//!
//! `S` counts the literals that follow. A length field of 0 means that the length goes on in
//! the bytes at `...`: 255 for every zero byte, then the value of the first other one. M4 with
//! distance 0 is the end of the stream, `11 00 00`. A stream may also start with a byte above 17:
//! that is 17 plus the number of literals that follow it.
//!
//! Linux alone takes a first byte of 17 as the mark of a versioned stream: the second byte is
//! then the version, 0 for this format and 1 for lzo-rle, which is not understood here.
//!
//! # Panics
//!
//! None: every index and every sum is checked, or such that the compiler sees that it needs no
//! check. `tests/panics.rs` looks for a trace of a panic in the compiled code.

#![forbid(unsafe_code)]
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "the root of a library here, a private module of the driver in the kernel"
)]

use core::fmt;

mod compress;
mod decompress;
mod equals;

pub use compress::{
    compress,
    worst_case,
    Workspace,
    MAX_INPUT, //
};
pub use decompress::decompress;
pub use equals::equals;

/// The farthest that an M2 reaches, in bytes.
const M2_MAX_DISTANCE: usize = 0x800;
/// The farthest that an M3 reaches, in bytes.
const M3_MAX_DISTANCE: usize = 0x4000;
/// The farthest that an M4 reaches, in bytes.
const M4_MAX_DISTANCE: usize = 0xbfff;

/// First byte of a stream that carries a version number (Linux only).
const VERSION_MARK: u8 = 17;
/// The end of every stream.
const END: [u8; 3] = [0x11, 0, 0];

/// Why a call gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// [`compress()`]: the result does not fit into `dst`.
    OutputFull,
    /// [`compress()`]: `src` is longer than [`MAX_INPUT`].
    InputTooLong,
    /// [`decompress()`]: `src` stops in the middle of the stream.
    InputOverrun,
    /// [`decompress()`]: the stream holds more data than fits into `dst`.
    OutputOverrun,
    /// [`decompress()`]: a match starts before the first byte of the output.
    LookbehindOverrun,
    /// [`decompress()`]: `src` goes on after the end of the stream.
    InputNotConsumed,
    /// [`decompress()`]: the end of the stream has the wrong length field.
    BadEndMark,
    /// [`decompress()`]: a versioned stream, and its version is not 0 (1 is lzo-rle).
    UnsupportedVersion,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::OutputFull => "compressed data does not fit",
            Error::InputTooLong => "input too long to compress at once",
            Error::InputOverrun => "compressed data ends too early",
            Error::OutputOverrun => "decompressed data does not fit",
            Error::LookbehindOverrun => "match before the start of the data",
            Error::InputNotConsumed => "bytes after the end of the compressed data",
            Error::BadEndMark => "malformed end of the compressed data",
            Error::UnsupportedVersion => "unsupported version of the compressed format",
        })
    }
}

impl core::error::Error for Error {}
