//! Exports: who may mount what, from where, as whom, and what they may do then.

use std::net::Ipv4Addr;

use nfs3_types::{
    mount::mountstat3,
    nfs3::{Nfs3Option, sattr3},
    rpc::auth_stat,
};
use tests::{
    client::{Client, Fail, Status, Who, mode, stable_how},
    server::{Server, Share},
};

fn share(name: &str, options: &str) -> Share {
    Share { name: name.into(), options: options.into(), ..Share::export() }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Fail>, want: Status) {
    match answer {
        Err(Fail::Status(status)) if status == want => {}
        other => panic!("{other:?}, not {want:?}"),
    }
}

#[track_caller]
fn not_mounted<T: std::fmt::Debug>(answer: Result<T, Fail>, want: mountstat3) {
    match answer {
        Err(Fail::Mount(status)) if status as u32 == want as u32 => {}
        other => panic!("{other:?}, not {want:?}"),
    }
}

#[track_caller]
fn too_weak<T: std::fmt::Debug>(answer: Result<T, Fail>) {
    assert!(matches!(answer, Err(Fail::Auth(auth_stat::AUTH_TOOWEAK))), "{answer:?}");
}

/// Those who do not say who they are: not at all, only to read, or as anybody.
#[test]
fn exports_ask_for_a_name() {
    let dir = tempfile::tempdir().expect("folder");
    let shares = vec![
        share("/sys", "squash: none, root_mode: 0777"),
        share("/reads", "squash: none, root_mode: 0777, security: [none, sys]"),
        share("/writes", "squash: all_to_admin, root_mode: 0777, security: ['none:write']"),
    ];
    let server = Server::with_shares(dir.path(), shares);
    let nobody = Who { user: None, ..Who::user(0, 0) };
    let flavors = |path| nobody.mounts(&server).expect("it listens").mnt(path).expect(path).1;
    assert_eq!(flavors("/sys"), [1]);
    assert_eq!(flavors("/reads"), [0, 1]);
    assert_eq!(flavors("/writes"), [0]);

    let mut client = Client::mount_by(&server, "/sys", &nobody).expect("MNT tells it how");
    let root = client.root.clone();
    too_weak(client.getattr(&root));
    too_weak(client.create_new(&root, b"a"));
    let mut named = Client::mount(&server, "/sys").expect("mount");
    assert!(named.readdir(&root, 4096).expect("list").is_empty(), "nothing was made");

    let mut named = Client::mount(&server, "/reads").expect("mount");
    let root = named.root.clone();
    let file = named.create_new(&root, b"file").expect("create");
    named.write(&file, 0, b"text", stable_how::FILE_SYNC).expect("write");
    let mut client = Client::mount_by(&server, "/reads", &nobody).expect("mount");
    assert_eq!(client.read_all(&file).expect("mode 0644"), b"text");
    let read_only = Status::NFS3ERR_ROFS;
    refused(client.create_new(&root, b"b"), read_only);
    refused(client.mkdir(&root, b"b"), read_only);
    refused(client.symlink(&root, b"b", b"file"), read_only);
    refused(client.link(&file, &root, b"b"), read_only);
    refused(client.rename((&root, b"file"), (&root, b"b")), read_only);
    refused(client.remove(&root, b"file"), read_only);
    refused(client.truncate(&file, 0), read_only);
    refused(client.write(&file, 0, b"x", stable_how::UNSTABLE), read_only);
    assert_eq!(named.read_all(&file).expect("as before"), b"text");

    let mut client = Client::mount_by(&server, "/writes", &nobody).expect("mount");
    let root = client.root.clone();
    let file = client.create_new(&root, b"file").expect("the share lets it");
    let attr = client.getattr(&file).expect("attributes");
    assert_eq!((attr.uid, attr.gid), (65534, 65534), "nobody, although others count as root");
    let mut named = Client::mount(&server, "/writes").expect("mount");
    too_weak(named.getattr(&file));
}

