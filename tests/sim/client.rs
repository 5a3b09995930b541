//! A client of a simulated server: random operations, compared with a model answer by answer, and
//! all of it after each start.
//!
//! Invariants: a change is noted as open before it is sent, and what was answered is in the model
//! before the next await, so that a client can be cut at any of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};

use bytes::Bytes;
use reactor::rng::random_u64;
use tests::{
    client::Status,
    invent::{Inventor, Sizes},
    model::{Change, File, Kind, Model, Node, Reach},
    rng::Rng,
};
use vfs::{CreateHow, SetAttr, SetTime, handle::Handle};
use vocab::{Error, Time, Verifier, limits::BLOCK_BYTES};

use crate::{
    calls::MEANT,
    door::{Door, Place},
    machine::Machine,
    wire::Wire,
};

const OWN: Node = Node(0);
const SHARED: Node = Node(1);
/// Lines of the log that a failure shows.
const LINES_MAX: usize = 40;
/// An operation that is put off is asked again so often.
const TRIES_MAX: u32 = 3000;
/// Contents that files have in common.
const COMMON: usize = 6;

/// What a life may have done to what was only logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum After {
    /// Nothing: it was stopped in order, or has not ended.
    Peace,
    /// Nothing either, but for what was not answered: the process died.
    Kill,
    /// Unstable writes may be lost.
    PowerCut,
    /// Log and metadata are lost; the content stores are not.
    SiteLoss,
}

/// The server works no more in this life: its disk has failed, or it stops.
#[derive(Debug)]
pub(crate) struct Down;

/// What was promised of a file besides its bytes.
#[derive(Clone, Copy, Debug)]
struct Promise {
    mode: u32,
    /// Until its bytes change.
    mtime: Option<Time>,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    rng: Rng,
    door: Door,
    /// Sends again what a new life of the log may have lost, as a client's kernel does.
    resends: bool,
    share: usize,
    prefix: String,
    sizes: Sizes,
    model: Model,
    handles: BTreeMap<Node, Handle>,
    promises: BTreeMap<Node, Promise>,
    /// The verifier that each file's log had in this life.
    verifiers: BTreeMap<Node, Verifier>,
    /// A change that was sent and not answered.
    open: Option<Change>,
    /// Files with a write that was not answered, until they are read.
    doubted: BTreeSet<Node>,
    /// What is being sent again, until all of it is stable.
    unsent: BTreeMap<Node, Vec<(usize, Vec<u8>)>>,
    log: Vec<String>,
}

