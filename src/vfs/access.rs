//! ACCESS: what the mode bits and the share let the caller do, as a hint for the client.
//!
//! The owner's override of [`crate::permission`] is not in it: a client asks this at `open`, and
//! there the mode bits count.

use vocab::{Attr, Error, FileKind};

use crate::{
    Caller, Vfs,
    handle::Handle,
    permission::{self, Rights},
    squash::Who,
};

// The bits are those of the wire (RFC 1813 section 3.3.4).
/// Read data or list a directory.
pub const READ: u32 = 0x01;
/// Look up a name.
pub const LOOKUP: u32 = 0x02;
/// Change bytes or entries that exist.
pub const MODIFY: u32 = 0x04;
/// Add bytes or entries.
pub const EXTEND: u32 = 0x08;
/// Remove an entry.
pub const DELETE: u32 = 0x10;
/// Run a file.
pub const EXECUTE: u32 = 0x20;

impl Vfs {
    /// ACCESS: those of the asked bits that are granted.
    ///
    /// # Errors
    /// `Stale`.
    pub async fn access(
        &self,
        caller: &Caller,
        handle: &Handle,
        asked: u32,
    ) -> Result<(u32, Attr), Error> {
        let target = self.enter(caller, handle).await?;
        let granted = granted(&target.who, &target.attr, target.may_change);
        Ok((asked & granted, target.attr))
    }
}

fn granted(who: &Who<'_>, attr: &Attr, may_change: bool) -> u32 {
    let directory = attr.kind == FileKind::Directory;
    let mut bits = 0;
    if permission::allows(who, attr, Rights::READ) {
        bits |= READ;
    }
    if permission::allows(who, attr, Rights::EXECUTE) {
        bits |= if directory { LOOKUP } else { EXECUTE };
    }
    if may_change && permission::allows(who, attr, Rights::WRITE) {
        bits |= MODIFY | EXTEND | if directory { DELETE } else { 0 };
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permission::tests::attr;

    const OWNER: Who<'static> = Who::plain(1, 1, &[]);

    #[test]
    fn a_files_bits() {
        let file = |mode| granted(&OWNER, &attr(FileKind::Regular, mode, 1, 1), true);
        assert_eq!(file(0o700), READ | MODIFY | EXTEND | EXECUTE);
        assert_eq!(file(0o400), READ);
        assert_eq!(file(0o100), EXECUTE);
        assert_eq!(file(0o077), 0);
    }

    #[test]
    fn a_directorys_bits() {
        let dir = |mode| granted(&OWNER, &attr(FileKind::Directory, mode, 1, 1), true);
        assert_eq!(dir(0o700), READ | LOOKUP | MODIFY | EXTEND | DELETE);
        assert_eq!(dir(0o500), READ | LOOKUP);
        assert_eq!(dir(0o200), MODIFY | EXTEND | DELETE);
    }

    #[test]
    fn root_runs_only_what_somebody_may_run() {
        let root = Who::plain(0, 0, &[]);
        let file = |mode| granted(&root, &attr(FileKind::Regular, mode, 1, 1), true);
        assert_eq!(file(0o000), READ | MODIFY | EXTEND);
        assert_eq!(file(0o001), READ | MODIFY | EXTEND | EXECUTE);
    }

    #[test]
    fn a_read_only_share_drops_changes() {
        let bits = granted(&OWNER, &attr(FileKind::Directory, 0o700, 1, 1), false);
        assert_eq!(bits, READ | LOOKUP);
    }
}
