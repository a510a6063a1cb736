// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of xvmalloc.

use super::{
    heap::Chain,
    *, //
};

/// Like the `assert!` of a KUnit case, for functions that cases call.
macro_rules! check {
    ($condition:expr) => {
        kernel::kunit_assert!("zcache_xvmalloc", c"xvmalloc/tests.rs", 0, $condition)
    };
}

/// Fails an audit and says where.
macro_rules! demand {
    ($condition:expr) => {
        if !$condition {
            return Err(line!());
        }
    };
}

/// Byte `i` of the page `seed`.
fn byte(seed: u32, i: usize) -> u8 {
    let mixed = (seed ^ i as u32).wrapping_mul(0x9e37_79b1);
    (mixed >> 24) as u8
}

/// Whether the pieces are the page `seed`, and of that length.
fn same(head: &[u8], rest: &[u8], seed: u32, len: usize) -> bool {
    let from = |piece: &[u8], start| {
        let mut bytes = piece.iter().zip(start..);
        bytes.all(|(b, i)| *b == byte(seed, i))
    };
    head.len() + rest.len() == len && from(head, 0) && from(rest, head.len())
}

/// A source of numbers below `bound`.
struct Random(u32);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as usize % bound
    }

    /// A length as pages of programs have it: most about a quarter of a page, some of all lengths.
    fn len(&mut self) -> usize {
        match self.below(8) {
            0 => 1 + self.below(MAX_PARCEL),
            1 => 16 + self.below(100),
            _ => 400 + self.below(600) + self.below(600),
        }
    }
}

/// A parcel, and what it was made from.
#[derive(Clone, Copy)]
struct Kept {
    parcel: Parcel,
    len: usize,
    seed: u32,
}

/// An allocator, and what is needed to put pages with a known content into it.
struct Rig {
    xv: Pin<KBox<Xvmalloc>>,
    data: KVec<u8>,
}

impl Rig {
    fn new(max: usize) -> Result<Self> {
        Ok(Self {
            xv: KBox::pin_init(Xvmalloc::new(max), GFP_KERNEL)?,
            data: KVec::from_elem(0, PAGE_SIZE, GFP_KERNEL)?,
        })
    }

    fn reserve(&self) -> Result<Reservation<'_>, Refused> {
        self.xv.reserve(GFP_KERNEL, Source::System, || None)
    }

    /// Stores `len` bytes: with a frame if one can be had, else in holes.
    fn put(&mut self, len: usize, seed: u32) -> Result<Kept, Refused> {
        for (i, b) in self.data[..len].iter_mut().enumerate() {
            *b = byte(seed, i);
        }
        let reservation = match self.reserve() {
            Ok(reservation) => reservation,
            Err(_) => self.xv.reserve_hole(GFP_KERNEL)?,
        };
        let parcel = reservation.create(&self.data[..len])?;
        Ok(Kept { parcel, len, seed })
    }

    /// As `put`, where nothing is to go wrong.
    fn must(&mut self, len: usize, seed: u32) -> Result<Kept> {
        self.put(len, seed).map_err(|_| ENOSPC)
    }

    /// Whether a parcel has exactly the bytes that were stored.
    fn holds(&self, kept: Kept) -> bool {
        let Kept { parcel, len, seed } = kept;
        let same = |head: &[u8], rest: &[u8]| same(head, rest, seed, len);
        self.xv.with_data(parcel, same).unwrap_or(false)
    }

    fn split(&self, kept: Kept) -> bool {
        let split = self.xv.with_data(kept.parcel, |_, rest| !rest.is_empty());
        split.unwrap_or(false)
    }

    fn gone(&self, parcel: Parcel) -> bool {
        self.xv.with_data(parcel, |_, _| ()) == Err(EINVAL)
    }

    /// Checks everything that must hold while no call is in flight, with `promised` reservations.
    fn audit(&self, promised: u32) {
        let result = audit(&self.xv.heap.lock(), promised, self.xv.frames());
        if let Err(line) = result {
            pr_err!("xvmalloc: audit failed at line {line}\n");
        }
        check!(result.is_ok());
    }

    /// Checks that nothing is left.
    fn empty(&self) {
        self.audit(0);
        let stats = self.xv.stats();
        check!(self.xv.frames() == 0);
        check!(stats.frames == 0 && stats.spare == 0);
        check!(stats.pages == 0 && stats.bytes == 0 && stats.split == 0 && stats.holes == 0);
    }
}

/// Follows a chain of slots. `on` tells whether a slot belongs on it.
fn walk(chain: &Chain, heap: &Heap, on: impl Fn(u32) -> bool) -> Result<(), u32> {
    let (mut at, mut len) = (chain.first, 0);
    while at != NIL {
        demand!((at as usize) < heap.slots.len() && on(at));
        (at, len) = (heap.slots[at].next, len + 1);
        demand!(len <= chain.len);
    }
    demand!(len == chain.len);
    Ok(())
}

