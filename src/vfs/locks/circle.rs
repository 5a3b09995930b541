//! Who waits for whom, and whether the waiting goes in a circle.
//!
//! An owner waits for those who hold what is in its way (a lock), and for those who asked earlier
//! (its turn). A circle of locks alone is a deadlock. A circle with a turn in it is not: the turn
//! is given up, and whoever came later may pass.

use std::collections::{BTreeMap, btree_map::Entry};

use super::{Owner, Table, Token};

/// A wait, and one that is ahead of it.
type Turn = (Token, Token);

/// Whether an owner waits for itself by locks alone.
pub(super) fn by_locks(table: &Table, owner: &Owner) -> bool {
    circle(table, owner, false).is_some()
}

/// Gives up turns until an owner no longer waits for itself. It does not by locks alone.
pub(super) fn give_way(table: &mut Table, owner: &Owner) {
    while let Some(edges) = circle(table, owner, true) {
        let (wait, ahead) = needless(&edges);
        let file = table.waits[&wait];
        let locks = table.files.get_mut(&file).expect("where it queues");
        let wait = locks.queue.iter_mut().find(|one| one.token == wait).expect("in the queue");
        wait.ahead.remove(&ahead);
        table.stirred.insert(file);
    }
}

/// The turn of a circle to give up: of one that others wait for because of something else than that
/// wait. Who has nothing but its place in the queue keeps it.
fn needless(edges: &[Option<Turn>]) -> Turn {
    let before = edges.iter().cycle().skip(edges.len() - 1);
    let turns = edges.iter().zip(before).filter_map(|(edge, before)| {
        edge.filter(|(wait, _)| before.is_none_or(|(_, ahead)| ahead != *wait))
    });
    // A way of turns alone, each by the wait that the one before is behind, leads to ever earlier
    // waits and never back.
    turns.min().expect("neither locks alone nor one way back in time")
}

/// A way from an owner to itself: its turns, and `None` for each lock.
fn circle(table: &Table, owner: &Owner, with_turns: bool) -> Option<Vec<Option<Turn>>> {
    // Who was reached, from whom, and by which turn if it was one.
    let mut reached: BTreeMap<&Owner, (&Owner, Option<Turn>)> = BTreeMap::new();
    let mut fresh: Vec<&Owner> = vec![owner];
    while let Some(from) = fresh.pop() {
        for (to, turn) in waits_for(table, from, with_turns) {
            if let Entry::Vacant(entry) = reached.entry(to) {
                entry.insert((from, turn));
                fresh.push(to);
            }
            if to == owner {
                return Some(way(&reached, owner));
            }
        }
    }
    None
}

/// The way that was found, from the owner on.
fn way(reached: &BTreeMap<&Owner, (&Owner, Option<Turn>)>, owner: &Owner) -> Vec<Option<Turn>> {
    let mut edges = Vec::new();
    let mut at = owner;
    loop {
        let (from, turn) = reached[at];
        edges.push(turn);
        at = from;
        if at == owner {
            edges.reverse();
            return edges;
        }
    }
}

fn waits_for<'a>(
    table: &'a Table,
    owner: &Owner,
    with_turns: bool,
) -> Vec<(&'a Owner, Option<Turn>)> {
    let mut edges = Vec::new();
    for token in table.waiting.get(owner).into_iter().flatten() {
        let locks = &table.files[&table.waits[token]];
        let wait = locks.queue.iter().find(|wait| wait.token == *token).expect("in the queue");
        edges.extend(locks.conflicts(&wait.request).map(|held| (&held.owner, None)));
        if with_turns {
            let ahead = locks.queue.iter().filter(|other| wait.ahead.contains(&other.token));
            edges.extend(ahead.map(|other| (&other.request.owner, Some((*token, other.token)))));
        }
    }
    edges
}
