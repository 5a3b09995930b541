//! The structures of `FORMAT.md`, and nothing that decides.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};
use zerocopy::{
    FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{I64, U16, U32, U64},
};

/// The only version that this server knows.
pub(crate) const VERSION: u16 = 2;
/// Records begin here.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 512;
/// Bytes of a record's header.
pub(crate) const RECORD_HEADER_BYTES: u64 = size_of::<RecordHeader>() as u64;
/// A record begins at a multiple of this.
pub(crate) const RECORD_ALIGN: u64 = 32;
/// Bytes of a slot of the manifest.
pub(crate) const SLOT_BYTES: u64 = 64 * 1024;
/// Most segments that a slot can list.
pub(crate) const SEGMENTS_MAX: usize = 2_000;

pub(crate) const KIND_WRITE: u16 = 1;
pub(crate) const KIND_TRUNCATE: u16 = 2;
/// Stands where records were lost whose loss the operator accepted.
pub(crate) const KIND_LOST: u16 = 3;
pub(crate) const STATE_CLOSED: u32 = 1;
pub(crate) const STATE_OPEN: u32 = 2;

const RECORD_MAGIC: [u8; 4] = *b"DLRC";
const SEGMENT_MAGIC: [u8; 4] = *b"DLSG";
const MANIFEST_MAGIC: [u8; 4] = *b"DLMF";

const _: () = assert!(size_of::<RecordHeader>() == 128);
const _: () = assert!(size_of::<SegmentHeader>() == 48);
const _: () = assert!(SEGMENT_HEADER_BYTES.is_multiple_of(RECORD_ALIGN));
const _: () = assert!(
    (size_of::<ManifestHeader>() + SEGMENTS_MAX * size_of::<Entry>() + 8) as u64 <= SLOT_BYTES
);

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RecordHeader {
    pub(crate) magic: [u8; 4],
    pub(crate) version: U16,
    pub(crate) kind: U16,
    pub(crate) slice: U16,
    pub(crate) before_kind: U16,
    pub(crate) payload_bytes: U32,
    pub(crate) sequence: U64,
    pub(crate) store: U64,
    pub(crate) inode: U64,
    pub(crate) offset: U64,
    pub(crate) seconds: I64,
    pub(crate) nanos: U32,
    pub(crate) before_bytes: U32,
    pub(crate) synced_through: U64,
    pub(crate) generation: U64,
    pub(crate) payload_xxh3: U64,
    pub(crate) before_store: U64,
    pub(crate) before_inode: U64,
    pub(crate) before_offset: U64,
    pub(crate) before_xxh3: U64,
    pub(crate) header_xxh3: U64,
}

/// What a record changes. The header after it says it again, so that a damaged one costs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct What {
    /// 0: not known.
    pub(crate) kind: u16,
    pub(crate) payload_bytes: u32,
    pub(crate) store: u64,
    pub(crate) inode: u64,
    pub(crate) offset: u64,
    pub(crate) payload_xxh3: u64,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct SegmentHeader {
    pub(crate) magic: [u8; 4],
    pub(crate) version: U16,
    pub(crate) slice: U16,
    pub(crate) number: U32,
    pub(crate) zero: U32,
    pub(crate) generation: U64,
    pub(crate) first: U64,
    pub(crate) synced_through: U64,
    pub(crate) xxh3: U64,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct ManifestHeader {
    pub(crate) magic: [u8; 4],
    pub(crate) version: U16,
    pub(crate) slice: U16,
    pub(crate) segment_bytes: U32,
    pub(crate) count: U32,
    pub(crate) epoch: U64,
    pub(crate) generation_next: U64,
    pub(crate) sequence_next: U64,
    pub(crate) synced_through: U64,
    pub(crate) key: U64,
    pub(crate) zero: U64,
}

/// A segment in the manifest.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Entry {
    pub(crate) number: U32,
    pub(crate) state: U32,
    pub(crate) generation: U64,
    pub(crate) first: U64,
    pub(crate) last: U64,
}