#[test]
fn exports_by_port_and_by_folder() {
    let dir = tempfile::tempdir().expect("folder");
    let shares = vec![
        share("/low", "squash: none, privileged_port: true"),
        share("/deep", "squash: none"),
        share("/flat", "squash: none, subdirectories: false"),
    ];
    let mut server = Server::with_shares(dir.path(), shares);
    let (high, low) = (Who::user(0, 0), Who { is_privileged: true, ..Who::user(0, 0) });
    not_mounted(Client::mount_by(&server, "/low", &high), mountstat3::MNT3ERR_ACCES);
    let mut client = Client::mount_by(&server, "/low", &low).expect("a low port");
    let root = client.root.clone();
    client.create_new(&root, b"file").expect("from a low port");
    let mut client = Client::with_root(&server, root.clone(), &high).expect("it listens");
    refused(client.getattr(&root), Status::NFS3ERR_ACCES);

    for path in ["/deep", "/flat"] {
        let mut client = Client::mount(&server, path).expect("mount");
        let root = client.root.clone();
        let a = client.mkdir(&root, b"a").expect("mkdir");
        client.mkdir(&a, b"b").expect("mkdir");
        client.create_new(&a, b"file").expect("create");
        client.symlink(&root, b"link", b"a").expect("symlink");
        client.setattr(&a, mode(0o700), None).expect("chmod");
    }
    let mut client = Client::mount(&server, "/deep/a/b").expect("a folder");
    let b = client.root.clone();
    let file = client.create_new(&b, b"file").expect("create");
    server.restart();
    let mut client = Client::mount(&server, "//deep/./a//b/").expect("a folder, in other words");
    assert_eq!(client.root, b, "the same handle after a restart");
    assert_eq!(client.lookup(&b, b"file").expect("there"), file);
    let user = Who::user(1000, 1000);
    not_mounted(Client::mount_by(&server, "/deep/a/b", &user), mountstat3::MNT3ERR_ACCES);
    not_mounted(Client::mount(&server, "/deep/a/c"), mountstat3::MNT3ERR_NOENT);
    not_mounted(Client::mount(&server, "/deep/a/file"), mountstat3::MNT3ERR_NOTDIR);
    not_mounted(Client::mount(&server, "/deep/link"), mountstat3::MNT3ERR_NOTDIR);
    not_mounted(Client::mount(&server, "/flat/a"), mountstat3::MNT3ERR_ACCES);
    Client::mount(&server, "/flat/").expect("the share itself");
}

#[test]
fn exports_by_address() {
    let dir = tempfile::tempdir().expect("folder");
    let lists = "allow: [127.1.0.0/16, 127.2.2.2], deny: [127.1.6.0/24]";
    let shares = vec![
        share("/all", "squash: none"),
        share("/some", &format!("squash: none, {lists}")),
        share("/read", "squash: none, read_only: true"),
    ];
    let server = Server::with_shares(dir.path(), shares);
    let from = |address: [u8; 4]| Who::at(Ipv4Addr::from(address));
    let mut client = Client::mount_by(&server, "/some", &from([127, 1, 0, 1])).expect("allowed");
    let root = client.root.clone();
    client.create_new(&root, b"file").expect("create");
    for (address, is_allowed) in [
        ([127, 1, 255, 255], true),
        ([127, 2, 2, 2], true),
        ([127, 2, 2, 3], false),
        ([127, 1, 6, 1], false),
        ([127, 0, 0, 1], false),
    ] {
        let who = from(address);
        let mounted = Client::mount_by(&server, "/some", &who);
        let mut client = Client::with_root(&server, root.clone(), &who).expect("it listens");
        let looked = client.lookup(&root, b"file");
        if is_allowed {
            mounted.expect("allowed");
            looked.expect("allowed");
        } else {
            not_mounted(mounted, mountstat3::MNT3ERR_ACCES);
            refused(looked, Status::NFS3ERR_ACCES);
            Client::mount_by(&server, "/all", &who).expect("another share is open to it");
        }
    }
    let mut client = Client::mount(&server, "/read").expect("mount");
    let root = client.root.clone();
    refused(client.create_new(&root, b"a"), Status::NFS3ERR_ROFS);
    let exports = from([127, 0, 0, 1]).mounts(&server).expect("it listens").export();
    let want =
        [("/all", vec![]), ("/read", vec![]), ("/some", vec!["127.1.0.0/16", "127.2.2.2/32"])];
    let want = want.map(|(name, groups)| {
        (name.to_owned(), groups.into_iter().map(str::to_owned).collect::<Vec<_>>())
    });
    assert_eq!(exports, want);
}

