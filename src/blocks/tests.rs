//! What every content store must do, and what no object may get away with.

use std::{
    fs::File,
    io::Write,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use bytes::Bytes;
use reactor::rng::Rng;
use vocab::{
    BlockHash, StoreId,
    limits::{BLOCK_BYTES, FRAME_BYTES},
};

use crate::{
    BlockKey, Boxed, Codec, Content, Filesystem, Kind, Listed, Memory, Put, Store, StoreError,
};

const FRAME: usize = FRAME_BYTES as usize;
const CODECS: [Codec; 3] = [Codec::None, Codec::Lz4, Codec::Zstd];

fn random(rng: &mut Rng, len: usize) -> Vec<u8> {
    (0..len.div_ceil(8)).flat_map(|_| rng.next_u64().to_le_bytes()).take(len).collect()
}

/// Half of the frames shrink, half do not.
fn mixed(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut plain = random(rng, len);
    for (number, frame) in plain.chunks_mut(FRAME).enumerate() {
        if number % 2 == 0 {
            frame.fill(u8::try_from(number).unwrap());
        }
    }
    plain
}

fn key(domain: u64, plain: &[u8]) -> BlockKey {
    BlockKey::block(StoreId(domain), Content::hash(&plain.into()))
}

async fn read_all(content: &Content, key: &BlockKey, plain: u32) -> Result<Vec<u8>, StoreError> {
    Ok(content.frames(key, None, plain, 0, plain.div_ceil(FRAME_BYTES)).await?.concat())
}

/// The contract of [`Store`], and blocks of every shape over it.
pub(crate) async fn conformance(store: Arc<dyn Store>) {
    store.probe().await.expect("the probe passes");
    bytes_by_key(store.as_ref()).await;
    lists_in_order(store.as_ref()).await;
    named_objects(store.as_ref()).await;
    for codec in CODECS {
        blocks_of_every_shape(Arc::clone(&store), codec).await;
    }
}

async fn bytes_by_key(store: &dyn Store) {
    let object = Bytes::from_static(b"0123456789");
    let key = key(1, &object);
    assert_eq!(store.get(&key, 0, 10).await, Err(StoreError::NotFound));
    assert_eq!(store.delete(&key).await, Ok(()), "nothing to remove is no error");
    assert_eq!(store.put(&key, object.clone()).await, Ok(Put::Created));
    assert_eq!(store.put(&key, object.clone()).await, Ok(Put::Present));
    assert_eq!(store.replace(&key, Bytes::from_static(b"other")).await, Ok(()));
    assert_eq!(store.get(&key, 0, 10).await, Ok(Bytes::from_static(b"other")));
    assert_eq!(store.replace(&key, object.clone()).await, Ok(()));
    for (from, len, want) in [(0, 10, 0..10), (3, 4, 3..7), (8, 9, 8..10), (10, 1, 10..10)] {
        assert_eq!(store.get(&key, from, len).await, Ok(object.slice(want)), "{from}+{len}");
    }
    assert_eq!(store.get(&key, 100, 1).await, Ok(Bytes::new()));
    assert_eq!(store.get(&key, 3, u64::MAX).await, Ok(object.slice(3..)));
    let other = BlockKey { domain: StoreId(2), ..key };
    assert_eq!(store.get(&other, 0, 1).await, Err(StoreError::NotFound), "domains are apart");
    let pack = BlockKey { kind: Kind::Pack, ..key };
    assert_eq!(store.get(&pack, 0, 1).await, Err(StoreError::NotFound), "kinds are apart");
    assert_eq!(store.put(&pack, object.clone()).await, Ok(Put::Created));
    assert_eq!(store.list(pack.domain, Kind::Pack, None, 9).await.unwrap().0[0].hash, pack.hash);
    assert_eq!(store.delete(&pack).await, Ok(()));
    assert_eq!(store.delete(&key).await, Ok(()));
    assert_eq!(store.get(&key, 0, 10).await, Err(StoreError::NotFound));
}

async fn named_objects(store: &dyn Store) {
    let [a, b, c] = [
        "00000000000000e0/checkpoints/1/a",
        "00000000000000e0/checkpoints/2/b",
        "00000000000000e1/checkpoints/1/c",
    ];
    assert_eq!(store.get_named(a).await, Err(StoreError::NotFound));
    assert_eq!(store.list_named("00000000000000e0/checkpoints").await, Ok(vec![]));
    for name in [a, b, c] {
        store.put_named(name, Bytes::from_static(b"old")).await.unwrap();
        store.put_named(name, Bytes::from(name.to_owned())).await.unwrap();
    }
    assert_eq!(store.get_named(b).await, Ok(Bytes::from(b.to_owned())));
    let listed = store.list_named("00000000000000e0/checkpoints").await;
    assert_eq!(listed, Ok(vec![a.to_owned(), b.to_owned()]));
    let domains = store.domains().await.unwrap();
    assert!(domains.contains(&StoreId(0xe0)) && domains.contains(&StoreId(0xe1)), "{domains:?}");
    for name in [a, b, c, c] {
        store.delete_named(name).await.unwrap();
    }
    assert_eq!(store.list_named("00000000000000e0/checkpoints").await, Ok(vec![]));
    // A folder that went with its last object comes back with its next.
    store.put_named(a, Bytes::from_static(b"new")).await.unwrap();
    assert_eq!(store.get_named(a).await, Ok(Bytes::from_static(b"new")));
    store.delete_named(a).await.unwrap();
}

async fn lists_in_order(store: &dyn Store) {
    let domain = StoreId(0xd0);
    assert_eq!(store.list(domain, Kind::Block, None, 10).await, Ok((vec![], false)));
    let mut rng = Rng::from_seed(7);
    let mut hashes: Vec<BlockHash> = Vec::new();
    // Few first bytes, so that every depth has several names.
    for n in 0..40u8 {
        let mut hash: [u8; 32] = random(&mut rng, 32).try_into().unwrap();
        (hash[0], hash[1]) = ([0, 0x0a, 0xff][usize::from(n) % 3], n / 12 * 0x55);
        hashes.push(BlockHash(hash));
    }
    hashes.extend([BlockHash([0; 32]), BlockHash([0xff; 32])]);
    for &hash in &hashes {
        store.put(&BlockKey::block(domain, hash), Bytes::from_static(b"x")).await.unwrap();
    }
    let stranger = BlockKey::block(StoreId(0xd1), BlockHash([0x0a; 32]));
    store.put(&stranger, Bytes::from_static(b"x")).await.unwrap();
    hashes.sort_unstable();
    for page in [1, 2, 7, 41, 42, 1000] {
        let (mut listed, mut pages) = (Vec::new(), 0);
        loop {
            let (some, more) = list(store, domain, listed.last().copied(), page).await.unwrap();
            assert!(some.len() <= page && (!more || some.len() == page));
            listed.extend(some);
            pages += 1;
            if !more {
                break;
            }
        }
        assert_eq!(listed, hashes, "in pages of {page}");
        assert_eq!(pages, hashes.len().div_ceil(page), "`more` is exact in pages of {page}");
    }
    let after = Some(BlockHash([0x0b; 32]));
    let above = hashes.iter().copied().filter(|&hash| Some(hash) > after).collect();
    assert_eq!(list(store, domain, after, 1000).await, Ok((above, false)));
    let (all, _) = store.list(domain, Kind::Block, None, 1).await.unwrap();
    let age = reactor::clock::wall().seconds - all[0].modified.seconds;
    assert!(all[0].bytes == 1 && (-60..600).contains(&age), "{all:?}, {age} s");
    for hash in hashes {
        store.delete(&BlockKey::block(domain, hash)).await.unwrap();
    }
    assert_eq!(store.list(domain, Kind::Block, None, 10).await, Ok((vec![], false)));
}

/// The hashes of a listing.
pub(crate) async fn list(
    store: &dyn Store,
    domain: StoreId,
    after: Option<BlockHash>,
    max: usize,
) -> Result<(Vec<BlockHash>, bool), StoreError> {
    let (listed, more) = store.list(domain, Kind::Block, after, max).await?;
    Ok((listed.iter().map(|object| object.hash).collect(), more))
}

async fn blocks_of_every_shape(store: Arc<dyn Store>, codec: Codec) {
    let mut rng = Rng::from_seed(11);
    let content = Content::new(Arc::clone(&store), codec);
    for len in [1, FRAME - 1, FRAME, FRAME + 1, 5 * FRAME + 17, BLOCK_BYTES as usize] {
        let plain = mixed(&mut rng, len);
        let (key, len) = (key(3, &plain), u32::try_from(len).unwrap());
        assert_eq!(content.put(&key, &plain[..].into()).await, Ok(Put::Created));
        assert_eq!(content.put(&key, &plain[..].into()).await, Ok(Put::Present));
        // A cold reader of each setting reads what this one wrote, and so does a warm one.
        for reader in CODECS.map(|codec| Content::new(Arc::clone(&store), codec)) {
            for _ in 0..2 {
                let last = len.div_ceil(FRAME_BYTES) - 1;
                let frame = reader.frames(&key, None, len, last, 1).await.unwrap();
                assert_eq!(frame, [&plain[last as usize * FRAME..]], "{codec:?} {len}");
                assert_eq!(read_all(&reader, &key, len).await.unwrap(), plain, "{codec:?} {len}");
            }
        }
        store.delete(&key).await.unwrap();
        assert_eq!(read_all(&content, &key, len).await, Err(StoreError::NotFound));
    }
}

/// A block in a memory store that the test may change.
struct Victim {
    store: Arc<Memory>,
    key: BlockKey,
    plain: Vec<u8>,
    object: Bytes,
}

impl Victim {
    async fn new(codec: Codec, len: usize) -> Self {
        let plain = mixed(&mut Rng::from_seed(13), len);
        let (store, key) = (Arc::new(Memory::new()), key(4, &plain));
        Content::new(store.clone(), codec).put(&key, &plain[..].into()).await.unwrap();
        let object = store.get(&key, 0, u64::MAX).await.unwrap();
        Self { store, key, plain, object }
    }

    async fn replace(&self, object: impl Into<Bytes>) {
        self.store.delete(&self.key).await.unwrap();
        self.store.put(&self.key, object.into()).await.unwrap();
    }

    /// Reads everything, frame by frame and at once, by readers cold and warm: right bytes or
    /// `Corrupt` that names the key. Returns whether all of it was refused by the reader by index.
    async fn is_refused(&self, what: &str) -> bool {
        let len = u32::try_from(self.plain.len()).unwrap();
        let frames = len.div_ceil(FRAME_BYTES);
        let mut refused = true;
        for codec in CODECS {
            let cold = Content::new(self.store.clone(), codec);
            let wholes = [(0, frames)].into_iter();
            for (first, count) in wholes.chain((0..frames).map(|frame| (frame, 1))) {
                match cold.frames(&self.key, None, len, first, count).await {
                    Ok(found) => {
                        let from = first as usize * FRAME;
                        assert_eq!(found.concat(), self.plain[from..][..found.concat().len()]);
                        refused &= count != frames;
                    }
                    Err(StoreError::Corrupt(why)) => {
                        assert!(why.contains(&self.key.to_string()), "{why}");
                    }
                    Err(error) => panic!("{what}: {error:?}"),
                }
            }
        }
        refused
    }
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    conformance(Arc::new(Memory::new())).await;
}

#[tokio::test]
async fn filesystem_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let store = Filesystem::open(dir.path().join("new/store")).unwrap();
    assert!(store.bytes_free() > Some(0));
    conformance(Arc::new(store)).await;
}

