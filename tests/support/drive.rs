//! Random operations on a share and on its model, compared answer by answer.
//!
//! A driver has a directory of its own and names of its own in a directory that all drivers
//! share, so that it knows what it must find whatever the others do.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use nfs3_types::nfs3::{Nfs3Option, createhow3, createverf3};

use super::{
    client::{Answer, Client, Fail, Handle, Status, mode, stable_how},
    invent::{Inventor, Sizes},
    model::{Change, Kind, Model, Node, Reach},
    rng::Rng,
    server::Server,
};

const OWN: Node = Node(0);
const SHARED: Node = Node(1);
/// Bytes in a block of the content store: what lies across its edge is worth a try.
const BLOCK_BYTES: usize = 4 << 20;
const SIZES: Sizes = Sizes {
    write_bytes_max: [8 << 10, 64 << 10, 300 << 10],
    hole_bytes_max: 100_000,
    file_bytes_max: BLOCK_BYTES + (1 << 20),
    edge: Some(BLOCK_BYTES),
};
/// The last operations are remembered for a failure's message.
const REMEMBERED: usize = 30;

/// How exact a share must match its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// All that was answered is there.
    Peace,
    /// Unstable writes may be lost.
    Crash,
}

/// One thread of work on a share, with its connection and its model.
#[derive(Debug)]
pub struct Driver {
    client: Client,
    is_ours: bool,
    rng: Rng,
    prefix: String,
    model: Model,
    handles: BTreeMap<Node, Handle>,
    /// A change that was sent and not answered: it may have been made or not.
    open: Option<Change>,
    verifier: Option<[u8; 8]>,
    last: Option<Step>,
    log: Vec<String>,
}

/// A change that was answered.
#[derive(Clone, Debug)]
pub struct Step {
    change: Change,
    /// The file that it made or found.
    handle: Option<(Node, Handle)>,
}

/// What a driver knew at an earlier moment.
#[derive(Clone, Debug)]
pub struct Past {
    prefix: String,
    is_ours: bool,
    model: Model,
    handles: BTreeMap<Node, Handle>,
}

impl Past {
    /// Goes on by one change.
    pub fn advance(&mut self, step: &Step) {
        // One that was refused has changed nothing.
        drop(self.model.apply(&step.change));
        self.handles.extend(step.handle.clone());
    }
}

impl Driver {
    /// Takes `/export` with a directory of its own.
    ///
    /// # Panics
    /// When the server does not serve.
    #[must_use]
    pub fn new(server: &Server, number: usize, rng: Rng) -> Self {
        let mut client = Client::mount(server, "/export").expect("mount");
        let (root, prefix) = (client.root.clone(), format!("t{number}"));
        let own = client.mkdir(&root, prefix.as_bytes()).expect("mkdir");
        let shared = match client.mkdir(&root, b"shared") {
            Err(Fail::Status(Status::NFS3ERR_EXIST)) => client.lookup(&root, b"shared"),
            made => made,
        };
        let handles = BTreeMap::from([(OWN, own), (SHARED, shared.expect("mkdir"))]);
        let (model, log) = (Model::new(2), Vec::new());
        Self {
            client,
            is_ours: server.is_ours(),
            rng,
            prefix,
            model,
            handles,
            open: None,
            verifier: None,
            last: None,
            log,
        }
    }

    /// One that knows what another one knew, and perhaps sent a change that was not answered; to a
    /// server that crashed.
    ///
    /// # Panics
    /// When the server does not serve.
    #[must_use]
    pub fn resume(server: &Server, past: Past, open: Option<&Step>, rng: Rng) -> Self {
        let Past { prefix, is_ours, model, handles } = past;
        Self {
            client: Client::mount(server, "/export").expect("mount"),
            is_ours,
            rng,
            prefix,
            model,
            handles,
            open: open.map(|step| step.change.clone()),
            verifier: None,
            last: None,
            log: Vec::new(),
        }
    }

