// SPDX-License-Identifier: GPL-2.0

//! Swapped pages that most likely do not shrink, by a look at a few bytes.
//!
//! To find out with the codec takes room for the longest stream first, and then all of the page. A
//! put that was refused for it took 1.06 to 1.18 us, and takes 0.36 to 0.49 with this look in front
//! (three guests each, a program with noise of 1.3 times the RAM).
//!
//! Of file pages the same is known of their files, see `poor.rs`.

use kernel::page::PAGE_SIZE;

use crate::tmem::PageBytes;

/// Places in a page that are looked at.
const PLACES: usize = 8;

/// Bytes that are looked at in each place.
const BYTES: usize = 16;

/// Of so many different values on, of 128 bytes, a page looks like noise.
///
/// Noise has 101 of them in the mean, with a standard deviation of 3.7: of its pages, one in thirty
/// has less by calculation, and goes to the codec. In an earlier trial, whose bound was not written
/// down, 43 of 37048 pages of programs that shrink enough looked like noise; with this bound they
/// were not counted. What shrinks only because longer pieces repeat looks like noise, too.
const VALUES: u32 = 94;

/// Does a page look like noise? Does not sleep.
pub(crate) fn looks_like_noise(page: &PageBytes) -> bool {
    // One bit for each value of a byte.
    let mut seen = [0u64; 4];
    for part in page.chunks_exact(PAGE_SIZE / PLACES) {
        // From the middle: many things begin with a header.
        for byte in part.iter().skip(PAGE_SIZE / PLACES / 2).take(BYTES) {
            // PANIC: A quarter of 256 values each, in four words.
            seen[usize::from(byte / 64)] |= 1 << (byte % 64);
        }
    }
    let values: u32 = seen.iter().map(|word| word.count_ones()).sum();
    values >= VALUES
}

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
#[kernel::macros::kunit_tests(zcache_noise)]
mod tests {
    use super::*;
    use crate::test_pages::noisy as page;
    use kernel::prelude::*;

    #[test]
    fn noise_is_known() -> Result {
        let mut known = 0;
        for seed in 0..1000 {
            known += u32::from(looks_like_noise(&*page(seed, PAGE_SIZE)?));
        }
        assert!(known > 900);
        Ok(())
    }

    /// 96 bytes cannot have 94 values by chance, or next to never.
    #[test]
    fn three_quarters_of_noise_are_not() -> Result {
        let mut known = 0;
        for seed in 0..1000 {
            known += u32::from(looks_like_noise(&*page(seed, PAGE_SIZE * 3 / 4)?));
        }
        assert_eq!(known, 0);
        Ok(())
    }

    #[test]
    fn what_has_few_values_is_not() -> Result {
        let mut page = page(1, PAGE_SIZE)?;
        for byte in page.iter_mut() {
            *byte %= 93;
        }
        assert!(!looks_like_noise(&page));
        page.fill(0xff);
        assert!(!looks_like_noise(&page));
        Ok(())
    }

    /// The limit of the method: pages that shrink by nearly half, and are refused.
    #[test]
    fn noise_twice_is_taken_for_noise() -> Result {
        let mut known = 0;
        for seed in 0..100 {
            let mut page = page(seed, PAGE_SIZE)?;
            // Not by a multiple of the distance of the places, or each is seen twice.
            page.copy_within(..PAGE_SIZE / 2 - BYTES, PAGE_SIZE / 2 + BYTES);
            known += u32::from(looks_like_noise(&page));
        }
        assert!(known > 80);
        Ok(())
    }
}