fn audit(heap: &Heap, promised: u32, frames: usize) -> Result<(), u32> {
    let (mut unused, mut holes, mut pages, mut split, mut rests) = (0, 0, 0, 0, 0);
    let (mut bytes, mut first, mut last, mut free) = (0, 0, 0, 0);
    for number in 0..heap.runs.len() as u32 {
        let run = &heap.runs[number];
        let len = usize::from(run.len);
        match run.state {
            State::Unused { next } => {
                demand!(next == NIL || (next as usize) < heap.runs.len());
                unused += 1;
                continue;
            }
            State::Hole { prev, next } => {
                demand!((1..GRAINS).contains(&len));
                holes += 1;
                free += len;
                match prev {
                    NIL => demand!(heap.holes[len] == number),
                    prev => {
                        demand!(heap.runs[prev].len == run.len);
                        demand!(matches!(heap.runs[prev].state,
                            State::Hole { next, .. } if next == number));
                    }
                }
                if next != NIL {
                    demand!(matches!(heap.runs[next].state,
                        State::Hole { prev, .. } if prev == number));
                }
            }
            State::Head {
                refs,
                pins,
                bytes: length,
                rest,
            } => {
                demand!(refs != 0 && pins == 0);
                let length = usize::from(length);
                let mut room = len;
                if rest != NIL {
                    demand!(heap.runs[rest].state == State::Rest { head: number });
                    demand!(len >= MIN_PIECE && length > len * GRAIN);
                    room += usize::from(heap.runs[rest].len);
                    split += 1;
                }
                demand!(length <= room * GRAIN && room < length.div_ceil(GRAIN) + SLACK);
                pages += 1;
                bytes += length as u64;
            }
            State::Rest { .. } => rests += 1,
            State::Closed => return Err(line!()),
        }
        // Neighbours agree, leave no gap, and are not both holes.
        demand!((run.frame as usize) < heap.slots.len());
        demand!(heap.slots[run.frame].frame.is_some());
        let end = run.start + run.len;
        match run.after {
            NIL => {
                demand!(usize::from(end) == GRAINS);
                last += 1;
            }
            after => {
                let after = &heap.runs[after];
                demand!(after.before == number && after.frame == run.frame);
                demand!(after.start == end && !matches!(after.state, State::Unused { .. }));
                let both = |state| matches!(state, State::Hole { .. });
                demand!(!(both(run.state) && both(after.state)));
            }
        }
        match run.before {
            NIL => {
                demand!(run.start == 0 && heap.slots[run.frame].next == number);
                first += 1;
            }
            before => demand!(heap.runs[before].after == number),
        }
    }
    demand!(split == rests && first == last);
    for (size, &head) in heap.holes.iter().enumerate() {
        let listed = heap.sizes.words[size / 64] >> (size % 64) & 1 != 0;
        demand!(listed == (head != NIL));
        demand!(!listed || heap.sizes.top >> (size / 64) & 1 != 0);
        if listed {
            demand!(usize::from(heap.runs[head].len) == size);
            demand!(matches!(
                heap.runs[head].state,
                State::Hole { prev: NIL, .. }
            ));
        }
    }
    for (word, bits) in heap.sizes.words.iter().enumerate() {
        demand!((heap.sizes.top >> word & 1 != 0) == (*bits != 0));
    }
    let owned = |slot: u32| heap.slots[slot].frame.is_some();
    walk(&heap.spare, heap, owned)?;
    walk(&heap.unused_slots, heap, |slot| !owned(slot))?;
    let owners = (0..heap.slots.len() as u32).filter(|&slot| owned(slot));
    let owners = owners.count() as u32;
    let spare = heap.spare.len;
    // Each frame has one first run, unless it is spare.
    demand!(first + spare == owners);
    demand!(heap.unused_slots.len + owners == heap.slots.len() as u32);
    let used = |slot| usize::from(heap.slots[slot].used);
    let used = (0..heap.slots.len() as u32).map(used).sum::<usize>();
    demand!(used + free == first as usize * GRAINS);
    demand!(heap.stats.hole_bytes == (free * GRAIN) as u64 && !heap.compacting);
    demand!(heap.growing == 0 && heap.promised == promised);
    demand!(heap.promised_runs == promised && !heap.lacks_runs());
    demand!(spare >= promised && spare <= promised + heap.spares_wanted());
    demand!(heap.unused_runs.len == unused);
    demand!(heap.stats.frames == u64::from(owners) && frames == owners as usize);
    demand!(heap.stats.pages == pages && heap.stats.bytes == bytes);
    demand!(heap.stats.split == split && heap.stats.holes == holes);
    Ok(())
}

