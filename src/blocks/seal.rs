//! Encryption at rest: named keys wrap data keys, data keys make a key for each object. FORMAT.md
//! draws what is stored.
//!
//! Invariants: no key seals two objects, since each object has a random salt of its own; within an
//! object each frame has its number as nonce. Secrets are never printed. The first data key of a
//! domain decides the identity of its blocks for ever, so that deduplication outlives every key.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use reactor::rng;
use vocab::{BlockHash, StoreId};
use xxhash_rust::xxh3::xxh3_64;

use crate::{Plain, Store, StoreError, object::Fault};

/// Bytes by which sealing makes something longer.
pub(crate) const TAG_BYTES: u32 = 16;
const MAGIC: &[u8; 8] = b"DFSKEY1\0";
const NAMED_MAGIC: &[u8; 8] = b"DFSSEAL1";
/// Contexts of derived keys: each names one use, for ever.
const OBJECT: &str = "dittofs 2026-11 key of a block object";
const NAMED: &str = "dittofs 2026-11 key of a named object";
const WRAP: &str = "dittofs 2026-11 key that wraps a data key";
const IDENTITY: &str = "dittofs 2026-11 identity of blocks";

type Secret = [u8; 32];
pub(crate) type Salt = [u8; 32];
/// Names a data key.
pub(crate) type KeyId = [u8; 16];

/// A key of the operator's.
#[derive(Clone, PartialEq, Eq)]
pub struct NamedKey {
    /// Its name in the configuration.
    pub name: String,
    /// Its bytes.
    pub secret: [u8; 32],
}

impl fmt::Debug for NamedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NamedKey({})", self.name)
    }
}

/// The keys of a content store.
#[derive(Debug)]
pub struct Keyring {
    /// Which of them wraps new data keys.
    current: NamedKey,
    known: Vec<NamedKey>,
    domains: Mutex<BTreeMap<StoreId, Arc<DataKeys>>>,
    /// One domain is opened at a time, so that a new one gets one data key.
    opening: tokio::sync::Mutex<()>,
}

/// The data keys of a domain, the oldest first; never none.
pub(crate) struct DataKeys(Vec<DataKey>);

struct DataKey {
    id: KeyId,
    secret: Secret,
    /// When it was made, in seconds.
    made: i64,
}

/// The key of one object.
pub(crate) struct ObjectKey {
    pub(crate) id: KeyId,
    pub(crate) salt: Salt,
    key: LessSafeKey,
}

impl Keyring {
    /// `current`: wraps new data keys. `known`: others, which may have wrapped older ones.
    #[must_use]
    pub fn new(current: NamedKey, known: Vec<NamedKey>) -> Self {
        Self { current, known, domains: Mutex::default(), opening: tokio::sync::Mutex::default() }
    }

    /// The data keys of a domain; its first one is made when there is none.
    pub(crate) async fn of(
        &self,
        store: &dyn Store,
        domain: StoreId,
    ) -> Result<Arc<DataKeys>, StoreError> {
        if let Some(keys) = self.lock().get(&domain) {
            return Ok(Arc::clone(keys));
        }
        let _one = self.opening.lock().await;
        if let Some(keys) = self.lock().get(&domain) {
            return Ok(Arc::clone(keys));
        }
        let mut keys = self.read(store, domain).await?;
        if keys.is_empty() {
            let made = reactor::clock::wall().seconds;
            let key = DataKey { id: random(), secret: random(), made };
            let wrapped = wrap(&self.current, domain, &key);
            store.put_named(&name(domain, &key.id), wrapped.into()).await?;
            keys.push(key);
        }
        let keys = Arc::new(DataKeys(keys));
        self.lock().insert(domain, Arc::clone(&keys));
        Ok(keys)
    }

    /// Opens the data keys of all domains that have some.
    pub(crate) async fn check(&self, store: &dyn Store) -> Result<(), StoreError> {
        for domain in store.domains().await? {
            self.read(store, domain).await?;
        }
        Ok(())
    }

