//! Blocks in, blocks out: the formats of objects and packs over a store, and which ranges to ask it
//! for.
//!
//! What [`Content::frames`] returns was checked, always.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use vocab::{BlockHash, PackId, Packed, StoreId, limits::PACKED_BLOCK_BYTES_MAX};

use crate::{
    BlockKey, Keyring, PackEntry, Part, Plain, Put, Store, StoreError,
    names::SealedNames,
    object::{self, Codec, Fault, Index},
    pack,
    seal::{self, DataKeys},
};

/// Up to here one GET from the object's start is cheaper than one for the index and one for frames:
/// every frame of a block in a pack ends before.
const SINGLE_GET_BYTES_MAX: u64 = PACKED_BLOCK_BYTES_MAX as u64 + 4096;
/// No object is longer.
const OBJECT_BYTES_MAX: u64 = 2 * vocab::limits::BLOCK_BYTES as u64;
/// Indexes in one generation of the cache: with two generations at most about 20 MB.
const INDEXES_MAX: usize = 16 * 1024;

/// A store and the object format over it.
#[derive(Clone, Debug)]
pub struct Content {
    /// The bytes.
    pub store: Arc<dyn Store>,
    codec: Codec,
    indexes: Arc<Indexes>,
    /// What seals new blocks, and where the data keys rest.
    keys: Option<(Arc<Keyring>, Arc<dyn Store>)>,
}

