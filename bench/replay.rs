// SPDX-License-Identifier: GPL-2.0

//! A recorded stream of pages, replayed through xvmalloc and through the kernel's zsmalloc.
//!
//! For measurements only, under `CONFIG_ZCACHE_REPLAY`. Whoever reads
//! `/sys/kernel/mm/zcache_replay/run` starts it: it reads [`STREAM`], does the same to both
//! allocators, and writes one figure a line, `NAME NUMBER`. `scripts/density` does the rest.
//!
//! Frames: both store the same lengths, those of the driver's codec, and free the same ones. Time:
//! codec and allocator together for each page, the driver's against the kernel's LZO1X in C with
//! zsmalloc, as zswap has it, but without zswap's own work.

use core::{
    ffi::c_void,
    fmt::{
        self,
        Write as _, //
    },
    slice,
    sync::atomic::{
        AtomicBool,
        Ordering, //
    },
};

use kernel::{
    bindings,
    ffi::{
        c_char,
        c_int,
        c_uint,
        c_ulong, //
    },
    page::PAGE_SIZE,
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    },
};

use crate::{
    codec::{
        self,
        Codec, //
    },
    kobject::{
        Attribute,
        Output, //
    },
    persistent::Persistent,
    tmem::PageBytes,
    xvmalloc::{
        Parcel,
        Source,
        Xvmalloc,
        MAX_PARCEL, //
    },
};

/// The recorded pages, one after the other.
const STREAM: &CStr = c"/tmp/pages";

/// The most of them that are read, in bytes.
const MOST: usize = 128 << 20;

/// Rounds of each timing.
const ROUNDS: usize = 25;

/// Pages that are timed together, and of which the quickest round counts.
const BATCH: usize = 64;

/// Work memory of the C compressor, in bytes: an array of 2^13 16-bit positions.
const C_WORK: usize = 16 << 10;

// From include/linux: zsmalloc.h, lzo.h, kernel_read_file.h, vmalloc.h, for which there is no
// binding.
extern "C" {
    fn zs_create_pool(name: *const c_char) -> *mut c_void;
    fn zs_destroy_pool(pool: *mut c_void);
    fn zs_malloc(pool: *mut c_void, size: usize, flags: c_uint, nid: c_int) -> c_ulong;
    fn zs_free(pool: *mut c_void, handle: c_ulong);
    fn zs_get_total_pages(pool: *mut c_void) -> c_ulong;
    fn zs_compact(pool: *mut c_void) -> c_ulong;
    fn zs_obj_read_begin(
        pool: *mut c_void,
        handle: c_ulong,
        len: usize,
        copy: *mut c_void,
    ) -> *mut c_void;
    fn zs_obj_read_end(pool: *mut c_void, handle: c_ulong, len: usize, data: *mut c_void);
    fn zs_obj_write(pool: *mut c_void, handle: c_ulong, data: *const c_void, len: usize);
    fn lzo1x_1_compress_safe(
        src: *const u8,
        src_len: usize,
        dst: *mut u8,
        dst_len: *mut usize,
        work: *mut c_void,
    ) -> c_int;
    fn lzo1x_decompress_safe(
        src: *const u8,
        src_len: usize,
        dst: *mut u8,
        dst_len: *mut usize,
    ) -> c_int;
    fn kernel_read_file_from_path(
        path: *const c_char,
        offset: i64,
        buf: *mut *mut c_void,
        buf_size: usize,
        file_size: *mut usize,
        id: c_uint,
    ) -> isize;
    fn vfree(start: *const c_void);
}

/// The one file.
pub(crate) fn files() -> &'static [Attribute] {
    static FILES: [Attribute; 1] = [Attribute::new(c"run", |out| {
        match BUSY.swap(true, Ordering::Acquire) {
            true => writeln!(out, "busy"),
            false => {
                let result = run(out);
                BUSY.store(false, Ordering::Release);
                result.or_else(|error| writeln!(out, "error {}", error.to_errno()))
            }
        }
    })];
    &FILES
}

/// One replay at a time.
static BUSY: AtomicBool = AtomicBool::new(false);

