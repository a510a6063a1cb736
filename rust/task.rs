// SPDX-License-Identifier: GPL-2.0

//! The current task, when it works for long on behalf of whoever started it.
//!
//! C header: [`include/linux/sched.h`](srctree/include/linux/sched.h)

use kernel::{
    bindings,
    current, //
};

/// Lets other tasks run. Tells whether to go on: not if a signal is waiting.
///
/// To be called between pieces of work. May sleep.
pub(crate) fn give_way() -> bool {
    // SAFETY: The task is running and holds no spinlock: it may sleep.
    unsafe { bindings::schedule() };
    !current!().signal_pending()
}