#[tokio::test]
async fn no_flipped_bit_passes() {
    for codec in CODECS {
        let victim = Victim::new(codec, 3 * FRAME + 100).await;
        let mut rng = Rng::from_seed(17);
        let head = 64 + 4 * 8;
        // Every byte of header, index and first checksum; a sample of the rest.
        let sample = (0..60).map(|_| {
            head + usize::try_from(rng.below((victim.object.len() - head) as u64)).unwrap()
        });
        for at in (0..head + 8).chain(sample.collect::<Vec<_>>()) {
            let mut object = victim.object.to_vec();
            object[at] ^= 1 << (at % 8);
            victim.replace(object).await;
            // With every frame raw, header and index are not read, and need not be right.
            let refused = victim.is_refused(&format!("{codec:?} byte {at}")).await;
            assert!(refused || codec == Codec::None && at < head, "{codec:?} byte {at}");
        }
    }
}

#[tokio::test]
async fn a_damaged_head_is_seen_by_who_reads_it() {
    let victim = Victim::new(Codec::None, 40 * FRAME).await;
    let mut object = victim.object.to_vec();
    object[20] ^= 1;
    victim.replace(object).await;
    let len = u32::try_from(victim.plain.len()).unwrap();
    let reader = Content::new(victim.store.clone(), Codec::Lz4);
    for first in [0, 39] {
        let error = reader.frames(&victim.key, None, len, first, 1).await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
    }
}

