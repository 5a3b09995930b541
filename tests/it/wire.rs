//! Bytes from strangers: the process never dies of them, and other connections go on.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use nfs3_types::{
    nfs3::{self, Nfs3Option, stable_how},
    rpc::{auth_unix, opaque_auth},
    xdr_codec::{Opaque, Pack},
};
use tests::{
    client::{Client, Fail, Handle, Status, at, mode},
    rng::{Rng, seeds},
    server::Server,
};

const NFS: u32 = 100_003;
const MOUNT: u32 = 100_005;
const LAST: u32 = 0x8000_0000;
/// More than this, and a stranger owns the server's memory.
const MEMORY_GROWTH_MAX: u64 = 400 << 20;

/// What a server says to a call.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// It closed the connection.
    Closed,
    /// MSG_ACCEPTED with this `accept_stat`, and the words that follow.
    Accepted(u32, Vec<u32>),
    /// MSG_DENIED with this `reject_stat`, and the words that follow.
    Denied(u32, Vec<u32>),
}

impl Said {
    /// Anything but a success.
    fn is_refusal(&self) -> bool {
        !matches!(self, Self::Accepted(0, _))
    }
}

struct Stranger(TcpStream);

impl Stranger {
    fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.nfs_port.address()).expect("it accepts");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
        stream.set_write_timeout(Some(Duration::from_secs(20))).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        Self(stream)
    }

    /// Sends bytes; a server that has closed the connection is no error.
    fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    fn send_record(&mut self, message: &[u8]) -> bool {
        self.send(&record(message))
    }

    fn ask(&mut self, message: &[u8]) -> Said {
        self.send_record(message);
        self.hear()
    }

    fn hear(&mut self) -> Said {
        let mut message = Vec::new();
        loop {
            let mut header = [0; 4];
            if let Err(e) = self.0.read_exact(&mut header) {
                assert!(e.kind() != std::io::ErrorKind::WouldBlock, "neither a reply nor a close");
                return Said::Closed;
            }
            let header = u32::from_be_bytes(header);
            let start = message.len();
            message.resize(start + (header & !LAST) as usize, 0);
            if self.0.read_exact(&mut message[start..]).is_err() {
                return Said::Closed;
            }
            if header & LAST != 0 {
                break;
            }
        }
        let words = message
            .chunks_exact(4)
            .map(|word| u32::from_be_bytes(word.try_into().expect("four bytes")));
        let words: Vec<u32> = words.collect();
        assert_eq!(words.get(1), Some(&1), "a REPLY");
        match words[2] {
            0 => {
                let verifier = words[4].div_ceil(4) as usize;
                Said::Accepted(words[5 + verifier], words[6 + verifier..].to_vec())
            }
            _ => Said::Denied(words[3], words[4..].to_vec()),
        }
    }
}