    /// What it knows now.
    #[must_use]
    pub fn past(&self) -> Past {
        let (model, handles) = (self.model.clone(), self.handles.clone());
        Past { prefix: self.prefix.clone(), is_ours: self.is_ours, model, handles }
    }

    /// The change of the last step, if it was one.
    pub fn last(&mut self) -> Option<Step> {
        self.last.take()
    }

    /// Takes another connection, to a server that was started again. Handles stay as they are.
    ///
    /// # Panics
    /// When the server does not serve, or when its verifier is not as it must be.
    pub fn reconnect(&mut self, server: &Server, after: After) {
        self.client = Client::mount(server, "/export").expect("mount");
        let old = self.verifier.take();
        if let (Some(old), After::Crash) = (old, after) {
            let is_pending = |node: &Node| match self.model.kind(*node) {
                Some(Kind::File(file)) => !file.pending.is_empty(),
                _ => false,
            };
            let file = self.handles.iter().find(|(node, _)| is_pending(node));
            if let Some((_, file)) = file
                && let Ok(new) = self.client.commit(file)
            {
                assert_ne!(old, new, "unstable writes were pending: the verifier must change");
            }
        }
    }

    /// One random operation.
    ///
    /// # Errors
    /// When the connection is lost.
    ///
    /// # Panics
    /// When the server is wrong.
    pub fn step(&mut self) -> Result<(), String> {
        if self.rng.one_in(3) { self.look() } else { self.change() }
    }

    fn change(&mut self) -> Result<(), String> {
        let change = self.inventor().change();
        self.remember(&change);
        let given = self.send(&change);
        if let Err(Fail::Lost(why)) = given {
            self.open = Some(change);
            return Err(why);
        }
        // A write that was answered as more stable than asked is as stable as the answer says.
        let change = match (&given, change) {
            (Ok(Given { reach: Some(reach), .. }), Change::Write { file, offset, bytes, .. }) => {
                Change::Write { file, offset, bytes, reach: *reach }
            }
            (_, change) => change,
        };
        let mut handle = None;
        match (self.model.apply(&change), given) {
            (Ok(Some(node)), Ok(Given { handle: Some(found), .. })) => {
                handle = Some((node, found.clone()));
                if let Some(known) = self.handles.insert(node, found.clone()) {
                    self.check(known == found, "the same file has the same handle");
                }
            }
            (Ok(_), Ok(_)) => {}
            (Err(wanted), Err(Fail::Status(status))) => {
                // Ganesha says BADTYPE for some of these.
                let is_theirs = !self.is_ours && status == Status::NFS3ERR_BADTYPE;
                let is_right = is_theirs || wanted.contains(&status);
                self.check(is_right, &format!("{status}, not {wanted:?}"));
            }
            (wanted, given) => self.wrong(&format!("it gives {given:?}, not {wanted:?}")),
        }
        self.last = Some(Step { change, handle });
        Ok(())
    }

    /// Sends a change; what the answer says about itself is checked here.
    fn send(&mut self, change: &Change) -> Answer<Given> {
        let handle = |node: &Node| self.handles[node].clone();
        match change {
            Change::Create { dir, name, guarded } => {
                let dir = handle(dir);
                let how = match (guarded, self.rng.one_in(2)) {
                    (true, true) => {
                        createhow3::EXCLUSIVE(createverf3(self.rng.number().to_le_bytes()))
                    }
                    (true, false) => createhow3::GUARDED(mode(0o644)),
                    (false, _) => createhow3::UNCHECKED(mode(0o644)),
                };
                self.client.create(&dir, name.as_bytes(), how).map(Given::handle)
            }
            Change::Mkdir { dir, name } => {
                self.client.mkdir(&handle(dir), name.as_bytes()).map(Given::handle)
            }
            Change::Symlink { dir, name, target } => self
                .client
                .symlink(&handle(dir), name.as_bytes(), target.as_bytes())
                .map(Given::handle),
            Change::Link { node, dir, name } => {
                self.client.link(&handle(node), &handle(dir), name.as_bytes()).map(Given::nothing)
            }
            Change::Remove { dir, name } => {
                self.client.remove(&handle(dir), name.as_bytes()).map(Given::nothing)
            }
            Change::Rmdir { dir, name } => {
                self.client.rmdir(&handle(dir), name.as_bytes()).map(Given::nothing)
            }
            Change::Rename { from, to } => {
                let (a, b) = (handle(&from.0), handle(&to.0));
                self.client
                    .rename((&a, from.1.as_bytes()), (&b, to.1.as_bytes()))
                    .map(Given::nothing)
            }
            Change::Truncate { file, size } => {
                self.client.truncate(&handle(file), *size as u64).map(Given::nothing)
            }
            Change::Write { file, offset, bytes, reach } => {
                let size = self.model.size(*file).max(offset + bytes.len());
                self.write(&handle(file), *offset, bytes, *reach, size)
            }
            Change::Commit { file } => {
                let verifier = self.client.commit(&handle(file))?;
                self.see_verifier(verifier);
                Ok(Given::default())
            }
        }
    }

