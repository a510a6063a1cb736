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

/// What such a counter has to say of a measurement, of its value before and after. The percentiles
/// of times are of all times since boot, so they are taken as they stand; so is what says how much
/// there is, or may be. All others only grow, and by how much they grew is what was done meanwhile.
pub fn said_of(name: &str, before: u64, after: u64) -> i64 {
    match is_level(name) {
        true => after as i64,
        false => after as i64 - before as i64,
    }
}

/// Is it no count of what was done? `scripts/zcache-stats` has the same list.
pub fn is_level(name: &str) -> bool {
    let ends = [
        "_max", "_bytes", "_percent", "_p50_ns", "_p99_ns", "_p999_ns",
    ];
    let begins = ["curr_", "zbud_curr_", "zv_max_"];
    let is = [
        "stored_pages",
        "same_filled_pages",
        "frames",
        "limit_frames",
        "total_limit_frames",
        "allowed_frames",
        "split_zpages",
        "zpages",
        "zbytes",
        "zbud_buddied_count",
        "zbpg_unused_list_count",
        "pcd_count",
        "pgp_count",
        "page_count",
        "dedup_pages",
    ];
    ends.iter().any(|end| name.ends_with(end))
        || begins.iter().any(|begin| name.starts_with(begin))
        || is.contains(&name.strip_prefix("pers_").unwrap_or(name))
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
    fn only_what_grows_is_subtracted() {
        for grown in [
            "eph_puts",
            "pers_hits",
            "pers_cumul_zbytes",
            "pers_taken_frames",
            "inode_death_pages",
            "evicted_raw_pages",
            "zbud_cumul_zpages",
            "dedup_puts",
            "timing_eph_put",
            "timing_eph_put_ns",
        ] {
            assert_eq!(said_of(grown, 500, 700), 200, "{grown}");
        }
        for level in [
            "timing_eph_put_p50_ns",
            "timing_pers_refused_p999_ns",
            "frames",
            "pers_frames",
            "stored_pages_max",
            "pers_limit_frames",
            "metadata_bytes",
            "zbud_curr_zbytes",
            "curr_obj_count",
            "page_count",
        ] {
            assert_eq!(said_of(level, 500, 700), 700, "{level}");
            assert_eq!(said_of(level, 700, 500), 500, "{level}");
        }
    }

    /// Every number that the kernel's documentation has under "Now" and "Since boot".
    #[test]
    fn levels_are_those_of_the_documentation() -> Result<()> {
        let abi = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../Documentation/ABI/testing/sysfs-kernel-mm-zcache");
        let mut now = None;
        let mut seen = [0, 0];
        for line in fs::read_to_string(abi)?.lines() {
            match line.trim() {
                "Now:" => now = Some(true),
                "Since boot:" => now = Some(false),
                _ if line.starts_with("What:") => now = None,
                _ => {}
            }
            let name = line
                .strip_prefix("\t\t")
                .and_then(|line| line.split_once('\t'));
            let Some((now, (name, _))) = now.zip(name) else {
                continue;
            };
            if name.starts_with(|first: char| first.is_ascii_lowercase()) {
                assert_eq!(is_level(name), now, "{name}");
                seen[usize::from(now)] += 1;
            }
        }
        assert!(seen[0] > 40 && seen[1] > 20, "{seen:?}");
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
