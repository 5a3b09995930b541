//! All pairs of a store as a stream of parts, and a store made from such a stream.
//!
//! A part is whole pairs one after another: space `u8`, length of the key `u32`, length of the
//! value `u32`, both little-endian, key, value. In a delta the length of the value may be
//! `u32::MAX`: the key goes. Whoever keeps parts sees to their checksums.

use vocab::Error;

use crate::{
    Engine as Kind, core,
    engine::{Batch, Engine, SPACES, Space, View},
    tx::io,
};

/// Bytes of a part, about.
const PART_BYTES: usize = 4 << 20;
const HEAD_BYTES: usize = 9;
/// Stands for the length of a value that goes.
const GONE: u32 = u32::MAX;

/// Shows all pairs of a view in parts until `take` says `false`; how many pairs there were.
pub(crate) fn export(view: &dyn View, take: &mut dyn FnMut(Vec<u8>) -> bool) -> Result<u64, Error> {
    let mut part = Vec::with_capacity(PART_BYTES);
    let (mut pairs, mut is_wanted) = (0, true);
    for space in SPACES {
        let scanned = view.scan(space, &[], &[0xff; 64], &mut |key, value| {
            pair(&mut part, space, key, Some(value));
            pairs += 1;
            if part.len() >= PART_BYTES {
                is_wanted = take(std::mem::take(&mut part));
            }
            is_wanted
        });
        scanned.map_err(io)?;
        if !is_wanted {
            return Err(Error::Stopping);
        }
    }
    if !part.is_empty() && !take(part) {
        return Err(Error::Stopping);
    }
    Ok(pairs)
}

/// Adds a pair, or a key that goes.
pub(crate) fn pair(part: &mut Vec<u8>, space: Space, key: &[u8], value: Option<&[u8]>) {
    part.push(space as u8);
    part.extend_from_slice(&len(key).to_le_bytes());
    part.extend_from_slice(&value.map_or(GONE, len).to_le_bytes());
    part.extend_from_slice(key);
    part.extend_from_slice(value.unwrap_or_default());
}

/// Makes a store from parts, and from the deltas that follow them, in order. What is there must be
/// empty. How many pairs and changes there were. Blocking.
///
/// # Errors
/// In words for the operator.
pub fn import(
    engine: &Kind,
    parts: &mut dyn FnMut() -> Result<Option<Vec<u8>>, String>,
) -> Result<u64, String> {
    reactor::thread::wait(import_here(engine, parts))
}

/// As [`import`], also in a simulated world.
///
/// # Errors
/// In words for the operator.
pub async fn import_here(
    engine: &Kind,
    parts: &mut dyn FnMut() -> Result<Option<Vec<u8>>, String>,
) -> Result<u64, String> {
    let (shown, engine) = match engine {
        Kind::Memory => return Err("a metadata store in memory cannot be made anew".to_owned()),
        Kind::Lsm { path } => (path.display(), core::lsm(path)?),
        Kind::Journal { path } => (path.display(), core::journal(path)?),
    };
    let mut is_empty = true;
    for space in SPACES {
        let scanned = engine.view().scan(space, &[], &[0xff; 64], &mut |_, _| {
            is_empty = false;
            false
        });
        scanned.map_err(|fault| format!("{shown}: {}", fault.0))?;
    }
    if !is_empty {
        return Err(format!("there is a metadata store in {shown} already; move it away first"));
    }
    let mut pairs = 0;
    while let Some(part) = parts()? {
        pairs += enter(&*engine, &part).map_err(|why| format!("{shown}: {why}"))?;
    }
    engine.synced().await.map_err(|fault| format!("{shown}: {}", fault.0))?;
    Ok(pairs)
}

fn enter(engine: &dyn Engine, part: &[u8]) -> Result<u64, String> {
    let mut batch = Batch::default();
    let (mut rest, mut pairs) = (part, 0);
    while !rest.is_empty() {
        let broken = || "a part of the checkpoint ends in the middle of a pair".to_owned();
        let (head, more) = rest.split_at_checked(HEAD_BYTES).ok_or_else(broken)?;
        let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes"));
        let space = SPACES.get(usize::from(head[0])).ok_or("a pair of an unknown space")?;
        let (key, more) = more.split_at_checked(number(1) as usize).ok_or_else(broken)?;
        let (value, more) = match number(5) {
            GONE => (None, more),
            len => {
                let (value, more) = more.split_at_checked(len as usize).ok_or_else(broken)?;
                (Some(value.into()), more)
            }
        };
        batch.changes_mut(*space).insert(key.into(), value);
        (rest, pairs) = (more, pairs + 1);
    }
    engine.commit(&batch).map_err(|fault| fault.0)?;
    Ok(pairs)
}

fn len(bytes: &[u8]) -> u32 {
    let len = u32::try_from(bytes.len()).ok().filter(|&len| len < GONE);
    len.expect("keys and values are short")
}
