//! What an encrypted store must do: nothing readable in it, everything back, and only with its key.

use std::sync::Arc;

use vocab::{PackId, limits::FRAME_BYTES};

use super::*;
use crate::{BlockKey, Codec, Content, Kind, Memory, Part};

const DOMAIN: StoreId = StoreId(5);
const FRAME: usize = FRAME_BYTES as usize;

fn named(name: &str) -> NamedKey {
    let mut secret = [7; 32];
    secret[..name.len()].copy_from_slice(name.as_bytes());
    NamedKey { name: name.to_owned(), secret }
}

fn ring(names: &[&str]) -> Keyring {
    Keyring::new(named(names[0]), names[1..].iter().map(|name| named(name)).collect())
}

fn encrypted(store: &Arc<Memory>, codec: Codec, names: &[&str]) -> Content {
    Content::encrypted(store.clone(), codec, ring(names))
}

fn plain(len: usize) -> Plain {
    let text = b"a text that nobody else may read ".repeat(len.div_ceil(33));
    Plain::from(&text[..len])
}

async fn put(content: &Content, plain: &Plain) -> BlockKey {
    let key = BlockKey::block(DOMAIN, content.identity(DOMAIN, plain).await.unwrap());
    content.put(&key, plain).await.unwrap();
    key
}

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|part| part == text)
}

#[tokio::test]
async fn blocks_come_back_by_frames_and_nothing_of_them_is_in_the_store() {
    for codec in [Codec::None, Codec::Lz4, Codec::Zstd] {
        for len in [1, 100, FRAME, FRAME + 1, 5 * FRAME + 7] {
            let store = Arc::new(Memory::new());
            let content = encrypted(&store, codec, &["a"]);
            let plain = plain(len);
            let key = put(&content, &plain).await;
            assert_ne!(key.hash, Content::hash(&plain), "the name tells nothing");
            let object = store.get(&key, 0, u64::MAX).await.unwrap();
            assert!(!holds(&object, &plain.frames()[0][..len.min(8)]) || len < 8);
            assert!(!holds(&object, &Content::hash(&plain).0));
            let bytes = plain.bytes();
            // A server that was started again.
            let again = encrypted(&store, Codec::None, &["a"]);
            for (first, frame) in (0..).zip(plain.frames()) {
                let read = again.frames(&key, None, bytes, first, 1).await.unwrap();
                assert_eq!(&read[0], frame, "{codec:?} {len} frame {first}");
            }
            let whole = again.whole(&key, None, bytes).await.unwrap();
            assert_eq!(whole.frames(), plain.frames());
            assert_eq!(put(&again, &plain).await, key, "deduplication outlives a restart");
            let salvaged = again.salvage(&key, None, bytes).await;
            assert!(salvaged.iter().all(Option::is_some));
        }
    }
}

#[tokio::test]
async fn equal_blocks_are_never_sealed_alike() {
    let store = Arc::new(Memory::new());
    let content = encrypted(&store, Codec::None, &["a"]);
    let plain = plain(1000);
    let key = BlockKey::block(DOMAIN, content.identity(DOMAIN, &plain).await.unwrap());
    let [a, b] = [content.part(&key, &plain).await, content.part(&key, &plain).await];
    assert_ne!(a.unwrap().object, b.unwrap().object);
}

#[tokio::test]
async fn no_flipped_bit_passes() {
    for codec in [Codec::None, Codec::Zstd] {
        let store = Arc::new(Memory::new());
        let plain = plain(2 * FRAME + 100);
        let key = put(&encrypted(&store, codec, &["a"]), &plain).await;
        let good = store.get(&key, 0, u64::MAX).await.unwrap();
        let sample = (0..good.len()).step_by(997);
        for at in (0..160).chain(sample).chain([good.len() - 1]) {
            let mut bad = good.to_vec();
            bad[at] ^= 1 << (at % 8);
            store.replace(&key, bad.into()).await.unwrap();
            let read = encrypted(&store, codec, &["a"]).whole(&key, None, plain.bytes()).await;
            assert!(matches!(read, Err(StoreError::Corrupt(_))), "{codec:?} byte {at}");
        }
    }
}

/// Checksums are no secret: whoever can write into the bucket can make them right.
#[tokio::test]
async fn a_forged_object_does_not_pass() {
    let store = Arc::new(Memory::new());
    let content = encrypted(&store, Codec::None, &["a"]);
    let key = put(&content, &plain(1000)).await;
    let other = plain(999);
    let forger = Content::new(store.clone(), Codec::None);
    // The bytes of another block, unsealed, under this one's name and length.
    let mut bytes = other.frames()[0].to_vec();
    bytes.push(b'!');
    let forged: Part = forger.part(&key, &bytes[..].into()).await.unwrap();
    forger.replace(&key, &forged).await.unwrap();
    assert!(forger.frames(&key, None, 1000, 0, 1).await.is_ok(), "its checksums are right");
    let read = encrypted(&store, Codec::None, &["a"]).frames(&key, None, 1000, 0, 1).await;
    assert!(matches!(read, Err(StoreError::Corrupt(_))), "{read:?}");
}

