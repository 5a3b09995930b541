//! How the memory that an operator grants is divided between blocks on their way up, everything
//! else that moves, and clean frames.
//!
//! Invariant: clean frames get at least half, however little there is.

use vocab::limits::BLOCK_BYTES;

/// Most bytes of blocks on their way to one content store.
const UPLOAD_BYTES_MAX: u64 = 8 * BLOCK_BYTES as u64;
/// Room for one to be put together while another one is sent.
const UPLOAD_BYTES_MIN: u64 = 2 * BLOCK_BYTES as u64;
/// Requests and replies of connections, fetches, and the metadata stores' own caches.
const MOVING_BYTES: u64 = 96 << 20;

/// Who may hold how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Most bytes of clean frames, all slices together.
    pub(crate) clean_bytes_max: u64,
    /// Most plain bytes of blocks on their way to one content store.
    pub(crate) upload_bytes_max: u32,
}

/// Divides `bytes_max` for a server with so many content stores.
pub(crate) fn divide(bytes_max: u64, stores: usize) -> Memory {
    let upload = (bytes_max / 32).clamp(UPLOAD_BYTES_MIN, UPLOAD_BYTES_MAX);
    // Each block is there twice, as its frames and as its object.
    let moving = 2 * upload * stores as u64 + MOVING_BYTES;
    Memory {
        clean_bytes_max: bytes_max - moving.min(bytes_max / 2),
        upload_bytes_max: u32::try_from(upload).expect("it was clamped"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_moves_is_taken_from_what_rests() {
        let all = |bytes_max, stores| {
            let Memory { clean_bytes_max, upload_bytes_max } = divide(bytes_max, stores);
            (clean_bytes_max / MIB, u64::from(upload_bytes_max) / MIB)
        };
        assert_eq!(all(1024 * MIB, 1), (1024 - 64 - 96, 32));
        assert_eq!(all(1024 * MIB, 3), (1024 - 192 - 96, 32));
        assert_eq!(all(256 * MIB, 1), (256 - 16 - 96, 8));
    }

    #[test]
    fn clean_frames_get_half_of_very_little() {
        assert_eq!(divide(64 * MIB, 5).clean_bytes_max, 32 * MIB);
        assert_eq!(divide(0, 1).clean_bytes_max, 0);
    }
}
