//! Records that had been synced, are gone, and that nothing names.
//!
//! Which files they changed is not known, so their bytes could not read as errors: they would be
//! silently old. Therefore such a log is not opened before the operator has accepted that. Then a
//! copy of the segment is kept, and a record in the place of the lost ones says that they are.

use std::{io, path::Path};

use bytes::Bytes;
use reactor::file::File;
use vocab::{SliceId, Time};
use zerocopy::{FromZeros, IntoBytes};

use crate::{
    format::{KIND_LOST, RECORD_HEADER_BYTES, RecordHeader},
    log::segment_name,
    walk::{Lost, Walk},
};

/// Bytes copied at once.
const COPY_BYTES: usize = 4 * 1024 * 1024;

/// How many records.
pub(crate) fn records(lost: &Lost) -> u64 {
    lost.gap.last - lost.gap.first + 1
}

/// Says what is lost. Whether it may be: all of it, or nothing is changed.
pub(crate) fn judge(dir: &Path, walk: &Walk<'_>, is_accepted: bool) -> Result<(), String> {
    let mut words: Vec<String> = walk.lost.iter().map(|lost| words(dir, lost)).collect();
    words.extend(walk.unreadable.as_ref().map(|why| {
        format!("{why}: the disk does not give the end of the log, and what it held is not known")
    }));
    if words.is_empty() {
        return Ok(());
    }
    if is_accepted {
        for words in words {
            trace::error!(
                "{words}. The operator accepts that, and the server goes on without them"
            );
        }
        return Ok(());
    }
    Err(format!(
        "{}. Restore the file; or start once with --accept-log-damage: a copy of the segment is \
         kept, and the files that were written then may hold older bytes",
        words.join("; ")
    ))
}

/// Keeps a copy of the segment, and puts a record into the place of those that are lost.
pub(crate) async fn keep(dir: &Path, slice: SliceId, key: u64, lost: &Lost) -> io::Result<()> {
    let (segment, gap) = (&lost.segment, &lost.gap);
    let generation = segment.generation.get();
    let len = segment.map.len() as u64;
    let name = format!("damaged-{:05}-{generation}-{}", segment.number, gap.first);
    let copy = File::create_zeroed(&dir.join(name), len).await?;
    for from in (0..len).step_by(COPY_BYTES) {
        let (bytes, _) = segment.read_some(from..len.min(from + COPY_BYTES as u64));
        copy.write_all_at(&[bytes.into()], from).await?;
    }
    copy.sync_data().await?;
    let payload_bytes = (gap.range.end - gap.range.start).checked_sub(RECORD_HEADER_BYTES);
    let payload_bytes = payload_bytes.and_then(|bytes| u32::try_from(bytes).ok());
    let record = RecordHeader {
        kind: KIND_LOST.into(),
        slice: slice.0.into(),
        payload_bytes: payload_bytes.ok_or(io::ErrorKind::InvalidData)?.into(),
        sequence: gap.first.into(),
        offset: gap.last.into(),
        seconds: lost.times.0.unwrap_or_default().seconds.into(),
        generation: generation.into(),
        ..RecordHeader::new_zeroed()
    }
    .seal(key, gap.range.start);
    let bytes = Bytes::copy_from_slice(record.as_bytes());
    segment.file.write_all_at(&[bytes], gap.range.start).await?;
    segment.file.sync_data().await
}

fn words(dir: &Path, lost: &Lost) -> String {
    let (range, count) = (&lost.gap.range, records(lost));
    let since = |time: Option<Time>| time.map_or("the start".to_owned(), trace::stamp::format);
    let until = |time: Option<Time>| time.map_or("the end".to_owned(), trace::stamp::format);
    format!(
        "{}: damaged at offset {}: record {} had been synced and is lost, with all up to {}, and \
         which files they changed is not known: {count} records, at most {} bytes, written between \
         {} and {}",
        dir.join(segment_name(lost.segment.number)).display(),
        range.start,
        lost.gap.first,
        lost.gap.last,
        (range.end - range.start).saturating_sub(count * RECORD_HEADER_BYTES),
        since(lost.times.0),
        until(lost.times.1),
    )
}
