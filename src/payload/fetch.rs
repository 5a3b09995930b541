//! Frames on their way from the content store: one fetch however many readers wait, and fetches
//! ahead of a sequential reader.

use std::rc::Rc;

use blocks::StoreError;
use bytes::Bytes;
use cache::{clean::FrameKey, dirty::split};
use meta::BlockEntry;
use reactor::oneshot;
use upload::fetch::Fetch;
use vocab::{
    BlockIndex, FileId, InodeId,
    limits::{BLOCK_BYTES, FRAME_BYTES},
};

use crate::{Payload, Place, event::Event, slice::Slice};

/// Frames in one fetch: 1 MiB.
const RUN_FRAMES_MAX: u32 = 16;
/// The first step ahead of a sequential reader.
const AHEAD_BYTES_MIN: u64 = 512 * 1024;
/// The furthest.
const AHEAD_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Reads that land this near to where the last ones ended are sequential: clients send several at
/// once, and they arrive in any order.
const NEAR_BYTES: u64 = 2 * 1024 * 1024;

/// A frame of a stored block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) entry: BlockEntry,
    pub(crate) frame: u32,
}

impl Wanted {
    pub(crate) fn key(&self) -> FrameKey {
        FrameKey { hash: self.entry.hash, frame: self.frame }
    }
}

/// A run of frames being fetched.
#[derive(Debug)]
pub(crate) struct Flight {
    entry: BlockEntry,
    first: u32,
    count: u32,
    landed: Event<Result<Rc<[Bytes]>, StoreError>>,
}

impl Flight {
    /// One of its frames, once it has landed.
    pub(crate) async fn frame(&self, frame: u32) -> Result<Bytes, StoreError> {
        let frames = self.landed.wait().await?;
        let nth = frame.checked_sub(self.first).expect("the frame is of this flight");
        let missing = || StoreError::Corrupt("fewer frames than asked for".to_owned());
        frames.get(nth as usize).cloned().ok_or_else(missing)
    }

    fn keys(&self) -> impl Iterator<Item = FrameKey> {
        let hash = self.entry.hash;
        (self.first..self.first + self.count).map(move |frame| FrameKey { hash, frame })
    }
}

/// How a file is being read.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// Where the next read begins if it goes on like that.
    next: u64,
    /// How far to be ahead; 0 while it is not sequential.
    window: u64,
    /// Up to here it was asked for.
    ahead: u64,
}

impl Stream {
    /// A read of `offset..end` in a file of `size` bytes: what to fetch ahead now, if anything.
    fn read(&mut self, offset: u64, end: u64, size: u64, window_max: u64) -> Option<(u64, u64)> {
        let is_near = offset + NEAR_BYTES >= self.next && offset <= self.next + NEAR_BYTES;
        // The first read says nothing yet, wherever it begins.
        let is_first = self.next == 0;
        if is_first || !is_near {
            *self = Self { next: end, window: 0, ahead: end };
            return None;
        }
        if end <= self.next {
            return None;
        }
        self.next = end;
        self.window = (self.window * 2).clamp(AHEAD_BYTES_MIN, AHEAD_BYTES_MAX).min(window_max);
        self.ahead = self.ahead.max(self.next);
        let target = size.min(self.next + self.window);
        // Small steps would be small fetches: wait until half the window is used up.
        let is_worth = target > self.ahead
            && (target == size || target - self.ahead >= self.window.div_ceil(2));
        let from = self.ahead;
        is_worth.then(|| {
            self.ahead = target;
            (from, target)
        })
    }
}

impl Slice {
    /// The flights that bring frames, in the order asked for; starts those that are missing.
    pub(crate) fn fetch(
        self: &Rc<Self>,
        place: &Place,
        wanted: &[Wanted],
        background: bool,
    ) -> Vec<Rc<Flight>> {
        let mut new = Vec::new();
        let flights = {
            let mut state = self.state.borrow_mut();
            let mut flights = Vec::with_capacity(wanted.len());
            for (nth, want) in wanted.iter().enumerate() {
                if let Some(flight) = state.flights.get(&want.key()) {
                    flights.push(Rc::clone(flight));
                    continue;
                }
                let run = wanted[nth..].iter().zip(want.frame..want.frame + RUN_FRAMES_MAX);
                let count = run
                    .take_while(|(other, frame)| {
                        other.entry.hash == want.entry.hash
                            && other.frame == *frame
                            && !state.flights.contains_key(&other.key())
                    })
                    .count();
                let count = u32::try_from(count).expect("a run is short");
                let (entry, first) = (want.entry, want.frame);
                let flight = Rc::new(Flight { entry, first, count, landed: Event::default() });
                state.flights.extend(flight.keys().map(|key| (key, Rc::clone(&flight))));
                new.push(Rc::clone(&flight));
                flights.push(flight);
            }
            flights
        };
        for flight in new {
            reactor::spawn(Rc::clone(self).fly(place.clone(), flight, background));
        }
        flights
    }

