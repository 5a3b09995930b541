//! Creates a second: tasks on one reactor each look a fresh name up and create it, on an LSM.
//!
//! `cargo run -p meta --example creates -- FOLDER [TASKS] [FILES]`

#![expect(clippy::print_stdout, reason = "it prints its result")]

use std::{cell::Cell, rc::Rc, time::Duration};

use meta::{
    Engine, Store,
    command::{Command, NewAttr, NewKind, Outcome},
};
use reactor::runtime::{Config, Reactors};
use vocab::{InodeId, limits::BLOCK_BYTES};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("a folder");
    let mut number = |otherwise| arguments.next().map_or(otherwise, |n| n.parse().expect("number"));
    let (tasks, files) = (number(64), number(100_000));
    let store = Store::open("bench", &Engine::Lsm { path: folder.into() }).expect("open");
    let reactors = Reactors::start(&Config { cores: vec![None] }).expect("reactors");
    let client = store.clone();
    let took = reactors.remotes()[0].call(move || run(client, tasks, files)).wait().expect("run");
    println!("{:.0} creates/s, {files} by {tasks} tasks", rate(files, took.0));
    println!("{:.0} blocks set/s, {files} by {tasks} tasks", rate(files, took.1));
    reactors.stop();
    store.close();
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// Creates the files, then gives each of them a block.
async fn run(store: Store, tasks: u64, files: u64) -> (Duration, Duration) {
    let share = Command::ShareCreate {
        name: "/bench".into(),
        content: "content".into(),
        attr: attr(),
        now: reactor::clock::wall(),
        generation: 1,
    };
    let Ok(Outcome::Share(share)) = store.submit(share).await else { panic!("no share") };
    let start = reactor::clock::monotonic();
    let root = share.root;
    spread(tasks, files, &store, move |store, n| create(store, root, n)).await;
    let created = reactor::clock::monotonic();
    let first = root.0 + 1;
    spread(tasks, files, &store, move |store, n| set_block(store, InodeId(first + n), n)).await;
    (created - start, reactor::clock::monotonic() - created)
}

async fn spread<F, Fut>(tasks: u64, files: u64, store: &Store, f: F)
where
    F: Fn(Store, u64) -> Fut + Copy + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let next = Rc::new(Cell::new(0));
    let (sender, done) = reactor::oneshot::channel::<()>();
    let end = Rc::new(Cell::new(Some(sender)));
    let running = Rc::new(Cell::new(tasks));
    for _ in 0..tasks {
        let (store, next) = (store.clone(), next.clone());
        let (end, running) = (end.clone(), running.clone());
        reactor::spawn(async move {
            while next.get() < files {
                let n = next.replace(next.get() + 1);
                f(store.clone(), n).await;
            }
            running.set(running.get() - 1);
            if running.get() == 0 {
                end.take().expect("once").send(());
            }
        });
    }
    done.await.expect("done");
}

async fn create(store: Store, dir: InodeId, n: u64) {
    let name = format!("file-{n:08}").into_bytes();
    assert!(store.lookup(dir, &name).await.is_err());
    let command = Command::Create {
        dir,
        name: name.into(),
        kind: NewKind::Regular { exclusive: None },
        attr: attr(),
        now: reactor::clock::wall(),
        generation: 1,
    };
    store.submit(command).await.expect("create");
}

async fn set_block(store: Store, inode: InodeId, n: u64) {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    let command = Command::SetBlock {
        inode,
        index: vocab::BlockIndex(0),
        block: Some((vocab::BlockHash(hash), BLOCK_BYTES)),
        watermark: vocab::Sequence(1),
        data: None,
        was_put: true,
        packed: None,
        now: reactor::clock::wall(),
    };
    store.submit(command).await.expect("set");
}

fn attr() -> NewAttr {
    NewAttr { mode: 0o644, uid: 0, gid: 0, atime: None, mtime: None }
}
