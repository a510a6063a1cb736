// SPDX-License-Identifier: GPL-2.0

//! Races over one frame of two buds, in every order; then the same with a rule broken.

use loom::{
    sync::Arc,
    thread, //
};
use ownership_model::{
    Bug,
    Store, //
};

/// One thread's part in a race.
type Role = fn(&Store);

/// Contents: the page's number, then the version.
const A1: u32 = 1;
const A2: u32 = 2;
const B1: u32 = 11;
const C1: u32 = 21;

/// Pages. A and B share a frame at first.
const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

/// Runs the roles against each other in every order, from a store that holds A and B.
///
/// The last role runs in the first thread. Afterwards no page may have another's content, and when
/// all are fetched, nothing may be left.
fn race(bug: Bug, roles: &'static [Role]) {
    let mut model = loom::model::Builder::new();
    if roles.len() > 2 {
        // Three threads have too many orders to try all. Races that take more than four unforced
        // switches to show are rare.
        model.preemption_bound = Some(4);
    }
    model.check(move || {
        let store = Arc::new(Store::new(bug));
        assert!(store.put(A, A1) && store.put(B, B1));
        let (here, others) = roles.split_last().unwrap();
        let threads: Vec<_> = others
            .iter()
            .map(|role| {
                let store = store.clone();
                thread::spawn(move || role(&store))
            })
            .collect();
        here(&store);
        for thread in threads {
            thread.join().unwrap();
        }
        if !store.is_dead() {
            get_a(&store);
            get_b(&store);
            get_c(&store);
        }
        // A destroyed pool must be empty by itself.
        store.check_empty();
    });
}

fn evict(store: &Store) {
    store.evict();
}

fn get_a(store: &Store) {
    assert!(matches!(store.get(A), None | Some(A1 | A2)));
}

fn get_b(store: &Store) {
    assert!(matches!(store.get(B), None | Some(B1)));
}

fn get_c(store: &Store) {
    assert!(matches!(store.get(C), None | Some(C1)));
}

fn get_a_shared(store: &Store) {
    assert!(matches!(store.get_shared(A), None | Some(A1 | A2)));
}

fn put_a(store: &Store) {
    assert!(store.put(A, A2));
    // Only eviction may take it away; the older one must never come back.
    assert!(matches!(store.get(A), None | Some(A2)));
}

fn put_a_and_leave(store: &Store) {
    store.put(A, A2);
}

fn put_c(store: &Store) {
    store.put(C, C1);
}

fn flush_a(store: &Store) {
    store.flush(A);
}

fn flush_a_and_put_c(store: &Store) {
    store.flush(A);
    store.put(C, C1);
}

fn flush_both(store: &Store) {
    store.flush(A);
    store.flush(B);
}

fn destroy(store: &Store) {
    store.destroy();
}

/// Defines, for each race, the test that it is sound.
macro_rules! sound {
    ($($name:ident: $($role:ident),+;)+) => {$(
        #[test]
        fn $name() {
            race(Bug::None, &[$($role),+]);
        }
    )+};
}

sound! {
    evict_against_get: evict, get_a;
    evict_against_get_of_both: evict, get_a, get_b;
    evict_against_shared_get: evict, get_a_shared;
    evict_against_shared_get_and_flush: evict, get_a_shared, flush_a;
    evict_against_put_over: evict, put_a;
    evict_against_new_put: evict, put_c;
    evict_against_put_into_the_place_of_another: evict, flush_a_and_put_c;
    evict_against_flush_of_both: evict, flush_both;
    evict_against_evict: evict, evict;
    evict_against_evict_and_get: evict, evict, get_a;
    evict_against_destroy: evict, destroy;
    evict_against_destroy_and_put: evict, destroy, put_c;
    get_against_get: get_a, get_a;
    get_against_flush_and_new_put: get_a, flush_a_and_put_c;
    shared_get_against_put_over: get_a_shared, put_a_and_leave;
    shared_get_against_flush_and_new_put: get_a_shared, flush_a_and_put_c;
    shared_get_against_shared_get_and_flush: get_a_shared, get_a_shared, flush_both;
    evict_against_put_over_unread: evict, put_a_and_leave;
    evict_against_flush: evict, flush_a;
    put_over_against_get: put_a_and_leave, get_a;
    new_put_against_destroy: put_c, destroy;
    put_against_put: put_a_and_leave, put_a_and_leave;
    put_against_destroy: put_a_and_leave, destroy;
    get_against_destroy: get_a, destroy;
}

/// Exactly one of two gets from a private pool has the page.
#[test]
fn private_get_is_exclusive() {
    loom::model(|| {
        let store = Arc::new(Store::new(Bug::None));
        assert!(store.put(A, A1));
        let other = store.clone();
        let thread = thread::spawn(move || other.get(A).is_some());
        let here = store.get(A).is_some();
        assert!(here != thread.join().unwrap());
        store.check_empty();
    });
}

/// With nobody to lose against, eviction frees the frame and both pages.
#[test]
fn undisturbed_eviction_frees_the_frame() {
    loom::model(|| {
        let store = Store::new(Bug::None);
        assert!(store.put(A, A1) && store.put(B, B1));
        assert!(store.evict());
        assert!(!store.evict());
        assert!(store.get(A).is_none() && store.get(B).is_none());
        store.check_empty();
    });
}

/// Defines, for each broken rule, the test that a race shows it, and by which complaint.
macro_rules! broken {
    ($($name:ident: $bug:ident, $complaint:literal, $($role:ident),+;)+) => {$(
        #[test]
        #[should_panic(expected = $complaint)]
        fn $name() {
            race(Bug::$bug, &[$($role),+]);
        }
    )+};
}

broken! {
    forget_without_compare: ForgetAnything, "is not", evict, put_a_and_leave;
    free_of_what_was_lost: FreeWhatWasLost, "free of a bud", evict, flush_a;
    frame_freed_under_the_evictor: IgnorePins, "is not ours", evict, flush_both;
    frame_freed_under_eviction_without_pin: EvictUnpinned, "is not ours", evict, flush_both;
    shared_get_without_reference: ReadWithoutReference, "read of a bud", get_a_shared, flush_a;
    shared_get_with_late_reference: ReferenceTooLate, "reference to a bud", get_a_shared, flush_a;
    indexed_before_filled: IndexBeforeFill, "Causality violation", put_a_and_leave, get_a;
    put_into_dead_pool: PutIntoDeadPool, "a page is left", put_c, destroy;
    older_page_lost: LoseOlder, "is left on the LRU", put_a_and_leave, put_a_and_leave;
}