/// The stream in memory.
struct Stream {
    start: *mut c_void,
    len: usize,
}

impl Stream {
    fn read() -> Result<Self> {
        let mut start = core::ptr::null_mut();
        // SAFETY: The path is a C string, and the call allocates the memory. 0 stands for a file
        // of no special use.
        let len = unsafe {
            kernel_read_file_from_path(
                STREAM.as_char_ptr(),
                0,
                &mut start,
                MOST,
                core::ptr::null_mut(),
                0,
            )
        };
        let len = usize::try_from(len).map_err(|_| ENOENT)?;
        Ok(Self { start, len })
    }

    fn pages(&self) -> &[PageBytes] {
        // SAFETY: The call above has filled so many bytes, and nobody else knows them. Arrays of
        // bytes lie without gaps, anywhere.
        unsafe { slice::from_raw_parts(self.start.cast(), self.len / PAGE_SIZE) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: `kernel_read_file_from_path` gets it from `vmalloc`.
        unsafe { vfree(self.start) };
    }
}

/// A pool of zsmalloc.
struct Zsmalloc {
    pool: *mut c_void,
    /// Where an object in two pieces is put together.
    copy: KBox<PageBytes>,
}

impl Zsmalloc {
    fn new() -> Result<Self> {
        let copy = KBox::new(pin_init::zeroed(), GFP_KERNEL)?;
        // SAFETY: The name is a C string.
        let pool = unsafe { zs_create_pool(c"zcache_replay".as_char_ptr()) };
        match pool.is_null() {
            true => Err(ENOMEM),
            false => Ok(Self { pool, copy }),
        }
    }

    fn put(&self, data: &[u8]) -> Result<c_ulong> {
        let flags = bindings::GFP_NOWAIT | bindings::__GFP_NORETRY | bindings::__GFP_NOWARN;
        // SAFETY: The pool is valid. -1 stands for any node.
        let handle = unsafe { zs_malloc(self.pool, data.len(), flags, -1) };
        // CAST: Errors are the last 4095 values.
        if handle as isize <= 0 && handle as isize >= -4095 {
            return Err(ENOMEM);
        }
        // SAFETY: The handle is of this pool and has room for as many bytes.
        unsafe { zs_obj_write(self.pool, handle, data.as_ptr().cast(), data.len()) };
        Ok(handle)
    }

    /// Fills `page` from an object of `len` bytes, and frees it.
    fn take(&mut self, handle: c_ulong, len: usize, page: &mut PageBytes) -> Result {
        // SAFETY: The handle is of this pool and has `len` bytes; the copy has room for any.
        unsafe {
            let copy = self.copy.as_mut_ptr().cast();
            let data = zs_obj_read_begin(self.pool, handle, len, copy);
            let result = decompress_in_c(data.cast(), len, page);
            zs_obj_read_end(self.pool, handle, len, data);
            zs_free(self.pool, handle);
            result
        }
    }

    fn free(&self, handle: c_ulong) {
        // SAFETY: The handle is of this pool, and nobody uses it any more.
        unsafe { zs_free(self.pool, handle) };
    }

    fn frames(&self) -> u64 {
        // CAST: Both have 64 bits. SAFETY: The pool is valid.
        unsafe { zs_get_total_pages(self.pool) as u64 }
    }
}

impl Drop for Zsmalloc {
    fn drop(&mut self) {
        // SAFETY: Nobody uses it any more, and all objects are freed.
        unsafe { zs_destroy_pool(self.pool) };
    }
}

/// What the kernel's decoder makes of a stream of `len` bytes.
fn decompress_in_c(stream: *const u8, len: usize, page: &mut PageBytes) -> Result {
    let mut out = PAGE_SIZE;
    // SAFETY: The callers pass a stream that has so many bytes, the page has what is said.
    let result = unsafe { lzo1x_decompress_safe(stream, len, page.as_mut_ptr(), &mut out) };
    match (result, out) {
        (0, PAGE_SIZE) => Ok(()),
        _ => Err(EIO),
    }
}

/// The same objects in both allocators.
struct Pair<'a> {
    xvmalloc: Pin<KBox<Xvmalloc>>,
    zsmalloc: Zsmalloc,
    /// A page and how much of it is an object.
    pages: &'a [(&'a PageBytes, usize)],
    held: KVVec<Option<(Parcel, c_ulong)>>,
}

