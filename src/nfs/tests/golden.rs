//! Arguments and results of every procedure against another implementation's codec, and a few
//! against bytes written by hand from the RFC.

use bytes::{Bytes, BytesMut};
use nfs3_types::{
    mount as oracle_mount,
    nfs3::{self as oracle, Nfs3Option, nfs_fh3},
    xdr_codec::{Opaque, Pack, Unpack},
};
use vocab::{
    Attr, Cookie, Device, FileKind, InodeId, PreAttr, ShareId, Time, Verifier,
    durable::{Durable, Grade, Logged},
};

use super::Xdr;
use crate::wire::{
    mount,
    v3::{
        Status,
        attr::{SetAttr, SetTime, Wcc},
        data::{CommitArgs, CommitDone, ReadArgs, ReadDone, StableHow, WriteArgs, WriteDone},
        fail::{Failed, Tells},
        listing::{self, Entry, ListingDone, ReadDirArgs, ReadDirPlusArgs},
        names::{
            CreateArgs, CreateHow, LinkArgs, LinkDone, LookupDone, MadeDone, MkdirArgs, MknodArgs,
            Node, Place, RenameArgs, RenameDone, SymlinkArgs,
        },
        object::{
            AccessArgs, AccessDone, GetAttrDone, HandleArgs, ReadLinkDone, SetAttrArgs, WccDone,
        },
        volume::{FsInfoDone, FsStatDone, PathConfDone},
    },
    xdr::{Encode, Malformed, Reader, Writer, padding},
};

const FSID: u64 = 0x0102_0304_0506_0708;
const HANDLE: [u8; 32] = *b"a handle of thirty-two bytes....";

fn attr() -> Attr {
    Attr {
        inode: InodeId(77),
        share: ShareId(5),
        generation: 9,
        kind: FileKind::Character,
        mode: 0o4755,
        nlink: 3,
        uid: 1000,
        gid: 1001,
        size: 1 << 40,
        used: 4096,
        device: Device { major: 8, minor: 1 },
        atime: Time { seconds: 1, nanos: 2 },
        mtime: Time { seconds: 3, nanos: 999_999_999 },
        ctime: Time { seconds: 5, nanos: 6 },
        change: 1,
    }
}

fn wcc() -> Wcc {
    let time = |seconds| Time { seconds, nanos: 0 };
    Wcc { pre: Some(PreAttr { size: 11, mtime: time(12), ctime: time(13) }), post: Some(attr()) }
}

/// All that a reply carries, with its tail and the tail's padding.
fn encoded(mut value: impl Encode) -> Vec<u8> {
    let tail = value.take_tail().concat();
    let mut buffer = BytesMut::new();
    value.encode(&mut Writer::new(&mut buffer, FSID));
    buffer.extend_from_slice(&tail);
    buffer.extend_from_slice(padding(tail.len()));
    buffer.to_vec()
}

/// The other implementation reads what we wrote, all of it, and would write the same.
#[track_caller]
pub(super) fn read_back<T: Pack + Unpack>(bytes: &[u8]) -> T {
    let (value, len) = T::unpack(&mut &bytes[..]).expect("the oracle reads it");
    assert_eq!(len, bytes.len(), "the oracle reads all of it");
    assert_eq!(packed(&value), bytes, "the oracle writes the same");
    value
}

fn packed(value: &impl Pack) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.pack(&mut bytes).unwrap();
    bytes
}

/// We read what the other implementation wrote, all of it.
#[track_caller]
fn decoded<'a, T>(
    bytes: &'a [u8],
    decode: impl FnOnce(&mut Reader<'a>) -> Result<T, Malformed>,
) -> T {
    let mut reader = Reader::new(bytes);
    let value = decode(&mut reader).expect("we read it");
    assert_eq!(reader.rest(), &[] as &[u8], "we read all of it");
    value
}

fn fh(bytes: &[u8]) -> nfs_fh3 {
    nfs_fh3 { data: Opaque::owned(bytes.to_vec()) }
}

fn diropargs(name: &[u8]) -> oracle::diropargs3<'_> {
    oracle::diropargs3 { dir: fh(&HANDLE), name: name.into() }
}

fn place(name: &[u8]) -> Place<'_> {
    Place { dir: &HANDLE, name }
}

