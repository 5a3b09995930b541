//! Warming a share: all its files, by its names.

use meta::Store;
use payload::{Warmed, Warmer};
use vocab::{Cookie, Error, FileKind};

use crate::Vfs;

/// Entries of a directory that are asked for at once.
const ENTRIES_MAX: usize = 256;
/// Files between two words.
const TELL_EVERY: u64 = 1000;

impl Vfs {
    /// Brings what a share's files have in the content store into memory, as far as it fits, and
    /// tells now and then how far it is.
    ///
    /// # Errors
    /// In words for the operator.
    pub async fn warm(
        &self,
        name: &str,
        mut tell: impl FnMut(Warmed) + Send,
    ) -> Result<Warmed, String> {
        let share = self.inner.shares.iter().find(|share| &*share.name == name);
        let share = share.ok_or_else(|| format!("no share {name} is served"))?;
        let place = &share.place;
        let words = |error: Error| format!("share {name}: {error}");
        let mut warmer = Warmer::new(self.inner.payload.clone());
        let mut dirs = vec![share.root];
        while let Some(dir) = dirs.pop() {
            let mut after = Cookie(0);
            loop {
                let page = Store::readdir(&place.meta, dir, after, ENTRIES_MAX, true).await;
                let page = match page {
                    // It was removed meanwhile.
                    Err(Error::Stale) => break,
                    page => page.map_err(words)?,
                };
                for entry in &page.entries {
                    after = entry.cookie;
                    match entry.attr.map(|attr| attr.kind) {
                        Some(FileKind::Directory) => dirs.push(entry.inode),
                        Some(FileKind::Regular) => match warmer.file(place, entry.inode).await {
                            Ok(()) | Err(Error::Stale) => {}
                            Err(error) => return Err(words(error)),
                        },
                        Some(_) | None => {}
                    }
                    let done = warmer.done();
                    if done.files > 0 && done.files.is_multiple_of(TELL_EVERY) {
                        tell(done);
                    }
                }
                if page.end {
                    break;
                }
            }
        }
        Ok(warmer.done())
    }
}
