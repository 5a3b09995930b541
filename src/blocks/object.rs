//! The block object format: see FORMAT.md.
//!
//! Nothing leaves here unchecked: the header checks itself and the index, each frame checks itself.
//! A checksum is over the bytes as stored and seeded with the block, the frame's number and its
//! codec, so a frame of another block or place never passes, and no decoder sees bytes that we did
//! not write. In a raw block every frame's place is known, so it is read and checked without index.

use std::ops::Range;

use bytes::Bytes;
use vocab::{BlockHash, limits::FRAME_BYTES};
use xxhash_rust::xxh3::xxh3_64_with_seed;
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

use crate::{
    plain::Plain,
    seal::{DataKeys, ObjectKey, TAG_BYTES},
    spare::Spare,
};

const MAGIC: [u8; 4] = *b"DFSB";
const VERSION: u16 = 1;
/// Of an object whose frames are sealed.
const VERSION_SEALED: u16 = 2;
/// Bytes of a frame's checksum, which stands before it.
const CHECK_BYTES: u32 = 8;
/// A compressed frame saves at least a sixteenth, or it is stored raw.
const SAVED_MIN_SHIFT: u32 = 4;
/// After so many frames in a row that do not shrink, the rest of the block is stored raw.
const STUBBORN_MAX: u32 = 4;
/// The fastest level that is worth its time on one core.
const ZSTD_LEVEL: i32 = 1;

/// How the frames of new blocks are stored. Reading takes what it finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// As they are: a cold read needs no index.
    #[default]
    None,
    /// LZ4 block format.
    Lz4,
    /// Zstandard.
    Zstd,
}

/// Why bytes are not the block that they should be.
pub(crate) type Fault = &'static str;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 4],
    version: U16,
    /// What the writer was set to. The index has the codec of each frame.
    codec: u8,
    zero: u8,
    plain_bytes: U32,
    frame_bytes: U32,
    hash: [u8; 32],
    index_check: U64,
    header_check: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct Entry {
    /// From the object's start to the frame's checksum.
    offset: U32,
    /// Low 24 bits: bytes of the frame as stored, without its checksum. High 8: its codec.
    stored: U32,
}

/// Stands between the hash and the checksums of a sealed object's header.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct Sealing {
    key_id: [u8; 16],
    salt: [u8; 32],
}

const HEADER_BYTES: usize = size_of::<Header>();
const CHECKS_BYTES: usize = 16;
const SEALING_BYTES: usize = size_of::<Sealing>();
const _: () = assert!(HEADER_BYTES == 64 && size_of::<Entry>() == 8 && SEALING_BYTES == 48);
const _: () = assert!(FRAME_BYTES < 1 << 24);

/// Frames of a block.
pub(crate) fn frame_count(plain_bytes: u32) -> u32 {
    plain_bytes.div_ceil(FRAME_BYTES)
}

/// Bytes of header and index.
fn head_bytes(plain_bytes: u32, is_sealed: bool) -> u32 {
    let header = if is_sealed { 112 } else { 64 };
    header + 8 * frame_count(plain_bytes)
}

/// Header and index are not longer, however the object is stored.
pub(crate) fn head_bytes_max(plain_bytes: u32) -> u32 {
    head_bytes(plain_bytes, true)
}

/// The first frames of an object end here at the latest, however they are stored.
pub(crate) fn end_max(plain_bytes: u32, frames: u32) -> u64 {
    let frame = FRAME_BYTES + CHECK_BYTES + TAG_BYTES;
    u64::from(head_bytes_max(plain_bytes)) + u64::from(frames) * u64::from(frame)
}

/// Plain bytes of one frame.
fn frame_bytes(plain_bytes: u32, number: u32) -> u32 {
    (plain_bytes - number * FRAME_BYTES).min(FRAME_BYTES)
}