/// Whom a file belongs to that root, a user, and a user in root's group make.
#[test]
fn exports_squash() {
    let dir = tempfile::tempdir().expect("folder");
    let modes = ["none", "root_to_admin", "root_to_guest", "all_to_admin", "all_to_guest"];
    let ids = "anonymous_uid: 77, anonymous_gid: 78, root_mode: 0777";
    let shares = modes.map(|mode| share(&format!("/{mode}"), &format!("squash: {mode}, {ids}")));
    let server = Server::with_shares(dir.path(), shares.to_vec());
    let (root, user, guest) = ((0, 0), (1000, 1000), (77, 78));
    for (mode, want) in [
        ("none", [root, user, (1000, 0)]),
        ("root_to_admin", [root, user, (1000, 0)]),
        ("root_to_guest", [guest, user, (1000, 78)]),
        ("all_to_admin", [root, root, root]),
        ("all_to_guest", [guest, guest, guest]),
    ] {
        for ((uid, gid), want) in [root, user, (1000, 0)].into_iter().zip(want) {
            let path = format!("/{mode}");
            let mut client = Client::mount_as(&server, &path, uid, gid).expect("mount");
            let dir = client.root.clone();
            let name = format!("{uid}-{gid}");
            let file = client.create_new(&dir, name.as_bytes()).expect("create");
            let attr = client.getattr(&file).expect("attributes");
            assert_eq!((attr.uid, attr.gid), want, "{mode}: {uid}:{gid}");
        }
    }
}

const HOSTS: &str = "\
127.0.0.1 localhost
127.1.0.1 alpha.lab
127.1.0.2 beta.lab other.lab
127.1.0.3 gamma.office
# Its owner calls this address after somebody else.
127.1.0.4 alpha.lab.evil
127.1.0.6 delta.lab
127.1.0.7 delta.lab
";

const ALPHA: [u8; 4] = [127, 1, 0, 1];
const BETA: [u8; 4] = [127, 1, 0, 2];
const GAMMA: [u8; 4] = [127, 1, 0, 3];
const EVIL: [u8; 4] = [127, 1, 0, 4];
const NAMELESS: [u8; 4] = [127, 1, 0, 5];
const DELTA: [u8; 4] = [127, 1, 0, 7];

/// Which of the hosts may mount, and use a handle that they have anyway.
fn admitted(server: &Server, path: &str) -> Vec<[u8; 4]> {
    let all = [ALPHA, BETA, GAMMA, EVIL, NAMELESS, DELTA];
    let admitted = all.into_iter().filter(|address| {
        let who = Who::at(Ipv4Addr::from(*address));
        match Client::mount_by(server, path, &who) {
            Ok(mut client) => {
                let root = client.root.clone();
                client.readdir(&root, 4096).expect("who may mount may look");
                true
            }
            Err(Fail::Mount(mountstat3::MNT3ERR_ACCES)) => false,
            Err(other) => panic!("{address:?}: {other:?}"),
        }
    });
    admitted.collect()
}

#[test]
fn exports_by_name_and_netgroup() {
    let dir = tempfile::tempdir().expect("folder");
    let shares = [
        ("/name", "allow: [Alpha.lab, other.lab]"),
        ("/many", "allow: [delta.lab]"),
        ("/pattern", "allow: ['*.lab']"),
        ("/denied", "deny: [alpha.lab, '*.office']"),
        ("/group", "allow: ['@lab']"),
        ("/nested", "allow: ['@all'], deny: ['@lab']"),
        ("/mixed", "allow: ['@missing', 127.1.0.5, 'gam?a.*'], deny: [127.1.0.3]"),
    ];
    let shares = shares.map(|(name, lists)| share(name, &format!("squash: none, {lists}")));
    let netgroup = dir.path().join("netgroup");
    let text = "lab (alpha.lab,-,) (127.1.0.5,,)\noffice (GAMMA.office,,)\nall lab office all\n";
    std::fs::write(&netgroup, text).expect("file");
    let server = Server::with_etc(dir.path(), shares.to_vec(), &[("hosts", HOSTS)]);
    assert_eq!(admitted(&server, "/name"), [ALPHA, BETA]);
    assert_eq!(admitted(&server, "/many"), [DELTA], "one of a name's addresses");
    assert_eq!(admitted(&server, "/pattern"), [ALPHA, BETA, DELTA]);
    assert_eq!(admitted(&server, "/denied"), [BETA, EVIL, NAMELESS, DELTA]);
    assert_eq!(admitted(&server, "/group"), [ALPHA, NAMELESS]);
    assert_eq!(admitted(&server, "/nested"), [GAMMA]);
    assert_eq!(admitted(&server, "/mixed"), [NAMELESS]);
    let exports = Who::user(0, 0).mounts(&server).expect("it listens").export();
    let groups = |name| &exports.iter().find(|one| one.0 == name).expect("exported").1;
    assert_eq!(groups("/name"), &["alpha.lab", "other.lab"]);
    assert_eq!(groups("/mixed"), &["@missing", "127.1.0.5/32", "gam?a.*"]);
    assert!(server.log_text().contains("no netgroup missing"));

    // A handle is worth nothing to who may not come in.
    let root = Client::mount_by(&server, "/name", &Who::at(ALPHA.into())).expect("mount").root;
    let mut client = Client::with_root(&server, root.clone(), &Who::at(GAMMA.into())).expect("up");
    refused(client.getattr(&root), Status::NFS3ERR_ACCES);

    // Another file counts soon; a wrong one changes nothing.
    std::fs::write(&netgroup, "lab (beta.lab,,)\nall (gamma.office,,)\n").expect("file");
    wait_for(|| admitted(&server, "/group") == [BETA]);
    std::fs::write(&netgroup, "lab (beta.lab\n").expect("file");
    wait_for(|| {
        assert_eq!(admitted(&server, "/group"), [BETA]);
        server.log_text().contains("line 1: expected members")
    });
}

