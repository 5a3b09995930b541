//! Files mapped for reading, shared with the page cache.
#![expect(unsafe_code, reason = "mapped memory that the kernel changes")]

use std::{fs::File, io, sync::Arc};

use bytes::Bytes;
use memmap2::MmapOptions;

use crate::views;

/// A mapping. Views of it are `Bytes`, so they outlive this handle.
pub(crate) struct Mapping(memmap2::Mmap);

impl Drop for Mapping {
    fn drop(&mut self) {
        views::leave(self.0.as_ptr().addr());
    }
}

/// What a view holds on to.
struct Owner(Arc<Mapping>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0.0
    }
}

/// Maps the first `len` bytes.
pub(crate) fn map(file: &Arc<File>, len: usize) -> io::Result<Arc<Mapping>> {
    assert!(file.metadata()?.len() >= len as u64, "a mapping beyond the file's end faults");
    // SAFETY: the file is ours alone (its folder is locked) and never becomes shorter, so the pages
    // exist. Bytes change under the mapping only by our own writes, and the owner of the file
    // writes a range only while no view of that range is held, and hands views out afterwards.
    let mapping = unsafe { MmapOptions::new().len(len).map(&**file) }?;
    views::enter(mapping.as_ptr().addr(), len, Arc::clone(file));
    Ok(Arc::new(Mapping(mapping)))
}

/// All of a mapping. Slices of it share one count.
pub(crate) fn view(mapping: &Arc<Mapping>) -> Bytes {
    Bytes::from_owner(Owner(mapping.clone()))
}