/// The object of a block, sealed by its own key if there is one.
pub(crate) fn encode(
    hash: &BlockHash,
    plain: &Plain,
    codec: Codec,
    key: Option<&ObjectKey>,
) -> Bytes {
    let plain_bytes = plain.bytes();
    let head = head_bytes(plain_bytes, key.is_some()) as usize;
    let frames = plain.frames().len();
    let frames_bytes = frames * (CHECK_BYTES + TAG_BYTES) as usize + plain_bytes as usize;
    let mut object = Spare::take(head + frames_bytes);
    object.extend_zeroes(head);
    let mut packer = Packer { codec, stubborn: 0 };
    let mut entries = Vec::with_capacity(frames);
    for (number, frame) in (0..).zip(plain.frames()) {
        let packed = packer.pack(frame);
        let codec = if packed.is_some() { codec } else { Codec::None };
        let sealed = key.map(|key| {
            let bytes = packed.as_deref().unwrap_or(frame).to_vec();
            key.seal(number, &about(hash, plain_bytes, number, codec), bytes)
        });
        let stored = sealed.as_deref().or(packed.as_deref()).unwrap_or(frame);
        entries.push(Entry::new(object.len(), stored.len(), codec));
        object.extend_from_slice(&frame_check(hash, number, codec, stored).to_le_bytes());
        object.extend_from_slice(stored);
    }
    let header = header(hash, plain_bytes, codec, entries.as_bytes(), key);
    object[..header.len()].copy_from_slice(&header);
    object[header.len()..head].copy_from_slice(entries.as_bytes());
    object.freeze()
}

/// What a sealed frame is, so that no other frame passes for it.
fn about(hash: &BlockHash, plain_bytes: u32, number: u32, codec: Codec) -> [u8; 41] {
    let mut about = [0; 41];
    about[..32].copy_from_slice(&hash.0);
    about[32..36].copy_from_slice(&plain_bytes.to_le_bytes());
    about[36..40].copy_from_slice(&number.to_le_bytes());
    about[40] = codec.number();
    about
}

fn header(
    hash: &BlockHash,
    plain_bytes: u32,
    codec: Codec,
    index: &[u8],
    key: Option<&ObjectKey>,
) -> Vec<u8> {
    let header = Header {
        magic: MAGIC,
        version: if key.is_some() { VERSION_SEALED } else { VERSION }.into(),
        codec: codec.number(),
        zero: 0,
        plain_bytes: plain_bytes.into(),
        frame_bytes: FRAME_BYTES.into(),
        hash: hash.0,
        index_check: 0.into(),
        header_check: 0.into(),
    };
    let mut bytes = header.as_bytes()[..HEADER_BYTES - CHECKS_BYTES].to_vec();
    if let Some(key) = key {
        bytes.extend_from_slice(Sealing { key_id: key.id, salt: key.salt }.as_bytes());
    }
    bytes.extend_from_slice(&xxh3_64_with_seed(index, seed(hash)).to_le_bytes());
    bytes.extend_from_slice(&xxh3_64_with_seed(&bytes, 0).to_le_bytes());
    bytes
}

/// The header with its checks where an unsealed one has them, and the sealing.
fn parse_header(head: &[u8]) -> Result<(Header, Option<Sealing>), Fault> {
    let short = "shorter than a header";
    let (mut header, _) = Header::read_from_prefix(head).map_err(|_| short)?;
    if header.magic != MAGIC {
        return Err("not a block object");
    }
    let is_sealed = header.version.get() == VERSION_SEALED;
    let bytes = if is_sealed { HEADER_BYTES + SEALING_BYTES } else { HEADER_BYTES };
    let checked = head.get(..bytes - 8).ok_or(short)?;
    let check = head.get(bytes - 8..bytes).ok_or(short)?;
    if check != xxh3_64_with_seed(checked, 0).to_le_bytes() {
        return Err("wrong header checksum");
    }
    if !is_sealed && header.version.get() != VERSION || header.frame_bytes.get() != FRAME_BYTES {
        return Err("written by an unknown version");
    }
    if !is_sealed {
        return Ok((header, None));
    }
    let sealing = &head[HEADER_BYTES - CHECKS_BYTES..];
    let (sealing, rest) = Sealing::read_from_prefix(sealing).map_err(|_| short)?;
    (header.index_check, _) = U64::read_from_prefix(rest).map_err(|_| short)?;
    Ok((header, Some(sealing)))
}