    /// Wraps all data keys with the current key; how many.
    pub(crate) async fn rewrap(&self, store: &dyn Store) -> Result<u64, StoreError> {
        let mut count = 0;
        for domain in store.domains().await? {
            for key in self.read(store, domain).await? {
                let wrapped = wrap(&self.current, domain, &key);
                store.put_named(&name(domain, &key.id), wrapped.into()).await?;
                count += 1;
            }
        }
        Ok(count)
    }

    async fn read(&self, store: &dyn Store, domain: StoreId) -> Result<Vec<DataKey>, StoreError> {
        let mut keys = Vec::new();
        for name in store.list_named(&folder(domain)).await? {
            let object = store.get_named(&name).await?;
            let wrapped = Wrapped::parse(&object);
            let wrapped = wrapped.ok_or_else(|| StoreError::Corrupt(format!("{name}: damaged")))?;
            let mut known = [&self.current].into_iter().chain(&self.known);
            let by = known.find(|key| key.name.as_bytes() == wrapped.by).ok_or_else(|| {
                let by = String::from_utf8_lossy(wrapped.by);
                StoreError::Refused(format!(
                    "its blocks are encrypted under key `{by}`; declare it below keys"
                ))
            })?;
            let id = name.rsplit('/').next().and_then(parse_id);
            let id = id.ok_or_else(|| StoreError::Corrupt(format!("{name}: not a key's name")))?;
            let secret = wrapped.open(by, domain, &id).ok_or_else(|| {
                StoreError::Refused(format!(
                    "its blocks are encrypted under another key than `{}` is now; give the key \
                     that it was",
                    by.name
                ))
            })?;
            keys.push(DataKey { id, secret, made: wrapped.made });
        }
        keys.sort_by_key(|key| (key.made, key.id));
        Ok(keys)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<StoreId, Arc<DataKeys>>> {
        self.domains.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses a content store that has data keys, for one that is configured without.
pub(crate) async fn refuse_keys(store: &dyn Store) -> Result<(), StoreError> {
    for domain in store.domains().await? {
        if let Some(name) = store.list_named(&folder(domain)).await?.first() {
            let object = store.get_named(name).await?;
            let by = Wrapped::parse(&object)
                .map_or("?".into(), |wrapped| String::from_utf8_lossy(wrapped.by).into_owned());
            return Err(StoreError::Refused(format!(
                "its blocks are encrypted under key `{by}`; name it as encryption.key"
            )));
        }
    }
    Ok(())
}

/// Whether a named object was sealed.
pub(crate) fn is_sealed(stored: &[u8]) -> bool {
    stored.starts_with(NAMED_MAGIC)
}

impl DataKeys {
    /// A fresh key for an object.
    pub(crate) fn object(&self) -> ObjectKey {
        let DataKey { id, secret, .. } = self.0.last().expect("never none");
        ObjectKey::derive(*id, secret, random(), OBJECT)
    }

    /// The key of an object that was sealed once.
    pub(crate) fn object_of(&self, id: &KeyId, salt: &Salt) -> Option<ObjectKey> {
        let DataKey { id, secret, .. } = self.0.iter().find(|key| key.id == *id)?;
        Some(ObjectKey::derive(*id, secret, *salt, OBJECT))
    }

    /// The identity of a block, which tells nothing of its bytes.
    pub(crate) fn identity(&self, plain: &Plain) -> BlockHash {
        let secret = &self.0.first().expect("never none").secret;
        let mut hasher = blake3::Hasher::new_keyed(&blake3::derive_key(IDENTITY, secret));
        for frame in plain.frames() {
            hasher.update(frame);
        }
        BlockHash(*hasher.finalize().as_bytes())
    }

    /// A named object as it is stored.
    pub(crate) fn seal_named(&self, name: &str, object: &[u8]) -> Vec<u8> {
        let DataKey { id, secret, .. } = self.0.last().expect("never none");
        let key = ObjectKey::derive(*id, secret, random(), NAMED);
        let sealed = key.seal(0, name.as_bytes(), object.to_vec());
        [&NAMED_MAGIC[..], &key.id, &key.salt, &sealed].concat()
    }

    /// A sealed named object as it was.
    pub(crate) fn open_named(&self, name: &str, stored: &[u8]) -> Option<Vec<u8>> {
        let (id, rest) = stored.strip_prefix(NAMED_MAGIC)?.split_first_chunk::<16>()?;
        let (salt, sealed) = rest.split_first_chunk()?;
        let DataKey { id, secret, .. } = self.0.iter().find(|key| key.id == *id)?;
        ObjectKey::derive(*id, secret, *salt, NAMED).open(0, name.as_bytes(), sealed).ok()
    }
}

impl ObjectKey {
    fn derive(id: KeyId, secret: &Secret, salt: Salt, context: &str) -> Self {
        let key = blake3::derive_key(context, &[&secret[..], &salt].concat());
        let key = UnboundKey::new(&AES_256_GCM, &key).expect("a key of the right length");
        Self { id, salt, key: LessSafeKey::new(key) }
    }

    /// Bytes and their tag. A number is sealed once.
    pub(crate) fn seal(&self, number: u32, about: &[u8], mut bytes: Vec<u8>) -> Vec<u8> {
        let sealed = self.key.seal_in_place_append_tag(nonce(number), Aad::from(about), &mut bytes);
        sealed.expect("no more than a cipher takes");
        bytes
    }

    /// The bytes again, if nobody has touched them.
    pub(crate) fn open(&self, number: u32, about: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut bytes = sealed.to_vec();
        let plain = self.key.open_in_place(nonce(number), Aad::from(about), &mut bytes);
        let len = plain.map_err(|_| "not sealed by its key")?.len();
        bytes.truncate(len);
        Ok(bytes)
    }
}

impl fmt::Debug for DataKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} data keys", self.0.len())
    }
}

