//! Buffers that an operation owns until the kernel is done with them, even when nobody waits.
#![expect(unsafe_code, reason = "raw pointers and counts for the kernel")]

use std::cell::Cell;

use bytes::{Buf, Bytes, BytesMut};
use monoio::buf::{IoBufMut, IoVecBuf};

/// Most parts of one gathered call (`UIO_MAXIOV`).
pub(crate) const PARTS_MAX: usize = 1024;
/// Vectors of parts larger than this are not kept for the next call.
const SPARE_PARTS_MAX: usize = 4096;

thread_local! {
    static IN_FLIGHT: Cell<usize> = const { Cell::new(0) };
    static SPARE: Cell<Vec<libc::iovec>> = const { Cell::new(Vec::new()) };
}

/// Buffers of this thread that exist, so that may be the kernel's.
pub(crate) fn in_flight() -> usize {
    IN_FLIGHT.get()
}

/// Counts a buffer for as long as it lives.
struct Guard;

impl Guard {
    fn new() -> Self {
        IN_FLIGHT.set(IN_FLIGHT.get() + 1);
        Self
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        IN_FLIGHT.set(IN_FLIGHT.get() - 1);
    }
}

/// The spare capacity of a buffer, to receive into.
pub(crate) struct Receive {
    buffer: BytesMut,
    _guard: Guard,
}

impl Receive {
    pub(crate) fn new(buffer: BytesMut) -> Self {
        assert!(buffer.capacity() > buffer.len(), "no room to receive into");
        Self { buffer, _guard: Guard::new() }
    }

    pub(crate) fn into_inner(self) -> BytesMut {
        self.buffer
    }

    pub(crate) fn cleared(mut self) -> Self {
        self.buffer.clear();
        self
    }
}

// SAFETY: the pointer stays valid while `self` lives, since the bytes are on the heap and nobody
// else has them; `bytes_total` counts only spare capacity behind that pointer.
unsafe impl IoBufMut for Receive {
    fn write_ptr(&mut self) -> *mut u8 {
        self.buffer.spare_capacity_mut().as_mut_ptr().cast()
    }

    fn bytes_total(&mut self) -> usize {
        self.buffer.capacity() - self.buffer.len()
    }

    unsafe fn set_init(&mut self, count: usize) {
        let len = self.buffer.len() + count;
        assert!(len <= self.buffer.capacity(), "the kernel wrote more than was asked for");
        // SAFETY: the caller says that `count` bytes from `write_ptr` are written.
        unsafe { self.buffer.set_len(len) };
    }
}

/// Parts to be sent or written one after another. Advances past what the kernel took.
pub(crate) struct Gather {
    parts: Vec<Bytes>,
    /// One for each part; the first ones may be used up.
    vectors: Vec<libc::iovec>,
    /// The first that is not used up.
    next: usize,
    _guard: Guard,
}

impl Gather {
    pub(crate) fn new(mut parts: Vec<Bytes>) -> Self {
        parts.retain(|part| !part.is_empty());
        let mut vectors = SPARE.take();
        vectors.extend(parts.iter().map(vector));
        Self { parts, vectors, next: 0, _guard: Guard::new() }
    }

    pub(crate) fn into_parts(self) -> Vec<Bytes> {
        self.parts.clone()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.next == self.parts.len()
    }

    /// What the next call takes: the first vector and how many.
    pub(crate) fn window(&self) -> (*const libc::iovec, usize) {
        let rest = &self.vectors[self.next..];
        (rest.as_ptr(), rest.len().min(PARTS_MAX))
    }

    /// Drops the first `count` bytes, which the kernel has taken.
    pub(crate) fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let part = &mut self.parts[self.next];
            if count < part.len() {
                part.advance(count);
                self.vectors[self.next] = vector(part);
                return;
            }
            count -= part.len();
            *part = Bytes::new();
            self.next += 1;
        }
    }
}

fn vector(part: &Bytes) -> libc::iovec {
    libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() }
}

impl Drop for Gather {
    fn drop(&mut self) {
        let mut vectors = std::mem::take(&mut self.vectors);
        if vectors.capacity() <= SPARE_PARTS_MAX {
            vectors.clear();
            // The thread may be ending.
            SPARE.try_with(|spare| spare.set(vectors)).ok();
        }
    }
}

// SAFETY: the window's vectors and the bytes they point to stay in place while `self` lives:
// both are on the heap, and `advance` is called only between two calls.
unsafe impl IoVecBuf for Gather {
    fn read_iovec_ptr(&self) -> *const libc::iovec {
        self.window().0
    }

    fn read_iovec_len(&self) -> usize {
        self.window().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// What the window of a gather points to.
    fn seen(gather: &Gather) -> Vec<u8> {
        let (first, count) = gather.window();
        (0..count)
            .flat_map(|index| {
                // SAFETY: the window holds `count` vectors.
                let vector = unsafe { first.add(index) };
                // SAFETY: it is one of them.
                let vector = unsafe { vector.read() };
                // SAFETY: each points to a part that the gather owns.
                unsafe { std::slice::from_raw_parts(vector.iov_base.cast::<u8>(), vector.iov_len) }
                    .to_vec()
            })
            .collect()
    }

    #[test]
    fn a_gather_resumes_at_every_byte() {
        for seed in 0..200 {
            let mut rng = Rng::from_seed(seed);
            let parts: Vec<Bytes> = (0..rng.index(40))
                .map(|_| {
                    let len = rng.index(9);
                    rng.bytes(len).into()
                })
                .collect();
            let mut want: Vec<u8> = parts.concat();
            let mut gather = Gather::new(parts);
            while !gather.is_done() {
                let window = seen(&gather);
                assert_eq!(window, want, "seed {seed}");
                let count = 1 + rng.index(window.len());
                gather.advance(count);
                want.drain(..count);
            }
            assert!(want.is_empty(), "seed {seed}");
        }
    }

    #[test]
    fn a_gather_never_asks_for_more_parts_than_the_kernel_takes() {
        let mut gather = Gather::new(vec![Bytes::from_static(b"x"); PARTS_MAX + 5]);
        assert_eq!(gather.window().1, PARTS_MAX);
        gather.advance(PARTS_MAX);
        assert_eq!(gather.window().1, 5);
        gather.advance(5);
        assert!(gather.is_done());
    }
}
