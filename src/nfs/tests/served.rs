//! Every procedure of a whole server, through another implementation's client.

use nfs3_types::{
    mount::dirpath,
    nfs3::{self as oracle, Nfs3Option, cookieverf3, nfs_fh3, nfsstat3, stable_how},
    xdr_codec::Opaque,
};

use super::world::{Client, World, now};

fn at<'a>(dir: &nfs_fh3, name: &'a str) -> oracle::diropargs3<'a> {
    oracle::diropargs3 { dir: dir.clone(), name: name.as_bytes().into() }
}

fn mode(mode: u32) -> oracle::sattr3 {
    oracle::sattr3 { mode: Nfs3Option::Some(mode), ..oracle::sattr3::default() }
}

fn create(client: &mut Client, dir: &nfs_fh3, name: &str) -> nfs_fh3 {
    let how = oracle::createhow3::GUARDED(mode(0o644));
    let done = now(client.create(&oracle::CREATE3args { where_: at(dir, name), how })).unwrap();
    done.unwrap().obj.unwrap()
}

fn mkdir(client: &mut Client, dir: &nfs_fh3, name: &str) -> nfs_fh3 {
    let args = oracle::MKDIR3args { where_: at(dir, name), attributes: mode(0o755) };
    now(client.mkdir(&args)).unwrap().unwrap().obj.unwrap()
}

fn write(
    client: &mut Client,
    file: &nfs_fh3,
    offset: u64,
    data: &[u8],
    stable: stable_how,
) -> oracle::WRITE3resok {
    let count = u32::try_from(data.len()).unwrap();
    let data = Opaque::borrowed(data);
    let args = oracle::WRITE3args { file: file.clone(), offset, count, stable, data };
    now(client.write(&args)).unwrap().unwrap()
}

fn read(
    client: &mut Client,
    file: &nfs_fh3,
    offset: u64,
    count: u32,
) -> oracle::READ3resok<'static> {
    now(client.read(&oracle::READ3args { file: file.clone(), offset, count })).unwrap().unwrap()
}

fn attr(client: &mut Client, object: &nfs_fh3) -> oracle::fattr3 {
    let done = now(client.getattr(&oracle::GETATTR3args { object: object.clone() })).unwrap();
    done.unwrap().obj_attributes
}

#[test]
fn mounting() {
    let world = World::start();
    let mut mounts = world.mounts();
    now(mounts.null()).unwrap();
    let exports = now(mounts.export()).unwrap();
    let names: Vec<_> = exports.0.iter().map(|one| one.ex_dir.0.to_vec()).collect();
    assert_eq!(names, ["/export", "/other", "/read-only"].map(|name| name.as_bytes().to_vec()));
    let path = || dirpath(Opaque::borrowed(b"/export"));
    assert_eq!(now(mounts.mnt(path())).unwrap().auth_flavors[0], 1);
    let mounted = now(mounts.dump()).unwrap();
    assert_eq!(&*mounted.0[0].ml_hostname.0, b"127.0.0.1");
    assert_eq!(&*mounted.0[0].ml_directory.0, b"/export");
    now(mounts.umnt(path())).unwrap();
    assert!(now(mounts.dump()).unwrap().is_empty());
    now(mounts.mnt(path())).unwrap();
    now(mounts.umntall()).unwrap();
    assert!(now(mounts.dump()).unwrap().is_empty());
    let denied = now(mounts.mnt(dirpath(Opaque::borrowed(b"/nothing")))).unwrap_err();
    assert!(denied.to_string().contains("NOENT"), "{denied}");
}

