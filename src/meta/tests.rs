//! What only one engine has (a disk, crashes) and what needs a look inside.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command as Process, Stdio},
    sync::atomic::{AtomicBool, Ordering},
};

use reactor::{
    rng::Rng,
    sim::{Moment, World, cut_power_at},
};
use vocab::{BlockIndex, Error, InodeId, Sequence};

use crate::{
    Engine as Kind, SizeChange, Store,
    command::{AttrChange, Command, NewKind, Outcome},
    conformance::{at, check, hash, new_attr, submit_all, wait},
    core::Core,
    engine::{Batch, Engine, Fault, SPACES, Space, View, lsm::Lsm, memory::Memory},
    key, machine,
    names::Names,
    record::{FORMAT_VERSION, Format, Record},
    shards::Seed,
    tx::Tx,
    writer::Writer,
};

/// A command that makes a file or, now and then, something else.
pub(crate) fn random_command(rng: &mut Rng, step: u64) -> Command {
    let inode = InodeId(2 + rng.below(20));
    let dir = InodeId(2 + rng.below(5));
    let name = format!("{}", rng.below(12)).into_bytes().into_boxed_slice();
    let to_name = format!("{}", rng.below(12)).into_bytes().into_boxed_slice();
    let now = at(i64::try_from(step).expect("small"));
    let attr = new_attr(0o644);
    let generation = u32::try_from(step).expect("small");
    match rng.below(10) {
        0 => Command::ShareCreate {
            name: format!("/{}", rng.below(3)),
            content: "content".into(),
            attr,
            now,
            generation,
        },
        1..4 => {
            let kind = match rng.below(3) {
                0 => NewKind::Directory,
                1 => NewKind::Symlink(b"path".as_slice().into()),
                _ => NewKind::Regular { exclusive: None },
            };
            Command::Create { dir, name, kind, attr, now, generation }
        }
        4 => Command::Link { inode, dir, name, now },
        5 => Command::Remove { dir, name, directory: rng.one_in(3), now },
        6 => {
            let to_dir = InodeId(2 + rng.below(5));
            Command::Rename { from_dir: dir, from_name: name, to_dir, to_name, now }
        }
        7 => Command::Reap { inode, blocks_max: 1, now },
        8 => {
            let change = AttrChange { mode: Some(generation), ..AttrChange::default() };
            Command::SetAttr { inode, change, guard: None, now, data: None }
        }
        _ => {
            let byte = u8::try_from(rng.below(5)).expect("small") + 1;
            Command::SetBlock {
                inode,
                index: BlockIndex(0),
                block: Some((hash(byte), byte.into())),
                watermark: Sequence(step),
                data: None,
                was_put: true,
                packed: None,
                now,
            }
        }
    }
}

fn apply_in_batches(engine: &dyn Engine, commands: &[Command], batch_max: usize) -> Vec<String> {
    let mut answers = Vec::new();
    for commands in commands.chunks(batch_max) {
        let view = engine.view();
        let mut tx = Tx::new(&*view);
        for command in commands {
            answers.push(format!("{:?}", machine::apply(&mut tx, command)));
        }
        let batch = tx.into_batch();
        drop(view);
        engine.commit(&batch).expect("commit");
    }
    answers
}

/// Everything in a store, but its identity.
fn dump(engine: &dyn Engine) -> Vec<(Space, Vec<u8>, Vec<u8>)> {
    let mut pairs = Vec::new();
    for space in SPACES {
        let mut visit = |key: &[u8], value: &[u8]| {
            if key != key::format() {
                pairs.push((space, key.to_vec(), value.to_vec()));
            }
            true
        };
        engine.view().scan(space, &[], &[0xff; 300], &mut visit).expect("scan");
    }
    pairs
}

