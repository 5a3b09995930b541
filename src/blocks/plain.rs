//! A plain block in memory: its frames, each in a buffer of its own, so that a cache may keep some
//! of them and let the others go.
//!
//! Invariant: every frame but the last has `FRAME_BYTES`, and the last one is not empty.

use bytes::Bytes;
use vocab::limits::{BLOCK_BYTES, FRAME_BYTES};

use crate::spare::Spare;

const FRAME: usize = FRAME_BYTES as usize;

/// The bytes of a block, 1 to `BLOCK_BYTES`.
#[derive(Clone, Debug)]
pub struct Plain {
    frames: Vec<Bytes>,
    bytes: u32,
}

impl Plain {
    /// A block of so many bytes, to be filled from its start to its end.
    #[must_use]
    pub fn builder(bytes: u32) -> Builder {
        assert!((1..=BLOCK_BYTES).contains(&bytes), "a block of {bytes} bytes");
        let frames = Vec::with_capacity((bytes as usize).div_ceil(FRAME));
        Builder { frames, frame: Spare::take(FRAME.min(bytes as usize)), bytes, at: 0 }
    }

    /// Its length.
    #[must_use]
    pub fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Its frames in order.
    #[must_use]
    pub fn frames(&self) -> &[Bytes] {
        &self.frames
    }

    /// Its frames in order.
    #[must_use]
    pub fn into_frames(self) -> Vec<Bytes> {
        self.frames
    }

    /// Whether every byte is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        const ZEROES: [u8; 4096] = [0; 4096];
        let mut parts = self.frames.iter().flat_map(|frame| frame.chunks(ZEROES.len()));
        parts.all(|part| part == &ZEROES[..part.len()])
    }
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
    frames: Vec<Bytes>,
    /// The frame that is being filled.
    frame: Spare,
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
            self.frame.extend_by(now.len(), |into| copy(now, into))?;
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
            self.frame.extend_zeroes(now);
            self.advance(now);
            left -= now;
        }
    }

    /// The block. All of it must have been filled.
    #[must_use]
    pub fn finish(self) -> Plain {
        assert!(self.at == self.bytes, "{} of {} bytes", self.at, self.bytes);
        Plain { frames: self.frames, bytes: self.bytes }
    }

    /// Bytes left in the frame that is being filled; never 0 before the end of the block.
    fn room(&self) -> usize {
        assert!(self.at < self.bytes, "more bytes than the block has");
        FRAME.min(self.frame.len() + (self.bytes - self.at) as usize) - self.frame.len()
    }

    fn advance(&mut self, bytes: usize) {
        self.at += u32::try_from(bytes).expect("at most a frame");
        if self.frame.len() == FRAME || self.at == self.bytes {
            let next = Spare::take(FRAME.min((self.bytes - self.at) as usize));
            self.frames.push(std::mem::replace(&mut self.frame, next).freeze());
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
                let (last, whole) = plain.frames().split_last().unwrap();
                assert!(whole.iter().all(|frame| frame.len() == FRAME) && !last.is_empty());
            }
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
