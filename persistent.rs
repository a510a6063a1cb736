// SPDX-License-Identifier: GPL-2.0

//! The persistent side of the store: swapped-out pages.
//!
//! ```text
//! page --same word throughout?--> the handle itself
//!      --like noise? (`noise.rs`)--> refused
//!      --LZO1X--> xvmalloc
//! ```
//!
//! Differs from the ephemeral side in what a failure means. What is stored must come back, and
//! nothing is evicted to make room; so a page for which there is none is refused, and the kernel
//! writes it to the swap device. The kernel asks for pages that are here, to write them there as
//! well, when no slot or no memory is left. Stored data that cannot be read is an error, never a
//! miss: the swap device has older data in that place, or none.

use kernel::prelude::*;

use crate::{
    codec::{
        self,
        Codec, //
    },
    frame::Frame,
    limit::{
        Limit,
        Room, //
    },
    noise::looks_like_noise,
    policy,
    store::Count,
    tmem::{
        Handle,
        PageBytes, //
    },
    tunables::Tunables,
    xvmalloc::{
        Parcel,
        Source,
        Xvmalloc, //
    },
};

/// Where frames are out, a page is compressed only if there is a hole for this many bytes: half of
/// the pages of programs need less.
const MIN_HOLE: usize = 1024;

/// Frames to have ready: reclaim takes 32 pages at a time, which need 16 at the most if they shrink
/// to half.
const READY: u32 = 16;

/// What a handle says.
enum Form {
    /// The page repeats this word.
    Same(u32),
    /// The page is a stream in xvmalloc.
    Parcel(Parcel),
}

// A handle has one bit more than what it stands for.
static_assert!(Parcel::BITS < u64::BITS);

impl Form {
    fn handle(self) -> Handle {
        Handle(match self {
            Form::Same(word) => u64::from(word) << 1 | 1,
            Form::Parcel(parcel) => parcel.to_raw() << 1,
        })
    }

    fn of(handle: Handle) -> Self {
        let value = handle.0 >> 1;
        if handle.0 & 1 == 1 {
            // CAST: Only the lower half was ever set.
            Form::Same(value as u32)
        } else {
            Form::Parcel(Parcel::from_raw(value))
        }
    }
}

/// What is stored, and counts since boot of what was not.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    /// Pages in frames, now.
    pub(crate) pages: u64,
    /// Pages that repeat a word, now. They take no frame.
    pub(crate) same_filled: u64,
    /// Frames, now; those included that wait for a put.
    pub(crate) frames: u64,
    /// Bytes of compressed pages in them, now.
    pub(crate) bytes: u64,
    /// Bytes of the holes between them, now.
    pub(crate) hole_bytes: u64,
    /// Pages that lie in two pieces, now.
    pub(crate) split: u64,
    /// Pages ever stored in frames.
    pub(crate) ever_pages: u64,
    /// Bytes of these.
    pub(crate) ever_bytes: u64,
    /// Memory besides the frames, in bytes, without the codec's.
    pub(crate) metadata_bytes: u64,
    /// Frames ever emptied by moving pages, to give them back.
    pub(crate) compacted: u64,
    /// Pages refused because they did not shrink enough.
    pub(crate) poor: u64,
    /// Pages refused because there was no room.
    pub(crate) full: u64,
    /// Pages refused as the others are too long on average, see [`Tunables::too_long`].
    pub(crate) mean_poor: u64,
    /// Pages refused as there are too many, see [`Tunables::too_many`].
    pub(crate) too_many: u64,
    /// Frames that the system refused.
    pub(crate) failed_get_free_pages: u64,
    /// Records that the system refused.
    pub(crate) failed_alloc: u64,
    /// Frames that were taken from the ephemeral side.
    pub(crate) taken: u64,
    /// Pages that could not be read back.
    pub(crate) corrupt: u64,
    /// Handles that stood for no page: each one is a bug.
    pub(crate) stale: u64,
}

/// The persistent side.
#[pin_data]
pub(crate) struct Persistent {
    #[pin]
    xvmalloc: Xvmalloc,
    limit: Limit,
    tunables: Tunables,
    /// Pages of memory of the system.
    ram: usize,
    same_filled: Count,
    poor: Count,
    full: Count,
    mean_poor: Count,
    too_many: Count,
    taken: Count,
    corrupt: Count,
}

