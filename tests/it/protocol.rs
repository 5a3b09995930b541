//! NFSv3 to the letter: what RFC 1813 promises clients, over restarts and kills of the server.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
};

use nfs3_types::{
    nfs3::{self, NFS_PROGRAM as P, Nfs3Option, nfstime3, sattr3, set_atime, set_mtime},
    rpc::{auth_unix, opaque_auth},
    xdr_codec::{Opaque, Pack},
};
use tests::{
    client::{Attr, Client, Fail, Handle, Status, Who, at, mode, stable_how},
    server::{Content, Server, Share},
};

const NFS: u32 = 100_003;
/// The largest file.
const FILE_BYTES_MAX: u64 = 16 << 40;

fn start() -> (tempfile::TempDir, Server, Client) {
    let dir = tempfile::tempdir().expect("folder");
    let server = Server::with_shares(dir.path(), vec![Share::export()]);
    let client = Client::mount(&server, "/export").expect("mount");
    (dir, server, client)
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Fail>, want: Status) {
    match answer {
        Err(Fail::Status(status)) if status == want => {}
        other => panic!("{other:?}, not {want:?}"),
    }
}

/// Made once, however often and after whatever it is asked; not by two.
#[test]
fn protocol_exclusive_create_outlives_kills() {
    let (_dir, mut server, mut client) = start();
    let root = client.root.clone();
    let how =
        |verifier: u64| nfs3::createhow3::EXCLUSIVE(nfs3::createverf3(verifier.to_be_bytes()));
    let made: Vec<Handle> = (0..50)
        .map(|n| client.create(&root, format!("{n}").as_bytes(), how(n)).expect("new"))
        .collect();
    for life in 0..2 {
        if life == 0 {
            server.kill9();
            server.start();
        } else {
            server.restart();
        }
        let mut client = Client::mount(&server, "/export").expect("mount");
        for (n, file) in (0..).zip(&made) {
            let name = format!("{n}").into_bytes();
            assert_eq!(client.create(&root, &name, how(n)).expect("the same"), *file);
            refused(client.create(&root, &name, how(n + 1)), Status::NFS3ERR_EXIST);
        }
        let guarded = nfs3::createhow3::GUARDED(mode(0o600));
        refused(client.create(&root, b"0", guarded), Status::NFS3ERR_EXIST);
        assert_eq!(client.readdir(&root, 4096).expect("list").len(), 50);
    }
}

/// The attributes before, as `wcc_data` has them.
fn before(attr: &Attr) -> (u64, nfstime3, nfstime3) {
    (attr.size, attr.mtime, attr.ctime)
}

#[track_caller]
fn check_wcc(wcc: &nfs3::wcc_data, was: &Attr, is: &Attr, what: &str) {
    let Nfs3Option::Some(pre) = &wcc.before else { panic!("{what}: nothing of before") };
    let Nfs3Option::Some(post) = &wcc.after else { panic!("{what}: nothing of after") };
    assert_eq!((pre.size, pre.mtime, pre.ctime), before(was), "{what}: before");
    assert_eq!(format!("{post:?}"), format!("{is:?}"), "{what}: after");
}

