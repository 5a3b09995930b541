//! Start: how many slices, their logs, their recovery, their tickers.

use std::{
    collections::BTreeSet,
    rc::{Rc, Weak},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cache::clean::Clean;
use meta::Store;
use reactor::{mailbox::Remote, oneshot};
use upload::Uploader;
use vocab::SliceId;
use wal::Wal;

use crate::{
    Config, Home, Inner, Payload, Place, counters::Counters, layout, memory, recover::Places,
    slice, slice::Slice,
};

/// Uploads to one content store at a time: small blocks need more of them to keep the line busy.
const UPLOAD_JOBS_MAX: u32 = 64;

/// What one slice needs to open.
struct Opening {
    payload: u64,
    slice: SliceId,
    wal: wal::Config,
    segment_bytes: u32,
    clean_bytes_max: u64,
    settle: Duration,
    uploader: Uploader,
    counters: Arc<Counters>,
    places: Arc<Places>,
}

/// See [`Payload::open_here`].
pub(crate) async fn open(
    config: &Config,
    reactors: &[Remote],
    places: Vec<Place>,
    segment_bytes: u32,
) -> Result<Payload, String> {
    assert!(!reactors.is_empty(), "a slice lives on a reactor");
    places.iter().for_each(|place| place.meta.mark());
    let slices = layout::slices(&config.dir, reactors.len())?;
    let stores: BTreeSet<&str> = places.iter().map(|place| &*place.content_name).collect();
    let memory = memory::divide(config.cache_bytes_max, stores.len());
    let uploader = Uploader::start(upload::Config {
        core: config.upload_core,
        bytes_max: memory.upload_bytes_max,
        jobs_max: UPLOAD_JOBS_MAX,
        gc_grace: config.gc_grace,
        gc_interval: config.gc_interval,
        sweep_interval: config.sweep_interval,
        scrub_interval: config.scrub_interval,
        scrub_rate: config.scrub_rate,
        checkpoint_interval: config.checkpoint_interval,
    })
    .map_err(|error| format!("cannot start the uploader: {error}"))?;
    let by_share = Arc::new(by_share(&places)?);
    static LAST_ID: AtomicU64 = AtomicU64::new(0);
    let id = LAST_ID.fetch_add(1, Ordering::Relaxed);
    let homes = (0..usize::from(slices)).map(|number| Home {
        remote: reactors[number % reactors.len()].clone(),
        counters: Arc::default(),
    });
    let homes: Vec<Home> = homes.collect();
    let payload = Payload { inner: Arc::new(Inner { id, homes, uploader }) };
    let opened = open_all(config, memory.clean_bytes_max, segment_bytes, &payload, &by_share).await;
    if let Err(why) = opened {
        payload.stop_here().await;
        return Err(why);
    }
    // The uploader must not keep alive what keeps it alive.
    let inner = Arc::downgrade(&payload.inner);
    payload.inner.uploader.set_copies(Arc::new(move |hash, frames| {
        let payload = inner.upgrade().map(|inner| Payload { inner });
        Box::pin(async move {
            match payload {
                Some(payload) => payload.copies(hash, frames).await,
                None => Vec::new(),
            }
        })
    }));
    payload.clean_up(places);
    Ok(payload)
}

async fn open_all(
    config: &Config,
    clean_bytes_max: u64,
    segment_bytes: u32,
    payload: &Payload,
    places: &Arc<Places>,
) -> Result<(), String> {
    let slices = payload.inner.homes.len() as u64;
    let start = |(number, home): (u16, &Home)| -> oneshot::Receiver<Result<(), String>> {
        let opening = Opening {
            payload: payload.inner.id,
            slice: SliceId(number),
            wal: wal::Config {
                dir: config.dir.clone(),
                slice: SliceId(number),
                log_bytes_max: config.log_bytes_max / slices,
                accepts_damage: config.accepts_log_damage,
            },
            segment_bytes,
            clean_bytes_max: clean_bytes_max / slices,
            settle: config.settle,
            uploader: payload.inner.uploader.clone(),
            counters: Arc::clone(&home.counters),
            places: Arc::clone(places),
        };
        home.remote.call(move || opening.open())
    };
    let opening: Vec<_> = (0..).zip(&payload.inner.homes).map(start).collect();
    let gone = |_| Err("a reactor ended while the logs were opened".to_owned());
    // All of them, so that none is still opening when a failed start is undone.
    let mut opened = Ok(());
    for done in opening {
        opened = opened.and(done.await.unwrap_or_else(gone));
    }
    opened
}

impl Opening {
    async fn open(self) -> Result<(), String> {
        let (wal, recovered) = Wal::open_sized(self.wal, self.segment_bytes).await?;
        if recovered.torn_bytes > 0 {
            let (slice, bytes) = (self.slice.0, recovered.torn_bytes);
            trace::warn!(
                slice,
                bytes,
                "the end of the log was torn, and cut: nothing of it was synced"
            );
        }
        self.counters.local_corruption.add(recovered.damaged);
        let clean = Clean::new(self.clean_bytes_max);
        let slice = Slice::new(wal, self.uploader, self.counters, self.settle, clean);
        let slice = Rc::new(slice);
        slice.recover(recovered.records, &self.places).await?;
        slice::enter(self.payload, self.slice, Rc::clone(&slice));
        reactor::spawn(tick(Rc::downgrade(&slice), self.settle));
        Ok(())
    }
}

/// Looks for what is due, as long as the slice lives.
async fn tick(slice: Weak<Slice>, settle: Duration) {
    let step = (settle / 4).clamp(Duration::from_millis(5), Duration::from_millis(200));
    let steps = u32::try_from(Duration::from_secs(1).as_nanos() / step.as_nanos()).unwrap_or(1);
    for count in 1u32.. {
        reactor::sleep(step).await;
        let Some(slice) = slice.upgrade() else { return };
        slice.pump();
        slice.show();
        if count % steps == 0 {
            slice.release_buried(1);
            slice.sync_old();
        }
    }
}

/// Each share's place. A share that has none is not configured now.
fn by_share(places: &[Place]) -> Result<Places, String> {
    let mut by_share = Places::new();
    for place in places {
        let words = |error| format!("cannot list the shares of {}: {error}", place.meta.name());
        for root in place.meta.shares().map_err(words)? {
            if *root.content == *place.content_name {
                by_share.insert((place.meta.id(), root.share), place.clone());
            }
        }
    }
    Ok(by_share)
}

impl Payload {
    /// Has garbage collected and orphans of earlier lives reaped.
    fn clean_up(&self, places: Vec<Place>) {
        let mut stores: Vec<Store> = Vec::new();
        for place in places {
            if !stores.iter().any(|store| store.id() == place.meta.id()) {
                stores.push(place.meta.clone());
            }
            self.inner.uploader.collect(place);
        }
        let first = SliceId(0);
        for store in stores {
            let this = self.clone();
            self.inner.homes[0].remote.post(move || {
                if let Ok(slice) = this.slice(first) {
                    reactor::spawn(slice.reap_orphans(store));
                }
            });
        }
    }
}
