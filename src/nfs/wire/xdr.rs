//! XDR (RFC 4506): a reader that borrows, and a writer into a buffer that is used again.
//!
//! Whatever has a length names its maximum, so a length that lies costs nothing.

use bytes::{BufMut, Bytes, BytesMut};

/// The bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Takes values from the front of borrowed bytes.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

/// Puts values at the end of a buffer.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    buffer: &'a mut BytesMut,
    fsid: u64,
}

/// No results.
#[derive(Debug)]
pub(crate) struct Void;

/// Something that an XDR stream can carry.
pub(crate) trait Encode {
    /// Appends it.
    fn encode(&self, writer: &mut Writer<'_>);

    /// Takes out the bytes that follow what [`Encode::encode`] writes, to be sent from where they
    /// are. Padding is not among them.
    fn take_tail(&mut self) -> Vec<Bytes> {
        Vec::new()
    }
}

/// Zeroes that fill up to a multiple of four.
pub(crate) fn padding(len: usize) -> &'static [u8] {
    match len % 4 {
        1 => &[0; 3],
        2 => &[0; 2],
        3 => &[0; 1],
        _ => &[],
    }
}

/// Bytes that an opaque value takes: its length word, itself, its padding.
pub(crate) fn opaque_bytes(len: usize) -> usize {
    len.saturating_add(4).saturating_add(padding(len).len())
}

/// Lengths here are bounded far below; a larger one would be cut off by the peer's own limit.
fn word(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

impl Encode for Void {
    fn encode(&self, _: &mut Writer<'_>) {}
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What has not been read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    /// `opaque[N]`, of a multiple of four bytes.
    pub(crate) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        const { assert!(N.is_multiple_of(4)) };
        let (head, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.fixed().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.fixed().map(u64::from_be_bytes)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    /// `opaque<max>` and `string<max>`.
    pub(crate) fn opaque(&mut self, max: u32) -> Result<&'a [u8], Malformed> {
        let len = self.u32()?;
        if len > max {
            return Err(Malformed);
        }
        let bytes = self.take(usize::try_from(len).map_err(|_| Malformed)?)?;
        self.take(padding(bytes.len()).len())?;
        Ok(bytes)
    }

    /// `T<max>`.
    pub(crate) fn array<T>(
        &mut self,
        max: u32,
        mut item: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.u32()?;
        if count > max {
            return Err(Malformed);
        }
        (0..count).map(|_| item(self)).collect()
    }

    /// `T*`, and unions that are empty on FALSE.
    pub(crate) fn option<T>(
        &mut self,
        item: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.bool()? { item(self).map(Some) } else { Ok(None) }
    }
}

impl<'a> Writer<'a> {
    /// `fsid`: the file system that all attributes in the reply belong to.
    pub(crate) fn new(buffer: &'a mut BytesMut, fsid: u64) -> Self {
        Self { buffer, fsid }
    }

    pub(crate) fn fsid(&mut self) {
        self.u64(self.fsid);
    }

    pub(crate) fn fixed(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.buffer.put_u32(value);
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.buffer.put_u64(value);
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.u32(u32::from(value));
    }

    pub(crate) fn opaque(&mut self, bytes: &[u8]) {
        self.u32(word(bytes.len()));
        self.fixed(bytes);
        self.fixed(padding(bytes.len()));
    }

    /// The number of items that follow.
    pub(crate) fn count(&mut self, items: usize) {
        self.u32(word(items));
    }

    pub(crate) fn option<T>(&mut self, value: Option<T>, item: impl FnOnce(&mut Self, T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            item(self, value);
        }
    }
}
