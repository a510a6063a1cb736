// SPDX-License-Identifier: GPL-2.0

//! Module parameters that can be changed at run time: words, and numbers in a range.
//!
//! The parameters of `module!` are set once. These are on the kernel command line as
//! `MODULE.NAME=VALUE`, and afterwards in `/sys/module/MODULE/parameters/NAME`.
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
//! number! {
//!     /// How many layers. Whoever writes it waits for `paint(layers)`, which may refuse it.
//!     static LAYERS: Number = "layers" in "module", 1..=9, or 2, then paint;
//! }
//!
//! let colour = COLOUR.get().unwrap_or(Colour::Red);
//! let layers = LAYERS.get();
//! ```
//!
//! What follows `then` is asked first with each new value, and may refuse: then the writer gets its
//! error, and what was set before holds. A choice need not have it. Writers come one after the
//! other. [`Lock`] keeps them out.
//!
//! C header: [`include/linux/moduleparam.h`](srctree/include/linux/moduleparam.h)

use core::{
    fmt::Write as _,
    marker::PhantomData,
    ops::RangeInclusive, //
};

use kernel::{
    bindings,
    error::from_result,
    ffi::{
        c_char,
        c_int, //
    },
    page::PAGE_SIZE,
    prelude::*,
    str::{
        parse_int::ParseInt,
        BStr, //
    },
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::NotThreadSafe,
    ThisModule, //
};

use crate::kobject::Output;

/// What the kernel's functions call to set and to show a parameter.
pub(crate) trait Declared {
    /// Sets it to what `text` means. The kernel calls it for one parameter of a module at a time.
    ///
    /// `early`: while the kernel boots, when it must not sleep, and when nobody waits for an error.
    fn set(text: &[u8], early: bool) -> Result;

    /// Writes what it is, and a newline; returns the length. Any context.
    fn show(out: &mut [u8]) -> usize;
}

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

/// A number in a range. Any context.
pub(crate) struct Number {
    value: Atomic<u32>,
    least: u32,
    most: u32,
    /// What the kernel command line asked for, if that is out of range: then [`Number::ODD`] more.
    asked: Atomic<u64>,
}

impl Number {
    /// Above every number that can be asked for.
    const ODD: u64 = 1 << 32;

    /// A number from `least` to `most`, which is `value` until it is set.
    pub(crate) const fn new(least: u32, most: u32, value: u32) -> Self {
        Self {
            value: Atomic::new(value),
            least,
            most,
            asked: Atomic::new(0),
        }
    }

    /// The number now.
    #[inline]
    pub(crate) fn get(&self) -> u32 {
        self.value.load(Relaxed)
    }

    /// Sets it. Fails with [`EINVAL`] if that is out of range, and changes nothing.
    pub(crate) fn set(&self, value: u32) -> Result {
        self.check(value)?;
        self.value.store(value, Relaxed);
        Ok(())
    }

    /// Sets it to what `text` says, spaces around it aside, if `change` has no objection. Any error
    /// changes nothing.
    ///
    /// If it is `early`, nobody is asked, and a number out of range is no error: whoever starts
    /// later finds it with [`Number::odd`].
    pub(crate) fn set_text(
        &self,
        text: &[u8],
        early: bool,
        change: impl FnOnce(u32) -> Result,
    ) -> Result {
        let value = u32::from_str(BStr::from_bytes(text.trim_ascii())).map_err(|_| EINVAL)?;
        let checked = self.check(value);
        if early {
            let asked = checked.map_or(Self::ODD | u64::from(value), |()| 0);
            self.asked.store(asked, Relaxed);
            return self.set(value).or(Ok(()));
        }
        checked?;
        change(value)?;
        self.set(value)
    }

    /// What the kernel command line asked for last, if that is out of range.
    pub(crate) fn odd(&self) -> Option<u32> {
        let asked = self.asked.load(Relaxed);
        // CAST: The lower half.
        (asked & Self::ODD != 0).then_some(asked as u32)
    }

    /// The least and the most that it can be.
    pub(crate) fn range(&self) -> RangeInclusive<u32> {
        self.least..=self.most
    }

    /// Writes the number and a newline; returns the length.
    pub(crate) fn show(&self, out: &mut [u8]) -> usize {
        let mut out = Output::new(out);
        // An error says that the end was cut off.
        let _ = writeln!(out, "{}", self.get());
        out.len()
    }