#[test]
fn bytes_there_and_back() {
    let world = World::start();
    let (mut client, root) = world.client();
    now(client.null()).unwrap();
    let file = create(&mut client, &root, "file");
    let done = write(&mut client, &file, 3, b"hello", stable_how::UNSTABLE);
    assert_eq!((done.count, done.committed), (5, stable_how::UNSTABLE));
    assert_eq!(done.file_wcc.before.unwrap().size, 0);
    assert_eq!(done.file_wcc.after.unwrap().size, 8);
    for stable in [stable_how::DATA_SYNC, stable_how::FILE_SYNC] {
        let done = write(&mut client, &file, 8, b" there", stable);
        assert_eq!((done.count, done.committed), (6, stable_how::FILE_SYNC));
    }
    let args = oracle::COMMIT3args { file: file.clone(), offset: 0, count: 0 };
    assert_eq!(now(client.commit(&args)).unwrap().unwrap().verf, done.verf);
    let done = read(&mut client, &file, 0, 100);
    assert_eq!((&*done.data, done.eof), (b"\0\0\0hello there".as_slice(), true));
    let done = read(&mut client, &file, 4, 3);
    assert_eq!((&*done.data, done.eof), (b"ell".as_slice(), false));
    let done = read(&mut client, &file, u64::MAX, 100);
    assert_eq!((done.count, done.eof), (0, true));
    let done = write(&mut client, &file, 0, b"", stable_how::UNSTABLE);
    assert_eq!(done.count, 0);
    assert_eq!(attr(&mut client, &file).size, 14);
}

#[test]
fn the_largest_transfers() {
    let world = World::start();
    let (mut client, root) = world.client();
    let file = create(&mut client, &root, "large");
    let data: Vec<u8> = (0..1u32 << 20).map(|at| at.wrapping_mul(77).to_le_bytes()[1]).collect();
    for index in 0..8 {
        let done = write(&mut client, &file, index << 20, &data, stable_how::UNSTABLE);
        assert_eq!(done.count, 1 << 20);
    }
    for index in 0..8 {
        assert!(*read(&mut client, &file, index << 20, 1 << 20).data == data[..]);
    }
    // More than the server's most: it gives, and takes, its most.
    assert_eq!(read(&mut client, &file, 5, u32::MAX).count, 1 << 20);
    let more = [&data[..], b"more"].concat();
    assert_eq!(write(&mut client, &file, 0, &more, stable_how::UNSTABLE).count, 1 << 20);
}

#[test]
fn attributes() {
    let world = World::start();
    let (mut client, root) = world.client();
    let file = create(&mut client, &root, "file");
    let before = attr(&mut client, &file);
    assert_eq!((before.mode, before.nlink, before.size), (0o644, 1, 0));
    assert_eq!(before.fsid, attr(&mut client, &root).fsid);
    assert_ne!(before.fsid, attr(&mut client, &world.mount("/read-only")).fsid);
    let set = |guard| oracle::SETATTR3args {
        object: file.clone(),
        new_attributes: oracle::sattr3 {
            size: Nfs3Option::Some(9),
            mtime: oracle::set_mtime::SET_TO_CLIENT_TIME(oracle::nfstime3 {
                seconds: 5,
                nseconds: 6,
            }),
            ..mode(0o600)
        },
        guard: Nfs3Option::Some(guard),
    };
    let wrong = oracle::nfstime3 { seconds: 1, nseconds: 1 };
    let oracle::SETATTR3res::Err((status, fail)) = now(client.setattr(&set(wrong))).unwrap() else {
        panic!("a guard that is wrong lets nobody through");
    };
    assert_eq!(status, nfsstat3::NFS3ERR_NOT_SYNC);
    assert_eq!(fail.obj_wcc.after.unwrap().size, 0);
    now(client.setattr(&set(before.ctime))).unwrap().unwrap();
    let after = attr(&mut client, &file);
    assert_eq!((after.mode, after.size, after.mtime.seconds), (0o600, 9, 5));
    let access = |client: &mut Client| {
        let args = oracle::ACCESS3args { object: file.clone(), access: 0x3f };
        now(client.access(&args)).unwrap().unwrap().access
    };
    assert_eq!(access(&mut world.client_as(1000)), 0);
    assert_ne!(access(&mut client) & oracle::ACCESS3_MODIFY, 0);
}

