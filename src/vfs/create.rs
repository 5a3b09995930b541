//! CREATE: a regular file, found or made.

use meta::command::NewKind;
use vocab::{Error, FileKind, limits::FILE_BYTES_MAX};

use crate::{Caller, CreateHow, Made, SetAttr, Vfs, handle::Handle, make, target::Target};

impl Vfs {
    /// CREATE of a regular file.
    ///
    /// # Errors
    /// `Exists`, `Access`, `NameTooLong`, `ReadOnly`.
    pub async fn create(
        &self,
        caller: &Caller,
        dir: &Handle,
        name: &[u8],
        how: CreateHow,
    ) -> Result<Made, Error> {
        let dir = self.enter_to_change(caller, dir).await?;
        let (set, exclusive) = match how {
            CreateHow::Unchecked(set) | CreateHow::Guarded(set) => (set, None),
            CreateHow::Exclusive(verifier) => (SetAttr::default(), Some(verifier)),
        };
        if set.size.is_some_and(|size| size > FILE_BYTES_MAX) {
            return Err(Error::TooBig);
        }
        let unchecked = matches!(how, CreateHow::Unchecked(_));
        match make::make(&dir, name, NewKind::Regular { exclusive }, &set).await {
            Err(Error::Exists) if unchecked => self.open(&dir, name, set.size).await,
            Ok(made) if set.size.is_some_and(|size| size > 0) => {
                let file = dir.with(made.found.attr);
                let attr = self.set_size(&file, set.size).await?;
                Ok(Made { found: dir.found(attr), ..made })
            }
            made => made,
        }
    }

    /// An unchecked create of what exists: the length is set if one is given, the rest of the
    /// attributes is ignored. What is no regular file cannot be opened this way.
    async fn open(&self, dir: &Target<'_>, name: &[u8], size: Option<u64>) -> Result<Made, Error> {
        let attr = match dir.child(name).await {
            // It was there a moment ago. The client asks again.
            Err(Error::NotFound) => return Err(Error::Busy),
            found => found?,
        };
        if attr.kind != FileKind::Regular {
            return Err(Error::Exists);
        }
        let attr = self.set_size(&dir.with(attr), size).await?;
        Ok(Made { found: dir.found(attr), dir: dir.unchanged() })
    }

    async fn set_size(&self, file: &Target<'_>, size: Option<u64>) -> Result<vocab::Attr, Error> {
        let set = SetAttr { size, ..SetAttr::default() };
        let wcc = self.change(file, &set, None).await?;
        Ok(wcc.post.unwrap_or(file.attr))
    }
}
