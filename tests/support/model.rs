//! What a share must look like: a file system in a few maps, and what may become of it in a crash.
//!
//! A file is what is known to be stable, and the writes since, which a crash may keep or lose.
//! Names are stable as soon as they are answered.

use std::collections::BTreeMap;

use super::client::Status;

/// A node of the model. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node(pub u32);

/// A file's bytes.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// What a crash may not touch.
    pub stable: Vec<u8>,
    /// Answered as UNSTABLE since, in order.
    pub pending: Vec<(usize, Vec<u8>)>,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A regular file.
    File(File),
    /// A directory and its entries.
    Dir(BTreeMap<String, Node>),
    /// A link and where it leads.
    Symlink(String),
}

/// How far a write goes before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Answered when logged.
    Unstable,
    /// Answered when the bytes are durable.
    Data,
    /// Answered when bytes and attributes are.
    File,
}

/// A change of a share, by the model's nodes.
#[derive(Clone, Debug)]
pub enum Change {
    /// A new file. With `guarded` false an existing one is taken.
    Create {
        /// Where.
        dir: Node,
        /// Its name.
        name: String,
        /// Fail when the name is taken.
        guarded: bool,
    },
    /// A new directory.
    Mkdir {
        /// Where.
        dir: Node,
        /// Its name.
        name: String,
    },
    /// A new link.
    Symlink {
        /// Where.
        dir: Node,
        /// Its name.
        name: String,
        /// Where it leads.
        target: String,
    },
    /// One more name.
    Link {
        /// Of what.
        node: Node,
        /// Where.
        dir: Node,
        /// The name.
        name: String,
    },
    /// A name less.
    Remove {
        /// Where.
        dir: Node,
        /// The name.
        name: String,
    },
    /// A directory less.
    Rmdir {
        /// Where.
        dir: Node,
        /// The name.
        name: String,
    },
    /// Another name.
    Rename {
        /// From where.
        from: (Node, String),
        /// To where.
        to: (Node, String),
    },
    /// Another length.
    Truncate {
        /// Of what.
        file: Node,
        /// In bytes.
        size: usize,
    },
    /// Bytes.
    Write {
        /// Of what.
        file: Node,
        /// Where.
        offset: usize,
        /// The bytes.
        bytes: Vec<u8>,
        /// How far.
        reach: Reach,
    },
    /// Makes stable what is not.
    Commit {
        /// Of what.
        file: Node,
    },
}

/// A share, or the part of one that one thread has for itself.
#[derive(Clone, Debug)]
pub struct Model {
    nodes: BTreeMap<Node, Kind>,
    next: u32,
}

/// What a change gives: a node that it made or took, or the statuses of which one is right.
pub type Result = std::result::Result<Option<Node>, Vec<Status>>;

impl Model {
    /// That many empty directories, `Node(0)` first, which are never removed or renamed.
    #[must_use]
    pub fn new(roots: u32) -> Self {
        let nodes = (0..roots).map(|n| (Node(n), Kind::Dir(BTreeMap::new()))).collect();
        Self { nodes, next: roots }
    }

    /// What a node is.
    #[must_use]
    pub fn kind(&self, node: Node) -> Option<&Kind> {
        self.nodes.get(&node)
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = (Node, &Kind)> {
        self.nodes.iter().map(|(node, kind)| (*node, kind))
    }

    /// A directory's entries.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn entries(&self, dir: Node) -> &BTreeMap<String, Node> {
        match self.kind(dir) {
            Some(Kind::Dir(entries)) => entries,
            other => panic!("{dir:?} is {other:?}"),
        }
    }

    fn entries_mut(&mut self, dir: Node) -> &mut BTreeMap<String, Node> {
        match self.nodes.get_mut(&dir) {
            Some(Kind::Dir(entries)) => entries,
            other => panic!("{dir:?} is {other:?}"),
        }
    }

    /// A file.
    ///
    /// # Panics
    /// When it is none.
    pub fn file_mut(&mut self, file: Node) -> &mut File {
        match self.nodes.get_mut(&file) {
            Some(Kind::File(file)) => file,
            other => panic!("{file:?} is {other:?}"),
        }
    }