fn record(message: &[u8]) -> Vec<u8> {
    let len = u32::try_from(message.len()).expect("small");
    [&(len | LAST).to_be_bytes(), message].concat()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A CALL as root.
fn call(program: u32, version: u32, procedure: u32, args: &[u8]) -> Vec<u8> {
    let root = auth_unix { machinename: Opaque::borrowed(b"stranger"), ..auth_unix::default() };
    let mut message = words(&[7, 0, 2, program, version, procedure]);
    opaque_auth::auth_unix(&root).pack(&mut message).expect("a Vec");
    opaque_auth::default().pack(&mut message).expect("a Vec");
    message.extend(args);
    message
}

fn packed(args: &impl Pack) -> Vec<u8> {
    let mut bytes = Vec::new();
    args.pack(&mut bytes).expect("a Vec");
    bytes
}

/// Good arguments of every procedure of NFS.
fn good_args(root: &Handle, file: &Handle) -> Vec<(u32, Vec<u8>)> {
    let (r, f) = (|| root.clone(), || file.clone());
    let sattr = || mode(0o600);
    let (none, verf) = (Nfs3Option::None, nfs3::cookieverf3::default());
    let data = Opaque::borrowed(b"some bytes of a stranger");
    let (count, stable) = (24, stable_how::UNSTABLE);
    let plus = nfs3::READDIRPLUS3args {
        dir: r(),
        cookie: 0,
        cookieverf: verf,
        dircount: 512,
        maxcount: 4096,
    };
    let symlink = nfs3::symlinkdata3 {
        symlink_attributes: sattr(),
        symlink_data: b"there".as_slice().into(),
    };
    let (how, what) = (nfs3::createhow3::UNCHECKED(sattr()), nfs3::mknoddata3::NF3FIFO(sattr()));
    let mkdir = nfs3::MKDIR3args { where_: at(root, b"w-dir"), attributes: sattr() };
    let rename = nfs3::RENAME3args { from: at(root, b"w-dir"), to: at(root, b"w-to") };
    let setattr = nfs3::SETATTR3args { object: f(), new_attributes: sattr(), guard: none };
    vec![
        (1, packed(&nfs3::GETATTR3args { object: f() })),
        (2, packed(&setattr)),
        (3, packed(&nfs3::LOOKUP3args { what: at(root, b"w-file") })),
        (4, packed(&nfs3::ACCESS3args { object: f(), access: 63 })),
        (5, packed(&nfs3::READLINK3args { symlink: f() })),
        (6, packed(&nfs3::READ3args { file: f(), offset: 0, count: 100 })),
        (7, packed(&nfs3::WRITE3args { file: f(), offset: 9, count, stable, data })),
        (8, packed(&nfs3::CREATE3args { where_: at(root, b"w-new"), how })),
        (9, packed(&mkdir)),
        (10, packed(&nfs3::SYMLINK3args { where_: at(root, b"w-link"), symlink })),
        (11, packed(&nfs3::MKNOD3args { where_: at(root, b"w-fifo"), what })),
        (12, packed(&nfs3::REMOVE3args { object: at(root, b"w-none") })),
        (13, packed(&nfs3::RMDIR3args { object: at(root, b"w-none") })),
        (14, packed(&rename)),
        (15, packed(&nfs3::LINK3args { file: f(), link: at(root, b"w-link2") })),
        (16, packed(&nfs3::READDIR3args { dir: r(), cookie: 0, cookieverf: verf, count: 4096 })),
        (17, packed(&plus)),
        (18, packed(&nfs3::FSSTAT3args { fsroot: r() })),
        (19, packed(&nfs3::FSINFO3args { fsroot: r() })),
        (20, packed(&nfs3::PATHCONF3args { object: r() })),
        (21, packed(&nfs3::COMMIT3args { file: f(), offset: 0, count: 0 })),
    ]
}

/// A server, its root and a file, while somebody else works on it; then what must hold.
fn abused(abuse: impl FnOnce(&Server, &Handle, &Handle)) {
    let dir = tempfile::tempdir().expect("folder");
    let mut server = Server::quickstart(dir.path());
    let mut client = Client::mount(&server, "/export").expect("mount");
    let root = client.root.clone();
    let file = client.create_new(&root, b"w-file").expect("create");
    let memory = server.memory_bytes();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let bystander = scope.spawn(|| bystander(&server, &done));
        let abused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            abuse(&server, &root, &file);
        }));
        done.store(true, Ordering::Relaxed);
        let rounds = bystander.join();
        assert!(abused.is_ok() && rounds.is_ok_and(|rounds| rounds > 0), "see above");
    });
    server.assert_alive();
    let growth = server.memory_bytes().saturating_sub(memory);
    assert!(growth < MEMORY_GROWTH_MAX, "{} MiB for strangers", growth >> 20);
    assert!(!server.log_text().contains("panicked"), "a thread of the server panicked");
}

/// Honest work on a connection of its own; each answer is checked.
fn bystander(server: &Server, done: &AtomicBool) -> u32 {
    let mut client = Client::mount(server, "/export").expect("mount");
    let root = client.root.clone();
    let mut rounds = 0;
    while !done.load(Ordering::Relaxed) || rounds == 0 {
        let name = format!("bystander-{rounds}").into_bytes();
        let file = client.create_new(&root, &name).expect("a new name");
        client.write(&file, 0, &name, stable_how::FILE_SYNC).expect("write");
        assert_eq!(client.read_all(&file).expect("read"), name);
        client.remove(&root, &name).expect("remove");
        rounds += 1;
        std::thread::sleep(Duration::from_millis(5));
    }
    rounds
}

