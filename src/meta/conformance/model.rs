//! Random commands against a plain model of names; afterwards every count is counted again.

use std::collections::BTreeMap;

use reactor::rng::Rng;
use vocab::{Attr, Error, FileKind, InodeId, Sequence, limits::BLOCK_BYTES};

use super::{Fixture, wait};
use crate::{
    SizeChange,
    command::{Command, NewKind},
};

const STEPS: u32 = 600;
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Directories and what their names lead to; what every inode is.
struct Model {
    dirs: BTreeMap<InodeId, BTreeMap<&'static str, InodeId>>,
    parents: BTreeMap<InodeId, InodeId>,
    links: BTreeMap<InodeId, u32>,
}

impl Model {
    fn is_dir(&self, inode: InodeId) -> bool {
        self.dirs.contains_key(&inode)
    }

    fn find(&self, dir: InodeId, name: &str) -> Result<InodeId, Error> {
        self.dirs[&dir].get(name).copied().ok_or(Error::NotFound)
    }

    fn unname(&mut self, dir: InodeId, name: &str) {
        let inode = self.dirs.get_mut(&dir).expect("dir").remove(name).expect("name");
        self.drop_link(inode);
    }

    fn drop_link(&mut self, inode: InodeId) {
        let links = self.links.get_mut(&inode).expect("inode");
        *links -= 1;
        if *links == 0 {
            self.links.remove(&inode);
            self.dirs.remove(&inode);
            self.parents.remove(&inode);
        }
    }

    fn remove(&mut self, dir: InodeId, name: &str, directory: bool) -> Result<(), Error> {
        let inode = self.find(dir, name)?;
        match (self.is_dir(inode), directory) {
            (true, false) => return Err(Error::IsDirectory),
            (false, true) => return Err(Error::NotDirectory),
            (true, true) if !self.dirs[&inode].is_empty() => return Err(Error::NotEmpty),
            (true, true) | (false, false) => {}
        }
        self.unname(dir, name);
        Ok(())
    }

