//! What all threads of a store share, and the answers that may block: from the table and the names,
//! else from the engine.

use std::{path::Path, sync::Arc};

use vocab::{Attr, Cookie, Error, FileKind, InodeId, StoreId};

use crate::{
    DirEntry, DirPage,
    capture::Captures,
    engine::{Batch, Engine, Fault, Space, View, journal::Journal, lsm::Lsm, memory::Memory},
    key,
    listings::{Listings, Page},
    names::{NAMES_MAX, Names},
    read,
    record::{FORMAT_VERSION, Format, Inode, Record},
    shards::Seed,
    table::Table,
    tx::{Tx, get, io},
};

/// Tries to load an entry that the writer keeps changing, before it is answered without being kept.
const LOADS_MAX: u32 = 4;
/// Entries of a listing that room is made for at once.
const ENTRIES_GUESS: usize = 1024;

/// An open store without its threads.
pub(crate) struct Core {
    pub(crate) name: String,
    pub(crate) id: StoreId,
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) table: Table,
    pub(crate) names: Names,
    pub(crate) listings: Listings,
    pub(crate) captures: Captures,
}

impl Core {
    /// A store over an engine, made when there is none in it.
    pub(crate) async fn open(name: &str, engine: Box<dyn Engine>) -> Result<Self, String> {
        let format = format(name, &*engine).await?;
        // A process that was killed may have left a batch that nobody was told of and no sync
        // covered. Whoever is shown its names from here on must find them after a power cut.
        let synced = engine.synced().await.map_err(io);
        synced.map_err(|error| format!("cannot sync the metadata store `{name}`: {error}"))?;
        let seed = Seed(reactor::rng::random_u64());
        Ok(Self {
            name: name.into(),
            id: StoreId(format.store),
            engine,
            table: Table::new(seed),
            names: Names::new(seed, NAMES_MAX),
            listings: Listings::default(),
            captures: Captures::default(),
        })
    }

    /// Commits changes and makes them durable.
    pub(crate) async fn store(&self, batch: &Batch) -> Result<(), Fault> {
        self.engine.commit(batch)?;
        self.engine.synced().await
    }

    pub(crate) fn read<T>(
        &self,
        answer: impl FnOnce(&dyn View) -> Result<T, Error>,
    ) -> Result<T, Error> {
        answer(&*self.engine.view())
    }

    /// Live attributes.
    pub(crate) fn attr(&self, id: InodeId) -> Result<Attr, Error> {
        let mut tries = 0;
        loop {
            if let Some(attr) = self.table.peek(id) {
                return Ok(attr);
            }
            let stamp = self.table.stamp(id);
            let inode = self.read(|view| read::inode(view, id))?;
            tries += 1;
            match self.table.loaded(&inode, stamp) {
                Some(attr) => return Ok(attr),
                // It was true a moment ago, and nobody has noted anything on it.
                None if tries == LOADS_MAX => return Ok(inode.attr()),
                None => {}
            }
        }
    }

    /// What a name leads to, from the engine.
    pub(crate) fn lookup(&self, dir: InodeId, name: &[u8]) -> Result<Attr, Error> {
        match name {
            b"." => self.directory(dir),
            b".." => {
                let parent = self.read(|view| read::parent(view, dir))?;
                self.attr(parent)
            }
            name => {
                let stamp = self.names.stamp(dir, name);
                let found = self.read(|view| read::lookup(view, dir, name))?;
                self.names.loaded(dir, name, found.as_ref().map(Inode::id), stamp);
                // It may have gone since, and then its name has.
                found.map_or(Err(Error::NotFound), |inode| match self.attr(inode.id()) {
                    Err(Error::Stale) => Err(Error::NotFound),
                    found => found,
                })
            }
        }
    }

    pub(crate) fn directory(&self, dir: InodeId) -> Result<Attr, Error> {
        let attr = self.attr(dir)?;
        if attr.kind == FileKind::Directory { Ok(attr) } else { Err(Error::NotDirectory) }
    }

