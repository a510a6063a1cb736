// SPDX-License-Identifier: GPL-2.0

//! zcache: a compressed page cache.
//!
//! When memory is short, the kernel drops clean file pages and reads them again from the disk
//! when they are needed. zcache keeps a compressed copy of what is dropped, and gives the memory
//! back when something else needs it.
//!
//! ```text
//! reclaim, reads, truncation, umount        (the kernel's cleancache hooks)
//!   -> cleancache  rust/cleancache.rs       the hooks as a trait
//!   -> System      this file                which pool, which page
//!   -> Tmem        tmem.rs                  (pool, object, index) -> handle
//!   -> Store       store.rs                 handle -> bytes: same-filled, or
//!                    dedup.rs               equal to what is here, or
//!                    codec.rs               compressed with rust/lzo
//!                    policy.rs              if there is room: limits, admission
//!                    zbud.rs                in one half of a frame
//! memory pressure -> shrinker -> Store -> zbud: oldest frame -> Tmem forgets its pages
//! ```
//!
//! Nothing happens without the boot word `zcache`.

use core::num::NonZeroU64;

use kernel::{
    bindings,
    prelude::*,
    sync::SetOnce,
    ThisModule, //
};

use crate::{
    dedup::Mode,
    folio::FolioPage,
    param::{
        choice,
        Choice, //
    },
    policy::Policy,
    setup::boot_word,
    store::{
        Count,
        Store, //
    },
    tmem::{
        ClientId,
        Kind,
        Oid,
        PoolId,
        Tmem, //
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
#[path = "rust/kobject.rs"]
mod kobject;
#[path = "rust/lzo/src/lzo1x.rs"]
mod lzo;
#[path = "rust/oom.rs"]
mod oom;
#[path = "rust/param.rs"]
mod param;
mod policy;
#[path = "rust/random.rs"]
mod random;
#[path = "rust/setup.rs"]
mod setup;
#[path = "rust/shrinker.rs"]
mod shrinker;
mod store;
mod sysfs;
mod timing;
mod tmem;
#[path = "rust/workspace.rs"]
mod workspace;
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

/// What serves the hooks, once zcache is on. Set before the hooks are registered; never goes away.
static SYSTEM: SetOnce<System> = SetOnce::new();

/// Whether and why zcache is on or off, for `status`.
static STATUS: SetOnce<Status> = SetOnce::new();

/// The state of zcache, settled at boot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    /// Nobody asked for it.
    NotAsked,
    /// There is nothing to do: the words `zcache nocleancache`.
    NoSource,
    /// It could not start.
    Failed(Error),
    /// It stores file pages.
    On,
}

/// Everything that is allocated when zcache is on.
struct System {
    tmem: Pin<KBox<Tmem<Store>>>,
    /// The kernel, tmem's only client so far.
    client: ClientId,
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
    fn new(percent: u32) -> Result<Self> {
        // SAFETY: Reads a counter.
        let ram = unsafe { bindings::totalram_pages() };
        let policy = Policy::new(ram, percent);
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
        Ok(Self {
            tmem,
            client,
            stats: Stats::default(),
        })
    }

    fn store(&self) -> &Store {
        self.tmem.pam()
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
    fn create_pool() -> Option<NonZeroU64> {
        let system = get()?;
        let pool = system
            .tmem
            .new_pool(system.client, Kind::Ephemeral, None, GFP_KERNEL)
            .ok()?;
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
            system
                .tmem
                .put(PoolId(pool), &Oid(key), index, bytes, policy::put_flags())
                .is_ok()
        });
        if !stored {
            system.stats.put_to_flush.add(1);
        }
        stored
    }

    fn get_page(pool: u64, key: cleancache::Key, index: u64, mut page: FolioPage) -> bool {
        get().is_some_and(|system| {
            system.store().top_up();
            page.with_bytes_mut(|bytes| {
                system
                    .tmem
                    .get(PoolId(pool), &Oid(key), index, bytes)
                    .is_ok()
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
            system.store().top_up();
        }
    }

    fn flush_range(pool: u64, key: cleancache::Key, first: u64, last: u64) {
        let Some(system) = get() else {
            return;
        };
        if first == last {
            system.tmem.flush_page(PoolId(pool), &Oid(key), first);
        } else {
            system
                .tmem
                .flush_range(PoolId(pool), &Oid(key), first..=last);
        }
    }

    fn flush_inode(pool: u64, key: cleancache::Key, linked: bool) {
        if let Some(system) = get() {
            let pages = system.tmem.flush_object(PoolId(pool), &Oid(key));
            if linked {
                system.stats.inode_death.add(pages);
            }
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
        get().map_or(0, |system| system.store().shrink(usize::MAX))
    }
}

/// What has to be undone when the module goes, which it can only as long as zcache is off.
struct Zcache {
    _folder: kobject::Folder,
    _shrinker: Option<shrinker::Registration<System>>,
    _oom: Option<Pin<KBox<oom::Registration<System>>>>,
}

impl Zcache {
    /// Turns zcache on: state first, then those who take memory back, then the hooks.
    fn start(&mut self, module: &'static ThisModule) -> Result {
        let asked = module_parameters::limit_percent.value();
        let percent = policy::checked_percent(asked).unwrap_or_else(|| {
            pr_warn!(
                "limit_percent={} is not in 1..={}: using {}\n",
                asked,
                policy::MAX_LIMIT_PERCENT,
                policy::DEFAULT_LIMIT_PERCENT
            );
            policy::DEFAULT_LIMIT_PERCENT
        });
        SYSTEM.populate(System::new(percent)?);
        self._shrinker = Some(shrinker::Registration::new(c"zcache")?);
        self._oom = Some(KBox::pin_init(oom::Registration::new(), GFP_KERNEL)?);
        self._folder.add(sysfs::files())?;
        self._folder.add(sysfs::dedup())?;
        self._folder.add(sysfs::ratio())?;
        #[cfg(CONFIG_ZCACHE_TIMING)]
        self._folder.add(sysfs::times())?;
        self._folder.add(sysfs::lists())?;
        cleancache::register::<System>(module)?;
        pr_info!("cleancache enabled, up to {}% of RAM\n", percent);
        Ok(())
    }
}

impl kernel::Module for Zcache {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let mut this = Zcache {
            _folder: kobject::Folder::in_mm(c"zcache")?,
            _shrinker: None,
            _oom: None,
        };
        let status = if !ZCACHE.given() && !module_parameters::enable.value() {
            Status::NotAsked
        } else if NOCLEANCACHE.given() {
            Status::NoSource
        } else {
            match this.start(module) {
                Ok(()) => Status::On,
                Err(error) => {
                    pr_err!("cannot start: {:?}\n", error);
                    Status::Failed(error)
                }
            }
        };
        STATUS.populate(status);
        this._folder.add(sysfs::status())?;
        Ok(this)
    }
}
