//! Bytes that may be views of mapped files: read without being touched.
//!
//! A page that the disk cannot give ends the process that touches it (SIGBUS), so nobody touches a
//! view. The kernel sends it, and says EFAULT; who needs the bytes copies them with [`copy`], which
//! reads the file. What could not be read is remembered until it can be, so that who would send it
//! can know better ([`is_unreadable`]).

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    ops::Range,
    os::{fd::AsRawFd, unix::fs::FileExt},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::Bytes;

/// A mapped file.
struct Region {
    end: usize,
    file: Arc<File>,
    /// What the disk did not give, as offsets of the file.
    unreadable: Vec<Range<usize>>,
}

/// By the address of their first byte.
static REGIONS: RwLock<BTreeMap<usize, Region>> = RwLock::new(BTreeMap::new());
/// No region begins below or ends above.
static LOWEST: AtomicUsize = AtomicUsize::new(usize::MAX);
static HIGHEST: AtomicUsize = AtomicUsize::new(0);
/// Ranges that are unreadable now, of all regions.
static UNREADABLE: AtomicUsize = AtomicUsize::new(0);
static ERRORS: AtomicU64 = AtomicU64::new(0);

pub(crate) fn enter(at: usize, len: usize, file: Arc<File>) {
    LOWEST.fetch_min(at, Relaxed);
    HIGHEST.fetch_max(at + len, Relaxed);
    let region = Region { end: at + len, file, unreadable: Vec::new() };
    assert!(changed().insert(at, region).is_none(), "memory is mapped once");
}

pub(crate) fn leave(at: usize) {
    let region = changed().remove(&at).expect("it was mapped");
    UNREADABLE.fetch_sub(region.unreadable.len(), Relaxed);
}

/// How often a disk did not give what a view stands for.
#[must_use]
pub fn errors() -> u64 {
    ERRORS.load(Relaxed)
}

/// Whether the bytes lie in a mapped file.
#[must_use]
pub fn is_view(bytes: &[u8]) -> bool {
    let at = bytes.as_ptr().addr();
    (LOWEST.load(Relaxed)..HIGHEST.load(Relaxed)).contains(&at)
        && place(&regions(), bytes).is_some()
}

/// Copies bytes wherever they lie. Blocking when they are a view.
///
/// # Errors
/// The kernel's, when the disk does not give them.
pub fn copy(bytes: &[u8], into: &mut [u8]) -> io::Result<()> {
    assert!(bytes.len() == into.len(), "all of them");
    if !is_view(bytes) {
        into.copy_from_slice(bytes);
        return Ok(());
    }
    let (file, range) = {
        let regions = regions();
        let (region, range) = place(&regions, bytes).expect("whoever holds a view holds its file");
        (Arc::clone(&region.file), range)
    };
    let read = file.read_exact_at(into, range.start as u64);
    note(bytes, range, &file, read.as_ref().err());
    read
}

/// Reads a view again. Whether the disk gives it. Blocking.
#[must_use]
pub fn is_readable(view: &[u8]) -> bool {
    copy(view, &mut vec![0; view.len()]).is_ok()
}

/// Whether nothing is unreadable: what is asked first, since it costs nothing.
#[must_use]
pub fn are_all_readable() -> bool {
    UNREADABLE.load(Relaxed) == 0
}

/// Whether some of the bytes could not be read when they were last needed.
#[must_use]
pub fn is_unreadable(bytes: &[u8]) -> bool {
    if are_all_readable() || !is_view(bytes) {
        return false;
    }
    let regions = regions();
    place(&regions, bytes)
        .is_some_and(|(region, range)| region.unreadable.iter().any(|bad| overlap(bad, &range)))
}

/// Looks for what made the kernel refuse to send: afterwards [`is_unreadable`] knows it.
pub(crate) async fn examine(parts: Vec<Bytes>) {
    let look = move || {
        let views = parts.iter().filter(|part| is_view(part));
        let unreadable = views.filter(|part| !is_readable(part)).count();
        trace::debug!(unreadable, "the kernel could not read what it should send");
    };
    if let Ok(looked) = crate::thread::offload("views-examine", look) {
        // Whoever stops meanwhile needs no answer.
        looked.await.ok();
    }
}

/// Remembers what a read of a view found; says an error once.
fn note(view: &[u8], range: Range<usize>, file: &File, error: Option<&io::Error>) {
    if error.is_none() && are_all_readable() {
        return;
    }
    let mut regions = changed();
    let at = view.as_ptr().addr();
    let (_, region) = regions.range_mut(..=at).next_back().expect("it was just there");
    let before = region.unreadable.len();
    let is_known = region.unreadable.iter().any(|bad| overlap(bad, &range));
    let rest = std::mem::take(&mut region.unreadable)
        .into_iter()
        .flat_map(|bad| [bad.start..bad.end.min(range.start), bad.start.max(range.end)..bad.end]);
    region.unreadable = rest.filter(|rest| rest.start < rest.end).collect();
    if error.is_some() {
        region.unreadable.push(range.clone());
    }
    let after = region.unreadable.len();
    drop(regions);
    UNREADABLE.fetch_add(after, Relaxed);
    UNREADABLE.fetch_sub(before, Relaxed);
    if let Some(error) = error.filter(|_| !is_known) {
        ERRORS.fetch_add(1, Relaxed);
        let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap_or_default();
        trace::error!(
            "{}: the disk does not give the bytes {range:?}: {error}. They read as errors until \
             the disk gives them or they are written again. Check the disk",
            path.display()
        );
    }
}

/// The mapped file that the bytes lie in, and where.
fn place<'a>(
    regions: &'a BTreeMap<usize, Region>,
    bytes: &[u8],
) -> Option<(&'a Region, Range<usize>)> {
    let at = bytes.as_ptr().addr();
    let (start, region) = regions.range(..=at).next_back()?;
    (at < region.end).then(|| (region, at - start..at - start + bytes.len()))
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

fn regions() -> RwLockReadGuard<'static, BTreeMap<usize, Region>> {
    REGIONS.read().unwrap_or_else(PoisonError::into_inner)
}

fn changed() -> RwLockWriteGuard<'static, BTreeMap<usize, Region>> {
    REGIONS.write().unwrap_or_else(PoisonError::into_inner)
}