#[tokio::test]
async fn what_was_there_before_stays_readable() {
    let store = Arc::new(Memory::new());
    let old = Content::new(store.clone(), Codec::Lz4);
    let plain = plain(3 * FRAME);
    let key = put(&old, &plain).await;
    old.store.put_named("0000000000000005/checkpoints/1/a", "old".into()).await.unwrap();
    let new = encrypted(&store, Codec::Lz4, &["a"]);
    let read = new.frames(&key, None, plain.bytes(), 1, 2).await.unwrap();
    assert_eq!(read, plain.frames()[1..]);
    assert_eq!(new.whole(&key, None, plain.bytes()).await.unwrap().frames(), plain.frames());
    assert_eq!(&new.store.get_named("0000000000000005/checkpoints/1/a").await.unwrap()[..], b"old");
    assert_ne!(put(&new, &plain).await, key);
}

#[tokio::test]
async fn packs_hold_sealed_blocks() {
    let store = Arc::new(Memory::new());
    let content = encrypted(&store, Codec::None, &["a"]);
    let (pack, mut parts) = (PackId(BlockHash([1; 32])), Vec::new());
    let blocks = [plain(10), plain(5000), plain(FRAME + 5)];
    for plain in &blocks {
        let hash = content.identity(DOMAIN, plain).await.unwrap();
        parts.push(content.part(&BlockKey::block(DOMAIN, hash), plain).await.unwrap());
    }
    let places = content.put_pack(DOMAIN, pack, &parts).await.unwrap();
    let again = encrypted(&store, Codec::Zstd, &["a"]);
    for ((plain, part), packed) in blocks.iter().zip(&parts).zip(places) {
        let key = BlockKey::block(DOMAIN, part.hash);
        let read = again.frames(&key, Some(packed), plain.bytes(), 0, 1).await.unwrap();
        assert_eq!(read[0], plain.frames()[0]);
    }
    let (listed, _) = store.list(DOMAIN, Kind::Pack, None, 9).await.unwrap();
    let object = store.get(&BlockKey::pack(DOMAIN, PackId(listed[0].hash)), 0, u64::MAX).await;
    assert!(!holds(&object.unwrap(), b"nobody else"));
}

#[tokio::test]
async fn named_objects_are_sealed_under_their_names() {
    let store = Arc::new(Memory::new());
    let content = encrypted(&store, Codec::None, &["a"]);
    let [one, two] = ["0000000000000005/checkpoints/1/a", "0000000000000005/checkpoints/1/b"];
    content.store.put_named(one, "names and attributes".into()).await.unwrap();
    let stored = store.get_named(one).await.unwrap();
    assert!(!holds(&stored, b"names"));
    let again = encrypted(&store, Codec::None, &["a"]);
    assert_eq!(&again.store.get_named(one).await.unwrap()[..], b"names and attributes");
    store.put_named(two, stored.clone()).await.unwrap();
    assert!(matches!(again.store.get_named(two).await, Err(StoreError::Corrupt(_))), "moved");
    for at in 8..stored.len() {
        let mut bad = stored.to_vec();
        bad[at] ^= 4;
        store.put_named(one, bad.into()).await.unwrap();
        assert!(again.store.get_named(one).await.is_err(), "byte {at}");
    }
}

#[tokio::test]
async fn a_key_is_changed_without_touching_a_block() {
    let store = Arc::new(Memory::new());
    let first = encrypted(&store, Codec::None, &["a"]);
    let plain = plain(1000);
    let key = put(&first, &plain).await;
    let object = store.get(&key, 0, u64::MAX).await.unwrap();
    let reads = async |names: &[&str]| {
        let content = encrypted(&store, Codec::None, names);
        content.check_keys().await?;
        content.whole(&key, None, 1000).await.map(|read| read.frames() == plain.frames())
    };
    assert_eq!(reads(&["a"]).await, Ok(true));
    let refused = |read, words: &str| match read {
        Err(StoreError::Refused(why)) => assert!(why.contains(words), "{why}"),
        other => panic!("{other:?}"),
    };
    refused(reads(&["b"]).await, "under key `a`; declare it below keys");
    let mut wrong = named("a");
    wrong.secret[31] ^= 1;
    let content = Content::encrypted(store.clone(), Codec::None, Keyring::new(wrong, vec![]));
    refused(content.check_keys().await.map(|()| true), "another key than `a`");
    let without = Content::new(store.clone(), Codec::None);
    refused(without.check_keys().await.map(|()| true), "name it as encryption.key");

    assert_eq!(reads(&["b", "a"]).await, Ok(true), "a new one is named, the old one known");
    assert_eq!(encrypted(&store, Codec::None, &["b", "a"]).rotate_key().await, Ok(1));
    assert_eq!(reads(&["b"]).await, Ok(true));
    refused(reads(&["a"]).await, "under key `b`");
    assert_eq!(store.get(&key, 0, u64::MAX).await.unwrap(), object);
    let content = encrypted(&store, Codec::None, &["b"]);
    assert_eq!(put(&content, &plain).await, key, "deduplication outlives the key");
}

#[tokio::test]
async fn damaged_data_keys_are_said() {
    let store = Arc::new(Memory::new());
    put(&encrypted(&store, Codec::None, &["a"]), &plain(10)).await;
    let name = store.list_named("0000000000000005/keys").await.unwrap().remove(0);
    let good = store.get_named(&name).await.unwrap();
    for at in 0..good.len() {
        let mut bad = good.to_vec();
        bad[at] ^= 1;
        store.put_named(&name, bad.into()).await.unwrap();
        let checked = encrypted(&store, Codec::None, &["a"]).check_keys().await;
        assert!(matches!(checked, Err(StoreError::Corrupt(_))), "byte {at}: {checked:?}");
    }
}