#[test]
fn names() {
    let world = World::start();
    let (mut client, root) = world.client();
    let dir = mkdir(&mut client, &root, "dir");
    let file = create(&mut client, &dir, "file");
    let look = |client: &mut Client, dir: &nfs_fh3, name: &str| {
        now(client.lookup(&oracle::LOOKUP3args { what: at(dir, name) })).unwrap()
    };
    let found = look(&mut client, &dir, "file").unwrap();
    assert_eq!(found.object, file);
    assert!(found.obj_attributes.is_some() && found.dir_attributes.is_some());
    let symlink = oracle::symlinkdata3 {
        symlink_attributes: mode(0o777),
        symlink_data: b"dir/file".as_slice().into(),
    };
    let made = now(client.symlink(&oracle::SYMLINK3args { where_: at(&root, "ln"), symlink }));
    let symlink = made.unwrap().unwrap().obj.unwrap();
    let path = now(client.readlink(&oracle::READLINK3args { symlink })).unwrap().unwrap();
    assert_eq!(path.data.as_ref(), b"dir/file");
    let what = oracle::mknoddata3::NF3FIFO(mode(0o600));
    let made = now(client.mknod(&oracle::MKNOD3args { where_: at(&root, "fifo"), what }));
    assert_eq!(made.unwrap().unwrap().obj_attributes.unwrap().type_, oracle::ftype3::NF3FIFO);
    let args = oracle::LINK3args { file: file.clone(), link: at(&root, "hard") };
    let linked = now(client.link(&args)).unwrap().unwrap();
    assert_eq!(linked.file_attributes.unwrap().nlink, 2);
    let args = oracle::RENAME3args { from: at(&dir, "file"), to: at(&root, "moved") };
    let moved = now(client.rename(&args)).unwrap().unwrap();
    assert!(moved.fromdir_wcc.before.is_some() && moved.todir_wcc.after.is_some());
    assert_eq!(look(&mut client, &root, "moved").unwrap().object, file);
    for name in ["moved", "hard"] {
        now(client.remove(&oracle::REMOVE3args { object: at(&root, name) })).unwrap().unwrap();
    }
    now(client.rmdir(&oracle::RMDIR3args { object: at(&root, "dir") })).unwrap().unwrap();
    let oracle::GETATTR3res::Err((status, _)) =
        now(client.getattr(&oracle::GETATTR3args { object: file })).unwrap()
    else {
        panic!("the file has no name left");
    };
    assert_eq!(status, nfsstat3::NFS3ERR_STALE);
}

#[test]
fn exclusive_creation_happens_once() {
    let world = World::start();
    let (mut client, root) = world.client();
    let create = |client: &mut Client, verifier: &[u8; 8]| {
        let how = oracle::createhow3::EXCLUSIVE(oracle::createverf3(*verifier));
        now(client.create(&oracle::CREATE3args { where_: at(&root, "x"), how })).unwrap()
    };
    let first = create(&mut client, b"verifier").unwrap().obj.unwrap();
    assert_eq!(create(&mut client, b"verifier").unwrap().obj.unwrap(), first);
    let oracle::CREATE3res::Err((status, _)) = create(&mut client, b"another!") else {
        panic!("somebody else's file");
    };
    assert_eq!(status, nfsstat3::NFS3ERR_EXIST);
}

#[test]
fn the_file_system() {
    let world = World::start();
    let (mut client, root) = world.client();
    let stat = now(client.fsstat(&oracle::FSSTAT3args { fsroot: root.clone() })).unwrap().unwrap();
    assert!(stat.tbytes >= stat.fbytes && stat.tbytes > 0);
    let info = now(client.fsinfo(&oracle::FSINFO3args { fsroot: root.clone() })).unwrap().unwrap();
    assert!(info.obj_attributes.is_some());
    assert_eq!(info.wtmax, 1 << 20);
    let conf = now(client.pathconf(&oracle::PATHCONF3args { object: root })).unwrap().unwrap();
    assert_eq!(conf.name_max, 255);
}

