// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/mm/zcache`: the state and the counters, for everybody to read.
//!
//! Each file and its unit is described in `Documentation/ABI/testing/sysfs-kernel-mm-zcache`.
//! Names that zcache V2 had mean what they meant there.

use core::fmt::{
    self,
    Write as _, //
};

use kernel::error::code::ENODEV;

use crate::{
    halves::{
        why_not,
        Half,
        State, //
    },
    kobject::{
        Attribute,
        Output, //
    },
    observe,
    persistent,
    tmem::{
        Gauge,
        Kind, //
    },
    Status,
    System,
    FILE_PAGES,
    STATUS,
    SWAPPED_PAGES, //
};

/// The file that is always there.
pub(crate) fn status() -> &'static [Attribute] {
    static FILES: [Attribute; 1] = [Attribute::new(c"status", |out| {
        let status = STATUS.as_ref().copied().unwrap_or(Status::NotAsked);
        show_status(out, status)?;
        match (status, crate::get()) {
            (Status::Started, Some(system)) => show_halves(out, system),
            _ => Ok(()),
        }
    })];
    &FILES
}

fn show_status(out: &mut Output<'_>, status: Status) -> fmt::Result {
    match status {
        Status::NotAsked => writeln!(out, "off: boot with the word \"zcache\" to turn it on"),
        Status::Failed(error) => {
            writeln!(out, "off: cannot start: error {}", error.to_errno())
        }
        Status::Started => writeln!(out, "on"),
    }
}

fn show_halves(out: &mut Output<'_>, system: &System) -> fmt::Result {
    let stats = system.tmem.stats();
    let left = |kind| stats.pages.of(kind).now();
    show_half(out, &FILE_PAGES, left(Kind::Ephemeral))?;
    show_half(out, &SWAPPED_PAGES, left(Kind::Persistent))
}

/// One line. `left` is for a half that is off: how many pages it still has.
fn show_half(out: &mut Output<'_>, half: &Half, left: u64) -> fmt::Result {
    let name = half.name();
    match half.state() {
        State::On => {
            return match half.idle() {
                None => writeln!(out, "{name}: on"),
                Some(idle) => writeln!(out, "{name}: on: {idle}"),
            };
        }
        State::NotWanted => write!(out, "{name}: off: boot word no{name}")?,
        State::SwitchedOff => write!(out, "{name}: off: switched off")?,
        State::Failed(error) => {
            let why = why_not(error);
            write!(out, "{name}: off: {why} ({})", error.to_errno())?
        }
    }
    match left {
        0 => writeln!(out),
        left => writeln!(out, ", {left} pages are left"),
    }
}

/// Declares one file for each number: its name, and where it comes from.
macro_rules! numbers {
    ($($name:literal: |$system:ident| $number:expr,)*) => {
        [$(
            Attribute::new($name, |out| match $crate::get() {
                Some($system) => writeln!(out, "{}", $number),
                None => Ok(()),
            }),
        )*]
    };
}

/// Writes numbers in one line, with spaces between.
fn write_list<T: fmt::Display>(out: &mut Output<'_>, numbers: &[T]) -> fmt::Result {
    for (place, number) in numbers.iter().enumerate() {
        let separator = if place == 0 { "" } else { " " };
        write!(out, "{separator}{number}")?;
    }
    Ok(())
}

/// Writes how many buds of each size there were, then three sums and the mean, as V2 did.
///
/// `counts[n]` buds took `n` chunks. The sums are those that took up to a third, half and two
/// thirds of a frame.
fn write_distribution(out: &mut Output<'_>, counts: &[u64]) -> fmt::Result {
    let last = counts.len().saturating_sub(1);
    write_list(out, counts)?;
    for part in [last / 3, last / 2, last * 2 / 3] {
        let sum: u64 = counts.iter().take(part + 1).sum();
        write!(out, " <={part}:{sum}")?;
    }
    let all: u64 = counts.iter().sum();
    let chunks: u64 = counts.iter().zip(0u64..).map(|(count, n)| count * n).sum();
    writeln!(out, ", mean:{}", chunks.checked_div(all).unwrap_or(0))
}