impl Client {
    /// Number so-and-so, with a directory of its own in a share.
    pub(crate) fn new(number: usize, share: usize, mut rng: Rng) -> Self {
        let xid = u32::try_from(rng.number() >> 32).expect("the other half is gone");
        let door = match rng.one_in(2) {
            true => Door::Wire(Box::new(Wire::new(number, xid))),
            false => Door::Direct,
        };
        // A line that breaks soon never carries so much.
        let is_wide = rng.one_in(20) && matches!(door, Door::Direct);
        let block = BLOCK_BYTES as usize;
        let sizes = Sizes {
            write_bytes_max: [500, 3000, 8000],
            hole_bytes_max: 20_000,
            file_bytes_max: if is_wide { block + 10_000 } else { 90_000 },
            edge: is_wide.then_some(block),
        };
        Self {
            resends: rng.one_in(2),
            rng,
            door,
            share,
            prefix: format!("t{number}"),
            sizes,
            model: Model::new(2),
            handles: BTreeMap::new(),
            promises: BTreeMap::new(),
            verifiers: BTreeMap::new(),
            open: None,
            doubted: BTreeSet::new(),
            unsent: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    /// Its connection ends with the life that it was in.
    pub(crate) fn hang_up(&self) {
        if let Door::Wire(wire) = &self.door {
            wire.hang_up();
        }
    }

    /// Calls that it sent more than once.
    pub(crate) fn repeated(&self) -> usize {
        if let Door::Wire(wire) = &self.door { wire.repeated() } else { 0 }
    }

    /// Comes to a server that has just started, and compares everything.
    pub(crate) async fn come(&mut self, machine: &Machine, after: After) -> Result<(), Down> {
        self.say(|| format!("-- a life begins after {after:?}"));
        let before = std::mem::take(&mut self.verifiers);
        let root = self.ask(|| self.door.mount(machine, self.share)).await?;
        let root = root.unwrap_or_else(|error| self.wrong(&format!("its share: {error}")));
        let prefix = self.prefix.clone();
        for (node, name) in [(OWN, prefix.as_str()), (SHARED, "shared")] {
            let made = self.directory(machine, root, name).await?;
            let known = *self.handles.entry(node).or_insert(made);
            // That it exists was said to who made it, perhaps not to us: if nothing of ours is in
            // it, it may be another one.
            let may_go = after == After::SiteLoss && self.model.entries(node).is_empty();
            if known != made && may_go {
                self.handles.insert(node, made);
            } else {
                self.check(known == made, "a handle survives a restart");
            }
        }
        self.decide_open(machine).await?;
        self.compare_all(machine, after, Some(&before)).await
    }

    async fn directory(&self, at: &Machine, dir: Handle, name: &str) -> Result<Handle, Down> {
        match self.ask(|| self.door.mkdir(at, dir, name)).await? {
            Ok(made) => Ok(made),
            Err(Error::Exists) => {
                let found = self.ask(|| self.door.lookup(at, dir, name)).await?;
                Ok(found.unwrap_or_else(|error| self.wrong(&format!("{error}"))))
            }
            Err(error) => self.wrong(&format!("MKDIR of its directory: {error}")),
        }
    }

    /// One random operation.
    pub(crate) async fn step(&mut self, machine: &Machine) -> Result<(), Down> {
        match self.rng.below(12) {
            0..=2 => self.look(machine).await,
            3 => self.set_attributes(machine).await,
            4 => self.refill(machine).await,
            _ => {
                let change = self.inventor().change();
                self.change(machine, change).await
            }
        }
    }

    fn inventor(&mut self) -> Inventor<'_> {
        let Self { rng, model, prefix, sizes, .. } = self;
        Inventor { rng, model, prefix, sizes }
    }

    /// A file gets what other files have too, so that blocks are found stored, or just deleted.
    async fn refill(&mut self, machine: &Machine) -> Result<(), Down> {
        let Some(file) = self.inventor().pick(|kind| matches!(kind, Kind::File(_))) else {
            return Ok(());
        };
        self.change(machine, Change::Truncate { file, size: 0 }).await?;
        let content = self.rng.below(COMMON);
        let letter = b'A' + u8::try_from(content).expect("small");
        let (bytes, reach) = (vec![letter; 700 * (content + 1)], Reach::Unstable);
        self.change(machine, Change::Write { file, offset: 0, bytes, reach }).await
    }

    async fn change(&mut self, machine: &Machine, change: Change) -> Result<(), Down> {
        self.say(|| shown(&change));
        self.open = Some(change.clone());
        if let Change::Write { file, .. } | Change::Truncate { file, .. } = &change
            && let Some(promise) = self.promises.get_mut(file)
        {
            promise.mtime = None;
        }
        let given = self.send(machine, &change).await?;
        self.say(|| format!("   {given:?}"));
        self.open = None;
        let change = match (&given, change) {
            (Ok(Given::Wrote(reach)), Change::Write { file, offset, bytes, .. }) => {
                Change::Write { file, offset, bytes, reach: *reach }
            }
            (_, change) => change,
        };
        match (self.model.apply(&change), given) {
            (Ok(Some(node)), Ok(Given::Handle(handle))) => {
                let known = *self.handles.entry(node).or_insert(handle);
                self.check(known == handle, "the same file has the same handle");
            }
            (Ok(_), Ok(_)) => {}
            (Err(wanted), Err(error)) => {
                self.check(is_meant(error, &wanted), &format!("{error}, not {wanted:?}"));
            }
            (wanted, given) => self.wrong(&format!("it gives {given:?}, not {wanted:?}")),
        }
        Ok(())
    }

    async fn send(&mut self, at: &Machine, change: &Change) -> Result<Result<Given, Error>, Down> {
        let at_once = self.rng.one_in(2);
        let handle = |node: &Node| self.handles[node];
        let set = SetAttr { mode: Some(0o644), ..SetAttr::default() };
        let verifier = self.rng.clone().number().to_le_bytes();
        let door = &self.door;
        let made = |made: Result<Handle, Error>| made.map(Given::Handle);
        let done = |done: Result<(), Error>| done.map(|()| Given::Nothing);
        Ok(match change {
            Change::Create { dir, name, guarded } => {
                let how = match (guarded, at_once) {
                    (true, true) => CreateHow::Exclusive(verifier),
                    (true, false) => CreateHow::Guarded(set),
                    (false, _) => CreateHow::Unchecked(set),
                };
                made(self.ask(|| door.create(at, handle(dir), name, how)).await?)
            }
            Change::Mkdir { dir, name } => {
                made(self.ask(|| door.mkdir(at, handle(dir), name)).await?)
            }
            Change::Symlink { dir, name, target } => {
                made(self.ask(|| door.symlink(at, handle(dir), name, target)).await?)
            }
            Change::Link { node, dir, name } => {
                done(self.ask(|| door.link(at, handle(node), handle(dir), name)).await?)
            }
            Change::Remove { dir, name } => {
                done(self.ask(|| door.remove(at, handle(dir), name)).await?)
            }
            Change::Rmdir { dir, name } => {
                done(self.ask(|| door.rmdir(at, handle(dir), name)).await?)
            }
            Change::Rename { from, to } => {
                let (from, to) = ((handle(&from.0), &*from.1), (handle(&to.0), &*to.1));
                done(self.ask(|| door.rename(at, from, to)).await?)
            }
            Change::Truncate { file, size } => {
                let set = SetAttr { size: Some(*size as u64), ..SetAttr::default() };
                let after = self.ask(|| door.setattr(at, handle(file), set)).await?;
                after.map(|after| {
                    self.check(after.is_none_or(|now| now == *size as u64), "the length is set");
                    Given::Nothing
                })
            }
            Change::Write { file, offset, bytes, reach } => {
                let size = self.model.size(*file).max(offset + bytes.len()) as u64;
                let wrote = self.write(at, *file, *offset, bytes, *reach).await?;
                wrote.map(|(reach, after)| {
                    self.check(after.is_none_or(|now| now == size), "the length after");
                    Given::Wrote(reach)
                })
            }
            Change::Commit { file } => done(self.commit(at, *file).await?),
        })
    }

    /// How far it reaches, and the length after it.
    async fn write(
        &mut self,
        at: &Machine,
        node: Node,
        offset: usize,
        bytes: &[u8],
        asked: Reach,
    ) -> Result<Result<(Reach, Option<u64>), Error>, Down> {
        let (file, offset, bytes) =
            (self.handles[&node], offset as u64, Bytes::copy_from_slice(bytes));
        let wrote = self.ask(|| self.door.write(at, file, offset, &bytes, asked)).await?;
        Ok(wrote.map(|wrote| {
            let is_kept = wrote.reach == Reach::File || asked == Reach::Unstable;
            self.check(is_kept, "no less stable than asked");
            self.see(node, wrote.verifier);
            (wrote.reach, wrote.size)
        }))
    }

    async fn commit(&mut self, at: &Machine, node: Node) -> Result<Result<(), Error>, Down> {
        let file = self.handles[&node];
        let done = self.ask(|| self.door.commit(at, file)).await?;
        Ok(done.map(|verifier| self.see(node, verifier)))
    }

    fn see(&mut self, node: Node, verifier: Verifier) {
        let known = *self.verifiers.entry(node).or_insert(verifier);
        self.check(known == verifier, "the verifier stays while the server lives");
    }

    /// Asks until the answer is more than "not now".
    async fn ask<T, F: Future<Output = Result<T, Error>>>(
        &self,
        mut ask: impl FnMut() -> F,
    ) -> Result<Result<T, Error>, Down> {
        let mut spoilt = 0;
        for _ in 0..TRIES_MAX {
            match ask().await {
                Err(Error::Busy) => {}
                // A store that gives wrong bytes may give the right ones later; one that has lost
                // a block never will.
                Err(Error::Corrupt) if spoilt < 30 => spoilt += 1,
                // Over the network the two look alike.
                Err(Error::Io) if spoilt < 30 && matches!(self.door, Door::Wire(_)) => spoilt += 1,
                Err(Error::Io | Error::SyncFailed | Error::LogReadOnly | Error::Stopping) => {
                    return Err(Down);
                }
                done => return Ok(done),
            }
            reactor::sleep(Duration::from_micros(500 + random_u64() % 5000)).await;
        }
        self.wrong("it is never answered");
    }

    /// Mode and time, which hold from the answer on.
    async fn set_attributes(&mut self, at: &Machine) -> Result<(), Down> {
        let Some(node) = self.inventor().pick(|kind| matches!(kind, Kind::File(_))) else {
            return Ok(());
        };
        let mode = u32::try_from(self.rng.below(0o1000)).expect("small");
        let nanos = u32::try_from(self.rng.below(1_000_000_000)).expect("small");
        let time = Time { seconds: 1_000_000 + i64::from(nanos), nanos };
        let mtime = if self.rng.one_in(2) { Some(time) } else { None };
        self.say(|| format!("SetAttr {node:?} {mode:o} {mtime:?}"));
        // Until it is answered, either may hold.
        self.promises.remove(&node);
        let set = SetAttr {
            mode: Some(mode),
            mtime: mtime.map_or(SetTime::Keep, SetTime::To),
            ..SetAttr::default()
        };
        let file = self.handles[&node];
        let done = self.ask(|| self.door.setattr(at, file, set));
        match done.await? {
            Ok(_) => drop(self.promises.insert(node, Promise { mode, mtime })),
            Err(error) => self.wrong(&format!("SETATTR: {error}")),
        }
        Ok(())
    }

    /// Looks at something and compares it.
    async fn look(&mut self, at: &Machine) -> Result<(), Down> {
        let node = self.inventor().pick(|_| true).expect("two at least");
        match self.model.kind(node).cloned().expect("picked") {
            Kind::Dir(_) if self.rng.one_in(2) => self.compare_dir(at, node).await,
            Kind::Dir(_) => {
                let (dir, name) = (self.handles[&node], self.inventor().name(node));
                let wanted = self.model.entries(node).get(&name).map(|node| self.handles[node]);
                let found = self.find(at, dir, &name).await?;
                self.check(found == wanted, &format!("LOOKUP {name}: {found:?}, not {wanted:?}"));
                Ok(())
            }
            Kind::Symlink(target) => self.compare_symlink(at, node, &target).await,
            Kind::File(file) => {
                let (from, count) = (self.rng.below(file.size() + 100), 1 + self.rng.below(9000));
                self.say(|| format!("READ {node:?} at {from}, {count}"));
                let now = file.now();
                let found = self.read(at, node, from, count).await?;
                let wanted = &now[from.min(now.len())..(from + count).min(now.len())];
                self.check(found == wanted, "the bytes of a READ");
                self.compare_attributes(at, node).await
            }
        }
    }

    async fn find(&self, at: &Machine, dir: Handle, name: &str) -> Result<Option<Handle>, Down> {
        match self.ask(|| self.door.lookup(at, dir, name)).await? {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound) => Ok(None),
            Err(error) => self.wrong(&format!("LOOKUP of {name}: {error}")),
        }
    }