#[test]
fn wire_says_what_it_does_not_speak() {
    abused(|server, _, _| {
        let mut stranger = Stranger::connect(server);
        let none = words(&[7, 0, 2, NFS, 3, 0, 0, 0, 0, 0]);
        assert_eq!(stranger.ask(&none), Said::Accepted(0, vec![]), "NULL without a name");
        let rpc3 = words(&[7, 0, 3, NFS, 3, 0, 0, 0, 0, 0]);
        assert_eq!(stranger.ask(&rpc3), Said::Denied(0, vec![2, 2]), "RPC version 3");
        let unknown = stranger.ask(&call(100_099, 1, 0, &[]));
        assert_eq!(unknown, Said::Accepted(1, vec![]), "PROG_UNAVAIL");
        for version in [0, 2, 99] {
            let said = stranger.ask(&call(NFS, version, 0, &[]));
            let Said::Accepted(2, range) = said else { panic!("version {version}: {said:?}") };
            assert!(range[0] == 3 && range[1] >= 3, "PROG_MISMATCH {range:?}");
        }
        if server.is_ours() {
            let said = stranger.ask(&call(MOUNT, 9, 0, &[]));
            assert!(matches!(said, Said::Accepted(2, _)), "PROG_MISMATCH: {said:?}");
            assert_eq!(stranger.ask(&call(MOUNT, 3, 6, &[])), Said::Accepted(3, vec![]));
        }
        assert_eq!(stranger.ask(&call(NFS, 3, 22, &[])), Said::Accepted(3, vec![]), "PROC_UNAVAIL");
        assert_eq!(stranger.ask(&call(NFS, 3, 0, &[])), Said::Accepted(0, vec![]), "goes on");
    });
}

#[test]
fn wire_refuses_truncated_arguments() {
    abused(|server, root, file| {
        let mut stranger = Stranger::connect(server);
        for (procedure, args) in good_args(root, file) {
            for len in 0..args.len() {
                let said = stranger.ask(&call(NFS, 3, procedure, &args[..len]));
                assert!(said.is_refusal(), "procedure {procedure}, {len} bytes: {said:?}");
                if said == Said::Closed {
                    stranger = Stranger::connect(server);
                }
            }
            let said = stranger.ask(&call(NFS, 3, procedure, &args));
            assert!(matches!(said, Said::Accepted(0, _)), "procedure {procedure} whole: {said:?}");
        }
    });
}

#[test]
fn wire_believes_no_length() {
    abused(|server, root, file| {
        let huge = [0xffff_ffff_u32, 0x7fff_ffff, 0x8000_0000, 0x0100_0000, 65];
        for (procedure, args) in good_args(root, file) {
            for len in huge {
                let mut lie = args.clone();
                lie[..4].copy_from_slice(&len.to_be_bytes()); // of the handle
                let said = Stranger::connect(server).ask(&call(NFS, 3, procedure, &lie));
                assert!(said.is_refusal(), "procedure {procedure}, handle of {len}: {said:?}");
            }
        }
        for len in [0xffff_ffff_u32, 0x7fff_ffff, 4096] {
            // A name, a credential, a list of groups, and bytes to write.
            let name = [packed(root), words(&[len]), b"name".to_vec()].concat();
            let said = Stranger::connect(server).ask(&call(NFS, 3, 3, &name));
            assert!(said.is_refusal(), "a name of {len}: {said:?}");
            let credential = words(&[7, 0, 2, NFS, 3, 0, 1, len, 0, 0]);
            let said = Stranger::connect(server).ask(&credential);
            assert!(said.is_refusal(), "a credential of {len}: {said:?}");
            let groups = words(&[7, 0, 2, NFS, 3, 0, 1, 20, 0, 0, 0, 0, len, 0, 0]);
            let said = Stranger::connect(server).ask(&groups);
            assert!(said.is_refusal(), "{len} groups: {said:?}");
            let write = [packed(file), words(&[0, 0, 24, 0, len]), vec![0; 24]].concat();
            let said = Stranger::connect(server).ask(&call(NFS, 3, 7, &write));
            assert!(said.is_refusal(), "{len} bytes to write: {said:?}");
        }
    });
}

