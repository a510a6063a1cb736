// SPDX-License-Identifier: GPL-2.0

//! liblzo2, the library that LZO comes from.

use crate::Code;

/// Whether this was built with liblzo2. Without it the functions here panic.
pub const PRESENT: bool = cfg!(peer_lzo2);
/// For [`crate::require`].
pub const NAME: &str = "liblzo2 (Debian: liblzo2-dev)";

#[cfg(peer_lzo2)]
mod c {
    use core::ffi::{
        c_int,
        c_uchar,
        c_void, //
    };

    extern "C" {
        pub(super) fn peer_lzo2_init() -> c_int;
        pub(super) fn peer_lzo2_work() -> usize;
        pub(super) fn peer_lzo2_compress(
            src: *const c_uchar,
            src_len: usize,
            dst: *mut c_uchar,
            dst_len: *mut usize,
            work: *mut c_void,
            level: c_int,
        ) -> c_int;
        pub(super) fn peer_lzo2_decompress(
            src: *const c_uchar,
            src_len: usize,
            dst: *mut c_uchar,
            dst_len: *mut usize,
        ) -> c_int;
    }
}

/// Compresses with lzo1x_1 (`level` 1) or with lzo1x_999 (any other).
#[cfg(peer_lzo2)]
pub fn compress(src: &[u8], level: i32) -> Result<Vec<u8>, Code> {
    let mut dst = vec![0; lzo_rs::worst_case(src.len())];
    let mut len = dst.len();
    // SAFETY: These two take no arguments and may be called at any time.
    let (code, work) = unsafe { (c::peer_lzo2_init(), c::peer_lzo2_work()) };
    assert_eq!(code, 0);
    let mut work = vec![0u64; work.div_ceil(8)];
    // SAFETY: The pointers are those of live slices with the lengths that go with them; `dst`
    // has the worst case that the library documents, `work` what it asked for.
    let code = unsafe {
        c::peer_lzo2_compress(
            src.as_ptr(),
            src.len(),
            dst.as_mut_ptr(),
            &mut len,
            work.as_mut_ptr().cast(),
            level,
        )
    };
    dst.truncate(len);
    if code == 0 {
        Ok(dst)
    } else {
        Err(code)
    }
}

/// `lzo1x_decompress_safe()`.
#[cfg(peer_lzo2)]
pub fn decompress(src: &[u8], dst: &mut [u8]) -> Result<usize, Code> {
    let mut len = dst.len();
    // SAFETY: The pointers are those of live slices with the lengths that go with them.
    let code =
        unsafe { c::peer_lzo2_decompress(src.as_ptr(), src.len(), dst.as_mut_ptr(), &mut len) };
    if code == 0 {
        Ok(len)
    } else {
        Err(code)
    }
}

#[cfg(not(peer_lzo2))]
mod missing {
    use super::{Code, NAME};

    pub fn compress(_: &[u8], _: i32) -> Result<Vec<u8>, Code> {
        panic!("{NAME} is missing")
    }
    pub fn decompress(_: &[u8], _: &mut [u8]) -> Result<usize, Code> {
        panic!("{NAME} is missing")
    }
}
#[cfg(not(peer_lzo2))]
pub use missing::*;
