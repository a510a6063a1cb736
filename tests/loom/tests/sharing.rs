// SPDX-License-Identifier: GPL-2.0

//! Races over one copy that two pages share, in every order; then the same with a rule broken.

use loom::{
    sync::Arc,
    thread, //
};
use ownership_model::sharing::{
    Bug,
    Sharing, //
};

/// One thread's part in a race.
type Role = fn(&Sharing);

/// Contents, all of one hash.
const X: u32 = 1;
const Y: u32 = 2;

/// Pages. A has content X at first, and B as well where that is said.
const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

/// Runs the roles against each other in every order. The last one runs in the first thread.
fn race(bug: Bug, shared: bool, roles: &'static [Role]) {
    let mut model = loom::model::Builder::new();
    // There are too many orders to try all. Races that take more than three unforced switches to
    // show are rare.
    model.preemption_bound = Some(3);
    model.check(move || {
        let pool = Arc::new(Sharing::new(bug));
        assert!(pool.put(A, X));
        if shared {
            assert!(pool.put(B, X));
            assert_eq!(pool.count(), 1);
        }
        let (here, others) = roles.split_last().unwrap();
        let threads: Vec<_> = others
            .iter()
            .map(|role| {
                let pool = pool.clone();
                thread::spawn(move || role(&pool))
            })
            .collect();
        here(&pool);
        for thread in threads {
            thread.join().unwrap();
        }
        // Whatever is left is right.
        for page in [A, B] {
            assert!(matches!(pool.get(page), None | Some(X)));
        }
        assert!(matches!(pool.get(C), None | Some(X | Y)));
        pool.check_empty();
    });
}

fn evict(pool: &Sharing) {
    pool.evict();
}

fn get_a(pool: &Sharing) {
    assert!(matches!(pool.get(A), None | Some(X)));
}

fn get_b(pool: &Sharing) {
    assert!(matches!(pool.get(B), None | Some(X)));
}

fn flush_a(pool: &Sharing) {
    pool.flush(A);
}

fn flush_both(pool: &Sharing) {
    pool.flush(A);
    pool.flush(B);
}

/// A put that may find its content.
fn put_same(pool: &Sharing) {
    if pool.put(C, X) {
        assert!(matches!(pool.get(C), None | Some(X)));
    }
}

fn put_same_and_leave(pool: &Sharing) {
    pool.put(C, X);
}

/// A put that has the hash of another content.
fn put_other(pool: &Sharing) {
    if pool.put(C, Y) {
        assert!(matches!(pool.get(C), None | Some(Y)));
    }
}

fn put_a_again(pool: &Sharing) {
    pool.put(A, X);
}

fn flush_a_and_put_other(pool: &Sharing) {
    pool.flush(A);
    pool.put(C, Y);
}

fn destroy(pool: &Sharing) {
    pool.destroy();
}

/// Defines, for each race, the test that it is sound: with one page on the copy, and with two.
macro_rules! sound {
    ($($name:ident: $($role:ident),+;)+) => {$(
        #[test]
        fn $name() {
            for shared in [false, true] {
                race(Bug::None, shared, &[$($role),+]);
            }
        }
    )+};
}

sound! {
    put_that_finds_against_last_get: put_same, get_a;
    put_that_finds_against_last_flush: put_same_and_leave, flush_a;
    put_that_finds_against_evict: put_same, evict;
    put_that_finds_and_stays_against_evict: put_same_and_leave, evict;
    put_that_finds_against_put_that_finds: put_same, put_a_again;
    put_that_finds_against_destroy: put_same, destroy;
    put_that_differs_against_last_get: put_other, get_a;
    put_that_differs_against_last_flush: put_other, flush_both;
    put_that_differs_against_evict: put_other, evict;
    put_that_differs_against_destroy: put_other, destroy;
    put_over_against_evict: put_a_again, evict;
    get_against_get_of_the_other: get_a, get_b;
    get_against_evict: get_a, evict;
    flush_of_both_against_evict: flush_both, evict;
    new_content_in_the_old_place_against_evict: flush_a_and_put_other, evict;
    evict_against_evict: evict, evict;
    destroy_against_evict: destroy, evict;
    put_that_finds_against_last_get_and_evict: put_same_and_leave, get_a, evict;
    put_that_finds_against_flush_and_evict: put_same_and_leave, flush_a, evict;
}

/// Eviction with nobody to lose against frees one copy and takes all its pages.
#[test]
fn undisturbed_eviction_takes_all_pages() {
    loom::model(|| {
        let pool = Sharing::new(Bug::None);
        assert!(pool.put(A, X) && pool.put(B, X));
        assert!(pool.evict());
        assert!(!pool.evict());
        assert!(pool.get(A).is_none() && pool.get(B).is_none());
        pool.check_empty();
    });
}

/// Defines, for each broken rule, the test that a race shows it, and by which complaint.
macro_rules! broken {
    ($($name:ident: $bug:ident, $shared:literal, $complaint:literal, $($role:ident),+;)+) => {$(
        #[test]
        #[should_panic(expected = $complaint)]
        fn $name() {
            race(Bug::$bug, $shared, &[$($role),+]);
        }
    )+};
}

broken! {
    compared_without_a_part: JoinAfterComparison, false, "read of a copy", put_same, flush_a;
    part_left_where_it_differs: StayWhereItDiffers, false, "a descriptor is left", put_other;
    copy_left_where_it_differs: LeaveWithoutFreeing, false, "a copy is left", put_other, flush_a;
    found_without_a_part: FindWithoutJoining, true, "left without a part", put_same;
    found_before_it_is_filled: PublishBeforeFill, false, "read of a copy",
        flush_a_and_put_other, put_a_again;
    left_before_forgotten: LeaveBeforeForgetting, false, "left a descriptor", get_a, evict;
    evicted_though_shared: FreeWhatIsShared, true, "copy that is not there", put_same, evict;
    freed_for_all: GetFreesForAll, true, "copy that is not there", get_a, get_b;
    part_lost_in_dead_pool: LosePartInDeadPool, false, "a descriptor is left", put_same, destroy;
}
