// SPDX-License-Identifier: GPL-2.0

//! zcache: a compressed page cache.
//!
//! When memory is short, the kernel drops clean file pages and reads them again from the disk
//! when they are needed; and it writes pages of programs to a swap device. zcache keeps both in
//! memory, compressed. It gives the memory of file pages back when something else needs it.
//!
//! ```text
//! reclaim, reads, truncation, umount        (the kernel's cleancache hooks)
//!   -> cleancache  rust/cleancache.rs       the hooks as a trait
//! swap-out, swap-in, slots becoming free    (the kernel's frontswap hooks)
//!   -> frontswap   rust/frontswap.rs        the hooks as a trait
//!   -> System      this file                which pool, which page
//!   -> Tmem        tmem.rs                  (pool, object, index) -> handle
//!   -> Store       store.rs                 handle -> bytes: same-filled, or
//!                    dedup.rs               equal to what is here, or
//!                    codec.rs               compressed with rust/lzo
//!                    policy.rs              if there is room: limits, admission
//!                      history.rs           how often each page was put of late
//!                      clusters.rs          neighbours in a file share their fate (files.rs)
//!                      poor.rs              files whose pages do not shrink
//!                      stream.rs            files whose pages are not wanted again (files.rs)
//!                    zbud.rs                in one half of a frame (file pages)
//!                    persistent.rs          if limit.rs and tunables.rs allow it
//!                      xvmalloc.rs          anywhere in one frame or two (swapped pages)
//! memory pressure -> shrinker -> Store -> zbud: oldest frame -> Tmem forgets its pages
//! no swap slot left, or no memory -> mm/frontswap.c -> Tmem: swapped pages go to their slots
//! who switches -> rust/param.rs -> halves.rs: which half is on
//! who looks  -> sysfs.rs, pools.rs, observe.rs: counters, a list of pools, times, trace events
//! ```
//!
//! Nothing happens without the boot word `zcache`.

// Without its hooks, what is there for the swap half has no user.
#![cfg_attr(not(CONFIG_FRONTSWAP), allow(dead_code))]

use core::num::NonZeroU64;

use kernel::{
    bindings,
    page::PAGE_SIZE,
    prelude::*,
    sync::SetOnce,
    ThisModule, //
};

use crate::{
    dedup::Mode,
    folio::FolioPage,
    frontswap::Slot,
    halves::{
        Half,
        Switch, //
    },
    param::{
        choice,
        number,
        Choice,
        Number,
        Parameter, //
    },
    policy::{
        Admission,
        Percent,
        Policy, //
    },
    setup::boot_word,
    store::{
        Count,
        Store, //
    },
    tmem::{
        ClientId,
        Group,
        Kind,
        Label,
        Oid,
        PoolId,
        Tmem, //
    },
    trace::{
        Flush,
        Page, //
    }, //
};

#[path = "rust/cleancache.rs"]
mod cleancache;
mod clusters;
mod codec;
mod dedup;
mod files;
#[path = "rust/folio.rs"]
mod folio;
#[path = "rust/frame.rs"]
mod frame;
#[path = "rust/frontswap.rs"]
mod frontswap;
#[path = "rust/given.rs"]
mod given;
mod halves;
mod history;
#[path = "rust/kobject.rs"]
mod kobject;
mod limit;
#[path = "rust/lzo/src/lzo1x.rs"]
mod lzo;
mod noise;
mod observe;
#[path = "rust/oom.rs"]
mod oom;
#[path = "rust/param.rs"]
mod param;
mod persistent;
mod policy;
mod pools;
mod poor;
#[path = "rust/random.rs"]
mod random;
#[cfg(CONFIG_ZCACHE_REPLAY)]
#[path = "bench/replay.rs"]
mod replay;
mod seal;
mod segments;
#[path = "rust/setup.rs"]
mod setup;
#[path = "rust/shrinker.rs"]
mod shrinker;
mod store;
mod stream;
mod sysfs;
#[path = "rust/task.rs"]
mod task;
#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
mod test_pages;
mod timing;
mod tmem;
#[path = "rust/trace.rs"]
mod trace;
mod trial;
mod tunables;
#[path = "rust/usage.rs"]
mod usage;
#[path = "rust/workspace.rs"]
mod workspace;
mod xvmalloc;
mod zbud;

