//! Checkpoints: a metadata store's pairs in the content stores, so that a bucket alone is enough.
//!
//! What the objects look like is drawn in `FORMAT.md`.
//!
//! Invariants: the manifest is put last and deleted first, so that a checkpoint with a manifest is
//! whole. No block that the newest checkpoint names is deleted: what was let go of before its
//! moment is not in it, and the collector takes nothing else ([`pin`]).

use blocks::{Store as Objects, StoreError};
use bytes::Bytes;
use vocab::{StoreId, Time};
use xxhash_rust::xxh3::xxh3_64;

use crate::Place;

const PART: &[u8; 8] = b"DFSPART1";
const MANIFEST: &[u8; 8] = b"DFSMANI1";
const ZSTD_LEVEL: i32 = 1;
/// No part is larger unpacked: a pair more than asked for.
const PART_BYTES_MAX: usize = 64 << 20;

/// A whole checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The store that it is of.
    pub domain: StoreId,
    /// That store's name at the time.
    pub store: String,
    /// The moment just before it was taken.
    pub time: Time,
    /// Objects.
    pub parts: u32,
    /// Keys and values.
    pub pairs: u64,
}

/// Takes a checkpoint of a place's metadata store into its content store, and removes the older
/// ones.
///
/// # Errors
/// In words for the operator.
pub async fn take(place: &Place) -> Result<Checkpoint, String> {
    let objects = &place.content.store;
    let domain = place.meta.id();
    let time = reactor::clock::wall();
    let dir = folder(domain, time);
    let (sender, mut parts) = tokio::sync::mpsc::channel(1);
    let meta = place.meta.clone();
    let export = tokio::task::spawn_blocking(move || {
        meta.export(&mut |part| sender.blocking_send(part).is_ok())
    });
    let mut count = 0;
    while let Some(part) = parts.recv().await {
        let packed = zstd::bulk::compress(&part, ZSTD_LEVEL).map_err(|error| error.to_string())?;
        let name = format!("{dir}/part-{count:08}");
        objects.put_named(&name, sealed(PART, &packed)).await.map_err(|e| e.to_string())?;
        count += 1;
    }
    let pairs = export.await.map_err(|error| error.to_string())?;
    let pairs = pairs.map_err(|error| format!("{}: {error}", place.meta.name()))?;
    let store = place.meta.name().to_owned();
    let checkpoint = Checkpoint { domain, store, time, parts: count, pairs };
    let manifest = sealed(MANIFEST, &checkpoint.encode());
    let name = format!("{dir}/manifest");
    objects.put_named(&name, manifest).await.map_err(|error| error.to_string())?;
    remove_older(&**objects, domain, &dir).await.map_err(|error| error.to_string())?;
    Ok(checkpoint)
}

async fn remove_older(
    objects: &dyn Objects,
    domain: StoreId,
    kept: &str,
) -> Result<(), StoreError> {
    let mut names = objects.list_named(&root(domain)).await?;
    names.retain(|name| name.rsplit_once('/').is_some_and(|(dir, _)| dir < kept));
    // Manifests first.
    names.sort_by_key(|name| !name.ends_with("/manifest"));
    for name in names {
        objects.delete_named(&name).await?;
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
    let Some(name) = names.iter().rev().find(|name| name.ends_with("/manifest")) else {
        return Ok(None);
    };
    let bytes = objects.get_named(name).await?;
    let body = opened(MANIFEST, &bytes);
    let checkpoint = body.and_then(|body| Checkpoint::decode(domain, body));
    checkpoint.map(Some).ok_or_else(|| StoreError::Corrupt(format!("{name}: wrong checksum")))
}

/// What was let go of at or after this moment may be named by a checkpoint.
///
/// # Errors
/// In words for the operator: then nothing may be deleted.
pub(crate) async fn pin(place: &Place) -> Result<Option<Time>, String> {
    let newest = newest(&*place.content.store, place.meta.id()).await;
    let words = |error| format!("looking for checkpoints in {}: {error}", place.content_name);
    Ok(newest.map_err(words)?.map(|checkpoint| checkpoint.time))
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
    let name = format!("{}/part-{number:08}", folder(checkpoint.domain, checkpoint.time));
    let bytes = objects.get_named(&name).await?;
    let unpacked =
        opened(PART, &bytes).and_then(|packed| zstd::bulk::decompress(packed, PART_BYTES_MAX).ok());
    unpacked.ok_or_else(|| StoreError::Corrupt(format!("{name}: wrong checksum")))
}

impl Checkpoint {
    fn encode(&self) -> Vec<u8> {
        [
            &self.time.seconds.to_le_bytes()[..],
            &self.time.nanos.to_le_bytes(),
            &self.parts.to_le_bytes(),
            &self.pairs.to_le_bytes(),
            self.store.as_bytes(),
        ]
        .concat()
    }

    fn decode(domain: StoreId, body: &[u8]) -> Option<Self> {
        let (seconds, rest) = body.split_first_chunk()?;
        let (nanos, rest) = rest.split_first_chunk()?;
        let (parts, rest) = rest.split_first_chunk()?;
        let (pairs, name) = rest.split_first_chunk()?;
        Some(Self {
            domain,
            store: String::from_utf8(name.to_vec()).ok()?,
            time: Time { seconds: i64::from_le_bytes(*seconds), nanos: u32::from_le_bytes(*nanos) },
            parts: u32::from_le_bytes(*parts),
            pairs: u64::from_le_bytes(*pairs),
        })
    }
}

fn root(domain: StoreId) -> String {
    format!("{:016x}/checkpoints", domain.0)
}

fn folder(domain: StoreId, time: Time) -> String {
    format!("{}/{:020}", root(domain), time.seconds)
}

fn sealed(magic: &[u8; 8], body: &[u8]) -> Bytes {
    [&magic[..], &xxh3_64(body).to_le_bytes(), body].concat().into()
}

fn opened<'a>(magic: &[u8; 8], bytes: &'a [u8]) -> Option<&'a [u8]> {
    let body = bytes.strip_prefix(magic)?;
    let (check, body) = body.split_first_chunk()?;
    (xxh3_64(body) == u64::from_le_bytes(*check)).then_some(body)
}
