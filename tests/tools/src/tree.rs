// SPDX-License-Identifier: GPL-2.0

//! A tree of real files: sources and documents of a kernel, programs and
//! libraries of this machine. Whole folders, chosen by the hash of their paths:
//! by nothing that has to do with how well they compress.

use crate::manifest;
use anyhow::{bail, Context, Result};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// Three bytes in five are text, the rest is code.
const TEXT_PERCENT: u64 = 60;
/// No folder gives more than this part of the bytes.
const LARGEST_FOLDER: u64 = 8;
const LARGEST_TEXT: u64 = 512 << 10;
const LARGEST_BINARY: u64 = 8 << 20;
const TEXT_SUFFIXES: [&str; 9] = ["c", "h", "S", "rs", "rst", "txt", "py", "pl", "sh"];
/// Generated lists of registers: hundreds of MiB of one line over and over.
const NOT_TEXT_FOLDER: &str = "asic_reg";

/// What to make.
pub struct Plan {
    /// The new tree; it must not exist.
    pub to: PathBuf,
    /// Where its manifest goes.
    pub manifest: PathBuf,
    /// Bytes of content in all, reached within 1 MiB.
    pub bytes: u64,
    /// No file is smaller than this, in bytes.
    pub smallest: u64,
    /// A kernel's source tree.
    pub text: PathBuf,
    /// Folders of programs and libraries.
    pub binaries: Vec<PathBuf>,
}

/// Makes the tree and its manifest.
///
/// # Errors
///
/// Too little to choose from, or whatever a copy gave.
pub fn make(plan: &Plan) -> Result<bool> {
    fs::create_dir(&plan.to).with_context(|| format!("{}", plan.to.display()))?;
    let sources = folders(&plan.text, plan.smallest, LARGEST_TEXT, is_text)?;
    let mut programs = Vec::new();
    for folder in &plan.binaries {
        programs.extend(folders(folder, plan.smallest, LARGEST_BINARY, is_program)?);
    }
    programs.sort_by_key(|folder: &Folder| folder.order);
    let text_bytes = plan.bytes * TEXT_PERCENT / 100;
    copy_chosen(sources, text_bytes, &plan.text, &plan.to.join("text"))?;
    copy_chosen(
        programs,
        plan.bytes - text_bytes,
        Path::new("/"),
        &plan.to.join("bin"),
    )?;
    let entries = manifest::write(&plan.to, &plan.manifest)?;
    let bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
    println!("{} files, {} MiB", entries.len(), bytes >> 20);
    Ok(true)
}

/// The files of one folder that fit.
struct Folder {
    order: u64,
    files: Vec<(PathBuf, u64)>,
}

/// The folders below `root` that hold files which fit, in hash order.
fn folders(
    root: &Path,
    smallest: u64,
    largest: u64,
    fits: fn(&Path) -> bool,
) -> Result<Vec<Folder>> {
    let mut by_path: BTreeMap<PathBuf, Vec<(PathBuf, u64)>> = BTreeMap::new();
    for path in manifest::files_below(root)? {
        let bytes = fs::metadata(&path)?.len();
        // An empty file says nothing about a page cache.
        if (smallest.max(1)..=largest).contains(&bytes) && fits(&path) {
            let folder = path.parent().unwrap_or(root).to_path_buf();
            by_path.entry(folder).or_default().push((path, bytes));
        }
    }
    let mut list = Vec::new();
    for (path, files) in by_path {
        let order = xxh3_64(path.strip_prefix(root)?.as_os_str().as_encoded_bytes());
        list.push(Folder { order, files });
    }
    list.sort_by_key(|folder| folder.order);
    Ok(list)
}

fn is_text(path: &Path) -> bool {
    let suffix = path.extension().and_then(|suffix| suffix.to_str());
    suffix.is_some_and(|suffix| TEXT_SUFFIXES.contains(&suffix))
        && path
            .components()
            .all(|part| part.as_os_str() != NOT_TEXT_FOLDER)
}

/// Programs and libraries, but not debug information of its own: no program reads that.
fn is_program(path: &Path) -> bool {
    let mut magic = [0; 4];
    path.extension().is_none_or(|suffix| suffix != "debug")
        && File::open(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok())
        && magic == *b"\x7fELF"
}

/// Copies whole folders in hash order until `bytes` are there; of a very large
/// one, only its first part.
fn copy_chosen(list: Vec<Folder>, bytes: u64, root: &Path, to: &Path) -> Result<()> {
    const SLACK: u64 = 512 << 10;
    let mut total = 0;
    for folder in list {
        let mut from_here = 0;
        for (path, length) in folder.files {
            if total >= bytes || from_here >= bytes / LARGEST_FOLDER {
                break;
            }
            if total + length > bytes + SLACK {
                continue;
            }
            let copy = to.join(path.strip_prefix(root)?);
            if let Some(parent) = copy.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::copy(&path, &copy).with_context(|| format!("{}", path.display()))?;
            total += length;
            from_here += length;
        }
    }
    if total + SLACK < bytes {
        bail!(
            "only {} MiB of files to choose from in {}, {} MiB wanted",
            total >> 20,
            root.display(),
            bytes >> 20
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_input_gives_the_same_tree() -> Result<()> {
        let from = tempfile::tempdir()?;
        let work = tempfile::tempdir()?;
        for number in 0..200 {
            let folder = from.path().join(format!("{}", number % 20));
            fs::create_dir_all(&folder)?;
            fs::write(folder.join(format!("{number}.c")), vec![b'x'; 9000])?;
            let mut program = b"\x7fELF".to_vec();
            program.resize(9000, number);
            fs::write(folder.join(format!("{number}")), program)?;
        }
        let plan = |name: &str| Plan {
            to: work.path().join(name),
            manifest: work.path().join(format!("{name}.list")),
            bytes: 1 << 20,
            smallest: 0,
            text: from.path().to_path_buf(),
            binaries: vec![from.path().to_path_buf()],
        };
        assert!(make(&plan("one"))?);
        assert!(make(&plan("two"))?);
        let one = manifest::read(&work.path().join("one.list"))?;
        assert_eq!(one, manifest::read(&work.path().join("two.list"))?);
        let bytes: u64 = one.iter().map(|entry| entry.bytes).sum();
        assert!((1 << 20..2 << 20).contains(&bytes), "{bytes}");
        Ok(())
    }

    #[test]
    fn too_little_to_choose_from_is_an_error() -> Result<()> {
        let from = tempfile::tempdir()?;
        fs::write(from.path().join("a.c"), b"x")?;
        let list = folders(from.path(), 0, 100, is_text)?;
        assert_eq!(list.len(), 1);
        let to = from.path().join("to");
        assert!(copy_chosen(list, 8 << 20, from.path(), &to).is_err());
        Ok(())
    }
}