/// What a put must come to, from a plain list of the holes: whether it fits without a frame.
fn fits(heap: &Heap, len: usize) -> bool {
    let need = len.div_ceil(GRAIN);
    let (mut largest, mut second) = (0, 0);
    for number in 0..heap.runs.len() as u32 {
        let run = &heap.runs[number];
        if matches!(run.state, State::Hole { .. }) {
            let len = usize::from(run.len);
            if len > largest {
                (largest, second) = (len, largest);
            } else {
                second = second.max(len);
            }
        }
    }
    largest >= need || (largest >= MIN_PIECE && largest + second >= need)
}

/// A length that takes a frame of its own, but for a gap of an eighth.
const LONG: usize = MAX_PARCEL;

#[kunit_tests(zcache_xvmalloc)]
mod cases {
    use super::*;

    #[test]
    fn every_length() -> Result {
        let mut rig = Rig::new(8)?;
        for len in [0, MAX_PARCEL + 1, PAGE_SIZE] {
            let reservation = rig.reserve().map_err(|_| ENOMEM)?;
            assert!(reservation.create(&rig.data[..len]) == Err(Refused::Size));
            // The reservation is gone with the failure, and with it the frame.
            rig.empty();
        }
        for len in 1..=MAX_PARCEL {
            let kept = rig.must(len, len as u32)?;
            assert!(rig.holds(kept) && !rig.split(kept));
            rig.xv.free(kept.parcel);
        }
        rig.empty();
        Ok(())
    }

    /// Every sequence of six puts (of three lengths) and frees, in three frames: what is stored
    /// and what is refused is as a plain model says, and every byte is as it was.
    #[test]
    fn every_short_sequence() -> Result {
        const LENS: [usize; 3] = [LONG, PAGE_SIZE / 2, 900];
        const DEPTH: usize = 6;
        let mut rig = Rig::new(3)?;
        let mut path = [0; DEPTH];
        let (mut depth, mut nodes) = (1, 0);
        // Depth first. Each path is played from the start, as nothing can be undone.
        while depth > 0 {
            let mut live = KVec::<Kept>::with_capacity(DEPTH, GFP_KERNEL)?;
            let mut possible = true;
            for (step, &choice) in path[..depth].iter().enumerate() {
                if let Some(&len) = LENS.get(choice) {
                    let heap = rig.xv.heap.lock();
                    let used = heap.stats.frames - u64::from(heap.spare.len);
                    let expected = used < 3 || fits(&heap, len);
                    drop(heap);
                    let put = rig.put(len, (depth * 10 + step) as u32);
                    assert_eq!(put.is_ok(), expected);
                    if let Ok(kept) = put {
                        live.push(kept, GFP_KERNEL)?;
                    }
                } else {
                    match live.remove(choice - LENS.len()) {
                        Ok(kept) => rig.xv.free(kept.parcel),
                        // There are not so many parcels, and no more choices.
                        Err(_) => possible = false,
                    }
                }
            }
            rig.audit(0);
            assert!(live.iter().all(|&kept| rig.holds(kept)));
            for kept in live.iter() {
                rig.xv.free(kept.parcel);
            }
            assert_eq!(rig.xv.frames(), 0);
            nodes += 1;
            if possible && depth < DEPTH {
                path[depth] = 0;
                depth += 1;
                continue;
            }
            if !possible {
                depth -= 1;
            }
            if depth > 0 {
                path[depth - 1] += 1;
            }
        }
        rig.empty();
        assert_eq!(rig.xv.stats().stale, 0);
        pr_info!("xvmalloc: {nodes} sequences\n");
        Ok(())
    }

    #[test]
    fn long_random_run() -> Result {
        let mut rig = Rig::new(64)?;
        let mut random = Random(1);
        let mut live = KVec::<Kept>::new();
        let (mut refused, mut splits) = (0, 0);
        for step in 0..10_000 {
            // Grows, shrinks, grows again.
            let grow = if step / 1_500 % 2 == 0 { 7 } else { 3 };
            if live.is_empty() || random.below(10) < grow {
                let len = random.len();
                let expected = fits(&rig.xv.heap.lock(), len);
                match rig.put(len, step) {
                    Ok(kept) => {
                        splits += u64::from(rig.split(kept));
                        live.push(kept, GFP_KERNEL)?;
                    }
                    Err(_) => {
                        assert!(!expected);
                        refused += 1;
                    }
                }
            } else {
                let at = random.below(live.len());
                let kept = live.remove(at).map_err(|_| EINVAL)?;
                assert!(rig.holds(kept));
                rig.xv.free(kept.parcel);
                assert!(rig.gone(kept.parcel));
            }
            if step % 250 == 0 {
                rig.audit(0);
            }
        }
        pr_info!("xvmalloc: {refused} refused, {splits} in two pieces\n");
        assert!(refused > 100 && splits > 500);
        for kept in live.iter() {
            assert!(rig.holds(*kept));
            rig.xv.free(kept.parcel);
        }
        rig.empty();
        Ok(())
    }

