//! Random operations on names, against a file system small enough to be seen to be right.

use std::collections::BTreeMap;

use super::*;
use reactor::rng::Rng;
use vocab::FileKind;

/// Another world for each seed; a failure prints its own.
const SEEDS: std::ops::Range<u64> = 0..8;
const STEPS: u64 = 600;
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A node's place in [`Model::nodes`], in order of birth.
type Id = usize;

#[derive(Debug)]
enum Kind {
    Directory(BTreeMap<&'static str, Id>),
    File { size: u64 },
}

#[derive(Debug)]
struct Node {
    kind: Kind,
    nlink: u32,
    /// Of a directory: where `..` leads.
    parent: Id,
}

/// Node 0 is the root. A node whose `nlink` is 0 is gone.
#[derive(Debug)]
struct Model {
    nodes: Vec<Node>,
}

/// Every error that the call may rightly answer; none: it must succeed.
type Wrong = Vec<Error>;

impl Model {
    fn new() -> Self {
        let root = Node { kind: Kind::Directory(BTreeMap::new()), nlink: 2, parent: 0 };
        Self { nodes: vec![root] }
    }

    fn entries(&self, id: Id) -> Option<&BTreeMap<&'static str, Id>> {
        match &self.nodes[id].kind {
            Kind::Directory(entries) => Some(entries),
            Kind::File { .. } => None,
        }
    }

    fn entries_mut(&mut self, id: Id) -> &mut BTreeMap<&'static str, Id> {
        match &mut self.nodes[id].kind {
            Kind::Directory(entries) => entries,
            Kind::File { .. } => panic!("{id} is no directory"),
        }
    }

    fn is_dir(&self, id: Id) -> bool {
        self.entries(id).is_some()
    }

    fn child(&self, dir: Id, name: &str) -> Option<Id> {
        self.entries(dir)?.get(name).copied()
    }

    /// What is wrong with a directory as such.
    fn dir_wrong(&self, dir: Id) -> Wrong {
        match &self.nodes[dir] {
            node if node.nlink == 0 => vec![Error::Stale],
            Node { kind: Kind::File { .. }, .. } => vec![Error::NotDirectory],
            _ => vec![],
        }
    }

    fn add_wrong(&self, dir: Id, name: &str) -> Wrong {
        let wrong = self.dir_wrong(dir);
        if wrong.is_empty() && self.child(dir, name).is_some() {
            return vec![Error::Exists];
        }
        wrong
    }

    fn add(&mut self, dir: Id, name: &'static str, id: Id) {
        self.entries_mut(dir).insert(name, id);
        if self.is_dir(id) {
            self.nodes[dir].nlink += 1;
            self.nodes[id].parent = dir;
        }
    }

    fn born(&mut self, dir: Id, name: &'static str, directory: bool) {
        let kind =
            if directory { Kind::Directory(BTreeMap::new()) } else { Kind::File { size: 0 } };
        self.nodes.push(Node { kind, nlink: if directory { 2 } else { 1 }, parent: dir });
        self.add(dir, name, self.nodes.len() - 1);
    }

    fn remove_wrong(&self, dir: Id, name: &str, directory: bool) -> Wrong {
        let wrong = self.dir_wrong(dir);
        if !wrong.is_empty() {
            return wrong;
        }
        match self.child(dir, name) {
            None => vec![Error::NotFound],
            Some(id) => match (self.entries(id), directory) {
                (Some(_), false) => vec![Error::IsDirectory],
                (None, true) => vec![Error::NotDirectory],
                (Some(entries), true) if !entries.is_empty() => vec![Error::NotEmpty],
                _ => vec![],
            },
        }
    }

    /// Takes a name away and, when `dies`, what it led to with it.
    fn drop_name(&mut self, dir: Id, name: &str, dies: bool) -> Id {
        let id = self.entries_mut(dir).remove(name).unwrap();
        if self.is_dir(id) {
            self.nodes[dir].nlink -= 1;
            self.nodes[id].nlink = if dies { 0 } else { 2.max(self.nodes[id].nlink) };
        } else if dies {
            self.nodes[id].nlink -= 1;
        }
        id
    }

    fn is_below(&self, mut id: Id, top: Id) -> bool {
        while id != top && id != 0 {
            id = self.nodes[id].parent;
        }
        id == top
    }

    fn rename_wrong(&self, from: (Id, &str), to: (Id, &str)) -> Wrong {
        let wrong = [self.dir_wrong(from.0), self.dir_wrong(to.0)].concat();
        if !wrong.is_empty() {
            return wrong;
        }
        let Some(source) = self.child(from.0, from.1) else { return vec![Error::NotFound] };
        let mut wrong = Vec::new();
        if self.is_dir(source) && self.is_below(to.0, source) {
            wrong.push(Error::Invalid);
        }
        if let Some(target) = self.child(to.0, to.1).filter(|&target| target != source) {
            match (self.is_dir(source), self.entries(target)) {
                (true, None) => wrong.push(Error::NotDirectory),
                (false, Some(_)) => wrong.push(Error::IsDirectory),
                (true, Some(entries)) if !entries.is_empty() => wrong.push(Error::NotEmpty),
                _ => {}
            }
        }
        wrong
    }

    fn rename(&mut self, from: (Id, &str), to: (Id, &'static str)) {
        let source = self.child(from.0, from.1).unwrap();
        let target = self.child(to.0, to.1);
        if target == Some(source) {
            return;
        }
        if target.is_some() {
            self.drop_name(to.0, to.1, true);
        }
        self.drop_name(from.0, from.1, false);
        self.add(to.0, to.1, source);
    }

    fn link_wrong(&self, id: Id, dir: Id, name: &str) -> Wrong {
        if self.nodes[id].nlink == 0 {
            return vec![Error::Stale];
        }
        if self.is_dir(id) {
            return [vec![Error::IsDirectory], self.add_wrong(dir, name)].concat();
        }
        self.add_wrong(dir, name)
    }

    fn data_wrong(&self, id: Id) -> Wrong {
        match &self.nodes[id] {
            node if node.nlink == 0 => vec![Error::Stale],
            Node { kind: Kind::Directory(_), .. } => vec![Error::IsDirectory],
            _ => vec![],
        }
    }
}

