//! File handles: which inode of which share, checked, the same after rename and restart.
//!
//! Layout, little endian, 32 bytes: version u8, 3 zero bytes, share u32, store u64, inode u64,
//! generation u32, checksum u32 (the low half of xxh3 of all before it, seeded with the version).

use vocab::{Error, InodeId, ShareId, StoreId, limits::HANDLE_BYTES_MAX};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes of a handle on the wire.
pub const HANDLE_BYTES: usize = 32;

const VERSION: u8 = 1;
/// Bytes before the checksum.
const BODY_BYTES: usize = HANDLE_BYTES - 4;

const _: () = assert!(HANDLE_BYTES <= HANDLE_BYTES_MAX as usize);

/// A handle whose checksum was right. Whether the inode still lives is for the operation to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    /// The share it was given out by.
    pub share: ShareId,
    /// The metadata store.
    pub store: StoreId,
    /// The inode.
    pub inode: InodeId,
    /// The inode's generation.
    pub generation: u32,
}

impl Handle {
    /// For the wire.
    #[must_use]
    pub fn encode(&self) -> [u8; HANDLE_BYTES] {
        let mut bytes = [0; HANDLE_BYTES];
        bytes[0] = VERSION;
        bytes[4..8].copy_from_slice(&self.share.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.store.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.inode.0.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.generation.to_le_bytes());
        let sum = checksum(&bytes);
        bytes[BODY_BYTES..].copy_from_slice(&sum);
        bytes
    }

    /// From the wire. What is not exactly what [`Handle::encode`] makes is refused.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let bytes: &[u8; HANDLE_BYTES] = bytes.try_into().map_err(|_| Error::BadHandle)?;
        if bytes[..4] != [VERSION, 0, 0, 0] || bytes[BODY_BYTES..] != checksum(bytes) {
            return Err(Error::BadHandle);
        }
        Ok(Self {
            share: ShareId(u32::from_le_bytes(field(bytes, 4))),
            store: StoreId(u64::from_le_bytes(field(bytes, 8))),
            inode: InodeId(u64::from_le_bytes(field(bytes, 16))),
            generation: u32::from_le_bytes(field(bytes, 24)),
        })
    }
}

fn checksum(bytes: &[u8; HANDLE_BYTES]) -> [u8; 4] {
    field(&xxh3_64_with_seed(&bytes[..BODY_BYTES], u64::from(VERSION)).to_le_bytes(), 0)
}

/// `N` bytes from an offset that is in range by the layout.
fn field<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    std::array::from_fn(|index| bytes[from + index])
}

#[cfg(test)]
mod tests {
    use super::*;
    use reactor::rng::Rng;

    fn any(rng: &mut Rng) -> Handle {
        Handle {
            share: ShareId(u32::try_from(rng.below(1 << 32)).unwrap()),
            store: StoreId(rng.next_u64()),
            inode: InodeId(rng.next_u64()),
            generation: u32::try_from(rng.below(1 << 32)).unwrap(),
        }
    }

    #[test]
    fn a_handle_comes_back() {
        let mut rng = Rng::from_seed(1);
        for _ in 0..1000 {
            let handle = any(&mut rng);
            assert_eq!(Handle::decode(&handle.encode()), Ok(handle));
        }
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let mut rng = Rng::from_seed(2);
        for _ in 0..100 {
            let bytes = any(&mut rng).encode();
            for bit in 0..HANDLE_BYTES * 8 {
                let mut flipped = bytes;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Handle::decode(&flipped), Err(Error::BadHandle), "bit {bit}");
            }
        }
    }

    #[test]
    fn another_length_is_foreign() {
        let bytes = any(&mut Rng::from_seed(3)).encode();
        for len in 0..HANDLE_BYTES {
            assert_eq!(Handle::decode(&bytes[..len]), Err(Error::BadHandle), "{len} bytes");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Handle::decode(&longer), Err(Error::BadHandle));
        assert_eq!(Handle::decode(&[0; HANDLE_BYTES]), Err(Error::BadHandle));
    }

    /// Clients keep handles over upgrades of the server, so these bytes may never change.
    #[test]
    fn the_layout_stays() {
        let handle = Handle {
            share: ShareId(0x0403_0201),
            store: StoreId(0x0807_0605_0403_0201),
            inode: InodeId(0x1817_1615_1413_1211),
            generation: 0x2423_2221,
        };
        let body: [u8; BODY_BYTES] = [
            1, 0, 0, 0, 1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16,
            0x17, 0x18, 0x21, 0x22, 0x23, 0x24,
        ];
        assert_eq!(handle.encode()[..BODY_BYTES], body);
        assert_eq!(handle.encode()[BODY_BYTES..], GOLDEN_SUM);
    }

    const GOLDEN_SUM: [u8; 4] = [255, 214, 87, 119];
}
