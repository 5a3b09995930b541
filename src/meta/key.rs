//! Keys as bytes, big-endian so that their order is the order of what they name. Drawn in
//! `FORMAT.md`.

use vocab::{BlockHash, BlockIndex, Cookie, InodeId, ShareId, Time};

/// A content store's number, given out once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ContentId(pub(crate) u32);

/// First byte of a key in `Misc`.
const FORMAT: u8 = b'f';
const COUNTERS: u8 = b'c';
const SHARE: u8 = b's';
const CONTENT: u8 = b'n';
const SHARE_TOTALS: u8 = b't';
const CONTENT_TOTALS: u8 = b'u';
const ORPHAN: u8 = b'o';
const CONDEMNED: u8 = b'd';
const PATH: u8 = b'l';

pub(crate) fn format() -> Vec<u8> {
    vec![FORMAT]
}

pub(crate) fn counters() -> Vec<u8> {
    vec![COUNTERS]
}

pub(crate) fn share(share: ShareId) -> Vec<u8> {
    tagged(SHARE, &share.0.to_be_bytes())
}

pub(crate) fn shares() -> (Vec<u8>, Vec<u8>) {
    (vec![SHARE], vec![SHARE + 1])
}

pub(crate) fn content(name: &str) -> Vec<u8> {
    tagged(CONTENT, name.as_bytes())
}

/// The names of all content stores.
pub(crate) fn contents() -> (Vec<u8>, Vec<u8>) {
    (vec![CONTENT], vec![CONTENT + 1])
}

pub(crate) fn share_totals(share: ShareId) -> Vec<u8> {
    tagged(SHARE_TOTALS, &share.0.to_be_bytes())
}

pub(crate) fn all_share_totals() -> (Vec<u8>, Vec<u8>) {
    (vec![SHARE_TOTALS], vec![SHARE_TOTALS + 1])
}

/// Whose totals they are.
pub(crate) fn share_totals_of(key: &[u8]) -> Option<ShareId> {
    Some(ShareId(u32::from_be_bytes(key.get(1..)?.try_into().ok()?)))
}

pub(crate) fn content_totals(content: ContentId) -> Vec<u8> {
    tagged(CONTENT_TOTALS, &content.0.to_be_bytes())
}

pub(crate) fn all_content_totals() -> (Vec<u8>, Vec<u8>) {
    (vec![CONTENT_TOTALS], vec![CONTENT_TOTALS + 1])
}

pub(crate) fn orphan(inode: InodeId) -> Vec<u8> {
    tagged(ORPHAN, &inode.0.to_be_bytes())
}

pub(crate) fn orphans() -> (Vec<u8>, Vec<u8>) {
    (vec![ORPHAN], vec![ORPHAN + 1])
}

/// Which inode an orphan's key names.
pub(crate) fn orphan_of(key: &[u8]) -> Option<InodeId> {
    Some(InodeId(u64::from_be_bytes(key.get(1..)?.try_into().ok()?)))
}

/// In order of time.
pub(crate) fn condemned(content: ContentId, since: Time, hash: BlockHash) -> Vec<u8> {
    let mut key = condemned_from(content, since);
    key.extend_from_slice(&hash.0);
    key
}

/// Below every key of that time or later.
pub(crate) fn condemned_from(content: ContentId, since: Time) -> Vec<u8> {
    let mut key = tagged(CONDEMNED, &content.0.to_be_bytes());
    // Times before 1970 sort first.
    key.extend_from_slice(&(since.seconds.cast_unsigned() ^ (1 << 63)).to_be_bytes());
    key.extend_from_slice(&since.nanos.to_be_bytes());
    key
}

/// Below every condemned block of that content store.
pub(crate) fn condemned_start(content: ContentId) -> Vec<u8> {
    tagged(CONDEMNED, &content.0.to_be_bytes())
}

