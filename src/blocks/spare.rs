//! Buffers of whole pages, used again: fresh ones cost a page fault and a page of zeroes for every
//! 4 KiB, which is more than hashing, checking and copying a block together.
//!
//! Invariants: what is taken is empty, and nothing is read from it that was not put into it; as
//! many buffers rest here as [`FRAMES_MAX`], [`RUNS_MAX`] and [`OBJECTS_MAX`] say, the rest goes
//! back to the allocator; small ones weigh what they hold and come from the allocator.

use std::sync::{
    LazyLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use bytes::Bytes;
use crossbeam::queue::ArrayQueue;
use vocab::limits::{BLOCK_BYTES, FRAME_BYTES};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// What direct I/O wants memory to be aligned to, and more than it wants.
pub(crate) const PAGE_BYTES: usize = 4096;
const FRAME: usize = FRAME_BYTES as usize;
/// A block, and the header, index and checks around it.
const OBJECT: usize = BLOCK_BYTES as usize + FRAME;
/// What a reader asks a store for at once, and the checks within.
const RUN: usize = 17 * FRAME;
/// 16 MiB: what uploads and evictions of a moment need.
const FRAMES_MAX: usize = 256;
/// As many as fetches that usually run at once.
const RUNS_MAX: usize = 16;
/// As many as uploads that usually run at once.
const OBJECTS_MAX: usize = 16;

static FRAMES: LazyLock<ArrayQueue<Box<[Page]>>> = LazyLock::new(|| ArrayQueue::new(FRAMES_MAX));
static RUNS: LazyLock<ArrayQueue<Box<[Page]>>> = LazyLock::new(|| ArrayQueue::new(RUNS_MAX));
static OBJECTS: LazyLock<ArrayQueue<Box<[Page]>>> = LazyLock::new(|| ArrayQueue::new(OBJECTS_MAX));
static BYTES: AtomicU64 = AtomicU64::new(0);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
struct Page([u8; PAGE_BYTES]);

/// A buffer that comes back when it is dropped.
pub struct Spare {
    memory: Memory,
    len: usize,
}

enum Memory {
    Small(Box<[u8]>),
    Pages(Box<[Page]>),
}

impl Spare {
    /// Memory of all buffers, those that rest among them.
    #[must_use]
    pub fn bytes_total() -> u64 {
        BYTES.load(Relaxed)
    }

    /// An empty buffer with room for so many bytes: page-aligned from half a frame up.
    #[must_use]
    pub fn take(bytes: usize) -> Self {
        let memory = if bytes <= FRAME / 2 {
            Memory::Small(vec![0; bytes].into())
        } else {
            let (pool, size) = class(bytes);
            let spare = pool.and_then(|pool| pool.pop());
            Memory::Pages(spare.unwrap_or_else(|| pages(size)))
        };
        Self { memory, len: 0 }
    }

    /// Appends bytes, for which there must be room.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.grow(bytes.len()).copy_from_slice(bytes);
    }

    /// Appends zeroes, for which there must be room.
    pub fn extend_zeroes(&mut self, bytes: usize) {
        self.grow(bytes).fill(0);
    }

    /// Appends what `fill` writes into all of the slice that it is given.
    ///
    /// # Errors
    /// Those of `fill`; then nothing is appended.
    pub fn extend_by<E>(
        &mut self,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let before = self.len;
        let filled = fill(self.grow(bytes));
        if filled.is_err() {
            self.len = before;
        }
        filled
    }

    /// The bytes, as long as somebody has a slice of them.
    #[must_use]
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }

    fn grow(&mut self, bytes: usize) -> &mut [u8] {
        let from = self.len;
        self.len += bytes;
        let memory: &mut [u8] = match &mut self.memory {
            Memory::Small(bytes) => bytes,
            Memory::Pages(pages) => pages.as_mut_bytes(),
        };
        &mut memory[from..self.len]
    }
}

/// Where buffers of this size rest, and how large they are made.
fn class(bytes: usize) -> (Option<&'static ArrayQueue<Box<[Page]>>>, usize) {
    if bytes <= FRAME {
        (Some(&FRAMES), FRAME)
    } else if bytes <= RUN {
        (Some(&RUNS), RUN)
    } else if bytes <= OBJECT {
        (Some(&OBJECTS), OBJECT)
    } else {
        (None, bytes)
    }
}

fn pages(bytes: usize) -> Box<[Page]> {
    BYTES.fetch_add(bytes.next_multiple_of(PAGE_BYTES) as u64, Relaxed);
    <[Page]>::new_box_zeroed_with_elems(bytes.div_ceil(PAGE_BYTES)).expect("memory for a block")
}

impl std::ops::Deref for Spare {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.memory {
            Memory::Small(bytes) => &bytes[..self.len],
            Memory::Pages(pages) => &pages.as_bytes()[..self.len],
        }
    }
}

impl std::ops::DerefMut for Spare {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Small(bytes) => &mut bytes[..self.len],
            Memory::Pages(pages) => &mut pages.as_mut_bytes()[..self.len],
        }
    }
}

impl AsRef<[u8]> for Spare {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for Spare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Spare({} bytes)", self.len)
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        let none = Memory::Small(Box::default());
        if let Memory::Pages(pages) = std::mem::replace(&mut self.memory, none) {
            let bytes = pages.len() * PAGE_BYTES;
            let rests = match bytes {
                FRAME => FRAMES.push(pages).is_ok(),
                RUN => RUNS.push(pages).is_ok(),
                OBJECT => OBJECTS.push(pages).is_ok(),
                _ => false,
            };
            // When the pool is full the allocator has it.
            if !rests {
                BYTES.fetch_sub(bytes as u64, Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_once_its_last_slice_is_gone() {
        for size in [FRAME, RUN, OBJECT] {
            let mut spare = Spare::take(size);
            spare.extend_from_slice(b"block");
            let bytes = spare.freeze();
            let slice = bytes.slice(1..3);
            drop(bytes);
            assert_eq!(&slice[..], b"lo");
            drop(slice);
            let mut again = Spare::take(size);
            assert!(again.is_empty());
            again.extend_zeroes(5);
            assert_eq!(again[..], [0; 5], "not what was there before");
        }
    }

    #[test]
    fn a_failed_fill_leaves_nothing_behind() {
        let mut spare = Spare::take(FRAME);
        spare.extend_from_slice(b"a");
        assert_eq!(spare.extend_by(10, |_| Err("no")), Err("no"));
        assert_eq!(spare[..], *b"a");
        let fill = |to: &mut [u8]| {
            to.copy_from_slice(b"bc");
            Ok::<(), ()>(())
        };
        spare.extend_by(2, fill).unwrap();
        assert_eq!(spare[..], *b"abc");
    }

    #[test]
    fn every_size_has_room_and_the_larger_ones_are_aligned() {
        for size in [0, 1, FRAME / 2, FRAME / 2 + 1, FRAME, FRAME + 1, RUN, RUN + 1, OBJECT] {
            let mut spare = Spare::take(size);
            spare.extend_zeroes(size);
            let is_aligned = spare.as_ptr().addr().is_multiple_of(PAGE_BYTES);
            assert!(is_aligned || size <= FRAME / 2, "{size}");
        }
    }
}
