// SPDX-License-Identifier: GPL-2.0

//! Pages for tests, and their names.

use kernel::prelude::*;

use crate::tmem::{
    BackRef,
    PageBytes,
    PoolId, //
};

/// Page `index` of a file that `file` stands for.
pub(crate) fn of_file(file: u32, index: u32) -> BackRef {
    BackRef {
        pool: PoolId(1),
        hash: file,
        index,
    }
}

/// A page of which the first `random` bytes are noise that `seed` makes, and the others zero. Fails
/// with [`ENOMEM`].
pub(crate) fn noisy(seed: u32, random: usize) -> Result<KBox<PageBytes>> {
    let mut page = KBox::<PageBytes>::new(pin_init::zeroed(), GFP_KERNEL)?;
    let mut state = seed;
    for byte in page.iter_mut().take(random) {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // CAST: The upper byte, which is the random one.
        *byte = (state >> 24) as u8;
    }
    Ok(page)
}