impl Persistent {
    /// Makes an empty one for at most `limit` frames, of `ram` that the system has. May sleep.
    pub(crate) fn new(ram: usize, limit: usize) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            xvmalloc <- Xvmalloc::new(limit),
            limit: Limit::new(limit),
            tunables: Tunables::new(),
            ram,
            same_filled: Count::default(),
            poor: Count::default(),
            full: Count::default(),
            mean_poor: Count::default(),
            too_many: Count::default(),
            taken: Count::default(),
            corrupt: Count::default(),
        })
    }

    /// The allocator, for its counters.
    pub(crate) fn xvmalloc(&self) -> &Xvmalloc {
        &self.xvmalloc
    }

    /// All counters. Those of the allocator belong to one moment.
    pub(crate) fn stats(&self) -> Stats {
        let stats = self.xvmalloc.stats();
        Stats {
            pages: stats.pages,
            same_filled: self.same_filled.get(),
            frames: stats.frames,
            bytes: stats.bytes,
            hole_bytes: stats.hole_bytes,
            split: stats.split,
            compacted: stats.compacted,
            ever_pages: stats.ever_pages,
            ever_bytes: stats.ever_bytes,
            // CAST: A `usize` fits 64 bits.
            metadata_bytes: self.xvmalloc.metadata_bytes() as u64,
            poor: self.poor.get(),
            full: self.full.get(),
            mean_poor: self.mean_poor.get(),
            too_many: self.too_many.get(),
            failed_get_free_pages: stats.failed_get_free_pages,
            failed_alloc: stats.failed_alloc,
            taken: self.taken.get(),
            corrupt: self.corrupt.get(),
            stale: stats.stale,
        }
    }

    /// What root may set.
    pub(crate) fn tunables(&self) -> &Tunables {
        &self.tunables
    }

    /// The most frames.
    pub(crate) fn limit(&self) -> usize {
        self.limit.frames()
    }

    /// Allows so many frames from now on. If more are held, they stay, and nothing is stored until
    /// their pages were wanted back. May sleep. Fails with [`ENOMEM`], and nothing has changed
    /// then.
    pub(crate) fn set_limit(&self, frames: usize) -> Result {
        self.xvmalloc.set_limit(frames)?;
        self.limit.set(frames);
        Ok(())
    }

    /// Frames that are held above the limit.
    pub(crate) fn over(&self) -> usize {
        self.xvmalloc.frames().saturating_sub(self.limit())
    }

    /// Stores a page. `other` is asked for a frame when the system has none, and before it if there
    /// is a `crowd`: then as many frames are held on both sides as may be. May sleep.
    ///
    /// Fails with [`E2BIG`] if the page does not shrink enough, with [`ENOSPC`] if there is no
    /// room. The tunables refuse pages with these as well.
    pub(crate) fn create(
        &self,
        codec: &Codec,
        page: &PageBytes,
        crowd: bool,
        other: impl FnOnce() -> Option<Frame>,
    ) -> Result<Handle> {
        if let Some(word) = codec::same_filled(page) {
            self.same_filled.add(1);
            return Ok(Form::Same(word).handle());
        }
        if self.tunables.too_many(self.ram, || self.xvmalloc.held().0) {
            self.too_many.add(1);
            return Err(ENOSPC);
        }
        if looks_like_noise(page) {
            self.poor.add(1);
            return Err(E2BIG);
        }
        let counted = || other().inspect(|_| self.taken.add(1));
        let source = match self.limit.room(self.xvmalloc.frames()) {
            Room::Frame if crowd => Source::Other,
            Room::Frame => Source::System,
            Room::Hole => Source::None,
            Room::Nothing => {
                self.full.add(1);
                return Err(ENOSPC);
            }
        };
        let longest = self.tunables.longest();
        let reserved = self.xvmalloc.reserve(policy::swap_flags(), source, counted);
        let (reservation, limit) = match reserved {
            Ok(reservation) => (reservation, longest),
            Err(_) => {
                let limit = self.xvmalloc.room().min(longest);
                let hole = match limit {
                    MIN_HOLE.. => self.xvmalloc.reserve_hole(policy::swap_flags()).ok(),
                    _ => None,
                };
                (hole.ok_or(ENOSPC).inspect_err(|_| self.full.add(1))?, limit)
            }
        };
        let created = codec.compress(page, limit, |stream| {
            if self
                .tunables
                .too_long(stream.len(), || self.xvmalloc.held())
            {
                return Err(None);
            }
            reservation.create(stream).map_err(Some)
        });
        match created {
            Some(Ok(parcel)) => Ok(Form::Parcel(parcel).handle()),
            Some(Err(None)) => {
                self.mean_poor.add(1);
                Err(E2BIG)
            }
            // Too long for anything.
            None if limit == longest => {
                self.poor.add(1);
                Err(E2BIG)
            }
            // Too long for what was left, or another put was faster.
            _ => {
                self.full.add(1);
                Err(ENOSPC)
            }
        }
    }

    /// Takes one more reference. May be called under a spinlock. Errors as
    /// [`Xvmalloc::get_ref`].
    pub(crate) fn get_ref(&self, handle: Handle) -> Result {
        match Form::of(handle) {
            Form::Same(_) => {
                // A copy of the handle is a copy of the page.
                self.same_filled.add(1);
                Ok(())
            }
            Form::Parcel(parcel) => self.xvmalloc.get_ref(parcel),
        }
    }

    /// Fills `page` from a stored one. Any error means that it cannot be read. May sleep.
    pub(crate) fn get_data(&self, codec: &Codec, handle: Handle, page: &mut PageBytes) -> Result {
        let parcel = match Form::of(handle) {
            Form::Same(word) => {
                codec::fill(page, word);
                return Ok(());
            }
            Form::Parcel(parcel) => parcel,
        };
        self.xvmalloc
            .with_data(parcel, |head, rest| match rest {
                [] => codec::decompress(head, page),
                rest => codec.decompress_pieces(head, rest, page),
            })
            .and_then(|decompressed| decompressed)
            .inspect_err(|_| self.corrupt.add(1))
    }

    /// Gives back one reference; the last one frees the page. Never sleeps; interrupts may be off.
    pub(crate) fn free(&self, handle: Handle) {
        match Form::of(handle) {
            Form::Same(_) => self.same_filled.sub(1),
            Form::Parcel(parcel) => self.xvmalloc.free(parcel),
        }
    }

    /// Frames that [`Persistent::shrink`] may give back. No side effects; does not sleep.
    pub(crate) fn surplus(&self) -> usize {
        self.xvmalloc.compactable()
    }

    /// Gives up to `frames` frames back without losing a page, and returns how many, besides the
    /// few that wait for puts. Does not sleep or allocate.
    pub(crate) fn shrink(&self, frames: usize) -> usize {
        self.xvmalloc.drop_spares();
        self.xvmalloc.compact(frames)
    }

    /// Allocates a few frames for puts to come. To be called by those who swap in, and so have just
    /// found memory: a batch of reclaim then need not take it all from what is left in need.
    pub(crate) fn top_up(&self) {
        let ready = policy::ahead(self.limit()).min(READY);
        self.xvmalloc.set_keep(ready);
        if self.limit.room(self.xvmalloc.frames()) == Room::Frame {
            self.xvmalloc.top_up(ready, ready, policy::put_flags());
        }
    }
}

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
#[kernel::macros::kunit_tests(zcache_persistent)]
mod tests {
    use super::*;
    use crate::{
        policy::{
            Percent,
            Policy, //
        },
        store::Store,
        tmem::{
            BackRef,
            Kind,
            Pam,
            PoolId, //
        },
        xvmalloc, //
    };
    use kernel::page::PAGE_SIZE;

