//! Listings, whole and under change.

use std::collections::{BTreeMap, BTreeSet};

use reactor::rng::Rng;
use vocab::{Cookie, Error, Sequence};

use super::{Fixture, wait};
use crate::SizeChange;

pub(super) fn pages_join_up(f: &Fixture) {
    let names: Vec<String> = (0..10).map(|n| format!("{}", 9 - n)).collect();
    for name in &names {
        f.file(f.root, name);
    }
    assert_eq!(f.names(f.root), names);
    let list = f.list(f.root).expect("list");
    assert_eq!(list[0].cookie, Cookie(3));
    assert!(list.is_sorted_by_key(|entry| entry.cookie));
    let page = |after, max| wait(f.store.readdir(f.root, after, max, false)).expect("readdir");
    assert!(page(Cookie(0), 10).end);
    assert!(!page(Cookie(0), 9).end);
    // `.` and `..` are the caller's, at 1 and 2.
    assert_eq!(page(Cookie(2), 1).entries[0].cookie, Cookie(3));
    let end = page(list[9].cookie, 5);
    assert!(end.end && end.entries.is_empty());
    assert!(page(Cookie(u64::MAX), 5).end);
    let file = f.lookup(f.root, "0").expect("lookup");
    let error = wait(f.store.readdir(file, Cookie(0), 9, false)).err();
    assert_eq!(error, Some(Error::NotDirectory));
}

/// Whatever the size of the pages asked for, and whichever are near already.
pub(super) fn large_directories(f: &Fixture) {
    let names: Vec<String> = (0..1300).map(|n| format!("{n}")).collect();
    for name in &names {
        f.file(f.root, name);
    }
    for max in [1300, 700, 512, 100] {
        let mut after = Cookie(0);
        let mut seen = Vec::new();
        loop {
            let page = wait(f.store.readdir(f.root, after, max, true)).expect("readdir");
            assert!(page.entries.len() == max || page.end);
            for entry in &page.entries {
                assert_eq!(entry.attr.map(|attr| attr.inode), Some(entry.inode));
                seen.push(String::from_utf8_lossy(&entry.name).into_owned());
            }
            if page.end {
                break;
            }
            after = page.entries.last().expect("not empty").cookie;
        }
        assert_eq!(seen, names, "by {max}");
    }
}

/// What was listed before a change is not listed after it.
pub(super) fn listings_are_of_now(f: &Fixture) {
    let list = || f.names(f.root);
    f.file(f.root, "a");
    f.file(f.root, "b");
    assert_eq!(list(), ["a", "b"]);
    f.remove(f.root, "a").expect("remove");
    assert_eq!(list(), ["b"]);
    f.file(f.root, "c");
    assert_eq!(list(), ["b", "c"]);
    f.rename((f.root, "b"), (f.root, "d")).expect("rename");
    assert_eq!(list(), ["d", "c"]);
    let dir = f.mkdir(f.root, "dir");
    f.rename((f.root, "c"), (dir, "c")).expect("rename");
    assert_eq!((list(), f.names(dir)), (vec!["d".into(), "dir".into()], vec!["c".into()]));
}

pub(super) fn attributes_are_live(f: &Fixture) {
    let (a, b) = (f.file(f.root, "a"), f.file(f.root, "b"));
    f.store.note_data(a, Sequence(1), SizeChange::AtLeast(77), f.now()).expect("noted");
    let page = wait(f.store.readdir(f.root, Cookie(0), 9, true)).expect("readdir");
    let attrs: Vec<_> = page.entries.iter().map(|entry| entry.attr).collect();
    assert_eq!(attrs, [f.attr(a).ok(), f.attr(b).ok()]);
    assert_eq!(attrs[0].map(|attr| attr.size), Some(77));
}

/// Entries come and go while pages are read: what was there all along is seen exactly once, and
/// nothing twice.
pub(super) fn listings_survive_change(f: &Fixture) {
    for seed in 0..8 {
        let mut rng = Rng::from_seed(seed);
        let dir = f.mkdir(f.root, &format!("dir{seed}"));
        let mut present = BTreeSet::new();
        let mut next = 0;
        for _ in 0..20 + rng.below(20) {
            f.file(dir, &format!("{next}"));
            present.insert(format!("{next}"));
            next += 1;
        }
        let mut all_along = present.clone();
        let mut seen = BTreeMap::<String, u32>::new();
        let mut after = Cookie(0);
        loop {
            let max = 1 + usize::try_from(rng.below(6)).expect("small");
            let page = wait(f.store.readdir(dir, after, max, false)).expect("readdir");
            for entry in page.entries {
                assert!(entry.cookie > after, "seed {seed}");
                after = entry.cookie;
                *seen.entry(String::from_utf8_lossy(&entry.name).into()).or_default() += 1;
            }
            if page.end {
                break;
            }
            for _ in 0..rng.below(3) {
                let nth = usize::try_from(rng.below(present.len() as u64)).expect("small");
                let victim = present.iter().nth(nth).expect("not empty").clone();
                match rng.below(3) {
                    0 => {
                        f.remove(dir, &victim).expect("remove");
                        present.remove(&victim);
                        all_along.remove(&victim);
                    }
                    1 => {
                        f.file(dir, &format!("{next}"));
                        present.insert(format!("{next}"));
                        next += 1;
                    }
                    _ => {
                        // Replaced by another inode: the name was there all along.
                        f.file(f.root, "new");
                        f.rename((f.root, "new"), (dir, &victim)).expect("rename");
                    }
                }
            }
        }
        for name in &all_along {
            assert_eq!(seen.get(name), Some(&1), "seed {seed}: {name}");
        }
        assert!(seen.values().all(|&times| times == 1), "seed {seed}: {seen:?}");
        f.check();
    }
}