#[test]
fn wire_records_of_any_shape() {
    abused(|server, root, _| {
        let null = call(NFS, 3, 0, &[]);
        // A byte for each fragment.
        let mut stranger = Stranger::connect(server);
        let (last, others) = null.split_last().expect("not empty");
        for byte in others {
            stranger.send(&[0, 0, 0, 1, *byte]);
        }
        assert_eq!(stranger.ask(&[*last]), Said::Accepted(0, vec![]), "one byte a fragment");
        // Many calls at once, and one that comes byte by byte.
        stranger.send(&record(&null).repeat(100));
        for _ in 0..100 {
            assert_eq!(stranger.hear(), Said::Accepted(0, vec![]), "a hundred at once");
        }
        for byte in record(&null) {
            stranger.send(&[byte]);
        }
        assert_eq!(stranger.hear(), Said::Accepted(0, vec![]), "byte by byte");
        // Records that are too large, empty, endless, cut short, or no calls.
        for header in [0xffff_ffff_u32, 0x7fff_ffff, LAST | (64 << 20)] {
            let mut stranger = Stranger::connect(server);
            stranger.send(&header.to_be_bytes());
            let garbage = vec![0xa5; 1 << 20];
            let closed = (0..256).any(|_| !stranger.send(&garbage));
            assert!(closed, "a record of {header:x} is taken for 256 MiB");
        }
        assert!(Stranger::connect(server).ask(&[]).is_refusal(), "an empty record");
        let mut stranger = Stranger::connect(server);
        let empty = [0; 4].repeat(1 << 16);
        for _ in 0..64 {
            stranger.send(&empty); // fragments of nothing: to close is fine, to end is not
        }
        for len in 1..44 {
            let mut stranger = Stranger::connect(server);
            stranger.send(&record(&call(NFS, 3, 1, &packed(root)))[..len]);
            drop(stranger);
            let said = Stranger::connect(server).ask(&call(NFS, 3, 1, &packed(root))[..len]);
            assert!(said.is_refusal(), "{len} bytes of a call: {said:?}");
        }
        let said = Stranger::connect(server).ask(&words(&[7, 1, 0, 0, 0, 0]));
        assert_eq!(said, Said::Closed, "a REPLY to a server");
    });
}

#[test]
fn wire_refuses_strange_values() {
    abused(|server, root, file| {
        let mut client = Client::mount(server, "/export").expect("mount");
        let fails = |answer: Result<(), Fail>, wanted: &[Status], what: &str| {
            let is_wanted = match &answer {
                Err(Fail::Status(status)) => wanted.contains(status),
                _ => false,
            };
            assert!(is_wanted, "{what}: {answer:?}, not {wanted:?}");
        };
        let lost = [Status::NFS3ERR_BADHANDLE, Status::NFS3ERR_STALE];
        let mut rng = Rng::new(1);
        for len in [0, 1, 16, 28, 32, 63, 64] {
            let handle = Handle { data: Opaque::owned(rng.bytes(len)) };
            fails(client.getattr(&handle).map(drop), &lost, &format!("a random handle of {len}"));
        }
        for bit in 0..file.data.len() * 8 {
            let mut bytes = file.data.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let handle = Handle { data: Opaque::owned(bytes) };
            if server.is_ours() {
                let answer = client.getattr(&handle).map(drop);
                fails(answer, &lost, &format!("a handle with bit {bit} turned"));
            }
        }
        let bad = [
            Status::NFS3ERR_INVAL,
            Status::NFS3ERR_EXIST,
            Status::NFS3ERR_ACCES,
            Status::NFS3ERR_ISDIR,
            Status::NFS3ERR_NAMETOOLONG,
        ];
        for name in [b"".as_slice(), b".", b"..", b"a/b", b"a\0b", &[b'n'; 256]] {
            let text = String::from_utf8_lossy(name);
            fails(client.create_new(root, name).map(drop), &bad, &format!("CREATE {text:?}"));
            fails(client.mkdir(root, name).map(drop), &bad, &format!("MKDIR {text:?}"));
            let renamed = client.rename((root, b"w-file"), (root, name));
            fails(renamed, &bad, &format!("RENAME to {text:?}"));
        }
        let large = [Status::NFS3ERR_FBIG, Status::NFS3ERR_INVAL, Status::NFS3ERR_NOSPC];
        for offset in [u64::MAX, u64::MAX - 3, 1 << 63] {
            let written = client.write(file, offset, b"four", stable_how::UNSTABLE).map(drop);
            fails(written, &large, &format!("WRITE at {offset}"));
            fails(client.truncate(file, offset), &large, &format!("a length of {offset}"));
        }
        let (bytes, eof) = client.read(file, 0, u32::MAX).expect("as much as there is");
        assert!(bytes.is_empty() && eof, "an empty file");
        let far = client.read(file, u64::MAX, u32::MAX);
        assert!(!matches!(far, Err(Fail::Lost(_))), "READ at the end of numbers: {far:?}");
        let small = [Status::NFS3ERR_TOOSMALL];
        for count in [0, 1, 16] {
            fails(client.readdir(root, count).map(drop), &small, &format!("READDIR of {count}"));
        }
        fails(client.readdir(file, 4096).map(drop), &[Status::NFS3ERR_NOTDIR], "READDIR of a file");
        let on_dir = [Status::NFS3ERR_ISDIR, Status::NFS3ERR_INVAL];
        fails(client.read(root, 0, 9).map(drop), &on_dir, "READ of a directory");
        let written = client.write(root, 0, b"x", stable_how::FILE_SYNC).map(drop);
        fails(written, &on_dir, "WRITE to a directory");
        fails(client.readlink(file).map(drop), &[Status::NFS3ERR_INVAL], "READLINK of a file");
    });
}