/// A data key as it is stored.
struct Wrapped<'a> {
    /// The name of the key that wraps it.
    by: &'a [u8],
    made: i64,
    salt: &'a Salt,
    sealed: &'a [u8],
}

impl<'a> Wrapped<'a> {
    fn parse(object: &'a [u8]) -> Option<Self> {
        let (checked, check) = object.split_last_chunk()?;
        if xxh3_64(checked) != u64::from_le_bytes(*check) {
            return None;
        }
        let (made, rest) = checked.strip_prefix(MAGIC)?.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (by, rest) = rest.split_at_checked(u16::from_le_bytes(*len).into())?;
        let (salt, sealed) = rest.split_first_chunk()?;
        Some(Self { by, made: i64::from_le_bytes(*made), salt, sealed })
    }

    fn open(&self, by: &NamedKey, domain: StoreId, id: &KeyId) -> Option<Secret> {
        let key = ObjectKey::derive(*id, &by.secret, *self.salt, WRAP);
        key.open(0, name(domain, id).as_bytes(), self.sealed).ok()?.try_into().ok()
    }
}

fn wrap(by: &NamedKey, domain: StoreId, key: &DataKey) -> Vec<u8> {
    let wrapping = ObjectKey::derive(key.id, &by.secret, random(), WRAP);
    let sealed = wrapping.seal(0, name(domain, &key.id).as_bytes(), key.secret.to_vec());
    let len = u16::try_from(by.name.len()).expect("a key's name is short");
    let mut object = [
        &MAGIC[..],
        &key.made.to_le_bytes(),
        &len.to_le_bytes(),
        by.name.as_bytes(),
        &wrapping.salt,
        &sealed,
    ]
    .concat();
    object.extend_from_slice(&xxh3_64(&object).to_le_bytes());
    object
}

fn folder(domain: StoreId) -> String {
    format!("{:016x}/keys", domain.0)
}

fn name(domain: StoreId, id: &KeyId) -> String {
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}/{id}", folder(domain))
}

fn parse_id(name: &str) -> Option<KeyId> {
    let id = u128::from_str_radix(name, 16).ok()?;
    (name.len() == 32).then(|| id.to_be_bytes())
}

fn nonce(number: u32) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&number.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    for part in bytes.chunks_mut(8) {
        part.copy_from_slice(&rng::random_u64().to_le_bytes()[..part.len()]);
    }
    bytes
}

#[cfg(test)]
mod tests;
