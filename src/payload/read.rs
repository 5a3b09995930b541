//! READ: dirty ranges, then cached frames, then the content store; holes are zeroes.
//!
//! Invariant: what a read returns is the file at one moment, the moment of its last plan; a miss is
//! awaited afterwards, and what it fetches is named by content and cannot change meanwhile.

use std::rc::Rc;

use blocks::StoreError;
use bytes::Bytes;
use cache::{
    clean::{Clean, FrameKey},
    dirty::Piece,
};
use meta::BlockEntry;
use vocab::{
    Attr, BlockIndex, Error, InodeId,
    limits::{FRAME_BYTES, TRANSFER_BYTES_MAX},
};

use crate::{
    Payload, Place, ReadDone,
    fetch::{Flight, Wanted},
    slice::Slice,
    write::parts,
};

/// What a hole reads as: one part for the largest transfer.
static ZEROES: [u8; TRANSFER_BYTES_MAX as usize] = [0; TRANSFER_BYTES_MAX as usize];

/// How a read is put together.
#[derive(Default)]
struct Plan {
    parts: Vec<Bytes>,
    /// Empty parts, to be filled.
    misses: Vec<Miss>,
    /// The block map is needed here first.
    unmapped: Option<BlockIndex>,
}

/// A part that is a slice of a frame that is not cached.
struct Miss {
    part: usize,
    wanted: Wanted,
    from: usize,
    to: usize,
}

impl Slice {
    pub(crate) async fn read(
        self: &Rc<Self>,
        place: &Place,
        inode: InodeId,
        offset: u64,
        len: u32,
    ) -> Result<ReadDone, Error> {
        let len = len.min(TRANSFER_BYTES_MAX);
        let mut has_missed = false;
        let mut is_retry = false;
        loop {
            let attr = match place.meta.peek_attr(inode) {
                Some(attr) => attr,
                None => place.meta.attr(inode).await?,
            };
            let end = attr.size.min(offset.saturating_add(u64::from(len)));
            let Some(count) = end.checked_sub(offset).filter(|&count| count > 0) else {
                return Ok(ReadDone { parts: Vec::new(), len: 0, eof: offset >= attr.size, attr });
            };
            let count = u32::try_from(count).expect("it is at most len");
            self.vouch(Payload::file(place, inode), offset, count.into()).await?;
            let pins = self.pins(place, attr.share);
            let mut plan = self.plan(place, inode, offset, count, pins);
            if let Some(index) = plan.unmapped {
                self.load_map(Payload::file(place, inode), index).await?;
                continue;
            }
            self.prefetch(place, inode, offset, end, attr.size);
            if plan.misses.is_empty() {
                let counter = &self.counters;
                if has_missed { &counter.cache_misses } else { &counter.cache_hits }.add(1);
                return Ok(done(plan.parts, count, end, &attr));
            }
            has_missed = true;
            match self.fill(place, &mut plan).await {
                Ok(()) => {
                    if pins {
                        let mut state = self.state.borrow_mut();
                        plan.misses.iter().for_each(|miss| state.clean.pin(&miss.wanted.key()));
                    }
                    self.counters.cache_misses.add(1);
                    return Ok(done(plan.parts, count, end, &attr));
                }
                Err((miss, error)) => {
                    self.again_or_error(place, inode, &miss, &error, is_retry)?;
                    is_retry = true;
                }
            }
        }
    }

    fn plan(&self, place: &Place, inode: InodeId, offset: u64, count: u32, pins: bool) -> Plan {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        state.file(Payload::file(place, inode), place);
        let file = &state.files[&Payload::file(place, inode)];
        let clean = &mut state.clean;
        let mut plan = Plan::default();
        for part in parts(offset, count as usize) {
            let len = u32::try_from(part.bytes.len()).expect("it is at most a block");
            file.dirty.read(part.index, part.from, part.from + len, |piece| match piece {
                Piece::Bytes(bytes) => plan.parts.push(bytes),
                Piece::Gap { from, to } => match file.stored(part.index) {
                    Some(entry) => plan.gap(clean, entry, (from, to), pins),
                    None => plan.unmapped = plan.unmapped.or(Some(part.index)),
                },
            });
        }
        plan
    }

