// SPDX-License-Identifier: GPL-2.0

//! Numbers that a kernel shows about itself.

use anyhow::{bail, Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Bytes of RAM and of page cache right now.
#[derive(Debug, PartialEq, Eq)]
pub struct Memory {
    /// RAM that the kernel manages.
    pub total_bytes: u64,
    /// Page cache: files and block devices, without tmpfs.
    pub page_cache_bytes: u64,
}

/// Reads `/proc/meminfo`.
///
/// # Errors
///
/// A file that cannot be read or lacks a line.
pub fn memory() -> Result<Memory> {
    parse_memory(&fs::read_to_string("/proc/meminfo")?)
}

fn parse_memory(text: &str) -> Result<Memory> {
    let kib = |name: &str| -> Result<u64> {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .with_context(|| format!("no {name} in meminfo"))?;
        let number = line.trim().trim_end_matches(" kB");
        number.parse::<u64>().context("meminfo")
    };
    let cached = kib("Cached")? + kib("Buffers")?;
    Ok(Memory {
        total_bytes: kib("MemTotal")? << 10,
        page_cache_bytes: cached.saturating_sub(kib("Shmem")?) << 10,
    })
}

/// Bytes read from swap and written to it since boot.
///
/// # Errors
///
/// `/proc/vmstat` that cannot be read. A kernel without swap counts zero.
pub fn swap_bytes() -> Result<(u64, u64)> {
    let text = fs::read_to_string("/proc/vmstat")?;
    let pages = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|number| number.parse::<u64>().ok())
            .unwrap_or(0)
    };
    Ok((pages("pswpin") * 4096, pages("pswpout") * 4096))
}

/// A number of `/proc/vmstat`.
///
/// # Errors
///
/// There is none of that name.
pub fn vmstat(name: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/vmstat")?;
    let mut lines = text.lines();
    let number = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(number.with_context(|| name.to_string())?.parse()?)
}

/// Bytes read from a block device since boot.
///
/// # Errors
///
/// No such device, or a stat line that is too short.
pub fn disk_reads(device: &str) -> Result<Reads> {
    let path = format!("/sys/block/{device}/stat");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    match (numbers.next(), numbers.nth(1)) {
        (Some(requests), Some(sectors)) => Ok(Reads {
            requests: requests?,
            bytes: sectors? * 512,
        }),
        _ => bail!("{path} is too short"),
    }
}

/// What was read from a disk so far.
pub struct Reads {
    /// How many times.
    pub requests: u64,
    /// How much.
    pub bytes: u64,
}

/// zcache's own counters: every file in its sysfs folder that holds one
/// number. Empty where there is no zcache.
///
/// # Errors
///
/// A folder or file that is there and cannot be read.
pub fn zcache(sysfs: &Path) -> Result<BTreeMap<String, u64>> {
    let mut counters = BTreeMap::new();
    if !sysfs.is_dir() {
        return Ok(counters);
    }
    for item in fs::read_dir(sysfs)? {
        let path = item?.path();
        if !path.is_file() {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        if let (Some(name), Ok(value)) = (name, text.trim().parse()) {
            counters.insert(name, value);
        }
    }
    Ok(counters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_cache_is_without_tmpfs() -> Result<()> {
        let text = "MemTotal: 1000 kB\nBuffers: 8 kB\nCached: 100 kB\n\
                    SwapCached: 4 kB\nShmem: 3 kB\n";
        let memory = parse_memory(text)?;
        assert_eq!(memory.total_bytes, 1000 << 10);
        assert_eq!(memory.page_cache_bytes, 105 << 10);
        assert!(parse_memory("MemTotal: 1 kB").is_err());
        Ok(())
    }

    #[test]
    fn only_files_with_one_number_are_counters() -> Result<()> {
        let sysfs = tempfile::tempdir()?;
        fs::write(sysfs.path().join("frames"), "12\n")?;
        fs::write(sysfs.path().join("status"), "cleancache on\n")?;
        fs::write(sysfs.path().join("lists"), "1 2 3\n")?;
        let counters = zcache(sysfs.path())?;
        assert_eq!(counters, BTreeMap::from([("frames".to_string(), 12)]));
        assert!(zcache(&sysfs.path().join("none"))?.is_empty());
        Ok(())
    }
}
