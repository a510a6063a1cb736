// SPDX-License-Identifier: GPL-2.0

//! Frames for swapped pages, allocated where memory can be waited for.
//!
//! A page is swapped out because memory is short, mostly in the middle of an allocation that found
//! none. A frame for it cannot be had then: reclaim's reserves are not for it, and reclaim must not
//! be entered again. So there are always some frames ready, and when they get few, a worker asks
//! for more, as any other task does that wants memory. If the system has none, puts fail and pages
//! go to the swap device.

use kernel::{
    alloc::{
        flags::{
            __GFP_NOWARN, //
            __GFP_RETRY_MAYFAIL,
        },
        Flags, //
    },
    prelude::*,
    sync::Arc,
    workqueue::{
        self,
        impl_has_work,
        new_work,
        Work,
        WorkItem, //
    }, //
};

/// The worker's job.
#[pin_data]
pub(crate) struct Refill {
    #[pin]
    work: Work<Refill>,
    fill: fn(Flags),
}

impl_has_work! {
    impl HasWork<Self> for Refill { self.work }
}

impl Refill {
    /// A job that calls `fill` with how to allocate. May sleep.
    pub(crate) fn new(fill: fn(Flags)) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                work <- new_work!("zcache::refill"),
                fill,
            }),
            GFP_KERNEL,
        )
    }

    /// Has it done soon, unless it is going to be anyway. Does not sleep.
    pub(crate) fn start(self: &Arc<Self>) {
        // The error says that it is queued already.
        let _ = workqueue::system_highpri().enqueue(self.clone());
    }
}

impl WorkItem for Refill {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        // Waits for memory, but nothing is killed for it.
        (this.fill)(GFP_KERNEL | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);
    }
}
