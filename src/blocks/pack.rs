//! The pack format: many small block objects in one, behind a directory of them. See FORMAT.md.
//!
//! Invariants: what a directory says was checked; its blocks follow it and each other without gaps.
//! A block in a pack is a whole block object, so that whoever knows its place needs no directory.

use std::mem::size_of;

use bytes::Bytes;
use vocab::{
    BlockHash, PackId, Packed,
    limits::{BLOCK_BYTES, PACKED_BLOCK_BYTES_MAX},
};
use xxhash_rust::xxh3::xxh3_64_with_seed;
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

use crate::{object::Fault, spare::Spare};

const MAGIC: [u8; 4] = *b"DFSP";
const VERSION: u16 = 1;
/// Blocks in a pack: its directory stays a small part of it.
pub const PACK_BLOCKS_MAX: usize = 2048;
/// Stored bytes of the blocks in a pack, before the last one is added.
pub const PACK_BYTES: usize = BLOCK_BYTES as usize;
/// What a pack of one block weighs more than the block.
pub const PACK_HEAD_BYTES_MIN: usize = HEADER_BYTES + ROW_BYTES;
/// No header and directory are longer.
pub(crate) const HEAD_BYTES_MAX: usize = HEADER_BYTES + PACK_BLOCKS_MAX * ROW_BYTES;
/// No pack is longer: a block may be stored a little longer than plain.
pub(crate) const BYTES_MAX: u64 =
    (HEAD_BYTES_MAX + PACK_BYTES + 2 * PACKED_BLOCK_BYTES_MAX as usize) as u64;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 4],
    version: U16,
    zero: U16,
    blocks: U32,
    /// Of the whole pack.
    bytes: U32,
    pack: [u8; 32],
    directory_check: U64,
    header_check: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Row {
    hash: [u8; 32],
    at: U32,
    bytes: U32,
    plain_bytes: U32,
    zero: U32,
}

const HEADER_BYTES: usize = size_of::<Header>();
const ROW_BYTES: usize = size_of::<Row>();
const _: () = assert!(HEADER_BYTES == 64 && ROW_BYTES == 48);

/// A block object on its way into a pack.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its identity.
    pub hash: BlockHash,
    /// Its plain bytes.
    pub plain_bytes: u32,
    /// Its object.
    pub object: Bytes,
}

/// A block that a directory names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackEntry {
    /// Its identity.
    pub hash: BlockHash,
    /// Its plain bytes.
    pub plain_bytes: u32,
    /// Where it rests.
    pub packed: Packed,
}

/// The pack of some blocks, and where each of them rests in it.
pub(crate) fn encode(pack: PackId, parts: &[Part]) -> (Bytes, Vec<Packed>) {
    assert!((1..=PACK_BLOCKS_MAX).contains(&parts.len()), "{} blocks in a pack", parts.len());
    let head = HEADER_BYTES + parts.len() * ROW_BYTES;
    let bytes = head + parts.iter().map(|part| part.object.len()).sum::<usize>();
    let mut at = fits(head);
    let mut places = Vec::with_capacity(parts.len());
    let mut rows = Vec::with_capacity(parts.len() * ROW_BYTES);
    for part in parts {
        let packed = Packed { pack, at, bytes: fits(part.object.len()) };
        let row = Row {
            hash: part.hash.0,
            at: at.into(),
            bytes: packed.bytes.into(),
            plain_bytes: part.plain_bytes.into(),
            zero: 0.into(),
        };
        rows.extend_from_slice(row.as_bytes());
        at += packed.bytes;
        places.push(packed);
    }
    let mut header = Header {
        magic: MAGIC,
        version: VERSION.into(),
        zero: 0.into(),
        blocks: fits(parts.len()).into(),
        bytes: fits(bytes).into(),
        pack: pack.0.0,
        directory_check: check(&rows, pack).into(),
        header_check: 0.into(),
    };
    header.header_check = header_check(header.as_bytes()).into();
    let mut object = Spare::take(bytes);
    object.extend_from_slice(header.as_bytes());
    object.extend_from_slice(&rows);
    parts.iter().for_each(|part| object.extend_from_slice(&part.object));
    (object.freeze(), places)
}

/// Reads the head of an object that should be this pack; more bytes may follow. Its blocks, and the
/// bytes of the whole pack.
pub(crate) fn parse(pack: PackId, head: &[u8]) -> Result<(Vec<PackEntry>, u64), Fault> {
    let (header, rest) = Header::read_from_prefix(head).map_err(|_| "shorter than a header")?;
    if header.magic != MAGIC {
        return Err("not a pack");
    }
    if header.header_check.get() != header_check(head) {
        return Err("wrong header checksum");
    }
    if header.version.get() != VERSION {
        return Err("written by an unknown version");
    }
    if header.pack != pack.0.0 {
        return Err("another pack");
    }
    let blocks = header.blocks.get() as usize;
    let rows = rest.get(..blocks * ROW_BYTES).ok_or("shorter than its directory")?;
    if header.directory_check.get() != check(rows, pack) {
        return Err("wrong directory checksum");
    }
    let rows = <[Row]>::ref_from_bytes(rows).map_err(|_| "a directory that makes no sense")?;
    let mut at = fits(HEADER_BYTES + blocks * ROW_BYTES);
    let mut entries = Vec::with_capacity(blocks);
    for row in rows {
        let plain_bytes = row.plain_bytes.get();
        if row.at.get() != at || !(1..=PACKED_BLOCK_BYTES_MAX).contains(&plain_bytes) {
            return Err("a directory that makes no sense");
        }
        let packed = Packed { pack, at, bytes: row.bytes.get() };
        entries.push(PackEntry { hash: BlockHash(row.hash), plain_bytes, packed });
        at = at.checked_add(packed.bytes).ok_or("a directory that makes no sense")?;
    }
    if at != header.bytes.get() {
        return Err("a directory that makes no sense");
    }
    Ok((entries, at.into()))
}

