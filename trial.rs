// SPDX-License-Identifier: GPL-2.0

//! What was decided between, so that it can be measured again. Without `CONFIG_ZCACHE_TIMING` there
//! is no choice, and none of this in the driver.

/// How memory for puts is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gfp {
    /// As `policy.rs` says, for each side.
    Decided,
    /// As timidly for swapped pages as for file pages.
    #[cfg(CONFIG_ZCACHE_TIMING)]
    Timid,
    /// As rudely for file pages as for swapped pages.
    #[cfg(CONFIG_ZCACHE_TIMING)]
    Rude,
}

#[cfg(CONFIG_ZCACHE_TIMING)]
crate::setup::boot_word! {
    /// Nothing below the lowest watermark, for anybody.
    static TIMID: c"zcache_gfp_timid";
}
#[cfg(CONFIG_ZCACHE_TIMING)]
crate::setup::boot_word! {
    /// Half of what is below the lowest watermark, for everybody.
    static RUDE: c"zcache_gfp_rude";
}

/// How memory for puts is asked for now.
#[inline(always)]
pub(crate) fn gfp() -> Gfp {
    #[cfg(CONFIG_ZCACHE_TIMING)]
    match (TIMID.given(), RUDE.given()) {
        (true, false) => return Gfp::Timid,
        (false, true) => return Gfp::Rude,
        _ => {}
    }
    Gfp::Decided
}

#[cfg(CONFIG_ZCACHE_TIMING)]
crate::setup::boot_word! {
    /// No page follows its neighbours.
    static BY_PAGE: c"zcache_by_page";
}

/// Is each page judged for itself, as if there were no `clusters.rs`?
#[inline(always)]
pub(crate) fn by_page() -> bool {
    #[cfg(CONFIG_ZCACHE_TIMING)]
    return BY_PAGE.given();
    #[cfg(not(CONFIG_ZCACHE_TIMING))]
    false
}