    /// Fetches what misses.
    async fn fill(
        self: &Rc<Self>,
        place: &Place,
        plan: &mut Plan,
    ) -> Result<(), (Wanted, StoreError)> {
        let wanted: Vec<Wanted> = plan.misses.iter().map(|miss| miss.wanted).collect();
        let flights: Vec<Rc<Flight>> = self.fetch(place, &wanted, false);
        for (miss, flight) in plan.misses.iter().zip(flights) {
            let frame = flight.frame(miss.wanted.frame).await;
            let frame = frame.map_err(|error| (miss.wanted, error))?;
            if frame.len() < miss.to {
                return Err((miss.wanted, StoreError::Corrupt("a frame is too short".to_owned())));
            }
            plan.parts[miss.part] = frame.slice(miss.from..miss.to);
        }
        Ok(())
    }

    /// A block that cannot be read gets a second chance with a fresh block map: an upload may have
    /// replaced it, and the collector deleted it. After that it is an error, said once.
    fn again_or_error(
        &self,
        place: &Place,
        inode: InodeId,
        wanted: &Wanted,
        error: &StoreError,
        is_retry: bool,
    ) -> Result<(), Error> {
        let is_damage = matches!(error, StoreError::NotFound | StoreError::Corrupt(_));
        if is_damage && !is_retry {
            let mut state = self.state.borrow_mut();
            state.file(Payload::file(place, inode), place).map_forget();
            return Ok(());
        }
        let (block, hash) = (wanted.entry.index.0, wanted.entry.hash);
        let store = place.meta.name();
        match error {
            StoreError::Unavailable(_) => Err(Error::Busy),
            StoreError::NotFound | StoreError::Corrupt(_) => {
                self.counters.remote_corruption.add(1);
                let content = &*place.content_name;
                trace::error!(store, inode = inode.0, block, %hash, content, ?error, "unreadable");
                Err(Error::Corrupt)
            }
            StoreError::Refused(_) => {
                trace::error!(store, inode = inode.0, block, %hash, ?error, "read refused");
                Err(Error::Io)
            }
            StoreError::Full(_) => Err(Error::NoSpace),
        }
    }
}

impl Plan {
    /// Bytes `from..to` of a block without dirty ranges.
    fn gap(
        &mut self,
        clean: &mut Clean,
        entry: Option<BlockEntry>,
        (from, to): (u32, u32),
        pins: bool,
    ) {
        let valid = entry.map_or(0, |entry| entry.valid_len).clamp(from, to);
        let mut at = from;
        while let Some(entry) = entry.filter(|_| at < valid) {
            let frame = at / FRAME_BYTES;
            let start = frame * FRAME_BYTES;
            let end = valid.min(start + FRAME_BYTES);
            let (skip, take) = ((at - start) as usize, (end - start) as usize);
            let key = FrameKey { hash: entry.hash, frame };
            match clean.get(&key) {
                Some(bytes) => {
                    self.parts.push(bytes.slice(skip..take));
                    if pins {
                        clean.pin(&key);
                    }
                }
                None => {
                    let wanted = Wanted { entry, frame };
                    self.misses.push(Miss { part: self.parts.len(), wanted, from: skip, to: take });
                    self.parts.push(Bytes::new());
                }
            }
            at = end;
        }
        if at < to {
            self.parts.push(Bytes::from_static(&ZEROES[..(to - at) as usize]));
        }
    }
}

fn done(parts: Vec<Bytes>, len: u32, end: u64, attr: &Attr) -> ReadDone {
    debug_assert_eq!(parts.iter().map(Bytes::len).sum::<usize>(), len as usize);
    ReadDone { parts, len, eof: end == attr.size, attr: *attr }
}
