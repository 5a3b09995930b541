//! TCP connections through the ring.
//!
//! Guards against monoio 0.2.4: its vectored "all" helpers corrupt data on short writes, so
//! [`Stream::send`] resumes by itself.

use std::{io, net::SocketAddr};

use bytes::{Bytes, BytesMut};

/// A listening socket with `SO_REUSEPORT`, one for each reactor.
#[derive(Debug)]
pub struct Listener {}

impl Listener {
    /// Listens on this reactor.
    ///
    /// # Errors
    /// The kernel's.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let _ = address;
        todo!()
    }

    /// Where it listens, also when the port was 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        todo!()
    }

    /// The next connection.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        todo!()
    }
}

/// A connection. Cloning shares it, so that one task receives while another sends.
#[derive(Clone, Debug)]
pub struct Stream {}

impl Stream {
    /// Appends what has arrived to the buffer, at least 1 byte and at most its spare capacity;
    /// 0 at the end of the stream.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn recv(&self, buffer: BytesMut) -> (io::Result<usize>, BytesMut) {
        let _ = buffer;
        todo!()
    }

    /// Sends all the parts with as few calls as the kernel allows, without copying them.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn send(&self, parts: Vec<Bytes>) -> io::Result<()> {
        let _ = parts;
        todo!()
    }

    /// Ends both directions at once; pending calls return.
    pub fn shutdown(&self) {
        todo!()
    }
}