    /// A file's length.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn size(&self, file: Node) -> usize {
        match self.kind(file) {
            Some(Kind::File(file)) => file.size(),
            other => panic!("{file:?} is {other:?}"),
        }
    }

    /// How many names lead to a node.
    #[must_use]
    pub fn links(&self, node: Node) -> usize {
        let dirs = self.nodes.values().filter_map(|kind| match kind {
            Kind::Dir(entries) => Some(entries),
            Kind::File(_) | Kind::Symlink(_) => None,
        });
        dirs.flat_map(BTreeMap::values).filter(|entry| **entry == node).count()
    }

    /// Takes all that was answered as stable.
    pub fn commit_all(&mut self) {
        for kind in self.nodes.values_mut() {
            if let Kind::File(file) = kind {
                file.commit();
            }
        }
    }

    fn is_dir(&self, node: Node) -> bool {
        matches!(self.kind(node), Some(Kind::Dir(_)))
    }

    fn is_below(&self, node: Node, above: Node) -> bool {
        node == above
            || self.is_dir(above)
                && self.entries(above).values().any(|entry| self.is_below(node, *entry))
    }

    /// Makes a change, or says why it cannot be made.
    ///
    /// # Errors
    /// The statuses that a server may answer.
    pub fn apply(&mut self, change: &Change) -> Result {
        match change {
            Change::Create { dir, name, guarded } => self.create(*dir, name, *guarded),
            Change::Mkdir { dir, name } => self.make(*dir, name, Kind::Dir(BTreeMap::new())),
            Change::Symlink { dir, name, target } => {
                self.make(*dir, name, Kind::Symlink(target.clone()))
            }
            Change::Link { node, dir, name } => self.link(*node, *dir, name),
            Change::Remove { dir, name } => self.remove(*dir, name, false),
            Change::Rmdir { dir, name } => self.remove(*dir, name, true),
            Change::Rename { from, to } => self.rename((from.0, &from.1), (to.0, &to.1)),
            Change::Truncate { file, size } => {
                self.file_mut(*file).truncate(*size);
                Ok(None)
            }
            Change::Write { file, offset, bytes, reach } => {
                self.file_mut(*file).write(*offset, bytes, *reach);
                Ok(None)
            }
            Change::Commit { file } => {
                self.file_mut(*file).commit();
                Ok(None)
            }
        }
    }

    fn create(&mut self, dir: Node, name: &str, guarded: bool) -> Result {
        match self.entries(dir).get(name) {
            Some(taken) if !guarded && matches!(self.kind(*taken), Some(Kind::File(_))) => {
                Ok(Some(*taken))
            }
            Some(_) if !guarded => Err(vec![
                Status::NFS3ERR_EXIST,
                Status::NFS3ERR_ISDIR,
                Status::NFS3ERR_INVAL,
                Status::NFS3ERR_NOTDIR,
            ]),
            _ => self.make(dir, name, Kind::File(File::default())),
        }
    }

    fn make(&mut self, dir: Node, name: &str, kind: Kind) -> Result {
        if self.entries(dir).contains_key(name) {
            return Err(vec![Status::NFS3ERR_EXIST]);
        }
        let node = Node(self.next);
        self.next += 1;
        self.nodes.insert(node, kind);
        self.entries_mut(dir).insert(name.to_owned(), node);
        Ok(Some(node))
    }

    fn link(&mut self, node: Node, dir: Node, name: &str) -> Result {
        let mut refused = Vec::new();
        if self.is_dir(node) {
            refused.extend([Status::NFS3ERR_PERM, Status::NFS3ERR_ISDIR, Status::NFS3ERR_INVAL]);
        }
        if self.entries(dir).contains_key(name) {
            refused.push(Status::NFS3ERR_EXIST);
        }
        if !refused.is_empty() {
            return Err(refused);
        }
        self.entries_mut(dir).insert(name.to_owned(), node);
        Ok(None)
    }

    fn remove(&mut self, dir: Node, name: &str, directory: bool) -> Result {
        let Some(node) = self.entries(dir).get(name).copied() else {
            return Err(vec![Status::NFS3ERR_NOENT]);
        };
        match (self.is_dir(node), directory) {
            (true, false) => return Err(vec![Status::NFS3ERR_ISDIR, Status::NFS3ERR_PERM]),
            (false, true) => return Err(vec![Status::NFS3ERR_NOTDIR]),
            (true, true) if !self.entries(node).is_empty() => {
                return Err(vec![Status::NFS3ERR_NOTEMPTY, Status::NFS3ERR_EXIST]);
            }
            _ => {}
        }
        self.entries_mut(dir).remove(name);
        self.forget_unnamed(node);
        Ok(None)
    }

    fn rename(&mut self, from: (Node, &str), to: (Node, &str)) -> Result {
        let Some(node) = self.entries(from.0).get(from.1).copied() else {
            return Err(vec![Status::NFS3ERR_NOENT]);
        };
        let target = self.entries(to.0).get(to.1).copied();
        if target == Some(node) {
            return Ok(None);
        }
        let mut refused = Vec::new();
        if self.is_below(to.0, node) {
            refused.push(Status::NFS3ERR_INVAL);
        }
        if let Some(target) = target {
            match (self.is_dir(node), self.is_dir(target)) {
                (true, false) => {
                    refused.extend([Status::NFS3ERR_NOTDIR, Status::NFS3ERR_EXIST]);
                }
                (false, true) => refused.extend([Status::NFS3ERR_ISDIR, Status::NFS3ERR_EXIST]),
                (true, true) if !self.entries(target).is_empty() => {
                    refused.extend([Status::NFS3ERR_NOTEMPTY, Status::NFS3ERR_EXIST]);
                }
                _ => {}
            }
        }
        if !refused.is_empty() {
            return Err(refused);
        }
        self.entries_mut(from.0).remove(from.1);
        self.entries_mut(to.0).insert(to.1.to_owned(), node);
        if let Some(target) = target {
            self.forget_unnamed(target);
        }
        Ok(None)
    }

    fn forget_unnamed(&mut self, node: Node) {
        if self.links(node) == 0 {
            self.nodes.remove(&node);
        }
    }
}

