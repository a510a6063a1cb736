// SPDX-License-Identifier: GPL-2.0

//! System calls that the standard library does not have. All `unsafe` code of
//! this program is here.
#![allow(unsafe_code)]

use crate::block::PAGE;
use std::fs::{File, OpenOptions};
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

fn check(result: libc::c_long) -> Result<usize> {
    usize::try_from(result).map_err(|_| Error::last_os_error())
}

/// Opens a file for O_DIRECT reads and writes.
pub fn open_direct(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_DIRECT);
    options.open(path)
}

/// Anonymous memory or a file, mapped; gone when dropped.
pub struct Map {
    at: *mut libc::c_void,
    len: usize,
}

impl Map {
    /// Maps the first `len` bytes of a file, shared.
    pub fn of(file: &File, len: usize, write: bool) -> Result<Map> {
        let prot = libc::PROT_READ | if write { libc::PROT_WRITE } else { 0 };
        Map::new(len, prot, libc::MAP_SHARED, file.as_raw_fd())
    }

    /// Memory filled with zeros, at a page's start.
    pub fn anonymous(len: usize) -> Result<Map> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        Map::new(len, prot, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)
    }

    fn new(len: usize, prot: i32, flags: i32, fd: RawFd) -> Result<Map> {
        // SAFETY: A new mapping where the kernel likes it touches nothing of ours.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, fd, 0) };
        if at == libc::MAP_FAILED {
            return Err(Error::last_os_error());
        }
        Ok(Map { at, len })
    }

    /// The bytes. Whoever maps a file sees to it that nobody cuts it meanwhile.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: `len` bytes are mapped as long as `self` lives, and borrowed
        // through it. Other mappings of the file may change them: this program
        // only copies them out and compares them.
        unsafe { std::slice::from_raw_parts_mut(self.at.cast(), self.len) }
    }

    /// Bytes of a mapping that is only read.
    pub fn shared(&self) -> &[u8] {
        // SAFETY: As for `bytes`.
        unsafe { std::slice::from_raw_parts(self.at.cast(), self.len) }
    }

    /// Which of the pages the page cache holds.
    pub fn resident(&self) -> Result<Vec<bool>> {
        let mut bits = vec![0u8; self.len.div_ceil(PAGE)];
        // SAFETY: One byte for each page of the mapping.
        check(unsafe { libc::mincore(self.at, self.len, bits.as_mut_ptr()) }.into())?;
        Ok(bits.iter().map(|bits| bits & 1 == 1).collect())
    }

    /// Maps `len` bytes from byte `from` on for reading: an error, and not a
    /// signal, where the disk fails.
    pub fn populate(&self, from: usize, len: usize) -> Result<()> {
        let len = len.min(self.len.saturating_sub(from));
        // SAFETY: Within the mapping; content is kept.
        let result = unsafe { libc::madvise(self.at.add(from), len, libc::MADV_POPULATE_READ) };
        check(result.into()).map(|_| ())
    }

    /// Tells the kernel to reclaim `from..to`, in bytes, of what is mapped.
    pub fn page_out(&self, from: usize, to: usize) -> Result<()> {
        let to = to.min(self.len);
        if from >= to {
            return Ok(());
        }
        // SAFETY: Within the mapping; content is kept.
        let result = unsafe { libc::madvise(self.at.add(from), to - from, libc::MADV_PAGEOUT) };
        check(result.into()).map(|_| ())
    }

    /// Takes the pages from byte `from` on away, so that who touches them fails.
    pub fn unmap_from(&mut self, from: usize) -> Result<()> {
        let len = self.len - from;
        // SAFETY: Within the mapping, which is shorter from here on.
        check(unsafe { libc::munmap(self.at.add(from), len) }.into())?;
        self.len = from;
        Ok(())
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: It was mapped, and nobody borrows it any more.
        unsafe { libc::munmap(self.at, self.len) };
    }
}

/// Reclaims what the page cache holds of pages `first..end` of a file. Each is
/// offered to zcache. Dirty pages stay.
pub fn page_out(file: &File, first: usize, end: usize) -> Result<()> {
    page_out_within(file, file.metadata()?.len() as usize, first, end)
}