    /// Four neighbours in two frames, freed in each of the 24 orders: holes become one, and each
    /// frame goes when it is empty.
    #[test]
    fn free_in_any_order() -> Result {
        for order in 0..24 {
            let mut rig = Rig::new(8)?;
            let mut left = KVec::new();
            for seed in 0..4 {
                left.push(rig.must(PAGE_SIZE / 2, seed)?, GFP_KERNEL)?;
            }
            rig.xv.drop_spares();
            assert_eq!(rig.xv.frames(), 2);
            for radix in [order % 4, order / 4 % 3, order / 12, 0] {
                let kept: Kept = left.remove(radix).map_err(|_| EINVAL)?;
                rig.xv.free(kept.parcel);
                rig.audit(0);
                assert!(rig.gone(kept.parcel));
                assert!(left.iter().all(|&kept| rig.holds(kept)));
                rig.xv.drop_spares();
                let in_frame = |pair| left.iter().any(|kept: &Kept| kept.seed / 2 == pair);
                let frames = usize::from(in_frame(0)) + usize::from(in_frame(1));
                assert_eq!(rig.xv.frames(), frames);
            }
            rig.empty();
        }
        Ok(())
    }

    /// What xvmalloc once could not: parcels above half a page leave nothing of their frames.
    #[test]
    fn long_parcels_leave_no_gaps() -> Result {
        for len in [2049, 2100, 2500, 2740, 3000, LONG] {
            let mut rig = Rig::new(256)?;
            let mut kept = KVec::new();
            for seed in 0..200 {
                kept.push(rig.must(len, seed)?, GFP_KERNEL)?;
            }
            rig.xv.drop_spares();
            rig.audit(0);
            let grains = 200 * len.div_ceil(GRAIN);
            // At most a piece too small to use at the end of each frame, and the last frame.
            let frames = grains.div_ceil(GRAINS - MIN_PIECE) + 1;
            assert!(rig.xv.frames() <= frames);
            assert!(kept.iter().all(|&kept| rig.holds(kept)));
            for kept in kept.iter() {
                rig.xv.free(kept.parcel);
            }
            rig.empty();
        }
        Ok(())
    }

    #[test]
    fn smallest_hole_that_fits() -> Result {
        for need in [39, 100, 101, 150, 151, 200] {
            let mut rig = Rig::new(8)?;
            let mut gaps = KVec::new();
            // Holes of 150, 100, 200 and 38 grains, between parcels that stay.
            for (seed, grains) in [150, 8, 100, 8, 200, 8].into_iter().enumerate() {
                gaps.push(rig.must(grains * GRAIN, seed as u32)?, GFP_KERNEL)?;
            }
            for at in [0, 2, 4] {
                rig.xv.free(gaps[at].parcel);
            }
            let split = rig.xv.stats().split;
            let room = rig.xv.room();
            rig.audit(0);
            let kept = rig.must(need * GRAIN, 9)?;
            rig.audit(0);
            assert!(rig.holds(kept) && room >= need * GRAIN);
            assert_eq!(rig.xv.stats().split, split);
            let number = kept.parcel.number();
            let start = rig.xv.heap.lock().runs[number].start;
            let place = match need {
                39..=100 => 158,
                101..=150 => 0,
                _ => 266,
            };
            assert_eq!(start, place);
        }
        Ok(())
    }

    #[test]
    fn references() -> Result {
        let mut rig = Rig::new(8)?;
        let kept = rig.must(100, 1)?;
        for _ in 1..u16::MAX {
            rig.xv.get_ref(kept.parcel)?;
        }
        assert_eq!(rig.xv.get_ref(kept.parcel), Err(EOVERFLOW));
        for _ in 1..u16::MAX {
            rig.xv.free(kept.parcel);
        }
        assert!(rig.holds(kept));
        rig.xv.free(kept.parcel);
        assert!(rig.gone(kept.parcel));
        rig.empty();
        Ok(())
    }

    /// Names that name nothing: none is believed, each one is counted.
    #[test]
    fn hostile_names() -> Result {
        let mut rig = Rig::new(8)?;
        let mut kept = KVec::new();
        for seed in 0..4 {
            kept.push(rig.must(LONG, seed)?, GFP_KERNEL)?;
        }
        let freed = kept.pop().ok_or(EINVAL)?;
        rig.xv.free(freed.parcel);
        // The freed one's record is in use again, at another age.
        kept.push(rig.must(LONG, 5)?, GFP_KERNEL)?;
        rig.audit(0);
        let before = rig.xv.stats();
        let records = rig.xv.heap.lock().runs.len() as u64;
        let mut stale = before.stale;
        let ages = [0, 1, 2, 0x7fff, 0xffff];
        for at in 0..records + 4 {
            let number = match at.checked_sub(records) {
                Some(2) => 1 << 31,
                Some(3) => u64::from(u32::MAX),
                _ => at,
            };
            for age in ages {
                let parcel = Parcel::from_raw(age << 32 | number);
                if kept.iter().any(|kept| kept.parcel == parcel) {
                    continue;
                }
                assert_eq!(rig.xv.get_ref(parcel), Err(EINVAL));
                assert!(rig.gone(parcel));
                rig.xv.free(parcel);
                stale += 3;
            }
        }
        assert_eq!(rig.xv.stats().stale, stale);
        assert!(rig.xv.stats() == Stats { stale, ..before });
        rig.audit(0);
        for kept in kept.iter() {
            assert!(rig.holds(*kept));
            rig.xv.free(kept.parcel);
        }
        rig.empty();
        Ok(())
    }