#[test]
fn failures() {
    let world = World::start();
    let (mut client, root) = world.client();
    let missing = oracle::LOOKUP3args { what: at(&root, "missing") };
    let oracle::LOOKUP3res::Err((status, fail)) = now(client.lookup(&missing)).unwrap() else {
        panic!("found");
    };
    assert_eq!(status, nfsstat3::NFS3ERR_NOENT);
    assert!(fail.dir_attributes.is_some(), "a failure tells of the directory");
    let long = "n".repeat(300);
    let args = oracle::MKDIR3args { where_: at(&root, &long), attributes: mode(0o755) };
    let oracle::MKDIR3res::Err((status, fail)) = now(client.mkdir(&args)).unwrap() else {
        panic!("made");
    };
    assert_eq!(status, nfsstat3::NFS3ERR_NAMETOOLONG);
    assert!(fail.dir_wcc.after.is_some());
    let read_only = world.mount("/read-only");
    let args = oracle::MKDIR3args { where_: at(&read_only, "d"), attributes: mode(0o755) };
    let oracle::MKDIR3res::Err((status, _)) = now(client.mkdir(&args)).unwrap() else {
        panic!("made");
    };
    assert_eq!(status, nfsstat3::NFS3ERR_ROFS);
    let file = create(&mut client, &root, "file");
    let args =
        oracle::RENAME3args { from: at(&root, "file"), to: at(&world.mount("/other"), "file") };
    let oracle::RENAME3res::Err((status, _)) = now(client.rename(&args)).unwrap() else {
        panic!("moved");
    };
    assert_eq!(status, nfsstat3::NFS3ERR_XDEV);
    let data = || Opaque::borrowed(b"four");
    let (stable, offset) = (stable_how::UNSTABLE, 0);
    let args = oracle::WRITE3args { file: file.clone(), offset, count: 5, stable, data: data() };
    let oracle::WRITE3res::Err((status, _)) = now(client.write(&args)).unwrap() else {
        panic!("written");
    };
    assert_eq!(status, nfsstat3::NFS3ERR_INVAL);
    let args = oracle::WRITE3args { file, offset: u64::MAX, count: 4, stable, data: data() };
    let oracle::WRITE3res::Err((status, fail)) = now(client.write(&args)).unwrap() else {
        panic!("written");
    };
    assert_eq!(status, nfsstat3::NFS3ERR_FBIG);
    assert_eq!(fail.file_wcc.after.unwrap().size, 0);
    for bytes in [b"".as_slice(), b"not a handle", &[0; 32], &[0xff; 64]] {
        let object = nfs_fh3 { data: Opaque::owned(bytes.to_vec()) };
        let done = now(client.getattr(&oracle::GETATTR3args { object })).unwrap();
        let oracle::GETATTR3res::Err((status, _)) = done else { panic!("got {bytes:?}") };
        assert_eq!(status, nfsstat3::NFS3ERR_BADHANDLE);
    }
}

#[test]
fn who_may_not_come_near_learns_nothing() {
    let world = World::start();
    let (mut client, root) = world.client();
    let args = oracle::MKDIR3args { where_: at(&root, "secret"), attributes: mode(0o700) };
    let dir = now(client.mkdir(&args)).unwrap().unwrap().obj.unwrap();
    let args = oracle::LOOKUP3args { what: at(&dir, "x") };
    let oracle::LOOKUP3res::Err((status, fail)) = now(world.client_as(1000).lookup(&args)).unwrap()
    else {
        panic!("found");
    };
    assert_eq!(status, nfsstat3::NFS3ERR_ACCES);
    assert!(fail.dir_attributes.is_none());
}

fn readdir(
    client: &mut Client,
    dir: &nfs_fh3,
    cookie: u64,
    verifier: cookieverf3,
    count: u32,
) -> oracle::READDIR3res<'static> {
    let args = oracle::READDIR3args { dir: dir.clone(), cookie, cookieverf: verifier, count };
    now(client.readdir(&args)).unwrap()
}