    const BACK: BackRef = BackRef {
        pool: PoolId(1),
        hash: 2,
        index: 3,
    };

    /// A store with room for so many frames on each side.
    fn new_store(frames: usize) -> Result<Pin<KBox<Store>>> {
        let ram = frames * 100;
        KBox::try_pin_init(
            Store::new(
                Policy::new(ram, Percent::files(1).and_persistent(1)),
                |_, _| true,
                || usize::MAX,
                || crate::dedup::Mode::Off,
            ),
            GFP_KERNEL,
        )
    }

    fn stats(store: &Store) -> Stats {
        store.persistent().stats()
    }

    /// A page of which the first `random` bytes do not shrink.
    fn page(seed: u32, random: usize) -> Result<KBox<PageBytes>> {
        let mut page = KBox::<PageBytes>::new(pin_init::zeroed(), GFP_KERNEL)?;
        let mut state = seed;
        for (place, byte) in page.iter_mut().enumerate() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = match place < random {
                // CAST: The upper byte, which is the random one.
                true => (state >> 24) as u8,
                false => b'a',
            };
        }
        Ok(page)
    }

    fn put(store: &Store, page: &PageBytes) -> Result<Handle> {
        store.create(Kind::Persistent, page, BACK)
    }

    fn is(store: &Store, handle: Handle, page: &PageBytes) -> Result<bool> {
        let mut out = KBox::<PageBytes>::new(pin_init::zeroed(), GFP_KERNEL)?;
        store.get_data(Kind::Persistent, handle, &mut out)?;
        Ok(*out == *page)
    }

    #[test]
    fn pages_come_back_as_they_were() -> Result {
        let store = new_store(100)?;
        let mut kept = KVec::new();
        for seed in 0..60 {
            let page = page(seed, 1 + seed as usize * 173 % 3000)?;
            let handle = put(&store, &page)?;
            kept.push((handle, page), GFP_KERNEL)?;
        }
        // In one piece and in two.
        let stored = stats(&store);
        assert_eq!(stored.pages, 60);
        assert!(stored.split > 10 && stored.split < 50);
        assert!(stored.bytes * 100 > stored.frames * PAGE_SIZE as u64 * 90);
        assert!(stored.metadata_bytes > 0);
        assert_eq!(store.zbud().frames(), 0);
        for (handle, page) in kept.iter() {
            assert!(is(&store, *handle, page)?);
        }
        for (handle, page) in kept.iter() {
            // The data lives as long as one reference does.
            store.get_ref(Kind::Persistent, *handle)?;
            store.free(Kind::Persistent, *handle);
            assert!(is(&store, *handle, page)?);
            store.free(Kind::Persistent, *handle);
            assert!(is(&store, *handle, page).is_err());
        }
        let left = stats(&store);
        assert_eq!((left.pages, left.bytes, left.frames), (0, 0, 0));
        assert_eq!(left.stale, 60);
        Ok(())
    }

    #[test]
    fn repeated_words_take_no_frame() -> Result {
        let store = new_store(100)?;
        for word in [0, 1, u32::MAX, 0x8000_0000, 0xdead_beef] {
            let mut page = page(0, 0)?;
            codec::fill(&mut page, word);
            let handle = put(&store, &page)?;
            store.get_ref(Kind::Persistent, handle)?;
            assert_eq!(stats(&store).same_filled, 2);
            assert_eq!(stats(&store).frames, 0);
            store.free(Kind::Persistent, handle);
            assert!(is(&store, handle, &page)?);
            store.free(Kind::Persistent, handle);
            assert_eq!(stats(&store).same_filled, 0);
        }
        // The ephemeral side's count is its own.
        assert_eq!(store.stats().same_filled.get(), 0);
        Ok(())
    }

    #[test]
    fn noise_is_refused_and_counted() -> Result {
        let store = new_store(100)?;
        for random in [PAGE_SIZE, 3700] {
            assert_eq!(put(&store, &*page(3, random)?).err(), Some(E2BIG));
        }
        let stats = stats(&store);
        assert_eq!((stats.poor, stats.full), (2, 0));
        assert_eq!((stats.pages, stats.frames), (0, 0));
        Ok(())
    }

    #[test]
    fn full_store_refuses() -> Result {
        const FRAMES: usize = 16;
        let store = new_store(FRAMES)?;
        let mut kept = KVec::new();
        let mut refused = 0;
        for seed in 0..100 {
            let page = page(seed, 2500)?;
            match put(&store, &page) {
                Ok(handle) => kept.push((handle, page), GFP_KERNEL)?,
                Err(error) => {
                    assert!(error == ENOSPC);
                    refused += 1;
                }
            }
        }
        let full = stats(&store);
        assert_eq!(full.frames, FRAMES as u64);
        assert_eq!((full.full, full.poor), (refused, 0));
        // Nothing of the frames is left over that would have taken one more.
        assert!(full.bytes > FRAMES as u64 * PAGE_SIZE as u64 - 2700);
        for (handle, page) in kept.iter() {
            assert!(is(&store, *handle, page)?);
        }
        // One that goes makes room for one.
        let (handle, page) = kept.pop().ok_or(EINVAL)?;
        store.free(Kind::Persistent, handle);
        let handle = put(&store, &page)?;
        assert!(is(&store, handle, &page)?);
        Ok(())
    }

    /// The system has no frame: the ephemeral side gives its spare one, then an old one; when it
    /// has none either, holes are left, and then the page is refused.
    #[test]
    fn frames_of_the_ephemeral_side() -> Result {
        let store = new_store(100)?;
        let xv = store.persistent().xvmalloc();
        for seed in 0..3 {
            store.create(Kind::Ephemeral, &*page(seed, 2500)?, BACK)?;
        }
        store.zbud().drop_spares();
        let mut kept = KVec::new();
        for seed in 0..3 {
            xv.drop_spares();
            xv.fail_after(1);
            let page = page(seed, 3200)?;
            let handle = put(&store, &page)?;
            kept.push((handle, page), GFP_KERNEL)?;
            let taken = u64::from(seed) + 1;
            assert_eq!(stats(&store).taken, taken);
            assert_eq!(store.zbud().frames() as u64, 3 - taken);
            assert_eq!(store.zbud().stats().evicted_zpages, taken);
        }
        xv.drop_spares();
        xv.fail_after(1);
        let small = page(9, 800)?;
        let handle = put(&store, &small)?;
        kept.push((handle, small), GFP_KERNEL)?;
        xv.fail_after(1);
        assert_eq!(put(&store, &*page(10, 3200)?).err(), Some(ENOSPC));
        assert_eq!(stats(&store).full, 1);
        assert_eq!(stats(&store).failed_get_free_pages, 5);
        for (handle, page) in kept.iter() {
            assert!(is(&store, *handle, page)?);
            store.free(Kind::Persistent, *handle);
        }
        assert_eq!(stats(&store).frames, 0);
        Ok(())
    }

    /// Records that cannot be had refuse the page, and nothing is lost.
    #[test]
    fn allocation_failures() -> Result {
        for allocation in [1, 2, 3] {
            let store = new_store(100)?;
            let xv = store.persistent().xvmalloc();
            let page = page(1, 1000)?;
            xv.fail_after(allocation);
            assert_eq!(put(&store, &page).err(), Some(ENOSPC));
            let refused = stats(&store);
            assert_eq!((refused.full, refused.frames, refused.pages), (1, 0, 0));
            let handle = put(&store, &page)?;
            assert!(is(&store, handle, &page)?);
        }
        Ok(())
    }

    /// What is stored is not what a page was compressed to: an error each time it is read, and the
    /// page stays. Also for a stream in two pieces.
    #[test]
    fn corrupt_streams_are_errors() -> Result {
        let store = new_store(100)?;
        let xv = store.persistent().xvmalloc();
        let mut out = page(0, 0)?;
        let mut wrong = 0;
        let mut noise = page(7, PAGE_SIZE)?;
        // A stream never starts with an instruction that looks back.
        noise[0] = 0xff;
        for len in [
            1,
            2,
            3,
            100,
            1500,
            xvmalloc::MAX_PARCEL,
            xvmalloc::MAX_PARCEL,
        ] {
            let reservation = xv
                .reserve(GFP_KERNEL, Source::System, || None)
                .map_err(|_| ENOMEM)?;
            let parcel = reservation.create(&noise[..len]).map_err(|_| EINVAL)?;
            let handle = Form::Parcel(parcel).handle();
            for _ in 0..2 {
                let result = store.get_data(Kind::Persistent, handle, &mut out);
                assert_eq!(result.err(), Some(EIO));
                wrong += 1;
            }
        }
        let stats = stats(&store);
        assert!(stats.split >= 1);
        assert_eq!((stats.corrupt, stats.pages, stats.stale), (wrong, 7, 0));
        Ok(())
    }

    /// Handles of the ephemeral side, and any others: refused.
    #[test]
    fn hostile_handles() -> Result {
        let store = new_store(100)?;
        let kept = page(1, 1000)?;
        let handle = put(&store, &kept)?;
        let bud = store.create(Kind::Ephemeral, &*page(2, 1000)?, BACK)?;
        let mut out = page(0, 0)?;
        let mut stale = 0;
        for shift in 1..=Parcel::BITS {
            for handle in [handle.0 ^ 1 << shift, bud.0 ^ 1 << shift, !1 << shift & !1] {
                let wrong = Handle(handle);
                assert!(store.get_data(Kind::Persistent, wrong, &mut out).is_err());
                assert!(store.get_ref(Kind::Persistent, wrong).is_err());
                store.free(Kind::Persistent, wrong);
                stale += 3;
            }
        }
        assert_eq!(stats(&store).stale, stale);
        assert!(is(&store, handle, &kept)?);
        assert_eq!(store.zbud().stats().stale, 0);
        Ok(())
    }

    /// The ephemeral side has what is left of what both may take together.
    #[test]
    fn persistent_pages_come_first() -> Result {
        let store: Pin<KBox<Store>> = KBox::try_pin_init(
            Store::new(
                Policy::new(200, Percent::files(80)),
                |_, _| true,
                || usize::MAX,
                || crate::dedup::Mode::Off,
            ),
            GFP_KERNEL,
        )?;
        assert_eq!(store.allowed(), 160);
        let mut handles = KVec::new();
        for seed in 0..100 {
            handles.push(put(&store, &*page(seed, 3000)?)?, GFP_KERNEL)?;
        }
        let frames = stats(&store).frames as usize;
        assert!(frames > 70 && store.allowed() == 180 - frames);
        for handle in handles {
            store.free(Kind::Persistent, handle);
        }
        assert_eq!(store.allowed(), 160);
        Ok(())
    }
}