impl<'a> Pair<'a> {
    fn new(pages: &'a [(&'a PageBytes, usize)]) -> Result<Self> {
        let mut held = KVVec::with_capacity(pages.len(), GFP_KERNEL)?;
        for _ in pages {
            held.push(None, GFP_KERNEL)?;
        }
        Ok(Self {
            xvmalloc: KBox::pin_init(Xvmalloc::new(pages.len()), GFP_KERNEL)?,
            zsmalloc: Zsmalloc::new()?,
            pages,
            held,
        })
    }

    fn put(&mut self, at: usize) -> Result {
        if self.held[at].is_some() {
            return Ok(());
        }
        let (page, len) = self.pages[at];
        let reservation = self.xvmalloc.reserve(GFP_KERNEL, Source::System, || None);
        let parcel = reservation
            .and_then(|reservation| reservation.create(&page[..len]))
            .map_err(|_| ENOMEM)?;
        self.held[at] = Some((parcel, self.zsmalloc.put(&page[..len])?));
        Ok(())
    }

    fn free(&mut self, at: usize) {
        if let Some((parcel, handle)) = self.held[at].take() {
            self.xvmalloc.free(parcel);
            self.zsmalloc.free(handle);
        }
    }

    /// What both shrinkers do when memory is short.
    fn compact(&self) {
        self.xvmalloc.compact(usize::MAX);
        // SAFETY: The pool is valid.
        unsafe { zs_compact(self.zsmalloc.pool) };
    }

    fn report(&self, out: &mut Output<'_>, name: &str) -> Result<(), fmt::Error> {
        // A frame that waits for a put counts.
        let stats = self.xvmalloc.stats();
        let (ours, theirs) = (stats.frames, self.zsmalloc.frames());
        writeln!(out, "{name}_objects {}", stats.pages)?;
        writeln!(out, "{name}_xvmalloc_frames {ours}")?;
        writeln!(out, "{name}_zsmalloc_frames {theirs}")?;
        writeln!(out, "{name}_permille {}", ours * 1000 / theirs.max(1))
    }
}

impl Drop for Pair<'_> {
    fn drop(&mut self) {
        for at in 0..self.pages.len() {
            self.free(at);
        }
    }
}

/// Numbers below `bound`.
fn random(state: &mut u32, bound: usize) -> usize {
    *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    // CAST: 24 bits.
    (*state >> 8) as usize % bound
}

fn run(out: &mut Output<'_>) -> Result {
    let stream = Stream::read()?;
    let codec = Codec::new()?;
    let mut pages = KVVec::new();
    let (mut same, mut poor, mut bytes) = (0, 0, 0);
    for page in stream.pages() {
        if codec::same_filled(page).is_some() {
            same += 1;
            continue;
        }
        match codec.compress(page, MAX_PARCEL, <[u8]>::len) {
            Some(len) => {
                bytes += len;
                pages.push((page, len), GFP_KERNEL)?;
            }
            None => poor += 1,
        }
    }
    let full = |_| ENOSPC;
    writeln!(out, "pages {}", stream.pages().len()).map_err(full)?;
    writeln!(out, "same_filled {same}\npoor {poor}\nbytes {bytes}").map_err(full)?;
    if pages.is_empty() {
        return Err(ENODATA);
    }
    frames(out, &pages)?;
    times(out, &codec, &pages)?;
    pieces(out, &codec, &pages)
}