    fn write(
        &mut self,
        file: &Handle,
        at: usize,
        bytes: &[u8],
        reach: Reach,
        size: usize,
    ) -> Answer<Given> {
        let asked = match reach {
            Reach::Unstable => stable_how::UNSTABLE,
            Reach::Data => stable_how::DATA_SYNC,
            Reach::File => stable_how::FILE_SYNC,
        };
        let ok = self.client.write(file, at as u64, bytes, asked)?;
        self.check(ok.count as usize == bytes.len(), "a WRITE takes all bytes of a small call");
        self.check(ok.committed as u32 >= asked as u32, "no less stable than asked");
        self.see_verifier(ok.verf.0);
        if let Nfs3Option::Some(after) = ok.file_wcc.after {
            self.check(after.size == size as u64, "the size that comes with the answer");
        }
        let reach = match ok.committed {
            stable_how::UNSTABLE => Reach::Unstable,
            stable_how::DATA_SYNC => Reach::Data,
            stable_how::FILE_SYNC => Reach::File,
        };
        Ok(Given { reach: Some(reach), ..Given::default() })
    }

    fn see_verifier(&mut self, verifier: [u8; 8]) {
        let old = *self.verifier.get_or_insert(verifier);
        self.check(old == verifier, "the verifier stays while the server lives");
    }

