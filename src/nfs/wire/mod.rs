//! The codec: bytes and nouns, nothing else. No input can make it panic or allocate at will.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::string_slice,
    clippy::as_conversions
)]

pub(crate) mod mount;
pub(crate) mod nlm;
pub(crate) mod nsm;
pub(crate) mod portmap;
pub(crate) mod record;
pub(crate) mod rpc;
pub(crate) mod v3;
pub(crate) mod xdr;