impl Content {
    /// Blocks in a store, new ones in this codec.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, codec: Codec) -> Self {
        Self { store, codec, indexes: Arc::default(), keys: None }
    }

    /// The same, new ones encrypted. What is there unencrypted stays readable.
    #[must_use]
    pub fn encrypted(store: Arc<dyn Store>, codec: Codec, keys: Keyring) -> Self {
        let keys = Arc::new(keys);
        let sealed = SealedNames { inner: Arc::clone(&store), keys: Arc::clone(&keys) };
        Self { keys: Some((keys, store)), ..Self::new(Arc::new(sealed), codec) }
    }

    /// Whether the keys that are configured open what is there.
    ///
    /// # Errors
    /// The store's; `Refused`, with what to do, when they do not.
    pub async fn check_keys(&self) -> Result<(), StoreError> {
        match &self.keys {
            Some((keys, store)) => keys.check(&**store).await,
            None => seal::refuse_keys(&*self.store).await,
        }
    }

    /// Wraps all data keys by the key that is configured now; how many. No object is rewritten.
    ///
    /// # Errors
    /// As [`Content::check_keys`].
    pub async fn rotate_key(&self) -> Result<u64, StoreError> {
        match &self.keys {
            Some((keys, store)) => keys.rewrap(&**store).await,
            None => Ok(0),
        }
    }

    /// The identity of a new block here.
    ///
    /// # Errors
    /// The store's, when its keys are not there yet.
    pub async fn identity(&self, domain: StoreId, plain: &Plain) -> Result<BlockHash, StoreError> {
        let keys = self.keys(domain).await?;
        Ok(keys.map_or_else(|| Self::hash(plain), |keys| keys.identity(plain)))
    }

    /// Whether a block is the one of this name, which it may have got before there were keys.
    ///
    /// # Errors
    /// As [`Content::identity`].
    pub async fn is_block(&self, key: &BlockKey, plain: &Plain) -> Result<bool, StoreError> {
        Ok(Self::hash(plain) == key.hash || self.identity(key.domain, plain).await? == key.hash)
    }

    async fn keys(&self, domain: StoreId) -> Result<Option<Arc<DataKeys>>, StoreError> {
        match &self.keys {
            Some((keys, store)) => keys.of(&**store, domain).await.map(Some),
            None => Ok(None),
        }
    }

    /// The identity of a block that is not encrypted.
    #[must_use]
    pub fn hash(plain: &Plain) -> BlockHash {
        let mut hasher = blake3::Hasher::new();
        for frame in plain.frames() {
            hasher.update(frame);
        }
        BlockHash(*hasher.finalize().as_bytes())
    }

    /// Puts a plain block as an object. Compresses on this thread.
    ///
    /// # Errors
    /// The store's.
    pub async fn put(&self, key: &BlockKey, plain: &Plain) -> Result<Put, StoreError> {
        let part = self.part(key, plain).await?;
        self.store.put(key, part.object).await
    }

    /// Plain bytes of frames `first..first + count` of a block of `plain_len` bytes, checked; each
    /// at most `FRAME_BYTES`, the last one of the block shorter. One ranged GET where the frames'
    /// places are known, computable, or near the object's start; otherwise one more for the index.
    ///
    /// # Errors
    /// The store's, or `Corrupt`.
    pub async fn frames(
        &self,
        key: &BlockKey,
        packed: Option<Packed>,
        plain_len: u32,
        first: u32,
        count: u32,
    ) -> Result<Vec<Bytes>, StoreError> {
        let frames = object::frame_count(plain_len);
        assert!(count > 0 && first < frames && count <= frames - first, "frames of the block");
        if let Some(index) = self.guess(key, plain_len) {
            let span = index.span(first, count);
            let bytes = self.get(key, packed, span.start, span.end - span.start).await?;
            if let Ok(frames) = index.decode(&key.hash, first, count, &bytes) {
                return Ok(frames);
            }
            // Perhaps not corrupt: the block may have been written in another codec, or deleted and
            // written anew. The object's own index decides.
            self.indexes.forget(key);
        }
        self.frames_by_index(key, packed, plain_len, first, count).await
    }

    /// Puts a block's object over whatever object of its own is there.
    ///
    /// # Errors
    /// The store's.
    pub async fn replace(&self, key: &BlockKey, part: &Part) -> Result<(), StoreError> {
        self.indexes.forget(key);
        self.store.replace(key, part.object.clone()).await
    }

    /// The whole block, its object and its hash checked to the last bit.
    ///
    /// # Errors
    /// The store's, or `Corrupt`.
    pub async fn whole(
        &self,
        key: &BlockKey,
        packed: Option<Packed>,
        plain_len: u32,
    ) -> Result<Plain, StoreError> {
        let object = self.get(key, packed, 0, OBJECT_BYTES_MAX).await?;
        self.open(key, plain_len, &object).await
    }

    /// The block of an object, checked to the last bit.
    ///
    /// # Errors
    /// `Corrupt`.
    pub async fn open(
        &self,
        key: &BlockKey,
        plain_len: u32,
        object: &Bytes,
    ) -> Result<Plain, StoreError> {
        let corrupt = |fault: Fault| StoreError::Corrupt(format!("{key}: {fault}"));
        let index =
            Index::parse(&key.hash, plain_len, object, self.keys(key.domain).await?.as_deref());
        let index = index.map_err(corrupt)?;
        let frames = object::frame_count(plain_len);
        let span = index.span(0, frames);
        if object.len() as u64 != span.end {
            return Err(corrupt("longer or shorter than its index says"));
        }
        let bytes = object.slice(to_usize(span.start)..);
        let frames = index.decode(&key.hash, 0, frames, &bytes).map_err(corrupt)?;
        let mut plain = Plain::builder(plain_len);
        frames.iter().for_each(|frame| plain.push(frame));
        let plain = plain.finish();
        // What is not sealed must be what it was named by before there were keys.
        let identity = match index.is_sealed() {
            true => self.identity(key.domain, &plain).await?,
            false => Self::hash(&plain),
        };
        if identity != key.hash {
            return Err(corrupt("the bytes of another block"));
        }
        Ok(plain)
    }

    /// The frames of a damaged object that are good, in order; `None` for the others.
    pub async fn salvage(
        &self,
        key: &BlockKey,
        packed: Option<Packed>,
        plain_len: u32,
    ) -> Vec<Option<Bytes>> {
        let frames = object::frame_count(plain_len);
        let object = self.get(key, packed, 0, OBJECT_BYTES_MAX).await.unwrap_or_default();
        let Ok(keys) = self.keys(key.domain).await else { return vec![None; frames as usize] };
        let index = Index::parse(&key.hash, plain_len, &object, keys.as_deref());
        let index = index.unwrap_or_else(|_| Index::raw(plain_len));
        let frame = |number| {
            let span = index.span(number, 1);
            let bytes = object.get(to_usize(span.start)..to_usize(span.end))?;
            let bytes = object.slice_ref(bytes);
            index.decode(&key.hash, number, 1, &bytes).ok()?.pop()
        };
        (0..frames).map(frame).collect()
    }

    /// The object of a block, to be put by itself or in a pack. Compresses and seals on this
    /// thread.
    ///
    /// # Errors
    /// As [`Content::identity`].
    pub async fn part(&self, key: &BlockKey, plain: &Plain) -> Result<Part, StoreError> {
        let own = self.keys(key.domain).await?.map(|keys| keys.object());
        let object = object::encode(&key.hash, plain, self.codec, own.as_ref());
        Ok(Part { hash: key.hash, plain_bytes: plain.bytes(), object })
    }

    /// Puts blocks as one object; where each of them rests then.
    ///
    /// # Errors
    /// The store's.
    pub async fn put_pack(
        &self,
        domain: StoreId,
        pack: PackId,
        parts: &[Part],
    ) -> Result<Vec<Packed>, StoreError> {
        let (object, places) = pack::encode(pack, parts);
        self.store.put(&BlockKey::pack(domain, pack), object).await?;
        Ok(places)
    }

    /// What is in a pack.
    ///
    /// # Errors
    /// The store's, or `Corrupt`.
    pub async fn directory(
        &self,
        domain: StoreId,
        pack: PackId,
    ) -> Result<Vec<PackEntry>, StoreError> {
        let key = BlockKey::pack(domain, pack);
        let head = self.store.get(&key, 0, pack::HEAD_BYTES_MAX as u64).await?;
        let parsed = pack::parse(pack, &head);
        parsed
            .map(|(entries, _)| entries)
            .map_err(|why| StoreError::Corrupt(format!("{key}: {why}")))
    }

    /// All of a pack: what is in it, and the objects of its blocks, which are not checked.
    ///
    /// # Errors
    /// The store's, or `Corrupt`.
    pub async fn unpack(
        &self,
        domain: StoreId,
        pack: PackId,
    ) -> Result<Vec<(PackEntry, Bytes)>, StoreError> {
        let key = BlockKey::pack(domain, pack);
        let corrupt = |fault: Fault| StoreError::Corrupt(format!("{key}: {fault}"));
        let object = self.store.get(&key, 0, pack::BYTES_MAX).await?;
        let (entries, bytes) = pack::parse(pack, &object).map_err(corrupt)?;
        if bytes != object.len() as u64 {
            return Err(corrupt("longer or shorter than its directory says"));
        }
        let part = |entry: PackEntry| {
            let at = entry.packed.at as usize;
            (entry, object.slice(at..at + entry.packed.bytes as usize))
        };
        Ok(entries.into_iter().map(part).collect())
    }

    /// The object of a block as it lies in a pack, which is not checked.
    ///
    /// # Errors
    /// The store's.
    pub async fn packed_object(&self, key: &BlockKey, packed: Packed) -> Result<Bytes, StoreError> {
        self.get(key, Some(packed), 0, packed.bytes.into()).await
    }

    /// Bytes of a block's object, wherever it rests; fewer at its end.
    async fn get(
        &self,
        key: &BlockKey,
        packed: Option<Packed>,
        from: u64,
        len: u64,
    ) -> Result<Bytes, StoreError> {
        let Some(packed) = packed else { return self.store.get(key, from, len).await };
        let len = len.min(u64::from(packed.bytes).saturating_sub(from));
        if len == 0 {
            return Ok(Bytes::new());
        }
        let pack = BlockKey::pack(key.domain, packed.pack);
        self.store.get(&pack, u64::from(packed.at) + from, len).await
    }

    /// Where the frames should be, without asking the store.
    fn guess(&self, key: &BlockKey, plain_len: u32) -> Option<Arc<Index>> {
        let known = self.indexes.get(key).filter(|index| index.plain_bytes() == plain_len);
        let raw = || {
            (self.codec == Codec::None && self.keys.is_none())
                .then(|| Arc::new(Index::raw(plain_len)))
        };
        known.or_else(raw)
    }

    async fn frames_by_index(
        &self,
        key: &BlockKey,
        packed: Option<Packed>,
        plain_len: u32,
        first: u32,
        count: u32,
    ) -> Result<Vec<Bytes>, StoreError> {
        let corrupt = |fault: Fault| StoreError::Corrupt(format!("{key}: {fault}"));
        let end_max = object::end_max(plain_len, first + count);
        let is_single = first == 0 || end_max <= SINGLE_GET_BYTES_MAX;
        let lead = if is_single { end_max } else { object::head_bytes_max(plain_len).into() };
        let lead = self.get(key, packed, 0, lead).await?;
        let keys = self.keys(key.domain).await?;
        let index = Index::parse(&key.hash, plain_len, &lead, keys.as_deref()).map_err(corrupt)?;
        if keys.is_some() && !index.is_sealed() {
            // From before there were keys. Only all of its bytes prove that nobody put it here who
            // has none.
            let frames = self.whole(key, packed, plain_len).await?.into_frames();
            return Ok(frames[first as usize..(first + count) as usize].to_vec());
        }
        let span = index.span(first, count);
        let bytes = if is_single {
            lead.slice(lead.len().min(to_usize(span.start))..lead.len().min(to_usize(span.end)))
        } else {
            self.get(key, packed, span.start, span.end - span.start).await?
        };
        let frames = index.decode(&key.hash, first, count, &bytes).map_err(corrupt)?;
        self.indexes.remember(key, index);
        Ok(frames)
    }
}

fn to_usize(offset: u64) -> usize {
    usize::try_from(offset).expect("objects are smaller than memory")
}

/// The indexes used lately, in two generations: the older one goes when the younger is full.
#[derive(Default)]
struct Indexes(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: BTreeMap<BlockKey, Arc<Index>>,
    old: BTreeMap<BlockKey, Arc<Index>>,
}

impl Indexes {
    fn get(&self, key: &BlockKey) -> Option<Arc<Index>> {
        let mut generations = self.lock();
        if let Some(index) = generations.young.get(key) {
            return Some(Arc::clone(index));
        }
        let index = generations.old.remove(key)?;
        generations.insert(*key, Arc::clone(&index));
        Some(index)
    }

    fn remember(&self, key: &BlockKey, index: Index) {
        self.lock().insert(*key, Arc::new(index));
    }

    fn forget(&self, key: &BlockKey) {
        let mut generations = self.lock();
        generations.young.remove(key);
        generations.old.remove(key);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn insert(&mut self, key: BlockKey, index: Arc<Index>) {
        if self.young.len() == INDEXES_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, index);
    }
}

impl std::fmt::Debug for Indexes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let generations = self.lock();
        write!(f, "{} young, {} old", generations.young.len(), generations.old.len())
    }
}
