// SPDX-License-Identifier: GPL-2.0

//! KUnit suite of what becomes of one page.

use super::*;
use crate::test_pages::noisy;
use kernel::page::PAGE_SIZE;

const BACK: BackRef = BackRef {
    pool: PoolId(1),
    hash: 2,
    index: 3,
};

fn new_store(frames: usize) -> Result<Pin<KBox<Store>>> {
    KBox::try_pin_init(
        Store::new(
            Policy::new(frames * 100, Percent::files(1)),
            |_, _| true,
            || usize::MAX,
            || Mode::Off,
        ),
        GFP_KERNEL,
    )
}

fn page(make: impl Fn(usize) -> u8) -> Result<KBox<PageBytes>> {
    let mut page = KBox::<PageBytes>::new(pin_init::zeroed(), GFP_KERNEL)?;
    for (place, byte) in page.iter_mut().enumerate() {
        *byte = make(place);
    }
    Ok(page)
}

/// Bytes that LZO cannot shrink.
fn noise(seed: u32) -> Result<KBox<PageBytes>> {
    noisy(seed, PAGE_SIZE)
}

/// Bytes of which `random` are noise.
fn mixed(seed: u32, random: usize) -> Result<KBox<PageBytes>> {
    let mut page = noise(seed)?;
    page.get_mut(random..).ok_or(EINVAL)?.fill(b'a');
    Ok(page)
}

#[kernel::macros::kunit_tests(zcache_store)]
mod suite {
    use super::*;

    #[test]
    fn pages_come_back_as_they_were() -> Result {
        let store = new_store(100)?;
        let mut out = page(|_| 0xff)?;
        for random in [1, 100, 1000, 2000, 3000] {
            let data = mixed(7, random)?;
            let handle = store.create(Kind::Ephemeral, &data, BACK)?;
            store.get_data(Kind::Ephemeral, handle, &mut out)?;
            assert!(*out == *data);
            store.free(Kind::Ephemeral, handle);
        }
        assert_eq!(store.zbud().frames(), 0);
        assert_eq!(store.stats().corrupt.get(), 0);
        Ok(())
    }

    #[test]
    fn repeated_words_take_no_frame() -> Result {
        let store = new_store(1600)?;
        let mut out = page(|_| 1)?;
        for word in [0, 1, u32::MAX, 0x8000_0000, 0xdead_beef] {
            let bytes = u32::to_ne_bytes(word);
            let data = page(|place| bytes[place % 4])?;
            let handle = store.create(Kind::Ephemeral, &data, BACK)?;
            assert_eq!(store.zbud().frames(), 0);
            store.get_ref(Kind::Ephemeral, handle)?;
            assert_eq!(store.stats().same_filled.get(), 2);
            store.free(Kind::Ephemeral, handle);
            store.get_data(Kind::Ephemeral, handle, &mut out)?;
            assert!(*out == *data);
            store.free(Kind::Ephemeral, handle);
            assert_eq!(store.stats().same_filled.get(), 0);
        }
        Ok(())
    }

    #[test]
    fn one_byte_off_is_not_same_filled() -> Result {
        for place in [0, 1, 3, 4, 2048, PAGE_SIZE - 4, PAGE_SIZE - 1] {
            let data = page(|at| u8::from(at == place))?;
            assert_eq!(codec::same_filled(&data), None);
        }
        Ok(())
    }

    #[test]
    fn repeated_words_are_bounded() -> Result {
        let store = new_store(32)?;
        let zeroes = page(|_| 0)?;
        for _ in 0..2 {
            store.create(Kind::Ephemeral, &zeroes, BACK)?;
        }
        let result = store.create(Kind::Ephemeral, &zeroes, BACK);
        assert_eq!(result.err(), Some(ENOSPC));
        assert_eq!(store.stats().full.get(), 1);
        Ok(())
    }

    #[test]
    fn noise_is_refused_and_counted() -> Result {
        let store = new_store(100)?;
        let result = store.create(Kind::Ephemeral, &*noise(3)?, BACK);
        assert_eq!(result.err(), Some(E2BIG));
        assert_eq!(store.stats().poor.get(), 1);
        assert_eq!(store.zbud().stats().curr_zpages, 0);
        Ok(())
    }

    #[test]
    fn corrupt_streams_are_errors() -> Result {
        let store = new_store(100)?;
        let data = mixed(5, 900)?;
        let mut out = page(|_| 0)?;
        let mut wrong = 0;
        // Streams that end early, one that makes two pages, one that is no stream at all.
        let streams = store
            .codec
            .compress(&data, PAGE_SIZE, |stream| {
                let mut streams = KVec::<KVec<u8>>::new();
                for len in [1, 2, 100, stream.len() - 1] {
                    let mut cut = KVec::new();
                    cut.extend_from_slice(&stream[..len], GFP_KERNEL)?;
                    streams.push(cut, GFP_KERNEL)?;
                }
                let mut longer = KVec::new();
                longer.extend_from_slice(stream, GFP_KERNEL)?;
                longer.extend_from_slice(stream, GFP_KERNEL)?;
                streams.push(longer, GFP_KERNEL)?;
                Ok::<_, Error>(streams)
            })
            .ok_or(EINVAL)??;
        for stream in streams.iter() {
            let bud = store.zbud.create(stream, BACK);
            let bud = match bud {
                Ok(bud) => bud,
                Err(_) => store
                    .zbud
                    .reserve(GFP_KERNEL)
                    .map_err(|_| ENOMEM)?
                    .create(stream, BACK)
                    .map_err(|_| EINVAL)?,
            };
            let handle = Form::Bud(bud, None).handle();
            let result = store.get_data(Kind::Ephemeral, handle, &mut out);
            assert_eq!(result.err(), Some(EIO));
            store.free(Kind::Ephemeral, handle);
            wrong += 1;
        }
        assert_eq!(store.stats().corrupt.get(), wrong);
        assert_eq!(store.zbud().frames(), 0);
        Ok(())
    }

    #[test]
    fn full_store_refuses_most_and_replaces_some() -> Result {
        const FRAMES: usize = 16;
        let store = new_store(FRAMES)?;
        let mut stored = 0;
        // Each of them takes more than half a frame.
        for seed in 0..1000 {
            if store
                .create(Kind::Ephemeral, &*mixed(seed, 2500)?, BACK)
                .is_ok()
            {
                stored += 1;
            }
            assert!(store.zbud().frames() <= FRAMES);
        }
        let stats = store.zbud().stats();
        assert_eq!(stats.curr_zpages, FRAMES as u64);
        assert!(stats.evicted_raw_pages > 0);
        assert_eq!(stored, FRAMES as u64 + stats.evicted_zpages);
        assert_eq!(store.stats().full.get(), 1000 - stored);
        Ok(())
    }

    #[test]
    fn shrink_gives_all_back() -> Result {
        let store = new_store(64)?;
        for seed in 0..64 {
            store.create(Kind::Ephemeral, &*mixed(seed, 2500)?, BACK)?;
        }
        assert_eq!(store.surplus(), 0);
        assert_eq!(store.shrink(10), 10);
        assert_eq!(store.zbud().frames(), 54);
        assert_eq!(store.shrink(usize::MAX), 54);
        assert_eq!(store.zbud().frames(), 0);
        Ok(())
    }
}
