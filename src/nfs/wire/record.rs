//! Record marking over TCP (RFC 5531 section 11): a record is one or more fragments, each behind a
//! word with its length and whether it is the last.

/// Bytes of a mark.
pub(crate) const MARK_BYTES: usize = 4;

const LAST: u32 = 0x8000_0000;

/// What stands before a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The record ends with this fragment.
    pub(crate) last: bool,
    /// Bytes of the fragment.
    pub(crate) len: u32,
}

impl Mark {
    /// The mark at the front of what has arrived; `None`: not all of it has.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let word = u32::from_be_bytes(*bytes.first_chunk()?);
        Some(Self { last: word & LAST != 0, len: word & !LAST })
    }

    pub(crate) fn encode(self) -> [u8; MARK_BYTES] {
        (self.len | if self.last { LAST } else { 0 }).to_be_bytes()
    }
}