#[tokio::test]
async fn no_truncated_object_passes() {
    for codec in CODECS {
        let victim = Victim::new(codec, 3 * FRAME + 100).await;
        let whole = victim.object.len();
        for len in (0..120).chain((120..whole).step_by(997)).chain([whole - 1]) {
            victim.replace(victim.object.slice(..len)).await;
            assert!(victim.is_refused(&format!("{codec:?} cut to {len}")).await, "{len}");
        }
    }
}

#[tokio::test]
async fn another_block_under_the_key_is_refused() {
    for codec in CODECS {
        let victim = Victim::new(codec, 3 * FRAME).await;
        let other = random(&mut Rng::from_seed(19), 3 * FRAME);
        let content = Content::new(victim.store.clone(), codec);
        let key = key(4, &other);
        content.put(&key, &other[..].into()).await.unwrap();
        victim.replace(victim.store.get(&key, 0, u64::MAX).await.unwrap()).await;
        assert!(victim.is_refused("another block").await);
    }
}

#[tokio::test]
async fn another_length_is_refused() {
    for codec in CODECS {
        let victim = Victim::new(codec, 3 * FRAME).await;
        for len in [3 * FRAME - 1, 3 * FRAME + 1, 2 * FRAME, 4 * FRAME] {
            let reader = Content::new(victim.store.clone(), codec);
            let len = u32::try_from(len).unwrap();
            let last = len.div_ceil(FRAME_BYTES) - 1;
            // A whole frame of a raw block is right whatever the length of the block.
            if codec != Codec::None || !len.is_multiple_of(FRAME_BYTES) {
                let read = reader.frames(&victim.key, None, len, last, 1).await;
                assert!(matches!(read, Err(StoreError::Corrupt(_))), "{codec:?} {len} {read:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_reader_survives_a_block_written_anew_in_another_codec() {
    let victim = Victim::new(Codec::Zstd, 40 * FRAME).await;
    let len = u32::try_from(victim.plain.len()).unwrap();
    let reader = Content::new(victim.store.clone(), Codec::Zstd);
    assert_eq!(read_all(&reader, &victim.key, len).await.unwrap(), victim.plain);
    for codec in [Codec::None, Codec::Lz4, Codec::Zstd] {
        victim.store.delete(&victim.key).await.unwrap();
        Content::new(victim.store.clone(), codec)
            .put(&victim.key, &victim.plain[..].into())
            .await
            .unwrap();
        assert_eq!(read_all(&reader, &victim.key, len).await.unwrap(), victim.plain);
    }
}

/// Counts the GETs that pass.
#[derive(Debug, Default)]
struct Counted(Memory, AtomicU32);

impl Store for Counted {
    fn put<'a>(&'a self, key: &'a BlockKey, object: Bytes) -> Boxed<'a, Result<Put, StoreError>> {
        self.0.put(key, object)
    }

    fn replace<'a>(
        &'a self,
        key: &'a BlockKey,
        object: Bytes,
    ) -> Boxed<'a, Result<(), StoreError>> {
        self.0.replace(key, object)
    }

    fn get<'a>(
        &'a self,
        key: &'a BlockKey,
        from: u64,
        len: u64,
    ) -> Boxed<'a, Result<Bytes, StoreError>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.get(key, from, len)
    }

    fn delete<'a>(&'a self, key: &'a BlockKey) -> Boxed<'a, Result<(), StoreError>> {
        self.0.delete(key)
    }

    fn list<'a>(
        &'a self,
        domain: StoreId,
        kind: Kind,
        after: Option<BlockHash>,
        max: usize,
    ) -> Boxed<'a, Result<(Vec<Listed>, bool), StoreError>> {
        self.0.list(domain, kind, after, max)
    }

    fn put_named<'a>(&'a self, name: &'a str, object: Bytes) -> Boxed<'a, Result<(), StoreError>> {
        self.0.put_named(name, object)
    }

    fn get_named<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<Bytes, StoreError>> {
        self.0.get_named(name)
    }

    fn delete_named<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<(), StoreError>> {
        self.0.delete_named(name)
    }

    fn list_named<'a>(&'a self, dir: &'a str) -> Boxed<'a, Result<Vec<String>, StoreError>> {
        self.0.list_named(dir)
    }

    fn domains(&self) -> Boxed<'_, Result<Vec<StoreId>, StoreError>> {
        self.0.domains()
    }

    fn probe(&self) -> Boxed<'_, Result<Vec<String>, StoreError>> {
        self.0.probe()
    }

    fn bytes_free(&self) -> Option<u64> {
        self.0.bytes_free()
    }
}