    /// A caller with a bug frees what it reads. The bytes must stay until it has read them.
    #[test]
    fn free_during_a_read() -> Result {
        let mut rig = Rig::new(8)?;
        // The second one is in two pieces.
        let all = [rig.must(LONG, 0)?, rig.must(LONG, 1)?];
        assert!(!rig.split(all[0]) && rig.split(all[1]));
        let data = [0xff; LONG];
        for kept in all {
            rig.xv.with_data(kept.parcel, |head, rest| {
                rig.xv.free(kept.parcel);
                check!(rig.gone(kept.parcel));
                let inside = rig.reserve().map_err(|_| ENOMEM)?;
                let inside = inside.create(&data).map_err(|_| EINVAL)?;
                check!(same(head, rest, kept.seed, kept.len));
                rig.xv.free(inside);
                Ok::<(), Error>(())
            })??;
            assert!(rig.gone(kept.parcel));
            rig.audit(0);
        }
        rig.empty();
        Ok(())
    }

    /// Between the two halves of a put: nobody can read, take or free the parcel.
    #[test]
    fn half_filled_parcel_is_out_of_reach() -> Result {
        let mut rig = Rig::new(8)?;
        let old = rig.must(LONG, 0)?;
        let reservation = rig.reserve().map_err(|_| ENOMEM)?;
        let place = rig.xv.heap.lock().place(LONG, true).ok_or(ENOMEM)?;
        core::mem::forget(reservation);
        assert!(place.rest.is_some());
        let age = rig.xv.heap.lock().runs[place.number].age;
        let parcel = Parcel::new(place.number, age);
        assert!(rig.gone(parcel));
        assert_eq!(rig.xv.get_ref(parcel), Err(EINVAL));
        rig.xv.free(parcel);
        // What is freed around it leaves it alone.
        rig.xv.free(old.parcel);
        let other = rig.must(LONG, 1)?;
        let mut heap = rig.xv.heap.lock();
        assert!(heap.publish(place.number) == parcel);
        rig.xv.finish(heap);
        rig.audit(0);
        assert!(rig.holds(other));
        rig.xv.free(parcel);
        rig.xv.free(other.parcel);
        rig.empty();
        Ok(())
    }

    #[test]
    fn spare_frames() -> Result {
        let mut rig = Rig::new(32)?;
        // Without a parcel, none stays.
        let (one, two) = (rig.reserve(), rig.reserve());
        assert!(one.is_ok() && two.is_ok());
        rig.audit(2);
        assert_eq!(rig.xv.frames(), 2);
        drop(one);
        rig.audit(1);
        assert_eq!(rig.xv.frames(), 1);
        drop(two);
        rig.empty();
        assert_eq!(rig.xv.frames_max(), 2);

        // With one, one stays, and the next one who reserves gets it.
        let kept = rig.must(LONG, 0)?;
        let (one, two) = (rig.reserve(), rig.reserve());
        assert_eq!(rig.xv.frames(), 3);
        drop((one, two));
        assert_eq!(rig.xv.frames(), 2);
        rig.xv.fail.store(1, Relaxed);
        let one = rig.reserve();
        assert!(one.is_ok());
        rig.xv.fail.store(0, Relaxed);
        // It is not given back, nor to others, while it is promised.
        rig.xv.drop_spares();
        assert_eq!(rig.xv.frames(), 2);
        rig.audit(1);
        assert_eq!(rig.xv.room(), PAGE_SIZE - LONG);
        drop(one);
        rig.xv.drop_spares();
        assert_eq!(rig.xv.frames(), 1);

        // Frames that become empty go at once, but for those that are kept.
        for keep in [0, 1, 2] {
            rig.xv.set_keep(keep);
            let mut all = KVec::new();
            for seed in 1..8 {
                all.push(rig.must(LONG, seed)?, GFP_KERNEL)?;
            }
            for kept in all.iter() {
                rig.xv.free(kept.parcel);
                rig.audit(0);
            }
            assert_eq!(rig.xv.frames(), 1 + keep.max(1) as usize);
        }
        // Ahead of puts, up to what is kept.
        rig.xv.set_keep(4);
        for (enough, most, spare) in [(3, 1, 3), (9, 1, 4), (9, 10, 4)] {
            rig.xv.top_up(enough, most, GFP_KERNEL);
            assert_eq!(rig.xv.stats().spare, spare);
            rig.audit(0);
        }
        rig.xv.free(kept.parcel);
        rig.empty();
        // None for one that holds nothing.
        rig.xv.top_up(3, 10, GFP_KERNEL);
        rig.empty();
        Ok(())
    }

