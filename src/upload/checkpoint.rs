//! Checkpoints: a metadata store's pairs in the content stores, so that a bucket alone is enough.
//!
//! What the objects look like is drawn in `FORMAT.md`; what follows a checkpoint is in
//! [`crate::delta`].
//!
//! Invariants: the manifest is put last and deleted first, so that a checkpoint with a manifest is
//! whole. No block that the newest checkpoint or a delta after it names is deleted: what was let go
//! of before its moment is in neither, and the collector takes nothing else ([`pin`]).

use std::sync::Arc;

use blocks::{BlockKey, Store as Objects, StoreError};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use meta::{Capture, Delta, Rest, command::Command};
use reactor::{oneshot, sim};
use tokio::sync::mpsc;
use vocab::{Error, PackId, StoreId, Time};
use xxhash_rust::xxh3::xxh3_64;

use crate::{Place, delta, tasks};

const PART: &[u8; 8] = b"DFSPART1";
/// Of checkpoints that no deltas follow.
const MANIFEST_1: &[u8; 8] = b"DFSMANI1";
const MANIFEST: &[u8; 8] = b"DFSMANI2";
const ZSTD_LEVEL: i32 = 1;
/// No part is larger unpacked: a pair more than asked for.
const PART_BYTES_MAX: usize = 64 << 20;
/// In a simulated world an export waits for nobody, and its stores are small.
const PARTS_IN_WORLD_MAX: usize = 1024;
/// Objects removed, and looked for, at a time.
const DELETES: usize = 16;
const LOOKS: usize = 64;

/// A whole checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The store that it is of.
    pub domain: StoreId,
    /// That store's name at the time.
    pub store: String,
    /// Its folder: the moment in seconds, or one more than the one before.
    pub number: u64,
    /// The moment: what it names is let go of then or later.
    pub time: Time,
    /// Objects.
    pub parts: u32,
    /// Keys and values.
    pub pairs: u64,
    /// Where the deltas after it begin, when there may be any.
    pub next: Option<Next>,
}

/// A place in a line of deltas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// The line: the number of its first checkpoint.
    pub line: u64,
    /// The delta in it.
    pub delta: u64,
}

/// A checkpoint whose view was just taken, and whose objects are on their way.
#[derive(Debug)]
pub(crate) struct Taking {
    pub(crate) number: u64,
    time: Time,
    parts: mpsc::Receiver<Vec<u8>>,
    export: oneshot::Receiver<Result<u64, Error>>,
}

/// Takes a checkpoint of a place's metadata store into its content store, and removes the older
/// ones. Nobody else may be at it.
///
/// # Errors
/// In words for the operator.
pub async fn take(place: &Place) -> Result<Checkpoint, String> {
    let (taking, _) = begin(place, None).await?;
    taking.finish(place, None).await.map(|(checkpoint, _)| checkpoint)
}

/// Takes a view of the store, cut where the capture is cut, and what the capture had until there
/// (`None`: that was too much).
pub(crate) async fn begin(
    place: &Place,
    capture: Option<Arc<Capture>>,
) -> Result<(Taking, Option<Delta>), String> {
    let root = root(place.meta.id());
    let names = place.content.store.list_named(&root).await.map_err(|error| error.to_string())?;
    let last = names.iter().filter_map(|name| Some(folder_of(&root, name)?.0)).max();
    let now = reactor::clock::wall();
    let number = u64::try_from(now.seconds).unwrap_or_default().max(last.map_or(0, |n| n + 1));
    let (sender, parts) = mpsc::channel(if sim::is_here() { PARTS_IN_WORLD_MAX } else { 1 });
    let (begun, has_begun) = oneshot::channel();
    let meta = place.meta.clone();
    let export = tasks::blocking(move || {
        let mut take = |part| sender.blocking_send(part).is_ok();
        // Who takes the checkpoint has gone, or hears of it by the parts.
        match capture {
            Some(capture) => capture.export(|time, delta| begun.send((time, delta)), &mut take),
            None => meta.export(|time| begun.send((time, Some(Delta::default()))), &mut take),
        }
    });
    let begun = has_begun.await;
    let (time, delta) = begun.map_err(|_| "the export ended at once".to_owned())?;
    Ok((Taking { number, time, parts, export }, delta))
}