/// What stood where a structure was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// Not that structure, or damaged.
    Damaged,
    /// Of a version that this server does not know.
    Version(u16),
    /// Sound, and of a kind that this server does not know.
    Kind(u16),
}

/// Bytes that a record takes, padding included.
pub(crate) fn record_bytes(payload_bytes: u64) -> u64 {
    (RECORD_HEADER_BYTES + payload_bytes).next_multiple_of(RECORD_ALIGN)
}

pub(crate) fn payload_xxh3(payload: &[u8], sequence: u64) -> u64 {
    xxh3_64_with_seed(payload, sequence)
}

impl RecordHeader {
    /// Fills in magic, version and checksum. It is good at this offset of its segment only.
    pub(crate) fn seal(mut self, key: u64, at: u64) -> Self {
        self.magic = RECORD_MAGIC;
        self.version = VERSION.into();
        self.header_xxh3 = checksum(&self, key.wrapping_add(at)).into();
        self
    }

    /// The header that bytes begin with which lie at an offset of a segment.
    pub(crate) fn read(bytes: &[u8], at: u64, key: u64) -> Result<Self, Bad> {
        let (header, _) = Self::read_from_prefix(bytes).map_err(|_| Bad::Damaged)?;
        if header.magic != RECORD_MAGIC
            || header.header_xxh3.get() != checksum(&header, key.wrapping_add(at))
        {
            return Err(Bad::Damaged);
        }
        match header.version.get() {
            VERSION => Ok(header),
            other => Err(Bad::Version(other)),
        }
    }

    /// The header of a record that changes this, as far as that goes.
    pub(crate) fn of(what: What) -> Self {
        Self {
            kind: what.kind.into(),
            payload_bytes: what.payload_bytes.into(),
            store: what.store.into(),
            inode: what.inode.into(),
            offset: what.offset.into(),
            payload_xxh3: what.payload_xxh3.into(),
            ..Self::new_zeroed()
        }
    }

    /// What it says of its own record.
    pub(crate) fn what(&self) -> What {
        What {
            kind: self.kind.get(),
            payload_bytes: self.payload_bytes.get(),
            store: self.store.get(),
            inode: self.inode.get(),
            offset: self.offset.get(),
            payload_xxh3: self.payload_xxh3.get(),
        }
    }

    /// What it says of the record before.
    pub(crate) fn before(&self) -> What {
        What {
            kind: self.before_kind.get(),
            payload_bytes: self.before_bytes.get(),
            store: self.before_store.get(),
            inode: self.before_inode.get(),
            offset: self.before_offset.get(),
            payload_xxh3: self.before_xxh3.get(),
        }
    }

    /// With what it shall say of the record before.
    pub(crate) fn after(self, before: What) -> Self {
        Self {
            before_kind: before.kind.into(),
            before_bytes: before.payload_bytes.into(),
            before_store: before.store.into(),
            before_inode: before.inode.into(),
            before_offset: before.offset.into(),
            before_xxh3: before.payload_xxh3.into(),
            ..self
        }
    }
}

impl SegmentHeader {
    /// Fills in magic, version and checksum.
    pub(crate) fn seal(mut self, key: u64) -> Self {
        self.magic = SEGMENT_MAGIC;
        self.version = VERSION.into();
        self.xxh3 = checksum(&self, key).into();
        self
    }

    pub(crate) fn read(bytes: &[u8], key: u64) -> Result<Self, Bad> {
        let (header, _) = Self::read_from_prefix(bytes).map_err(|_| Bad::Damaged)?;
        if header.magic != SEGMENT_MAGIC || header.xxh3.get() != checksum(&header, key) {
            return Err(Bad::Damaged);
        }
        match header.version.get() {
            VERSION => Ok(header),
            other => Err(Bad::Version(other)),
        }
    }
}