/// The same commands give the same store and the same answers, however they are batched and
/// whatever keeps them.
#[test]
fn the_same_commands_give_the_same_store() {
    for seed in 0..4 {
        let mut rng = Rng::from_seed(seed);
        let commands: Vec<_> = (1..=800).map(|step| random_command(&mut rng, step)).collect();
        let dir = tempfile::tempdir().expect("tempdir");
        let (one, many) = (Memory::default(), Memory::default());
        let lsm = Lsm::open(dir.path()).expect("open");
        let answers = apply_in_batches(&one, &commands, 1);
        assert_eq!(apply_in_batches(&many, &commands, 64), answers, "seed {seed}");
        assert_eq!(apply_in_batches(&lsm, &commands, 17), answers, "seed {seed}");
        let succeeded = answers.iter().filter(|answer| answer.starts_with("Ok")).count();
        assert!(succeeded > 100, "seed {seed}: only {succeeded} commands did anything");
        let wanted = dump(&one);
        assert!(dump(&many) == wanted && dump(&lsm) == wanted, "seed {seed}");
        check(&one);
    }
}

#[test]
fn the_disk_keeps_everything_over_a_restart() {
    let dir = tempfile::tempdir().expect("tempdir");
    let kind = Kind::Lsm { path: dir.path().join("a/b/meta") };
    let mut rng = Rng::from_seed(1);
    let (mut id, mut before) = (None, Vec::new());
    for round in 0..3 {
        let store = Store::open("test", &kind).expect("open");
        assert!(id.is_none_or(|id| id == store.id()));
        id = Some(store.id());
        let engine = &*store.core().engine;
        assert!(dump(engine) == before, "round {round}");
        let commands = (1..=300).map(|step| random_command(&mut rng, round * 300 + step)).collect();
        submit_all(&store, commands);
        check(engine);
        before = dump(engine);
        let refused = Store::open("other", &kind).expect_err("a second server");
        assert!(refused.contains("another process"), "{refused}");
        store.close();
        let late = wait(store.submit(random_command(&mut rng, 1)));
        assert_eq!(late.err(), Some(Error::Stopping));
        assert_eq!(wait(store.totals(None)).err(), Some(Error::Stopping));
        store.close();
    }
    assert!(before.len() > 50);
}

#[test]
fn a_newer_store_is_refused() {
    let engine = Box::new(Memory::default());
    let newer = Format { version: FORMAT_VERSION + 1, store: 1 };
    let mut batch = Batch::default();
    batch.changes_mut(Space::Misc).insert(key::format().into(), Some(newer.encode()));
    engine.commit(&batch).expect("commit");
    let refused = wait(Core::open("test", engine)).expect_err("newer");
    assert!(refused.contains("format 2"), "{refused}");
}

/// Memory whose disk can be made to fail.
#[derive(Default)]
struct Failing {
    memory: Memory,
    is_failing: AtomicBool,
}

struct Shared(std::sync::Arc<Failing>);

impl Engine for Shared {
    fn view(&self) -> Box<dyn View + '_> {
        self.0.memory.view()
    }

    fn commit(&self, batch: &Batch) -> Result<(), Fault> {
        self.0.memory.commit(batch)
    }

    fn sync(&self) -> Result<(), Fault> {
        if self.0.is_failing.load(Ordering::Relaxed) {
            return Err(Fault("the disk is gone".into()));
        }
        Ok(())
    }

    fn is_lasting(&self) -> bool {
        true
    }
}

#[test]
fn a_failed_sync_ends_writing_for_good() {
    let disk = std::sync::Arc::new(Failing::default());
    let core = wait(Core::open("test", Box::new(Shared(disk.clone())))).expect("open");
    let mut writer = Writer::new(&core);
    let share = Command::ShareCreate {
        name: "/a".into(),
        content: "c".into(),
        attr: new_attr(0o755),
        now: at(1),
        generation: 1,
    };
    let create = |name: &str| Command::Create {
        dir: InodeId(2),
        name: name.as_bytes().into(),
        kind: NewKind::Directory,
        attr: new_attr(0o755),
        now: at(2),
        generation: 1,
    };
    assert!(wait(writer.apply(&[share, create("a")])).iter().all(Result::is_ok));
    disk.is_failing.store(true, Ordering::Relaxed);
    let answers = wait(writer.apply(&[create("b"), create("b"), create("c")]));
    assert!(answers.iter().all(|answer| answer.as_ref().err() == Some(&Error::Io)), "{answers:?}");
    // Not shown either: the caller was told that it did not happen.
    assert_eq!(core.names.peek(InodeId(2), b"b"), None);
    // A sync that works again proves nothing about what was lost.
    disk.is_failing.store(false, Ordering::Relaxed);
    assert_eq!(wait(writer.apply(&[create("d")]))[0].as_ref().err(), Some(&Error::Io));
    assert!(core.attr(InodeId(2)).is_ok(), "reading goes on");
}

