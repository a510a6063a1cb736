// SPDX-License-Identifier: GPL-2.0

//! How slow a disk is, measured: random reads of 4 KiB that bypass the page
//! cache, one after the other.

use anyhow::{bail, Context, Result};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Instant;

const BLOCK: usize = 4096;

/// Read latency of a disk in milliseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Latency {
    /// Half of the reads were faster.
    pub p50_ms: f64,
    /// All but one in a hundred were faster.
    pub p99_ms: f64,
    /// Reads measured.
    pub reads: usize,
}

/// Measures a device, named as below `/dev`, with this many reads; with 0, not at
/// all.
///
/// # Errors
///
/// As [`measure`].
pub fn latency(device: &str, reads: usize) -> Result<Option<Latency>> {
    match reads {
        0 => Ok(None),
        reads => measure(&Path::new("/dev").join(device), reads).map(Some),
    }
}

/// Measures with this many reads.
///
/// # Errors
///
/// A device that cannot be read past the page cache, or is too small.
fn measure(device: &Path, reads: usize) -> Result<Latency> {
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::DIRECT.bits() as i32)
        .open(device)
        .with_context(|| format!("{}", device.display()))?;
    let blocks = file.seek(SeekFrom::End(0))? / BLOCK as u64;
    if blocks < 2 || reads == 0 {
        bail!("{} is too small to measure", device.display());
    }
    // O_DIRECT wants memory aligned as the device's blocks are.
    let mut memory = vec![0u8; 2 * BLOCK];
    let start = memory.as_ptr().align_offset(BLOCK);
    let buffer = &mut memory[start..start + BLOCK];
    let mut millis = Vec::with_capacity(reads);
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..reads {
        // xorshift64: the same places on every run.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let begun = Instant::now();
        file.read_exact_at(buffer, random % blocks * BLOCK as u64)?;
        millis.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    millis.sort_by(f64::total_cmp);
    Ok(Latency {
        p50_ms: millis[reads / 2],
        p99_ms: millis[reads * 99 / 100],
        reads,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_for_is_not_measured() -> Result<()> {
        assert!(latency("no-such-disk", 0)?.is_none());
        assert!(latency("no-such-disk", 1).is_err());
        Ok(())
    }
}