/// The model and the handles that the server gave for its nodes.
struct Pair {
    model: Model,
    founds: Vec<Found>,
    /// Where `..` of the model's root leads.
    above: Found,
    user: User,
    rng: Rng,
    seed: u64,
}

impl Pair {
    fn name(&mut self) -> &'static str {
        NAMES[usize::try_from(self.rng.below(NAMES.len() as u64)).unwrap()]
    }

    /// Mostly what lives, sometimes what is gone.
    fn node(&mut self) -> Id {
        for _ in 0..8 {
            let id = usize::try_from(self.rng.below(self.founds.len() as u64)).unwrap();
            if self.model.nodes[id].nlink > 0 || self.rng.one_in(8) {
                return id;
            }
        }
        0
    }

    fn dir(&mut self) -> Id {
        for _ in 0..4 {
            let id = self.node();
            if self.model.is_dir(id) || self.rng.one_in(16) {
                return id;
            }
        }
        0
    }

    /// Whether both agree; and then, whether it happened.
    fn agree<T>(&self, what: &str, got: &Result<T, Error>, wrong: &[Error]) -> bool {
        let error = got.as_ref().err();
        let right = error.map_or(wrong.is_empty(), |error| wrong.contains(error));
        assert!(right, "seed {}: {what}: {error:?}, want one of {wrong:?}", self.seed);
        error.is_none()
    }

    async fn step(&mut self) {
        match self.rng.below(8) {
            0 | 1 => self.make(false).await,
            2 => self.make(true).await,
            3 => self.remove().await,
            4 | 5 => self.rename().await,
            6 => self.link().await,
            _ => self.resize().await,
        }
    }

    async fn make(&mut self, directory: bool) {
        let (dir, name) = (self.dir(), self.name());
        let at = self.founds[dir];
        let made = match directory {
            true => self.user.mkdir(&at, name, 0o755).await,
            false => self.user.file(&at, name, 0o644).await,
        };
        let wrong = self.model.add_wrong(dir, name);
        if self.agree(&format!("make {dir}/{name}"), &made, &wrong) {
            self.model.born(dir, name, directory);
            self.founds.push(made.unwrap());
        }
    }

    async fn remove(&mut self) {
        let (dir, name, directory) = (self.dir(), self.name(), self.rng.one_in(2));
        let at = self.founds[dir];
        let removed = match directory {
            true => self.user.rmdir(&at, name).await,
            false => self.user.remove(&at, name).await,
        };
        let wrong = self.model.remove_wrong(dir, name, directory);
        if self.agree(&format!("remove {dir}/{name}, {directory}"), &removed, &wrong) {
            self.model.drop_name(dir, name, true);
        }
    }

    async fn rename(&mut self) {
        let (from, old, to, new) = (self.dir(), self.name(), self.dir(), self.name());
        let (from_dir, to_dir) = (self.founds[from], self.founds[to]);
        let renamed = self.user.rename((&from_dir, old), (&to_dir, new)).await;
        let wrong = self.model.rename_wrong((from, old), (to, new));
        if self.agree(&format!("rename {from}/{old} to {to}/{new}"), &renamed, &wrong) {
            self.model.rename((from, old), (to, new));
        }
    }

    async fn link(&mut self) {
        let (id, dir, name) = (self.node(), self.dir(), self.name());
        let linked = self.user.link(&self.founds[id], &self.founds[dir], name).await;
        let wrong = self.model.link_wrong(id, dir, name);
        if self.agree(&format!("link {id} as {dir}/{name}"), &linked, &wrong) {
            self.model.nodes[id].nlink += 1;
            self.model.add(dir, name, id);
        }
    }

    async fn resize(&mut self) {
        let (id, to) = (self.node(), self.rng.below(10_000));
        let resized = match self.rng.one_in(2) {
            true => self.user.truncate(&self.founds[id], to).await,
            false => self.user.write(&self.founds[id], to, "x").await,
        };
        let wrong = self.model.data_wrong(id);
        if self.agree(&format!("resize {id}"), &resized, &wrong) {
            self.model.nodes[id].kind = Kind::File { size: resized.unwrap().size };
        }
    }

    /// The whole tree, and every handle ever given.
    async fn compare(&self) {
        for (id, node) in self.model.nodes.iter().enumerate() {
            let place = format!("seed {}: node {id}: {node:?}", self.seed);
            let attr = self.user.attr(&self.founds[id]).await;
            if node.nlink == 0 {
                assert_eq!(attr, Err(Error::Stale), "{place}");
                continue;
            }
            let attr = attr.unwrap();
            assert_eq!(attr.nlink, node.nlink, "{place}");
            match &node.kind {
                Kind::File { size } => assert_eq!(attr.size, *size, "{place}"),
                Kind::Directory(entries) => {
                    assert_eq!(attr.kind, FileKind::Directory, "{place}");
                    self.compare_entries(&self.founds[id], node.parent, entries, &place).await;
                }
            }
        }
    }

    async fn compare_entries(
        &self,
        dir: &Found,
        parent: Id,
        entries: &BTreeMap<&'static str, Id>,
        place: &str,
    ) {
        let listing = self.user.list(dir, Cookie(0), 100, true).await.unwrap();
        assert!(listing.end, "{place}");
        let is_top = dir.handle == self.founds[0].handle;
        let parent = if is_top { self.above } else { self.founds[parent] };
        assert_eq!(listing.entries[1].found.unwrap().handle, parent.handle, "{place}: ..");
        let mut listed: Vec<_> = listing.entries[2..]
            .iter()
            .map(|entry| (entry.name.to_vec(), entry.found.unwrap().handle))
            .collect();
        listed.sort_by(|a, b| a.0.cmp(&b.0));
        let want: Vec<_> = entries
            .iter()
            .map(|(name, id)| (name.as_bytes().to_vec(), self.founds[*id].handle))
            .collect();
        assert_eq!(listed, want, "{place}");
        for (name, id) in entries {
            let found = self.user.lookup(dir, name).await.unwrap();
            assert_eq!(found.handle, self.founds[*id].handle, "{place}: {name}");
        }
    }
}

#[test]
fn names_against_a_model() {
    run(|w| async move {
        for seed in SEEDS {
            let top = w.root.mkdir(&w.a, &format!("seed{seed}"), 0o755).await.unwrap();
            let mut pair = Pair {
                model: Model::new(),
                founds: vec![top],
                above: w.a,
                user: w.root.clone(),
                rng: Rng::from_seed(seed),
                seed,
            };
            for step in 1..=STEPS {
                pair.step().await;
                if step % 100 == 0 {
                    pair.compare().await;
                }
            }
        }
    });
}
