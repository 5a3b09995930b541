//! Where an object rests below a store's root: `<domain>/blocks/ab/cd/<hash>` in lower-case hex; a
//! pack has `packs` instead of `blocks`.
//!
//! The order of paths is the order of keys.

use std::fmt::{Display, Formatter, Result};

use vocab::{BlockHash, StoreId};

use crate::{BlockKey, Kind};

/// The path below the root, without a leading slash.
impl Display for BlockKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let [first, second, ..] = self.hash.0;
        write!(f, "{}/{first:02x}/{second:02x}/{}", domain_path(self.domain, self.kind), self.hash)
    }
}

/// The directory of a domain's objects, without slashes around it.
pub(crate) fn domain_path(domain: StoreId, kind: Kind) -> String {
    let kind = match kind {
        Kind::Block => "blocks",
        Kind::Pack => "packs",
    };
    format!("{:016x}/{kind}", domain.0)
}

/// The domain that a folder's name spells; `None` for what we never wrote.
pub(crate) fn parse_domain(name: &str) -> Option<StoreId> {
    let is_ours = name.len() == 16
        && name
            .as_bytes()
            .chunks(2)
            .all(|pair| std::str::from_utf8(pair).ok().and_then(parse_byte).is_some());
    if is_ours { u64::from_str_radix(name, 16).ok().map(StoreId) } else { None }
}

/// The hash that a file's name spells; `None` for what we never wrote.
pub(crate) fn parse_hash(name: &str) -> Option<BlockHash> {
    let mut hash = [0; 32];
    if name.len() != 64 {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(name.as_bytes().chunks_exact(2)) {
        *byte = parse_byte(std::str::from_utf8(pair).ok()?)?;
    }
    Some(BlockHash(hash))
}

/// The byte that two lower-case hex digits spell.
pub(crate) fn parse_byte(name: &str) -> Option<u8> {
    let is_ours = name.len() == 2 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if is_ours { u8::from_str_radix(name, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_spells_its_path() {
        let mut hash = [0x5a; 32];
        hash[0] = 0x0b;
        hash[1] = 0xcd;
        let key = BlockKey::block(StoreId(0xfe), BlockHash(hash));
        let path = key.to_string();
        assert_eq!(path, format!("00000000000000fe/blocks/0b/cd/0bcd{}", "5a".repeat(30)));
        assert_eq!(parse_hash(path.rsplit('/').next().unwrap()), Some(key.hash));
        let pack = BlockKey { kind: Kind::Pack, ..key };
        assert_eq!(pack.to_string(), path.replace("blocks", "packs"));
    }

    #[test]
    fn strangers_are_no_hashes() {
        let good = "5a".repeat(32);
        for name in ["", "5a", &good[1..], &good.to_uppercase(), &format!("{good}.tmp")] {
            assert_eq!(parse_hash(name), None, "{name}");
        }
        assert_eq!(parse_hash(&format!("+5{}", "5a".repeat(31))), None);
        assert_eq!(parse_hash(&"é5".repeat(21)[..64.min("é5".repeat(21).len())]), None);
    }
}