#[test]
fn listings_are_whole_whatever_their_pages() {
    let world = World::start();
    let (mut client, root) = world.client();
    let mut want: Vec<String> =
        (0..200).map(|index| format!("{:x<1$}", index, 3 + index)).collect();
    want.iter().for_each(|name| drop(create(&mut client, &root, name)));
    want.extend([".".to_string(), "..".to_string()]);
    want.sort();
    for count in [360, 512, 1000, 4096, 1 << 20] {
        let (mut names, mut cookie, mut verifier) = (Vec::new(), 0, cookieverf3::default());
        loop {
            let done = readdir(&mut client, &root, cookie, verifier, count).unwrap();
            let bytes = nfs3_types::xdr_codec::Pack::packed_size(&done);
            assert!(bytes <= count as usize, "{bytes} of {count}");
            verifier = done.cookieverf;
            let entries = done.reply.entries.0;
            assert!(!entries.is_empty(), "a page moves on");
            cookie = entries.last().unwrap().cookie;
            let name = |one: &oracle::entry3<'_>| String::from_utf8(one.name.0.to_vec()).unwrap();
            names.extend(entries.iter().map(name));
            if done.reply.eof {
                break;
            }
        }
        names.sort();
        assert_eq!(names, want, "pages of {count}");
    }
}

#[test]
fn listings_with_attributes() {
    let world = World::start();
    let (mut client, root) = world.client();
    (0..100).for_each(|index| drop(create(&mut client, &root, &format!("name-{index}"))));
    for (dircount, maxcount) in [(0, 400), (100, 1 << 20), (1 << 20, 1000), (8192, 8192)] {
        let (mut seen, mut cookie, mut cookieverf) = (0, 0, cookieverf3::default());
        loop {
            let dir = root.clone();
            let args = oracle::READDIRPLUS3args { dir, cookie, cookieverf, dircount, maxcount };
            let done = now(client.readdirplus(&args)).unwrap().unwrap();
            let bytes = nfs3_types::xdr_codec::Pack::packed_size(&done);
            assert!(bytes <= maxcount as usize, "{bytes} of {maxcount}");
            cookieverf = done.cookieverf;
            let entries = done.reply.entries.0;
            let names = |one: &oracle::entryplus3<'_>| 24 + one.name.len().next_multiple_of(4);
            let names: usize = entries.iter().map(names).sum();
            assert!(names <= dircount as usize || entries.len() == 1, "{names} of {dircount}");
            assert!(entries.iter().all(|one| one.name_attributes.is_some()));
            assert!(entries.iter().all(|one| one.name_handle.is_some()));
            seen += entries.len();
            cookie = entries.last().unwrap().cookie;
            if done.reply.eof {
                break;
            }
        }
        assert_eq!(seen, 102, "pages of {dircount} and {maxcount}");
    }
}

#[test]
fn listings_that_cannot_be() {
    let world = World::start();
    let (mut client, root) = world.client();
    drop(create(&mut client, &root, "a-name-that-takes-room"));
    let none = cookieverf3::default();
    let first = readdir(&mut client, &root, 0, none, 4096).unwrap();
    for (cookie, verifier, count, want) in [
        (0, none, 0, nfsstat3::NFS3ERR_TOOSMALL),
        (0, none, 103, nfsstat3::NFS3ERR_TOOSMALL),
        (0, none, 104, nfsstat3::NFS3ERR_TOOSMALL),
        (2, first.cookieverf, 140, nfsstat3::NFS3ERR_TOOSMALL),
        (2, none, 4096, nfsstat3::NFS3ERR_BAD_COOKIE),
        (0, cookieverf3([9; 8]), 4096, nfsstat3::NFS3ERR_BAD_COOKIE),
    ] {
        let done = readdir(&mut client, &root, cookie, verifier, count);
        let oracle::READDIR3res::Err((status, _)) = done else { panic!("{cookie} {count}") };
        assert_eq!(status, want, "{cookie} {count}");
    }
    // Ours is good at the start too: a client that rewinds may keep it.
    assert!(readdir(&mut client, &root, 0, first.cookieverf, 4096).unwrap().reply.eof);
}