    /// A listing of what is in memory; `None` when some of it is not.
    pub(crate) fn readdir_near(
        &self,
        dir: InodeId,
        after: Cookie,
        entries_max: usize,
        with_attr: bool,
    ) -> Option<DirPage> {
        let page = |after| {
            let change = self.table.peek(dir).ok_or(())?.change;
            self.listings.find(dir, change, after).ok_or(())
        };
        let attr = |inode| match with_attr {
            true => self.table.peek(inode).map(Some).ok_or(()),
            false => Ok(None),
        };
        gather(after, entries_max, page, attr).ok()
    }

    pub(crate) fn readdir(
        &self,
        dir: InodeId,
        after: Cookie,
        entries_max: usize,
        with_attr: bool,
    ) -> Result<DirPage, Error> {
        let attr = |inode| match with_attr.then(|| self.attr(inode)) {
            // It has gone since, or the store is damaged: its name alone is told.
            None | Some(Err(Error::Stale)) => Ok(None),
            Some(found) => found.map(Some),
        };
        gather(after, entries_max, |after| self.page(dir, after), attr)
    }

    /// The part of a directory that follows a cookie.
    fn page(&self, dir: InodeId, after: Cookie) -> Result<Arc<Page>, Error> {
        let change = self.attr(dir)?.change;
        if let Some(page) = self.listings.find(dir, change, after) {
            return Ok(page);
        }
        let (change, page) = self.read(|view| read::readdir(view, dir, after))?;
        let page = Arc::new(page);
        self.listings.keep(dir, change, &page);
        Ok(page)
    }
}

/// Entries above a cookie, from as many pages as it takes.
fn gather<E>(
    mut after: Cookie,
    entries_max: usize,
    page: impl Fn(Cookie) -> Result<Arc<Page>, E>,
    attr: impl Fn(InodeId) -> Result<Option<Attr>, E>,
) -> Result<DirPage, E> {
    let mut out =
        DirPage { entries: Vec::with_capacity(entries_max.min(ENTRIES_GUESS)), end: false };
    loop {
        let page = page(after)?;
        for (cookie, inode, name) in page.entries(after) {
            if out.entries.len() == entries_max {
                return Ok(out);
            }
            out.entries.push(DirEntry { name, inode, cookie, attr: attr(inode)? });
            after = cookie;
        }
        if page.end {
            return Ok(DirPage { end: true, ..out });
        }
    }
}

/// Opens the LSM in a folder.
pub(crate) fn lsm(path: &Path) -> Result<Box<dyn Engine>, String> {
    Ok(Box::new(Lsm::open(path)?))
}

/// Opens the engine of simulated worlds.
pub(crate) fn journal(path: &Path) -> Result<Box<dyn Engine>, String> {
    Ok(Box::new(Journal::open(path)?))
}

/// A fresh engine in memory.
pub(crate) fn memory() -> Box<dyn Engine> {
    Box::new(Memory::default())
}

/// Reads what the store says of itself, or makes it.
async fn format(name: &str, engine: &dyn Engine) -> Result<Format, String> {
    let found: Option<Format> = get(&*engine.view(), Space::Misc, &key::format())
        .map_err(|error| format!("cannot read the metadata store `{name}`: {error}"))?;
    if let Some(format) = found {
        if format.version != FORMAT_VERSION {
            return Err(format!(
                "the metadata store `{name}` has format {}, and this server knows {FORMAT_VERSION}; \
                 use a server that knows it",
                format.version
            ));
        }
        return Ok(format);
    }
    let format = Format { version: FORMAT_VERSION, store: reactor::rng::random_u64() };
    let batch = {
        let view = engine.view();
        let mut tx = Tx::new(&*view);
        tx.put(Space::Misc, &key::format(), &format);
        tx.into_batch()
    };
    let words = |fault| format!("cannot make the metadata store `{name}`: {}", io(fault));
    engine.commit(&batch).map_err(words)?;
    engine.synced().await.map_err(words)?;
    Ok(format)
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("name", &self.name)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Decodes a value that this process has just encoded.
pub(crate) fn own<R: Record>(bytes: &[u8]) -> R {
    R::decode(bytes).unwrap_or_else(|_| panic!("a record that was just encoded"))
}
