// SPDX-License-Identifier: GPL-2.0

//! Tables of functions that the kernel is given, and keeps for good.

use core::ptr::NonNull;

use kernel::{
    prelude::*,
    sync::SetOnce, //
};

/// A table that is never changed or freed.
struct Kept<T>(NonNull<T>);

// SAFETY: Nobody here touches the table; the kernel, which gets its address, only reads it.
unsafe impl<T> Send for Kept<T> {}
// SAFETY: As above.
unsafe impl<T> Sync for Kept<T> {}

/// The place of a table that is made once.
pub(crate) struct Given<T>(SetOnce<Kept<T>>);

impl<T> Given<T> {
    /// Nothing was made yet.
    pub(crate) const fn new() -> Self {
        Self(SetOnce::new())
    }

    /// The address of the table, which is `make`'s the first time, and always the same one. What is
    /// there is valid for ever.
    ///
    /// May sleep. Fails with [`ENOMEM`], and with [`EBUSY`] if somebody else is at it right now.
    pub(crate) fn table(&self, make: impl FnOnce() -> T) -> Result<*mut T> {
        if self.0.as_ref().is_none() {
            let table = KBox::into_raw(KBox::new(make(), GFP_KERNEL)?);
            let ours = NonNull::new(table).is_some_and(|table| self.0.populate(Kept(table)));
            if !ours {
                // SAFETY: It came from `into_raw` above, and nobody else has seen it.
                drop(unsafe { KBox::from_raw(table) });
            }
        }
        Ok(self.0.as_ref().ok_or(EBUSY)?.0.as_ptr())
    }
}

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
#[kernel::macros::kunit_tests(zcache_given)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_made_once() -> Result {
        static GIVEN: Given<u32> = Given::new();
        let first = GIVEN.table(|| 7)?;
        assert_eq!(GIVEN.table(|| 8)?, first);
        // SAFETY: Valid for ever.
        assert_eq!(unsafe { *first }, 7);
        Ok(())
    }
}