/// Every condemned block.
pub(crate) fn all_condemned() -> (Vec<u8>, Vec<u8>) {
    (vec![CONDEMNED], vec![CONDEMNED + 1])
}

/// Which block a condemned block's key names.
pub(crate) fn condemned_of(key: &[u8]) -> Option<BlockHash> {
    Some(BlockHash(key.get(17..)?.try_into().ok()?))
}

pub(crate) fn path(inode: InodeId) -> Vec<u8> {
    tagged(PATH, &inode.0.to_be_bytes())
}

/// The paths of all symlinks.
pub(crate) fn paths() -> (Vec<u8>, Vec<u8>) {
    (vec![PATH], vec![PATH + 1])
}

/// Whose path it is.
pub(crate) fn path_of(key: &[u8]) -> Option<InodeId> {
    inode_of(key.get(1..)?)
}

pub(crate) fn inode(inode: InodeId) -> [u8; 8] {
    inode.0.to_be_bytes()
}

pub(crate) fn name(dir: InodeId, name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(8 + name.len());
    key.extend_from_slice(&dir.0.to_be_bytes());
    key.extend_from_slice(name);
    key
}

pub(crate) fn inode_of(key: &[u8]) -> Option<InodeId> {
    Some(InodeId(u64::from_be_bytes(key.try_into().ok()?)))
}

pub(crate) fn cookie(dir: InodeId, cookie: Cookie) -> [u8; 16] {
    pair(dir.0, cookie.0)
}

/// The cookies of a directory above one.
pub(crate) fn cookies_after(dir: InodeId, after: Cookie) -> ([u8; 16], [u8; 16]) {
    (pair(dir.0, after.0.saturating_add(1)), pair(dir.0, u64::MAX))
}

pub(crate) fn cookie_of(key: &[u8]) -> Option<Cookie> {
    Some(Cookie(u64::from_be_bytes(key.get(8..)?.try_into().ok()?)))
}

pub(crate) fn block(inode: InodeId, index: BlockIndex) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&inode.0.to_be_bytes());
    key[8..].copy_from_slice(&index.0.to_be_bytes());
    key
}

/// The blocks of an inode from one on.
pub(crate) fn blocks_from(inode: InodeId, first: BlockIndex) -> ([u8; 12], [u8; 12]) {
    // No file has a block with the last index (`FILE_BYTES_MAX`).
    (block(inode, first), block(inode, BlockIndex(u32::MAX)))
}

pub(crate) fn block_of(key: &[u8]) -> Option<BlockIndex> {
    Some(BlockIndex(u32::from_be_bytes(key.get(8..)?.try_into().ok()?)))
}

pub(crate) fn count(content: ContentId, hash: BlockHash) -> [u8; 36] {
    let mut key = [0; 36];
    key[..4].copy_from_slice(&content.0.to_be_bytes());
    key[4..].copy_from_slice(&hash.0);
    key
}

/// The counts of a content store above one.
pub(crate) fn counts_after(content: ContentId, after: Option<BlockHash>) -> (Vec<u8>, Vec<u8>) {
    let mut from = content.0.to_be_bytes().to_vec();
    if let Some(after) = after {
        from.extend_from_slice(&after.0);
        from.push(0);
    }
    (from, content.0.saturating_add(1).to_be_bytes().to_vec())
}

/// Which content store a count's key begins with.
pub(crate) fn content_of(key: &[u8]) -> Option<ContentId> {
    Some(ContentId(u32::from_be_bytes(*key.first_chunk()?)))
}

/// Which block a count's key names.
pub(crate) fn counted_of(key: &[u8]) -> Option<BlockHash> {
    Some(BlockHash(key.get(4..)?.try_into().ok()?))
}

fn tagged(tag: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + rest.len());
    key.push(tag);
    key.extend_from_slice(rest);
    key
}

fn pair(high: u64, low: u64) -> [u8; 16] {
    ((u128::from(high) << 64) | u128::from(low)).to_be_bytes()
}
