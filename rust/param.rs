// SPDX-License-Identifier: GPL-2.0

//! Module parameters that are words, and that can be changed at run time.
//!
//! The parameters of `module!` are numbers, set once. One of these is a choice between words: on
//! the kernel command line as `MODULE.NAME=WORD`, and afterwards in
//! `/sys/module/MODULE/parameters/NAME`.
//!
//! ```ignore
//! #[derive(Clone, Copy, PartialEq)]
//! enum Colour { Red, Blue }
//!
//! impl Choice for Colour {
//!     const ALL: &'static [(&'static str, Self)] = &[("red", Self::Red), ("blue", Self::Blue)];
//! }
//!
//! choice! {
//!     /// What it is painted with.
//!     static COLOUR: Colour = "colour" in "module", or Colour::Red;
//! }
//!
//! let colour = COLOUR.get().unwrap_or(Colour::Red);
//! ```
//!
//! With `, by FUNCTION` behind it, the function is asked first with each new value, and may refuse:
//! then the writer gets its error, and what was set before holds. Writers come one after the other.
//! [`Lock`] keeps them out.
//!
//! C header: [`include/linux/moduleparam.h`](srctree/include/linux/moduleparam.h)

use core::marker::PhantomData;

use kernel::{
    bindings,
    error::from_result,
    ffi::{
        c_char,
        c_int, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::NotThreadSafe,
    ThisModule, //
};

/// A type whose values have names.
pub(crate) trait Choice: Copy + PartialEq + 'static {
    /// Every value with its word. Words are not empty and have no spaces.
    const ALL: &'static [(&'static str, Self)];
}

/// What a parameter of type `T` is set to.
pub(crate) struct Parameter<T: Choice> {
    /// Place in [`Choice::ALL`] plus one; zero if nobody has set it.
    place: Atomic<u32>,
    choice: PhantomData<T>,
}

// SAFETY: There is no `T` in it, only a number.
unsafe impl<T: Choice> Sync for Parameter<T> {}

impl<T: Choice> Parameter<T> {
    /// A parameter that nobody has set. Use [`choice!`] instead.
    pub(crate) const fn new() -> Self {
        Self {
            place: Atomic::new(0),
            choice: PhantomData,
        }
    }

    /// What it is set to, [`None`] if it is not. Does not sleep.
    #[inline]
    pub(crate) fn get(&self) -> Option<T> {
        // CAST: `u32` to `usize` is lossless.
        let place = (self.place.load(Relaxed) as usize).checked_sub(1)?;
        T::ALL.get(place).map(|(_, value)| *value)
    }

    /// Sets it. Does not sleep.
    pub(crate) fn set(&self, value: T) {
        let place = T::ALL.iter().position(|(_, known)| *known == value);
        // CAST: There are few words.
        self.place
            .store(place.map_or(0, |place| place as u32 + 1), Relaxed);
    }

    /// Sets it to what `word` means, spaces around it aside, if `agree` does not fail.
    ///
    /// Fails with [`EINVAL`] if that is nothing, or like `agree`. Sleeps if that does.
    pub(crate) fn set_word(&self, word: &[u8], agree: impl FnOnce(T) -> Result) -> Result {
        let word = word.trim_ascii();
        let (_, value) = T::ALL
            .iter()
            .find(|(known, _)| known.as_bytes() == word)
            .ok_or(EINVAL)?;
        agree(*value)?;
        self.set(*value);
        Ok(())
    }

    /// Writes the word for what it is set to, or else for `otherwise`, and a newline; returns the
    /// length.
    pub(crate) fn show(&self, otherwise: T, out: &mut [u8]) -> usize {
        let shown = self.get().unwrap_or(otherwise);
        let known = T::ALL.iter().find(|(_, value)| *value == shown);
        let word = known.map_or("", |(word, _)| word);
        let len = out.len().min(word.len() + 1);
        for (place, to) in out.iter_mut().take(len).enumerate() {
            *to = word.as_bytes().get(place).copied().unwrap_or(b'\n');
        }
        len
    }
}

/// A parameter that [`choice!`] has declared, for the functions that the kernel calls.
pub(crate) trait Declared {
    /// What it chooses from.
    type Choice: Choice;

    /// The parameter.
    fn parameter() -> &'static Parameter<Self::Choice>;

    /// What to show while nobody has set it.
    fn otherwise() -> Self::Choice;

    /// Somebody wants to set it: does what it stands for, or fails. May sleep.
    fn agree(_value: Self::Choice) -> Result {
        Ok(())
    }
}