fn fits(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a pack is short")
}

/// Ties the directory to its pack.
fn check(rows: &[u8], pack: PackId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = pack.0.0;
    xxh3_64_with_seed(rows, u64::from_le_bytes([a, b, c, d, e, f, g, h]))
}

fn header_check(header: &[u8]) -> u64 {
    xxh3_64_with_seed(&header[..HEADER_BYTES - 8], 0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reactor::rng::Rng;
    use vocab::{StoreId, limits::FRAME_BYTES};

    use super::*;
    use crate::{BlockKey, Codec, Content, Memory, Plain, StoreError};

    const DOMAIN: StoreId = StoreId(3);
    const PACK: PackId = PackId(BlockHash([0x77; 32]));

    /// Blocks of one byte up to the largest, some of which shrink.
    fn blocks() -> Vec<Plain> {
        let mut rng = Rng::from_seed(23);
        let lens = [1, 4096, FRAME_BYTES, FRAME_BYTES + 1, PACKED_BLOCK_BYTES_MAX];
        let block = |(n, len): (usize, u32)| {
            let len = usize::try_from(len).unwrap();
            let bytes = if n % 2 == 0 { rng.bytes(len) } else { vec![7; len] };
            Plain::from(&bytes[..])
        };
        lens.into_iter().enumerate().map(block).collect()
    }

    async fn put(content: &Content, blocks: &[Plain]) -> Vec<Packed> {
        let mut parts = Vec::new();
        for plain in blocks {
            let key = BlockKey::block(DOMAIN, Content::hash(plain));
            parts.push(content.part(&key, plain).await.unwrap());
        }
        content.put_pack(DOMAIN, PACK, &parts).await.unwrap()
    }

    #[tokio::test]
    async fn every_block_is_read_from_its_place_and_from_the_whole() {
        for codec in [Codec::None, Codec::Lz4, Codec::Zstd] {
            let content = Content::new(Arc::new(Memory::new()), codec);
            let blocks = blocks();
            let places = put(&content, &blocks).await;
            let entries = content.directory(DOMAIN, PACK).await.unwrap();
            let unpacked = content.unpack(DOMAIN, PACK).await.unwrap();
            for (n, plain) in blocks.iter().enumerate() {
                let (hash, bytes) = (Content::hash(plain), plain.bytes());
                assert_eq!(entries[n], PackEntry { hash, plain_bytes: bytes, packed: places[n] });
                let key = BlockKey::block(DOMAIN, hash);
                let frames = plain.frames();
                for first in 0..frames.len() {
                    let nth = u32::try_from(first).unwrap();
                    // By a reader that knows nothing, and by one that has read it before.
                    let cold = Content::new(content.store.clone(), codec);
                    for reader in [&cold, &cold, &content] {
                        let read = reader.frames(&key, Some(places[n]), bytes, nth, 1).await;
                        assert_eq!(read.unwrap(), frames[first..=first]);
                    }
                }
                let whole = content.whole(&key, Some(places[n]), bytes).await.unwrap();
                assert_eq!(whole.frames(), frames);
                let opened = content.open(&key, bytes, &unpacked[n].1).await.unwrap();
                assert_eq!((unpacked[n].0, opened.frames()), (entries[n], frames));
            }
        }
    }

    /// Any bit of it: the head says so, or the block that the bit is in.
    #[tokio::test]
    async fn no_flipped_bit_passes() {
        let content = Content::new(Arc::new(Memory::new()), Codec::Lz4);
        put(&content, &blocks()).await;
        let key = BlockKey::pack(DOMAIN, PACK);
        let good = content.store.get(&key, 0, u64::MAX).await.unwrap();
        let mut rng = Rng::from_seed(29);
        let head = HEADER_BYTES + 5 * ROW_BYTES;
        let sample = (0..300).map(|_| rng.index(good.len()));
        for at in (0..head + 80).chain(sample.collect::<Vec<_>>()) {
            let mut bad = good.to_vec();
            bad[at] ^= 1 << (at % 8);
            content.store.replace(&key, bad.into()).await.unwrap();
            match content.unpack(DOMAIN, PACK).await {
                Err(error) => assert!(at < head && matches!(error, StoreError::Corrupt(_))),
                Ok(unpacked) => {
                    let mut bad = 0;
                    for (entry, object) in &unpacked {
                        let key = BlockKey::block(DOMAIN, entry.hash);
                        let opened = content.open(&key, entry.plain_bytes, object).await;
                        bad += usize::from(opened.is_err());
                    }
                    assert_eq!((bad, at >= head), (1, true), "byte {at}");
                }
            }
            let listed = content.directory(DOMAIN, PACK).await;
            assert_eq!(listed.is_err(), at < head, "byte {at}");
        }
        for len in [0, 10, head - 1, head, good.len() - 1] {
            content.store.replace(&key, good.slice(..len)).await.unwrap();
            assert!(content.unpack(DOMAIN, PACK).await.is_err(), "cut to {len}");
        }
    }
}