fn sattr() -> oracle::sattr3 {
    oracle::sattr3 {
        mode: Nfs3Option::Some(0o640),
        uid: Nfs3Option::None,
        gid: Nfs3Option::Some(20),
        size: Nfs3Option::Some(1 << 33),
        atime: oracle::set_atime::SET_TO_SERVER_TIME,
        mtime: oracle::set_mtime::SET_TO_CLIENT_TIME(oracle::nfstime3 {
            seconds: u32::MAX,
            nseconds: 5,
        }),
    }
}

fn set() -> SetAttr {
    SetAttr {
        mode: Some(0o640),
        uid: None,
        gid: Some(20),
        size: Some(1 << 33),
        atime: SetTime::Server,
        mtime: SetTime::Client(Time { seconds: i64::from(u32::MAX), nanos: 5 }),
    }
}

#[test]
fn arguments_of_what_looks() {
    let bytes = packed(&oracle::GETATTR3args { object: fh(b"abc") });
    assert_eq!(decoded(&bytes, HandleArgs::decode), HandleArgs { handle: b"abc" });
    let bytes = packed(&oracle::ACCESS3args { object: fh(&HANDLE), access: 0x3f });
    assert_eq!(decoded(&bytes, AccessArgs::decode), AccessArgs { handle: &HANDLE, access: 0x3f });
    let bytes = packed(&oracle::LOOKUP3args { what: diropargs(b"name!") });
    assert_eq!(decoded(&bytes, Place::decode), place(b"name!"));
    let args = oracle::READ3args { file: fh(&HANDLE), offset: 1 << 41, count: 4096 };
    let want = ReadArgs { handle: &HANDLE, offset: 1 << 41, count: 4096 };
    assert_eq!(decoded(&packed(&args), ReadArgs::decode), want);
    let args = oracle::READDIR3args {
        dir: fh(&HANDLE),
        cookie: 99,
        cookieverf: oracle::cookieverf3([1, 2, 3, 4, 5, 6, 7, 8]),
        count: 512,
    };
    let want = ReadDirArgs {
        handle: &HANDLE,
        cookie: Cookie(99),
        verifier: 0x0102_0304_0506_0708,
        count: 512,
    };
    assert_eq!(decoded(&packed(&args), ReadDirArgs::decode), want);
    let args = oracle::READDIRPLUS3args {
        dir: fh(&HANDLE),
        cookie: u64::MAX,
        cookieverf: oracle::cookieverf3([0; 8]),
        dircount: 1,
        maxcount: 2,
    };
    let want = ReadDirPlusArgs {
        handle: &HANDLE,
        cookie: Cookie(u64::MAX),
        verifier: 0,
        dircount: 1,
        maxcount: 2,
    };
    assert_eq!(decoded(&packed(&args), ReadDirPlusArgs::decode), want);
}

#[test]
fn arguments_of_what_changes_a_file() {
    let guard = oracle::nfstime3 { seconds: 4, nseconds: 5 };
    let args = oracle::SETATTR3args {
        object: fh(&HANDLE),
        new_attributes: sattr(),
        guard: Nfs3Option::Some(guard),
    };
    let guard = Some(Time { seconds: 4, nanos: 5 });
    let want = SetAttrArgs { handle: &HANDLE, set: set(), guard };
    assert_eq!(decoded(&packed(&args), SetAttrArgs::decode), want);
    for (stable, want) in [
        (oracle::stable_how::UNSTABLE, StableHow::Unstable),
        (oracle::stable_how::DATA_SYNC, StableHow::DataSync),
        (oracle::stable_how::FILE_SYNC, StableHow::FileSync),
    ] {
        let data = Opaque::borrowed(b"hello");
        let args = oracle::WRITE3args { file: fh(&HANDLE), offset: 3, count: 5, stable, data };
        let want = WriteArgs { handle: &HANDLE, offset: 3, count: 5, stable: want, data: b"hello" };
        assert_eq!(decoded(&packed(&args), WriteArgs::decode), want);
    }
    let args = oracle::COMMIT3args { file: fh(&HANDLE), offset: 8, count: 9 };
    let want = CommitArgs { handle: &HANDLE, offset: 8, count: 9 };
    assert_eq!(decoded(&packed(&args), CommitArgs::decode), want);
}