/// No parameter of the module changes as long as this lives.
pub(crate) struct Lock(&'static ThisModule, NotThreadSafe);

impl Lock {
    /// Waits for those who are changing one. May sleep; not for `agree`, which has it already.
    pub(crate) fn new(module: &'static ThisModule) -> Self {
        // SAFETY: The module is there, or null if it is built in, which the kernel expects.
        unsafe { bindings::kernel_param_lock(module.as_ptr()) };
        Self(module, NotThreadSafe)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // SAFETY: `new` has locked it, in this task, which a `Lock` does not leave.
        unsafe { bindings::kernel_param_unlock(self.0.as_ptr()) };
    }
}

/// The kernel's functions for `D`.
pub(crate) struct Operations<D>(PhantomData<D>);

impl<D: Declared> Operations<D> {
    /// The table of them.
    pub(crate) const TABLE: bindings::kernel_param_ops = bindings::kernel_param_ops {
        flags: 0,
        set: Some(Self::set),
        get: Some(Self::get),
        free: None,
    };

    /// # Safety
    ///
    /// `value` must be null or a valid C string.
    unsafe extern "C" fn set(value: *const c_char, _: *const bindings::kernel_param) -> c_int {
        from_result(|| {
            if value.is_null() {
                return Err(EINVAL);
            }
            // SAFETY: Not null, so a valid C string by the contract of this function.
            let word = unsafe { CStr::from_char_ptr(value) };
            // The kernel has the lock of all parameters of the module.
            D::parameter().set_word(word.to_bytes(), D::agree)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `buffer` must be valid for writes of a page.
    unsafe extern "C" fn get(buffer: *mut c_char, _: *const bindings::kernel_param) -> c_int {
        // SAFETY: By the contract of this function; the kernel hands out a page that was zeroed,
        // which is ours for the time of the call.
        let out = unsafe { core::slice::from_raw_parts_mut(buffer.cast::<u8>(), PAGE_SIZE) };
        // CAST: At most a page.
        D::parameter().show(D::otherwise(), out) as c_int
    }
}

/// Makes a `kernel_param_ops` [`Sync`].
#[repr(transparent)]
pub(crate) struct Table(pub(crate) bindings::kernel_param_ops);

// SAFETY: It is never written, and consists of functions.
unsafe impl Sync for Table {}

/// Declares a [`Parameter`] and makes the kernel know it. What follows `or` is shown while nobody
/// has set it.
macro_rules! choice {
    (
        $(#[$meta:meta])*
        static $name:ident: $type:ty = $word:literal in $module:literal, or $otherwise:expr
            $(, by $agree:expr)?;
    ) => {
        $(#[$meta])*
        static $name: $crate::param::Parameter<$type> = $crate::param::Parameter::new();

        const _: () = {
            struct This;

            impl $crate::param::Declared for This {
                type Choice = $type;

                fn parameter() -> &'static $crate::param::Parameter<$type> {
                    &$name
                }

                fn otherwise() -> $type {
                    $otherwise
                }

                $(fn agree(value: $type) -> Result {
                    $agree(value)
                })?
            }

            static OPERATIONS: $crate::param::Table =
                $crate::param::Table($crate::param::Operations::<This>::TABLE);

            #[link_section = "__param"]
            #[used]
            static RECORD: kernel::module_param::KernelParam =
                kernel::module_param::KernelParam::new(kernel::bindings::kernel_param {
                    name: if cfg!(MODULE) {
                        concat!($word, "\0").as_ptr().cast()
                    } else {
                        concat!($module, ".", $word, "\0").as_ptr().cast()
                    },
                    // SAFETY: Takes the address only; the module outlives its parameters.
                    #[cfg(MODULE)]
                    mod_: unsafe {
                        core::ptr::from_ref(&kernel::bindings::__this_module).cast_mut()
                    },
                    #[cfg(not(MODULE))]
                    mod_: core::ptr::null_mut(),
                    ops: core::ptr::from_ref(&OPERATIONS.0),
                    perm: 0o644,
                    level: -1,
                    flags: 0,
                    __bindgen_anon_1: kernel::bindings::kernel_param__bindgen_ty_1 {
                        arg: core::ptr::null_mut(),
                    },
                });
        };
    };
}
pub(crate) use choice;

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
#[kernel::macros::kunit_tests(zcache_param)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Way {
        Left,
        Right,
    }

    impl Choice for Way {
        const ALL: &'static [(&'static str, Self)] =
            &[("left", Self::Left), ("right", Self::Right)];
    }

    fn shows(way: &Parameter<Way>, expected: &str) -> bool {
        let mut out = [0; 16];
        let len = way.show(Way::Left, &mut out);
        out.get(..len) == Some(expected.as_bytes())
    }

    #[test]
    fn words_set_and_show() {
        let way = Parameter::<Way>::new();
        assert!(way.get().is_none());
        assert!(shows(&way, "left\n"));
        for (word, value, shown) in [
            (&b"right"[..], Way::Right, "right\n"),
            (b"left\n", Way::Left, "left\n"),
            (b" right ", Way::Right, "right\n"),
        ] {
            assert!(way.set_word(word, |_| Ok(())).is_ok());
            assert!(way.get() == Some(value));
            assert!(shows(&way, shown));
        }
        way.set(Way::Right);
        assert!(way.get() == Some(Way::Right));
    }

    #[test]
    fn who_does_not_agree_is_asked_first_and_keeps_what_was() {
        let way = Parameter::<Way>::new();
        let mut asked = None;
        let mut refuse = |wanted| {
            assert!(way.get().is_none());
            asked = Some(wanted);
            Err(EBUSY)
        };
        assert_eq!(way.set_word(b"right", &mut refuse), Err(EBUSY));
        assert_eq!(way.set_word(b"wrong", &mut refuse), Err(EINVAL));
        assert!(asked == Some(Way::Right));
        assert!(way.get().is_none());
    }

    #[test]
    fn odd_words_change_nothing() {
        let way = Parameter::<Way>::new();
        way.set(Way::Left);
        for word in [
            &b""[..],
            b"l",
            b"lefty",
            b"left right",
            b"LEFT",
            b"1",
            b"\xff",
        ] {
            assert_eq!(way.set_word(word, |_| Ok(())), Err(EINVAL));
            assert!(way.get() == Some(Way::Left));
        }
    }

    #[test]
    fn a_short_buffer_cuts() {
        let way = Parameter::<Way>::new();
        let mut out = [0; 2];
        assert_eq!(way.show(Way::Left, &mut out), 2);
        assert_eq!(out, *b"le");
    }
}