impl File {
    /// The bytes as they read now.
    #[must_use]
    pub fn now(&self) -> Vec<u8> {
        let mut bytes = self.stable.clone();
        for (offset, part) in &self.pending {
            overlay(&mut bytes, *offset, part);
        }
        bytes
    }

    /// The length now.
    #[must_use]
    pub fn size(&self) -> usize {
        let ends = self.pending.iter().map(|(offset, part)| offset + part.len());
        ends.max().unwrap_or(0).max(self.stable.len())
    }

    fn write(&mut self, offset: usize, bytes: &[u8], reach: Reach) {
        if reach == Reach::Unstable {
            self.pending.push((offset, bytes.to_owned()));
            return;
        }
        // An older write that may be lost cannot come back over a stable one.
        let end = offset + bytes.len();
        let old = std::mem::take(&mut self.pending);
        for (start, part) in old {
            let stop = start + part.len();
            if start < offset {
                self.pending.push((start, part[..offset.min(stop) - start].to_owned()));
            }
            if stop > end {
                let rest = start.max(end);
                self.pending.push((rest, part[rest - start..].to_owned()));
            }
        }
        overlay(&mut self.stable, offset, bytes);
    }

    fn truncate(&mut self, size: usize) {
        self.stable.resize(size, 0);
        for (offset, part) in &mut self.pending {
            part.truncate(size.saturating_sub(*offset));
        }
        self.pending.retain(|(_, part)| !part.is_empty());
    }

    fn commit(&mut self) {
        self.stable = self.now();
        self.pending.clear();
    }

    /// Whether a crash may have left these bytes.
    ///
    /// # Errors
    /// The first place where not.
    pub fn allows(&self, found: &[u8]) -> std::result::Result<(), String> {
        let is_size = |size: usize| {
            size == self.stable.len()
                || size > self.stable.len()
                    && self.pending.iter().any(|(offset, part)| offset + part.len() == size)
        };
        if !is_size(found.len()) {
            return Err(format!("{} bytes; {} stable", found.len(), self.stable.len()));
        }
        let mut stable = self.stable.clone();
        stable.resize(found.len(), 0);
        if stable == found {
            return Ok(());
        }
        let mut allowed: Vec<bool> = stable.iter().zip(found).map(|(a, b)| a == b).collect();
        for (offset, part) in &self.pending {
            for (at, byte) in (*offset..found.len()).zip(part) {
                allowed[at] |= found[at] == *byte;
            }
        }
        match allowed.iter().position(|allowed| !allowed) {
            None => Ok(()),
            Some(at) => {
                let wrong = allowed.iter().filter(|allowed| !**allowed).count();
                Err(format!("{wrong} of {} bytes wrong, the first at {at}", found.len()))
            }
        }
    }
}

fn overlay(bytes: &mut Vec<u8>, offset: usize, part: &[u8]) {
    let end = offset + part.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(stable: &[u8], pending: &[(usize, &[u8])]) -> File {
        let pending = pending.iter().map(|(offset, part)| (*offset, part.to_vec())).collect();
        File { stable: stable.to_vec(), pending }
    }

    #[test]
    fn a_pending_write_may_be_there_or_not() {
        let file = file(b"aaaa", &[(2, b"bbb")]);
        assert!(file.allows(b"aaaa").is_ok());
        assert!(file.allows(b"aabbb").is_ok());
        assert!(file.allows(b"aab").is_err(), "shorter than what is stable");
        assert!(file.allows(b"aabbbb").is_err(), "longer than what was written");
        assert!(file.allows(b"axbbb").is_err(), "a byte that nobody wrote");
    }

    #[test]
    fn a_stable_write_cannot_be_undone_by_an_older_one() {
        let mut file = file(b"aaaa", &[(0, b"bbbb")]);
        file.write(1, b"cc", Reach::File);
        assert!(file.allows(b"acca").is_ok());
        assert!(file.allows(b"bccb").is_ok());
        assert!(file.allows(b"bbcb").is_err());
    }

    #[test]
    fn cut_bytes_do_not_come_back() {
        let mut file = file(b"aaaa", &[(2, b"bbbb")]);
        file.truncate(3);
        file.truncate(5);
        assert!(file.allows(&[b'a', b'a', b'b', 0, 0]).is_ok());
        assert!(file.allows(&[b'a', b'a', b'b', b'b', 0]).is_err());
    }

    #[test]
    fn a_directory_does_not_move_below_itself() {
        let mut model = Model::new(1);
        let make = Change::Mkdir { dir: Node(0), name: "a".into() };
        let made = model.apply(&make).expect("free").expect("a node");
        let change = Change::Rename { from: (Node(0), "a".into()), to: (made, "b".into()) };
        assert_eq!(model.apply(&change), Err(vec![Status::NFS3ERR_INVAL]));
    }
}