    async fn read(&self, at: &Machine, of: Node, from: usize, len: usize) -> Result<Vec<u8>, Down> {
        let (file, len) = (self.handles[&of], u32::try_from(len).expect("small"));
        match self.ask(|| self.door.read(at, file, from as u64, len)).await? {
            Ok(bytes) => Ok(bytes),
            Err(error) => self.wrong(&format!("READ of {of:?} at {from}: {error}")),
        }
    }

    async fn read_all(&self, at: &Machine, of: Node) -> Result<Vec<u8>, Down> {
        let mut bytes = Vec::new();
        let part_bytes = if matches!(self.door, Door::Direct) { 1 << 20 } else { 16 << 10 };
        loop {
            let part = self.read(at, of, bytes.len(), part_bytes).await?;
            if part.is_empty() {
                return Ok(bytes);
            }
            bytes.extend(part);
        }
    }

    async fn compare_symlink(&self, at: &Machine, node: Node, target: &str) -> Result<(), Down> {
        let link = self.handles[&node];
        let found = self.ask(|| self.door.readlink(at, link)).await?;
        let is_right = found.is_ok_and(|path| path == target.as_bytes());
        self.check(is_right, "where a link leads");
        Ok(())
    }

    async fn compare_attributes(&self, at: &Machine, node: Node) -> Result<(), Down> {
        let file = self.handles[&node];
        let found = self.ask(|| self.door.getattr(at, file)).await?;
        let attr = found.unwrap_or_else(|error| self.wrong(&format!("GETATTR: {error}")));
        let (size, links) = (self.model.size(node) as u64, self.model.links(node));
        self.check(attr.size == size, &format!("{node:?} has {} bytes, not {size}", attr.size));
        let is_right = attr.nlink as usize == links;
        self.check(is_right, &format!("{node:?} has {} names, not {links}", attr.nlink));
        if let Some(Promise { mode, mtime }) = self.promises.get(&node) {
            let found = attr.mode & 0o7777;
            self.check(found == *mode, &format!("{node:?} has mode {found:o}, not {mode:o}"));
            let found = attr.mtime;
            let is_kept = mtime.is_none_or(|mtime| mtime == found);
            self.check(is_kept, &format!("{node:?} has mtime {found:?}, not {mtime:?}"));
        }
        Ok(())
    }