#[test]
fn arguments_of_what_makes() {
    for (how, want) in [
        (oracle::createhow3::UNCHECKED(sattr()), CreateHow::Unchecked(set())),
        (oracle::createhow3::GUARDED(sattr()), CreateHow::Guarded(set())),
        (
            oracle::createhow3::EXCLUSIVE(oracle::createverf3(*b"verifier")),
            CreateHow::Exclusive(*b"verifier"),
        ),
    ] {
        let bytes = packed(&oracle::CREATE3args { where_: diropargs(b"f"), how });
        let want = CreateArgs { place: place(b"f"), how: want };
        assert_eq!(decoded(&bytes, CreateArgs::decode), want);
    }
    let bytes = packed(&oracle::MKDIR3args { where_: diropargs(b"d"), attributes: sattr() });
    let want = MkdirArgs { place: place(b"d"), set: set() };
    assert_eq!(decoded(&bytes, MkdirArgs::decode), want);
    let symlink = oracle::symlinkdata3 {
        symlink_attributes: sattr(),
        symlink_data: b"../target".as_slice().into(),
    };
    let bytes = packed(&oracle::SYMLINK3args { where_: diropargs(b"l"), symlink });
    let want = SymlinkArgs { place: place(b"l"), set: set(), path: b"../target" };
    assert_eq!(decoded(&bytes, SymlinkArgs::decode), want);
}

#[test]
fn arguments_of_what_makes_a_node() {
    let device = || oracle::devicedata3 {
        dev_attributes: sattr(),
        spec: oracle::specdata3 { specdata1: 8, specdata2: 1 },
    };
    let sda1 = Device { major: 8, minor: 1 };
    for (what, kind, device) in [
        (oracle::mknoddata3::NF3CHR(device()), FileKind::Character, sda1),
        (oracle::mknoddata3::NF3BLK(device()), FileKind::Block, sda1),
        (oracle::mknoddata3::NF3SOCK(sattr()), FileKind::Socket, Device::default()),
        (oracle::mknoddata3::NF3FIFO(sattr()), FileKind::Fifo, Device::default()),
    ] {
        let bytes = packed(&oracle::MKNOD3args { where_: diropargs(b"n"), what });
        let what = Node::Special { kind, device, set: set() };
        assert_eq!(decoded(&bytes, MknodArgs::decode), MknodArgs { place: place(b"n"), what });
    }
    for kind in [1, 2, 5] {
        let bytes = Xdr::default().opaque(&HANDLE).opaque(b"n").u32(kind).0;
        let want = MknodArgs { place: place(b"n"), what: Node::Other };
        assert_eq!(decoded(&bytes, MknodArgs::decode), want);
    }
}

#[test]
fn arguments_of_what_moves_and_removes() {
    let bytes = packed(&oracle::REMOVE3args { object: diropargs(b"x") });
    assert_eq!(decoded(&bytes, Place::decode), place(b"x"));
    let bytes = packed(&oracle::RMDIR3args { object: diropargs(b"") });
    assert_eq!(decoded(&bytes, Place::decode), place(b""));
    let bytes = packed(&oracle::RENAME3args { from: diropargs(b"a"), to: diropargs(b"bb") });
    let want = RenameArgs { from: place(b"a"), to: place(b"bb") };
    assert_eq!(decoded(&bytes, RenameArgs::decode), want);
    let bytes = packed(&oracle::LINK3args { file: fh(b"file"), link: diropargs(b"l") });
    let want = LinkArgs { handle: b"file", place: place(b"l") };
    assert_eq!(decoded(&bytes, LinkArgs::decode), want);
    let path = oracle_mount::dirpath(Opaque::borrowed(b"/export"));
    let want = mount::PathArgs { path: b"/export" };
    assert_eq!(decoded(&packed(&path), mount::PathArgs::decode), want);
}

