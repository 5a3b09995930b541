//! The keys of a share.

use serde_json::{Value as Json, json};
use vfs::{Flavor, Groups, Host, Lookups, Squash};
use vocab::durable::Grade;

use super::{
    Share,
    reader::Section,
    values::{Mode, Scalar, Size, words},
};

words!(Grade:
    "writeback" => Grade::Writeback,
    "local" => Grade::Local,
    "quorum" => Grade::Quorum,
    "remote" => Grade::Remote,
);
words!(Squash:
    "none" => Squash::None,
    "root_to_admin" => Squash::RootToAdmin,
    "root_to_guest" => Squash::RootToGuest,
    "all_to_admin" => Squash::AllToAdmin,
    "all_to_guest" => Squash::AllToGuest,
);

/// How a share uses the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caching {
    Normal,
    Pinned,
}

words!(Caching: "normal" => Caching::Normal, "pinned" => Caching::Pinned);

impl Scalar for Host {
    fn schema() -> Json {
        let examples = ["10.0.0.0/8", "192.168.1.7", "fd00::/8", "alpha.lab", "*.lab", "@lab"];
        json!({"type": "string", "examples": examples})
    }

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn show(&self) -> Json {
        json!(self.to_string())
    }
}

words!(Groups: "client" => Groups::Client, "server" => Groups::Server);

impl Scalar for Flavor {
    fn schema() -> Json {
        json!({"type": "string", "enum": ["sys", "none", "none:write"]})
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "sys" => Ok(Self::Sys),
            "none" => Ok(Self::None { writes: false }),
            "none:write" => Ok(Self::None { writes: true }),
            _ if text.starts_with("krb5") => {
                Err("Kerberos is not offered; expected sys, none or none:write".to_owned())
            }
            _ => Err("expected sys, none or none:write".to_owned()),
        }
    }

    fn show(&self) -> Json {
        match self {
            Self::Sys => "sys".into(),
            Self::None { writes: false } => "none".into(),
            Self::None { writes: true } => "none:write".into(),
        }
    }
}

pub(super) fn share(s: &mut Section<'_>, remarks: &mut Vec<String>) -> Share {
    let name: String = s.required("name", "for example /export", "What clients mount.");
    let usual = vfs::ShareConfig::new(name.clone());
    let squash = "How callers' ids are changed: root_to_guest makes root the anonymous user.";
    let allow = "Hosts that may come in: addresses, networks, names, patterns (*.lab), @netgroups; \
                 none: all.";
    let groups = "Whose word on supplementary groups counts: client (16 at most) or server (this \
                  machine's users).";
    let privileged = "Let in only who calls from a port below 1024, which takes root there.";
    let subdirectories = "Folders of the share may be mounted, too.";
    let capacity = "The size that df shows at most; otherwise what the content store has.";
    let root_mode = "Permission bits of its top folder when that is made.";
    let mut share = Share {
        metadata_store: s.required("metadata_store", "name one of metadata.stores", "Its names."),
        content_store: s.required("content_store", "name one of content.stores", "Its blocks."),
        vfs: vfs::ShareConfig {
            name,
            read_only: s.value("read_only", usual.read_only, "Refuse every change."),
            squash: s.value("squash", usual.squash, squash),
            anonymous_uid: s.value("anonymous_uid", usual.anonymous_uid, "The anonymous user."),
            anonymous_gid: s.value("anonymous_gid", usual.anonymous_gid, "The anonymous group."),
            allow: s.values("allow", allow),
            deny: s.values("deny", "Hosts that may not, in the same ways; this wins."),
            groups: s.value("groups", usual.groups, groups),
            privileged_port: s.value("privileged_port", usual.privileged_port, privileged),
            subdirectories: s.value("subdirectories", usual.subdirectories, subdirectories),
            security: security(s, usual.security),
            capacity: s.option("capacity", capacity).map(|Size(bytes)| bytes),
            root_mode: s.value("root_mode", Mode(usual.root_mode), root_mode).0,
            root_uid: s.value("root_uid", usual.root_uid, "Its owner then."),
            root_gid: s.value("root_gid", usual.root_gid, "Its group then."),
            durability: usual.durability,
            pinned: {
                let doc = "pinned: what is read stays in memory, within half of cache.size.";
                s.value("cache", Caching::Normal, doc) == Caching::Pinned
            },
        },
    };
    let doc = "What COMMIT and stable writes wait for: writeback (the page cache, which a power \
               cut loses), local (the local disk) or remote (the content store; names wait too).";
    share.vfs.durability = s.value("durability", usual.durability, doc);
    if share.vfs.durability == Grade::Writeback {
        remarks.push(format!(
            "share {}: durability writeback: a power cut loses the last seconds of what was \
             acknowledged",
            share.vfs.name
        ));
    }
    share
}

/// How callers may say who they are.
fn security(s: &mut Section<'_>, usual: Vec<Flavor>) -> Vec<Flavor> {
    let doc = "How clients say who a user is: sys (ids that are believed), none (the anonymous \
               user, who only reads), none:write (the same, who may write).";
    let given: Vec<Flavor> = s.values("security", doc);
    let is_none = |flavor: &&Flavor| matches!(flavor, Flavor::None { .. });
    if given.iter().filter(is_none).count() > 1 {
        s.problem("security", "both none and none:write; choose");
    }
    if given.is_empty() { usual } else { given }
}

pub(super) fn lookups(s: &mut Section<'_>) -> Lookups {
    let usual = Lookups::default();
    let file = "Netgroups, as netgroup(5) has them; read again when it changes.";
    let ttl = "How long an answer on a host or a user is good.";
    let lookups = Lookups {
        netgroup_file: s.value("netgroup_file", usual.netgroup_file, file),
        ttl: s.value("ttl", usual.ttl, ttl),
    };
    if lookups.ttl.is_zero() {
        s.problem("ttl", "expected at least 1s, for others are asked that often");
    }
    lookups
}