    fn rename(
        &mut self,
        (from, name): (InodeId, &'static str),
        (to, new): (InodeId, &'static str),
    ) -> Result<(), Error> {
        let inode = self.find(from, name)?;
        let target = self.dirs[&to].get(new).copied();
        if target == Some(inode) {
            return Ok(());
        }
        match (self.is_dir(inode), target.map(|target| self.is_dir(target))) {
            (true, Some(false)) => return Err(Error::NotDirectory),
            (false, Some(true)) => return Err(Error::IsDirectory),
            _ => {}
        }
        let mut above = to;
        loop {
            if above == inode {
                return Err(Error::Invalid);
            }
            if self.parents[&above] == above {
                break;
            }
            above = self.parents[&above];
        }
        if let Some(target) = target {
            if self.dirs.get(&target).is_some_and(|entries| !entries.is_empty()) {
                return Err(Error::NotEmpty);
            }
            self.unname(to, new);
        }
        self.dirs.get_mut(&from).expect("dir").remove(name);
        self.dirs.get_mut(&to).expect("dir").insert(new, inode);
        if self.is_dir(inode) {
            self.parents.insert(inode, to);
        }
        Ok(())
    }
}

pub(super) fn random_commands_match_the_model(f: &Fixture) {
    let seed = 0x5eed;
    let mut rng = Rng::from_seed(seed);
    let mut model = Model {
        dirs: BTreeMap::from([(f.root, BTreeMap::new())]),
        parents: BTreeMap::from([(f.root, f.root)]),
        links: BTreeMap::new(),
    };
    for step in 0..STEPS {
        let sequence = Sequence(u64::from(step) + 1);
        let what = format!("seed {seed:#x}, step {step}");
        one_step(f, &mut model, &mut rng, sequence, &what);
        if step % 97 == 0 {
            compare(f, &model, &what);
        }
    }
    compare(f, &model, &format!("seed {seed:#x}, at the end"));
    while let Some(inode) = wait(f.store.orphans(1)).expect("orphans").pop() {
        f.submit(Command::Reap { inode, blocks_max: 2, now: f.now() }).expect("reap");
    }
    f.check();
}

fn one_step(f: &Fixture, model: &mut Model, rng: &mut Rng, sequence: Sequence, what: &str) {
    let dir = pick(rng, model.dirs.keys());
    let other = pick(rng, model.dirs.keys());
    let (name, new) = (pick(rng, &NAMES), pick(rng, &NAMES));
    match rng.below(9) {
        0..2 => {
            let is_dir = rng.one_in(2);
            let kind =
                if is_dir { NewKind::Directory } else { NewKind::Regular { exclusive: None } };
            let made = f.make(dir, name, kind).map(|attr: Attr| attr.inode);
            if model.find(dir, name).is_ok() {
                assert_eq!(made, Err(Error::Exists), "{what}");
                return;
            }
            let inode = made.unwrap_or_else(|error| panic!("{what}: {error}"));
            model.dirs.get_mut(&dir).expect("dir").insert(name, inode);
            model.links.insert(inode, 1);
            if is_dir {
                model.dirs.insert(inode, BTreeMap::new());
                model.parents.insert(inode, dir);
            }
        }
        2 => {
            let Ok(inode) = model.find(dir, name) else { return };
            let wanted = match (model.is_dir(inode), model.find(other, new)) {
                (true, _) => Err(Error::IsDirectory),
                (false, Ok(_)) => Err(Error::Exists),
                (false, Err(_)) => Ok(()),
            };
            assert_eq!(f.link(inode, other, new).map(|_| ()), wanted, "{what}");
            if wanted.is_ok() {
                model.dirs.get_mut(&other).expect("dir").insert(new, inode);
                *model.links.get_mut(&inode).expect("inode") += 1;
            }
        }
        3..5 => {
            let directory = rng.one_in(2);
            let done = if directory { f.rmdir(dir, name) } else { f.remove(dir, name) };
            assert_eq!(done.map(|_| ()), model.remove(dir, name, directory), "{what}");
        }
        5..7 => {
            let done = f.rename((dir, name), (other, new)).map(|_| ());
            assert_eq!(done, model.rename((dir, name), (other, new)), "{what}");
        }
        _ => data_step(f, model.find(dir, name).ok().filter(|&i| !model.is_dir(i)), rng, sequence),
    }
}

/// Writes, truncates, flushes or uploads; [`Fixture::check`] judges the outcome.
fn data_step(f: &Fixture, file: Option<InodeId>, rng: &mut Rng, sequence: Sequence) {
    let Some(file) = file else { return };
    let bytes = rng.below(5 * u64::from(BLOCK_BYTES));
    let size = if rng.one_in(2) { SizeChange::AtLeast(bytes) } else { SizeChange::Exactly(bytes) };
    f.attr(file).expect("attr");
    f.store.note_data(file, sequence, size, f.now()).expect("known");
    if rng.one_in(3) {
        let data = f.store.unflushed(file).expect("dirty");
        f.flush(file, data).expect("flush");
    }
    let index = u32::try_from(rng.below(5)).expect("small");
    let hash = u8::try_from(rng.below(6)).expect("small");
    let watermark = sequence.0 - rng.below(3).min(sequence.0);
    // The same hash always has the same length.
    let block = (hash, u32::from(hash) * 1000);
    match f.set_block(file, index, block, watermark, !rng.one_in(4)) {
        Ok(_) | Err(Error::Stale) => {}
        Err(error) => panic!("{error}"),
    }
}

fn compare(f: &Fixture, model: &Model, what: &str) {
    for (&dir, entries) in &model.dirs {
        let mut listed: Vec<_> = f.list(dir).expect("list").into_iter().collect();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        let listed: Vec<_> = listed
            .iter()
            .map(|e| (String::from_utf8_lossy(&e.name).into_owned(), e.inode))
            .collect();
        let wanted: Vec<_> = entries.iter().map(|(name, &i)| ((*name).to_owned(), i)).collect();
        assert_eq!(listed, wanted, "{what}");
        for name in NAMES {
            assert_eq!(f.lookup(dir, name), model.find(dir, name), "{what}");
        }
        assert_eq!(f.lookup(dir, ".."), Ok(model.parents[&dir]), "{what}");
        let attr = f.attr(dir).expect("attr");
        let subdirs = entries.values().filter(|&&inode| model.is_dir(inode)).count();
        assert_eq!((attr.kind, attr.nlink as usize), (FileKind::Directory, 2 + subdirs), "{what}");
    }
    for (&inode, &links) in model.links.iter().filter(|(inode, _)| !model.is_dir(**inode)) {
        assert_eq!(f.attr(inode).expect("attr").nlink, links, "{what}");
    }
    f.check();
}

fn pick<'a, T: Copy + 'a>(
    rng: &mut Rng,
    from: impl IntoIterator<Item = &'a T, IntoIter: ExactSizeIterator>,
) -> T {
    let mut from = from.into_iter();
    let nth = usize::try_from(rng.below(from.len() as u64)).expect("small");
    *from.nth(nth).expect("not empty")
}