#[test]
fn arguments_that_lie() {
    type Decode = fn(&mut Reader<'_>) -> Result<(), Malformed>;
    let cases: [(&str, Vec<u8>, Decode); 9] = [
        ("a handle of 65 bytes", Xdr::default().opaque(&[0; 65]).0, |reader| {
            HandleArgs::decode(reader).map(drop)
        }),
        (
            "a name longer than the record",
            { Xdr::default().opaque(&HANDLE).u32(0xffff_fff0).raw(b"abcd").0 },
            |reader| Place::decode(reader).map(drop),
        ),
        (
            "a name without its padding",
            { Xdr::default().opaque(&HANDLE).u32(1).raw(b"a").0 },
            |reader| Place::decode(reader).map(drop),
        ),
        (
            "a fourth kind of stability",
            { Xdr::default().opaque(&HANDLE).u64(0).u32(0).u32(3).opaque(b"").0 },
            |reader| WriteArgs::decode(reader).map(drop),
        ),
        (
            "a fourth way to create",
            { Xdr::default().opaque(&HANDLE).opaque(b"n").u32(3).0 },
            |reader| CreateArgs::decode(reader).map(drop),
        ),
        (
            "an eighth kind of file",
            { Xdr::default().opaque(&HANDLE).opaque(b"n").u32(8).0 },
            |reader| MknodArgs::decode(reader).map(drop),
        ),
        ("a bool of two", Xdr::default().opaque(&HANDLE).u32(2).0, |reader| {
            SetAttrArgs::decode(reader).map(drop)
        }),
        (
            "a second of a billion nanoseconds",
            {
                let set = (0..4).fold(Xdr::default().opaque(&HANDLE), |xdr, _| xdr.u32(0));
                set.u32(2).u32(0).u32(1_000_000_000).u32(0).u32(0).0
            },
            |reader| SetAttrArgs::decode(reader).map(drop),
        ),
        ("a mount path of 1025 bytes", Xdr::default().opaque(&[b'a'; 1025]).0, |reader| {
            mount::PathArgs::decode(reader).map(drop)
        }),
    ];
    for (what, bytes, decode) in cases {
        assert_eq!(decode(&mut Reader::new(&bytes)), Err(Malformed), "{what}");
    }
}

#[test]
fn attributes_by_hand() {
    let bytes = encoded(Ok::<_, Failed>(GetAttrDone(attr())));
    let words: &[u32] = &[
        0,          // NFS3_OK
        4,          // NF3CHR
        0o4755,     // mode
        3,          // nlink
        1000,       // uid
        1001,       // gid
        256,        // size
        0,          //
        0,          // used
        4096,       //
        8,          // rdev
        1,          //
        0x01020304, // fsid
        0x05060708, //
        0,          // fileid
        77,         //
        1,          // atime
        2,          //
        3,          // mtime
        999999999,  //
        5,          // ctime
        6,          //
    ];
    assert_eq!(bytes, words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>());
}

#[test]
fn years_that_the_protocol_does_not_know() {
    let time = |seconds| Time { seconds, nanos: 7 };
    let attr = Attr { atime: time(-1), mtime: time(1 << 32), ctime: time(i64::MAX), ..attr() };
    let bytes = encoded(Ok::<_, Failed>(GetAttrDone(attr)));
    let oracle::GETATTR3res::Ok(done) = read_back::<oracle::GETATTR3res>(&bytes) else {
        panic!("an error");
    };
    let seconds = |time: oracle::nfstime3| time.seconds;
    let oracle::fattr3 { atime, mtime, ctime, .. } = done.obj_attributes;
    assert_eq!([atime, mtime, ctime].map(seconds), [0, u32::MAX, u32::MAX]);
}

#[test]
fn results_of_what_looks() {
    let done = AccessDone { attr: Some(attr()), access: 0x1f };
    let oracle::ACCESS3res::Ok(read) = read_back(&encoded(Ok::<_, Failed>(done))) else { panic!() };
    assert_eq!(read.access, 0x1f);
    let done = LookupDone { handle: HANDLE, attr: Some(attr()), dir: None };
    let oracle::LOOKUP3res::Ok(read) = read_back(&encoded(Ok::<_, Failed>(done))) else { panic!() };
    assert_eq!(*read.object.data, HANDLE);
    assert!(read.obj_attributes.is_some() && read.dir_attributes.is_none());
    let done = ReadLinkDone { attr: None, path: b"a/b/c".as_slice().into() };
    let bytes = encoded(Ok::<_, Failed>(done));
    let oracle::READLINK3res::Ok(read) = read_back(&bytes) else { panic!() };
    assert_eq!(read.data.as_ref(), b"a/b/c");
}

#[test]
fn results_of_a_read() {
    for len in 0..9u8 {
        let data: Vec<u8> = (0..len).collect();
        let parts = data.chunks(3).map(Bytes::copy_from_slice).collect();
        let done = ReadDone { attr: Some(attr()), eof: len == 3, len: len.into(), parts };
        let oracle::READ3res::Ok(read) = read_back(&encoded(Ok::<_, Failed>(done))) else {
            panic!();
        };
        assert_eq!((read.count, read.eof, &*read.data), (len.into(), len == 3, &data[..]));
    }
}

#[test]
fn results_of_a_write_say_what_the_evidence_says() {
    let done = WriteDone::logged(wcc(), 5, Logged::attest(Verifier(0xabcd)));
    let oracle::WRITE3res::Ok(read) = read_back(&encoded(Ok::<_, Failed>(done))) else { panic!() };
    assert_eq!((read.count, read.committed), (5, oracle::stable_how::UNSTABLE));
    assert_eq!(read.verf.0, 0xabcdu64.to_be_bytes());
    let durable = || Durable::attest(Verifier(7), Grade::Local);
    let done = WriteDone::durable(wcc(), 5, durable());
    let oracle::WRITE3res::Ok(read) = read_back(&encoded(Ok::<_, Failed>(done))) else { panic!() };
    assert_eq!((read.count, read.committed), (5, oracle::stable_how::FILE_SYNC));
    let done = CommitDone::new(wcc(), durable());
    let oracle::COMMIT3res::Ok(read) = read_back(&encoded(Ok::<_, Failed>(done))) else { panic!() };
    assert_eq!(read.verf.0, 7u64.to_be_bytes());
}

#[test]
fn results_of_what_makes_and_moves() {
    let made = || MadeDone { handle: HANDLE, attr: Some(attr()), dir: wcc() };
    let bytes = encoded(Ok::<_, Failed>(made()));
    let oracle::CREATE3res::Ok(read) = read_back(&bytes) else { panic!() };
    assert_eq!(*read.obj.unwrap().data, HANDLE);
    assert!(matches!(read_back(&bytes), oracle::MKDIR3res::Ok(_)));
    assert!(matches!(read_back(&bytes), oracle::SYMLINK3res::Ok(_)));
    assert!(matches!(read_back(&bytes), oracle::MKNOD3res::Ok(_)));
    let bytes = encoded(Ok::<_, Failed>(WccDone(wcc())));
    assert!(matches!(read_back(&bytes), oracle::SETATTR3res::Ok(_)));
    assert!(matches!(read_back(&bytes), oracle::RMDIR3res::Ok(_)));
    let oracle::REMOVE3res::Ok(read) = read_back(&bytes) else { panic!() };
    assert_eq!(read.dir_wcc.before.unwrap().size, 11);
    let bytes = encoded(Ok::<_, Failed>(RenameDone { from: wcc(), to: Wcc::default() }));
    let oracle::RENAME3res::Ok(read) = read_back(&bytes) else { panic!() };
    assert!(read.fromdir_wcc.after.is_some() && read.todir_wcc.after.is_none());
    let bytes = encoded(Ok::<_, Failed>(LinkDone { attr: Some(attr()), dir: wcc() }));
    assert!(matches!(read_back(&bytes), oracle::LINK3res::Ok(_)));
}

fn listing(plus: bool) -> ListingDone {
    let entry = |name: &'static [u8], cookie, found| Entry {
        inode: InodeId(cookie),
        name: name.into(),
        cookie: Cookie(cookie),
        found,
    };
    ListingDone {
        dir: attr(),
        verifier: 8,
        entries: vec![
            entry(b".", 1, None),
            entry(b"seven77", 3, Some((HANDLE, attr()))),
            entry(b"four", 4, None),
        ],
        eof: true,
        plus,
    }
}