/// Before and after every change, to the nanosecond: what lets a client keep its cache.
#[test]
fn protocol_weak_cache_consistency() {
    let (_dir, _server, mut client) = start();
    let root = client.root.clone();
    let dir = client.mkdir(&root, b"dir").expect("mkdir");
    let file = client.create_new(&root, b"file").expect("create");
    macro_rules! check {
        ($procedure:ident, $args:expr, $ok:ty, $fail:ty, $($field:ident of $object:expr),+) => {{
            let objects = [$($object),+];
            let was = objects.each_ref().map(|object| client.getattr(object).expect("attributes"));
            let args = $args;
            let done: $ok =
                client.call::<_, $ok, $fail>(P::$procedure, &args).expect(stringify!($procedure));
            let wccs = [$(&done.$field),+];
            for ((object, was), wcc) in objects.iter().zip(&was).zip(wccs) {
                let is = client.getattr(object).expect("attributes");
                check_wcc(wcc, was, &is, stringify!($procedure));
            }
            done
        }};
    }
    let data = || Opaque::borrowed(b"some bytes");
    for stable in [stable_how::UNSTABLE, stable_how::DATA_SYNC, stable_how::FILE_SYNC] {
        for offset in [0, 5, 1 << 33] {
            let args =
                nfs3::WRITE3args { file: file.clone(), offset, count: 10, stable, data: data() };
            check!(NFSPROC3_WRITE, args, nfs3::WRITE3resok, nfs3::WRITE3resfail, file_wcc of &file);
        }
    }
    let args = nfs3::COMMIT3args { file: file.clone(), offset: 0, count: 0 };
    check!(NFSPROC3_COMMIT, args, nfs3::COMMIT3resok, nfs3::COMMIT3resfail, file_wcc of &file);
    let sized = sattr3 { size: Nfs3Option::Some(3), ..mode(0o640) };
    for new_attributes in [mode(0o600), sized] {
        let guard = Nfs3Option::None;
        let args = nfs3::SETATTR3args { object: file.clone(), new_attributes, guard };
        check!(NFSPROC3_SETATTR, args, nfs3::SETATTR3resok, nfs3::SETATTR3resfail,
            obj_wcc of &file);
    }
    for how in [
        nfs3::createhow3::UNCHECKED(mode(0o600)),
        nfs3::createhow3::UNCHECKED(mode(0o600)),
        nfs3::createhow3::EXCLUSIVE(nfs3::createverf3([1; 8])),
    ] {
        let name = if matches!(how, nfs3::createhow3::EXCLUSIVE(_)) { "x" } else { "made" };
        let args = nfs3::CREATE3args { where_: at(&dir, name.as_bytes()), how };
        let made = check!(NFSPROC3_CREATE, args, nfs3::CREATE3resok, nfs3::CREATE3resfail,
            dir_wcc of &dir);
        assert!(made.obj.is_some() && made.obj_attributes.is_some());
    }
    let args = nfs3::MKDIR3args { where_: at(&dir, b"d"), attributes: mode(0o755) };
    check!(NFSPROC3_MKDIR, args, nfs3::MKDIR3resok, nfs3::MKDIR3resfail, dir_wcc of &dir);
    let symlink = nfs3::symlinkdata3 {
        symlink_attributes: mode(0o777),
        symlink_data: b"there".as_slice().into(),
    };
    let args = nfs3::SYMLINK3args { where_: at(&dir, b"l"), symlink };
    check!(NFSPROC3_SYMLINK, args, nfs3::SYMLINK3resok, nfs3::SYMLINK3resfail, dir_wcc of &dir);
    let what = nfs3::mknoddata3::NF3SOCK(mode(0o600));
    let args = nfs3::MKNOD3args { where_: at(&dir, b"s"), what };
    check!(NFSPROC3_MKNOD, args, nfs3::MKNOD3resok, nfs3::MKNOD3resfail, dir_wcc of &dir);
    let args = nfs3::LINK3args { file: file.clone(), link: at(&dir, b"hard") };
    check!(NFSPROC3_LINK, args, nfs3::LINK3resok, nfs3::LINK3resfail, linkdir_wcc of &dir);
    let args = nfs3::RENAME3args { from: at(&dir, b"made"), to: at(&root, b"moved") };
    check!(NFSPROC3_RENAME, args, nfs3::RENAME3resok, nfs3::RENAME3resfail,
        fromdir_wcc of &dir, todir_wcc of &root);
    let args = nfs3::RENAME3args { from: at(&dir, b"x"), to: at(&dir, b"hard") };
    check!(NFSPROC3_RENAME, args, nfs3::RENAME3resok, nfs3::RENAME3resfail,
        fromdir_wcc of &dir, todir_wcc of &dir);
    let args = nfs3::REMOVE3args { object: at(&dir, b"hard") };
    check!(NFSPROC3_REMOVE, args, nfs3::REMOVE3resok, nfs3::REMOVE3resfail, dir_wcc of &dir);
    let args = nfs3::RMDIR3args { object: at(&dir, b"d") };
    check!(NFSPROC3_RMDIR, args, nfs3::RMDIR3resok, nfs3::RMDIR3resfail, dir_wcc of &dir);
}

