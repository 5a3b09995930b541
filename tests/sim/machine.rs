//! A whole server in a world: stores, slices, shares; and what may be asked of it from outside.

use std::{cell::RefCell, net::IpAddr, path::PathBuf, rc::Rc, sync::Arc, time::Duration};

use blocks::{Codec, Content, Store as _};
use meta::Engine;
use payload::{Config, Payload, Place};
use tests::rng::Rng;
use upload::{
    checkpoint,
    collect::What,
    delta,
    garbage::{Report, Round, Word},
};
use vfs::{Caller, Found, ShareConfig, Squash, Vfs};
use vocab::{Credentials, StoreId, durable::Grade};

use crate::{store::Moody, wire};

/// Bytes of a log's segment: a write may have a quarter of it.
const SEGMENT_BYTES: u32 = 32 * 1024;

/// How a server is laid out; the same in all lives of a world, but for its times.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// The content stores; a metadata store for each.
    pub(crate) stores: Vec<Arc<Moody>>,
    /// Slices of the log.
    pub(crate) slices: usize,
    /// Shares; share `n` is in store `n % stores`.
    pub(crate) shares: usize,
    /// What is stable outlives log and metadata.
    pub(crate) is_remote: bool,
    codec: Codec,
}

/// The server.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// All operations.
    pub(crate) vfs: Vfs,
    /// The data path.
    pub(crate) payload: Payload,
    /// One for each store.
    pub(crate) places: Vec<Place>,
    /// Root, whom no share squashes.
    pub(crate) caller: Caller,
    /// The roots of the shares.
    pub(crate) roots: Vec<Found>,
    /// Whether its shares are `remote`.
    pub(crate) is_remote: bool,
    nfs: Rc<RefCell<Option<nfs::Server>>>,
}

impl Layout {
    /// A layout by the seed.
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let stores = if rng.one_in(4) { 2 } else { 1 };
        Self {
            stores: (0..stores).map(|_| Arc::default()).collect(),
            slices: 1 + rng.below(3),
            shares: 1 + rng.below(3),
            is_remote: rng.one_in(8),
            codec: if rng.one_in(2) { Codec::Lz4 } else { Codec::None },
        }
    }

    fn config(&self, rng: &mut Rng) -> Config {
        let millis = |rng: &mut Rng, of: &[u64]| Duration::from_millis(*rng.pick(of));
        let segments = self.slices * (4 + rng.below(12));
        Config {
            cache_bytes_max: *rng.pick(&[0, 64 << 10, 1 << 20]),
            log_bytes_max: segments as u64 * u64::from(SEGMENT_BYTES),
            settle: millis(rng, &[5, 20, 60]),
            gc_grace: millis(rng, &[0, 10, 50]),
            gc_interval: millis(rng, &[10, 40]),
            sweep_interval: millis(rng, &[0, 150, 500]),
            scrub_interval: millis(rng, &[0, 0, 400]),
            scrub_rate: 0,
            ..Config::new(PathBuf::from("/log"))
        }
    }
}