/// A reader that was overtaken by the writer must not bring the old state back.
#[test]
fn a_slow_reader_does_not_bring_the_past_back() {
    let core = wait(Core::open("test", Box::new(Memory::default()))).expect("open");
    let mut writer = Writer::new(&core);
    let dir = InodeId(2);
    let share = Command::ShareCreate {
        name: "/a".into(),
        content: "c".into(),
        attr: new_attr(0o755),
        now: at(1),
        generation: 1,
    };
    wait(writer.apply(&[share]))[0].as_ref().expect("share");
    let name = b"x".as_slice();
    let (table, names) = (core.table.stamp(InodeId(3)), core.names.stamp(dir, name));
    let make = Command::Create {
        dir,
        name: name.into(),
        kind: NewKind::Regular { exclusive: None },
        attr: new_attr(0o644),
        now: at(2),
        generation: 1,
    };
    wait(writer.apply(&[make]))[0].as_ref().expect("create");
    let old = core.read(|view| crate::read::inode(view, InodeId(3))).expect("inode");
    let remove = Command::Remove { dir, name: name.into(), directory: false, now: at(3) };
    wait(writer.apply(&[remove]))[0].as_ref().expect("remove");
    assert_eq!(core.table.loaded(&old, table), None);
    assert_eq!(core.table.peek(InodeId(3)), None);
    core.names.loaded(dir, name, Some(InodeId(3)), names);
    assert_eq!(core.names.peek(dir, name), Some(None));
}

/// The same, when the writer's word has been evicted before the slow reader comes.
#[test]
fn an_evicted_name_does_not_come_back_either() {
    let names = Names::new(Seed(3), 1);
    let dir = InodeId(2);
    let stamp = names.stamp(dir, b"x");
    names.publish(&key::name(dir, b"x"), Some(InodeId(9)));
    for n in 0..10_000_u32 {
        names.publish(&key::name(dir, &n.to_be_bytes()), None);
    }
    assert_eq!(names.peek(dir, b"x"), None, "evicted");
    names.loaded(dir, b"x", Some(InodeId(3)), stamp);
    assert_eq!(names.peek(dir, b"x"), None);
    names.loaded(dir, b"x", Some(InodeId(9)), names.stamp(dir, b"x"));
    assert_eq!(names.peek(dir, b"x"), Some(Some(InodeId(9))));
}

/// Readers load names and attributes all the time; whoever was answered sees what it did.
#[test]
fn what_was_answered_is_seen_at_once() {
    let store = Store::open("test", &Kind::Memory).expect("open");
    let share = Command::ShareCreate {
        name: "/a".into(),
        content: "c".into(),
        attr: new_attr(0o755),
        now: at(1),
        generation: 1,
    };
    let Ok(Outcome::Share(share)) = wait(store.submit(share)) else { panic!("no share") };
    let dir = share.root;
    let is_over = std::sync::Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (store, is_over) = (store.clone(), is_over.clone());
            let read = move || {
                while !is_over.load(Ordering::Relaxed) {
                    for name in [b"0", b"1"] {
                        // Past the cache, as a reader thread does it.
                        let _either = store.core().lookup(dir, name);
                    }
                }
            };
            reactor::thread::spawn("reader", None, read).expect("thread")
        })
        .collect();
    let writers: Vec<_> = [b"0", b"1"]
        .map(|name| {
            let store = store.clone();
            let write = move || make_and_remove(&store, dir, name);
            reactor::thread::spawn("writer", None, write).expect("thread")
        })
        .into();
    writers.into_iter().for_each(|writer| writer.join().expect("writer"));
    is_over.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().expect("reader"));
    check(&*store.core().engine);
}