/// Every byte but `/` and NUL, also where no text is, and as long as a name may be.
#[test]
fn protocol_names_of_any_bytes() {
    let (_dir, mut server, mut client) = start();
    let root = client.root.clone();
    let bytes = || (1..=255u8).filter(|byte| *byte != b'/');
    let mut names: BTreeSet<Vec<u8>> =
        bytes().filter(|byte| *byte != b'.').map(|byte| vec![byte]).collect();
    names.insert(bytes().collect());
    names.insert(bytes().rev().collect());
    names.insert(vec![0xff; 255]);
    names.insert(b"...".to_vec());
    // Composed and decomposed, small and large: other bytes, other names.
    names.extend(["é", "e\u{301}", "É"].map(|name| name.as_bytes().to_vec()));
    for name in &names {
        let file = client.create_new(&root, name).expect("create");
        client.write(&file, 0, name, stable_how::FILE_SYNC).expect("write");
    }
    for long in [vec![b'a'; 256], vec![0xff; 256], vec![b'a'; 1000]] {
        refused(client.create_new(&root, &long), Status::NFS3ERR_NAMETOOLONG);
        refused(client.lookup(&root, &long), Status::NFS3ERR_NAMETOOLONG);
    }
    for _ in 0..2 {
        let listed = |entries: Vec<tests::client::Entry>| -> BTreeSet<Vec<u8>> {
            entries.into_iter().map(|entry| entry.name).collect()
        };
        assert_eq!(listed(client.readdir(&root, 1024).expect("list")), names);
        assert_eq!(listed(client.readdirplus(&root, 8192).expect("list")), names);
        for name in &names {
            let file = client.lookup(&root, name).expect("there");
            assert_eq!(client.read_all(&file).expect("read"), *name);
        }
        server.restart();
        client = Client::mount(&server, "/export").expect("mount");
    }
    for name in &names {
        let new = [b"x", &name[..name.len().min(254)]].concat();
        client.rename((&root, name), (&root, &new)).expect("rename");
        client.remove(&root, &new).expect("remove");
    }
    assert!(client.readdir(&root, 4096).expect("list").is_empty());
}

/// A file of 8 TiB that is nearly all holes, and up to the largest.
#[test]
fn protocol_sparse_files_beyond_32_bits() {
    let (_dir, mut server, mut client) = start();
    let root = client.root.clone();
    let file = client.create_new(&root, b"sparse").expect("create");
    let end: u64 = 8 << 40;
    let places = [0, (1 << 31) - 3, (1 << 32) - 3, (1 << 42) + 1, end - 7];
    for place in places {
        client.write(&file, place, b"bytes..", stable_how::UNSTABLE).expect("write");
    }
    client.commit(&file).expect("commit");
    for round in 0..3 {
        let attr = client.getattr(&file).expect("attributes");
        assert_eq!(attr.size, end);
        assert!(attr.used < 100 << 20, "{} bytes for five pieces", attr.used);
        for place in places {
            assert_eq!(client.read(&file, place, 7).expect("read").0, b"bytes..", "{place}");
            let (around, _) = client.read(&file, place + 7, 100).expect("read");
            assert!(around.iter().all(|byte| *byte == 0), "after {place}");
        }
        let (hole, eof) = client.read(&file, 5 << 40, 1 << 20).expect("read");
        assert!(!eof && hole.len() == 1 << 20 && hole.iter().all(|byte| *byte == 0));
        assert!(client.read(&file, end - 7, 8).expect("read").1, "the end");
        match round {
            0 => server.drop_cache(),
            _ => server.restart(),
        }
        client = Client::mount(&server, "/export").expect("mount");
    }
    client.truncate(&file, FILE_BYTES_MAX).expect("the largest");
    assert_eq!(client.getattr(&file).expect("attributes").size, FILE_BYTES_MAX);
    refused(client.truncate(&file, FILE_BYTES_MAX + 1), Status::NFS3ERR_FBIG);
    let beyond = client.write(&file, FILE_BYTES_MAX - 1, b"xy", stable_how::UNSTABLE);
    refused(beyond, Status::NFS3ERR_FBIG);
    client.write(&file, FILE_BYTES_MAX - 1, b"x", stable_how::FILE_SYNC).expect("the last byte");
    client.truncate(&file, 3).expect("shorter");
    client.truncate(&file, end).expect("longer");
    let (bytes, _) = client.read(&file, end - 7, 7).expect("read");
    assert_eq!(bytes, [0; 7], "what was cut off stays away");
    let info: nfs3::FSINFO3resok = client
        .call::<_, _, nfs3::FSINFO3resfail>(P::NFSPROC3_FSINFO, &nfs3::FSINFO3args { fsroot: root })
        .expect("FSINFO");
    assert_eq!(info.maxfilesize, FILE_BYTES_MAX);
    assert_eq!((info.time_delta.seconds, info.time_delta.nseconds), (0, 1));
}

