// SPDX-License-Identifier: GPL-2.0

//! The C codecs that `lzo-rs` must agree with, behind one safe interface.
//!
//! [`kernel`] is `lib/lzo` of the Linux tree that `LZO_KERNEL_SRC` named when this was built,
//! [`lzo2`] is the liblzo2 of this machine. Either may be missing: ask [`require`] first.

#[path = "../../tests/data/mod.rs"]
pub mod data;
pub mod kernel;
pub mod lzo2;
#[path = "../../tests/model/mod.rs"]
pub mod model;
pub mod targets;

use std::{
    env,
    io::Write, //
};

/// What a C codec returned instead of 0.
pub type Code = i32;

/// Whether a test that needs a peer may run.
///
/// A missing peer is reported on the terminal, past the capture of the test harness.
///
/// # Panics
///
/// If the peer is missing and the environment has `LZO_REQUIRE_PEERS`.
pub fn require(present: bool, what: &str) -> bool {
    if !present {
        assert!(
            env::var_os("LZO_REQUIRE_PEERS").is_none(),
            "{what} is missing and LZO_REQUIRE_PEERS is set"
        );
        // Not eprintln!(): the harness would keep it to itself.
        let _ = writeln!(std::io::stderr(), "\nSKIPPED: {what} is missing here");
    }
    present
}