fn make_and_remove(store: &Store, dir: InodeId, name: &[u8]) {
    for round in 0..1500 {
        let name: Box<[u8]> = name.into();
        let attr = new_attr(0o600);
        let kind = NewKind::Regular { exclusive: None };
        let make =
            Command::Create { dir, name: name.clone(), kind, attr, now: at(round), generation: 1 };
        let Ok(Outcome::Created { attr: made, .. }) = wait(store.submit(make)) else {
            panic!("not made");
        };
        assert_eq!(wait(store.lookup(dir, &name)), Ok(made));
        let change = AttrChange { mode: Some(0o777), ..AttrChange::default() };
        let set =
            Command::SetAttr { inode: made.inode, change, guard: None, now: at(round), data: None };
        wait(store.submit(set)).expect("set");
        assert_eq!(wait(store.attr(made.inode)).map(|attr| attr.mode), Ok(0o777));
        let remove = Command::Remove { dir, name: name.clone(), directory: false, now: at(round) };
        wait(store.submit(remove)).expect("remove");
        assert_eq!(wait(store.lookup(dir, &name)), Err(Error::NotFound));
        assert_eq!(wait(store.attr(made.inode)), Err(Error::Stale));
    }
}

const CHILD_FOLDER: &str = "META_CRASH_CHILD_FOLDER";
const CRASHES: u64 = 6;

/// A server that is killed again and again: whatever it acknowledged is there.
#[test]
fn a_killed_server_keeps_its_promises() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("meta");
    let seed = reactor::rng::random_u64();
    let mut rng = Rng::from_seed(seed);
    let mut acknowledged = Vec::new();
    for round in 0..CRASHES {
        let wanted = 20 + rng.below(400);
        acknowledged.extend(run_and_kill(&path, round, wanted));
        let store = Store::open("test", &Kind::Lsm { path: path.clone() }).expect("open");
        check(&*store.core().engine);
        let root = store.shares().expect("shares")[0].root;
        for line in &acknowledged {
            let attr = wait(store.lookup(root, line.as_bytes()));
            assert_eq!(attr.map(|attr| attr.size), Ok(77), "seed {seed}: {line}");
        }
        store.close();
    }
}

/// Starts the child, reads names that it acknowledged, kills it.
fn run_and_kill(path: &Path, round: u64, wanted: u64) -> Vec<String> {
    let mut child = Process::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "tests::crash_child", "--nocapture"])
        .env(CHILD_FOLDER, path)
        .env("META_CRASH_ROUND", round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("spawn");
    let out = BufReader::new(child.stdout.take().expect("stdout"));
    let mut names = Vec::new();
    for line in out.lines() {
        let line = line.expect("a line");
        if let Some(name) = line.strip_prefix("done ") {
            names.push(name.to_owned());
        }
        if names.len() as u64 == wanted {
            child.kill().expect("kill");
        }
    }
    child.wait().expect("wait");
    assert!(names.len() as u64 >= wanted, "the child ended by itself after {}", names.len());
    names
}

/// Not a test by itself: the server that is killed.
#[test]
#[expect(clippy::print_stdout, reason = "its parent reads what it acknowledges")]
fn crash_child() {
    let Some(path) = std::env::var_os(CHILD_FOLDER) else { return };
    let round = std::env::var("META_CRASH_ROUND").expect("round");
    let store = Store::open("test", &Kind::Lsm { path: path.into() }).expect("open");
    let share = Command::ShareCreate {
        name: "/a".into(),
        content: "c".into(),
        attr: new_attr(0o755),
        now: at(1),
        generation: 1,
    };
    let Ok(Outcome::Share(share)) = wait(store.submit(share)) else { panic!("no share") };
    for batch in 0_u64.. {
        let names: Vec<_> = (0..batch % 9 + 1).map(|n| format!("{round}-{batch}-{n}")).collect();
        let create = |name: &String| Command::Create {
            dir: share.root,
            name: name.as_bytes().into(),
            kind: NewKind::Regular { exclusive: None },
            attr: new_attr(0o644),
            now: at(2),
            generation: 1,
        };
        for (made, name) in
            submit_all(&store, names.iter().map(create).collect()).iter().zip(&names)
        {
            let Ok(Outcome::Created { attr, .. }) = made else { panic!("{made:?}") };
            let size = SizeChange::AtLeast(77);
            store.note_data(attr.inode, Sequence(5), size, at(3)).expect("known");
            let data = store.unflushed(attr.inode).expect("dirty");
            wait(store.submit(Command::FlushData { inode: attr.inode, data })).expect("flush");
            println!("done {name}");
        }
    }
}