    async fn fly(self: Rc<Self>, place: Place, flight: Rc<Flight>, background: bool) {
        let (reply, answer) = oneshot::channel();
        self.uploader.fetch(Fetch {
            place,
            hash: flight.entry.hash,
            plain_len: flight.entry.stored_len,
            first: flight.first,
            count: flight.count,
            background,
            reply,
        });
        let stopped = |_| Err(StoreError::Unavailable("the server is stopping".to_owned()));
        let frames: Result<Rc<[Bytes]>, _> = answer.await.unwrap_or_else(stopped).map(Rc::from);
        {
            let mut state = self.state.borrow_mut();
            for key in flight.keys() {
                state.flights.remove(&key);
            }
            for (key, frame) in flight.keys().zip(frames.iter().flat_map(|frames| frames.iter())) {
                state.clean.insert(key, frame.clone());
            }
        }
        flight.landed.set(frames);
    }

    /// Notes a read, and fetches ahead of it when the file is read in sequence.
    pub(crate) fn prefetch(
        self: &Rc<Self>,
        place: &Place,
        inode: InodeId,
        offset: u64,
        end: u64,
        size: u64,
    ) {
        let id = Payload::file(place, inode);
        let ahead = {
            let mut state = self.state.borrow_mut();
            // What is fetched ahead must survive in the part of the cache for newcomers.
            let window_max = state.clean.bytes_max() / 20;
            state.file(id, place).stream.read(offset, end, size, window_max)
        };
        if let Some((from, to)) = ahead {
            let (this, place) = (Rc::clone(self), place.clone());
            reactor::spawn(async move {
                for block in split(from).0.0..=split(to - 1).0.0 {
                    this.fetch_ahead(&place, id, BlockIndex(block), from, to).await;
                }
            });
        }
    }

    /// Starts flights for what misses of `from..to` in one block. Errors are for the reader to
    /// find.
    async fn fetch_ahead(
        self: &Rc<Self>,
        place: &Place,
        id: FileId,
        index: BlockIndex,
        from: u64,
        to: u64,
    ) {
        let stored =
            |slice: &Self| slice.state.borrow().files.get(&id).and_then(|file| file.stored(index));
        if stored(self).is_none() && self.load_map(id, index).await.is_err() {
            return;
        }
        let Some(Some(entry)) = stored(self) else { return };
        let start = u64::from(index.0) * u64::from(BLOCK_BYTES);
        let within = |offset: u64| {
            let offset = offset.saturating_sub(start).min(u64::from(entry.valid_len));
            u32::try_from(offset).expect("it is at most a block")
        };
        let frames = within(from) / FRAME_BYTES..within(to).div_ceil(FRAME_BYTES);
        let wanted: Vec<Wanted> = {
            let state = self.state.borrow();
            let wanted = frames.map(|frame| Wanted { entry, frame });
            let is_missing = |want: &Wanted| {
                !state.clean.contains(&want.key()) && !state.flights.contains_key(&want.key())
            };
            wanted.filter(is_missing).collect()
        };
        drop(self.fetch(place, &wanted, true));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    #[test]
    fn a_sequential_reader_is_overtaken_in_growing_steps() {
        let mut stream = Stream::default();
        let (size, max) = (1 << 30, u64::MAX);
        let (mut ahead, mut steps) = (0, Vec::new());
        for read in 0..200 {
            let (offset, end) = (read * 64 * KIB, (read + 1) * 64 * KIB);
            if let Some((from, to)) = stream.read(offset, end, size, max) {
                assert!(from >= ahead && to > from && to <= end + AHEAD_BYTES_MAX);
                steps.push(to - from);
                ahead = to;
            }
            assert!(read < 2 || ahead >= end, "the reader caught up at {read}");
        }
        assert!(steps[0] <= AHEAD_BYTES_MIN && steps.iter().any(|&step| step >= 4 * KIB * KIB));
    }

    #[test]
    fn a_seek_drops_the_window_and_random_reads_get_none() {
        let mut stream = Stream::default();
        for read in 0..10 {
            stream.read(read * 64 * KIB, (read + 1) * 64 * KIB, 1 << 40, u64::MAX);
        }
        for read in 1..50 {
            let offset = read * 37 * KIB * KIB;
            assert_eq!(stream.read(offset, offset + 4 * KIB, 1 << 40, u64::MAX), None);
        }
    }

    #[test]
    fn reads_that_arrive_in_another_order_are_still_sequential() {
        let mut stream = Stream::default();
        stream.read(0, 256 * KIB, 1 << 30, u64::MAX);
        assert!(stream.read(512 * KIB, 768 * KIB, 1 << 30, u64::MAX).is_some());
        assert_eq!(stream.read(256 * KIB, 512 * KIB, 1 << 30, u64::MAX), None);
        assert!(stream.window > 0, "it goes on");
    }

    #[test]
    fn nothing_is_fetched_beyond_the_end() {
        let mut stream = Stream::default();
        stream.read(0, 64 * KIB, 200 * KIB, u64::MAX);
        assert_eq!(
            stream.read(64 * KIB, 128 * KIB, 200 * KIB, u64::MAX),
            Some((128 * KIB, 200 * KIB))
        );
        assert_eq!(stream.read(128 * KIB, 192 * KIB, 200 * KIB, u64::MAX), None);
    }
}
