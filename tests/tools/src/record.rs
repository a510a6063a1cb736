// SPDX-License-Identifier: GPL-2.0

//! What one arm of the main job measured, as it goes from guest to host.

use crate::device::Latency;
use crate::pressure::Pressure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One guest: a kernel, its boot words, its RAM, and its passes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Arm {
    /// `none`, `zcache` or `ram`.
    pub name: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Its command line's boot words and RAM, in full.
    pub command_line: String,
    /// RAM that the kernel manages, in bytes.
    pub ram_bytes: u64,
    /// Files of the tree.
    pub tree_files: u64,
    /// Bytes of the tree.
    pub tree_bytes: u64,
    /// Read latency that the device was asked for, in milliseconds.
    pub asked_ms: u64,
    /// Read latency that it had.
    pub latency: Option<Latency>,
    /// Text of zcache's `status`; none where there is no zcache in the kernel.
    pub status: Option<String>,
    /// The command that everything went through; empty if the bytes were only read.
    pub through: Vec<String>,
    /// Every pass, the cold one first.
    pub passes: Vec<Pass>,
    /// One more, last, in which the bytes were only read; where that was asked for.
    pub bare: Option<Pass>,
}

/// One reading of the whole tree.
#[derive(Debug, Serialize, Deserialize)]
pub struct Pass {
    /// How long it took.
    pub seconds: f64,
    /// Bytes whose checksum was right.
    pub verified_bytes: u64,
    /// Files whose checksum or length was wrong, or that could not be read.
    pub mismatches: u64,
    /// How often the disk was read.
    pub disk_reads: u64,
    /// Bytes that came from the disk.
    pub disk_read_bytes: u64,
    /// Bytes that came from swap.
    pub swap_read_bytes: u64,
    /// Bytes that went to swap.
    pub swap_written_bytes: u64,
    /// Largest page cache seen.
    pub peak_page_cache_bytes: u64,
    /// How long tasks were stalled meanwhile; none where the kernel cannot tell.
    #[serde(default)]
    pub pressure: Option<Pressure>,
    /// Every counter of zcache at the end of the pass.
    pub counters: BTreeMap<String, u64>,
}
