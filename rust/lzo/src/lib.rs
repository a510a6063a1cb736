// SPDX-License-Identifier: GPL-2.0

//! LZO1X compression without allocation, without `std`, without dependencies.
//!
//! The code lives in `lzo1x.rs`, which the Linux driver compiles as a module of its own crate;
//! this file only turns the same sources into a Cargo library.

#![no_std]

// The attribute makes the search for submodules start in this directory, as it does in the driver.
#[path = "lzo1x.rs"]
mod lzo1x;

pub use lzo1x::*;