module! {
    type: Zcache,
    name: "zcache",
    authors: ["The zcache authors"],
    description: "Compressed page cache",
    license: "GPL",
    params: {
        enable: bool {
            default: false,
            description: "Stands for the boot word zcache when loaded as a module",
        },
    },
}

boot_word! {
    /// Turns zcache on.
    static ZCACHE: c"zcache";
}
boot_word! {
    /// Leaves file pages alone, until the parameter says else.
    static NOCLEANCACHE: c"nocleancache";
}
boot_word! {
    /// Leaves swapped pages alone, until the parameter says else.
    static NOFRONTSWAP: c"nofrontswap";
}
choice! {
    /// Whether the half for file pages is on. What is set here goes before the boot word.
    static CLEANCACHE: Switch = "cleancache" in "zcache", or Switch::Off, then switch_cleancache;
}
choice! {
    /// Whether the half for swapped pages is on. What is set here goes before the boot word.
    static FRONTSWAP: Switch = "frontswap" in "zcache", or Switch::Off, then switch_frontswap;
}

boot_word! {
    /// Lets equal pages share memory, as is the default.
    static TMEM_DEDUP: c"tmem_dedup";
}
boot_word! {
    /// Stores equal pages each for itself.
    static NO_TMEM_DEDUP: c"no-tmem_dedup";
}
choice! {
    /// Which equal pages share memory. What is set here goes before the boot words.
    static DEDUP: Mode = "dedup" in "zcache", or dedup_unless_set();
}

impl Choice for Mode {
    const ALL: &'static [(&'static str, Self)] =
        &[("off", Mode::Off), ("pool", Mode::Pool), ("all", Mode::All)];
}

/// Which equal pages share memory, if the parameter does not say.
fn dedup_unless_set() -> Mode {
    match (TMEM_DEDUP.given(), NO_TMEM_DEDUP.given()) {
        (false, true) => Mode::Off,
        _ => Mode::Pool,
    }
}

/// Which equal pages share memory now.
fn dedup_mode() -> Mode {
    DEDUP.get().unwrap_or_else(dedup_unless_set)
}

choice! {
    /// Which file pages a full store takes.
    static ADMISSION: Admission = "admission" in "zcache", or Admission::History;
}

number! {
    /// Percent of RAM that file pages may take.
    static LIMIT_PERCENT: Number = "limit_percent" in "zcache",
        1..=policy::MAX_LIMIT_PERCENT, or policy::DEFAULT_LIMIT_PERCENT,
        then |ephemeral| set_limits(Percent { ephemeral, ..limits() });
}

number! {
    /// Percent of RAM that swapped pages may take.
    static PERS_LIMIT_PERCENT: Number = "pers_limit_percent" in "zcache",
        1..=policy::MAX_PERSISTENT_PERCENT, or policy::DEFAULT_PERSISTENT_PERCENT,
        then |persistent| set_limits(Percent { persistent, ..limits() });
}

number! {
    /// Percent of RAM that both may take together.
    static TOTAL_LIMIT_PERCENT: Number = "total_limit_percent" in "zcache",
        1..=policy::MAX_LIMIT_PERCENT, or policy::MAX_LIMIT_PERCENT,
        then |together| set_limits(Percent { together, ..limits() });
}

/// The limits that are set.
fn limits() -> Percent {
    Percent {
        ephemeral: LIMIT_PERCENT.get(),
        persistent: PERS_LIMIT_PERCENT.get(),
        together: TOTAL_LIMIT_PERCENT.get(),
    }
}

/// Makes other limits hold. Who writes a parameter runs this, one at a time.
fn set_limits(percent: Percent) -> Result {
    get().map_or(Ok(()), |system| system.store().set_percent(percent))
}

/// What serves the hooks, once zcache is on. Set before the hooks are registered; never goes away.
static SYSTEM: SetOnce<System> = SetOnce::new();

/// Whether and why zcache is on or off, for `status`.
static STATUS: SetOnce<Status> = SetOnce::new();