    /// Every name exactly once, and none that is not there.
    async fn compare_dir(&mut self, at: &Machine, node: Node) -> Result<(), Down> {
        let (dir, page) = (self.handles[&node], *self.rng.pick(&[3, 10, 1000]));
        let with_found = self.rng.one_in(2);
        let (mut names, from) = (Vec::new(), Place::default());
        loop {
            let part = self.ask(|| self.door.readdir(at, dir, &from, page, with_found)).await?;
            let (part, is_end) = part.unwrap_or_else(|e| self.wrong(&format!("READDIR: {e}")));
            names.extend(part.iter().map(|name| String::from_utf8_lossy(name).into_owned()));
            if is_end {
                break;
            }
        }
        names.retain(|name| name != "." && name != "..");
        if node == SHARED {
            let mine = format!("{}-", self.prefix);
            names.retain(|name| name.starts_with(&mine));
        }
        names.sort_unstable();
        let wanted: Vec<String> = self.model.entries(node).keys().cloned().collect();
        self.check(names == wanted, &format!("{node:?} lists {names:?}, not {wanted:?}"));
        Ok(())
    }

    /// Compares everything with the model, which then knows what became of the life before.
    pub(crate) async fn compare_all(
        &mut self,
        at: &Machine,
        after: After,
        verifiers_before: Option<&BTreeMap<Node, Verifier>>,
    ) -> Result<(), Down> {
        let nodes: Vec<Node> = self.model.nodes().map(|(node, _)| node).collect();
        for node in nodes {
            match self.model.kind(node).cloned().expect("listed") {
                Kind::Dir(entries) => {
                    self.compare_dir(at, node).await?;
                    for (name, child) in entries {
                        let found = self.find(at, self.handles[&node], &name).await?;
                        let is_right = found == Some(self.handles[&child]);
                        self.check(is_right, &format!("the handle of {name}"));
                    }
                }
                Kind::Symlink(target) => self.compare_symlink(at, node, &target).await?,
                Kind::File(file) => {
                    let found = self.read_all(at, node).await?;
                    self.compare_bytes(node, &file, &found, after);
                    // What was found is made stable, so that the next life starts from here.
                    let done = self.commit(at, node).await?;
                    self.check(done.is_ok(), "COMMIT of a file");
                    let unsent = self.unsent.get(&node).cloned().unwrap_or(file.pending);
                    let known = self.model.file_mut(node);
                    known.stable = found;
                    known.pending.clear();
                    self.doubted.remove(&node);
                    if let Some(before) = verifiers_before {
                        let is_new = before.get(&node) != Some(&self.verifiers[&node]);
                        self.check(is_new, "a new life of the log has a new verifier");
                        if self.resends && !unsent.is_empty() {
                            self.resend(at, node, unsent).await?;
                        }
                    }
                    self.compare_attributes(at, node).await?;
                }
            }
        }
        Ok(())
    }

