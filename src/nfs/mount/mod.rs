//! The procedures of MOUNT version 3, one file each, and who mounted what.

pub(crate) mod dump;
pub(crate) mod export;
pub(crate) mod mnt;
pub(crate) mod null;
pub(crate) mod table;
pub(crate) mod umnt;
pub(crate) mod umntall;
