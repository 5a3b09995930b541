//! Who asks.

/// A caller as the protocol presented it, or as squash and user mapping left it.
///
/// Invariant: `groups` holds at most [`crate::limits::GROUPS_MAX`] ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
}

impl Credentials {
    /// Whether a group is the primary or one of the supplementary ones.
    #[must_use]
    pub fn is_member(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }
}
