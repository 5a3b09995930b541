//! Where memory meets the kernel: all `unsafe` of this room, in small files.

pub(crate) mod buffer;
pub(crate) mod map;
pub(crate) mod names;
pub(crate) mod ring;
pub(crate) mod socket;