#[tokio::test]
async fn a_read_asks_the_store_as_seldom_as_it_can() {
    let plain = mixed(&mut Rng::from_seed(23), 40 * FRAME);
    let (key, len) = (key(6, &plain), u32::try_from(plain.len()).unwrap());
    // Codec, first frame, GETs when cold, GETs when warm.
    let cases = [
        (Codec::None, 0, 1, 1),
        (Codec::None, 39, 1, 1),
        (Codec::Zstd, 0, 1, 1),
        (Codec::Zstd, 2, 1, 1),
        (Codec::Zstd, 39, 2, 1),
    ];
    for (codec, first, cold, warm) in cases {
        let store = Arc::new(Counted::default());
        let content = Content::new(store.clone(), codec);
        content.put(&key, &plain[..].into()).await.unwrap();
        for want in [cold, warm] {
            content.frames(&key, None, len, first, 1).await.unwrap();
            assert_eq!(store.1.swap(0, Ordering::Relaxed), want, "{codec:?} frame {first}");
        }
    }
}

fn write(path: &Path, bytes: &[u8]) {
    File::create(path).unwrap().write_all(bytes).unwrap();
}

#[tokio::test]
async fn an_open_removes_what_was_left_unfinished_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = Filesystem::open(dir.path()).unwrap();
    let (kept, plain) = (key(5, b"kept"), Bytes::from_static(b"kept"));
    store.put(&kept, plain.clone()).await.unwrap();
    let (left, held) = (dir.path().join("tmp/1-0"), dir.path().join("tmp/1-1"));
    write(&left, b"half");
    write(&held, b"of a living writer");
    let lock = File::open(&held).unwrap();
    lock.lock().unwrap();
    let store = Filesystem::open(dir.path()).unwrap();
    assert!(!left.exists() && held.exists());
    assert_eq!(store.get(&kept, 0, 10).await, Ok(plain));
}

#[tokio::test]
async fn a_file_of_another_length_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = Filesystem::open(dir.path()).unwrap();
    let (key, object) = (key(5, b"object"), Bytes::from_static(b"object"));
    store.put(&key, object.clone()).await.unwrap();
    write(&dir.path().join(key.to_string()), b"obj");
    assert_eq!(store.put(&key, object.clone()).await, Ok(Put::Created));
    assert_eq!(store.get(&key, 0, 10).await, Ok(object));
    assert_eq!(dir.path().join("tmp").read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn many_writers_of_one_block_agree() {
    let dir = tempfile::tempdir().unwrap();
    let store = Filesystem::open(dir.path()).unwrap();
    let (key, object) = (key(5, b"object"), Bytes::from_static(b"object"));
    let puts = (0..50).map(|_| store.put(&key, object.clone()));
    for put in futures_util::future::join_all(puts).await {
        put.unwrap();
    }
    assert_eq!(store.get(&key, 0, 10).await, Ok(object));
    assert_eq!(dir.path().join("tmp").read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn a_directory_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("file"), b"");
    let opened = Filesystem::open(dir.path().join("file/store"));
    assert!(matches!(opened, Err(StoreError::Refused(_))), "{opened:?}");
}
