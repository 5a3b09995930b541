//! Every bound in the product, in one place, with the arithmetic that ties them together.

/// Bytes of a whole block: the unit of deduplication and of an object in the content store.
pub const BLOCK_BYTES: u32 = 4 * 1024 * 1024;
/// Bytes of a frame: the unit of compression and of a ranged read inside a block object.
pub const FRAME_BYTES: u32 = 64 * 1024;
/// Plain bytes of the largest block that may share its object with others. May rise, and never
/// fall: a reader does not ask where a larger one rests.
pub const PACKED_BLOCK_BYTES_MAX: u32 = 4 * FRAME_BYTES;
/// Bytes of a log segment.
pub const SEGMENT_BYTES: u32 = 64 * 1024 * 1024;
/// Most bytes in one READ or WRITE (`rtmax` and `wtmax`).
pub const TRANSFER_BYTES_MAX: u32 = 1024 * 1024;
/// Most bytes of one RPC record: a WRITE of the most bytes and room for its header.
pub const RECORD_BYTES_MAX: u32 = TRANSFER_BYTES_MAX + 64 * 1024;
/// Most bytes of an entry's name.
pub const NAME_BYTES_MAX: u32 = 255;
/// Most bytes of a symlink's path.
pub const PATH_BYTES_MAX: u32 = 4096;
/// Most bytes of a file handle (`NFS3_FHSIZE`).
pub const HANDLE_BYTES_MAX: u32 = 64;
/// Most supplementary groups of a caller (`AUTH_SYS`, RFC 5531 appendix A).
pub const GROUPS_MAX: u32 = 16;
/// Most names of one inode.
pub const LINKS_MAX: u32 = 65_000;
/// Largest file: 16 TiB, so that a block's index fits and sums of offsets never overflow.
pub const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024 * 1024;

// A block is a whole number of frames, so a frame never spans two blocks.
const _: () = assert!(BLOCK_BYTES.is_multiple_of(FRAME_BYTES));
// One transfer touches at most two blocks; the read path relies on it.
const _: () = assert!(TRANSFER_BYTES_MAX <= BLOCK_BYTES);
// A segment holds many records, so closing one early wastes little of it.
const _: () = assert!(TRANSFER_BYTES_MAX <= SEGMENT_BYTES / 16);
// Every block of the largest file has an index.
const _: () = assert!(FILE_BYTES_MAX / (BLOCK_BYTES as u64) <= u32::MAX as u64);
