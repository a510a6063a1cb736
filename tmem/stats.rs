// SPDX-License-Identifier: GPL-2.0

//! What the core counts.

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

use super::Kind;

/// A number, zero at first.
pub(super) struct Number(Atomic<u64>);

impl Number {
    /// Returns the value.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Adds to the value and returns the sum.
    pub(super) fn add(&self, more: u64) -> u64 {
        self.0.fetch_add(more, Relaxed).wrapping_add(more)
    }

    /// Subtracts from the value.
    pub(super) fn sub(&self, less: u64) {
        self.0.fetch_sub(less, Relaxed);
    }
}

impl Default for Number {
    fn default() -> Self {
        Self(Atomic::new(0))
    }
}

/// A number that only grows.
#[derive(Default)]
pub(crate) struct Counter(Number);

impl Counter {
    /// Returns the value.
    pub(crate) fn get(&self) -> u64 {
        self.0.get()
    }

    /// Adds to the value.
    pub(super) fn add(&self, more: u64) {
        self.0.add(more);
    }
}

/// A number that rises and falls, and its highest value so far.
#[derive(Default)]
pub(crate) struct Gauge {
    now: Number,
    max: Number,
}

impl Gauge {
    /// Returns the present value.
    pub(crate) fn now(&self) -> u64 {
        self.now.get()
    }

    /// Returns the highest value so far.
    pub(crate) fn max(&self) -> u64 {
        self.max.get()
    }

    /// Adds to the present value.
    pub(crate) fn add(&self, more: u64) {
        let now = self.now.add(more);
        let mut max = self.max();
        while max < now {
            match self.max.0.cmpxchg(max, now, Relaxed) {
                Ok(_) => break,
                Err(newer) => max = newer,
            }
        }
    }

    /// Subtracts from the present value.
    pub(crate) fn sub(&self, less: u64) {
        self.now.sub(less);
    }
}

/// One `T` for each [`Kind`].
#[derive(Default)]
pub(crate) struct PerKind<T> {
    ephemeral: T,
    persistent: T,
}

impl<T> PerKind<T> {
    /// Returns the one for `kind`.
    pub(crate) fn of(&self, kind: Kind) -> &T {
        match kind {
            Kind::Ephemeral => &self.ephemeral,
            Kind::Persistent => &self.persistent,
        }
    }
}

/// What the core counts. Each number is exact; together they are not one snapshot.
#[derive(Default)]
pub(crate) struct Stats {
    /// Pools that exist.
    pub(crate) pools: Gauge,
    /// Objects that have at least one page.
    pub(crate) objects: Gauge,
    /// Index nodes, of 16 indices each.
    pub(crate) chunks: Gauge,
    /// Pages that a get or a flush would find.
    pub(crate) pages: PerKind<Gauge>,
    /// Puts to a pool that exists.
    pub(crate) puts: PerKind<Counter>,
    /// Those of `puts` that stored nothing.
    pub(crate) failed_puts: PerKind<Counter>,
    /// Gets from a pool that exists.
    pub(crate) gets: PerKind<Counter>,
    /// Those of `gets` that filled the page.
    pub(crate) hits: PerKind<Counter>,
    /// Those of `gets` that found a page and could not read it.
    pub(crate) failed_gets: PerKind<Counter>,
    /// Calls of [`super::Tmem::flush_page`].
    pub(crate) flush_total: Counter,
    /// Those of `flush_total` that found the page.
    pub(crate) flush_found: Counter,
    /// Calls of [`super::Tmem::flush_range`].
    pub(crate) flrange_total: Counter,
    /// Pages that these calls dropped.
    pub(crate) flrange_pages: Counter,
    /// Calls of [`super::Tmem::flush_object`].
    pub(crate) flobj_total: Counter,
    /// Those of `flobj_total` that found at least one page.
    pub(crate) flobj_found: Counter,
    /// Pages that these calls dropped.
    pub(crate) flobj_pages: Counter,
}