/// Ties index and frames to their block.
fn seed(hash: &BlockHash) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = hash.0;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

fn frame_check(hash: &BlockHash, number: u32, codec: Codec, stored: &[u8]) -> u64 {
    let place = u64::from(number) << 8 | u64::from(codec.number());
    xxh3_64_with_seed(stored, seed(hash) ^ place)
}

/// Compresses frames while that pays.
struct Packer {
    codec: Codec,
    stubborn: u32,
}

impl Packer {
    /// The frame compressed, or `None` where that saves too little.
    fn pack(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        if self.stubborn == STUBBORN_MAX {
            return None;
        }
        let packed = match self.codec {
            Codec::None => None,
            Codec::Lz4 => Some(lz4_flex::block::compress(frame)),
            Codec::Zstd => zstd::bulk::compress(frame, ZSTD_LEVEL).ok(),
        };
        let stored_max = frame.len() - (frame.len() >> SAVED_MIN_SHIFT).max(1);
        let packed = packed.filter(|packed| packed.len() <= stored_max);
        self.stubborn = if packed.is_some() { 0 } else { self.stubborn + 1 };
        packed
    }
}

impl Codec {
    fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Lz4 => 1,
            Self::Zstd => 2,
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Lz4),
            2 => Some(Self::Zstd),
            _ => None,
        }
    }
}

impl Entry {
    fn new(offset: usize, stored: usize, codec: Codec) -> Self {
        let stored = u32::try_from(stored).expect("a frame fits");
        Self {
            offset: u32::try_from(offset).expect("an object fits").into(),
            stored: (stored | u32::from(codec.number()) << 24).into(),
        }
    }

    fn stored_bytes(self) -> u32 {
        self.stored.get() & 0xff_ffff
    }

    fn codec(self) -> Option<Codec> {
        Codec::from_number(self.stored.get() >> 24)
    }

    fn end(self) -> u32 {
        self.offset.get() + CHECK_BYTES + self.stored_bytes()
    }
}

/// Where the frames of one block are. Invariant: they follow the head and each other without gaps,
/// and none is longer stored than plain.
pub(crate) struct Index {
    plain_bytes: u32,
    entries: Box<[Entry]>,
    /// What the frames were sealed by.
    key: Option<ObjectKey>,
}

impl Index {
    /// The index of a block whose frames are all raw.
    pub(crate) fn raw(plain_bytes: u32) -> Self {
        let stride = FRAME_BYTES + CHECK_BYTES;
        let entry = |number| {
            let offset = head_bytes(plain_bytes, false) + number * stride;
            Entry::new(offset as usize, frame_bytes(plain_bytes, number) as usize, Codec::None)
        };
        let entries = (0..frame_count(plain_bytes)).map(entry).collect();
        Self { plain_bytes, entries, key: None }
    }

