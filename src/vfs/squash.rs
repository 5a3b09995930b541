//! Who a caller counts as in a share: ids changed as configured.
//!
//! Nothing is cloned: a caller that is left alone is borrowed, a squashed one is two ids.

use vocab::Credentials;

use crate::share::ShareConfig;

/// How callers' ids are changed for a share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Squash {
    /// Left alone.
    None,
    /// Root stays root: the same as `None` for NFS.
    RootToAdmin,
    /// Root becomes the anonymous user.
    #[default]
    RootToGuest,
    /// Everybody becomes root.
    AllToAdmin,
    /// Everybody becomes the anonymous user.
    AllToGuest,
}

/// A caller as permission sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Who<'a> {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    groups: &'a [u32],
    /// What group 0 among `groups` stands for: 0 unless root is squashed.
    group_zero: u32,
}

impl<'a> Who<'a> {
    pub(crate) const fn plain(uid: u32, gid: u32, groups: &'a [u32]) -> Self {
        Self { uid, gid, groups, group_zero: 0 }
    }

    pub(crate) fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Whether a group is the primary or one of the supplementary ones.
    pub(crate) fn is_member(&self, gid: u32) -> bool {
        let stands_for = |group| if group == 0 { self.group_zero } else { group };
        self.gid == gid || self.groups.iter().any(|&group| stands_for(group) == gid)
    }
}

/// The one decision; `groups` are the supplementary ones that count. Without credentials
/// (`AUTH_NULL`) a caller is the anonymous user, whatever the share says of those who name
/// themselves.
///
/// Under `RootToGuest` group 0 is squashed for everybody: a client that may not be root may not
/// lend its users root's group either.
pub(crate) fn effective<'a>(
    config: &ShareConfig,
    credentials: Option<&Credentials>,
    groups: &'a [u32],
) -> Who<'a> {
    let anonymous = Who::plain(config.anonymous_uid, config.anonymous_gid, &[]);
    let Some(credentials) = credentials else { return anonymous };
    let Credentials { uid, gid, .. } = credentials;
    match config.squash {
        Squash::None | Squash::RootToAdmin => Who::plain(*uid, *gid, groups),
        Squash::AllToAdmin => Who::plain(0, 0, &[]),
        Squash::AllToGuest => anonymous,
        Squash::RootToGuest if *uid == 0 => anonymous,
        Squash::RootToGuest => {
            let gid = if *gid == 0 { config.anonymous_gid } else { *gid };
            Who { uid: *uid, gid, groups, group_zero: config.anonymous_gid }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(squash: Squash, credentials: Option<(u32, u32, &[u32])>, want: (u32, u32)) {
        let config = ShareConfig { squash, ..ShareConfig::new("/export") };
        let credentials =
            credentials.map(|(uid, gid, groups)| Credentials { uid, gid, groups: groups.to_vec() });
        let groups = credentials.as_ref().map_or(&[][..], |credentials| &credentials.groups);
        let who = effective(&config, credentials.as_ref(), groups);
        assert_eq!((who.uid, who.gid), want, "{squash:?} of {credentials:?}");
    }

    #[test]
    fn every_squash_of_every_caller() {
        let (root, user, wheel) = (Some((0, 0, &[][..])), Some((7, 8, &[9][..])), (7, 0, &[][..]));
        let nobody = (65534, 65534);
        for squash in [Squash::None, Squash::RootToAdmin] {
            check(squash, root, (0, 0));
            check(squash, user, (7, 8));
            check(squash, Some(wheel), (7, 0));
            check(squash, None, nobody);
        }
        check(Squash::RootToGuest, root, nobody);
        check(Squash::RootToGuest, user, (7, 8));
        check(Squash::RootToGuest, Some(wheel), (7, 65534));
        check(Squash::RootToGuest, None, nobody);
        check(Squash::AllToAdmin, root, (0, 0));
        check(Squash::AllToAdmin, user, (0, 0));
        check(Squash::AllToAdmin, None, nobody);
        check(Squash::AllToGuest, root, nobody);
        check(Squash::AllToGuest, user, nobody);
        check(Squash::AllToGuest, None, nobody);
    }

    #[test]
    fn groups_are_squashed_with_the_user() {
        let credentials = Credentials { uid: 7, gid: 8, groups: vec![0, 9] };
        let who = |squash| {
            let config = ShareConfig { squash, ..ShareConfig::new("/export") };
            let who = effective(&config, Some(&credentials), &credentials.groups);
            [0, 8, 9, 65534].map(|gid| who.is_member(gid))
        };
        assert_eq!(who(Squash::None), [true, true, true, false]);
        assert_eq!(who(Squash::RootToGuest), [false, true, true, true]);
        assert_eq!(who(Squash::AllToGuest), [false, false, false, true]);
        assert_eq!(who(Squash::AllToAdmin), [true, false, false, false]);
    }
}