    /// Sends again what was answered as unstable by a log that is no more; then all of it is there.
    async fn resend(
        &mut self,
        at: &Machine,
        file: Node,
        unsent: Vec<(usize, Vec<u8>)>,
    ) -> Result<(), Down> {
        self.say(|| format!("   {file:?}: {} writes are sent again", unsent.len()));
        self.unsent.insert(file, unsent.clone());
        for (offset, bytes) in unsent {
            let reach = Reach::Unstable;
            self.change(at, Change::Write { file, offset, bytes, reach }).await?;
        }
        self.change(at, Change::Commit { file }).await?;
        self.unsent.remove(&file);
        let found = self.read_all(at, file).await?;
        let wanted = self.model.file_mut(file).now();
        self.check(found == wanted, "what was sent again is there");
        Ok(())
    }

    fn compare_bytes(&self, node: Node, file: &File, found: &[u8], after: After) {
        let may_lose = after >= After::PowerCut || self.doubted.contains(&node);
        if let Err(why) = file.allows(found) {
            let pending = file.pending.iter().map(|(at, part)| format!("{at}+{}", part.len()));
            let pending = pending.collect::<Vec<_>>().join(" ");
            self.wrong(&format!("{node:?}: {why}; pending {pending}"));
        }
        let now = file.now();
        if !may_lose && found != now {
            let first = found.iter().zip(&now).position(|(a, b)| a != b);
            let lens = (found.len(), now.len());
            self.wrong(&format!(
                "{node:?}: what was logged survives all but a power cut; bytes {lens:?}, the first \
                 that differs {first:?}"
            ));
        }
    }