impl Taking {
    /// Puts the objects, and removes what they replace: older checkpoints, and deltas that are not
    /// of this line or before it. Also the bytes put.
    pub(crate) async fn finish(
        mut self,
        place: &Place,
        next: Option<Next>,
    ) -> Result<(Checkpoint, u64), String> {
        let objects = &place.content.store;
        let domain = place.meta.id();
        let dir = folder(domain, self.number);
        let (mut count, mut bytes) = (0, 0);
        while let Some(part) = self.parts.recv().await {
            let packed =
                zstd::bulk::compress(&part, ZSTD_LEVEL).map_err(|error| error.to_string())?;
            let name = format!("{dir}/part-{count:08}");
            objects.put_named(&name, sealed(PART, &packed)).await.map_err(|e| e.to_string())?;
            count += 1;
            bytes += packed.len() as u64;
        }
        let pairs = self.export.await.map_err(|_| "the export ended".to_owned())?;
        let pairs = pairs.map_err(|error| format!("{}: {error}", place.meta.name()))?;
        let store = place.meta.name().to_owned();
        let Self { number, time, .. } = self;
        let checkpoint = Checkpoint { domain, store, number, time, parts: count, pairs, next };
        let manifest = sealed(MANIFEST, &checkpoint.encode());
        let name = format!("{dir}/manifest");
        objects.put_named(&name, manifest).await.map_err(|error| error.to_string())?;
        // It is whole. What it replaces is in nobody's way, and the next one removes it too; to
        // fail for that would leave one more behind each time.
        if let Err(error) = remove_older(&**objects, &checkpoint).await {
            let store = place.meta.name();
            trace::warn!(store, %error, "older checkpoints stay until the next one");
        }
        Ok((checkpoint, bytes))
    }
}

async fn remove_older(objects: &dyn Objects, kept: &Checkpoint) -> Result<(), StoreError> {
    let root = root(kept.domain);
    let mut names = objects.list_named(&root).await?;
    let is_wanted = |name: &str| {
        let Some((number, file)) = folder_of(&root, name) else { return true };
        let is_after = |next: Next| {
            number == next.line && delta::number(file).is_some_and(|delta| delta >= next.delta)
        };
        number >= kept.number || kept.next.is_some_and(is_after)
    };
    names.retain(|name| !is_wanted(name));
    let (manifests, others): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| name.ends_with("/manifest"));
    for name in manifests {
        objects.delete_named(&name).await?;
    }
    let delete = |name: String| async move { objects.delete_named(&name).await };
    let mut deletes = stream::iter(others).map(delete).buffer_unordered(DELETES);
    while let Some(done) = deletes.next().await {
        done?;
    }
    Ok(())
}

/// The newest whole checkpoint of a domain.
///
/// # Errors
/// The store's; `Corrupt` when its manifest is damaged.
pub async fn newest(
    objects: &dyn Objects,
    domain: StoreId,
) -> Result<Option<Checkpoint>, StoreError> {
    let names = objects.list_named(&root(domain)).await?;
    newest_of(objects, domain, &names).await
}

async fn newest_of(
    objects: &dyn Objects,
    domain: StoreId,
    names: &[String],
) -> Result<Option<Checkpoint>, StoreError> {
    let root = root(domain);
    let manifest = |name: &String| {
        folder_of(&root, name).filter(|(_, file)| *file == "manifest").map(|(number, _)| number)
    };
    let Some(number) = names.iter().filter_map(manifest).max() else { return Ok(None) };
    let name = format!("{}/manifest", folder(domain, number));
    let bytes = objects.get_named(&name).await?;
    let checkpoint = match opened(MANIFEST, &bytes) {
        Some(body) => Checkpoint::decode(domain, number, body, true),
        None => opened(MANIFEST_1, &bytes)
            .and_then(|body| Checkpoint::decode(domain, number, body, false)),
    };
    checkpoint.map(Some).ok_or_else(|| StoreError::Corrupt(format!("{name}: wrong checksum")))
}

/// What was let go of at or after this moment may be named by a checkpoint, also by one that is
/// still on its way, or by a delta.
///
/// # Errors
/// In words for the operator: then nothing may be deleted.
pub(crate) async fn pin(place: &Place) -> Result<Option<Time>, String> {
    let (objects, domain) = (&*place.content.store, place.meta.id());
    let words = |error| format!("looking for checkpoints in {}: {error}", place.content_name);
    let root = root(domain);
    let names = objects.list_named(&root).await.map_err(words)?;
    if let Some(newest) = newest_of(objects, domain, &names).await.map_err(words)? {
        return Ok(Some(newest.time));
    }
    let first = names.iter().filter_map(|name| Some(folder_of(&root, name)?.0)).min();
    let time = |number| Time { seconds: i64::try_from(number).unwrap_or(i64::MAX), nanos: 0 };
    Ok(first.map(time))
}

/// The pairs of a part.
///
/// # Errors
/// The store's; `Corrupt` when it is damaged.
pub async fn part(
    objects: &dyn Objects,
    checkpoint: &Checkpoint,
    number: u32,
) -> Result<Vec<u8>, StoreError> {
    let name = format!("{}/part-{number:08}", folder(checkpoint.domain, checkpoint.number));
    let bytes = objects.get_named(&name).await?;
    let unpacked =
        opened(PART, &bytes).and_then(|packed| zstd::bulk::decompress(packed, PART_BYTES_MAX).ok());
    unpacked.ok_or_else(|| StoreError::Corrupt(format!("{name}: wrong checksum")))
}