    /// Reads the head of an object that should hold this block. More bytes may follow.
    pub(crate) fn parse(
        hash: &BlockHash,
        plain_bytes: u32,
        head: &[u8],
        keys: Option<&DataKeys>,
    ) -> Result<Self, Fault> {
        let (header, sealing) = parse_header(head)?;
        if header.hash != hash.0 {
            return Err("holds another block");
        }
        if header.plain_bytes.get() != plain_bytes {
            return Err("holds a block of another length");
        }
        let key = sealing.map(|sealing| {
            let keys = keys.ok_or("sealed, and no key is configured")?;
            let key = keys.object_of(&sealing.key_id, &sealing.salt);
            key.ok_or("sealed by a data key that is not there")
        });
        let key = key.transpose()?;
        let is_sealed = key.is_some();
        let header_bytes = HEADER_BYTES + if is_sealed { SEALING_BYTES } else { 0 };
        let rest = head.get(header_bytes..).unwrap_or_default();
        let (entries, _) =
            <[Entry]>::ref_from_prefix_with_elems(rest, frame_count(plain_bytes) as usize)
                .map_err(|_| "shorter than its index")?;
        if header.index_check.get() != xxh3_64_with_seed(entries.as_bytes(), seed(hash)) {
            return Err("wrong index checksum");
        }
        let mut offset = head_bytes(plain_bytes, is_sealed);
        let tag = if is_sealed { TAG_BYTES } else { 0 };
        for (number, entry) in (0..).zip(entries) {
            let plain = frame_bytes(plain_bytes, number);
            let fits = match entry.codec() {
                Some(Codec::None) => entry.stored_bytes() == plain + tag,
                Some(Codec::Lz4 | Codec::Zstd) => {
                    (tag..plain + tag).contains(&entry.stored_bytes())
                }
                None => false,
            };
            if !fits || entry.offset.get() != offset {
                return Err("an index that makes no sense");
            }
            offset = entry.end();
        }
        Ok(Self { plain_bytes, entries: entries.into(), key })
    }

    /// Whether its frames are sealed.
    pub(crate) fn is_sealed(&self) -> bool {
        self.key.is_some()
    }

    /// Plain bytes of the block.
    pub(crate) fn plain_bytes(&self) -> u32 {
        self.plain_bytes
    }

    /// Which bytes of the object hold these frames. `count` is not 0.
    pub(crate) fn span(&self, first: u32, count: u32) -> Range<u64> {
        let last = self.entries[(first + count - 1) as usize];
        u64::from(self.entries[first as usize].offset.get())..u64::from(last.end())
    }

    /// The plain frames from the bytes of their span, each in memory of its own: who keeps one does
    /// not keep its neighbours.
    pub(crate) fn decode(
        &self,
        hash: &BlockHash,
        first: u32,
        count: u32,
        span: &[u8],
    ) -> Result<Vec<Bytes>, Fault> {
        let start = self.entries[first as usize].offset.get();
        let frame = |number: u32| {
            let entry = self.entries[number as usize];
            let from = (entry.offset.get() - start) as usize;
            let to = (entry.end() - start) as usize;
            if to > span.len() {
                return Err("shorter than its index says");
            }
            let stored = &span[from + CHECK_BYTES as usize..to];
            let codec = entry.codec().expect("checked when the index was read");
            if span[from..][..8] != frame_check(hash, number, codec, stored).to_le_bytes() {
                return Err("wrong frame checksum");
            }
            let plain_bytes = frame_bytes(self.plain_bytes, number) as usize;
            let Some(key) = &self.key else { return unpack(codec, stored, plain_bytes) };
            let opened = key.open(number, &about(hash, self.plain_bytes, number, codec), stored)?;
            unpack(codec, &opened, plain_bytes)
        };
        (first..first + count).map(frame).collect()
    }
}

fn unpack(codec: Codec, stored: &[u8], plain_bytes: usize) -> Result<Bytes, Fault> {
    let mut frame = Spare::take(plain_bytes);
    if codec == Codec::None {
        frame.extend_from_slice(stored);
        return Ok(frame.freeze());
    }
    frame.extend_by(plain_bytes, |plain| {
        let unpacked = match codec {
            Codec::None => unreachable!("it was just handled"),
            Codec::Lz4 => lz4_flex::block::decompress_into(stored, plain)
                .map_err(|_| "a frame that LZ4 cannot read")?,
            Codec::Zstd => zstd::bulk::decompress_to_buffer(stored, plain)
                .map_err(|_| "a frame that Zstandard cannot read")?,
        };
        if unpacked == plain_bytes { Ok(()) } else { Err("a frame of another length") }
    })?;
    Ok(frame.freeze())
}