fn pers(system: &System) -> persistent::Stats {
    system.store().persistent().stats()
}

/// Pages that were stored; what another processor is counting right now may be missing.
fn stored_pages_ever(system: &System, kind: Kind) -> u64 {
    let stats = system.tmem.stats();
    let failed = stats.failed_puts.of(kind).get();
    stats.puts.of(kind).get().saturating_sub(failed)
}

/// The files that are there when zcache is on.
pub(crate) fn files() -> &'static [Attribute] {
    static NUMBERS: [Attribute; 64] = numbers! {
        // What is here.
        c"stored_pages": |s| s.tmem.stats().pages.of(Kind::Ephemeral).now(),
        c"stored_pages_max": |s| s.tmem.stats().pages.of(Kind::Ephemeral).max(),
        c"pers_stored_pages": |s| s.tmem.stats().pages.of(Kind::Persistent).now(),
        c"pers_stored_pages_max": |s| s.tmem.stats().pages.of(Kind::Persistent).max(),
        c"same_filled_pages": |s| s.store().stats().same_filled.get(),
        c"frames": |s| s.store().zbud().frames(),
        c"pers_frames": |s| pers(s).frames,
        c"pers_limit_frames": |s| s.store().persistent().limit(),
        c"pers_same_filled_pages": |s| pers(s).same_filled,
        c"pers_zpages": |s| pers(s).pages,
        c"pers_zbytes": |s| pers(s).bytes,
        c"pers_split_zpages": |s| pers(s).split,
        c"limit_frames": |s| s.store().limit(),
        c"allowed_frames": |s| s.store().allowed(),
        c"metadata_bytes": |s| s.tmem.metadata_bytes() + s.store().metadata_bytes() as u64,
        c"curr_pool_count": |s| s.tmem.stats().pools.now(),
        c"curr_obj_count": |s| s.tmem.stats().objects.now(),
        c"curr_obj_count_max": |s| s.tmem.stats().objects.max(),
        c"curr_objnode_count": |s| s.tmem.stats().chunks.now(),
        c"curr_objnode_count_max": |s| s.tmem.stats().chunks.max(),
        c"zbud_curr_raw_pages": |s| s.store().zbud().stats().curr_raw_pages,
        c"zbud_curr_zpages": |s| s.store().zbud().stats().curr_zpages,
        c"zbud_curr_zbytes": |s| s.store().zbud().stats().curr_zbytes,
        c"zbud_buddied_count": |s| s.store().zbud().stats().buddied_count,
        c"zbpg_unused_list_count": |s| s.store().zbud().stats().unused_list_count,
        // What was done.
        c"eph_puts": |s| stored_pages_ever(s, Kind::Ephemeral),
        c"eph_gets": |s| s.tmem.stats().gets.of(Kind::Ephemeral).get() + s.stats.missed.get(),
        c"eph_hits": |s| s.tmem.stats().hits.of(Kind::Ephemeral).get(),
        c"pers_puts": |s| stored_pages_ever(s, Kind::Persistent),
        c"pers_gets": |s| s.tmem.stats().gets.of(Kind::Persistent).get(),
        c"pers_hits": |s| s.tmem.stats().hits.of(Kind::Persistent).get(),
        c"pers_cumul_zpages": |s| pers(s).ever_pages,
        c"pers_cumul_zbytes": |s| pers(s).ever_bytes,
        c"pers_taken_frames": |s| pers(s).taken,
        c"flush_total": |s| s.tmem.stats().flush_total.get(),
        c"flush_found": |s| s.tmem.stats().flush_found.get(),
        c"flush_range_total": |s| s.tmem.stats().flrange_total.get(),
        c"flush_range_pages": |s| s.tmem.stats().flrange_pages.get(),
        c"flobj_total": |s| s.tmem.stats().flobj_total.get(),
        c"flobj_found": |s| s.tmem.stats().flobj_found.get(),
        c"zbud_cumul_zpages": |s| s.store().zbud().stats().cumul_zpages,
        c"zbud_cumul_zbytes": |s| s.store().zbud().stats().cumul_zbytes,
        c"evicted_raw_pages": |s| s.store().zbud().stats().evicted_raw_pages,
        c"evicted_unbuddied_pages": |s| s.store().zbud().stats().evicted_unbuddied_pages,
        c"evicted_buddied_pages": |s| s.store().zbud().stats().evicted_buddied_pages,
        c"inode_death_pages": |s| s.stats.inode_death.get(),
        // What failed.
        c"failed_eph_puts": |s| s.tmem.stats().failed_puts.of(Kind::Ephemeral).get(),
        c"failed_pers_puts": |s| s.tmem.stats().failed_puts.of(Kind::Persistent).get(),
        c"failed_pers_gets": |s| s.tmem.stats().failed_gets.of(Kind::Persistent).get(),
        c"compress_poor": |s| s.store().stats().poor.get() + pers(s).poor,
        c"pers_compress_poor": |s| pers(s).poor,
        c"pers_refused_full": |s| pers(s).full,
        c"refused_full": |s| s.store().stats().full.get(),
        c"refused_unseen": |s| s.store().stats().unseen.get(),
        c"refused_neighbours": |s| s.store().stats().neighbours.get(),
        c"refused_poor_file": |s| s.store().stats().poor_file.get(),
        c"refused_stream": |s| s.store().stats().stream.get(),
        c"admitted_over_others": |s| s.store().stats().outdone.get(),
        c"put_to_flush": |s| s.stats.put_to_flush.get(),
        c"failed_get_free_pages": |s| {
            s.store().zbud().stats().failed_get_free_pages + pers(s).failed_get_free_pages
        },
        c"failed_alloc": |s| s.store().zbud().stats().failed_alloc + pers(s).failed_alloc,
        // V2 gave up where a lock was taken. Here nothing does.
        c"aborted_preload": |_system| 0,
        c"aborted_shrink": |_system| 0,
        c"corrupt_pages": |s| s.store().stats().corrupt.get(),
    };
    &NUMBERS
}

