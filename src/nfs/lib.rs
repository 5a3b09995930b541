//! NFS: wire codec, dispatch table, one file per procedure.
//!
//! Absent: decisions about permission, locks and durability; they are made in [`vfs`].