    fn check(&self, value: u32) -> Result {
        self.range().contains(&value).then_some(()).ok_or(EINVAL)
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
            let text = unsafe { CStr::from_char_ptr(value) };
            // SAFETY: A number that changes a few times while the kernel boots, and then not until
            // it stops; any value read here is one that it had.
            let state = unsafe { (&raw const bindings::system_state).read_volatile() };
            let early = state < bindings::system_states_SYSTEM_RUNNING;
            D::set(text.to_bytes(), early)?;
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
        D::show(out) as c_int
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
            $(, then $change:expr)?;
    ) => {
        $(#[$meta])*
        static $name: $crate::param::Parameter<$type> = $crate::param::Parameter::new();

        $crate::param::declare! {
            $word in $module,
            |text, _early| $name.set_word(text, |_value| {
                $($change(_value)?;)?
                Ok(())
            }),
            |out| $name.show($otherwise, out)
        }
    };
}
pub(crate) use choice;

/// Declares a [`Number`] and makes the kernel know it. What follows `or` is the number until
/// somebody sets it. What follows `then` is asked for consent with each one that is written after
/// the kernel has booted, in the task that writes; it may sleep.
macro_rules! number {
    (
        $(#[$meta:meta])*
        static $name:ident: Number = $word:literal in $module:literal,
            $least:literal..=$most:expr, or $default:expr, then $change:expr;
    ) => {
        $(#[$meta])*
        static $name: $crate::param::Number =
            $crate::param::Number::new($least, $most, $default);

        $crate::param::declare! {
            $word in $module,
            |text, early| $name.set_text(text, early, $change),
            |out| $name.show(out)
        }
    };
}
pub(crate) use number;

/// Makes the kernel know a parameter by how to set and to show it.
macro_rules! declare {
    (
        $word:literal in $module:literal,
        |$text:ident, $early:ident| $set:expr,
        |$out:ident| $show:expr
    ) => {
        const _: () = {
            struct This;

            impl $crate::param::Declared for This {
                fn set($text: &[u8], $early: bool) -> kernel::error::Result {
                    $set
                }

                fn show($out: &mut [u8]) -> usize {
                    $show
                }
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
pub(crate) use declare;

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
    fn numbers_set_and_show() {
        let number = Number::new(1, 90, 50);
        let mut out = [0; 4];
        for (text, value, shown) in [
            (&b""[..], 50, &b"50\n"[..]),
            (b"1", 1, b"1\n"),
            (b" 90\n", 90, b"90\n"),
            (b"0x10", 16, b"16\n"),
        ] {
            assert_eq!(
                number.set_text(text, false, |_| Ok(())).is_err(),
                text.is_empty()
            );
            assert_eq!(number.get(), value);
            let len = number.show(&mut out);
            assert_eq!(out.get(..len), Some(shown));
        }
        assert_eq!(Number::new(1, 90000, 12345).show(&mut out), 4);
        assert_eq!(out, *b"1234");
    }

    /// Nor do those to which `change` objects; and it is asked only about what is in range.
    #[test]
    fn odd_numbers_change_nothing() {
        let number = Number::new(1, 90, 50);
        for text in [
            &b""[..],
            b"0",
            b"91",
            b"-1",
            b"4294967295",
            b"4294967297",
            b"18446744073709551617",
            b"5 5",
            b"5%",
            b"ten",
            b"\xff",
        ] {
            let change = |_| -> Result {
                number.set(7)?;
                Ok(())
            };
            assert_eq!(number.set_text(text, false, change), Err(EINVAL));
            assert_eq!(number.get(), 50);
            assert_eq!(number.odd(), None);
        }
        assert_eq!(number.set_text(b"60", false, |_| Err(ENOMEM)), Err(ENOMEM));
        assert_eq!(number.get(), 50);
    }

    /// While the kernel boots, the first that asks is the one who starts.
    #[test]
    fn early_numbers_are_kept_for_later() {
        let number = Number::new(1, 90, 50);
        for (text, value, odd) in [
            (&b"91"[..], 50, Some(91)),
            (b"4294967295", 50, Some(u32::MAX)),
            (b"0", 50, Some(0)),
            (b"20", 20, None),
            (b"500", 20, Some(500)),
        ] {
            assert!(number.set_text(text, true, |_| Err(EBUSY)).is_ok());
            assert_eq!((number.get(), number.odd()), (value, odd));
        }
        assert_eq!(number.set_text(b"ten", true, |_| Ok(())), Err(EINVAL));
    }

    #[test]
    fn a_short_buffer_cuts() {
        let way = Parameter::<Way>::new();
        let mut out = [0; 2];
        assert_eq!(way.show(Way::Left, &mut out), 2);
        assert_eq!(out, *b"le");
    }
}