/// What else there is to know of each half.
pub(crate) fn halves() -> &'static [Attribute] {
    static NUMBERS: [Attribute; 9] = numbers! {
        c"total_limit_frames": |s| s.store().together(),
        c"pers_written_back": |s| s.stats.written_back.get(),
        c"mean_compress_poor": |s| pers(s).mean_poor,
        c"pers_refused_page_count": |s| pers(s).too_many,
        c"evicted_by_other_cgroup": |s| s.store().zbud().stats().evicted_by_other_group,
        c"eph_misses": |s| {
            let stats = s.tmem.stats();
            let gets = stats.gets.of(Kind::Ephemeral).get() + s.stats.missed.get();
            gets.saturating_sub(stats.hits.of(Kind::Ephemeral).get())
        },
        c"pers_misses": |s| {
            let stats = s.tmem.stats();
            let found = stats.hits.of(Kind::Persistent).get()
                + stats.failed_gets.of(Kind::Persistent).get();
            stats.gets.of(Kind::Persistent).get().saturating_sub(found)
        },
        c"refused_no_memory": |_system| observe::half(Kind::Ephemeral).no_memory.get(),
        c"pers_refused_no_memory": |_system| observe::half(Kind::Persistent).no_memory.get(),
    };
    &NUMBERS
}

/// Declares one file for each number that root may set: its name, and which it is.
macro_rules! settings {
    ($($name:literal: |$tunables:ident| $number:expr,)*) => {
        [$(
            Attribute::writable(
                $name,
                |out| match $crate::get() {
                    Some(system) => {
                        let $tunables = system.store().persistent().tunables();
                        writeln!(out, "{}", $number.get())
                    }
                    None => Ok(()),
                },
                |text| {
                    let system = $crate::get().ok_or(ENODEV)?;
                    let $tunables = system.store().persistent().tunables();
                    $number.set_text(text, false, |_| Ok(()))
                },
            ),
        )*]
    };
}