#[test]
fn exports_want_a_netgroup_file_that_can_be_read() {
    let dir = tempfile::tempdir().expect("folder");
    let shares = vec![share("/export", "squash: none")];
    let mut server = Server::with_shares(dir.path(), shares);
    server.reconfigure(vec![share("/export", "squash: none, allow: ['@lab']")]);
    assert!(server.stop(std::time::Duration::from_secs(30)).success());
    assert!(!server.try_start(), "there is no such file");
    let log = server.log_text();
    assert!(log.contains("netgroup is not there; see lookups.netgroup_file"), "{log}");
    std::fs::write(dir.path().join("netgroup"), "lab (a,b\n").expect("file");
    assert!(!server.try_start(), "the file is wrong");
    let log = server.log_text();
    assert!(log.contains("netgroup: line 1: expected members"), "{log}");
    std::fs::write(dir.path().join("netgroup"), "lab (127.0.0.1,,)\n").expect("file");
    server.start();
    Client::mount(&server, "/export").expect("a member");
}

/// Seventeen groups and more, of which the wire carries sixteen.
#[test]
fn exports_with_the_servers_groups() {
    let dir = tempfile::tempdir().expect("folder");
    let shares = [("/client", "groups: client"), ("/server", "groups: server")];
    let shares = shares.map(|(name, groups)| share(name, &format!("squash: none, {groups}")));
    let passwd = "root:x:0:0::/:/bin/sh\nann:x:1000:1000::/:/bin/sh\nbob:x:1001:1001::/:/bin/sh\n";
    let group =
        (0..30).map(|n| format!("g{n}:x:{}:{}\n", 5000 + n, if n > 0 { "ann" } else { "" }));
    let group: String = group.collect();
    let etc = [("passwd", passwd), ("group", &*group)];
    let server = Server::with_etc(dir.path(), shares.to_vec(), &etc);
    let user = |uid, groups: Vec<u32>| Who { user: Some((uid, uid, groups)), ..Who::user(0, 0) };
    // The server knows ann in 5001 and up, bob in none, and nobody by the third id.
    let (ann, liar) = (user(1000, (5014..5030).collect()), user(1000, vec![5000]));
    let (bob, stranger) = (user(1001, vec![5029]), user(4321, vec![5029]));
    let [no, yes] = [false, true];
    for (path, may_read) in [
        ("/client", [[no, no, yes], [yes, no, no], [no, no, yes], [no, no, yes]]),
        ("/server", [[no, yes, yes], [no, yes, yes], [no, no, no], [no, no, no]]),
    ] {
        let mut root = Client::mount(&server, path).expect("mount");
        let top = root.root.clone();
        let files = [5000, 5001, 5029].map(|gid| {
            let file = root.create_new(&top, format!("{gid}").as_bytes()).expect("create");
            let new = sattr3 { gid: Nfs3Option::Some(gid), ..mode(0o040) };
            root.setattr(&file, new, None).expect("chgrp");
            file
        });
        for (who, may_read) in [&ann, &liar, &bob, &stranger].into_iter().zip(may_read) {
            let mut client = Client::mount_by(&server, path, who).expect("mount");
            let reads = files.each_ref().map(|file| match client.read(file, 0, 1) {
                Ok(_) => true,
                Err(Fail::Status(Status::NFS3ERR_ACCES)) => false,
                Err(other) => panic!("{other:?}"),
            });
            assert_eq!(reads, may_read, "{path}: {who:?}");
        }
    }
}

fn wait_for(condition: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "it does not come to pass");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