/// The half for file pages.
static FILE_PAGES: Half = Half::new("cleancache", no_filesystem);

/// The half for swapped pages.
static SWAPPED_PAGES: Half = Half::new("frontswap", no_swap_area);

/// Says so where there is no pool of a filesystem: each has one from its first read on.
fn no_filesystem() -> Option<&'static str> {
    // One pool is that of swapped pages.
    let pools = get().map_or(0, |system| system.tmem.stats().pools.now());
    (pools <= 1).then_some("no filesystem takes part")
}

/// Says so where there is no swap area, or none but such as are left alone. May sleep.
fn no_swap_area() -> Option<&'static str> {
    (frontswap::areas() == 0).then_some("no swap area takes part")
}

/// The state of zcache, settled at boot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    /// Nobody asked for it.
    NotAsked,
    /// It could not start.
    Failed(Error),
    /// It was asked for, and is there. Each of its halves may be on or off.
    Started,
}

/// This module, as its initialisation sees it.
fn this_module() -> &'static ThisModule {
    kernel::module::this_module::<LocalModule>()
}

/// Turns a half on or off, with the lock of the parameters held; or only has its parameter set, if
/// zcache has not started yet: that will look. Fails with [`ENODEV`] if it is not going to start.
fn switch(half: &Half, to: Switch, start: fn() -> Result, stop: fn()) -> Result {
    match (STATUS.as_ref(), to) {
        (None, _) => Ok(()),
        (Some(Status::Started), Switch::On) => half.start(start),
        (Some(Status::Started), Switch::Off) => {
            half.stop(stop);
            Ok(())
        }
        (Some(Status::NotAsked | Status::Failed(_)), _) => {
            let name = half.name();
            pr_info!("{name} cannot be switched, as zcache is off: see its status in sysfs\n");
            Err(ENODEV)
        }
    }
}

fn start_cleancache() -> Result {
    cleancache::start::<System>(this_module())
}

fn start_frontswap() -> Result {
    frontswap::start::<System>(this_module())
}

fn switch_cleancache(to: Switch) -> Result {
    switch(&FILE_PAGES, to, start_cleancache, cleancache::stop)
}

fn switch_frontswap(to: Switch) -> Result {
    switch(&SWAPPED_PAGES, to, start_frontswap, frontswap::stop)
}

/// Starts a half when zcache starts, unless its parameter or else its boot word says no. From then
/// on the parameter shows what is.
fn start_half(half: &Half, parameter: &Parameter<Switch>, unwanted: bool, start: fn() -> Result) {
    let set = parameter.get();
    let started = if set == Some(Switch::Off) || (set.is_none() && unwanted) {
        half.leave_off(set.is_some());
        false
    } else {
        half.start(start).is_ok()
    };
    parameter.set(if started { Switch::On } else { Switch::Off });
}

/// Everything that is allocated when zcache is on.
struct System {
    tmem: Pin<KBox<Tmem<Store>>>,
    /// The kernel, tmem's only client so far.
    client: ClientId,
    /// Where swapped pages are, of all swap areas.
    swap: PoolId,
    stats: Stats,
}

/// What the hooks see that tmem does not.
#[derive(Default)]
struct Stats {
    /// Pages looked for in inodes that have none here.
    missed: Count,
    /// Pages that died because an inode with a name left memory.
    inode_death: Count,
    /// Puts that failed, so that all they did was to drop the older copy.
    put_to_flush: Count,
    /// Swapped pages that left for their slots, as their memory was needed.
    written_back: Count,
}

impl System {
    /// Allocates an empty system. May sleep.
    fn new() -> Result<Self> {
        // SAFETY: Reads a counter.
        let ram = unsafe { bindings::totalram_pages() };
        let policy = Policy::new(ram, limits())
            .with_admission(|| ADMISSION.get().unwrap_or(Admission::History));
        let tmem = KBox::try_pin_init(
            Tmem::new(Store::new(
                policy,
                |back, handle| get().is_some_and(|system| system.tmem.forget(back, handle)),
                file_pages,
                dedup_mode,
            )),
            GFP_KERNEL,
        )?;
        let client = tmem.new_client(GFP_KERNEL)?;
        let swap = tmem.new_pool(client, Kind::Persistent, None, GFP_KERNEL)?;
        tmem.label_pool(swap, Label::new(b"swap", b"-"));
        Ok(Self {
            tmem,
            client,
            swap,
            stats: Stats::default(),
        })
    }

