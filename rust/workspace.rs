// SPDX-License-Identifier: GPL-2.0

//! Scratch memory, one piece for each processor.
//!
//! A task takes the piece of the processor that it runs on and may be moved to another processor
//! while it holds it: the mutex, not the processor, keeps others out. Preemption stays on, and
//! the holder may sleep, but it must not start an operation that wants a piece as well.

use kernel::{
    alloc::flags::GFP_KERNEL,
    cpu,
    prelude::*,
    sync::{
        new_mutex,
        Mutex, //
    }, //
};

use pin_init::Zeroable;

/// A `T` for each possible processor.
pub(crate) struct Workspaces<T> {
    /// One per processor number, at least one.
    each: KVec<Pin<KVBox<Mutex<T>>>>,
}

impl<T: Zeroable> Workspaces<T> {
    /// Allocates a zeroed `T` for each processor that may ever come up.
    ///
    /// May sleep. Fails with [`ENOMEM`].
    pub(crate) fn new() -> Result<Self> {
        // CAST: A processor number fits a `usize`.
        let count = cpu::nr_cpu_ids().max(1) as usize;
        let mut each = KVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            let piece = KVBox::pin_init(
                new_mutex!(pin_init::init_zeroed::<T>(), "zcache::workspace"),
                GFP_KERNEL,
            )?;
            each.push(piece, GFP_KERNEL)?;
        }
        Ok(Self { each })
    }
}

impl<T: Unpin> Workspaces<T> {
    /// Calls `f` with the current processor's piece. May sleep until it is free.
    ///
    /// `f` must not call this again: it would wait for itself.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        // CAST: A processor number fits a `usize`.
        let cpu = cpu::CpuId::current().as_u32() as usize;
        let piece = self.each.get(cpu).or_else(|| self.each.first())?;
        let mut piece = piece.lock();
        Some(f(&mut piece))
    }

    /// Memory held, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.each.len() * core::mem::size_of::<Mutex<T>>()
    }
}