#[test]
fn results_of_listings_and_their_measures() {
    let bytes = encoded(listing(false));
    let names = |len: &usize| listing::entry_bytes(*len);
    assert_eq!(bytes.len(), listing::EMPTY_BYTES + [1, 7, 4].iter().map(names).sum::<usize>());
    let bytes = encoded(Ok::<_, Failed>(listing(false)));
    let oracle::READDIR3res::Ok(read) = read_back(&bytes) else { panic!() };
    assert_eq!(read.reply.entries.0[1].name.as_ref(), b"seven77");
    assert!(read.reply.eof);
    let bytes = encoded(listing(true));
    let plus = |found: &bool| listing::plus_bytes(*found);
    let names = [1, 7, 4].iter().map(names).sum::<usize>();
    let plus = [false, true, false].iter().map(plus).sum::<usize>();
    assert_eq!(bytes.len(), listing::EMPTY_BYTES + names + plus);
    let bytes = encoded(Ok::<_, Failed>(listing(true)));
    let oracle::READDIRPLUS3res::Ok(read) = read_back(&bytes) else { panic!() };
    assert!(read.reply.entries.0[1].name_handle.is_some());
    assert!(read.reply.entries.0[2].name_attributes.is_none());
}

#[test]
fn results_about_the_file_system() {
    let done = FsStatDone {
        attr: Some(attr()),
        bytes_total: 9,
        bytes_free: 8,
        inodes_total: 7,
        inodes_free: 6,
    };
    let oracle::FSSTAT3res::Ok(read) = read_back(&encoded(Ok::<_, Failed>(done))) else { panic!() };
    assert_eq!((read.tbytes, read.fbytes, read.abytes), (9, 8, 8));
    assert_eq!((read.tfiles, read.ffiles, read.afiles), (7, 6, 6));
    let done = FsInfoDone { attr: Some(attr()) };
    let oracle::FSINFO3res::Ok(read) = read_back(&encoded(Ok::<_, Failed>(done))) else { panic!() };
    assert_eq!((read.rtmax, read.rtpref), (1 << 20, 1 << 20));
    assert_eq!((read.wtmax, read.wtpref), (1 << 20, 1 << 20));
    assert_eq!((read.dtpref, read.maxfilesize), (64 * 1024, 1 << 44));
    assert_eq!((read.time_delta.seconds, read.time_delta.nseconds), (0, 1));
    let cansettime_homogeneous_symlink_link = 0x1b;
    assert_eq!(read.properties, cansettime_homogeneous_symlink_link);
    let done = PathConfDone { attr: None };
    let bytes = encoded(Ok::<_, Failed>(done));
    let oracle::PATHCONF3res::Ok(read) = read_back(&bytes) else { panic!() };
    assert_eq!((read.linkmax, read.name_max), (65_000, 255));
    assert!(read.no_trunc && read.chown_restricted && read.case_preserving);
    assert!(!read.case_insensitive);
}

