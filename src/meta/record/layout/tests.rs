//! The bytes of every value, old and new, and what is refused.

use reactor::rng::Rng;
use vocab::{
    Attr, BlockHash, Cookie, Device, FileKind, InodeId, PackId, Packed, Sequence, ShareId, Time,
};

use super::{Garbage, Record};
use crate::{
    ShareRoot,
    key::ContentId,
    record::{
        Body, CookieEntry, Count, CountState, Counters, DirectoryBody, Format, Inode, MapEntry,
        NameEntry, Number, RegularBody, Role, Share, ShareTotals,
    },
};

/// One line for each value: its name and its bytes. Lines are added, never changed: every store
/// that was written with them must stay readable.
const GOLDEN: &str = include_str!("golden.txt");

const AT: Time = Time { seconds: -2, nanos: 999_999_999 };

fn attr(kind: FileKind) -> Attr {
    Attr {
        inode: InodeId(0x0102_0304_0506_0708),
        share: ShareId(3),
        generation: 0xdead_beef,
        kind,
        mode: 0o4751,
        nlink: 2,
        uid: 1000,
        gid: 100,
        size: 123_456_789,
        used: 4096,
        device: Device { major: 8, minor: 1 },
        atime: AT,
        mtime: Time { seconds: 1_700_000_000, nanos: 1 },
        ctime: Time { seconds: 1_700_000_001, nanos: 2 },
        change: 42,
    }
}

fn regular(exclusive: Option<[u8; 8]>) -> Inode {
    let body = RegularBody {
        data_seq: Sequence(11),
        trunc_seq: Sequence(10),
        data_change: 9,
        sealed: Sequence(8),
        exclusive,
    };
    Inode { stored: attr(FileKind::Regular), body: Body::Regular(body) }
}

fn directory() -> Inode {
    let body = DirectoryBody { parent: InodeId(2), cookie_next: Cookie(77), entries: 12 };
    Inode { stored: attr(FileKind::Directory), body: Body::Directory(body) }
}

fn special(kind: FileKind) -> Inode {
    Inode { stored: attr(kind), body: Body::Other }
}

fn name_entry() -> NameEntry {
    NameEntry { inode: InodeId(5), cookie: Cookie(6), kind: FileKind::Symlink }
}

fn cookie_entry() -> CookieEntry {
    let name = b"na\xffme".as_slice().into();
    CookieEntry { inode: InodeId(5), kind: FileKind::Socket, name }
}

fn map_entry() -> MapEntry {
    MapEntry {
        hash: BlockHash([0xab; 32]),
        stored_len: 4_194_304,
        valid_len: 100,
        watermark: Sequence(99),
    }
}

fn count(state: CountState) -> Count {
    let count = if state == CountState::Live { 3 } else { 0 };
    Count { count, stored_len: 777, state, role: Role::Own }
}

fn packed(state: CountState) -> Count {
    let packed = Packed { pack: PackId(BlockHash([0xcd; 32])), at: 112, bytes: 5000 };
    Count { role: Role::Packed(packed), ..count(state) }
}

fn pack(state: CountState) -> Count {
    Count { stored_len: 0, role: Role::Pack { bytes: 1 << 33, left: AT }, ..count(state) }
}

fn share() -> Share {
    let root = ShareRoot {
        share: ShareId(1),
        name: "/export".into(),
        root: InodeId(2),
        content: "s3".into(),
    };
    Share { root, content: ContentId(4) }
}

/// Checks a value against its golden line, both ways, and adds up what was checked.
fn check<R: Record + PartialEq + std::fmt::Debug>(name: &str, value: &R, seen: &mut Vec<String>) {
    let bytes = value.encode();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let line = format!("{name} {hex}");
    assert!(GOLDEN.lines().any(|golden| golden == line), "not in golden.txt:\n{line}");
    assert_eq!(R::decode(&bytes).as_ref(), Ok(value), "{name}");
    seen.push(line);
    refuses::<R>(name, &bytes);
}