/// Good calls with a few bytes changed, cut or added. `SEED=n` replays one run.
#[test]
fn wire_survives_mutations() {
    abused(|server, root, file| {
        for seed in seeds(40) {
            let mut rng = Rng::new(seed);
            let mut stranger = Stranger::connect(server);
            let args = good_args(root, file);
            for _ in 0..100 {
                let (procedure, args) = rng.pick(&args).clone();
                let mut message = call(NFS, 3, procedure, &args);
                mutate(&mut rng, &mut message);
                if stranger.ask(&message) == Said::Closed {
                    stranger = Stranger::connect(server);
                }
            }
        }
    });
}

/// The transaction id and the kind of message stay: a message that is no CALL gets no answer.
fn mutate(rng: &mut Rng, message: &mut Vec<u8>) {
    for _ in 0..1 + rng.below(4) {
        let at = 8 + rng.below(message.len() - 8);
        match rng.below(5) {
            0 => message[at] ^= 1 << rng.below(8),
            1 => message[at] = *rng.pick(&[0, 1, 0x7f, 0x80, 0xff]),
            2 => message.truncate(at.max(12)),
            3 => {
                let len = rng.below(64);
                message.extend(rng.bytes(len));
            }
            _ => {
                let at = at & !3;
                let word = *rng.pick(&[0, 1, 3, 64, 0x7fff_ffff, 0xffff_ffff_u32]);
                if let Some(place) = message.get_mut(at..at + 4) {
                    place.copy_from_slice(&word.to_be_bytes());
                }
            }
        }
    }
}

/// A client that asks and never listens, and many that only connect.
#[test]
fn wire_bounds_a_greedy_client() {
    abused(|server, root, _| {
        let mut client = Client::mount(server, "/export").expect("mount");
        let large = client.create_new(root, b"large").expect("create");
        for n in 0..4 {
            let part = vec![n; 1 << 20];
            client.write(&large, u64::from(n) << 20, &part, stable_how::UNSTABLE).expect("write");
        }
        let idle: Vec<Stranger> = (0..200).map(|_| Stranger::connect(server)).collect();
        let mut greedy = Stranger::connect(server);
        greedy.0.set_write_timeout(Some(Duration::from_secs(2))).expect("a socket");
        let args = nfs3::READ3args { file: large.clone(), offset: 0, count: 1 << 20 };
        let read = record(&call(NFS, 3, 6, &packed(&args)));
        let asked = (0..20_000).take_while(|_| greedy.send(&read)).count();
        println!("asked for {asked} MiB before it stopped listening");
        let growth = server.memory_bytes();
        assert!(growth < 1 << 30, "{} MiB", growth >> 20);
        assert_eq!(client.read_all(&large).expect("read").len(), 4 << 20);
        drop((idle, greedy));
    });
}