/// The same of a file, or a device, of `len` bytes.
pub fn page_out_within(file: &File, len: usize, first: usize, end: usize) -> Result<()> {
    if len == 0 {
        return Ok(());
    }
    let map = Map::of(file, len, false)?;
    // Only pages that are mapped are reclaimed, and touching one that is not in
    // the page cache would bring it in.
    for (page, here) in map.resident()?.into_iter().enumerate() {
        if here && (first..end).contains(&page) {
            // It may be gone by now, and the disk may fail.
            let _ = map.populate(page * PAGE, PAGE);
        }
    }
    map.page_out(first * PAGE, end.saturating_mul(PAGE))
}

/// posix_fadvise(2) on a whole range; `len` 0 is to the end.
pub fn fadvise(file: &File, offset: u64, len: u64, advice: i32) -> Result<()> {
    // SAFETY: Plain numbers.
    let code = unsafe { libc::posix_fadvise(file.as_raw_fd(), offset as i64, len as i64, advice) };
    match code {
        0 => Ok(()),
        code => Err(Error::from_raw_os_error(code)),
    }
}

/// fallocate(2).
pub fn fallocate(file: &File, mode: i32, offset: u64, len: u64) -> Result<()> {
    // SAFETY: Plain numbers.
    let result = unsafe { libc::fallocate(file.as_raw_fd(), mode, offset as i64, len as i64) };
    check(result.into()).map(|_| ())
}

/// pwrite(2) of part of a mapping that may not all be there.
pub fn write_mapped(file: &File, map: &Map, from: usize, len: usize, offset: u64) -> Result<usize> {
    // SAFETY: The kernel reads, and fails where nothing is mapped.
    let result = unsafe {
        libc::pwrite(
            file.as_raw_fd(),
            map.at.add(from),
            len,
            offset as libc::off_t,
        )
    };
    check(result as libc::c_long)
}

#[repr(C)]
struct CloneRange {
    from: i64,
    offset: u64,
    len: u64,
    to_offset: u64,
}

#[repr(C)]
struct ExchangeRange {
    file1: i32,
    pad: u32,
    offset1: u64,
    offset2: u64,
    len: u64,
    flags: u64,
}

#[repr(C)]
struct MoveExtent {
    reserved: u32,
    donor: u32,
    from: u64,
    donor_from: u64,
    len: u64,
    moved: u64,
}

const FICLONERANGE: libc::c_ulong = 0x4020_940d;
const XFS_IOC_EXCHANGE_RANGE: libc::c_ulong = 0x4028_5881;
const EXT4_IOC_MOVE_EXT: libc::c_ulong = 0xc028_660f;
const FS_IOC_GETVERSION: libc::c_ulong = 0x8008_7601;
const FS_IOC_SETVERSION: libc::c_ulong = 0x4008_7602;
const FS_IOC_GETFLAGS: libc::c_ulong = 0x8008_6601;
const EXT4_INLINE_DATA_FL: u32 = 0x1000_0000;

fn ioctl<T>(file: &File, code: libc::c_ulong, argument: &mut T) -> Result<()> {
    // SAFETY: Each code above has the size of its `T` in it.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), code, std::ptr::from_mut(argument)) };
    check(result.into()).map(|_| ())
}

/// Makes a range of `to` share the blocks of a range of `from`.
pub fn reflink(from: &File, offset: u64, len: u64, to: &File, to_offset: u64) -> Result<()> {
    let from = i64::from(from.as_raw_fd());
    let mut argument = CloneRange {
        from,
        offset,
        len,
        to_offset,
    };
    ioctl(to, FICLONERANGE, &mut argument)
}

/// Exchanges the blocks of the same range of two files, as XFS can.
pub fn exchange(a: &File, b: &File, offset: u64, len: u64) -> Result<()> {
    let mut argument = ExchangeRange {
        file1: a.as_raw_fd(),
        pad: 0,
        offset1: offset,
        offset2: offset,
        len,
        flags: 0,
    };
    ioctl(b, XFS_IOC_EXCHANGE_RANGE, &mut argument)
}

