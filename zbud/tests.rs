// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of zbud. `v2_bug_N` stands for item N of the old driver's bugs that zbud could have.

use super::{
    lists::{
        List,
        SEGMENT, //
    },
    *, //
};
use crate::tmem::PoolId;

/// Like the `assert!` of a KUnit case, for functions that cases call.
macro_rules! check {
    ($condition:expr) => {
        kernel::kunit_assert!("zcache_zbud", c"zbud/tests.rs", 0, $condition)
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

fn back(seed: u32) -> BackRef {
    BackRef {
        pool: PoolId(u64::from(seed) << 20),
        hash: seed ^ 0x5555,
        index: !seed,
    }
}

/// Byte `i` of the page `seed`.
fn byte(seed: u32, i: usize) -> u8 {
    let mixed = (seed ^ i as u32).wrapping_mul(0x9e37_79b1);
    (mixed >> 24) as u8
}

fn refuse(_: BackRef, _: Bud) -> bool {
    false
}

fn allow(_: BackRef, _: Bud) -> bool {
    true
}

/// A zbud, and what is needed to put pages with a known content into it.
struct Rig {
    zbud: Pin<KBox<Zbud>>,
    data: KVec<u8>,
}

impl Rig {
    fn new(max: usize) -> Result<Self> {
        Ok(Self {
            zbud: KBox::pin_init(Zbud::new(max), GFP_KERNEL)?,
            data: KVec::from_elem(0, PAGE_SIZE, GFP_KERNEL)?,
        })
    }

    fn data(&mut self, len: usize, seed: u32) -> &[u8] {
        let data = &mut self.data[..len];
        for (i, b) in data.iter_mut().enumerate() {
            *b = byte(seed, i);
        }
        data
    }

    /// Stores `len` bytes, in a new frame if need be.
    fn put(&mut self, len: usize, seed: u32) -> Result<Bud> {
        self.data(len, seed);
        let reservation = self.zbud.reserve(GFP_KERNEL).map_err(|_| ENOMEM)?;
        reservation
            .create(&self.data[..len], back(seed))
            .map_err(|_| EINVAL)
    }

    /// Stores `len` bytes where there is room already.
    fn put_in_hole(&mut self, len: usize, seed: u32) -> Result<Bud, Refused> {
        self.data(len, seed);
        self.zbud.create(&self.data[..len], back(seed))
    }

    /// Whether a bud has exactly the bytes that were stored.
    fn holds(&self, bud: Bud, len: usize, seed: u32) -> bool {
        let same = |data: &[u8]| {
            data.len() == len && data.iter().enumerate().all(|(i, b)| *b == byte(seed, i))
        };
        self.zbud.with_data(bud, same).unwrap_or(false)
    }

    fn gone(&self, bud: Bud) -> bool {
        self.zbud.with_data(bud, |_| ()) == Err(EINVAL)
    }

    /// Checks everything that must hold while no call is in flight, with `promised` reservations.
    fn audit(&self, promised: u32) {
        let result = audit(&mut self.zbud.lists.lock(), promised, self.zbud.frames());
        if let Err(line) = result {
            pr_err!("zbud: audit failed at line {line}\n");
        }
        check!(result.is_ok());
    }

    /// Checks that nothing is left.
    fn empty(&self) {
        self.audit(0);
        let stats = self.zbud.stats();
        check!(self.zbud.frames() == 0);
        check!(stats.curr_raw_pages == 0);
        check!(stats.unused_list_count == 0);
        check!(stats.buddied_count == 0);
        check!(stats.curr_zpages == 0);
        check!(stats.curr_zbytes == 0);
        check!(self.zbud.unbuddied_list_counts() == [0; CHUNKS]);
        check!(self.zbud.lists.lock().holes == 0);
    }
}

/// Follows a list in both directions. `on` tells whether a frame belongs on it.
fn walk<const LINK: usize>(
    list: &List<LINK>,
    lists: &Lists,
    on: impl Fn(&Desc) -> bool,
) -> Result<(), u32> {
    let (mut prev, mut at, mut len) = (u32::MAX, list.first().unwrap_or(u32::MAX), 0);
    while at != u32::MAX {
        demand!((at as usize) < lists.table.len());
        let desc = &lists.table[at];
        demand!(on(desc));
        demand!(desc.links[LINK].prev == prev);
        (prev, at, len) = (at, desc.links[LINK].next, len + 1);
        demand!(len <= list.len);
    }
    demand!(list.last == prev);
    demand!(list.len == len);
    Ok(())
}

fn audit(lists: &mut Lists, promised: u32, frames: usize) -> Result<(), u32> {
    let (mut free, mut spare, mut lru) = (0, 0, 0);
    let (mut pages, mut bytes, mut buddied) = (0, 0, 0);
    let mut unbuddied = [0; CHUNKS];
    for frame in 0..lists.table.len() {
        let desc = &lists.table[frame as u32];
        let used = desc.len.map(|len| lists::chunks(len.into()));
        demand!(desc.pins == 0);
        demand!(used[0] + used[1] <= CHUNKS);
        for side in [0, 1] {
            demand!((desc.len[side] != 0) == (desc.refs[side] != 0));
            demand!(usize::from(desc.len[side]) <= MAX_BUD);
            bytes += u64::from(desc.len[side]);
        }
        let (a, b) = (desc.range(0), desc.range(1));
        demand!(a.end <= b.start && b.end <= PAGE_SIZE);
        demand!(desc.on_lru == (desc.buds() != 0));
        demand!(desc.frame.is_some() || desc.buds() == 0);
        pages += desc.buds() as u64;
        let hole = match desc.buds() {
            1 => CHUNKS - used[0] - used[1],
            _ => 0,
        };
        demand!(usize::from(desc.hole) == hole);
        match desc.buds() {
            0 if desc.frame.is_none() => free += 1,
            0 => spare += 1,
            1 => unbuddied[hole] += 1,
            _ => buddied += 1,
        }
        lru += u32::from(desc.on_lru);
    }
    walk(&lists.free, lists, |desc| desc.frame.is_none())?;
    walk(&lists.spare, lists, |desc| {
        desc.frame.is_some() && !desc.on_lru
    })?;
    walk(&lists.lru, lists, |desc| desc.on_lru)?;
    for (hole, list) in lists.unbuddied.iter().enumerate() {
        walk(list, lists, |desc| usize::from(desc.hole) == hole)?;
        demand!(list.len == unbuddied[hole]);
        demand!((lists.holes >> hole & 1 != 0) == (list.len != 0));
    }
    demand!(lists.free.len == free && lists.spare.len == spare && lists.lru.len == lru);
    demand!(lists.growing == 0);
    demand!(lists.promised == promised);
    demand!(spare >= promised && spare <= promised + lists.spares_wanted());
    demand!(lists.stats.curr_raw_pages == u64::from(spare + lru));
    demand!(lists.stats.curr_raw_pages == frames as u64);
    demand!(lists.stats.curr_zpages == pages);
    demand!(lists.stats.curr_zbytes == bytes);
    demand!(lists.stats.buddied_count == buddied);
    Ok(())
}

/// A long bud, too long to share a frame with another one like it.
const LONG: usize = MAX_BUD;

#[kunit_tests(zcache_zbud)]
mod cases {
    use super::*;

    /// Any two sizes share a frame if and only if their chunks fit it; each bud has its own bytes;
    /// and freeing one leaves the other as it is.
    #[test]
    fn all_pairs_of_sizes() -> Result {
        let mut rig = Rig::new(8)?;
        for a in 1..=MAX_BUD / CHUNK {
            for b in 1..=MAX_BUD / CHUNK {
                // All lengths that round up to a chunk take their turn.
                let lens = [
                    a * CHUNK - (a * 7 + b) % CHUNK,
                    b * CHUNK - (b * 5 + a) % CHUNK,
                ];
                for first in [0, 1] {
                    let buds = [rig.put(lens[0], 1)?, rig.put(lens[1], 2)?];
                    let stats = rig.zbud.stats();
                    let together = a + b <= CHUNKS;
                    assert!((buds[0].frame() == buds[1].frame()) == together);
                    assert_eq!(stats.buddied_count, u64::from(together));
                    assert_eq!(stats.curr_zpages, 2);
                    assert_eq!(stats.curr_zbytes, (lens[0] + lens[1]) as u64);
                    let used = stats.curr_raw_pages - stats.unused_list_count;
                    assert_eq!(used, 2 - u64::from(together));
                    assert!(rig.holds(buds[0], lens[0], 1) && rig.holds(buds[1], lens[1], 2));

                    let last = 1 - first;
                    rig.zbud.free(buds[first]);
                    assert!(rig.gone(buds[first]));
                    assert!(rig.holds(buds[last], lens[last], 1 + last as u32));
                    rig.zbud.free(buds[last]);
                    assert_eq!(rig.zbud.frames(), 0);
                }
            }
        }
        rig.empty();
        Ok(())
    }

    #[test]
    fn sizes_at_the_bounds() -> Result {
        let mut rig = Rig::new(8)?;
        for len in [0, MAX_BUD + 1, PAGE_SIZE] {
            let data = &rig.data[..len];
            assert!(rig.zbud.create(data, back(0)) == Err(Refused::Size));
            let reservation = rig.zbud.reserve(GFP_KERNEL).map_err(|_| ENOMEM)?;
            assert!(reservation.create(data, back(0)) == Err(Refused::Size));
            // The reservation is gone with the failure, and with it the frame.
            rig.empty();
        }
        for len in 1..=MAX_BUD {
            let bud = rig.put(len, len as u32)?;
            assert!(rig.holds(bud, len, len as u32));
            rig.zbud.free(bud);
        }
        rig.empty();
        Ok(())
    }

    /// No two of these share a frame, so there are four different holes.
    #[test]
    fn smallest_hole_that_fits() -> Result {
        for need in 1..=MAX_BUD / CHUNK {
            let mut rig = Rig::new(8)?;
            let sizes = [40, 33, 50, 45];
            let mut singles = KVec::new();
            for size in sizes {
                singles.push(rig.put(size * CHUNK, 0)?, GFP_KERNEL)?;
            }
            let bud = rig.put(need * CHUNK, 1)?;
            let best = (0..4)
                .filter(|&i| CHUNKS - sizes[i] >= need)
                .min_by_key(|&i| CHUNKS - sizes[i]);
            match best {
                Some(best) => assert_eq!(bud.frame(), singles[best].frame()),
                None => assert!(singles.iter().all(|single| single.frame() != bud.frame())),
            }
            rig.audit(0);
        }
        Ok(())
    }

    #[test]
    fn youngest_of_equal_holes() -> Result {
        let mut rig = Rig::new(8)?;
        let singles = [rig.put(LONG, 0)?, rig.put(LONG, 1)?, rig.put(LONG, 2)?];
        // Reading makes none young. Nor does freeing: 2 is now behind the others.
        assert!(rig.holds(singles[0], LONG, 0));
        let added = rig.put(CHUNK, 3)?;
        assert_eq!(added.frame(), singles[2].frame());
        rig.zbud.free(added);
        for i in [1, 0, 2] {
            assert_eq!(rig.put(CHUNK, 3)?.frame(), singles[i].frame());
        }
        Ok(())
    }

    /// Evicts all that it is asked for, for a page of some group.
    struct Caller(Option<Group>);

    impl Forget for Caller {
        fn forget(&mut self, _back: BackRef, _bud: Bud) -> bool {
            true
        }

        fn wanted_for(&self) -> Option<Group> {
            self.0
        }
    }

    #[test]
    fn pages_that_others_push_out_are_counted() -> Result {
        let mut rig = Rig::new(8)?;
        let half = PAGE_SIZE / 2;
        // Two frames each with pages of 1 and 1, 1 and 2, 2 and 2.
        for round in 0..2 {
            for (seed, group) in [1, 1, 1, 2, 2, 2].into_iter().enumerate() {
                rig.data(half, seed as u32);
                let reservation = rig.zbud.reserve(GFP_KERNEL).map_err(|_| ENOMEM)?;
                let data = &rig.data[..half];
                reservation
                    .create_of(Group(group), data, back(round))
                    .map_err(|_| EINVAL)?;
            }
        }
        let mut expected = 0;
        for (wanted_for, others) in [(1, 0), (1, 1), (1, 2), (2, 2), (2, 1)] {
            let reservation = rig.zbud.reserve_oldest(Caller(Some(Group(wanted_for))));
            drop(reservation.ok_or(ENOMEM)?);
            expected += others;
            assert_eq!(rig.zbud.stats().evicted_by_other_group, expected);
        }
        // The last frame goes for no page at all.
        assert_eq!(rig.zbud.evict(Caller(None)).pages, 2);
        assert_eq!(rig.zbud.stats().evicted_by_other_group, expected);
        assert_eq!(rig.zbud.stats().evicted_zpages, 12);
        rig.empty();
        Ok(())
    }

    /// Two full frames, emptied in each of the 24 orders.
    #[test]
    fn free_in_any_order() -> Result {
        for order in 0..24 {
            let mut rig = Rig::new(8)?;
            let half = PAGE_SIZE / 2;
            let mut left = KVec::new();
            for seed in 0..4 {
                left.push((rig.put(half, seed)?, seed), GFP_KERNEL)?;
            }
            rig.zbud.drop_spares();
            assert_eq!(rig.zbud.frames(), 2);
            for radix in [order % 4, order / 4 % 3, order / 12, 0] {
                let (bud, _) = left.remove(radix).map_err(|_| EINVAL)?;
                rig.zbud.free(bud);
                rig.audit(0);
                assert!(rig.gone(bud));
                assert!(left.iter().all(|&(bud, seed)| rig.holds(bud, half, seed)));
                let frames = |side| left.iter().filter(|(bud, _)| bud.side() == side).count();
                assert!(rig.zbud.frames() >= frames(0).max(frames(1)));
                assert!(rig.zbud.frames() <= left.len());
            }
            rig.empty();
        }
        Ok(())
    }

    #[test]
    fn references() -> Result {
        let mut rig = Rig::new(8)?;
        let bud = rig.put(100, 1)?;
        for _ in 1..u16::MAX {
            rig.zbud.get_ref(bud)?;
        }
        assert_eq!(rig.zbud.get_ref(bud), Err(EOVERFLOW));
        for _ in 1..u16::MAX {
            rig.zbud.free(bud);
        }
        assert!(rig.holds(bud, 100, 1));
        rig.zbud.free(bud);
        assert!(rig.gone(bud));
        rig.empty();
        Ok(())
    }

    /// Names that name nothing: none is believed, each one is counted.
    #[test]
    fn stale_names() -> Result {
        let mut rig = Rig::new(8)?;
        let bud = rig.put(LONG, 1)?;
        let freed = rig.put(LONG, 2)?;
        rig.zbud.free(freed);
        let reservation = rig.zbud.reserve(GFP_KERNEL).map_err(|_| ENOMEM)?;
        // The other place of the frame, a spare frame, the first frame beyond the table, the last.
        let mut stale = 0;
        for raw in [
            bud.to_raw() ^ 1,
            freed.to_raw(),
            freed.to_raw() ^ 1,
            2 * SEGMENT as u32,
            1 << 31,
            u32::MAX - 1,
            u32::MAX,
        ] {
            let wrong = Bud::from_raw(raw);
            assert_eq!(rig.zbud.get_ref(wrong), Err(EINVAL));
            assert_eq!(rig.zbud.with_data(wrong, |_| ()), Err(EINVAL));
            rig.zbud.free(wrong);
            stale += 3;
            assert_eq!(rig.zbud.stats().stale, stale);
            rig.audit(1);
        }
        drop(reservation);
        assert!(rig.holds(Bud::from_raw(bud.to_raw()), LONG, 1));
        rig.zbud.free(bud);
        rig.empty();
        Ok(())
    }

    #[test]
    fn eviction_takes_the_oldest() -> Result {
        let mut rig = Rig::new(32)?;
        let mut buds = KVec::new();
        for seed in 0..10 {
            buds.push(rig.put(LONG, seed)?, GFP_KERNEL)?;
        }
        // Reading makes nothing young, adding does: 9 shares its frame with this one.
        assert!(rig.holds(buds[0], LONG, 0));
        let added = rig.put(CHUNK, 10)?;
        assert_eq!(added.frame(), buds[9].frame());
        // Freeing makes nothing young either.
        rig.zbud.free(added);
        for seed in 0..10 {
            let mut asked = 0;
            let evicted = rig.zbud.evict(|to, bud| {
                asked += 1;
                to == back(seed) && bud == buds[seed as usize]
            });
            assert!(
                evicted
                    == Evicted {
                        frames: 1,
                        pages: 1
                    }
            );
            assert_eq!(asked, 1);
            assert!(rig.gone(buds[seed as usize]));
            rig.audit(0);
        }
        assert!(rig.zbud.evict(allow) == Evicted::default());
        let stats = rig.zbud.stats();
        assert_eq!(stats.evicted_raw_pages, 10);
        assert_eq!(stats.evicted_unbuddied_pages, 10);
        assert_eq!(stats.evicted_buddied_pages, 0);
        assert_eq!(stats.evicted_zpages, 10);
        rig.empty();
        Ok(())
    }

    #[test]
    fn an_added_bud_makes_its_frame_the_youngest() -> Result {
        let mut rig = Rig::new(32)?;
        let old = rig.put(40 * CHUNK, 0)?;
        let young = rig.put(50 * CHUNK, 1)?;
        let added = rig.put(20 * CHUNK, 2)?;
        assert_eq!(added.frame(), old.frame());
        let evicted = rig.zbud.evict(allow);
        assert!(
            evicted
                == Evicted {
                    frames: 1,
                    pages: 1
                }
        );
        assert!(rig.gone(young) && rig.holds(old, 40 * CHUNK, 0));
        let evicted = rig.zbud.evict(allow);
        assert!(
            evicted
                == Evicted {
                    frames: 1,
                    pages: 2
                }
        );
        assert_eq!(rig.zbud.stats().evicted_buddied_pages, 1);
        rig.empty();
        Ok(())
    }

    /// Of two buds in the oldest frame, the index lets go of none, one, the other, both.
    #[test]
    fn eviction_refused() -> Result {
        for mask in 0..4 {
            let mut rig = Rig::new(32)?;
            let buds = [rig.put(1000, 0)?, rig.put(2000, 1)?];
            assert_eq!(buds[0].frame(), buds[1].frame());
            let other = rig.put(LONG, 2)?;
            let mut asked = 0;
            let evicted = rig.zbud.evict(|to, bud| {
                asked += 1;
                (0..2).any(|i| mask >> i & 1 != 0 && bud == buds[i] && to == back(i as u32))
            });
            rig.audit(0);
            for i in 0..2 {
                let len = [1000, 2000][i];
                match mask >> i & 1 {
                    0 => assert!(rig.holds(buds[i], len, i as u32)),
                    _ => assert!(rig.gone(buds[i])),
                }
            }
            assert!(rig.holds(other, LONG, 2));
            if mask == 3 {
                assert!(
                    evicted
                        == Evicted {
                            frames: 1,
                            pages: 2
                        }
                );
                assert_eq!(asked, 2);
            } else {
                // Frame after frame is asked for, each becomes the youngest, up to the bound.
                assert_eq!(evicted.frames, 0);
                assert_eq!(evicted.pages, (mask & 1) + (mask >> 1));
                let first = rig.zbud.lists.lock().lru.first();
                assert!(first == Some(buds[0].frame()) || first == Some(other.frame()));
                assert!((TRIES..=2 * TRIES).contains(&asked));
            }
        }
        Ok(())
    }

    /// A get has taken the index entries and finishes while their frame is under eviction.
    #[test]
    fn free_under_eviction_leaves_the_frame_to_the_evictor() -> Result {
        for mask in 0..4_usize {
            let mut rig = Rig::new(32)?;
            let buds = [rig.put(1000, 0)?, rig.put(2000, 1)?];
            rig.zbud.drop_spares();
            let mut frames = 0;
            let evicted = rig.zbud.evict(|to, bud| {
                let i = usize::from(to == back(1));
                let get = mask >> i & 1 != 0;
                if get {
                    check!(rig.holds(buds[i], [1000, 2000][i], i as u32));
                    rig.zbud.free(bud);
                    check!(rig.gone(bud));
                }
                frames += rig.zbud.frames();
                !get
            });
            assert_eq!(frames, 2);
            assert_eq!(evicted.frames, 1);
            assert_eq!(evicted.pages, 2 - (mask & 1) - (mask >> 1));
            assert_eq!(rig.zbud.stats().evicted_buddied_pages, 1);
            // Those are the looks at what was gone.
            assert_eq!(rig.zbud.stats().stale, mask.count_ones().into());
            rig.empty();
        }
        Ok(())
    }

    /// A second reference outlives the eviction of the first, and keeps the bud.
    #[test]
    fn eviction_spares_what_a_reader_owns() -> Result {
        let mut rig = Rig::new(32)?;
        let bud = rig.put(1000, 0)?;
        rig.zbud.get_ref(bud)?;
        let mut indexed = true;
        let evicted = rig.zbud.evict(|_, _| core::mem::take(&mut indexed));
        assert!(
            evicted
                == Evicted {
                    frames: 0,
                    pages: 1
                }
        );
        assert!(rig.holds(bud, 1000, 0));
        rig.zbud.free(bud);
        rig.empty();
        Ok(())
    }

    /// Neither a frame under eviction nor one that is read takes a bud.
    #[test]
    fn no_put_into_a_pinned_frame() -> Result {
        let mut rig = Rig::new(32)?;
        let bud = rig.put(1000, 0)?;
        assert!(rig.zbud.room() == MAX_BUD.min((CHUNKS - 16) * CHUNK));
        let data = [1; 10];
        rig.zbud.evict(|_, _| {
            check!(rig.zbud.room() == 0);
            check!(rig.zbud.create(&data, back(1)) == Err(Refused::Full));
            false
        });
        rig.zbud.with_data(bud, |_| {
            check!(rig.zbud.room() == 0);
            check!(rig.zbud.create(&data, back(1)) == Err(Refused::Full));
        })?;
        rig.audit(0);
        let other = rig.zbud.create(&data, back(1)).map_err(|_| EINVAL)?;
        assert_eq!(other.frame(), bud.frame());
        rig.audit(0);
        Ok(())
    }

    #[test]
    fn eviction_during_a_read() -> Result {
        let mut rig = Rig::new(32)?;
        let bud = rig.put(1000, 0)?;
        let evicted = rig.zbud.with_data(bud, |data| {
            let evicted = rig.zbud.evict(allow);
            check!(data.iter().enumerate().all(|(i, b)| *b == byte(0, i)));
            evicted
        })?;
        assert!(evicted == Evicted::default());
        rig.audit(0);
        assert!(rig.holds(bud, 1000, 0));
        assert!(
            rig.zbud.evict(allow)
                == Evicted {
                    frames: 1,
                    pages: 1
                }
        );
        rig.empty();
        Ok(())
    }

    /// A caller with a bug frees what it reads. The bytes must stay until it has read them.
    #[test]
    fn free_during_a_read() -> Result {
        for pairs in [false, true] {
            let mut rig = Rig::new(32)?;
            let bud = rig.put(1000, 0)?;
            let other = match pairs {
                true => Some(rig.put(1000, 1)?),
                false => None,
            };
            let data = [0xff; 1000];
            rig.zbud.with_data(bud, |seen| {
                rig.zbud.free(bud);
                let inside = rig.zbud.reserve(GFP_KERNEL).map_err(|_| ENOMEM)?;
                let inside = inside.create(&data, back(2)).map_err(|_| EINVAL)?;
                check!(inside.frame() != bud.frame());
                check!(seen.iter().enumerate().all(|(i, b)| *b == byte(0, i)));
                rig.zbud.free(inside);
                Ok::<(), Error>(())
            })??;
            assert!(rig.gone(bud));
            if let Some(other) = other {
                assert!(rig.holds(other, 1000, 1));
                rig.zbud.free(other);
            }
            rig.empty();
        }
        Ok(())
    }

    /// Between the two halves of a put: nobody can read, take, free or evict the bud.
    #[test]
    fn half_filled_bud_is_out_of_reach() -> Result {
        for pairs in [false, true] {
            let mut rig = Rig::new(32)?;
            let old = match pairs {
                true => Some(rig.put(1000, 0)?),
                false => None,
            };
            let reservation = rig.zbud.reserve(GFP_KERNEL).map_err(|_| ENOMEM)?;
            let place = rig.zbud.lists.lock().place(500, back(1), Group::NONE, true);
            core::mem::forget(reservation);
            let bud = place.ok_or(ENOMEM)?.bud;
            assert!(rig.gone(bud));
            assert_eq!(rig.zbud.get_ref(bud), Err(EINVAL));
            rig.zbud.free(bud);
            assert!(rig.zbud.evict(allow) == Evicted::default());
            if let Some(old) = old {
                assert_eq!(old.frame(), bud.frame());
                assert!(rig.holds(old, 1000, 0));
                rig.zbud.free(old);
            }
            let mut lists = rig.zbud.lists.lock();
            lists.publish(bud.frame(), bud.side());
            lists.unpin(bud.frame());
            let empty = lists.settle_or_retire(bud.frame());
            assert!(empty.is_none());
            rig.zbud.finish(lists, None);
            rig.audit(0);
            rig.zbud.free(bud);
            rig.empty();
        }
        Ok(())
    }

    #[test]
    fn frames_ahead_and_frames_kept() -> Result {
        let mut rig = Rig::new(32)?;
        rig.zbud.set_keep(4);
        // Nothing is allocated ahead for a store that holds nothing.
        rig.zbud.top_up(3, 10, GFP_KERNEL);
        rig.empty();

        let buds = [rig.put(LONG, 0)?, rig.put(LONG, 1)?, rig.put(LONG, 2)?];
        rig.zbud.drop_spares();
        for (enough, most, spare) in [(3, 1, 1), (3, 10, 3), (3, 10, 3), (9, 10, 4)] {
            rig.zbud.top_up(enough, most, GFP_KERNEL);
            assert_eq!(rig.zbud.stats().unused_list_count, spare);
            rig.audit(0);
        }

        // A frame without memory, a promise, the limit: each ends it.
        rig.zbud.drop_spares();
        rig.zbud.fail.store(2, Relaxed);
        rig.zbud.top_up(3, 10, GFP_KERNEL);
        rig.zbud.fail.store(0, Relaxed);
        assert_eq!(rig.zbud.stats().unused_list_count, 1);
        assert_eq!(rig.zbud.used(), 3);
        let promise = rig.zbud.reserve(GFP_KERNEL);
        rig.zbud.top_up(3, 10, GFP_KERNEL);
        rig.audit(1);
        assert_eq!(rig.zbud.stats().unused_list_count, 4);
        assert_eq!((rig.zbud.used(), rig.zbud.frames()), (4, 7));
        drop(promise);
        rig.zbud.drop_spares();
        rig.zbud.set_limit(4);
        rig.zbud.top_up(3, 10, GFP_KERNEL);
        assert_eq!((rig.zbud.frames(), rig.zbud.frames_max()), (4, 7));

        // Frames that become empty are kept, up to the number; the last bud takes all along.
        rig.zbud.set_limit(32);
        rig.zbud.set_keep(2);
        let [first, second, third] = buds;
        rig.zbud.free(first);
        assert_eq!(rig.zbud.stats().unused_list_count, 2);
        rig.audit(0);
        rig.zbud.free(second);
        assert_eq!(rig.zbud.stats().unused_list_count, 2);
        rig.audit(0);
        rig.zbud.free(third);
        rig.empty();
        Ok(())
    }

    /// One call says what is allowed, promises a frame, and allocates another one ahead.
    #[test]
    fn reservations_within_a_budget() -> Result {
        let rig = Rig::new(32)?;
        let within = |limit| {
            let budget = Budget {
                limit,
                keep: 4,
                ahead: 3,
            };
            rig.zbud.reserve_within(budget, GFP_KERNEL)
        };
        let data = [7; LONG];
        // Nothing is allocated ahead for a store that holds nothing. After that, one in each call,
        // be there an idle frame or not.
        for (used, frames) in [(1, 1), (2, 3), (3, 4), (4, 5)] {
            let reservation = within(32).map_err(|_| ENOMEM)?;
            assert_eq!((reservation.used(), rig.zbud.frames()), (used, frames));
            rig.audit(1);
            reservation.create(&data, back(0)).map_err(|_| EINVAL)?;
        }
        // Until there are enough.
        for frames in [6, 7, 8, 8] {
            let reservation = within(32).map_err(|_| ENOMEM)?;
            assert_eq!((reservation.used(), rig.zbud.frames()), (5, frames));
            rig.audit(1);
        }
        assert_eq!(rig.zbud.used(), 4);
        // What is there can be had with a limit below it, and nothing is added.
        rig.zbud.drop_spares();
        drop(within(32).map_err(|_| ENOMEM)?);
        assert_eq!(rig.zbud.frames(), 6);
        assert_eq!(within(4).map_err(|_| ENOMEM)?.used(), 5);
        assert_eq!((rig.zbud.frames(), rig.zbud.limit()), (6, 4));
        rig.zbud.drop_spares();
        assert!(matches!(within(4), Err(NoFrame::Limit)));
        // No memory for the frame; for the one ahead, without an idle one and with one.
        rig.zbud.fail.store(1, Relaxed);
        assert!(matches!(within(32), Err(NoFrame::Memory)));
        rig.zbud.fail.store(2, Relaxed);
        assert_eq!(within(32).map_err(|_| ENOMEM)?.used(), 5);
        rig.zbud.fail.store(1, Relaxed);
        assert_eq!(within(32).map_err(|_| ENOMEM)?.used(), 5);
        rig.zbud.fail.store(0, Relaxed);
        assert_eq!(rig.zbud.frames(), 5);
        assert_eq!(rig.zbud.stats().failed_get_free_pages, 3);
        rig.audit(0);
        Ok(())
    }

    #[test]
    fn spare_frames() -> Result {
        let mut rig = Rig::new(32)?;
        // Without a bud, none stays.
        let one = rig.zbud.reserve(GFP_KERNEL);
        let two = rig.zbud.reserve(GFP_KERNEL);
        assert!(one.is_ok() && two.is_ok());
        rig.audit(2);
        assert_eq!(rig.zbud.frames(), 2);
        drop(one);
        rig.audit(1);
        assert_eq!(rig.zbud.frames(), 1);
        drop(two);
        rig.empty();

        // With a bud, one stays, and the next one who reserves gets it.
        let bud = rig.put(LONG, 0)?;
        let one = rig.zbud.reserve(GFP_KERNEL);
        let two = rig.zbud.reserve(GFP_KERNEL);
        assert_eq!(rig.zbud.frames(), 3);
        assert_eq!(rig.zbud.stats().unused_list_count, 2);
        drop((one, two));
        assert_eq!(rig.zbud.frames(), 2);
        rig.zbud.fail.store(1, Relaxed);
        let one = rig.zbud.reserve(GFP_KERNEL);
        assert!(one.is_ok());
        rig.zbud.fail.store(0, Relaxed);
        rig.audit(1);
        // It is not given back while it is promised.
        rig.zbud.drop_spares();
        assert_eq!(rig.zbud.frames(), 2);
        drop(one);
        rig.zbud.drop_spares();
        assert_eq!(rig.zbud.frames(), 1);

        // The last bud takes the spare frame along, and eviction does as well.
        drop(rig.zbud.reserve(GFP_KERNEL));
        assert_eq!(rig.zbud.frames(), 2);
        rig.zbud.free(bud);
        rig.empty();
        rig.put(LONG, 0)?;
        drop(rig.zbud.reserve(GFP_KERNEL));
        assert_eq!(rig.zbud.frames(), 2);
        rig.zbud.evict(allow);
        rig.empty();
        Ok(())
    }

    #[test]
    fn a_promised_frame_is_not_given_to_others() -> Result {
        let mut rig = Rig::new(32)?;
        assert_eq!(rig.zbud.room(), 0);
        let reservation = rig.zbud.reserve(GFP_KERNEL).map_err(|_| ENOMEM)?;
        assert_eq!(rig.zbud.room(), 0);
        let data = [7; 1000];
        assert!(rig.zbud.create(&data, back(0)) == Err(Refused::Full));
        let bud = reservation
            .create(&data[..CHUNK], back(0))
            .map_err(|_| EINVAL)?;
        rig.audit(0);
        assert_eq!(rig.zbud.room(), MAX_BUD);
        rig.zbud.free(bud);

        // One that nobody has reserved is for everybody. A reserved put may use a hole instead.
        let long = rig.put(LONG, 0)?;
        drop(rig.zbud.reserve(GFP_KERNEL));
        assert_eq!(rig.zbud.room(), MAX_BUD);
        let reservation = rig.zbud.reserve(GFP_KERNEL).map_err(|_| ENOMEM)?;
        assert_eq!(rig.zbud.room(), PAGE_SIZE - LONG);
        let bud = reservation
            .create(&data[..CHUNK], back(0))
            .map_err(|_| EINVAL)?;
        assert_eq!(bud.frame(), long.frame());
        assert_eq!(rig.zbud.room(), MAX_BUD);
        let bud = rig.put_in_hole(LONG, 1).map_err(|_| EINVAL)?;
        assert_eq!(rig.zbud.room(), PAGE_SIZE - LONG);
        assert!(bud.frame() != long.frame() && rig.holds(bud, LONG, 1));
        rig.audit(0);
        Ok(())
    }

    #[test]
    fn limit() -> Result {
        let mut rig = Rig::new(100)?;
        assert_eq!(rig.zbud.limit(), 100);
        rig.zbud.set_limit(usize::MAX);
        assert_eq!(rig.zbud.limit(), 100);
        rig.zbud.set_limit(3);
        let buds = [rig.put(LONG, 0)?, rig.put(LONG, 1)?, rig.put(LONG, 2)?];
        assert!(matches!(rig.zbud.reserve(GFP_KERNEL), Err(NoFrame::Limit)));
        assert_eq!(rig.zbud.stats().failed_get_free_pages, 0);

        // In place of the oldest: nothing is allocated, nothing is freed.
        rig.zbud.fail.store(1, Relaxed);
        let reservation = rig.zbud.reserve_oldest(allow).ok_or(ENOMEM)?;
        rig.zbud.fail.store(0, Relaxed);
        rig.audit(1);
        assert_eq!(rig.zbud.frames(), 3);
        assert!(rig.gone(buds[0]));
        assert!(matches!(rig.zbud.reserve(GFP_KERNEL), Err(NoFrame::Limit)));
        let data = [3; LONG];
        let bud = reservation.create(&data, back(3)).map_err(|_| EINVAL)?;
        assert_eq!(bud.frame(), buds[0].frame());
        rig.audit(0);
        // It was added last, so it goes last.
        assert!(rig.zbud.reserve_oldest(refuse).is_none());
        assert_eq!(rig.zbud.frames(), 3);

        // Above a lowered limit each call frees one frame.
        rig.zbud.set_limit(1);
        assert!(rig.zbud.reserve_oldest(allow).is_none());
        assert_eq!(rig.zbud.frames(), 2);
        assert!(rig.zbud.reserve_oldest(allow).is_none());
        assert_eq!(rig.zbud.frames(), 1);
        let last = rig.zbud.reserve_oldest(allow);
        assert!(last.is_some());
        rig.audit(1);
        assert_eq!(rig.zbud.frames(), 1);
        drop(last);
        rig.empty();

        rig.zbud.set_limit(0);
        assert!(matches!(rig.zbud.reserve(GFP_KERNEL), Err(NoFrame::Limit)));
        assert!(rig.zbud.reserve_oldest(allow).is_none());
        rig.empty();
        Ok(())
    }

    /// Each allocation of a reservation fails once; what came before it is given back.
    #[test]
    fn allocation_failures() -> Result {
        let mut rig = Rig::new(2 * SEGMENT)?;
        rig.zbud.fail.store(1, Relaxed);
        assert!(matches!(rig.zbud.reserve(GFP_KERNEL), Err(NoFrame::Memory)));
        assert_eq!(rig.zbud.stats().failed_get_free_pages, 1);
        rig.empty();
        rig.zbud.fail.store(2, Relaxed);
        assert!(matches!(rig.zbud.reserve(GFP_KERNEL), Err(NoFrame::Memory)));
        assert_eq!(rig.zbud.stats().failed_alloc, 1);
        assert_eq!(rig.zbud.lists.lock().table.len(), 0);
        rig.empty();
        // With descriptors there is only one allocation.
        rig.put(LONG, 0)?;
        rig.zbud.fail.store(2, Relaxed);
        rig.put(LONG, 1)?;
        assert_eq!(rig.zbud.fail.load(Relaxed), 1);
        assert!(rig.put(LONG, 2) == Err(ENOMEM));
        assert_eq!(rig.zbud.stats().failed_get_free_pages, 2);
        assert_eq!(rig.zbud.stats().failed_alloc, 1);
        assert_eq!(rig.zbud.frames(), 2);
        rig.audit(0);
        Ok(())
    }

    /// Several who grow at once, each with a segment of its own, up to a full table.
    #[test]
    fn growing_at_once() -> Result {
        let rig = Rig::new(2 * SEGMENT - 1)?;
        let segment = || {
            let init = pin_init::init_array_from_fn(|_| Desc::new());
            KBox::<Segment>::init(init, GFP_KERNEL)
        };
        for _ in 0..2 {
            let segment = segment()?;
            let left = rig.zbud.lists.lock().add_segment(segment);
            assert!(left.is_none());
        }
        let segment = segment()?;
        let left = rig.zbud.lists.lock().add_segment(segment);
        assert!(left.is_some());
        let mut all = KVec::new();
        for _ in 0..2 * SEGMENT - 1 {
            let reservation = rig.zbud.reserve(GFP_KERNEL).map_err(|_| ENOMEM)?;
            all.push(reservation, GFP_KERNEL)?;
        }
        rig.audit(2 * SEGMENT as u32 - 1);
        assert!(matches!(rig.zbud.reserve(GFP_KERNEL), Err(NoFrame::Limit)));
        drop(all);
        rig.empty();
        Ok(())
    }

    #[test]
    fn table_grows_by_segments() -> Result {
        let mut rig = Rig::new(1000)?;
        let bare = rig.zbud.metadata_bytes();
        let count = 3 * SEGMENT + 5;
        for round in 0..2 {
            let mut buds = KVec::new();
            for seed in 0..count as u32 {
                buds.push(rig.put(LONG, seed)?, GFP_KERNEL)?;
            }
            rig.audit(0);
            for (seed, bud) in buds.iter().enumerate() {
                assert!(rig.holds(*bud, LONG, seed as u32));
            }
            let grown = 4 * size_of::<Segment>();
            assert_eq!(rig.zbud.metadata_bytes() - bare, grown);
            assert!(grown <= 4 * PAGE_SIZE);
            for (i, bud) in buds.iter().enumerate() {
                // Once in order, once from both ends.
                let bud = match (round, i % 2) {
                    (1, 1) => &buds[buds.len() - 1 - i / 2],
                    (1, _) => &buds[i / 2],
                    _ => bud,
                };
                rig.zbud.free(*bud);
            }
            assert_eq!(rig.zbud.stats().stale, 0);
            rig.empty();
        }
        Ok(())
    }

    #[test]
    fn counters() -> Result {
        let mut rig = Rig::new(100)?;
        rig.put(50 * CHUNK, 0)?;
        rig.put(50 * CHUNK - 1, 1)?;
        rig.put(40 * CHUNK, 2)?;
        rig.put(20 * CHUNK - 63, 3)?;
        let mut unbuddied = [0; CHUNKS];
        unbuddied[50] = 2;
        assert_eq!(rig.zbud.unbuddied_list_counts(), unbuddied);
        let mut cumul = [0; CHUNKS];
        cumul[50] = 2;
        cumul[40] = 1;
        cumul[20] = 1;
        assert_eq!(rig.zbud.cumul_chunk_counts(), cumul);
        rig.zbud.drop_spares();
        let bytes = (160 * CHUNK - 64) as u64;
        let stats = Stats {
            curr_raw_pages: 3,
            buddied_count: 1,
            curr_zpages: 4,
            curr_zbytes: bytes,
            cumul_zpages: 4,
            cumul_zbytes: bytes,
            ..Stats::default()
        };
        assert!(rig.zbud.stats() == stats);
        rig.zbud.shrink(usize::MAX, allow);
        let stats = Stats {
            cumul_zpages: 4,
            cumul_zbytes: bytes,
            evicted_raw_pages: 3,
            evicted_unbuddied_pages: 2,
            evicted_buddied_pages: 1,
            evicted_zpages: 4,
            ..Stats::default()
        };
        assert!(rig.zbud.stats() == stats);
        rig.empty();
        Ok(())
    }

    #[test]
    fn shrink_frees_whole_frames_until_satisfied() -> Result {
        let mut rig = Rig::new(100)?;
        for seed in 0..10 {
            rig.put(PAGE_SIZE / 2, seed)?;
        }
        rig.zbud.drop_spares();
        assert_eq!(rig.zbud.frames(), 5);
        assert!(
            rig.zbud.shrink(3, allow)
                == Evicted {
                    frames: 3,
                    pages: 6
                }
        );
        assert_eq!(rig.zbud.frames(), 2);
        assert!(rig.zbud.shrink(3, refuse) == Evicted::default());
        assert!(
            rig.zbud.shrink(9, allow)
                == Evicted {
                    frames: 2,
                    pages: 4
                }
        );
        rig.empty();
        Ok(())
    }

    /// A zbud that is dropped with buds in it frees them.
    #[test]
    fn drop_frees_everything() -> Result {
        // More than the guest has, all in all.
        for _ in 0..200 {
            let mut rig = Rig::new(1024)?;
            for seed in 0..1024 {
                rig.put(MAX_BUD, seed)?;
            }
        }
        Ok(())
    }

    /// Item 1: a get that raced the shrinker returned success with a page that was never filled.
    #[test]
    fn v2_bug_1_no_success_without_data() -> Result {
        let mut rig = Rig::new(32)?;
        let bud = rig.put(1000, 0)?;
        let mut seen = false;
        rig.zbud.evict(|_, bud| {
            rig.zbud.free(bud);
            check!(rig.zbud.with_data(bud, |_| seen = true).is_err());
            false
        });
        assert!(rig.zbud.with_data(bud, |_| seen = true).is_err());
        assert!(!seen);
        rig.empty();
        Ok(())
    }

    /// Item 2: asking how much could be freed evicted a frame.
    #[test]
    fn v2_bug_2_counting_evicts_nothing() -> Result {
        let mut rig = Rig::new(32)?;
        let bud = rig.put(1000, 0)?;
        let before = rig.zbud.stats();
        for _ in 0..10 {
            assert_eq!(rig.zbud.frames(), 1);
            assert!(rig.zbud.shrink(0, allow) == Evicted::default());
        }
        assert!(rig.zbud.stats() == before);
        assert!(rig.holds(bud, 1000, 0));
        Ok(())
    }

    /// Item 3: a frame with one bud of the largest size was never evicted.
    #[test]
    fn v2_bug_3_single_buds_of_all_sizes_are_evicted() -> Result {
        let mut rig = Rig::new(32)?;
        for len in 1..=MAX_BUD {
            let bud = rig.put(len, 0)?;
            assert!(
                rig.zbud.shrink(1, allow)
                    == Evicted {
                        frames: 1,
                        pages: 1
                    }
            );
            assert!(rig.gone(bud));
        }
        rig.empty();
        Ok(())
    }

    /// Item 4: two locks in changing order, and copies while both were held. Here every call can be
    /// made from within every callback; one under the lock would hang, and lockdep would tell.
    #[test]
    fn v2_bug_4_no_lock_is_held_around_callbacks() -> Result {
        let mut rig = Rig::new(32)?;
        let read = rig.put(LONG, 0)?;
        let data = [9; 100];
        let everything = || {
            // This alone tells on one CPU, if spinlocks are checked.
            check!(rig.zbud.lists.try_lock().is_some());
            let bud = rig.zbud.reserve(GFP_KERNEL).map_err(|_| ENOMEM)?;
            let bud = bud.create(&data, back(1)).map_err(|_| EINVAL)?;
            rig.zbud.get_ref(bud)?;
            rig.zbud.free(bud);
            rig.zbud.with_data(bud, |seen| check!(seen == &data[..]))?;
            rig.zbud.free(bud);
            rig.zbud.evict(refuse);
            rig.zbud.drop_spares();
            rig.zbud.stats();
            rig.zbud.room();
            drop(KBox::new(0, GFP_KERNEL)?);
            Ok::<(), Error>(())
        };
        rig.zbud.with_data(read, |_| everything())??;
        let mut calls = 0;
        rig.zbud.evict(|_, _| {
            check!(everything().is_ok());
            calls += 1;
            true
        });
        assert_eq!(calls, 1);
        rig.empty();
        Ok(())
    }

    /// Item 6: a pool was destroyed while a frame with pages of it was under eviction.
    #[test]
    fn v2_bug_6_pool_destroyed_under_eviction() -> Result {
        let mut rig = Rig::new(32)?;
        let buds = [rig.put(1000, 0)?, rig.put(1000, 1)?, rig.put(LONG, 2)?];
        let mut destroyed = false;
        let evicted = rig.zbud.evict(|_, _| {
            if !core::mem::replace(&mut destroyed, true) {
                for bud in buds {
                    rig.zbud.free(bud);
                }
            }
            // The index has nothing left to forget.
            false
        });
        assert!(
            evicted
                == Evicted {
                    frames: 1,
                    pages: 0
                }
        );
        assert_eq!(rig.zbud.stats().stale, 0);
        rig.empty();
        Ok(())
    }

    /// Item 12: a memory leak. Here: of no frame that goes, whichever way.
    #[test]
    fn v2_bug_12_no_frame_leaks() -> Result {
        const ROUNDS: usize = 5000;

        let mut rig = Rig::new(32)?;
        let before = free_pages();
        for _ in 0..ROUNDS {
            let bud = rig.put(LONG, 0)?;
            rig.zbud.free(bud);
            rig.put(LONG, 0)?;
            rig.zbud.evict(allow);
            let bud = rig.put(LONG, 0)?;
            let (one, two) = (rig.zbud.reserve(GFP_KERNEL), rig.zbud.reserve(GFP_KERNEL));
            assert!(one.is_ok() && two.is_ok());
            drop((one, two));
            rig.zbud.drop_spares();
            rig.zbud.with_data(bud, |_| rig.zbud.free(bud))?;
            drop(rig.zbud.reserve(GFP_KERNEL));
        }
        rig.empty();
        // A frame in each round, at the least, against whatever else goes on.
        assert!(before.saturating_sub(free_pages()) < ROUNDS / 2);
        Ok(())
    }

    /// Calls at random against a model that knows what must be in there.
    #[test]
    fn random_calls() -> Result {
        for seed in 1..=4 {
            random_run(seed, 20_000)?;
        }
        Ok(())
    }
}

/// Pages that the system has free.
fn free_pages() -> usize {
    let mut info = kernel::bindings::sysinfo::default();
    // SAFETY: `info` is a valid `struct sysinfo` to write to.
    unsafe { kernel::bindings::si_meminfo(&mut info) };
    info.freeram
}

/// What the model knows about one page.
struct Entry {
    bud: Bud,
    seed: u32,
    len: usize,
    /// References beyond the index entry's own.
    extra: u32,
    indexed: bool,
}

struct Model {
    entries: KVec<Entry>,
    random: u32,
}

impl Model {
    /// Marsaglia's xorshift.
    fn random(&mut self, below: u32) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random % below
    }

    /// What the index does when it is asked to forget. One time in eight it refuses.
    fn forget(&mut self, to: BackRef, bud: Bud) -> bool {
        if self.random(8) == 0 {
            return false;
        }
        let found = self
            .entries
            .iter()
            .position(|entry| entry.bud == bud && back(entry.seed) == to && entry.indexed);
        let Some(at) = found else {
            return false;
        };
        self.entries[at].indexed = false;
        if self.entries[at].extra == 0 {
            check!(self.entries.remove(at).is_ok());
        }
        true
    }

    fn pick(&mut self) -> Option<usize> {
        let count = self.entries.len() as u32;
        (count != 0).then(|| self.random(count) as usize)
    }
}

fn random_run(seed: u32, steps: u32) -> Result {
    const FRAMES: usize = 150;

    let mut rig = Rig::new(FRAMES)?;
    let mut model = Model {
        entries: KVec::new(),
        random: seed.wrapping_mul(0x9e37_79b1),
    };
    let mut puts = 0;
    let mut unheld = 0;
    for step in 0..steps {
        match model.random(16) {
            // Put, with or without a reservation, after an eviction where there is no other way.
            0..=6 => {
                let len = 1 + match model.random(4) {
                    0 => model.random(300),
                    _ => model.random(MAX_BUD as u32),
                } as usize;
                if model.random(16) == 0 {
                    rig.zbud.fail.store(1 + model.random(2), Relaxed);
                }
                rig.data(len, step);
                let bud = if model.random(8) == 0 {
                    let room = rig.zbud.room();
                    let bud = rig.put_in_hole(len, step).ok();
                    // Rounding to chunks lets no more in than `room` said, as that is whole chunks.
                    check!(bud.is_some() == (len <= room));
                    bud
                } else {
                    let reservation = match rig.zbud.reserve(GFP_KERNEL) {
                        Ok(reservation) => Some(reservation),
                        Err(_) => rig.zbud.reserve_oldest(|to, bud| model.forget(to, bud)),
                    };
                    match reservation {
                        Some(reservation) => {
                            let bud = reservation.create(&rig.data[..len], back(step));
                            check!(bud.is_ok());
                            bud.ok()
                        }
                        None => None,
                    }
                };
                rig.zbud.fail.store(0, Relaxed);
                if let Some(bud) = bud {
                    check!(model.entries.iter().all(|entry| entry.bud != bud));
                    let entry = Entry {
                        bud,
                        seed: step,
                        len,
                        extra: 0,
                        indexed: true,
                    };
                    model.entries.push(entry, GFP_KERNEL)?;
                    puts += 1;
                }
            }
            // Get: look, then give back the index entry's reference.
            7..=9 => {
                if let Some(at) = model.pick() {
                    let entry = &mut model.entries[at];
                    check!(rig.holds(entry.bud, entry.len, entry.seed));
                    if entry.indexed {
                        rig.zbud.free(entry.bud);
                        entry.indexed = false;
                    }
                    if entry.extra == 0 {
                        check!(model.entries.remove(at).is_ok());
                    }
                }
            }
            10..=11 => {
                if let Some(at) = model.pick() {
                    let entry = &mut model.entries[at];
                    rig.zbud.get_ref(entry.bud)?;
                    entry.extra += 1;
                }
            }
            12..=13 => {
                if let Some(at) = model.pick() {
                    let entry = &mut model.entries[at];
                    if entry.extra != 0 {
                        rig.zbud.free(entry.bud);
                        entry.extra -= 1;
                        if entry.extra == 0 && !entry.indexed {
                            check!(model.entries.remove(at).is_ok());
                        }
                    }
                }
            }
            14 => {
                let frames = model.random(4) as usize;
                let before = rig.zbud.frames();
                let done = rig.zbud.shrink(frames, |to, bud| model.forget(to, bud));
                check!(done.frames <= frames);
                check!(rig.zbud.frames() <= before - done.frames);
            }
            _ => match model.random(8) {
                0 => rig.zbud.set_limit(model.random(2 * FRAMES as u32) as usize),
                1 => rig.zbud.drop_spares(),
                _ => {
                    // A number at random: if it is no bud's, it must not become one's.
                    let bud = Bud::from_raw(model.random(4 * FRAMES as u32));
                    if model.entries.iter().all(|entry| entry.bud != bud) {
                        rig.zbud.free(bud);
                        check!(rig.gone(bud));
                        unheld += 2;
                    }
                }
            },
        }
        if step % 64 == 0 {
            rig.audit(0);
            for entry in &model.entries {
                check!(rig.holds(entry.bud, entry.len, entry.seed));
            }
            let stats = rig.zbud.stats();
            check!(stats.curr_zpages == model.entries.len() as u64);
            let bytes: usize = model.entries.iter().map(|entry| entry.len).sum();
            check!(stats.curr_zbytes == bytes as u64);
            check!(stats.cumul_zpages == puts);
            check!(stats.stale == unheld);
        }
    }
    check!(rig.zbud.stats().evicted_buddied_pages != 0);
    check!(rig.zbud.stats().failed_get_free_pages != 0);
    for entry in &model.entries {
        check!(rig.holds(entry.bud, entry.len, entry.seed));
        for _ in 0..entry.extra + u32::from(entry.indexed) {
            rig.zbud.free(entry.bud);
        }
    }
    check!(rig.zbud.stats().stale == unheld);
    rig.empty();
    Ok(())
}
