// SPDX-License-Identifier: GPL-2.0

//! How long tasks waited for memory and for disks: the kernel's pressure stall
//! information, as totals.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};
use std::fs;
use std::iter::Sum;
use std::ops::{Add, Sub};
use std::path::Path;

/// Microseconds in which tasks were stalled: some of them, or all at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pressure {
    /// Some task waited for memory: for reclaim, or to read again what was
    /// evicted a short while ago.
    pub memory_some_us: u64,
    /// None did anything else.
    pub memory_full_us: u64,
    /// Some task waited for a disk.
    pub io_some_us: u64,
    /// None did anything else.
    pub io_full_us: u64,
}

impl Pressure {
    /// Since boot; none where the kernel does not keep track of it.
    ///
    /// # Errors
    ///
    /// A file that is there and lacks a line.
    pub fn now() -> Result<Option<Self>> {
        Self::read(Path::new("/proc/pressure"))
    }

    fn read(folder: &Path) -> Result<Option<Self>> {
        let (Ok(memory), Ok(io)) = (
            fs::read_to_string(folder.join("memory")),
            fs::read_to_string(folder.join("io")),
        ) else {
            return Ok(None);
        };
        Ok(Some(Pressure {
            memory_some_us: total(&memory, "some")?,
            memory_full_us: total(&memory, "full")?,
            io_some_us: total(&io, "some")?,
            io_full_us: total(&io, "full")?,
        }))
    }

    fn each(self, other: Self, of: fn(u64, u64) -> u64) -> Self {
        Pressure {
            memory_some_us: of(self.memory_some_us, other.memory_some_us),
            memory_full_us: of(self.memory_full_us, other.memory_full_us),
            io_some_us: of(self.io_some_us, other.io_some_us),
            io_full_us: of(self.io_full_us, other.io_full_us),
        }
    }
}

impl Sub for Pressure {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        self.each(before, u64::saturating_sub)
    }
}

impl Add for Pressure {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.each(other, u64::saturating_add)
    }
}

impl Sum for Pressure {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// The total of the line that begins with `name`.
fn total(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|line| line.split(" total=").nth(1));
    let number = word.with_context(|| format!("no total of {name} in /proc/pressure"))?;
    number.trim().parse().context("/proc/pressure")
}

/// What was added since `before`, if both are known.
#[must_use]
pub fn since(before: Option<Pressure>, now: Option<Pressure>) -> Option<Pressure> {
    before.zip(now).map(|(before, now)| now - before)
}

/// Four lists, one value a pass, for `run.json`.
#[must_use]
pub fn lists(passes: &[Option<Pressure>]) -> Value {
    let list = |of: fn(Pressure) -> u64| -> Vec<Option<u64>> {
        passes.iter().map(|pass| pass.map(of)).collect()
    };
    json!({
        "memory_some_us": list(|pressure| pressure.memory_some_us),
        "memory_full_us": list(|pressure| pressure.memory_full_us),
        "io_some_us": list(|pressure| pressure.io_some_us),
        "io_full_us": list(|pressure| pressure.io_full_us),
    })
}

/// One line for people: how long some task waited in each arm, of which the
/// later passes count. Empty if that is not known of each.
#[must_use]
pub fn words(arms: &[(&str, Vec<Option<Pressure>>)]) -> String {
    let mut parts = Vec::new();
    for (name, passes) in arms {
        let later = passes.iter().skip(1).copied();
        let Some(sum) = later.sum::<Option<Pressure>>() else {
            return String::new();
        };
        parts.push(format!(
            "{name} {:.1}/{:.1}",
            sum.memory_some_us as f64 / 1e6,
            sum.io_some_us as f64 / 1e6
        ));
    }
    format!("Stalled for memory/a disk, s: {}.\n", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(memory: &str, io: &str) -> Result<tempfile::TempDir> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("memory"), memory)?;
        fs::write(folder.path().join("io"), io)?;
        Ok(folder)
    }

    #[test]
    fn totals_are_read_and_subtracted() -> Result<()> {
        let before = files(
            "some avg10=0.12 avg60=0.00 avg300=0.00 total=100\n\
             full avg10=0.00 avg60=0.00 avg300=0.00 total=40\n",
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n\
             full avg10=0.00 avg60=0.00 avg300=0.00 total=3\n",
        )?;
        let now = files(
            "some avg10=1 total=150\nfull avg10=1 total=45\n",
            "some avg10=1 total=1007\nfull avg10=1 total=503\n",
        )?;
        let between = since(Pressure::read(before.path())?, Pressure::read(now.path())?);
        let expected = Pressure {
            memory_some_us: 50,
            memory_full_us: 5,
            io_some_us: 1000,
            io_full_us: 500,
        };
        assert_eq!(between, Some(expected));
        Ok(())
    }

    #[test]
    fn a_kernel_without_it_has_none_and_odd_files_are_errors() -> Result<()> {
        let folder = tempfile::tempdir()?;
        assert_eq!(Pressure::read(folder.path())?, None);
        for text in ["", "some avg10=1\nfull total=1\n", "some total=x\n"] {
            let odd = files(text, text)?;
            assert!(Pressure::read(odd.path()).is_err(), "{text}");
        }
        Ok(())
    }

    #[test]
    fn one_line_without_the_first_pass() {
        let pass = |seconds: u64| {
            Some(Pressure {
                memory_some_us: seconds * 1_000_000,
                io_some_us: seconds * 2_500_000,
                ..Pressure::default()
            })
        };
        let all = vec![pass(100), pass(10), pass(20)];
        let arms = [("none", all.clone()), ("zcache", all.clone()), ("ram", all)];
        let text = words(&arms);
        let said = "none 30.0/75.0, zcache 30.0/75.0, ram 30.0/75.0.";
        assert!(text.contains(said), "{text}");
        assert!(text.trim_end().chars().count() <= 80);
        assert_eq!(words(&[("none", vec![pass(1), None])]), "");
    }
}