/// Exchanges blocks, counted in the file system's, as ext4's defragmenter does:
/// `file` keeps its content, in the blocks of `donor`, which gets its old ones.
pub fn move_extent(file: &File, donor: &File, from: u64, len: u64) -> Result<u64> {
    let mut argument = MoveExtent {
        reserved: 0,
        donor: donor.as_raw_fd() as u32,
        from,
        donor_from: from,
        len,
        moved: 0,
    };
    ioctl(file, EXT4_IOC_MOVE_EXT, &mut argument)?;
    Ok(argument.moved)
}

/// The inode's generation.
pub fn generation(file: &File) -> Result<u32> {
    let mut value = 0u64;
    ioctl(file, FS_IOC_GETVERSION, &mut value)?;
    Ok(value as u32)
}

/// Sets the inode's generation.
pub fn set_generation(file: &File, generation: u32) -> Result<()> {
    ioctl(file, FS_IOC_SETVERSION, &mut u64::from(generation))
}

/// Is the file's data in its inode, as ext4 can do it?
pub fn inline(file: &File) -> Result<bool> {
    let mut flags = 0u64;
    ioctl(file, FS_IOC_GETFLAGS, &mut flags)?;
    Ok(flags as u32 & EXT4_INLINE_DATA_FL != 0)
}

/// copy_file_range(2): bytes copied.
pub fn copy_range(
    from: &File,
    offset: u64,
    to: &File,
    to_offset: u64,
    len: usize,
) -> Result<usize> {
    let (mut offset, mut to_offset) = (offset as i64, to_offset as i64);
    // SAFETY: Both offsets live on this stack.
    let result = unsafe {
        libc::copy_file_range(
            from.as_raw_fd(),
            &mut offset,
            to.as_raw_fd(),
            &mut to_offset,
            len,
            0,
        )
    };
    check(result as libc::c_long)
}

/// Makes a file a swap area, or no longer.
pub fn swap(path: &Path, on: bool) -> Result<()> {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
    // SAFETY: A C string that lives through the call.
    let result = unsafe {
        if on {
            libc::swapon(path.as_ptr(), 0)
        } else {
            libc::swapoff(path.as_ptr())
        }
    };
    check(result.into()).map(|_| ())
}

/// A pipe that holds pages of a file, and with them a reference to each.
pub struct Held {
    ends: [RawFd; 2],
}

impl Held {
    /// Holds some pages from `offset` on.
    pub fn new(file: &File, offset: u64, len: usize) -> Result<Held> {
        let mut ends = [0; 2];
        // SAFETY: Room for two descriptors.
        check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }.into())?;
        let held = Held { ends };
        let mut offset = offset as i64;
        // SAFETY: The offset lives on this stack.
        let result = unsafe {
            libc::splice(
                file.as_raw_fd(),
                &mut offset,
                held.ends[1],
                std::ptr::null_mut(),
                len,
                libc::SPLICE_F_NONBLOCK,
            )
        };
        check(result as libc::c_long)?;
        Ok(held)
    }

    /// Reads what is held; at most a pipe's worth.
    pub fn read(&self, data: &mut [u8]) -> Result<usize> {
        // SAFETY: The kernel writes into `data` and no further.
        let result = unsafe { libc::read(self.ends[0], data.as_mut_ptr().cast(), data.len()) };
        check(result as libc::c_long)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for end in self.ends {
            // SAFETY: It is ours.
            unsafe { libc::close(end) };
        }
    }
}

#[repr(C)]
#[derive(Default)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: u32,
    opcode: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    len: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    event_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct IoEvent {
    data: u64,
    object: u64,
    result: i64,
    result2: i64,
}

const IOCB_CMD_PWRITE: u16 = 1;

