//! Deltas: what a metadata store has committed since a checkpoint, one small object after another.
//!
//! What they look like is drawn in `FORMAT.md`. Invariants: the deltas of a line have numbers
//! without a gap, and a number has the same bytes for ever: one is put again and again until the
//! store has it, and only then the next. So a line is good up to its first gap or damage.

use blocks::{Store as Objects, StoreError};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use vocab::{StoreId, Time};

use crate::checkpoint::{Checkpoint, Next, folder, folder_of, opened, root, sealed};

const MAGIC: &[u8; 8] = b"DFSDELT1";
const PREFIX: &str = "delta-";
const ZSTD_LEVEL: i32 = 1;
/// No delta is larger unpacked.
pub(crate) const BYTES_MAX: usize = 256 << 20;
/// Deltas fetched at a time.
const FETCHES: usize = 16;

/// Changes of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// Its place.
    pub at: Next,
    /// When it was taken.
    pub time: Time,
    /// How many changes.
    pub changes: u64,
    /// The changes; [`meta::import`] takes them.
    pub bytes: Vec<u8>,
}

/// What follows a checkpoint.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// Without a gap, from the first.
    pub good: Vec<Delta>,
    /// What is wrong with the next one, and how many come after that: all of them are lost.
    pub broken: Option<(String, u64)>,
}

/// The object of a delta.
pub(crate) fn encode(at: Next, time: Time, changes: &meta::Delta) -> std::io::Result<Bytes> {
    let packed = zstd::bulk::compress(&changes.bytes, ZSTD_LEVEL)?;
    let body = [
        &at.line.to_le_bytes()[..],
        &at.delta.to_le_bytes(),
        &time.seconds.to_le_bytes(),
        &time.nanos.to_le_bytes(),
        &changes.changes.to_le_bytes(),
        &packed,
    ];
    Ok(sealed(MAGIC, &body.concat()))
}

fn decode(object: &[u8]) -> Option<Delta> {
    let (line, rest) = opened(MAGIC, object)?.split_first_chunk()?;
    let (delta, rest) = rest.split_first_chunk()?;
    let (seconds, rest) = rest.split_first_chunk()?;
    let (nanos, rest) = rest.split_first_chunk()?;
    let (changes, packed) = rest.split_first_chunk()?;
    Some(Delta {
        at: Next { line: u64::from_le_bytes(*line), delta: u64::from_le_bytes(*delta) },
        time: Time { seconds: i64::from_le_bytes(*seconds), nanos: u32::from_le_bytes(*nanos) },
        changes: u64::from_le_bytes(*changes),
        bytes: zstd::bulk::decompress(packed, BYTES_MAX).ok()?,
    })
}

/// An object's name.
pub(crate) fn name(domain: StoreId, at: Next) -> String {
    format!("{}/{PREFIX}{:012}", folder(domain, at.line), at.delta)
}

/// The number of a delta, by its name in its folder; `None`: no delta.
pub(crate) fn number(file: &str) -> Option<u64> {
    file.strip_prefix(PREFIX)?.parse().ok()
}