    #[test]
    fn limit() -> Result {
        let mut rig = Rig::new(2)?;
        assert_eq!(rig.xv.limit(), 2);
        let all = [rig.must(LONG, 0)?, rig.must(LONG, 1)?];
        assert!(matches!(rig.reserve(), Err(Refused::Full)));
        assert_eq!(rig.xv.stats().failed_get_free_pages, 0);
        // Two frames hold two such parcels and a quarter.
        assert!(rig.put(LONG, 2).is_err());
        rig.audit(0);
        assert_eq!(rig.xv.room(), 2 * (PAGE_SIZE - LONG));
        let third = rig.must(2 * (PAGE_SIZE - LONG), 2)?;
        assert!(rig.holds(third) && rig.xv.room() == 0);
        assert!(rig.put(1, 3).is_err());
        rig.audit(0);
        for parcel in [all[0].parcel, third.parcel] {
            rig.xv.free(parcel);
            rig.audit(0);
        }
        assert!(rig.holds(all[1]));
        rig.must(LONG, 4)?;
        rig.audit(0);

        let mut rig = Rig::new(0)?;
        assert!(rig.put(1, 0).is_err());
        rig.empty();
        Ok(())
    }

    /// Each allocation of a reservation fails once; what came before it is given back.
    #[test]
    fn allocation_failures() -> Result {
        let mut rig = Rig::new(32)?;
        // A frame, slots, records.
        for (allocation, frames, records) in [(1, 1, 0), (2, 0, 1), (3, 0, 1)] {
            let before = rig.xv.stats();
            rig.xv.fail.store(allocation, Relaxed);
            assert!(matches!(rig.reserve(), Err(Refused::Memory)));
            assert_eq!(rig.xv.fail.load(Relaxed), 0);
            let stats = rig.xv.stats();
            let failed = stats.failed_get_free_pages - before.failed_get_free_pages;
            assert_eq!(
                (failed, stats.failed_alloc - before.failed_alloc),
                (frames, records)
            );
            if records == 1 {
                rig.xv.fail.store(1, Relaxed);
                assert!(matches!(
                    rig.xv.reserve_hole(GFP_KERNEL),
                    Err(Refused::Memory)
                ));
            }
            rig.empty();
            if allocation == 2 {
                // From here on there are slots.
                let result = rig.reserve();
                assert!(result.is_ok());
                drop(result);
                // And no records: as if there had been none in time.
                rig = Rig::new(32)?;
            }
        }

        // Without a frame: another's, or a hole.
        let mut rig = Rig::new(32)?;
        let first = rig.must(LONG, 0)?;
        rig.xv.drop_spares();
        rig.xv.fail.store(1, Relaxed);
        let reservation = rig
            .xv
            .reserve(GFP_KERNEL, Source::System, || Frame::new(GFP_KERNEL).ok());
        let data = [3; LONG];
        let given = reservation.map_err(|_| ENOMEM)?.create(&data);
        let given = given.map_err(|_| ENOSPC)?;
        assert_eq!(rig.xv.frames(), 2);
        rig.audit(0);
        rig.xv.fail.store(1, Relaxed);
        assert!(rig.put(LONG, 1).is_err());
        rig.xv.fail.store(1, Relaxed);
        let small = rig.must(300, 2)?;
        rig.xv.fail.store(0, Relaxed);
        assert!(rig.holds(first) && rig.holds(small));
        rig.audit(0);
        for parcel in [first.parcel, small.parcel, given] {
            rig.xv.free(parcel);
        }
        rig.empty();
        Ok(())
    }

    /// More tasks at once than there are records in a segment.
    #[test]
    fn many_reservations() -> Result {
        const MANY: usize = 300;
        let rig = Rig::new(MANY)?;
        let mut all = KVec::new();
        for _ in 0..MANY {
            all.push(rig.reserve().map_err(|_| ENOMEM)?, GFP_KERNEL)?;
        }
        rig.audit(MANY as u32);
        assert!(matches!(rig.reserve(), Err(Refused::Full)));
        let data = [7; LONG];
        let mut parcels = KVec::new();
        while let Some(reservation) = all.pop() {
            let parcel = reservation.create(&data).map_err(|_| EINVAL)?;
            parcels.push(parcel, GFP_KERNEL)?;
        }
        rig.audit(0);
        for parcel in parcels {
            rig.xv.free(parcel);
        }
        rig.empty();
        Ok(())
    }

