// SPDX-License-Identifier: GPL-2.0

//! Boot words: bare words on the kernel command line, C's `__setup()`.
//!
//! ```ignore
//! boot_word!(static ENABLE: c"zcache");
//!
//! if ENABLE.given() { /* ... */ }
//! ```
//!
//! A module has no boot words: there, [`BootWord::given`] is always false.
//!
//! C header: [`include/linux/init.h`](srctree/include/linux/init.h)

#[cfg(not(MODULE))]
use kernel::ffi::{
    c_char,
    c_int, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// A word that may stand on the kernel command line.
pub(crate) struct BootWord {
    given: Atomic<bool>,
}

impl BootWord {
    /// A word that has not been seen yet. Use [`boot_word!`] instead.
    pub(crate) const fn new() -> Self {
        Self {
            given: Atomic::new(false),
        }
    }

    /// Does the word stand on the command line?
    ///
    /// Final once initcalls run. Does not sleep.
    pub(crate) fn given(&self) -> bool {
        self.given.load(Relaxed)
    }

    /// Notes the word if `rest`, what follows it on the command line, allows.
    ///
    /// The kernel compares only as far as the word goes: `rest` is empty for the word itself,
    /// begins with `=` if somebody gave it a value, and is anything for a longer word. Returns
    /// whether the word was meant.
    pub(crate) fn note(&self, word: &CStr, rest: &CStr) -> bool {
        match rest.to_bytes().first() {
            None => {}
            Some(b'=') => pr_warn!(
                "boot word '{}' takes no value: '{}' is ignored\n",
                word,
                rest
            ),
            Some(_) => return false,
        }
        self.given.store(true, Relaxed);
        true
    }
}

/// The kernel's record of a boot word, `struct obs_kernel_param`.
///
/// Written out here because the header hides it from modules, and so from the bindings.
#[cfg(not(MODULE))]
#[repr(C)]
pub(crate) struct Record {
    word: *const c_char,
    handler: unsafe extern "C" fn(*mut c_char) -> c_int,
    early: c_int,
}

#[cfg(not(MODULE))]
// SAFETY: The record is never written, and what it points to is static and immutable.
unsafe impl Sync for Record {}

#[cfg(not(MODULE))]
impl Record {
    /// A record for [`boot_word!`], which puts it where the kernel looks.
    pub(crate) const fn new(
        word: &'static CStr,
        handler: unsafe extern "C" fn(*mut c_char) -> c_int,
    ) -> Self {
        Self {
            word: kernel::str::as_char_ptr_in_const_context(word),
            handler,
            early: 0,
        }
    }
}

/// Declares a [`BootWord`] and makes the kernel look for it.
macro_rules! boot_word {
    ($(#[$meta:meta])* static $name:ident: $word:literal;) => {
        $(#[$meta])*
        static $name: $crate::setup::BootWord = $crate::setup::BootWord::new();

        #[cfg(not(MODULE))]
        const _: () = {
            #[link_section = ".init.setup"]
            #[used]
            static RECORD: $crate::setup::Record = $crate::setup::Record::new($word, handler);

            /// # Safety
            ///
            /// Called by the kernel with the rest of a word of the command line, which is a valid
            /// C string.
            unsafe extern "C" fn handler(
                rest: *mut kernel::ffi::c_char,
            ) -> kernel::ffi::c_int {
                // SAFETY: By the contract of this function.
                let rest = unsafe {
                    <kernel::str::CStr as kernel::str::CStrExt>::from_char_ptr(rest)
                };
                kernel::ffi::c_int::from($name.note($word, rest))
            }
        };
    };
}
pub(crate) use boot_word;

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
#[kernel::macros::kunit_tests(zcache_setup)]
mod tests {
    use super::*;

    #[test]
    fn only_the_word_itself_counts() {
        for (rest, meant) in [(c"", true), (c"=1", true), (c"d", false), (c".x=1", false)] {
            let word = BootWord::new();
            assert!(!word.given());
            assert_eq!(word.note(c"word", rest), meant);
            assert_eq!(word.given(), meant);
        }
    }
}