/// Frames after the same puts and frees.
fn frames(out: &mut Output<'_>, pages: &[(&PageBytes, usize)]) -> Result {
    let full = |_| ENOSPC;
    let count = pages.len();
    let mut seed = 1;
    let mut pair = Pair::new(pages)?;
    for at in 0..count {
        pair.put(at)?;
    }
    pair.report(out, "fresh").map_err(full)?;
    let stats = pair.xvmalloc.stats();
    writeln!(out, "fresh_split {}", stats.split).map_err(full)?;
    // CAST: Both fit.
    let metadata = pair.xvmalloc.metadata_bytes() as u64 / stats.pages;
    writeln!(out, "fresh_metadata_bytes_a_page {metadata}").map_err(full)?;

    // A third goes, here and there, and comes again, in another order: ten times.
    for _ in 0..10 {
        for _ in 0..count / 3 {
            pair.free(random(&mut seed, count));
        }
        for _ in 0..count {
            pair.put(random(&mut seed, count))?;
        }
    }
    pair.report(out, "churn").map_err(full)?;
    // Half goes, here and there.
    for at in 0..count {
        if random(&mut seed, 2) == 0 {
            pair.free(at);
        }
    }
    pair.report(out, "holes").map_err(full)?;
    // Both shrinkers do this when memory is short.
    let start = Instant::<Monotonic>::now();
    let moved = pair.xvmalloc.compact(usize::MAX);
    let ours = start.elapsed().as_nanos();
    let start = Instant::<Monotonic>::now();
    // SAFETY: The pool is valid.
    let freed = unsafe { zs_compact(pair.zsmalloc.pool) };
    let theirs = start.elapsed().as_nanos();
    // CAST: Numbers of frames fit.
    let (ours, theirs) = (ours / (moved as i64).max(1), theirs / (freed as i64).max(1));
    writeln!(out, "compact_xvmalloc_ns_a_frame {ours}").map_err(full)?;
    writeln!(out, "compact_zsmalloc_ns_a_frame {theirs}").map_err(full)?;
    pair.report(out, "holes_compacted").map_err(full)?;
    // A program ends: its pages go in one run.
    for at in 0..count / 2 {
        pair.free(at);
    }
    pair.report(out, "exit").map_err(full)?;
    pair.compact();
    pair.report(out, "exit_compacted").map_err(full)?;
    drop(pair);

    // Every second one of a fresh store goes, then others come.
    let mut pair = Pair::new(pages)?;
    for at in 0..count * 2 / 3 {
        pair.put(at)?;
    }
    for at in (0..count * 2 / 3).step_by(2) {
        pair.free(at);
    }
    pair.report(out, "second").map_err(full)?;
    for at in count * 2 / 3..count {
        pair.put(at)?;
    }
    pair.report(out, "second_refilled").map_err(full)
}

/// The quickest times of each batch of pages: what else the machine does hits a batch in one round,
/// and another one in the next.
struct Best {
    batches: KVVec<i64>,
    pages: usize,
}

impl Best {
    fn new(pages: usize) -> Result<Self> {
        Ok(Self {
            batches: KVVec::from_elem(i64::MAX, pages.div_ceil(BATCH), GFP_KERNEL)?,
            pages,
        })
    }

    /// Runs `f` on each batch of `items`, which belong to a page each.
    fn round<T>(&mut self, items: &[T], mut f: impl FnMut(&[T]) -> Result) -> Result {
        for (best, batch) in self.batches.iter_mut().zip(items.chunks(BATCH)) {
            let start = Instant::<Monotonic>::now();
            f(batch)?;
            *best = (*best).min(start.elapsed().as_nanos());
        }
        Ok(())
    }

    /// Writes nanoseconds a page.
    fn report(&self, out: &mut Output<'_>, name: &str) -> Result {
        let all: i64 = self.batches.iter().sum();
        // CAST: A number of pages fits.
        writeln!(out, "{name} {}", all / self.pages as i64).map_err(|_| ENOSPC)
    }
}

