// SPDX-License-Identifier: GPL-2.0

//! `lib/lzo` of a Linux tree.

use crate::Code;

/// Whether this was built with the kernel's codec. Without it the functions here panic.
pub const PRESENT: bool = cfg!(peer_kernel);
/// For [`crate::require`].
pub const NAME: &str = "the kernel's lib/lzo (LZO_KERNEL_SRC)";

/// Bytes of work memory that the compressors take.
pub const WORK: usize = 8192 * 2;

#[cfg(peer_kernel)]
mod c {
    use core::ffi::{
        c_int,
        c_uchar,
        c_void, //
    };

    pub(super) type Compress =
        unsafe extern "C" fn(*const c_uchar, usize, *mut c_uchar, *mut usize, *mut c_void) -> c_int;

    extern "C" {
        pub(super) fn lzo1x_1_compress(
            src: *const c_uchar,
            src_len: usize,
            dst: *mut c_uchar,
            dst_len: *mut usize,
            work: *mut c_void,
        ) -> c_int;
        pub(super) fn lzo1x_1_compress_safe(
            src: *const c_uchar,
            src_len: usize,
            dst: *mut c_uchar,
            dst_len: *mut usize,
            work: *mut c_void,
        ) -> c_int;
        pub(super) fn lzorle1x_1_compress_safe(
            src: *const c_uchar,
            src_len: usize,
            dst: *mut c_uchar,
            dst_len: *mut usize,
            work: *mut c_void,
        ) -> c_int;
        pub(super) fn lzo1x_decompress_safe(
            src: *const c_uchar,
            src_len: usize,
            dst: *mut c_uchar,
            dst_len: *mut usize,
        ) -> c_int;
    }
}

/// `lzo1x_1_compress()`. Its `dst` must have [`lzo_rs::worst_case`] bytes.
#[cfg(peer_kernel)]
pub fn compress(src: &[u8], dst: &mut [u8], work: &mut [u64; WORK / 8]) -> Result<usize, Code> {
    assert!(dst.len() >= lzo_rs::worst_case(src.len()));
    call(c::lzo1x_1_compress, src, dst, work)
}

/// `lzo1x_1_compress_safe()`.
#[cfg(peer_kernel)]
pub fn compress_safe(
    src: &[u8],
    dst: &mut [u8],
    work: &mut [u64; WORK / 8],
) -> Result<usize, Code> {
    call(c::lzo1x_1_compress_safe, src, dst, work)
}

/// `lzorle1x_1_compress_safe()`: version 1, which `lzo-rs` does not read.
#[cfg(peer_kernel)]
pub fn compress_rle(src: &[u8], dst: &mut [u8], work: &mut [u64; WORK / 8]) -> Result<usize, Code> {
    // It writes its two bytes of version without looking.
    assert!(dst.len() >= 2);
    call(c::lzorle1x_1_compress_safe, src, dst, work)
}

#[cfg(peer_kernel)]
fn call(
    compress: c::Compress,
    src: &[u8],
    dst: &mut [u8],
    work: &mut [u64; WORK / 8],
) -> Result<usize, Code> {
    let mut len = dst.len();
    // SAFETY: The pointers are those of live slices with the lengths that go with them, `work`
    // has the size and alignment that the C asks for, and the callers have checked `dst`.
    let code = unsafe {
        compress(
            src.as_ptr(),
            src.len(),
            dst.as_mut_ptr(),
            &mut len,
            work.as_mut_ptr().cast(),
        )
    };
    if code == 0 {
        Ok(len)
    } else {
        Err(code)
    }
}

/// `lzo1x_decompress_safe()`.
#[cfg(peer_kernel)]
pub fn decompress(src: &[u8], dst: &mut [u8]) -> Result<usize, Code> {
    let mut len = dst.len();
    // SAFETY: The pointers are those of live slices with the lengths that go with them.
    let code =
        unsafe { c::lzo1x_decompress_safe(src.as_ptr(), src.len(), dst.as_mut_ptr(), &mut len) };
    if code == 0 {
        Ok(len)
    } else {
        Err(code)
    }
}

#[cfg(not(peer_kernel))]
mod missing {
    use super::{Code, NAME, WORK};

    pub fn compress(_: &[u8], _: &mut [u8], _: &mut [u64; WORK / 8]) -> Result<usize, Code> {
        panic!("{NAME} is missing")
    }
    pub use compress as compress_safe;
    pub use compress as compress_rle;
    pub fn decompress(_: &[u8], _: &mut [u8]) -> Result<usize, Code> {
        panic!("{NAME} is missing")
    }
}
#[cfg(not(peer_kernel))]
pub use missing::*;