    fn store(&self) -> &Store {
        self.tmem.pam()
    }

    /// Allocates what puts will need, in readers: they have just got memory for what they read,
    /// and puts come when there is none.
    fn top_up(&self) {
        self.tmem.top_up(policy::put_flags());
        self.store().top_up();
    }
}

/// The system, if zcache is on.
fn get() -> Option<&'static System> {
    SYSTEM.as_ref()
}

/// Pages in the page cache that reclaim can get at.
fn file_pages() -> usize {
    // SAFETY: Both read a counter.
    unsafe {
        bindings::global_node_page_state(bindings::node_stat_item_NR_ACTIVE_FILE)
            + bindings::global_node_page_state(bindings::node_stat_item_NR_INACTIVE_FILE)
    }
}

impl cleancache::Store for System {
    fn create_pool(filesystem: cleancache::Filesystem<'_>) -> Option<NonZeroU64> {
        let system = get()?;
        // The log said that there is none. Two at once may both be the first.
        let first = no_filesystem().is_some();
        let pool = system
            .tmem
            .new_pool(system.client, Kind::Ephemeral, None, GFP_KERNEL)
            .ok()?;
        let cleancache::Filesystem { kind, device } = filesystem;
        let label = Label::new(kind.to_bytes(), device.to_bytes());
        system.tmem.label_pool(pool, label);
        if first {
            let name = FILE_PAGES.name();
            pr_info!("{name}: the first filesystem takes part: {kind} on {device}\n");
        }
        NonZeroU64::new(pool.0)
    }

    fn destroy_pool(pool: u64) {
        if let Some(system) = get() {
            // An error says that there is no such pool any more.
            let _ = system.tmem.destroy_pool(system.client, PoolId(pool));
        }
    }

    fn drop_all() {
        if let Some(system) = get() {
            system.tmem.empty_pools(Kind::Ephemeral);
            system.store().drop_spares();
        }
    }

    fn put_page(pool: u64, key: cleancache::Key, index: u64, page: FolioPage) -> bool {
        let Some(system) = get() else {
            return false;
        };
        let group = Group(page.group());
        let stored = page.with_bytes(|bytes| {
            observe::put(file_page(pool, key, index), || {
                let flags = policy::put_flags();
                system
                    .tmem
                    .put_of(group, PoolId(pool), &Oid(key), index, bytes, flags)
            })
        });
        if !stored {
            system.stats.put_to_flush.add(1);
        }
        stored
    }

    fn get_page(pool: u64, key: cleancache::Key, index: u64, mut page: FolioPage) -> bool {
        get().is_some_and(|system| {
            system.top_up();
            page.with_bytes_mut(|bytes| {
                observe::get(file_page(pool, key, index), || {
                    system.tmem.get(PoolId(pool), &Oid(key), index, bytes)
                })
            })
        })
    }

    fn has_page(pool: u64, key: cleancache::Key, first: u64, last: u64) -> bool {
        get().is_some_and(|system| system.tmem.has_pages(PoolId(pool), &Oid(key), first..=last))
    }

    fn missed(count: usize) {
        if let Some(system) = get() {
            // CAST: A `usize` fits 64 bits.
            system.stats.missed.add(count as u64);
            system.top_up();
        }
    }

    fn flush_range(pool: u64, key: cleancache::Key, first: u64, last: u64) {
        let Some(system) = get() else {
            return;
        };
        let (tmem, id, oid) = (&system.tmem, PoolId(pool), Oid(key));
        let page = file_page(pool, key, first);
        if first == last {
            observe::flush(page, last, Flush::Page, || {
                tmem.flush_page(id, &oid, first).into()
            });
        } else {
            observe::flush(page, last, Flush::Range, || {
                tmem.flush_range(id, &oid, first..=last)
            });
        }
    }

