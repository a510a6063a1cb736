// SPDX-License-Identifier: GPL-2.0

//! Lets an XFS exchange ranges of files: xfsprogs before 6.10 cannot make one
//! that does.

use anyhow::{ensure, Result};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of the superblock, with its checksum.
const SECTOR: usize = 512;
/// Where its words are, in bytes: incompatible features, the most significant
/// byte first; and the checksum, the least significant one first.
const FEATURES: usize = 216;
const SUM: usize = 224;
const EXCHANGE: u32 = 1 << 6;

/// Sets the feature in the superblock of a new, unmounted XFS.
///
/// # Errors
///
/// It is no XFS, or its superblock is damaged.
pub fn allow_exchange(path: &Path) -> Result<()> {
    let disk = OpenOptions::new().read(true).write(true).open(path)?;
    let mut sector = [0; SECTOR];
    disk.read_exact_at(&mut sector, 0)?;
    ensure!(sector.starts_with(b"XFSB"), "{} is no XFS", path.display());
    let sum = word(&sector, SUM);
    seal(&mut sector);
    ensure!(word(&sector, SUM) == sum, "the superblock has a wrong sum");
    let features = u32::from_be_bytes(word(&sector, FEATURES)) | EXCHANGE;
    sector[FEATURES..FEATURES + 4].copy_from_slice(&features.to_be_bytes());
    seal(&mut sector);
    disk.write_all_at(&sector, 0)?;
    disk.sync_all()?;
    Ok(())
}

fn word(sector: &[u8; SECTOR], at: usize) -> [u8; 4] {
    let mut word = [0; 4];
    word.copy_from_slice(&sector[at..at + 4]);
    word
}

fn seal(sector: &mut [u8; SECTOR]) {
    sector[SUM..SUM + 4].fill(0);
    let sum = crc32c(sector);
    sector[SUM..SUM + 4].copy_from_slice(&sum.to_le_bytes());
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut sum = !0u32;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg());
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_sum_is_that_of_the_standard() {
        assert_eq!(super::crc32c(b"123456789"), 0xe306_9283);
    }
}