#[test]
fn protocol_times_and_guards() {
    let (_dir, mut server, mut client) = start();
    let root = client.root.clone();
    let time = |seconds, nseconds| nfstime3 { seconds, nseconds };
    let set = |atime, mtime| sattr3 {
        atime: set_atime::SET_TO_CLIENT_TIME(atime),
        mtime: set_mtime::SET_TO_CLIENT_TIME(mtime),
        ..sattr3::default()
    };
    let given = [
        (time(0, 0), time(0, 1)),
        (time(1, 999_999_999), time(1_234_567_890, 123_456_789)),
        (time(0x7fff_ffff, 7), time(0x8000_0000, 8)),
        (time(u32::MAX, 999_999_999), time(u32::MAX, 1)),
    ];
    let files: Vec<Handle> = (0..given.len())
        .map(|n| client.create_new(&root, format!("{n}").as_bytes()).expect("create"))
        .collect();
    for (file, (atime, mtime)) in files.iter().zip(given) {
        client.setattr(file, set(atime, mtime), None).expect("utimes");
    }
    for _ in 0..2 {
        for (file, (atime, mtime)) in files.iter().zip(given) {
            let attr = client.getattr(file).expect("attributes");
            assert_eq!((attr.atime, attr.mtime), (atime, mtime));
        }
        server.restart();
        client = Client::mount(&server, "/export").expect("mount");
    }
    // A guard is the ctime, to the nanosecond.
    let file = &files[0];
    let ctime = client.getattr(file).expect("attributes").ctime;
    let other = time(ctime.seconds, ctime.nseconds ^ 1);
    for new in [mode(0o600), sattr3 { size: Nfs3Option::Some(9), ..sattr3::default() }] {
        refused(client.setattr(file, new.clone(), Some(other)), Status::NFS3ERR_NOT_SYNC);
    }
    let attr = client.getattr(file).expect("attributes");
    assert_eq!((attr.ctime, attr.mode & 0o777, attr.size), (ctime, 0o644, 0), "nothing changed");
    client.setattr(file, mode(0o600), Some(ctime)).expect("the guard holds");
    let after = client.getattr(file).expect("attributes");
    assert!((after.ctime.seconds, after.ctime.nseconds) > (ctime.seconds, ctime.nseconds));
    refused(client.setattr(file, mode(0o400), Some(ctime)), Status::NFS3ERR_NOT_SYNC);
    // The server's clock, for both, is one moment.
    let now = sattr3 {
        atime: set_atime::SET_TO_SERVER_TIME,
        mtime: set_mtime::SET_TO_SERVER_TIME,
        ..sattr3::default()
    };
    client.setattr(file, now, None).expect("touch");
    let attr = client.getattr(file).expect("attributes");
    assert_eq!((attr.atime, attr.mtime), (attr.ctime, attr.ctime));
}

/// What a listing says, with `.` and `..`: names, ids and cookies.
fn page(
    client: &mut Client,
    dir: &Handle,
    cookie: u64,
    cookieverf: nfs3::cookieverf3,
    count: u32,
) -> Result<nfs3::READDIR3resok<'static>, Fail> {
    let args = nfs3::READDIR3args { dir: dir.clone(), cookie, cookieverf, count };
    client.call::<_, _, nfs3::READDIR3resfail>(P::NFSPROC3_READDIR, &args)
}

fn entries(ok: nfs3::READDIR3resok<'static>) -> (Vec<(Vec<u8>, u64, u64)>, bool) {
    let eof = ok.reply.eof;
    let entries = ok.reply.entries.into_inner().into_iter();
    (entries.map(|entry| (entry.name.0.to_vec(), entry.fileid, entry.cookie)).collect(), eof)
}

/// No id is 0 (macOS panics), none is another's, and `.` and `..` are there with the right ones.
#[test]
fn protocol_file_ids() {
    let (_dir, mut server, mut client) = start();
    let root = client.root.clone();
    let mut ids: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let root_attr = client.getattr(&root).expect("attributes");
    ids.insert(root_attr.fileid, b"/".to_vec());
    let mut dirs = vec![(root.clone(), root_attr.fileid, root_attr.fileid)];
    for n in 0..10 {
        let (parent, parent_id, _) = dirs[n / 3].clone();
        let dir = client.mkdir(&parent, format!("dir-{n}").as_bytes()).expect("mkdir");
        let id = client.getattr(&dir).expect("attributes").fileid;
        dirs.push((dir.clone(), id, parent_id));
        for m in 0..20 {
            let name = format!("{n}-{m}").into_bytes();
            let made = match m % 3 {
                0 => client.create_new(&dir, &name),
                1 => client.symlink(&dir, &name, b"x"),
                _ => client.mkdir(&dir, &name),
            };
            let attr = client.getattr(&made.expect("made")).expect("attributes");
            assert_eq!(attr.fsid, root_attr.fsid);
            assert_eq!(ids.insert(attr.fileid, name), None, "an id of two");
        }
    }
    for _ in 0..2 {
        for (dir, id, parent) in &dirs {
            let ok = page(&mut client, dir, 0, nfs3::cookieverf3::default(), 1 << 16);
            let (entries, eof) = entries(ok.expect("list"));
            assert!(eof);
            assert_eq!((&entries[0].0[..], entries[0].1), (&b"."[..], *id));
            assert_eq!((&entries[1].0[..], entries[1].1), (&b".."[..], *parent));
            for (name, fileid, _) in &entries[2..] {
                let found = client.lookup(dir, name).expect("there");
                assert_eq!(client.getattr(&found).expect("attributes").fileid, *fileid);
            }
        }
        server.restart();
        client = Client::mount(&server, "/export").expect("mount");
    }
    // An id is not given out again, whatever became of its file.
    let gone = client.create_new(&root, b"gone").expect("create");
    let gone_id = client.getattr(&gone).expect("attributes").fileid;
    client.remove(&root, b"gone").expect("remove");
    server.restart();
    client = Client::mount(&server, "/export").expect("mount");
    let new = client.create_new(&root, b"new").expect("create");
    let new_id = client.getattr(&new).expect("attributes").fileid;
    assert!(new_id != gone_id && !ids.contains_key(&new_id) && new_id != 0);
    assert!(!ids.contains_key(&0) && !ids.contains_key(&gone_id));
    refused(client.getattr(&gone), Status::NFS3ERR_STALE);
}

