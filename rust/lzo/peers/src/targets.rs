// SPDX-License-Identifier: GPL-2.0

//! What the fuzzer runs: each function takes any bytes and panics if a promise is broken.