#[test]
fn shards_keep_what_may_not_go() {
    use crate::shards::Shards;
    struct Value(bool);
    impl crate::shards::Evict for Value {
        fn may_go(&mut self) -> bool {
            self.0
        }
    }
    let shards = Shards::<u64, Value>::new(Seed(7), 640);
    for key in 0..10_000 {
        let mut shard = shards.lock(&key);
        shards.insert(&mut shard, key, Value(key % 10 != 0));
    }
    let kept: Vec<u64> = (0..10_000).filter(|key| shards.lock(key).map.contains_key(key)).collect();
    assert!((0..10_000).step_by(10).all(|key| kept.contains(&key)), "pinned entries went");
    let others = kept.iter().filter(|key| *key % 10 != 0).count();
    assert!(others <= 640, "{others} entries stay, where 640 have room");
}

/// The engine would open with fewer names, and say nothing.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test damages files")]
fn a_journal_that_lost_synced_batches_is_refused() {
    let dir = tempfile::tempdir().expect("tempdir");
    let make = |lsm: &Lsm, n: u8| {
        let mut batch = Batch::default();
        batch.changes_mut(Space::Names).insert([n].into(), Some([n; 50].into()));
        lsm.commit(&batch).and_then(|()| lsm.sync()).expect("synced");
    };
    let lsm = Lsm::open(dir.path()).expect("open");
    (0..50).for_each(|n| make(&lsm, n));
    drop(lsm);
    drop(Lsm::open(dir.path()).expect("whole"));
    let journals = std::fs::read_dir(dir.path()).expect("readable").flatten();
    let journals = journals.map(|entry| entry.path());
    let journal = journals.filter(|path| path.extension().is_some_and(|ext| ext == "jnl"));
    let journal = journal.max().expect("a journal");
    let kept = std::fs::read(&journal).expect("readable");
    // Cut in the middle, as the engine does it by itself when the type of an entry is flipped.
    let used = kept.iter().rposition(|byte| *byte != 0).expect("not empty");
    std::fs::write(&journal, &kept[..used / 2]).expect("written");
    let refused = Lsm::open(dir.path()).err().expect("some are lost");
    assert!(refused.contains("has lost its last"), "{refused}");
    let again = Lsm::open(dir.path()).err().expect("and stay lost");
    assert!(again.contains("has lost its last"), "{again}");
    std::fs::remove_file(dir.path().join("dittofs-batches")).expect("the operator says so");
    let lsm = Lsm::open(dir.path()).expect("open");
    make(&lsm, 77);
    drop(lsm);
    drop(Lsm::open(dir.path()).expect("it counts on"));
}

/// Killed after a batch was written and before it was synced, started again, and the power goes.
#[test]
fn what_a_new_life_shows_survives_a_power_cut() {
    const SHARE: &str = "/a";
    let open = || async {
        let engine = Kind::Journal { path: "/meta/journal".into() };
        Store::open_here("test", &engine).await.expect("open")
    };
    let shown = |seed, image| {
        let world = World::open(seed, image);
        let shares = world.run(async move { open().await.shares().expect("shares").len() });
        (shares.expect("nothing stops it"), world)
    };
    let mut kept = 0;
    for moment in 1..60 {
        let world = World::new(moment);
        let answered = world.run(async move {
            let store = open().await;
            cut_power_at(Moment::Polls(moment));
            let (name, content) = (SHARE.to_owned(), "c".to_owned());
            let attr = new_attr(0o755);
            let make = Command::ShareCreate { name, content, attr, now: at(1), generation: 1 };
            store.submit(make).await.is_ok()
        });
        let image = world.kill();
        for seed in 0..8 {
            let (before, world) = shown(seed, image.clone());
            let (after, _) = shown(seed, world.power_cut());
            assert_eq!(before, after, "killed after {moment}, then seed {seed}");
            kept += usize::from(answered.is_none()) * after;
        }
    }
    assert!(kept > 0, "never between the write and its sync");
}