/// A listing goes on where it was, after a restart and after what it listed was removed, as macOS
/// and FreeBSD remove trees; a foreign verifier is refused.
#[test]
fn protocol_cookies() {
    let (_dir, mut server, mut client) = start();
    let root = client.root.clone();
    let dir = client.mkdir(&root, b"dir").expect("mkdir");
    let mut names: BTreeSet<Vec<u8>> = (0..300).map(|n| format!("name-{n}").into_bytes()).collect();
    for name in &names {
        client.create_new(&dir, name).expect("create");
    }
    let none = nfs3::cookieverf3::default();
    let (mut cookie, mut verifier, mut seen) = (0, none, Vec::new());
    for n in 0.. {
        let ok = page(&mut client, &dir, cookie, verifier, 1024).expect("a page");
        verifier = ok.cookieverf;
        let (entries, eof) = entries(ok);
        for (name, _, next) in entries {
            // Signed in many clients, and 0 is the beginning.
            assert!(next > cookie && next < 1 << 63, "{next} after {cookie}");
            cookie = next;
            if name != b"." && name != b".." {
                client.remove(&dir, &name).expect("listed, so there");
                seen.push(name);
            }
        }
        if eof {
            break;
        }
        if n == 2 {
            server.restart();
            client = Client::mount(&server, "/export").expect("mount");
        }
    }
    seen.iter().for_each(|name| assert!(names.remove(name), "listed twice"));
    assert!(names.is_empty(), "{names:?} were not listed");
    client.rmdir(&root, b"dir").expect("empty");
    refused(
        page(&mut client, &root, cookie, nfs3::cookieverf3([9; 8]), 1024),
        Status::NFS3ERR_BAD_COOKIE,
    );
    refused(page(&mut client, &root, 3, none, 1024), Status::NFS3ERR_BAD_COOKIE);
    page(&mut client, &root, 0, verifier, 1024).expect("a rewind may keep the verifier");
}

/// A call, as it goes over the wire.
fn record(xid: u32, procedure: P, args: &impl Pack) -> Vec<u8> {
    let mut message: Vec<u8> = Vec::new();
    for word in [xid, 0, 2, NFS, 3, procedure as u32] {
        message.extend(word.to_be_bytes());
    }
    let root = auth_unix { machinename: Opaque::borrowed(b"tests"), ..auth_unix::default() };
    opaque_auth::auth_unix(&root).pack(&mut message).expect("a Vec");
    opaque_auth::default().pack(&mut message).expect("a Vec");
    args.pack(&mut message).expect("a Vec");
    let len = u32::try_from(message.len()).expect("small");
    [&(len | 0x8000_0000).to_be_bytes(), &message[..]].concat()
}

fn reply(stream: &mut TcpStream) -> Vec<u8> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).expect("a reply");
    let mut message = vec![0; (u32::from_be_bytes(header) & 0x7fff_ffff) as usize];
    stream.read_exact(&mut message).expect("a reply");
    message
}

fn ask(stream: &mut TcpStream, record: &[u8]) -> Vec<u8> {
    stream.write_all(record).expect("it listens");
    reply(stream)
}

