//! A plain block in memory, laid out as its object is when it is stored as it is: so that takes no
//! copy.
//!
//! Invariant: every frame but the last has `FRAME_BYTES`, and the last one is not empty.

use bytes::Bytes;
use vocab::{
    BlockHash,
    limits::{BLOCK_BYTES, FRAME_BYTES},
};

use crate::{object, spare::Spare};

const FRAME: usize = FRAME_BYTES as usize;

/// The bytes of a block, 1 to `BLOCK_BYTES`.
#[derive(Debug)]
pub struct Plain {
    /// The frames are where an object has them; what lies between them means nothing yet.
    object: Spare,
    bytes: u32,
}

/// The frames of a block, for a cache.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    /// In order.
    pub frames: Vec<Bytes>,
    /// They lie in one buffer, which stays as long as one of them. Otherwise each has its own.
    pub are_lent: bool,
}

impl Plain {
    /// A block of so many bytes, to be filled from its start to its end.
    #[must_use]
    pub fn builder(bytes: u32) -> Builder {
        assert!((1..=BLOCK_BYTES).contains(&bytes), "a block of {bytes} bytes");
        let mut object = Spare::take(object::raw_end(bytes));
        object.extend_zeroes(object::raw_frame(bytes, 0).start);
        Builder { object, bytes, at: 0 }
    }

    /// Its length.
    #[must_use]
    pub fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Its frames in order.
    #[must_use]
    pub fn frames(&self) -> Vec<&[u8]> {
        let frames = 0..object::frame_count(self.bytes);
        frames.map(|number| &self.object[object::raw_frame(self.bytes, number)]).collect()
    }

    /// Its frames in order.
    #[must_use]
    pub fn into_frames(self) -> Frames {
        if !self.lends() {
            let own = |frame| Spare::copy(frame).freeze();
            return Frames {
                frames: self.frames().into_iter().map(own).collect(),
                are_lent: false,
            };
        }
        lent(&self.object.freeze(), self.bytes)
    }

    /// Its raw object, and its frames in that.
    pub(crate) fn into_object(mut self, hash: &BlockHash) -> (Bytes, Frames) {
        object::finish_raw(hash, self.bytes, &mut self.object);
        if !self.lends() {
            return (Spare::copy(&self.object).freeze(), self.into_frames());
        }
        let object = self.object.freeze();
        let frames = lent(&object, self.bytes);
        (object, frames)
    }

    /// Whether its memory may stay for its frames.
    fn lends(&self) -> bool {
        object::frame_count(self.bytes) == 1 || !self.object.is_mostly_room()
    }

    /// Whether every byte is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        const ZEROES: [u8; 4096] = [0; 4096];
        let frames = self.frames();
        let mut parts = frames.iter().flat_map(|frame| frame.chunks(ZEROES.len()));
        parts.all(|part| part == &ZEROES[..part.len()])
    }
}

fn lent(object: &Bytes, bytes: u32) -> Frames {
    let count = object::frame_count(bytes);
    let frame = |number| object.slice(object::raw_frame(bytes, number));
    Frames { frames: (0..count).map(frame).collect(), are_lent: count > 1 }
}

impl From<&[u8]> for Plain {
    fn from(bytes: &[u8]) -> Self {
        let mut builder = Self::builder(u32::try_from(bytes.len()).expect("a block fits"));
        builder.push(bytes);
        builder.finish()
    }
}

/// A block that is being filled.
#[derive(Debug)]
pub struct Builder {
    object: Spare,
    bytes: u32,
    at: u32,
}

impl Builder {
    /// Where the next byte goes.
    #[must_use]
    pub fn at(&self) -> u32 {
        self.at
    }

    /// Appends bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        let copy = |part: &[u8], into: &mut [u8]| {
            into.copy_from_slice(part);
            Ok::<(), std::convert::Infallible>(())
        };
        let Ok(()) = self.push_by(bytes, copy);
    }

    /// Appends bytes that `copy` copies, part by part.
    ///
    /// # Errors
    /// Those of `copy`; the block is of no use then.
    pub fn push_by<E>(
        &mut self,
        mut bytes: &[u8],
        mut copy: impl FnMut(&[u8], &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(self.room()));
            self.object.extend_by(now.len(), |into| copy(now, into))?;
            self.advance(now.len());
            bytes = rest;
        }
        Ok(())
    }

    /// Appends zeroes.
    pub fn push_zeroes(&mut self, bytes: u32) {
        let mut left = bytes as usize;
        while left > 0 {
            let now = left.min(self.room());
            self.object.extend_zeroes(now);
            self.advance(now);
            left -= now;
        }
    }

    /// The block. All of it must have been filled.
    #[must_use]
    pub fn finish(self) -> Plain {
        assert!(self.at == self.bytes, "{} of {} bytes", self.at, self.bytes);
        Plain { object: self.object, bytes: self.bytes }
    }

    /// Bytes left in the frame that is being filled; never 0 before the end of the block.
    fn room(&self) -> usize {
        assert!(self.at < self.bytes, "more bytes than the block has");
        (FRAME - self.at as usize % FRAME).min((self.bytes - self.at) as usize)
    }

    fn advance(&mut self, bytes: usize) {
        self.at += u32::try_from(bytes).expect("at most a frame");
        if self.at.is_multiple_of(FRAME_BYTES) && self.at < self.bytes {
            let next = object::raw_frame(self.bytes, self.at / FRAME_BYTES);
            self.object.extend_zeroes(next.start - self.object.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_cut_into_frames_however_it_comes() {
        for len in [1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME, 3 * FRAME + 100] {
            for step in [1000, FRAME / 2, FRAME, 2 * FRAME + 1] {
                let bytes: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
                let mut builder = Plain::builder(u32::try_from(len).unwrap());
                bytes.chunks(step).for_each(|part| builder.push(part));
                let plain = builder.finish();
                assert_eq!(plain.frames().concat(), bytes, "{len} in steps of {step}");
                let frames = plain.frames();
                let (last, whole) = frames.split_last().unwrap();
                assert!(whole.iter().all(|frame| frame.len() == FRAME) && !last.is_empty());
                assert_eq!(plain.into_frames().frames.concat(), bytes);
            }
        }
    }

    #[test]
    fn frames_share_a_buffer_only_when_they_fill_it() {
        for (len, are_lent) in [(1, false), (FRAME, false), (2 * FRAME, false), (60 * FRAME, true)]
        {
            let frames = Plain::from(&vec![7; len][..]).into_frames();
            assert_eq!(frames.are_lent, are_lent, "{len}");
            let plain = Plain::from(&vec![7; len][..]);
            let hash = crate::Content::hash(&plain);
            let (object, frames) = plain.into_object(&hash);
            let bytes = u32::try_from(len).unwrap();
            assert_eq!((frames.are_lent, object.len()), (are_lent, object::raw_end(bytes)));
        }
    }

    #[test]
    fn a_single_byte_is_not_zero() {
        let mut bytes = vec![0; FRAME + 10_000];
        assert!(Plain::from(&bytes[..]).is_zero());
        *bytes.last_mut().unwrap() = 1;
        assert!(!Plain::from(&bytes[..]).is_zero());
    }
}
