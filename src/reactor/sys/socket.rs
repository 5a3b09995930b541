//! A monoio socket that one task reads while another writes.
//!
//! monoio's own halves will not do: dropping its write half shuts the socket down.
#![expect(unsafe_code, reason = "two directions of one socket, a descriptor from its number")]

use std::{
    cell::UnsafeCell,
    io,
    os::fd::{AsRawFd, BorrowedFd, RawFd},
};

use monoio::{
    io::{AsyncReadRent, AsyncWriteRent},
    net::TcpStream,
};
use rustix::net::Shutdown;

use super::buffer::{Gather, Receive};

pub(crate) struct Socket {
    stream: UnsafeCell<TcpStream>,
    fd: RawFd,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { fd: stream.as_raw_fd(), stream: UnsafeCell::new(stream) }
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.fd
    }

    /// At most one at a time.
    pub(crate) async fn read(&self, buffer: Receive) -> (io::Result<usize>, Receive) {
        // SAFETY: monoio declares that a stream may be split (`Split`): reading touches nothing
        // that writing touches, and the call ends before anybody else can run; what is awaited is
        // the operation, which has its own reference to the descriptor.
        let stream = unsafe { &mut *self.stream.get() };
        stream.read(buffer).await
    }

    /// At most one at a time. May take a part only.
    pub(crate) async fn write(&self, parts: Gather) -> (io::Result<usize>, Gather) {
        // SAFETY: as in `read`.
        let stream = unsafe { &mut *self.stream.get() };
        stream.writev(parts).await
    }
}

/// Ends a socket that is open; one that has ended already is left alone. The caller keeps the
/// socket's owner alive meanwhile, so the number cannot mean another file.
pub(crate) fn shutdown(fd: RawFd, how: Shutdown) {
    // SAFETY: the caller holds the owner of the descriptor, so it is open.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    // Fails when the peer was faster, which is what was wanted.
    rustix::net::shutdown(socket, how).ok();
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Socket({})", self.fd)
    }
}