    fn inventor(&mut self) -> Inventor<'_> {
        let Self { rng, model, prefix, .. } = self;
        Inventor { rng, model, prefix, sizes: &SIZES }
    }

    /// Looks at something and compares it.
    fn look(&mut self) -> Result<(), String> {
        if self.rng.one_in(10) {
            return self.look_at_removed();
        }
        let node = self.inventor().pick(|_| true).expect("two at least");
        match self.model.kind(node).cloned().expect("picked") {
            Kind::Dir(_) if self.rng.one_in(2) => self.compare_dir(node),
            Kind::Dir(_) => self.look_up(node),
            Kind::Symlink(target) => {
                let handle = self.handles[&node].clone();
                let found = self.client.readlink(&handle);
                let found = self.answered(found)?;
                self.check(found == target.as_bytes(), "where a link leads");
                Ok(())
            }
            Kind::File(file) if self.rng.one_in(2) => {
                let handle = self.handles[&node].clone();
                let (now, offset) = (file.now(), self.rng.below(file.size() + 1000));
                let count = 1 + self.rng.below(200 << 10);
                self.log.push(format!("READ {node:?} at {offset}, {count}"));
                let found =
                    self.client.read(&handle, offset as u64, u32::try_from(count).expect("small"));
                let (found, eof) = self.answered(found)?;
                let wanted = &now[offset.min(now.len())..(offset + count).min(now.len())];
                self.check(
                    found.len() == wanted.len(),
                    &format!("{} bytes, not {}", found.len(), wanted.len()),
                );
                let differs = found.iter().zip(wanted).position(|(a, b)| a != b);
                self.check(
                    differs.is_none(),
                    &format!("a byte is wrong, at {offset} + {differs:?}"),
                );
                self.check(eof == (offset + count >= now.len()), "whether that was the end");
                Ok(())
            }
            Kind::File(_) => self.compare_attributes(node),
        }
    }

    /// A handle outlives its file, and then leads nowhere.
    fn look_at_removed(&mut self) -> Result<(), String> {
        let mut removed = self.handles.iter().filter(|(node, _)| self.model.kind(**node).is_none());
        let Some(handle) = removed.next_back().map(|(_, handle)| handle.clone()) else {
            return Ok(());
        };
        match self.client.getattr(&handle) {
            Err(Fail::Lost(why)) => Err(why),
            Err(Fail::Status(Status::NFS3ERR_STALE)) => Ok(()),
            found => self.wrong(&format!("GETATTR of a removed file: {found:?}")),
        }
    }

    fn look_up(&mut self, dir: Node) -> Result<(), String> {
        let (handle, name) = (self.handles[&dir].clone(), self.inventor().name(dir));
        let found = self.client.lookup(&handle, name.as_bytes());
        let wanted = self.model.entries(dir).get(&name).map(|node| self.handles[node].clone());
        match (found, wanted) {
            (Err(Fail::Lost(why)), _) => return Err(why),
            (Ok(found), Some(wanted)) if found == wanted => {}
            (Err(Fail::Status(Status::NFS3ERR_NOENT)), None) => {}
            (found, wanted) => self.wrong(&format!("LOOKUP: {found:?}, not {wanted:?}")),
        }
        Ok(())
    }

    fn compare_attributes(&mut self, node: Node) -> Result<(), String> {
        let handle = self.handles[&node].clone();
        let found = self.client.getattr(&handle);
        let found = self.answered(found)?;
        let size = self.model.size(node) as u64;
        self.check(found.size == size, &format!("{node:?} has {} bytes, not {size}", found.size));
        let links = self.model.links(node);
        let same = found.nlink as usize == links;
        self.check(same, &format!("{node:?} has {} names, not {links}", found.nlink));
        Ok(())
    }

    /// Every name exactly once, and none that is not there.
    fn compare_dir(&mut self, dir: Node) -> Result<(), String> {
        let handle = self.handles[&dir].clone();
        let reply_bytes = *self.rng.pick(&[1024, 4096, 65536]);
        let found = if self.rng.one_in(2) {
            self.client.readdir(&handle, reply_bytes)
        } else {
            self.client.readdirplus(&handle, reply_bytes)
        };
        let found = self.answered(found)?;
        let mut names: Vec<String> =
            found.iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).collect();
        if dir == SHARED {
            let mine = format!("{}-", self.prefix);
            names.retain(|name| name.starts_with(&mine));
        }
        names.sort_unstable();
        let wanted: Vec<String> = self.model.entries(dir).keys().cloned().collect();
        self.check(names == wanted, &format!("{dir:?} lists {names:?}, not {wanted:?}"));
        Ok(())
    }

    /// Compares everything with the model, which then knows what became of a crash.
    ///
    /// # Panics
    /// When the server has lost or invented something.
    pub fn compare_all(&mut self, after: After) {
        if after == After::Peace {
            self.model.commit_all();
        }
        self.decide_open();
        let nodes: BTreeSet<Node> = self.model.nodes().map(|(node, _)| node).collect();
        for node in nodes {
            let handle = self.handles[&node].clone();
            match self.model.kind(node).cloned().expect("listed") {
                Kind::Dir(entries) => {
                    self.compare_dir(node).expect("the server serves");
                    for (name, child) in entries {
                        let found = self.client.lookup(&handle, name.as_bytes()).expect("listed");
                        self.check(found == self.handles[&child], "the handle of a name");
                    }
                }
                Kind::Symlink(target) => {
                    let found = self.client.readlink(&handle).expect("a link");
                    self.check(found == target.as_bytes(), "where a link leads");
                }
                Kind::File(file) => {
                    let found = self.client.read_all(&handle).expect("a file");
                    if let Err(why) = file.allows(&found) {
                        let pending = pending(&file.pending);
                        self.wrong(&format!("{node:?}: {why}; pending {pending}"));
                    }
                    // What was found is made stable, so that the next crash starts from here.
                    self.client.commit(&handle).expect("a file");
                    let known = self.model.file_mut(node);
                    known.stable = found;
                    known.pending.clear();
                    self.compare_attributes(node).expect("the server serves");
                }
            }
        }
    }

    /// Finds out whether the change that was sent and not answered was made.
    fn decide_open(&mut self) {
        let Some(change) = self.open.take() else { return };
        let mut made = self.model.clone();
        let outcome = made.apply(&change);
        match (&change, outcome) {
            (_, Err(_)) | (Change::Commit { .. }, _) => {}
            (Change::Write { file, offset, bytes, .. }, _) => {
                let (offset, bytes) = (*offset, bytes.clone());
                self.model.file_mut(*file).pending.push((offset, bytes));
            }
            (Change::Truncate { file, size }, _) => {
                let handle = self.handles[file].clone();
                let found = self.client.getattr(&handle).expect("a file").size;
                if found == *size as u64 {
                    self.model = made;
                }
            }
            (Change::Create { dir, name, .. }, Ok(node))
            | (Change::Mkdir { dir, name } | Change::Symlink { dir, name, .. }, Ok(node)) => {
                let handle = self.handles[dir].clone();
                if let Ok(found) = self.client.lookup(&handle, name.as_bytes()) {
                    self.handles.insert(node.expect("made"), found);
                    self.model = made;
                }
            }
            (Change::Link { dir, name, .. }, Ok(_)) => {
                let handle = self.handles[dir].clone();
                if self.client.lookup(&handle, name.as_bytes()).is_ok() {
                    self.model = made;
                }
            }
            (Change::Remove { dir, name } | Change::Rmdir { dir, name }, Ok(_))
            | (Change::Rename { from: (dir, name), .. }, Ok(_)) => {
                let handle = self.handles[dir].clone();
                if self.client.lookup(&handle, name.as_bytes()).is_err() {
                    self.model = made;
                }
            }
        }
    }

    fn answered<T>(&self, answer: Answer<T>) -> Result<T, String> {
        match answer {
            Ok(value) => Ok(value),
            Err(Fail::Lost(why)) => Err(why),
            Err(Fail::Status(status)) => self.wrong(&format!("it answers {status}")),
            Err(refused) => self.wrong(&format!("it refuses: {refused:?}")),
        }
    }

    fn remember(&mut self, change: &Change) {
        let line = if let Change::Write { file, offset, bytes, reach } = change {
            format!("Write {file:?} at {offset}, {} bytes, {reach:?}", bytes.len())
        } else {
            format!("{change:?}")
        };
        self.log.push(line.replace(&"n".repeat(200), "n.."));
        if self.log.len() > 2 * REMEMBERED {
            self.log.drain(..REMEMBERED);
        }
    }

    fn check(&self, holds: bool, what: &str) {
        if !holds {
            self.wrong(what);
        }
    }

    fn wrong(&self, what: &str) -> ! {
        let mut text = String::new();
        for line in &self.log[self.log.len().saturating_sub(REMEMBERED)..] {
            writeln!(text, "    {line}").expect("a String");
        }
        panic!("{}: WRONG: {what}\n  after\n{text}", self.prefix);
    }
}

/// What an answer gave.
#[derive(Debug, Default)]
struct Given {
    handle: Option<Handle>,
    reach: Option<Reach>,
}

impl Given {
    fn handle(handle: Handle) -> Self {
        Self { handle: Some(handle), reach: None }
    }

    fn nothing((): ()) -> Self {
        Self::default()
    }
}

fn pending(pending: &[(usize, Vec<u8>)]) -> String {
    let writes = pending.iter().map(|(offset, part)| format!("{offset}+{}", part.len()));
    writes.collect::<Vec<_>>().join(" ")
}