    /// Records are bounded: when they are out, puts are refused, and work again after frees.
    #[test]
    fn out_of_records() -> Result {
        let mut rig = Rig::new(4)?;
        let mut all = KVec::new();
        while let Ok(kept) = rig.put(1 + all.len() % 40, all.len() as u32) {
            all.push(kept, GFP_KERNEL)?;
        }
        // All but two of a segment's, and the hole.
        assert_eq!(all.len(), RUNS - RUNS_EACH as usize);
        rig.audit(0);
        for kept in all.iter() {
            assert!(rig.holds(*kept));
            rig.xv.free(kept.parcel);
            rig.audit(0);
        }
        rig.empty();
        let kept = rig.must(LONG, 0)?;
        rig.xv.free(kept.parcel);
        rig.empty();
        Ok(())
    }

    /// As frontswap's invalidate does: with a spinlock held, where nothing may sleep.
    #[test]
    fn free_in_atomic_context() -> Result {
        let mut rig = Rig::new(8)?;
        let all = [rig.must(LONG, 0)?, rig.must(LONG, 1)?, rig.must(LONG, 2)?];
        let lock = KBox::pin_init(new_spinlock!((), "test"), GFP_KERNEL)?;
        let guard = lock.lock();
        for kept in all {
            rig.xv.free(kept.parcel);
        }
        drop(guard);
        rig.empty();
        Ok(())
    }

    /// Every byte survives any number of moves, and frames come back.
    #[test]
    fn compaction() -> Result {
        let mut rig = Rig::new(400)?;
        let mut random = Random(9);
        let mut live = KVec::<Kept>::new();
        for round in 0..6 {
            for step in 0..600 {
                let kept = rig.must(random.len(), round * 1000 + step)?;
                live.push(kept, GFP_KERNEL)?;
            }
            // Most go, here and there.
            let mut stay = KVec::new();
            for kept in live.iter() {
                match random.below(10) {
                    0..7 => rig.xv.free(kept.parcel),
                    _ => stay.push(*kept, GFP_KERNEL)?,
                }
            }
            live = stay;
            rig.audit(0);
            rig.xv.drop_spares();
            let before = rig.xv.frames();
            let one = rig.xv.compact(1);
            assert!(one == 1 && rig.xv.frames() == before - 1);
            rig.audit(0);
            let more = rig.xv.compact(usize::MAX);
            rig.audit(0);
            assert_eq!(rig.xv.frames(), before - 1 - more);
            assert!(rig.xv.compactable() <= TRIES_LEAVE);
            assert!(density(&rig) >= 80);
            assert!(live.iter().all(|&kept| rig.holds(kept)));
        }
        pr_info!("xvmalloc: {} frames emptied\n", rig.xv.stats().compacted);
        for kept in live.iter() {
            rig.xv.free(kept.parcel);
        }
        rig.empty();
        assert_eq!(rig.xv.compact(1), 0);
        rig.empty();
        Ok(())
    }

    /// Frames that may be left when a compaction gives up.
    const TRIES_LEAVE: usize = 8;

    /// Fills frames with parcels of a quarter, and frees all but the first one of each.
    fn quarters(rig: &mut Rig, frames: usize) -> Result<KVec<Kept>> {
        let (mut stay, mut go) = (KVec::new(), KVec::new());
        for seed in 0..frames * 4 {
            let kept = rig.must(PAGE_SIZE / 4, seed as u32)?;
            match seed % 4 {
                0 => stay.push(kept, GFP_KERNEL)?,
                _ => go.push(kept, GFP_KERNEL)?,
            }
        }
        for kept in go {
            rig.xv.free(kept.parcel);
        }
        rig.xv.drop_spares();
        assert_eq!(rig.xv.frames(), frames);
        Ok(stay)
    }

    /// What others may do between the two halves of a move: nothing, read, free, and put.
    #[test]
    fn compaction_step_by_step() -> Result {
        for what in 0..4 {
            let mut rig = Rig::new(64)?;
            let all = quarters(&mut rig, 16)?;
            let kept = all[0];
            let run = kept.parcel.number();
            let mut heap = rig.xv.heap.lock();
            let slot = heap.runs[run].frame;
            heap.close(slot);
            let step = heap.begin_move(run).ok_or(ENOSPC)?;
            // Nobody else can move it meanwhile.
            assert!(heap.begin_move(run).is_none());
            drop(heap);
            let end = || {
                step.copy();
                let mut heap = rig.xv.heap.lock();
                heap.end_move(step);
                rig.xv.finish(heap);
            };
            let mut other = None;
            match what {
                0 => end(),
                1 => rig.xv.with_data(kept.parcel, |head, _| {
                    end();
                    check!(same(head, &[], kept.seed, kept.len));
                })?,
                2 => {
                    rig.xv.free(kept.parcel);
                    assert!(rig.gone(kept.parcel));
                    end();
                }
                _ => {
                    // Nothing is put where it is being moved from, or to.
                    for (i, b) in rig.data[..600].iter_mut().enumerate() {
                        *b = byte(99, i);
                    }
                    let reservation = rig.reserve().map_err(|_| ENOMEM)?;
                    let parcel = reservation.create(&rig.data[..600]).map_err(|_| EINVAL)?;
                    let put = Kept {
                        parcel,
                        len: 600,
                        seed: 99,
                    };
                    assert!(rig.xv.heap.lock().runs[parcel.number()].frame != slot);
                    end();
                    assert!(rig.holds(put));
                    other = Some(put);
                }
            }
            let mut heap = rig.xv.heap.lock();
            let empty = heap.reopen(slot);
            rig.xv.finish(heap);
            rig.audit(0);
            // It went, but from under a reader.
            assert_eq!(empty, what != 1);
            if what != 2 {
                assert!(rig.holds(kept));
                rig.xv.free(kept.parcel);
            }
            assert!(all[1..].iter().all(|&kept| rig.holds(kept)));
            for kept in all[1..].iter().copied() {
                rig.xv.free(kept.parcel);
            }
            if let Some(other) = other {
                rig.xv.free(other.parcel);
            }
            rig.empty();
        }
        Ok(())
    }