    fn flush_inode(pool: u64, key: cleancache::Key, linked: bool) {
        if let Some(system) = get() {
            let page = file_page(pool, key, 0);
            let pages = observe::flush(page, u64::MAX, Flush::Object, || {
                system.tmem.flush_object(PoolId(pool), &Oid(key))
            });
            if linked {
                system.stats.inode_death.add(pages);
            }
        }
    }
}

/// The name of a swapped page in the pool: objects are runs of 64 MiB of a swap area, so that one
/// area takes many buckets, and its flushes few.
fn swap_key(slot: Slot) -> (Oid, u64) {
    const RUN_PAGES: u64 = (64 << 20) / PAGE_SIZE as u64;
    (
        Oid([u64::from(slot.area), slot.offset / RUN_PAGES, 0]),
        slot.offset % RUN_PAGES,
    )
}

/// How to call a page of a file for those who look.
fn file_page(pool: u64, key: cleancache::Key, index: u64) -> Page {
    let [inode, ..] = key;
    Page {
        swapped: false,
        pool,
        object: inode,
        index,
    }
}

/// How to call a swapped page for those who look.
fn swapped_page(pool: PoolId, slot: Slot) -> Page {
    Page {
        swapped: true,
        pool: pool.0,
        object: slot.area.into(),
        index: slot.offset,
    }
}

impl frontswap::Store for System {
    fn store_page(slot: Slot, page: FolioPage) -> bool {
        get().is_some_and(|system| {
            let (oid, index) = swap_key(slot);
            let group = Group(page.group());
            page.with_bytes(|bytes| {
                observe::put(swapped_page(system.swap, slot), || {
                    let flags = policy::swap_flags();
                    let tmem = &system.tmem;
                    tmem.put_of(group, system.swap, &oid, index, bytes, flags)
                })
            })
        })
    }

    fn load_page(slot: Slot, mut page: FolioPage) -> bool {
        get().is_some_and(|system| {
            let (oid, index) = swap_key(slot);
            system.store().persistent().top_up();
            page.with_bytes_mut(|bytes| {
                observe::get(swapped_page(system.swap, slot), || {
                    system.tmem.get(system.swap, &oid, index, bytes)
                })
            })
        })
    }

    fn evict_page(slot: Slot, mut page: FolioPage) -> bool {
        let Some(system) = get() else {
            return false;
        };
        let (oid, index) = swap_key(slot);
        let name = swapped_page(system.swap, slot);
        let pages = observe::flush(name, slot.offset, Flush::WriteBack, || {
            let evicted =
                page.with_bytes_mut(|bytes| system.tmem.evict(system.swap, &oid, index, bytes));
            evicted.is_ok().into()
        });
        system.stats.written_back.add(pages);
        pages == 1
    }

    fn invalidate_page(slot: Slot) {
        if let Some(system) = get() {
            let (oid, index) = swap_key(slot);
            let page = swapped_page(system.swap, slot);
            observe::flush(page, slot.offset, Flush::Page, || {
                system.tmem.flush_page(system.swap, &oid, index).into()
            });
        }
    }
}

impl shrinker::Shrinker for System {
    fn count() -> usize {
        get().map_or(0, |system| system.store().surplus())
    }

    fn scan(wanted: usize) -> Option<usize> {
        get().map(|system| system.store().shrink(wanted))
    }
}

impl oom::Relief for System {
    fn relieve() -> usize {
        get().map_or(0, |system| system.store().relieve())
    }
}

impl usage::Usage for System {
    fn usage() -> (usize, usize) {
        get().map_or((0, 0), |system| {
            let pages = &system.tmem.stats().pages;
            let stored = pages.of(Kind::Ephemeral).now() + pages.of(Kind::Persistent).now();
            // CAST: Both have 64 bits.
            (system.store().frames(), stored as usize)
        })
    }
}

/// What has to be undone when the module goes, which it can only as long as zcache is off.
struct Zcache {
    _folder: kobject::Folder,
    #[cfg(CONFIG_ZCACHE_REPLAY)]
    _replay: kobject::Folder,
    _shrinker: Option<shrinker::Registration<System>>,
    _oom: Option<Pin<KBox<oom::Registration<System>>>>,
    _usage: Option<usage::Registration<System>>,
    _pools: Option<Pin<KBox<pools::Table>>>,
}