/// The bytes of a manifest slot.
pub(crate) fn write_slot(mut header: ManifestHeader, entries: &[Entry]) -> Vec<u8> {
    assert!(entries.len() <= SEGMENTS_MAX, "more segments than the manifest can list");
    header.magic = MANIFEST_MAGIC;
    header.version = VERSION.into();
    header.count = u32::try_from(entries.len()).expect("at most SEGMENTS_MAX").into();
    let mut bytes = [header.as_bytes(), entries.as_bytes()].concat();
    let sum = xxh3_64(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

/// What a manifest slot says.
pub(crate) fn read_slot(bytes: &[u8]) -> Result<(ManifestHeader, Vec<Entry>), Bad> {
    let (header, rest) = ManifestHeader::read_from_prefix(bytes).map_err(|_| Bad::Damaged)?;
    // There was no version 0: it is what a write leaves that was cut behind the magic.
    if header.magic != MANIFEST_MAGIC || header.version.get() == 0 {
        return Err(Bad::Damaged);
    }
    // Another version may be shaped in another way, so its number is all that can be read.
    if header.version.get() != VERSION {
        return Err(Bad::Version(header.version.get()));
    }
    let count = header.count.get() as usize;
    if count > SEGMENTS_MAX {
        return Err(Bad::Damaged);
    }
    let (entries, rest) =
        <[Entry]>::ref_from_prefix_with_elems(rest, count).map_err(|_| Bad::Damaged)?;
    let (sum, _) = U64::read_from_prefix(rest).map_err(|_| Bad::Damaged)?;
    if sum.get() != xxh3_64(&bytes[..size_of::<ManifestHeader>() + size_of_val(entries)]) {
        return Err(Bad::Damaged);
    }
    Ok((header, entries.to_vec()))
}

/// Of all but the last 8 bytes, which hold it.
fn checksum<T: IntoBytes + Immutable>(header: &T, key: u64) -> u64 {
    let bytes = header.as_bytes();
    xxh3_64_with_seed(&bytes[..bytes.len() - 8], key)
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn every_damaged_byte_of_a_header_is_seen() {
        let record = RecordHeader::new_zeroed().seal(7, 0);
        let segment = SegmentHeader::new_zeroed().seal(7);
        assert!(RecordHeader::read(record.as_bytes(), 0, 7).is_ok());
        assert_eq!(RecordHeader::read(record.as_bytes(), 0, 8).map(drop), Err(Bad::Damaged));
        assert_eq!(RecordHeader::read(record.as_bytes(), 32, 7).map(drop), Err(Bad::Damaged));
        for at in 0..size_of::<RecordHeader>() {
            let mut bytes = record.as_bytes().to_vec();
            bytes[at] ^= 1;
            assert_eq!(RecordHeader::read(&bytes, 0, 7).map(drop), Err(Bad::Damaged), "byte {at}");
        }
        for at in 0..size_of::<SegmentHeader>() {
            let mut bytes = segment.as_bytes().to_vec();
            bytes[at] ^= 1;
            assert_eq!(SegmentHeader::read(&bytes, 7).map(drop), Err(Bad::Damaged), "byte {at}");
        }
    }

    #[test]
    fn a_header_says_what_the_one_before_changed() {
        let what =
            |n| What { kind: 1, payload_bytes: n, store: 2, inode: 3, offset: 4, payload_xxh3: 5 };
        let header = RecordHeader { inode: 9.into(), ..RecordHeader::new_zeroed() };
        let header = header.after(what(77));
        assert_eq!((header.before(), header.what().inode), (what(77), 9));
    }

    #[test]
    fn every_damaged_byte_of_a_slot_is_seen_and_no_short_one_panics() {
        let slot = write_slot(ManifestHeader::new_zeroed(), &[Entry::new_zeroed(); 3]);
        assert_eq!(read_slot(&slot).expect("sound").1.len(), 3);
        for at in 0..slot.len() {
            let mut bytes = slot.clone();
            bytes[at] ^= 0x40;
            assert!(read_slot(&bytes).is_err(), "byte {at}");
            assert!(read_slot(&slot[..at]).is_err(), "length {at}");
        }
    }

    #[test]
    fn another_version_is_told_from_damage() {
        let mut slot = write_slot(ManifestHeader::new_zeroed(), &[]);
        slot[4] = 3;
        assert_eq!(read_slot(&slot).map(drop), Err(Bad::Version(3)));
    }
}