/// What is sent again over another connection is answered as before and not done again, however
/// much another client has done meanwhile.
#[test]
fn protocol_duplicates_are_answered_again() {
    let (_dir, server, mut client) = start();
    let root = client.root.clone();
    let victim = client.create_new(&root, b"victim").expect("create");
    client.create_new(&root, b"from").expect("create");
    client.mkdir(&root, b"empty").expect("mkdir");
    let guarded = |name: &'static [u8]| nfs3::CREATE3args {
        where_: at(&root, name),
        how: nfs3::createhow3::GUARDED(mode(0o600)),
    };
    let link = nfs3::LINK3args { file: victim.clone(), link: at(&root, b"link") };
    let rename = nfs3::RENAME3args { from: at(&root, b"from"), to: at(&root, b"to") };
    let mkdir = nfs3::MKDIR3args { where_: at(&root, b"dir"), attributes: mode(0o700) };
    let rmdir = nfs3::RMDIR3args { object: at(&root, b"empty") };
    let remove = nfs3::REMOVE3args { object: at(&root, b"victim") };
    let calls = [
        record(1, P::NFSPROC3_LINK, &link),
        record(2, P::NFSPROC3_RENAME, &rename),
        record(3, P::NFSPROC3_MKDIR, &mkdir),
        record(4, P::NFSPROC3_RMDIR, &rmdir),
        record(5, P::NFSPROC3_REMOVE, &remove),
        record(6, P::NFSPROC3_CREATE, &guarded(b"new")),
    ];
    let here = Who::user(0, 0);
    let mut first = here.dial(&server);
    let replies: Vec<Vec<u8>> = calls.iter().map(|call| ask(&mut first, call)).collect();
    for reply in &replies {
        assert_eq!(reply[24..28], [0; 4], "done");
    }
    // Others, busy: more replies than are kept for all.
    const FLOOD: u32 = 80_000 / 3;
    std::thread::scope(|scope| {
        for n in 0..3 {
            let mut other = Who::at(Ipv4Addr::new(127, 0, 1, n)).dial(&server);
            let mut sender = other.try_clone().expect("a socket");
            let call = |xid| record(xid, P::NFSPROC3_CREATE, &guarded(b"new"));
            scope.spawn(move || {
                for xids in (0..FLOOD).collect::<Vec<_>>().chunks(64) {
                    let calls: Vec<u8> = xids.iter().flat_map(|xid| call(*xid)).collect();
                    sender.write_all(&calls).expect("it listens");
                }
            });
            scope.spawn(move || {
                for _ in 0..FLOOD {
                    assert_eq!(reply(&mut other)[24..28], 17_u32.to_be_bytes(), "EXIST");
                }
            });
        }
    });
    drop(first);
    let mut second = here.dial(&server);
    for (call, want) in calls.iter().zip(&replies) {
        assert!(ask(&mut second, call) == *want, "another reply to the same call");
    }
    // The same words from somebody else are another call.
    let mut other = Who::at(Ipv4Addr::new(127, 0, 0, 8)).dial(&server);
    assert_eq!(ask(&mut other, &calls[4])[24..28], 2_u32.to_be_bytes(), "NOENT");
    let status = server.metric("dittofs_nfs_duplicate_requests_total");
    assert!(status >= 6.0, "{status} duplicates");
}

/// A file that one client runs or has open is another's to write, cut, replace and remove: NFS
/// knows no `ETXTBSY` and no busy file. What was replaced is stale for who held it.
#[test]
fn protocol_open_files_hinder_nobody() {
    let (_dir, server, mut client) = start();
    let root = client.root.clone();
    let program = client.create_new(&root, b"program").expect("create");
    client.write(&program, 0, &[b'x'; 100_000], stable_how::FILE_SYNC).expect("write");
    client.setattr(&program, mode(0o755), None).expect("chmod");
    let mut runner = Client::mount_as(&server, "/export", 1000, 1000).expect("mount");
    assert_eq!(runner.read(&program, 0, 4096).expect("it runs").0, [b'x'; 4096]);
    client.write(&program, 0, b"y", stable_how::FILE_SYNC).expect("write");
    client.truncate(&program, 50_000).expect("truncate");
    assert_eq!(runner.read(&program, 0, 1).expect("it runs").0, b"y");
    let silly = b".nfs0000000000000001";
    client.rename((&root, b"program"), (&root, silly)).expect("a silly rename");
    assert_eq!(runner.read(&program, 0, 1).expect("it runs").0, b"y", "under whatever name");
    let other = client.create_new(&root, b"other").expect("create");
    client.rename((&root, b"other"), (&root, silly)).expect("replaced");
    refused(runner.read(&program, 0, 1), Status::NFS3ERR_STALE);
    client.remove(&root, silly).expect("remove");
    refused(client.getattr(&other), Status::NFS3ERR_STALE);
    let dir = client.mkdir(&root, b"dir").expect("mkdir");
    client.rmdir(&root, b"dir").expect("rmdir");
    refused(client.create_new(&dir, b"late"), Status::NFS3ERR_STALE);
}