/// Warns of a number on the kernel command line that is out of range.
fn warn_if_odd(name: &str, number: &Number) {
    if let Some(odd) = number.odd() {
        let (range, used) = (number.range(), number.get());
        pr_warn!("{name}={odd} is not in {range:?}: using {used}\n");
    }
}

impl Zcache {
    /// Turns zcache on: state first, then those who take memory back, then the hooks.
    fn start(&mut self) -> Result {
        warn_if_odd("limit_percent", &LIMIT_PERCENT);
        warn_if_odd("pers_limit_percent", &PERS_LIMIT_PERCENT);
        warn_if_odd("total_limit_percent", &TOTAL_LIMIT_PERCENT);
        SYSTEM.populate(System::new()?);
        self._shrinker = Some(shrinker::Registration::new(c"zcache")?);
        self._oom = Some(KBox::pin_init(oom::Registration::new(), GFP_KERNEL)?);
        self._usage = Some(usage::Registration::new());
        self._pools = Some(pools::show()?);
        self._folder.add(sysfs::files())?;
        self._folder.add(sysfs::halves())?;
        self._folder.add(sysfs::dedup())?;
        self._folder.add(sysfs::ratio())?;
        #[cfg(CONFIG_ZCACHE_TIMING)]
        {
            self._folder.add(sysfs::times())?;
            self._folder.add(sysfs::latencies())?;
        }
        self._folder.add(sysfs::lists())?;
        self._folder.add(sysfs::tunables())?;
        let Percent {
            ephemeral,
            persistent,
            together,
        } = limits();
        pr_info!(
            "up to {ephemeral}% of RAM for file pages, {persistent}% for swapped pages, \
             {together}% for both\n"
        );
        start_half(
            &FILE_PAGES,
            &CLEANCACHE,
            NOCLEANCACHE.given(),
            start_cleancache,
        );
        start_half(
            &SWAPPED_PAGES,
            &FRONTSWAP,
            NOFRONTSWAP.given(),
            start_frontswap,
        );
        Ok(())
    }
}

impl kernel::Module for Zcache {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let mut this = Zcache {
            _folder: kobject::Folder::in_mm(c"zcache")?,
            #[cfg(CONFIG_ZCACHE_REPLAY)]
            _replay: kobject::Folder::in_mm(c"zcache_replay")?,
            _shrinker: None,
            _oom: None,
            _usage: None,
            _pools: None,
        };
        // Whoever sets a parameter comes before this, which looks at it, or finds `STATUS`.
        let lock = param::Lock::new(module);
        let status = if !ZCACHE.given() && !module_parameters::enable.value() {
            Status::NotAsked
        } else {
            match this.start() {
                Ok(()) => Status::Started,
                Err(error) => {
                    pr_err!("cannot start: {:?}\n", error);
                    Status::Failed(error)
                }
            }
        };
        if status != Status::Started {
            CLEANCACHE.set(Switch::Off);
            FRONTSWAP.set(Switch::Off);
        }
        STATUS.populate(status);
        drop(lock);
        this._folder.add(sysfs::status())?;
        #[cfg(CONFIG_ZCACHE_REPLAY)]
        this._replay.add(replay::files())?;
        Ok(this)
    }
}

#[cfg(CONFIG_ZCACHE_KUNIT_TEST)]
#[kernel::macros::kunit_tests(zcache)]
mod tests {
    use super::*;

    #[test]
    fn slots_of_two_areas_and_runs_have_names_of_their_own() {
        let name = |area, offset| swap_key(Slot { area, offset });
        for (area, offset, run, index) in [
            (0, 0, 0, 0),
            (0, 16_383, 0, 16_383),
            (0, 16_384, 1, 0),
            (3, 40_000, 2, 7_232),
            (3, u64::from(u32::MAX), 262_143, 16_383),
        ] {
            let (oid, at) = name(area, offset);
            assert!(oid == Oid([u64::from(area), run, 0]) && at == index);
        }
        assert!(name(0, 16_384).0 != name(1, 16_384).0);
    }
}