impl Machine {
    /// Starts it on what the disk holds, or, when that is lost, on what the content stores hold.
    ///
    /// # Errors
    /// In the server's words.
    pub(crate) async fn start(
        layout: &Layout,
        rng: &mut Rng,
        is_lost: bool,
    ) -> Result<Self, String> {
        let mut places = Vec::new();
        for (number, store) in layout.stores.iter().enumerate() {
            let name = format!("meta-{number}");
            let engine = Engine::Journal { path: format!("/{name}/journal").into() };
            let is_made = is_lost && rebuild(&name, store, &engine).await?;
            let place = Place {
                meta: meta::Store::open_here(&name, &engine).await?,
                content_name: format!("content-{number}").into(),
                content: Content::new(store.clone(), layout.codec),
            };
            if is_made {
                checkpoint::forget_deleted(&place).await?;
            }
            places.push(place);
        }
        let here = reactor::current().expect("a world");
        let config = layout.config(rng);
        let reactors = vec![here.clone(); layout.slices];
        let payload = Payload::open_here(&config, &reactors, places.clone(), SEGMENT_BYTES).await?;
        let vfs = Vfs::new(payload.clone(), here);
        let credentials = Some(Arc::new(Credentials { uid: 0, gid: 0, groups: Vec::new() }));
        let caller = Caller::new(credentials, IpAddr::from([127, 0, 0, 1]), 1000);
        let mut roots = Vec::new();
        for number in 0..layout.shares {
            let name = format!("/share-{number}");
            let durability = if layout.is_remote { Grade::Remote } else { Grade::Local };
            let config =
                ShareConfig { squash: Squash::None, durability, ..ShareConfig::new(&name) };
            vfs.share_add(config, places[number % places.len()].clone()).await?;
            let root = vfs.mount(&caller, name.as_bytes()).await;
            roots.push(root.map_err(|error| format!("{name}: {error}"))?.found);
        }
        let config = nfs::Config { has_udp: false, ..nfs::Config::new(wire::server()) };
        let reactors = [reactor::current().expect("a world")];
        let served = nfs::serve_here(config, vfs.clone(), &reactors).await;
        let nfs = served.map_err(|error| format!("NFS: {error}"))?;
        let nfs = Rc::new(RefCell::new(Some(nfs)));
        let is_remote = layout.is_remote;
        Ok(Self { vfs, payload, places, caller, roots, is_remote, nfs })
    }

    /// Stops it in order.
    pub(crate) async fn stop(self) {
        let nfs = self.nfs.take().expect("it stops once");
        nfs.stop_here(Duration::from_secs(10)).await;
        self.payload.stop_here().await;
        self.places.iter().for_each(|place| place.meta.close());
    }

    /// A round of garbage collection; what was found, by metadata store.
    ///
    /// # Panics
    /// When a block is missing that files refer to.
    pub(crate) async fn gc(&self, grace: Duration) -> Vec<(StoreId, Result<Report, String>)> {
        let mut events = self.payload.gc(Round { is_dry: false, grace, is_offline: false });
        let mut done = Vec::new();
        while let Some(event) = events.recv().await {
            let same = |place: &&Place| place.meta.name() == &*event.metadata;
            let id = self.places.iter().find(same).expect("one of ours").meta.id();
            match event.what {
                What::Word(Word::Missing(hash)) => panic!("files refer to {hash}, which is gone"),
                What::End(report) => done.push((id, Ok(report))),
                What::Failed(why) => done.push((id, Err(why))),
                What::Word(Word::Progress(_))
                | What::Checkpoint(_)
                | What::Scrub(_)
                | What::Scrubbed(_) => {}
            }
        }
        done
    }
}

/// Makes a metadata store from the newest that a content store has of it, as `dittofs rebuild`
/// does; whether there was any.
async fn rebuild(name: &str, from: &Moody, engine: &Engine) -> Result<bool, String> {
    let words = |error: blocks::StoreError| error.to_string();
    let mut best = None;
    for domain in from.domains().await.map_err(words)? {
        let Some(newest) = checkpoint::newest(from, domain).await.map_err(words)? else { continue };
        if newest.store != name {
            continue;
        }
        let line = delta::after(from, &newest).await.map_err(words)?;
        let time = line.good.last().map_or(newest.time, |delta| delta.time);
        assert!(line.broken.is_none(), "a line of deltas is broken: {:?}", line.broken);
        if best.as_ref().is_none_or(|(_, _, other)| *other < time) {
            best = Some((newest, line, time));
        }
    }
    let Some((newest, line, _)) = best else { return Ok(false) };
    let mut parts = Vec::new();
    for number in 0..newest.parts {
        parts.push(checkpoint::part(from, &newest, number).await.map_err(words)?);
    }
    let wanted = newest.pairs + line.good.iter().map(|delta| delta.changes).sum::<u64>();
    parts.extend(line.good.into_iter().map(|delta| delta.bytes));
    let mut parts = parts.into_iter();
    let made = meta::import_here(engine, &mut || Ok(parts.next())).await?;
    assert_eq!(made, wanted, "pairs and changes of {name}");
    Ok(true)
}
