// SPDX-License-Identifier: GPL-2.0

//! The two halves of zcache, one for file pages and one for swapped pages: which is on, and if one
//! is off, why.
//!
//! Each is turned on when zcache starts, unless somebody does not want it, and can be turned off
//! and on at any time by the parameter of its name. Whoever does that holds the
//! [lock](crate::param::Lock) of the parameters, so it is done by one at a time. How a half is
//! started and stopped is for the caller to say.

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

use crate::param::Choice;

/// What a half's parameter says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Switch {
    /// It is to store pages.
    On,
    /// It is not.
    Off,
}

impl Choice for Switch {
    const ALL: &'static [(&'static str, Self)] = &[("on", Self::On), ("off", Self::Off)];
}

/// Whether a half is on, or why not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It stores pages.
    On,
    /// A boot word has turned it off.
    NotWanted,
    /// Its parameter has.
    SwitchedOff,
    /// The kernel would not have it.
    Failed(Error),
}

impl State {
    // As numbers; error numbers are negative.
    const ON: i32 = 0;
    const NOT_WANTED: i32 = 1;
    const SWITCHED_OFF: i32 = 2;

    fn to_raw(self) -> i32 {
        match self {
            State::On => Self::ON,
            State::NotWanted => Self::NOT_WANTED,
            State::SwitchedOff => Self::SWITCHED_OFF,
            State::Failed(error) => error.to_errno(),
        }
    }

    fn of_raw(raw: i32) -> Self {
        match raw {
            Self::ON => State::On,
            Self::NOT_WANTED => State::NotWanted,
            Self::SWITCHED_OFF => State::SwitchedOff,
            errno => State::Failed(Error::from_errno(errno)),
        }
    }
}

/// Why the kernel would not have a half.
pub(crate) fn why_not(error: Error) -> &'static str {
    match error {
        EOPNOTSUPP => "this kernel has no hooks for it",
        EEXIST => "there is another store",
        EBUSY => "zswap is on or holds pages",
        ENOMEM => "no memory",
        _ => "it could not start",
    }
}

/// One half.
pub(crate) struct Half {
    name: &'static str,
    idle: fn() -> Option<&'static str>,
    state: Atomic<i32>,
}

impl Half {
    /// A half that is off. `name` is its parameter's, and stands in messages. `idle` says why there
    /// is nothing for it to do, if that is so.
    pub(crate) const fn new(name: &'static str, idle: fn() -> Option<&'static str>) -> Self {
        Self {
            name,
            idle,
            state: Atomic::new(State::NOT_WANTED),
        }
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Why there is nothing for it to do where it is on, if that is so. May sleep.
    pub(crate) fn idle(&self) -> Option<&'static str> {
        (self.idle)()
    }

    /// Whether it is on, or why not. Does not sleep.
    pub(crate) fn state(&self) -> State {
        State::of_raw(self.state.load(Relaxed))
    }

    /// Turns it on with `start`, unless it is on, and says in the log what came of it, and whether
    /// there is anything for it to do.
    ///
    /// Fails if `start` does. May sleep.
    pub(crate) fn start(&self, start: impl FnOnce() -> Result) -> Result {
        if self.state() == State::On {
            return Ok(());
        }
        let result = start();
        let name = self.name;
        match result {
            Ok(()) => {
                match self.idle() {
                    None => pr_info!("{name} enabled\n"),
                    Some(idle) => pr_info!("{name} enabled: {idle}\n"),
                }
                self.set(State::On);
            }
            Err(error) => {
                let why = why_not(error);
                pr_warn!("{name} not enabled: {why} ({})\n", error.to_errno());
                self.set(State::Failed(error));
            }
        }
        result
    }

    /// Turns it off with `stop`, if it is on, and says so in the log. Sleeps if `stop` does.
    pub(crate) fn stop(&self, stop: impl FnOnce()) {
        if self.state() == State::On {
            stop();
            pr_info!("{} disabled\n", self.name);
        }
        self.set(State::SwitchedOff);
    }

    /// Notes that it was not even started, as its boot word says; or its parameter, if that has
    /// been `set` to off.
    pub(crate) fn leave_off(&self, set: bool) {
        let name = self.name;
        if set {
            pr_info!("{name} not enabled: switched off\n");
            self.set(State::SwitchedOff);
        } else {
            pr_info!("{name} not enabled: boot word no{name}\n");
            self.set(State::NotWanted);
        }
    }

    fn set(&self, state: State) {
        self.state.store(state.to_raw(), Relaxed);
    }
}

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
#[kernel::macros::kunit_tests(zcache_halves)]
mod tests {
    use core::cell::Cell;

    use super::*;

    /// A half, and how often it was started and stopped.
    struct Counted {
        half: Half,
        starts: Cell<u32>,
        stops: Cell<u32>,
    }

    impl Counted {
        fn new() -> Self {
            Self {
                half: Half::new("test", || None),
                starts: Cell::new(0),
                stops: Cell::new(0),
            }
        }

        fn start(&self, result: Result) -> Result {
            self.half.start(|| {
                self.starts.set(self.starts.get() + 1);
                result
            })
        }

        fn stop(&self) {
            self.half.stop(|| self.stops.set(self.stops.get() + 1));
        }

        fn is(&self, state: State, starts: u32, stops: u32) -> bool {
            self.half.state() == state && (self.starts.get(), self.stops.get()) == (starts, stops)
        }
    }

    #[test]
    fn what_is_on_is_not_started_nor_what_is_off_stopped() {
        let half = Counted::new();
        assert!(half.is(State::NotWanted, 0, 0));
        half.stop();
        assert!(half.is(State::SwitchedOff, 0, 0));
        for round in 1..=2 {
            for _ in 0..2 {
                assert!(half.start(Ok(())).is_ok());
                assert!(half.is(State::On, round, round - 1));
            }
            for _ in 0..2 {
                half.stop();
                assert!(half.is(State::SwitchedOff, round, round));
            }
        }
    }

    #[test]
    fn what_failed_is_off_and_can_be_tried_again() {
        let half = Counted::new();
        assert_eq!(half.start(Err(EBUSY)), Err(EBUSY));
        assert!(half.is(State::Failed(EBUSY), 1, 0));
        assert_eq!(half.start(Err(EEXIST)), Err(EEXIST));
        assert!(half.is(State::Failed(EEXIST), 2, 0));
        half.stop();
        assert!(half.is(State::SwitchedOff, 2, 0));
        assert!(half.start(Ok(())).is_ok());
        assert!(half.is(State::On, 3, 0));
    }

    #[test]
    fn the_reason_to_leave_it_off_is_kept() {
        let half = Counted::new();
        half.half.leave_off(true);
        assert!(half.is(State::SwitchedOff, 0, 0));
        half.half.leave_off(false);
        assert!(half.is(State::NotWanted, 0, 0));
    }
}