    /// A parcel that somebody reads stays where it is.
    #[test]
    fn compaction_and_others() -> Result {
        let mut rig = Rig::new(64)?;
        let all = quarters(&mut rig, 16)?;
        // All are read: nothing can go.
        fn nested(rig: &Rig, all: &[Kept]) -> usize {
            match all {
                [] => rig.xv.compact(usize::MAX),
                [kept, rest @ ..] => rig
                    .xv
                    .with_data(kept.parcel, |head, _| {
                        let done = nested(rig, rest);
                        check!(same(head, &[], kept.seed, kept.len));
                        done
                    })
                    .unwrap_or(99),
            }
        }
        assert_eq!(nested(&rig, &all), 0);
        rig.audit(0);
        assert_eq!(rig.xv.frames(), 16);
        // Only one compacts at a time.
        rig.xv.heap.lock().compacting = true;
        assert_eq!(rig.xv.compact(usize::MAX), 0);
        rig.xv.heap.lock().compacting = false;
        let done = rig.xv.compact(usize::MAX);
        rig.audit(0);
        assert!(done >= 8 && rig.xv.frames() == 16 - done);
        assert!(all.iter().all(|&kept| rig.holds(kept)));
        for kept in all {
            rig.xv.free(kept.parcel);
        }
        rig.empty();
        Ok(())
    }

    /// What is left of the density after frees that leave as many gaps as can be, and then again
    /// after as many puts: printed, and held to what was measured.
    #[test]
    fn fragmentation() -> Result {
        let mut random = Random(5);
        for (name, lens, floor) in [
            ("equal lengths", [800, 800], [47, 85]),
            ("two lengths", [500, 2500], [40, 85]),
            ("all lengths", [0, 0], [40, 90]),
        ] {
            let mut rig = Rig::new(4000)?;
            let mut len = |at: usize| match lens[at % 2] {
                0 => random.len(),
                len => len,
            };
            let mut live = KVec::<Kept>::new();
            for seed in 0..2000 {
                live.push(rig.must(len(seed), seed as u32)?, GFP_KERNEL)?;
            }
            let full = density(&rig);
            // Every second one goes: no two gaps touch.
            let mut stay = KVec::new();
            for (at, kept) in live.iter().enumerate() {
                match at % 2 {
                    0 => rig.xv.free(kept.parcel),
                    _ => stay.push(*kept, GFP_KERNEL)?,
                }
            }
            rig.audit(0);
            let holed = density(&rig);
            // Others come, of longer and shorter lengths.
            for seed in 0..1000 {
                let len = (len(seed + 1) * 9 / 8).min(MAX_PARCEL);
                stay.push(rig.must(len, seed as u32)?, GFP_KERNEL)?;
            }
            rig.audit(0);
            let again = density(&rig);
            let stats = rig.xv.stats();
            pr_info!(
                "xvmalloc: {name}: {full}% full, after frees {holed}%, refilled {again}%: \
                 {} pages in {} frames, {} split, {} holes, {} bytes of records a page\n",
                stats.pages,
                stats.frames,
                stats.split,
                stats.holes,
                rig.xv.metadata_bytes() as u64 / stats.pages
            );
            assert!(full >= 97 && holed >= floor[0] && again >= floor[1]);
            assert!(stay.iter().all(|&kept| rig.holds(kept)));
            for kept in stay.iter() {
                rig.xv.free(kept.parcel);
            }
            rig.empty();
        }
        Ok(())
    }

    /// Percent of the frames' bytes that hold data.
    fn density(rig: &Rig) -> u64 {
        rig.xv.drop_spares();
        let stats = rig.xv.stats();
        stats.bytes * 100 / (stats.frames * PAGE_SIZE as u64)
    }
}
