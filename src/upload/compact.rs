//! Packs that are mostly dead: what lives in them is put again in new packs, and they are let go.
//!
//! Invariants: a block is moved by the metadata store's writer, and only from where it was copied;
//! the old pack stays for its grace, for readers under way and for the newest checkpoint. What is
//! damaged is not moved: a scrub heals it or names it.

use blocks::{
    BlockKey, PACK_BLOCKS_MAX, PACK_BYTES, PACK_HEAD_BYTES_MIN, PackEntry, Part, StoreError,
};
use bytes::Bytes;
use meta::{Rest, command::Command};
use vocab::{BlockHash, Error, PackId, Packed};

use crate::{Place, lock::Locks, packer::pack_id};

/// Blocks on their way to a new pack.
#[derive(Default)]
struct Moving {
    parts: Vec<Part>,
    from: Vec<(BlockHash, Packed)>,
    bytes: usize,
}

/// Whether a pack with so many bytes of blocks in use is worth rewriting: the new one weighs more
/// than they do, and must not be sparse again.
pub(crate) fn is_sparse(used_bytes: u64, pack_bytes: u64) -> bool {
    used_bytes + PACK_HEAD_BYTES_MIN as u64 <= pack_bytes / 2
}

/// Moves what lives in some packs to new ones; how many blocks.
///
/// # Errors
/// In words for the operator; what was moved stays moved.
pub(crate) async fn run(place: &Place, locks: &Locks, packs: &[PackId]) -> Result<u64, String> {
    let (mut moving, mut moved) = (Moving::default(), 0);
    for &pack in packs {
        for (entry, object) in contents(place, pack).await? {
            let key = BlockKey::block(place.meta.id(), entry.hash);
            let counted = place.meta.count_of(&place.content_name, entry.hash).await;
            let rests = counted.map_err(words(place))?.filter(|counted| !counted.is_deleting);
            if rests.is_none_or(|counted| counted.rests != Rest::Packed(entry.packed)) {
                continue;
            }
            if let Err(error) = place.content.open(&key, entry.plain_bytes, &object).await {
                trace::warn!(hash = %entry.hash, %error, "a damaged block stays in its pack");
                continue;
            }
            moving.push(&entry, &object);
            if moving.is_full() {
                moved += std::mem::take(&mut moving).put(place, locks).await?;
            }
        }
    }
    Ok(moved + moving.put(place, locks).await?)
}

/// What is in a pack: by its directory, or by the counts when that is damaged.
async fn contents(place: &Place, pack: PackId) -> Result<Vec<(PackEntry, Bytes)>, String> {
    let domain = place.meta.id();
    let name = &place.content_name;
    let away = |error: StoreError| format!("reading a pack of {name}: {error}");
    match place.content.unpack(domain, pack).await {
        Ok(contents) => return Ok(contents),
        Err(StoreError::NotFound | StoreError::Corrupt(_)) => {}
        Err(error) => return Err(away(error)),
    }
    let mut contents = Vec::new();
    for counted in place.meta.packed_in(name, pack).await.map_err(words(place))? {
        let Rest::Packed(packed) = counted.rests else { continue };
        let key = BlockKey::block(domain, counted.hash);
        match place.content.packed_object(&key, packed).await {
            Ok(object) => {
                let (hash, plain_bytes) = (counted.hash, counted.stored_len);
                contents.push((PackEntry { hash, plain_bytes, packed }, object));
            }
            Err(StoreError::NotFound | StoreError::Corrupt(_)) => {}
            Err(error) => return Err(away(error)),
        }
    }
    Ok(contents)
}

impl Moving {
    fn push(&mut self, entry: &PackEntry, object: &Bytes) {
        let PackEntry { hash, plain_bytes, packed } = *entry;
        self.bytes += object.len();
        self.from.push((hash, packed));
        // A copy, so that the old pack does not stay in memory.
        let object = Bytes::copy_from_slice(object);
        self.parts.push(Part { hash, plain_bytes, object });
    }

    fn is_full(&self) -> bool {
        self.bytes >= PACK_BYTES || self.parts.len() == PACK_BLOCKS_MAX
    }

    async fn put(self, place: &Place, locks: &Locks) -> Result<u64, String> {
        if self.parts.is_empty() {
            return Ok(0);
        }
        let pack = pack_id();
        let _held = locks.lock(pack.0).await;
        let places = place.content.put_pack(place.meta.id(), pack, &self.parts).await;
        let places = places
            .map_err(|error| format!("putting a pack into {}: {error}", place.content_name))?;
        let moved = places.len() as u64;
        let moves = self.from.into_iter().zip(places);
        let moves = moves.map(|((hash, from), to)| (hash, from, Some(to))).collect();
        let (content, now) = (place.content_name.to_string(), reactor::clock::wall());
        let done = place.meta.submit(Command::Move { content, moves, now }).await;
        done.map(|_| moved).map_err(words(place))
    }
}

fn words(place: &Place) -> impl Fn(Error) -> String {
    let name = place.meta.name().to_owned();
    move |error| format!("the metadata store {name} answered {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_of_one_block_is_not_rewritten_again_and_again() {
        for block in 1..1000 {
            assert!(!is_sparse(block, block + PACK_HEAD_BYTES_MIN as u64), "{block} bytes");
        }
        assert!(is_sparse(1 << 20, 4 << 20), "a quarter is in use");
    }
}