/// Writes by Linux AIO, and calls `meanwhile` while it is under way. `len` bytes
/// of `map`, which must be all there unless failure is wanted.
pub fn write_aio(
    file: &File,
    map: &Map,
    from: usize,
    len: usize,
    offset: u64,
    meanwhile: impl FnOnce(),
) -> Result<usize> {
    let mut context: libc::c_ulong = 0;
    // SAFETY: The kernel writes one word.
    check(unsafe { libc::syscall(libc::SYS_io_setup, 1, &mut context) })?;
    // SAFETY: Only the address is computed; the kernel checks what is there.
    let buffer = unsafe { map.at.cast::<u8>().add(from) } as u64;
    let mut iocb = Iocb {
        opcode: IOCB_CMD_PWRITE,
        fd: file.as_raw_fd() as u32,
        buffer,
        len: len as u64,
        offset: offset as i64,
        ..Default::default()
    };
    let mut list = [std::ptr::from_mut(&mut iocb)];
    // SAFETY: One request, which lives until it is waited for below, as does
    // the mapping that it reads.
    let mut result =
        check(unsafe { libc::syscall(libc::SYS_io_submit, context, 1, list.as_mut_ptr()) });
    if result.is_ok() {
        meanwhile();
        let mut event = IoEvent::default();
        let none = std::ptr::null_mut::<libc::timespec>();
        let mut wait = || {
            // SAFETY: Room for one event.
            check(unsafe { libc::syscall(libc::SYS_io_getevents, context, 1, 1, &mut event, none) })
        };
        result = loop {
            match wait() {
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                result => break result,
            }
        }
        .and_then(|_| {
            usize::try_from(event.result)
                .map_err(|_| Error::from_raw_os_error(-(event.result as i32)))
        });
    }
    // SAFETY: Made above; nothing is under way in it.
    unsafe { libc::syscall(libc::SYS_io_destroy, context) };
    result
}

/// Writes by io_uring, and calls `meanwhile` while it is under way.
pub fn write_uring(
    file: &File,
    map: &Map,
    from: usize,
    len: usize,
    offset: u64,
    meanwhile: impl FnOnce(),
) -> Result<usize> {
    let mut ring = io_uring::IoUring::new(2)?;
    let length = u32::try_from(len).map_err(|_| Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: Only the address is computed.
    let buffer = unsafe { map.at.cast::<u8>().add(from) };
    let entry = io_uring::opcode::Write::new(io_uring::types::Fd(file.as_raw_fd()), buffer, length)
        .offset(offset)
        .build();
    // SAFETY: File and mapping outlive the request, which is waited for below.
    let pushed = unsafe { ring.submission().push(&entry) };
    pushed.map_err(|_| Error::from_raw_os_error(libc::EBUSY))?;
    ring.submit()?;
    meanwhile();
    loop {
        match ring.submit_and_wait(1) {
            Err(error) if error.raw_os_error() != Some(libc::EINTR) => return Err(error),
            _ => {}
        }
        if let Some(done) = ring.completion().next() {
            let code = done.result();
            return usize::try_from(code).map_err(|_| Error::from_raw_os_error(-code));
        }
    }
}

/// Gives the processor to others.
pub fn sleep_ms(ms: u64) {
    std::thread::sleep(std::time::Duration::from_millis(ms));
}

/// mount(2) flags only: remounts a file system.
pub fn remount(path: &Path, read_only: bool) -> Result<()> {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
    let flags = libc::MS_REMOUNT | if read_only { libc::MS_RDONLY } else { 0 };
    // SAFETY: C strings that live through the call; no options.
    let result = unsafe {
        libc::mount(
            c"none".as_ptr(),
            path.as_ptr(),
            std::ptr::null(),
            flags,
            std::ptr::null(),
        )
    };
    check(result.into()).map(|_| ())
}

/// Waits until all that is dirty is on the disk.
pub fn sync() {
    // SAFETY: No arguments.
    unsafe { libc::sync() };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_ioctls() {
        // _IOC(direction, letter, number, size), as in asm-generic/ioctl.h.
        let code = |direction: u64, letter: u8, number: u64, size: usize| {
            direction << 30 | (size as u64) << 16 | u64::from(letter) << 8 | number
        };
        assert_eq!(FICLONERANGE, code(1, 0x94, 13, size_of::<CloneRange>()));
        assert_eq!(
            XFS_IOC_EXCHANGE_RANGE,
            code(1, b'X', 129, size_of::<ExchangeRange>())
        );
        assert_eq!(
            EXT4_IOC_MOVE_EXT,
            code(3, b'f', 15, size_of::<MoveExtent>())
        );
        assert_eq!(FS_IOC_GETFLAGS, code(2, b'f', 1, size_of::<i64>()));
        assert_eq!(FS_IOC_GETVERSION, code(2, b'v', 1, size_of::<i64>()));
        assert_eq!(FS_IOC_SETVERSION, code(1, b'v', 2, size_of::<i64>()));
    }
}
