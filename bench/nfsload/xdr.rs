//! XDR (RFC 4506), as much as the load generator needs. Replies are strangers' bytes: no panics.

/// What a reply did not have.
#[derive(Debug)]
pub(crate) struct Short;

/// Reads a reply from its start.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Short> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(Short)?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Short> {
        let bytes = self.bytes(4)?;
        Ok(u32::from_be_bytes(bytes.try_into().map_err(|_| Short)?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Short> {
        Ok(u64::from(self.u32()?) << 32 | u64::from(self.u32()?))
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Short> {
        Ok(self.u32()? != 0)
    }

    pub(crate) fn opaque(&mut self) -> Result<&'a [u8], Short> {
        let len = self.u32()? as usize;
        let bytes = self.bytes(len)?;
        self.bytes(len.next_multiple_of(4) - len)?;
        Ok(bytes)
    }
}

/// Appends to a call.
pub(crate) trait Write {
    fn u32(&mut self, value: u32);
    fn u64(&mut self, value: u64);
    fn opaque(&mut self, bytes: &[u8]);
}

impl Write for Vec<u8> {
    fn u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn opaque(&mut self, bytes: &[u8]) {
        self.u32(u32::try_from(bytes.len()).expect("calls are small"));
        self.extend_from_slice(bytes);
        self.extend_from_slice(&[0; 3][..bytes.len().next_multiple_of(4) - bytes.len()]);
    }
}
