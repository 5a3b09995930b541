//! Buffers of a block's size, used again: a fresh one costs a thousand page faults, which is more
//! than hashing, checking and copying the block together.
//!
//! Invariant: at most [`SPARES_MAX`] rest here; what is taken is empty and has room for an object.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use vocab::limits::BLOCK_BYTES;

/// As many as uploads that usually run at once. More are given back to the allocator.
const SPARES_MAX: usize = 16;
/// A block, and the header, index and checks around it.
const SPARE_BYTES: usize = BLOCK_BYTES as usize + 64 * 1024;

/// Taken and given back a few times for each block, by a handful of threads.
static SPARES: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// A buffer that comes back when it is dropped.
#[derive(Debug)]
pub struct Spare(Vec<u8>);

impl Spare {
    /// An empty buffer with room for a block or its object. Small ones come from the allocator.
    #[must_use]
    pub fn take(bytes: usize) -> Self {
        if bytes < SPARE_BYTES / 4 {
            return Self(Vec::with_capacity(bytes));
        }
        let spare = SPARES.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self(spare.unwrap_or_else(|| Vec::with_capacity(SPARE_BYTES)))
    }

    /// The bytes, as long as somebody has a slice of them.
    #[must_use]
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl std::ops::Deref for Spare {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl std::ops::DerefMut for Spare {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl AsRef<[u8]> for Spare {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        if self.0.capacity() < SPARE_BYTES {
            return;
        }
        let mut buffer = std::mem::take(&mut self.0);
        buffer.clear();
        let mut spares = SPARES.lock().unwrap_or_else(PoisonError::into_inner);
        if spares.len() < SPARES_MAX {
            spares.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_once_its_last_slice_is_gone() {
        let mut spare = Spare::take(SPARE_BYTES);
        spare.extend_from_slice(b"block");
        let bytes = spare.freeze();
        let slice = bytes.slice(1..3);
        drop(bytes);
        assert_eq!(&slice[..], b"lo");
        drop(slice);
        let again = Spare::take(SPARE_BYTES);
        assert!(again.is_empty() && again.capacity() >= SPARE_BYTES);
    }
}