    /// What is seen of a change that was not answered may still be lost with the site, but not
    /// once something after it was answered.
    async fn anchor(&mut self, at: &Machine, after: &Change) -> Result<(), Down> {
        if let Change::Truncate { file, .. } = after {
            let done = self.commit(at, *file).await?;
            self.check(done.is_ok(), "COMMIT of a file");
        } else {
            let (own, mode) = (self.handles[&OWN], Some(0o755));
            let set = SetAttr { mode, ..SetAttr::default() };
            let done = self.ask(|| self.door.setattr(at, own, set)).await?;
            self.check(done.is_ok(), "SETATTR of its directory");
        }
        Ok(())
    }

    /// Finds out whether the change that was sent and not answered was made.
    async fn decide_open(&mut self, at: &Machine) -> Result<(), Down> {
        let Some(change) = self.open.clone() else { return Ok(()) };
        if at.is_remote {
            self.anchor(at, &change).await?;
        }
        let mut made = self.model.clone();
        let outcome = made.apply(&change);
        let is_made = match (&change, &outcome) {
            (_, Err(_)) | (Change::Commit { .. }, _) => false,
            (Change::Write { file, offset, bytes, .. }, _) => {
                let (offset, bytes) = (*offset, bytes.clone());
                self.model.file_mut(*file).pending.push((offset, bytes));
                self.doubted.insert(*file);
                self.open = None;
                self.say(|| "   it was not answered".to_owned());
                return Ok(());
            }
            (Change::Truncate { file, size }, _) => {
                let handle = self.handles[file];
                let found = self.ask(|| self.door.getattr(at, handle)).await?;
                let found = found.unwrap_or_else(|error| self.wrong(&format!("GETATTR: {error}")));
                found.size == *size as u64
            }
            (
                Change::Create { dir, name, .. }
                | Change::Mkdir { dir, name }
                | Change::Symlink { dir, name, .. },
                Ok(node),
            ) => {
                let found = self.find(at, self.handles[dir], name).await?;
                if let Some(found) = found {
                    self.handles.insert(node.expect("made"), found);
                }
                found.is_some()
            }
            (Change::Link { dir, name, .. }, Ok(_)) => {
                self.find(at, self.handles[dir], name).await?.is_some()
            }
            (Change::Remove { dir, name } | Change::Rmdir { dir, name }, Ok(_))
            | (Change::Rename { from: (dir, name), .. }, Ok(_)) => {
                self.find(at, self.handles[dir], name).await?.is_none()
            }
        };
        self.say(|| format!("   it was {} made", if is_made { "indeed" } else { "not" }));
        if is_made {
            self.model = made;
        }
        self.open = None;
        Ok(())
    }

    fn say(&mut self, line: impl FnOnce() -> String) {
        if self.log.len() > 2 * LINES_MAX {
            self.log.drain(..LINES_MAX);
        }
        self.log.push(line().replace(&"n".repeat(200), "n.."));
    }

    fn check(&self, holds: bool, what: &str) {
        if !holds {
            self.wrong(what);
        }
    }

    fn wrong(&self, what: &str) -> ! {
        let mut text = String::new();
        for line in &self.log[self.log.len().saturating_sub(LINES_MAX)..] {
            writeln!(text, "    {line}").expect("a String");
        }
        panic!("{}: WRONG: {what}\n  after\n{text}", self.prefix);
    }
}

/// What an answer gave.
#[derive(Debug)]
enum Given {
    Handle(Handle),
    Wrote(Reach),
    Nothing,
}

/// What the server says where the model allows these.
fn is_meant(error: Error, wanted: &[Status]) -> bool {
    MEANT.iter().any(|(status, one)| *one == error && wanted.contains(status))
}

fn shown(change: &Change) -> String {
    if let Change::Write { file, offset, bytes, reach } = change {
        return format!("Write {file:?} at {offset}, {} bytes, {reach:?}", bytes.len());
    }
    format!("{change:?}")
}
