// SPDX-License-Identifier: GPL-2.0

//! Random numbers from the kernel's generator.
//!
//! C header: [`include/linux/random.h`](srctree/include/linux/random.h)

use core::mem::size_of_val;

use kernel::bindings;

/// Fills `words` with random bits. Any context; does not sleep.
///
/// Early in boot, before the generator has its entropy, they can be guessed.
pub(crate) fn fill_words(words: &mut [u64]) {
    // SAFETY: The slice is writable as a whole, and every bit pattern is a `u64`.
    unsafe { bindings::get_random_bytes(words.as_mut_ptr().cast(), size_of_val(words)) };
}