/// Fetches what follows a checkpoint, as far as it is good.
///
/// # Errors
/// The store's; what is damaged or missing is in the answer.
pub async fn after(objects: &dyn Objects, checkpoint: &Checkpoint) -> Result<Line, StoreError> {
    let Some(first) = checkpoint.next else { return Ok(Line::default()) };
    let root = root(checkpoint.domain);
    let names = objects.list_named(&root).await?;
    let delta = |name: &String| {
        let (folder, file) = folder_of(&root, name)?;
        number(file).filter(|&delta| folder == first.line && delta >= first.delta)
    };
    let mut numbers: Vec<u64> = names.iter().filter_map(delta).collect();
    numbers.sort_unstable();
    let last = numbers.last().copied();
    let have = (first.delta..).zip(&numbers).take_while(|(want, have)| want == *have).count();
    let end = first.delta + have as u64;
    let fetch = |delta| async move {
        let at = Next { delta, ..first };
        (at, objects.get_named(&name(checkpoint.domain, at)).await)
    };
    let mut fetched = stream::iter(first.delta..end).map(fetch).buffered(FETCHES);
    let mut line = Line::default();
    let broken = |at: Next, what: &str| {
        let after = last.map_or(0, |last| last.saturating_sub(at.delta));
        let name = name(checkpoint.domain, at);
        Some((format!("{name} {what}"), after))
    };
    while let Some((at, object)) = fetched.next().await {
        match decode(&object?).filter(|delta| delta.at == at) {
            Some(delta) => line.good.push(delta),
            None => {
                line.broken = broken(at, "is damaged");
                return Ok(line);
            }
        }
    }
    if last.is_some_and(|last| last >= end) {
        line.broken = broken(Next { delta: end, ..first }, "is missing");
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use blocks::Memory;

    use super::*;

    const LINE: u64 = 1_700_000_000;
    const DOMAIN: StoreId = StoreId(7);

    fn at(delta: u64) -> Next {
        Next { line: LINE, delta }
    }

    fn time(delta: u64) -> Time {
        Time { seconds: i64::try_from(delta).expect("small"), nanos: 5 }
    }

    fn object(delta: u64) -> Bytes {
        let bytes = vec![u8::try_from(delta).expect("small"); 1000];
        encode(at(delta), time(delta), &meta::Delta { bytes, changes: delta + 1 }).expect("packed")
    }

    fn checkpoint(next: Next) -> Checkpoint {
        let store = "default".to_owned();
        let (domain, number) = (DOMAIN, LINE);
        Checkpoint { domain, store, number, time: time(0), parts: 0, pairs: 0, next: Some(next) }
    }

    #[tokio::test]
    async fn a_line_is_read_up_to_its_first_fault() {
        let store = Memory::new();
        for delta in 0..5 {
            store.put_named(&name(DOMAIN, at(delta)), object(delta)).await.expect("put");
        }
        let read = async |first| after(&store, &checkpoint(at(first))).await.expect("read");
        let line = read(0).await;
        let numbers: Vec<u64> = line.good.iter().map(|delta| delta.at.delta).collect();
        assert_eq!((numbers, line.broken), (vec![0, 1, 2, 3, 4], None));
        assert_eq!(line.good[3].bytes, [3; 1000]);
        assert_eq!((line.good[3].time, line.good[3].changes), (time(3), 4));
        assert_eq!(read(2).await.good.len(), 3, "what the checkpoint has is left out");
        assert_eq!(read(5).await.good.len(), 0);
        // Every byte counts.
        for place in [0, 8, 20, 40, object(3).len() - 1] {
            let mut bytes = object(3).to_vec();
            bytes[place] ^= 1;
            store.put_named(&name(DOMAIN, at(3)), bytes.into()).await.expect("put");
            let line = read(0).await;
            let (what, after) = line.broken.expect("damaged");
            assert!(what.ends_with("delta-000000000003 is damaged"), "{what}");
            assert_eq!((line.good.len(), after), (3, 1), "byte {place}");
        }
        // Whole, and not its own.
        store.put_named(&name(DOMAIN, at(3)), object(2)).await.expect("put");
        assert_eq!(read(0).await.good.len(), 3);
        store.delete_named(&name(DOMAIN, at(1))).await.expect("deleted");
        let (what, after) = read(0).await.broken.expect("a gap");
        assert!(what.ends_with("delta-000000000001 is missing"), "{what}");
        assert_eq!(after, 3);
        store.delete_named(&name(DOMAIN, at(0))).await.expect("deleted");
        let (what, _) = read(0).await.broken.expect("a gap at the start");
        assert!(what.ends_with("delta-000000000000 is missing"), "{what}");
    }
}
