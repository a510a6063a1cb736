// SPDX-License-Identifier: GPL-2.0

//! What every file of a tree must hold, as the host knew it: one line a file
//! with its xxh3-64, its length and its path, in the order of reading.

use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

/// Bytes asked for by one read, as `cp` and `cat` do.
pub const READ_SIZE: usize = 128 << 10;

/// One file of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// xxh3-64 of the content.
    pub hash: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// Path below the tree's root.
    pub path: PathBuf,
}

/// Reads a file to its end; returns the hash and the length of what came.
///
/// # Errors
///
/// Whatever opening or reading gave.
pub fn hash_file(path: &Path, buffer: &mut [u8]) -> std::io::Result<(u64, u64)> {
    hash_file_to(path, buffer, &mut std::io::sink())
}

/// The same, and passes on all that came.
///
/// # Errors
///
/// Whatever opening, reading or passing on gave.
pub fn hash_file_to(
    path: &Path,
    buffer: &mut [u8],
    to: &mut impl Write,
) -> std::io::Result<(u64, u64)> {
    let mut file = File::open(path)?;
    let mut hasher = Xxh3::new();
    let mut bytes = 0u64;
    loop {
        let got = file.read(buffer)?;
        if got == 0 {
            return Ok((hasher.digest(), bytes));
        }
        hasher.update(&buffer[..got]);
        to.write_all(&buffer[..got])?;
        bytes += got as u64;
    }
}

/// Every regular file below `root`, in the order of its path.
///
/// # Errors
///
/// A folder that cannot be read.
pub fn files_below(root: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = vec![root.to_path_buf()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        let list = fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))?;
        for item in list {
            let item = item?;
            let kind = item.file_type()?;
            if kind.is_dir() {
                folders.push(item.path());
            } else if kind.is_file() {
                files.push(item.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Writes the manifest of the tree at `root`; returns its entries.
///
/// # Errors
///
/// A file that cannot be read, or a manifest that cannot be written.
pub fn write(root: &Path, manifest: &Path) -> Result<Vec<Entry>> {
    let mut buffer = vec![0; READ_SIZE];
    let mut entries = Vec::new();
    for path in files_below(root)? {
        let (hash, bytes) =
            hash_file(&path, &mut buffer).with_context(|| format!("{}", path.display()))?;
        let path = path.strip_prefix(root)?.to_path_buf();
        entries.push(Entry { hash, bytes, path });
    }
    let file =
        File::create(manifest).with_context(|| format!("cannot write {}", manifest.display()))?;
    let mut out = BufWriter::new(file);
    for entry in &entries {
        writeln!(
            out,
            "{:016x} {} {}",
            entry.hash,
            entry.bytes,
            entry.path.display()
        )?;
    }
    out.flush()?;
    Ok(entries)
}

/// Reads a manifest.
///
/// # Errors
///
/// A file that cannot be read, or a line that is none of ours.
pub fn read(manifest: &Path) -> Result<Vec<Entry>> {
    let text = fs::read_to_string(manifest)
        .with_context(|| format!("cannot read {}", manifest.display()))?;
    text.lines()
        .map(|line| parse_line(line).with_context(|| format!("bad manifest line: {line}")))
        .collect()
}

fn parse_line(line: &str) -> Option<Entry> {
    let mut parts = line.splitn(3, ' ');
    Some(Entry {
        hash: u64::from_str_radix(parts.next()?, 16).ok()?,
        bytes: parts.next()?.parse().ok()?,
        path: PathBuf::from(parts.next()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_in_the_order_of_paths() -> Result<()> {
        let tree = tempfile::tempdir()?;
        fs::create_dir(tree.path().join("b"))?;
        fs::write(tree.path().join("b/with space"), b"content")?;
        fs::write(tree.path().join("a"), b"")?;
        let list = tempfile::NamedTempFile::new()?;
        let written = write(tree.path(), list.path())?;
        assert_eq!(read(list.path())?, written);
        let paths: Vec<_> = written.iter().map(|entry| entry.path.as_path()).collect();
        assert_eq!(paths, [Path::new("a"), Path::new("b/with space")]);
        assert_eq!(written[1].bytes, 7);
        assert_ne!(written[0].hash, written[1].hash);
        Ok(())
    }

    #[test]
    fn a_line_of_something_else_is_an_error() {
        assert_eq!(parse_line("xyz 7 a"), None);
        assert_eq!(parse_line("00ff seven a"), None);
        assert_eq!(parse_line("00ff 7"), None);
    }
}
