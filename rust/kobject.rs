// SPDX-License-Identifier: GPL-2.0

//! Kobjects as folders of sysfs files.
//!
//! ```ignore
//! static FILES: [Attribute; 2] = [
//!     Attribute::new(c"answer", |out| writeln!(out, "42")),
//!     Attribute::writable(c"question", |out| QUESTION.show(out), |text| QUESTION.set(text)),
//! ];
//!
//! let folder = Folder::in_mm(c"example")?; // /sys/kernel/mm/example
//! folder.add(&FILES)?;
//! ```
//!
//! C header: [`include/linux/kobject.h`](srctree/include/linux/kobject.h)

use core::{
    fmt,
    mem::MaybeUninit,
    ptr::{
        self,
        NonNull, //
    }, //
};

use kernel::{
    bindings,
    error::to_result,
    ffi::{
        c_char,
        c_int, //
    },
    page::PAGE_SIZE,
    prelude::*, //
};

/// Where an attribute writes its content: at most one page, the rest is cut off.
pub(crate) struct Output<'a> {
    buffer: &'a mut [u8],
    used: usize,
}

impl<'a> Output<'a> {
    /// An empty output that ends where `buffer` ends.
    pub(crate) fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, used: 0 }
    }

    /// Bytes written so far.
    pub(crate) fn len(&self) -> usize {
        self.used
    }
}

impl fmt::Write for Output<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let space = self.buffer.get_mut(self.used..).ok_or(fmt::Error)?;
        let count = text.len().min(space.len());
        for (to, from) in space.iter_mut().zip(text.as_bytes()) {
            *to = *from;
        }
        self.used += count;
        if count < text.len() {
            return Err(fmt::Error);
        }
        Ok(())
    }
}

/// Writes the content of a file, with a newline at the end.
///
/// Runs in the task that reads the file and may sleep.
pub(crate) type Show = fn(&mut Output<'_>) -> fmt::Result;

/// Takes what was written to a file: all of it, or an error and nothing has changed.
///
/// Runs in the task that writes and may sleep.
pub(crate) type Store = fn(&[u8]) -> Result;

/// A sysfs file that everybody may read.
#[repr(C)]
pub(crate) struct Attribute {
    // First, so that a pointer to it is a pointer to the whole.
    raw: bindings::kobj_attribute,
    show: Show,
    store: Store,
}

// SAFETY: The kernel only reads the attribute (lockdep's class key in it is not used: the
// attribute is static, and is its own key), and the rest are functions.
unsafe impl Sync for Attribute {}

impl Attribute {
    /// A file of mode 0444.
    pub(crate) const fn new(name: &'static CStr, show: Show) -> Self {
        // SAFETY: All of it are pointers, options of functions and integers, which may be zero.
        let mut raw: bindings::kobj_attribute = unsafe { MaybeUninit::zeroed().assume_init() };
        raw.attr.name = kernel::str::as_char_ptr_in_const_context(name);
        raw.attr.mode = 0o444;
        raw.__bindgen_anon_1.show = Some(Self::show_raw);
        Self {
            raw,
            show,
            store: |_| Err(EIO),
        }
    }

    /// A file of mode 0644, to which those with `CAP_SYS_ADMIN` may write; others get [`EPERM`].
    pub(crate) const fn writable(name: &'static CStr, show: Show, store: Store) -> Self {
        let mut this = Self::new(name, show);
        this.raw.attr.mode = 0o644;
        this.raw.__bindgen_anon_2.store = Some(Self::store_raw);
        this.store = store;
        this
    }

    /// # Safety
    ///
    /// Called by sysfs only, with the `raw` of a static `Self` and `count` bytes of `text`.
    unsafe extern "C" fn store_raw(
        _kobject: *mut bindings::kobject,
        raw: *mut bindings::kobj_attribute,
        text: *const c_char,
        count: usize,
    ) -> isize {
        // SAFETY: `raw` is the first field of a `repr(C)` static.
        let this = unsafe { &*raw.cast::<Self>() };
        // SAFETY: sysfs has copied so many bytes there, which are ours for the time of the call.
        let text = unsafe { core::slice::from_raw_parts(text.cast::<u8>(), count) };
        // CAST: One of 64 capabilities.
        // SAFETY: Looks at the current task.
        if !unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as c_int) } {
            // CAST: An error number.
            return EPERM.to_errno() as isize;
        }
        // CAST: At most `PAGE_SIZE`, or an error number.
        match (this.store)(text) {
            Ok(()) => count as isize,
            Err(error) => error.to_errno() as isize,
        }
    }

    /// # Safety
    ///
    /// Called by sysfs only, with the `raw` of a static `Self` and a page-sized `page`.
    unsafe extern "C" fn show_raw(
        _kobject: *mut bindings::kobject,
        raw: *mut bindings::kobj_attribute,
        page: *mut c_char,
    ) -> isize {
        // SAFETY: `raw` is the first field of a `repr(C)` static.
        let this = unsafe { &*raw.cast::<Self>() };
        // SAFETY: sysfs hands out a zeroed page, which is ours for the time of the call.
        let buffer = unsafe { core::slice::from_raw_parts_mut(page.cast::<u8>(), PAGE_SIZE) };
        let mut output = Output::new(buffer);
        // An error says that the page was full: what fits is shown.
        let _ = (this.show)(&mut output);
        // CAST: At most `PAGE_SIZE`.
        output.len() as isize
    }
}

/// A folder in sysfs; dropping it removes it with its files.
///
/// # Invariants
///
/// The pointer is a reference to a kobject that was added.
pub(crate) struct Folder(NonNull<bindings::kobject>);

// SAFETY: Kobjects are reference counted and may be used and released by any thread.
unsafe impl Send for Folder {}
// SAFETY: sysfs takes its own locks.
unsafe impl Sync for Folder {}

impl Folder {
    /// Makes `/sys/kernel/mm/NAME`.
    ///
    /// May sleep. Fails with [`ENOMEM`], also when the name is taken.
    pub(crate) fn in_mm(name: &'static CStr) -> Result<Self> {
        // SAFETY: `mm_kobj` is set long before drivers start and never changes; `name` is valid.
        let kobject =
            unsafe { bindings::kobject_create_and_add(name.as_char_ptr(), bindings::mm_kobj) };
        // INVARIANT: The reference that the call returned.
        NonNull::new(kobject).map(Self).ok_or(ENOMEM)
    }

    /// Adds files. May sleep. If it fails, some of them may be there.
    pub(crate) fn add(&self, files: &'static [Attribute]) -> Result {
        for file in files {
            // SAFETY: The kobject is valid by the type's invariant, and the attribute is static.
            to_result(unsafe {
                bindings::sysfs_create_file_ns(self.0.as_ptr(), &file.raw.attr, ptr::null())
            })?;
        }
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant; readers of the files have left when it returns.
        unsafe { bindings::kobject_put(self.0.as_ptr()) };
    }
}
