// SPDX-License-Identifier: GPL-2.0

//! What the kernel tells and takes: zcache's counters, cleancache's checks.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;

const ZCACHE: &str = "/sys/kernel/mm/zcache";
const CHECKS: &str = "/sys/kernel/debug/cleancache";
const PARAMETERS: &str = "/sys/module/cleancache_debug/parameters";

/// One of zcache's counters; 0 without zcache.
pub fn counter(name: &str) -> u64 {
    let text = fs::read_to_string(format!("{ZCACHE}/{name}")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// Is zcache on?
pub fn zcache() -> bool {
    fs::metadata(format!("{ZCACHE}/eph_puts")).is_ok()
}

/// Does this kernel have the checks?
pub fn checks() -> bool {
    fs::metadata(CHECKS).is_ok()
}

fn set(name: &str, value: &str) -> Result<()> {
    let path = parameter(name);
    fs::write(&path, value).with_context(|| format!("{path}: {value}"))
}

fn parameter(name: &str) -> String {
    // The name of the folder is that of the parameter's prefix.
    let short = format!("/sys/module/cleancache/parameters/{name}");
    if fs::metadata(&short).is_ok() {
        return short;
    }
    format!("{PARAMETERS}/{name}")
}

/// Puts guards out of order; "none" puts all back.
pub fn skip(guards: &str) -> Result<()> {
    set("skip_guards", guards)
}

/// Sleeps in one of so many puts, and after each invalidation; 0 for never.
pub fn widen(one_in: u32) -> Result<()> {
    set("widen", &one_in.to_string())
}

/// Lets the file system read what zcache has as well, to compare.
pub fn verify(on: bool) -> Result<()> {
    set("verify", if on { "1" } else { "0" })
}

fn table(name: &str) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(format!("{CHECKS}/{name}")).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| {
        let (name, number) = line.split_once(' ')?;
        Some((name.to_string(), number.parse().ok()?))
    });
    pairs.collect()
}

/// How often each guard had something to drop, since boot.
pub fn guards() -> BTreeMap<String, u64> {
    table("guards")
}

/// What was compared, and how often it differed, since boot.
pub fn verified() -> BTreeMap<String, u64> {
    table("verified")
}

/// Drops the page cache, and with it what zcache has of it.
pub fn drop_caches() -> Result<()> {
    fs::write("/proc/sys/vm/drop_caches", "1").context("drop_caches")
}

/// Free memory, in bytes.
pub fn available() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// Pages that were swapped out, since boot.
pub fn swapped_out() -> u64 {
    let text = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let count = text.lines().find_map(|line| line.strip_prefix("pswpout "));
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}