fn df(client: &mut Client) -> nfs3::FSSTAT3resok {
    let args = nfs3::FSSTAT3args { fsroot: client.root.clone() };
    client.call::<_, _, nfs3::FSSTAT3resfail>(P::NFSPROC3_FSSTAT, &args).expect("FSSTAT")
}

/// Totals that add up where nobody knows how much room there is, as with S3, and where the share
/// has a capacity.
#[test]
fn protocol_df() {
    let dir = tempfile::tempdir().expect("folder");
    let share = |name: &str, options: &str| Share {
        name: name.into(),
        content: Content::Memory,
        options: options.into(),
        ..Share::export()
    };
    let shares =
        vec![share("/endless", "squash: none"), share("/bounded", "squash: none, capacity: 64Mi")];
    let server = Server::with_shares(dir.path(), shares);
    for (path, capacity) in [("/endless", None), ("/bounded", Some(64 << 20))] {
        let mut client = Client::mount(&server, path).expect("mount");
        let root = client.root.clone();
        let empty = df(&mut client);
        let used = |df: &nfs3::FSSTAT3resok| df.tbytes - df.fbytes;
        assert_eq!((used(&empty), empty.abytes), (0, empty.fbytes));
        let file = client.create_new(&root, b"file").expect("create");
        for n in 0..10_u8 {
            let part = vec![n + 1; 1 << 20];
            let offset = u64::from(n) << 20;
            client.write(&file, offset, &part, stable_how::UNSTABLE).expect("write");
        }
        server.drop_cache();
        let full = df(&mut client);
        assert_eq!(used(&full), 10 << 20, "{path}");
        assert_eq!(full.tfiles - full.ffiles, empty.tfiles - empty.ffiles + 1);
        if let Some(capacity) = capacity {
            assert_eq!((empty.tbytes, full.tbytes), (capacity, capacity));
        }
        client.remove(&root, b"file").expect("remove");
        let begun = std::time::Instant::now();
        while used(&df(&mut client)) > 0 {
            assert!(begun.elapsed().as_secs() < 60, "the space does not come back");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

/// A call without a name, over UDP or TCP; what follows `accept_stat`, or that number.
fn call_null(
    at: std::net::SocketAddr,
    is_udp: bool,
    [program, version, procedure]: [u32; 3],
    args: &[u8],
) -> Result<Vec<u8>, u32> {
    let words = [7, 0, 2, program, version, procedure, 0, 0, 0, 0];
    let head: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
    let message = [&head[..], args].concat();
    let patience = Some(std::time::Duration::from_secs(20));
    let answer = if is_udp {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        socket.set_read_timeout(patience).expect("a socket");
        socket.send_to(&message, at).expect("sent");
        let mut answer = vec![0; 65_536];
        let (len, from) = socket.recv_from(&mut answer).expect("an answer");
        assert_eq!(from, at, "from where it was sent to");
        answer.truncate(len);
        answer
    } else {
        let mut stream = TcpStream::connect(at).expect("it listens");
        stream.set_read_timeout(patience).expect("a socket");
        let len = u32::try_from(message.len()).expect("small") | 0x8000_0000;
        ask(&mut stream, &[&len.to_be_bytes(), &message[..]].concat())
    };
    let word = |n: usize| u32::from_be_bytes(answer[4 * n..4 * n + 4].try_into().expect("four"));
    assert_eq!((word(0), word(1), word(2), word(4)), (7, 1, 0, 0), "accepted");
    if word(5) == 0 { Ok(answer[24..].to_vec()) } else { Err(word(5)) }
}

/// What clients do before they mount, which know no port: macOS, FreeBSD and Windows ask the
/// portmapper, over UDP or TCP, for MOUNT over UDP or TCP, and begin with NULL; some `showmount`
/// speak MOUNT version 1.
#[test]
fn protocol_how_other_clients_mount() {
    if !tests::net::is_own("protocol::protocol_how_other_clients_mount") {
        return;
    }
    const PORTMAP: u32 = 100_000;
    const MOUNT: u32 = 100_005;
    let dir = tempfile::tempdir().expect("folder");
    let options = "squash: none, root_mode: 0777";
    let share = Share { options: options.into(), ..Share::export() };
    let mut server = Server::public(dir.path(), vec![share]);
    let portmapper = (Ipv4Addr::LOCALHOST, 111).into();
    let nfs_port = server.nfs_port.number();
    let words =
        |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_be_bytes()).collect() };
    let (tcp, udp) = (6, 17);
    for is_udp in [true, false] {
        assert_eq!(call_null(portmapper, is_udp, [PORTMAP, 2, 0], &[]), Ok(vec![]), "NULL");
        for (program, version, protocol, port) in [
            (NFS, 3, tcp, nfs_port),
            (MOUNT, 3, tcp, nfs_port),
            (MOUNT, 3, udp, nfs_port),
            (MOUNT, 1, udp, nfs_port),
            (NFS, 3, udp, 0),
            (100_021, 4, udp, nfs_port),
            (100_024, 1, tcp, nfs_port),
            (100_011, 1, udp, 0),
        ] {
            let asked = words(&[program, version, protocol, 0]);
            let got = call_null(portmapper, is_udp, [PORTMAP, 2, 3], &asked);
            assert_eq!(got, Ok(words(&[port.into()])), "{program} {version} {protocol}");
        }
    }
    let at = server.nfs_port.address();
    let text = |text: &str| {
        let len = u32::try_from(text.len()).expect("small");
        let padding = vec![0; text.len().next_multiple_of(4) - text.len()];
        [&len.to_be_bytes(), text.as_bytes(), &padding].concat()
    };
    let path = text("/export");
    let one = words(&[1]);
    let export_list = [&one[..], &path, &words(&[0, 0])].concat();
    let mounts = |server: &Server| Who::user(0, 0).mounts(server).expect("it listens").dump();
    let export = || ("127.0.0.1".to_owned(), "/export".to_owned());
    for is_udp in [true, false] {
        for version in [1, 2, 3] {
            assert_eq!(call_null(at, is_udp, [MOUNT, version, 0], &[]), Ok(vec![]), "NULL");
            assert_eq!(call_null(at, is_udp, [MOUNT, version, 5], &[]).as_ref(), Ok(&export_list));
        }
        // No handle of NFSv2, and no MOUNT of NFSv4.
        assert_eq!(call_null(at, is_udp, [MOUNT, 1, 1], &path), Err(3), "PROC_UNAVAIL");
        assert_eq!(call_null(at, is_udp, [MOUNT, 4, 0], &[]), Err(2), "PROG_MISMATCH");
        let mounted = call_null(at, is_udp, [MOUNT, 3, 1], &path).expect("MNT");
        assert_eq!((&mounted[..8], mounted.len()), (&words(&[0, 32])[..], 4 + 4 + 32 + 8));
        assert_eq!(mounts(&server), [export()]);
        // NFSv3 itself is TCP's; what probes for others is told so.
        let null = call_null(at, false, [NFS, 3, 0], &[]);
        assert_eq!(null, Ok(vec![]));
        assert_eq!(call_null(at, false, [NFS, 2, 0], &[]), Err(2), "PROG_MISMATCH");
        assert_eq!(call_null(at, false, [100_227, 3, 0], &[]), Err(1), "no NFS_ACL");
        assert_eq!(call_null(at, is_udp, [MOUNT, 3, 3], &path), Ok(vec![]), "UMNT");
        assert_eq!(mounts(&server), []);
    }
    // `showmount -a` knows after a restart who is there, and after a kill, soon after it mounted.
    let from = |n| Who::at(Ipv4Addr::new(127, 0, 0, n));
    let mount = |server: &Server, n| {
        Client::mount_by(server, "/export", &from(n)).expect("mount");
    };
    mount(&server, 5);
    mount(&server, 6);
    server.restart();
    let host = |n: u8| (format!("127.0.0.{n}"), "/export".to_owned());
    assert_eq!(mounts(&server), [host(5), host(6)]);
    from(5).mounts(&server).expect("it listens").umntall();
    mount(&server, 7);
    let file = dir.path().join("cache/mounts");
    let begun = std::time::Instant::now();
    let has = |text: &[u8], n: u8| text.windows(4).any(|window| window == [127, 0, 0, n]);
    while !std::fs::read(&file).is_ok_and(|text| has(&text, 7) && !has(&text, 5)) {
        assert!(begun.elapsed().as_secs() < 60, "it is not written down");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    server.kill9();
    server.start();
    assert_eq!(mounts(&server), [host(6), host(7)]);
    // An empty folder and its two names, in as few bytes as a client may ask for.
    let mut client = Client::mount(&server, "/export").expect("mount");
    let root = client.root.clone();
    let ok = page(&mut client, &root, 0, nfs3::cookieverf3::default(), 512).expect("a page");
    let (listed, eof) = entries(ok);
    assert!(eof && listed.len() == 2 && listed.iter().all(|(_, id, _)| *id != 0));
}