/// Other versions and cut values are refused; whatever else comes from the disk never panics.
fn refuses<R: Record>(name: &str, bytes: &[u8]) {
    let mut other = bytes.to_vec();
    other[0] ^= 0x80;
    assert_eq!(R::decode(&other).err(), Some(Garbage), "{name}");
    assert_eq!(R::decode(&[]).err(), Some(Garbage), "{name}");
    let mut rng = Rng::from_seed(bytes.len() as u64);
    for _ in 0..200 {
        let mut bytes = bytes.to_vec();
        let nth = usize::try_from(rng.below(bytes.len() as u64)).expect("small");
        bytes[nth] ^= 1 << rng.below(8);
        bytes.truncate(usize::try_from(rng.below(bytes.len() as u64 * 2)).expect("small"));
        drop(R::decode(&bytes));
    }
}

#[test]
fn values_keep_their_bytes() {
    let mut seen = Vec::new();
    let s = &mut seen;
    check("inode-regular", &regular(None), s);
    check("inode-exclusive", &regular(Some(*b"verifier")), s);
    check("inode-directory", &directory(), s);
    check("inode-symlink", &special(FileKind::Symlink), s);
    check("inode-block", &special(FileKind::Block), s);
    check("inode-character", &special(FileKind::Character), s);
    check("inode-fifo", &special(FileKind::Fifo), s);
    check("inode-socket", &special(FileKind::Socket), s);
    check("name", &name_entry(), s);
    check("cookie", &cookie_entry(), s);
    check("map", &map_entry(), s);
    check("map-zeroes", &MapEntry::zeroes(Sequence(5)), s);
    check("count-live", &count(CountState::Live), s);
    check("count-condemned", &count(CountState::Condemned(AT)), s);
    check("count-deleting", &count(CountState::Deleting(AT)), s);
    check("count-packed", &packed(CountState::Live), s);
    check("count-packed-condemned", &packed(CountState::Condemned(AT)), s);
    check("count-pack", &pack(CountState::Live), s);
    check("count-pack-condemned", &pack(CountState::Condemned(AT)), s);
    check("share", &share(), s);
    check("format", &Format { version: 1, store: u64::MAX - 1 }, s);
    let counters = Counters { inode: InodeId(2), share: ShareId(1), content: ContentId(1) };
    check("counters", &counters, s);
    check("share-totals", &ShareTotals { inodes: 5, bytes_used: 6 }, s);
    check("number", &Number(1 << 40), s);
    check("path", &Box::<[u8]>::from(b"../a b".as_slice()), s);
    assert_eq!(GOLDEN.lines().count(), seen.len(), "a golden line that nobody checks");
}

#[test]
fn values_that_contradict_themselves_are_refused() {
    let reject = |bytes: &[u8], at: usize, byte: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] = byte;
        bytes
    };
    let inode = regular(None).encode();
    assert_eq!(Inode::decode(&reject(&inode, 1, 0)).err(), Some(Garbage), "kind");
    assert_eq!(Inode::decode(&inode[1..]).err(), Some(Garbage), "length");
    assert_eq!(NameEntry::decode(&reject(&name_entry().encode(), 1, 9)).err(), Some(Garbage));
    let cut = MapEntry { valid_len: 4_194_305, ..map_entry() };
    assert_eq!(MapEntry::decode(&cut.encode()).err(), Some(Garbage));
    let long = MapEntry { stored_len: 4_194_305, ..map_entry() };
    assert_eq!(MapEntry::decode(&long.encode()).err(), Some(Garbage));
    let dead = Count { count: 0, ..count(CountState::Live) };
    assert_eq!(Count::decode(&dead.encode()).err(), Some(Garbage));
    let undead = Count { count: 1, ..count(CountState::Condemned(AT)) };
    assert_eq!(Count::decode(&undead.encode()).err(), Some(Garbage));
    let late = count(CountState::Condemned(Time { seconds: 0, nanos: 1_000_000_000 }));
    assert_eq!(Count::decode(&late.encode()).err(), Some(Garbage));
}
