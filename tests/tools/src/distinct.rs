// SPDX-License-Identifier: GPL-2.0

//! Makes all pages of a tree differ: for what the search for equal pages costs
//! where it finds nothing, with pages that are like those of the tree otherwise.

use crate::manifest;
use anyhow::{Context, Result};
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use xxhash_rust::xxh3::xxh3_128;

const PAGE: usize = 4096;

/// Writes a number over the first bytes of each page to which an earlier one is
/// equal, in all files below `root`; says how many these were. Pages of zeroes
/// stay: zcache has a form of its own for them.
///
/// # Errors
///
/// A file that can't be read, or not be written anew.
pub fn make(root: &Path) -> Result<bool> {
    let mut seen = HashSet::new();
    let (mut changed, mut number, mut pages) = (0, 0u64, 0);
    for path in manifest::files_below(root)? {
        let failed = || format!("{}", path.display());
        let mut bytes = fs::read(&path).with_context(failed)?;
        let before = changed;
        for page in bytes.chunks_mut(PAGE) {
            pages += 1;
            if used(page).is_empty() || seen.insert(xxh3_128(used(page))) {
                continue;
            }
            changed += 1;
            while !seen.insert(xxh3_128(used(page))) {
                number += 1;
                for (to, from) in page.iter_mut().zip(number.to_le_bytes()) {
                    *to = from;
                }
            }
        }
        if changed != before {
            // Not in place: the file may be read-only.
            fs::remove_file(&path).with_context(failed)?;
            fs::write(&path, bytes).with_context(failed)?;
        }
    }
    println!("{changed} of {pages} pages were equal to earlier ones");
    Ok(true)
}

/// A page without the zeroes at its end: in memory, the rest is zeroes.
fn used(page: &[u8]) -> &[u8] {
    let last = page.iter().rposition(|byte| *byte != 0);
    &page[..last.map_or(0, |last| last + 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_pages_are_left_equal() -> Result<()> {
        let root = tempfile::tempdir()?;
        let mut both = vec![b'x'; 2 * PAGE];
        both.extend(b"end");
        fs::write(root.path().join("a"), &both)?;
        fs::write(root.path().join("b"), &both)?;
        // Its page in memory is that of "end".
        fs::write(root.path().join("c"), b"end\0\0")?;
        fs::write(root.path().join("d"), b"alone")?;
        assert!(make(root.path())?);
        let mut seen = HashSet::new();
        for name in ["a", "b", "c", "d"] {
            let bytes = fs::read(root.path().join(name))?;
            for page in bytes.chunks(PAGE) {
                assert!(seen.insert(used(page).to_vec()), "{name}");
            }
        }
        assert_eq!(fs::read(root.path().join("a"))?.len(), both.len());
        assert_eq!(fs::read(root.path().join("d"))?, b"alone");
        Ok(())
    }
}