/// The files that zcache of Linux 3.1 had for root to write to.
pub(crate) fn tunables() -> &'static [Attribute] {
    static SETTINGS: [Attribute; 3] = settings! {
        c"zv_max_zsize": |tunables| tunables.max_zsize,
        c"zv_max_mean_zsize": |tunables| tunables.max_mean_zsize,
        c"zv_page_count_policy_percent": |tunables| tunables.page_count_policy_percent,
    };
    &SETTINGS
}

/// The files with more than one number.
pub(crate) fn lists() -> &'static [Attribute] {
    static LISTS: [Attribute; 2] = [
        Attribute::new(c"zbud_unbuddied_list_counts", |out| match crate::get() {
            Some(system) => {
                write_list(out, &system.store().zbud().unbuddied_list_counts())?;
                writeln!(out)
            }
            None => Ok(()),
        }),
        Attribute::new(c"zbud_cumul_chunk_counts", |out| match crate::get() {
            Some(system) => write_distribution(out, &system.store().zbud().cumul_chunk_counts()),
            None => Ok(()),
        }),
    ];
    &LISTS
}

/// Writes how many entries there are for each content, with two decimals, rounded down.
fn write_ratio(out: &mut Output<'_>, entries: u64, contents: u64) -> fmt::Result {
    let hundredths = (entries * 100).checked_div(contents).unwrap_or(0);
    writeln!(out, "{}.{:02}", hundredths / 100, hundredths % 100)
}

/// The files about equal pages. Names as in the tmem patch of 2010.
pub(crate) fn dedup() -> &'static [Attribute] {
    static NUMBERS: [Attribute; 12] = numbers! {
        c"pcd_count": |s| s.store().dedup().stats().contents.now(),
        c"pcd_count_max": |s| s.store().dedup().stats().contents.max(),
        c"pgp_count": |s| of_both_kinds(s, Gauge::now),
        c"pgp_count_max": |s| of_both_kinds(s, Gauge::max),
        c"page_count": |s| s.store().frames(),
        c"page_count_max": |s| s.store().frames_max(),
        c"dedup_pages": |s| s.store().dedup().stats().entries.now(),
        c"dedup_puts": |s| s.store().dedup().stats().found.now(),
        c"dedup_spared": |s| s.store().dedup().stats().spared.now(),
        c"dedup_differed": |s| s.store().dedup().stats().differed.now(),
        c"dedup_failed_alloc": |s| s.store().dedup().stats().failed_alloc.now(),
        c"dedup_metadata_bytes": |s| s.store().dedup().metadata_bytes(),
    };
    &NUMBERS
}

/// The file with a fraction.
pub(crate) fn ratio() -> &'static [Attribute] {
    static RATIO: [Attribute; 1] = [Attribute::new(c"dedup_ratio", |out| match crate::get() {
        Some(system) => {
            let stats = system.store().dedup().stats();
            write_ratio(out, stats.entries.now(), stats.contents.now())
        }
        None => Ok(()),
    })];
    &RATIO
}

