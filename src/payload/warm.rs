//! Warming: what rests in the content store is brought into memory before anybody reads it.

use std::{collections::BTreeMap, rc::Rc};

use blocks::StoreError;
use cache::clean::FrameKey;
use meta::BlockEntry;
use vocab::{
    BlockIndex, Error, InodeId, SliceId,
    limits::{BLOCK_BYTES, FRAME_BYTES},
};

use crate::{Payload, Place, away, fetch::Wanted, slice::Slice};

/// This part of the memory is warmed, of ten: the rest is for those who read meanwhile.
const PARTS_OF_TEN: u64 = 9;

/// How far a warming is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Warmed {
    /// Files looked at.
    pub files: u64,
    /// Stored bytes of them that are in memory.
    pub bytes: u64,
    /// Stored bytes that did not fit.
    pub bytes_left: u64,
}

/// Warms files, one after another.
#[derive(Debug)]
pub struct Warmer {
    payload: Payload,
    done: Warmed,
    /// By slice, since each has its own part of the memory.
    bytes: BTreeMap<SliceId, u64>,
}

impl Warmer {
    /// Begins.
    #[must_use]
    pub fn new(payload: Payload) -> Self {
        Self { payload, done: Warmed::default(), bytes: BTreeMap::new() }
    }

    /// What was done.
    #[must_use]
    pub fn done(&self) -> Warmed {
        self.done
    }

    /// Brings a file's stored bytes into memory as far as they fit.
    ///
    /// # Errors
    /// `Stale`, `Busy` when the content store is away, `Corrupt`, `Stopping`.
    pub async fn file(&mut self, place: &Place, inode: InodeId) -> Result<(), Error> {
        let (slice, home) = self.payload.home(place, inode);
        let bytes = self.bytes.entry(slice).or_default();
        let (this, place, before) = (self.payload.clone(), place.clone(), *bytes);
        let (warm, left) =
            away(home, async move || this.slice(slice)?.warm(&place, inode, before).await).await?;
        *bytes += warm;
        self.done.files += 1;
        self.done.bytes += warm;
        self.done.bytes_left += left;
        Ok(())
    }
}

impl Slice {
    /// Stored bytes of a file that are in memory now, and that did not fit. `before`: bytes that
    /// this warming has brought to this slice.
    async fn warm(
        self: Rc<Self>,
        place: &Place,
        inode: InodeId,
        before: u64,
    ) -> Result<(u64, u64), Error> {
        let attr = place.meta.attr(inode).await?;
        let pins = self.pins(place, attr.share);
        let blocks = attr.size.div_ceil(BLOCK_BYTES.into());
        let (mut warm, mut left) = (0, 0);
        for index in 0..u32::try_from(blocks).expect("a file has no more") {
            let Some(entry) = self.entry(place, inode, BlockIndex(index)).await? else { continue };
            let mut wanted = Vec::new();
            {
                let state = self.state.borrow();
                let bytes_max = state.clean.bytes_max();
                let room = if pins { bytes_max / 2 } else { bytes_max / 10 * PARTS_OF_TEN };
                for frame in 0..entry.valid_len.div_ceil(FRAME_BYTES) {
                    let bytes = (entry.stored_len - frame * FRAME_BYTES).min(FRAME_BYTES);
                    if before + warm + u64::from(bytes) > room {
                        left += u64::from(bytes);
                        continue;
                    }
                    warm += u64::from(bytes);
                    if !state.clean.contains(&FrameKey { hash: entry.hash, frame }) {
                        wanted.push(Wanted { entry, frame });
                    }
                }
            }
            let flights = self.fetch(place, &wanted, true);
            for (want, flight) in wanted.iter().zip(flights) {
                flight.frame(want.frame).await.map_err(|error| match error {
                    StoreError::Unavailable(_) => Error::Busy,
                    StoreError::NotFound | StoreError::Corrupt(_) => Error::Corrupt,
                    StoreError::Refused(_) | StoreError::Full(_) => Error::Io,
                })?;
            }
            // A hit, so that a scan that comes later does not wash it out.
            let mut state = self.state.borrow_mut();
            for want in &wanted {
                state.clean.get(&want.key());
            }
            if pins {
                let frames = 0..entry.valid_len.div_ceil(FRAME_BYTES);
                frames.for_each(|frame| state.clean.pin(&Wanted { entry, frame }.key()));
            }
        }
        Ok((warm, left))
    }

    /// A stored block, if there is one.
    async fn entry(
        &self,
        place: &Place,
        inode: InodeId,
        index: BlockIndex,
    ) -> Result<Option<BlockEntry>, Error> {
        let id = Payload::file(place, inode);
        loop {
            if let Some(entry) = self.state.borrow_mut().file(id, place).stored(index) {
                return Ok(entry);
            }
            self.load_map(id, index).await?;
        }
    }
}
