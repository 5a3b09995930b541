//! Which files refer to blocks, and what they are called.

use std::collections::{BTreeMap, BTreeSet};

use vocab::{BlockHash, Error, InodeId};

use super::{User, names::split, values::END};
use crate::{
    engine::{Space, View},
    key, read,
    record::{MapEntry, NameEntry},
    tx::scan,
};

/// Directories above a file that are named at most: longer ways are loops.
const DEPTH_MAX: usize = 1024;

/// The files that refer to some blocks. Reads all block maps, and all names.
pub(crate) fn users(view: &dyn View, hashes: &BTreeSet<BlockHash>) -> Result<Vec<User>, Error> {
    let mut users = Vec::new();
    scan(view, Space::Map, (&[], &END), |key, entry: MapEntry| {
        if entry.names_object() && hashes.contains(&entry.hash) {
            let inode = key.get(..8).and_then(key::inode_of);
            if let (Some(inode), Some(index)) = (inode, key::block_of(key)) {
                users.push(User { hash: entry.hash, inode, index, path: String::new() });
            }
        }
        Ok(true)
    })?;
    let wanted: BTreeSet<InodeId> = users.iter().map(|user| user.inode).collect();
    let mut names = BTreeMap::<InodeId, (InodeId, Vec<u8>)>::new();
    scan(view, Space::Names, (&[], &END), |key, entry: NameEntry| {
        if let (true, Some((dir, name))) = (wanted.contains(&entry.inode), split(key)) {
            names.entry(entry.inode).or_insert_with(|| (dir, name.to_vec()));
        }
        Ok(true)
    })?;
    for user in &mut users {
        user.path = match names.get(&user.inode) {
            Some((dir, name)) => path(view, *dir, name)?,
            None => "(removed, or without a name)".to_owned(),
        };
    }
    Ok(users)
}

fn path(view: &dyn View, mut dir: InodeId, name: &[u8]) -> Result<String, Error> {
    let mut path = String::from_utf8_lossy(name).into_owned();
    let roots = read::shares(view)?;
    for _ in 0..DEPTH_MAX {
        if let Some(share) = roots.iter().find(|share| share.root == dir) {
            return Ok(format!("{}/{path}", share.name.trim_end_matches('/')));
        }
        let parent = read::parent(view, dir)?;
        let (from, to) = (key::name(parent, &[]), key::name(InodeId(parent.0 + 1), &[]));
        let mut found = None;
        scan(view, Space::Names, (&from, &to), |key, entry: NameEntry| {
            if entry.inode == dir {
                found = split(key).map(|(_, name)| String::from_utf8_lossy(name).into_owned());
            }
            Ok(found.is_none())
        })?;
        path = format!("{}/{path}", found.unwrap_or_else(|| format!("(inode {})", dir.0)));
        dir = parent;
    }
    Ok(format!(".../{path}"))
}