/// How long puts took, in nanoseconds.
#[cfg(CONFIG_ZCACHE_TIMING)]
pub(crate) fn times() -> &'static [Attribute] {
    static NUMBERS: [Attribute; 17] = numbers! {
        c"timing_found": |s| s.store().times().found.count(),
        c"timing_found_ns": |s| s.store().times().found.sum(),
        c"timing_found_p50_ns": |s| s.store().times().found.percentile(50),
        c"timing_found_p99_ns": |s| s.store().times().found.percentile(99),
        c"timing_found_p999_ns": |s| s.store().times().found.permille(999),
        c"timing_stored": |s| s.store().times().stored.count(),
        c"timing_stored_ns": |s| s.store().times().stored.sum(),
        c"timing_stored_p50_ns": |s| s.store().times().stored.percentile(50),
        c"timing_stored_p99_ns": |s| s.store().times().stored.percentile(99),
        c"timing_stored_p999_ns": |s| s.store().times().stored.permille(999),
        c"timing_missed": |s| s.store().times().missed.count(),
        c"timing_missed_ns": |s| s.store().times().missed.sum(),
        c"timing_missed_p50_ns": |s| s.store().times().missed.percentile(50),
        c"timing_missed_p99_ns": |s| s.store().times().missed.percentile(99),
        c"timing_missed_p999_ns": |s| s.store().times().missed.permille(999),
        c"timing_nothing": |s| s.store().times().nothing.count(),
        c"timing_nothing_ns": |s| s.store().times().nothing.sum(),
    };
    &NUMBERS
}

/// How long each put and each get took, in nanoseconds.
#[cfg(CONFIG_ZCACHE_TIMING)]
pub(crate) fn latencies() -> &'static [Attribute] {
    fn eph() -> &'static observe::Half {
        observe::half(Kind::Ephemeral)
    }
    fn pers() -> &'static observe::Half {
        observe::half(Kind::Persistent)
    }
    static NUMBERS: [Attribute; 30] = numbers! {
        c"timing_eph_put": |_s| eph().put.count(),
        c"timing_eph_put_ns": |_s| eph().put.sum(),
        c"timing_eph_put_p50_ns": |_s| eph().put.percentile(50),
        c"timing_eph_put_p99_ns": |_s| eph().put.percentile(99),
        c"timing_eph_put_p999_ns": |_s| eph().put.permille(999),
        c"timing_eph_refused": |_s| eph().refused.count(),
        c"timing_eph_refused_ns": |_s| eph().refused.sum(),
        c"timing_eph_refused_p50_ns": |_s| eph().refused.percentile(50),
        c"timing_eph_refused_p99_ns": |_s| eph().refused.percentile(99),
        c"timing_eph_refused_p999_ns": |_s| eph().refused.permille(999),
        c"timing_eph_get": |_s| eph().get.count(),
        c"timing_eph_get_ns": |_s| eph().get.sum(),
        c"timing_eph_get_p50_ns": |_s| eph().get.percentile(50),
        c"timing_eph_get_p99_ns": |_s| eph().get.percentile(99),
        c"timing_eph_get_p999_ns": |_s| eph().get.permille(999),
        c"timing_pers_put": |_s| pers().put.count(),
        c"timing_pers_put_ns": |_s| pers().put.sum(),
        c"timing_pers_put_p50_ns": |_s| pers().put.percentile(50),
        c"timing_pers_put_p99_ns": |_s| pers().put.percentile(99),
        c"timing_pers_put_p999_ns": |_s| pers().put.permille(999),
        c"timing_pers_refused": |_s| pers().refused.count(),
        c"timing_pers_refused_ns": |_s| pers().refused.sum(),
        c"timing_pers_refused_p50_ns": |_s| pers().refused.percentile(50),
        c"timing_pers_refused_p99_ns": |_s| pers().refused.percentile(99),
        c"timing_pers_refused_p999_ns": |_s| pers().refused.permille(999),
        c"timing_pers_get": |_s| pers().get.count(),
        c"timing_pers_get_ns": |_s| pers().get.sum(),
        c"timing_pers_get_p50_ns": |_s| pers().get.percentile(50),
        c"timing_pers_get_p99_ns": |_s| pers().get.percentile(99),
        c"timing_pers_get_p999_ns": |_s| pers().get.permille(999),
    };
    &NUMBERS
}

fn of_both_kinds(system: &System, number: fn(&Gauge) -> u64) -> u64 {
    let pages = &system.tmem.stats().pages;
    number(pages.of(Kind::Ephemeral)) + number(pages.of(Kind::Persistent))
}

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
#[kernel::macros::kunit_tests(zcache_sysfs)]
mod tests {
    use super::*;
    use kernel::prelude::*;