#[test]
fn failures_carry_attributes_where_the_rfc_has_them() {
    let failed = |tells| encoded(Err::<GetAttrDone, _>(Failed { status: Status::Stale, tells }));
    let stale = |status| assert_eq!(status, oracle::nfsstat3::NFS3ERR_STALE);
    let oracle::GETATTR3res::Err((status, _)) = read_back(&failed(Tells::Nothing)) else {
        panic!()
    };
    stale(status);
    let bytes = failed(Tells::Attr(Some(attr())));
    let oracle::READ3res::Err((status, fail)) = read_back(&bytes) else { panic!() };
    assert!(fail.file_attributes.is_some());
    stale(status);
    let bytes = failed(Tells::Wcc(Wcc { pre: None, post: Some(attr()) }));
    let oracle::WRITE3res::Err((status, fail)) = read_back(&bytes) else { panic!() };
    assert!(fail.file_wcc.before.is_none() && fail.file_wcc.after.is_some());
    stale(status);
    let bytes = failed(Tells::TwoWcc(wcc(), Wcc::default()));
    assert!(matches!(read_back(&bytes), oracle::RENAME3res::Err(_)));
    let bytes = failed(Tells::AttrWcc(Some(attr()), wcc()));
    assert!(matches!(read_back(&bytes), oracle::LINK3res::Err(_)));
}

#[test]
fn results_of_mount() {
    let read: oracle_mount::mountres3<'_> =
        read_back(&encoded(mount::MntDone { handle: HANDLE, flavors: vec![1, 0] }));
    let oracle_mount::mountres3::Ok(read) = read else { panic!() };
    assert_eq!((&*read.fhandle.0, read.auth_flavors), (&HANDLE[..], vec![1, 0]));
    let read = read_back(&encoded(mount::MntFailed(mount::Status::NoEnt)));
    assert!(matches!(read, oracle_mount::mountres3::Err(oracle_mount::mountstat3::MNT3ERR_NOENT)));
    let groups = vec!["10.0.0.0/8".to_string(), "host".to_string()];
    let done = mount::ExportDone(vec![("/a".to_string(), groups), ("/b".to_string(), Vec::new())]);
    let read: oracle_mount::exports<'_, '_> = read_back(&encoded(done));
    assert_eq!((read.0.len(), read.0[0].ex_groups.0.len()), (2, 2));
    let done = mount::DumpDone(vec![("::1".to_string(), b"/a".as_slice().into())]);
    let read: oracle_mount::mountlist<'_, '_> = read_back(&encoded(done));
    assert_eq!(read.0.len(), 1);
}