/// Nanoseconds a page, of codec and allocator, for puts of all pages and gets of all pages.
fn times(out: &mut Output<'_>, codec: &Codec, pages: &[(&PageBytes, usize)]) -> Result {
    let count = pages.len();
    let mut page = KBox::<PageBytes>::new(pin_init::zeroed(), GFP_KERNEL)?;
    let mut buffer = KBox::<PageBytes>::new(pin_init::zeroed(), GFP_KERNEL)?;
    let mut work = KVVec::<u8>::from_elem(0, C_WORK, GFP_KERNEL)?;
    let ours = KBox::pin_init(Persistent::new(count, count), GFP_KERNEL)?;
    let mut theirs = Zsmalloc::new()?;
    let mut handles = KVVec::with_capacity(count, GFP_KERNEL)?;
    let mut objects = KVVec::with_capacity(count, GFP_KERNEL)?;
    let mut best = [
        Best::new(count)?,
        Best::new(count)?,
        Best::new(count)?,
        Best::new(count)?,
    ];
    for _ in 0..ROUNDS {
        let [put, put_in_c, get, get_in_c] = &mut best;
        put.round(pages, |batch| {
            for (page, _) in batch {
                handles.push(ours.create(codec, page, false, || None)?, GFP_KERNEL)?;
            }
            Ok(())
        })?;
        put_in_c.round(pages, |batch| {
            for (page, _) in batch {
                let mut len = PAGE_SIZE;
                // SAFETY: The buffers have the lengths that are passed, and the work memory has
                // what it needs.
                let result = unsafe {
                    lzo1x_1_compress_safe(
                        page.as_ptr(),
                        PAGE_SIZE,
                        buffer.as_mut_ptr(),
                        &mut len,
                        work.as_mut_ptr().cast(),
                    )
                };
                if result != 0 {
                    return Err(E2BIG);
                }
                objects.push((theirs.put(&buffer[..len])?, len), GFP_KERNEL)?;
            }
            Ok(())
        })?;
        get.round(&handles, |batch| {
            for handle in batch {
                ours.get_data(codec, *handle, &mut page)?;
                ours.free(*handle);
            }
            Ok(())
        })?;
        get_in_c.round(&objects, |batch| {
            for (handle, len) in batch {
                theirs.take(*handle, *len, &mut page)?;
            }
            Ok(())
        })?;
        handles.clear();
        objects.clear();
    }
    for (best, name) in best.iter().zip([
        "put_zcache_ns",
        "put_zsmalloc_ns",
        "get_zcache_ns",
        "get_zsmalloc_ns",
    ]) {
        best.report(out, name)?;
    }
    // Once more, to compare every byte.
    let mut differ = 0;
    for (original, _) in pages {
        let handle = ours.create(codec, original, false, || None)?;
        ours.get_data(codec, handle, &mut page)?;
        ours.free(handle);
        differ += usize::from(*page != **original);
    }
    writeln!(out, "differ {differ}").map_err(|_| ENOSPC)
}

/// What it costs that a stream lies in two pieces: nanoseconds a page, for the same streams.
fn pieces(out: &mut Output<'_>, codec: &Codec, pages: &[(&PageBytes, usize)]) -> Result {
    let mut page = KBox::<PageBytes>::new(pin_init::zeroed(), GFP_KERNEL)?;
    let mut streams = KVVec::<KVVec<u8>>::new();
    for (page, len) in pages {
        let mut stream = KVVec::<u8>::with_capacity(*len, GFP_KERNEL)?;
        let copied = codec.compress(page, MAX_PARCEL, |data| {
            // There is room, so nothing is allocated.
            stream.extend_from_slice(data, GFP_KERNEL)
        });
        copied.ok_or(E2BIG)??;
        streams.push(stream, GFP_KERNEL)?;
    }
    let count = streams.len();
    let mut best = [Best::new(count)?, Best::new(count)?, Best::new(count)?];
    for _ in 0..ROUNDS {
        let [one, in_c, two] = &mut best;
        one.round(&streams, |batch| {
            let mut streams = batch.iter();
            streams.try_for_each(|stream| codec::decompress(stream, &mut page))
        })?;
        in_c.round(&streams, |batch| {
            let mut streams = batch.iter();
            streams.try_for_each(|stream| decompress_in_c(stream.as_ptr(), stream.len(), &mut page))
        })?;
        two.round(&streams, |batch| {
            let mut streams = batch.iter();
            streams.try_for_each(|stream| {
                let (head, rest) = stream.split_at(stream.len() / 2);
                codec.decompress_pieces(head, rest, &mut page)
            })
        })?;
    }
    for (best, name) in best
        .iter()
        .zip(["one_piece_ns", "one_piece_in_c_ns", "two_pieces_ns"])
    {
        best.report(out, name)?;
    }
    Ok(())
}