    /// Does `write` make exactly `expected`?
    fn shows(expected: &str, write: impl FnOnce(&mut Output<'_>) -> fmt::Result) -> bool {
        let mut buffer = [0; 256];
        let mut out = Output::new(&mut buffer);
        let result = write(&mut out);
        let len = out.len();
        result.is_ok() && buffer.get(..len) == Some(expected.as_bytes())
    }

    #[test]
    fn status_says_what_and_why() {
        for (status, text) in [
            (
                Status::NotAsked,
                "off: boot with the word \"zcache\" to turn it on\n",
            ),
            (Status::Failed(ENOMEM), "off: cannot start: error -12\n"),
            (Status::Started, "on\n"),
        ] {
            assert!(shows(text, |out| show_status(out, status)));
        }
    }

    #[test]
    fn a_half_says_whether_it_is_on_and_why_not() {
        let says = |half: &Half, left, text| shows(text, |out| show_half(out, half, left));
        let half = Half::new("half", || None);
        let idle = Half::new("half", || Some("no swap area"));
        half.leave_off(false);
        assert!(says(&half, 0, "half: off: boot word nohalf\n"));
        for (error, text) in [
            (EBUSY, "half: off: zswap is on or holds pages (-16)\n"),
            (EEXIST, "half: off: there is another store (-17)\n"),
        ] {
            assert!(idle.start(|| Err(error)).is_err());
            assert!(says(&idle, 0, text));
        }
        assert!(half.start(|| Ok(())).is_ok());
        assert!(says(&half, 7, "half: on\n"));
        assert!(idle.start(|| Ok(())).is_ok());
        assert!(says(&idle, 7, "half: on: no swap area\n"));
        half.stop(|| ());
        assert!(says(&half, 0, "half: off: switched off\n"));
        assert!(says(
            &half,
            7,
            "half: off: switched off, 7 pages are left\n"
        ));
    }

    #[test]
    fn lists_end_without_a_space() {
        assert!(shows("", |out| write_list::<u32>(out, &[])));
        assert!(shows("7", |out| write_list(out, &[7])));
        assert!(shows("7 0 18446744073709551615", |out| write_list(
            out,
            &[7, 0, u64::MAX]
        )));
    }

    #[test]
    fn distribution_sums_thirds_and_halves() {
        assert!(shows("0 1 2 0 0 0 4 <=2:3 <=3:3 <=4:3, mean:4\n", |out| {
            write_distribution(out, &[0, 1, 2, 0, 0, 0, 4])
        }));
        assert!(shows("0 0 0 0 <=1:0 <=1:0 <=2:0, mean:0\n", |out| {
            write_distribution(out, &[0, 0, 0, 0])
        }));
        assert!(shows(" <=0:0 <=0:0 <=0:0, mean:0\n", |out| {
            write_distribution(out, &[])
        }));
    }

    #[test]
    fn ratio_has_two_decimals_and_is_zero_when_empty() {
        for (entries, contents, text) in [
            (0, 0, "0.00\n"),
            (5, 5, "1.00\n"),
            (201, 200, "1.00\n"),
            (3, 2, "1.50\n"),
            (2, 3, "0.66\n"),
            (3200, 100, "32.00\n"),
        ] {
            assert!(shows(text, |out| write_ratio(out, entries, contents)));
        }
    }

    #[test]
    fn output_is_cut_at_the_end_of_the_page() {
        let mut buffer = [0; 4];
        let mut out = Output::new(&mut buffer);
        assert!(write!(out, "12").is_ok());
        assert!(write!(out, "345").is_err());
        assert_eq!(out.len(), 4);
        assert!(write!(out, "6").is_err());
        assert_eq!(out.len(), 4);
        assert_eq!(buffer, *b"1234");
    }
}
