// SPDX-License-Identifier: GPL-2.0

//! Records the memory of running programs: the pages that a kernel would swap
//! out, as they are, one after the other. Pages of zeroes are left out, as
//! most of them were never touched.

use anyhow::{Context, Result};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

const PAGE: usize = 4096;
/// Read at once, in bytes.
const STEP: u64 = 1 << 20;

/// Adds up to `bytes` of the private memory of process `pid` to `file`; returns
/// how many it added.
///
/// # Errors
///
/// There is no such process, its memory may not be read, or `file` not written.
pub fn record(pid: u32, bytes: u64, file: &Path) -> Result<u64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))
        .with_context(|| format!("process {pid}"))?;
    let memory = File::open(format!("/proc/{pid}/mem")).context("its memory")?;
    let mut out = OpenOptions::new().append(true).create(true).open(file)?;
    let mut buffer = vec![0; STEP as usize];
    let mut added = 0;
    for range in maps.lines().filter_map(private) {
        let mut at = range.start;
        while at < range.end {
            let len = STEP.min(range.end - at) as usize;
            // What goes away meanwhile, or never was there, is no error.
            let Ok(len) = memory.read_at(&mut buffer[..len], at) else {
                break;
            };
            for page in buffer[..len].chunks_exact(PAGE) {
                if added >= bytes {
                    return Ok(added);
                }
                if page.iter().any(|&byte| byte != 0) {
                    out.write_all(page)?;
                    added += PAGE as u64;
                }
            }
            if len < PAGE {
                break;
            }
            at += len as u64;
        }
    }
    Ok(added)
}

/// The addresses in a line of `maps`, if it is private memory of no file.
fn private(line: &str) -> Option<Range<u64>> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let mode = words.next()?;
    let path = words.nth(3).unwrap_or("");
    let ours = matches!(path, "" | "[heap]" | "[stack]") || path.starts_with("[anon");
    if !ours || !mode.starts_with("rw") || !mode.ends_with('p') {
        return None;
    }
    let address = |text| u64::from_str_radix(text, 16).ok();
    Some(address(start)?..address(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_private_memory_counts() {
        for (line, range) in [
            ("1000-3000 rw-p 00000000 00:00 0 ", Some(0x1000..0x3000)),
            (
                "1000-3000 rw-p 00000000 00:00 0  [heap]",
                Some(0x1000..0x3000),
            ),
            ("1000-3000 r--p 00000000 00:00 0 ", None),
            ("1000-3000 rw-s 00000000 00:00 0 ", None),
            ("1000-3000 rw-p 00000000 08:01 99  /usr/lib/x.so", None),
            ("1000-3000 r-xp 00000000 00:00 0  [vdso]", None),
            ("", None),
        ] {
            assert_eq!(private(line), range, "{line}");
        }
    }

    #[test]
    fn finds_what_a_program_holds() -> Result<()> {
        let mut held = vec![0_u8; 3 * PAGE];
        let start = held.as_ptr().align_offset(PAGE);
        let mark: Vec<u8> = (0..PAGE).map(|i| (i * i / 7) as u8).collect();
        held[start..start + PAGE].copy_from_slice(&mark);
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("pages");
        let added = record(std::process::id(), 256 << 20, &file)?;
        let pages = fs::read(&file)?;
        assert_eq!(added, pages.len() as u64);
        assert!(pages.chunks_exact(PAGE).any(|page| page == mark));
        assert!(pages
            .chunks_exact(PAGE)
            .all(|page| page.iter().any(|&byte| byte != 0)));
        // The bound holds, and what is there already stays.
        assert_eq!(record(std::process::id(), PAGE as u64, &file)?, PAGE as u64);
        assert_eq!(fs::metadata(&file)?.len(), added + PAGE as u64);
        drop(held);
        Ok(())
    }
}
