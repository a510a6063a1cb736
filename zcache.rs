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
//!                      poor.rs              files whose pages do not shrink
//!                      stream.rs            files whose pages are not wanted again
//!                    zbud.rs                in one half of a frame (file pages)
//!                    persistent.rs
//!                      xvmalloc.rs          anywhere in one frame or two (swapped pages)
//! memory pressure -> shrinker -> Store -> zbud: oldest frame -> Tmem forgets its pages
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
    param::{
        choice,
        Choice, //
    },
    policy::{
        Admission,
        Policy, //
    },
    setup::boot_word,
    store::{
        Count,
        Store, //
    },
    tmem::{
        ClientId,
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
mod codec;
mod dedup;
#[path = "rust/folio.rs"]
mod folio;
#[path = "rust/frame.rs"]
mod frame;
#[path = "rust/frontswap.rs"]
mod frontswap;
mod history;
#[path = "rust/kobject.rs"]
mod kobject;
#[path = "rust/lzo/src/lzo1x.rs"]
mod lzo;
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
#[path = "rust/setup.rs"]
mod setup;
#[path = "rust/shrinker.rs"]
mod shrinker;
mod store;
mod stream;
mod sysfs;
mod timing;
mod tmem;
#[path = "rust/trace.rs"]
mod trace;
mod trial;
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
        limit_percent: u32 {
            default: 50,
            description: "Percent of RAM that file pages may take, 1 to 90",
        },
        pers_limit_percent: u32 {
            default: 50,
            description: "Percent of RAM that swapped pages may take, 1 to 75",
        },
    },
}

boot_word! {
    /// Turns zcache on.
    static ZCACHE: c"zcache";
}
boot_word! {
    /// Leaves file pages alone.
    static NOCLEANCACHE: c"nocleancache";
}
boot_word! {
    /// Leaves swapped pages alone.
    static NOFRONTSWAP: c"nofrontswap";
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

/// What serves the hooks, once zcache is on. Set before the hooks are registered; never goes away.
static SYSTEM: SetOnce<System> = SetOnce::new();

/// Whether and why zcache is on or off, for `status`.
static STATUS: SetOnce<Status> = SetOnce::new();

/// The state of zcache, settled at boot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    /// Nobody asked for it.
    NotAsked,
    /// It could not start.
    Failed(Error),
    /// It was asked for, and this became of its halves.
    Started {
        /// The half for file pages.
        cleancache: Half,
        /// The half for swapped pages.
        frontswap: Half,
    },
}

/// The state of one half, settled at boot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    /// It stores pages.
    On,
    /// A boot word has turned it off.
    NotWanted,
    /// The kernel would not have it.
    Failed(Error),
}

impl Half {
    /// Starts one half, unless it is not wanted, and says in the log what came of it.
    fn start(name: &str, unwanted: bool, start: impl FnOnce() -> Result) -> Self {
        if unwanted {
            return Half::NotWanted;
        }
        match start() {
            Ok(()) => {
                pr_info!("{} enabled\n", name);
                Half::On
            }
            Err(error) => {
                pr_warn!(
                    "{} not enabled: {} ({})\n",
                    name,
                    why_not(error),
                    error.to_errno()
                );
                Half::Failed(error)
            }
        }
    }
}

/// Why the kernel would not have a half.
fn why_not(error: Error) -> &'static str {
    match error {
        EOPNOTSUPP => "this kernel has no hooks for it",
        EEXIST => "there is another store",
        EBUSY => "zswap is on or holds pages",
        ENOMEM => "no memory",
        _ => "it could not start",
    }
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
}

impl System {
    /// Allocates an empty system. May sleep.
    fn new(percent: u32, persistent_percent: u32) -> Result<Self> {
        // SAFETY: Reads a counter.
        let ram = unsafe { bindings::totalram_pages() };
        let policy = Policy::new(ram, percent)
            .with_persistent(ram, persistent_percent)
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
        let pool = system
            .tmem
            .new_pool(system.client, Kind::Ephemeral, None, GFP_KERNEL)
            .ok()?;
        let cleancache::Filesystem { kind, device } = filesystem;
        let label = Label::new(kind.to_bytes(), device.to_bytes());
        system.tmem.label_pool(pool, label);
        NonZeroU64::new(pool.0)
    }

    fn destroy_pool(pool: u64) {
        if let Some(system) = get() {
            // An error says that there is no such pool any more.
            let _ = system.tmem.destroy_pool(system.client, PoolId(pool));
        }
    }

    fn put_page(pool: u64, key: cleancache::Key, index: u64, page: FolioPage) -> bool {
        let Some(system) = get() else {
            return false;
        };
        let stored = page.with_bytes(|bytes| {
            observe::put(file_page(pool, key, index), || {
                let flags = policy::put_flags();
                system
                    .tmem
                    .put(PoolId(pool), &Oid(key), index, bytes, flags)
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
            page.with_bytes(|bytes| {
                observe::put(swapped_page(system.swap, slot), || {
                    let flags = policy::swap_flags();
                    system.tmem.put(system.swap, &oid, index, bytes, flags)
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

/// The percentage to use where the user asked for `percent`, with a warning if that is not in
/// range.
fn percent_of(name: &str, percent: u32, max: u32, default: u32) -> u32 {
    policy::checked_percent(percent, max).unwrap_or_else(|| {
        pr_warn!("{name}={percent} is not in 1..={max}: using {default}\n");
        default
    })
}

impl Zcache {
    /// Turns zcache on: state first, then those who take memory back, then the hooks.
    fn start(&mut self, module: &'static ThisModule) -> Result<Status> {
        let percent = percent_of(
            "limit_percent",
            module_parameters::limit_percent.value(),
            policy::MAX_LIMIT_PERCENT,
            policy::DEFAULT_LIMIT_PERCENT,
        );
        let persistent_percent = percent_of(
            "pers_limit_percent",
            module_parameters::pers_limit_percent.value(),
            policy::MAX_PERSISTENT_PERCENT,
            policy::DEFAULT_PERSISTENT_PERCENT,
        );
        SYSTEM.populate(System::new(percent, persistent_percent)?);
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
        pr_info!(
            "up to {percent}% of RAM for file pages, {persistent_percent}% for swapped pages\n"
        );
        Ok(Status::Started {
            cleancache: Half::start("cleancache", NOCLEANCACHE.given(), || {
                cleancache::register::<System>(module)
            }),
            frontswap: Half::start("frontswap", NOFRONTSWAP.given(), || {
                frontswap::start::<System>(module)
            }),
        })
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
        let status = if !ZCACHE.given() && !module_parameters::enable.value() {
            Status::NotAsked
        } else if NOCLEANCACHE.given() && NOFRONTSWAP.given() {
            Status::Started {
                cleancache: Half::NotWanted,
                frontswap: Half::NotWanted,
            }
        } else {
            this.start(module).unwrap_or_else(|error| {
                pr_err!("cannot start: {:?}\n", error);
                Status::Failed(error)
            })
        };
        STATUS.populate(status);
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