/// Has a store that was just made forget the condemned blocks whose objects were deleted since:
/// else one would be referred to again without being put. How many.
///
/// # Errors
/// In words for the operator.
pub async fn forget_deleted(place: &Place) -> Result<u64, String> {
    let words = |error: Error| format!("{}: {error}", place.meta.name());
    let all = Time { seconds: i64::MAX, nanos: 0 };
    let condemned = place.meta.condemned(&place.content_name, all, usize::MAX).await;
    let look = |hash| async move {
        let counted = place.meta.count_of(&place.content_name, hash).await.map_err(words)?;
        let Some(counted) = counted else { return Ok(None) };
        let key = match counted.rests {
            Rest::Own => BlockKey::block(place.meta.id(), hash),
            Rest::Packed(packed) => BlockKey::pack(place.meta.id(), packed.pack),
            Rest::Pack { .. } => BlockKey::pack(place.meta.id(), PackId(hash)),
        };
        match place.content.store.get(&key, 0, 1).await {
            Err(StoreError::NotFound) => Ok(Some(hash)),
            Ok(_) | Err(StoreError::Corrupt(_)) => Ok(None),
            Err(error) => Err(format!("looking for {key} in {}: {error}", place.content_name)),
        }
    };
    let condemned = condemned.map_err(words)?;
    let mut looked = stream::iter(condemned).map(look).buffer_unordered(LOOKS);
    let mut hashes = Vec::new();
    while let Some(gone) = looked.next().await {
        hashes.extend(gone?);
    }
    if hashes.is_empty() {
        // The store may not even know the content store yet: no share was there when it was taken.
        return Ok(0);
    }
    let (count, content) = (hashes.len() as u64, place.content_name.to_string());
    let begin = Command::DeleteBegin { content: content.clone(), hashes: hashes.clone() };
    place.meta.submit(begin).await.map_err(words)?;
    let end = Command::DeleteEnd { content, hashes };
    place.meta.submit(end).await.map_err(words)?;
    Ok(count)
}

impl Checkpoint {
    fn encode(&self) -> Vec<u8> {
        let Next { line, delta } = self.next.unwrap_or(Next { line: 0, delta: 0 });
        [
            &self.time.seconds.to_le_bytes()[..],
            &self.time.nanos.to_le_bytes(),
            &self.parts.to_le_bytes(),
            &self.pairs.to_le_bytes(),
            &line.to_le_bytes(),
            &delta.to_le_bytes(),
            self.store.as_bytes(),
        ]
        .concat()
    }

    /// `has_next`: in version 2 only.
    fn decode(domain: StoreId, number: u64, body: &[u8], has_next: bool) -> Option<Self> {
        let (seconds, rest) = body.split_first_chunk()?;
        let (nanos, rest) = rest.split_first_chunk()?;
        let (parts, rest) = rest.split_first_chunk()?;
        let (pairs, mut name) = rest.split_first_chunk()?;
        let mut next = None;
        if has_next {
            let (line, rest) = name.split_first_chunk()?;
            let (delta, rest) = rest.split_first_chunk()?;
            let place = Next { line: u64::from_le_bytes(*line), delta: u64::from_le_bytes(*delta) };
            next = (place.line > 0).then_some(place);
            name = rest;
        }
        Some(Self {
            domain,
            store: String::from_utf8(name.to_vec()).ok()?,
            number,
            time: Time { seconds: i64::from_le_bytes(*seconds), nanos: u32::from_le_bytes(*nanos) },
            parts: u32::from_le_bytes(*parts),
            pairs: u64::from_le_bytes(*pairs),
            next,
        })
    }
}

pub(crate) fn root(domain: StoreId) -> String {
    format!("{:016x}/checkpoints", domain.0)
}

pub(crate) fn folder(domain: StoreId, number: u64) -> String {
    format!("{}/{number:020}", root(domain))
}

/// The number of an object's folder, and its name there; `None`: not ours.
pub(crate) fn folder_of<'a>(root: &str, name: &'a str) -> Option<(u64, &'a str)> {
    let (folder, file) = name.strip_prefix(root)?.strip_prefix('/')?.split_once('/')?;
    Some((folder.parse().ok()?, file))
}

pub(crate) fn sealed(magic: &[u8; 8], body: &[u8]) -> Bytes {
    [&magic[..], &xxh3_64(body).to_le_bytes(), body].concat().into()
}

pub(crate) fn opened<'a>(magic: &[u8; 8], bytes: &'a [u8]) -> Option<&'a [u8]> {
    let body = bytes.strip_prefix(magic)?;
    let (check, body) = body.split_first_chunk()?;
    (xxh3_64(body) == u64::from_le_bytes(*check)).then_some(body)
}
