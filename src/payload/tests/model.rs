//! Random operations against plain arrays: whatever is uploaded, evicted, cut, fetched or replayed
//! underneath, a read gives what was written last.

use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use reactor::rng::Rng;
use vocab::{Error, InodeId, durable::Grade, limits::BLOCK_BYTES};

use super::{Server, WRITE_MAX, seed};
use crate::{Payload, Place, Stability};

const BLOCK: u64 = BLOCK_BYTES as u64;
const SIZE_MAX: u64 = 3 * BLOCK;

/// A file and what it should be.
struct Model {
    inode: InodeId,
    bytes: Vec<u8>,
    rng: Rng,
    stamp: u8,
}

impl Model {
    fn new(inode: InodeId, seed: u64) -> Self {
        Self { inode, bytes: Vec::new(), rng: Rng::from_seed(seed ^ inode.0), stamp: 0 }
    }

    /// One random operation. `Err` when the file is not as it should be.
    async fn step(&mut self, payload: &Payload, place: &Place) -> Result<(), String> {
        match self.rng.below(20) {
            0 => self.truncate(payload, place).await,
            1 => {
                let done = payload.commit(place, self.inode, Grade::Local).await;
                drop(done.map_err(|error| format!("commit: {error}"))?);
                Ok(())
            }
            2..=8 => self.read(payload, place).await,
            _ => self.write(payload, place).await,
        }
    }

    /// Offsets crowd where the edges are.
    fn offset(&mut self) -> u64 {
        let near = self.rng.below(64 * 1024);
        match self.rng.below(6) {
            0 => near,
            1 => BLOCK - 32 * 1024 + near,
            2 => 2 * BLOCK - 32 * 1024 + near,
            3 => self.bytes.len() as u64,
            4 => (self.bytes.len() as u64).saturating_sub(near),
            _ => self.rng.below(SIZE_MAX),
        }
    }

    fn len(&mut self) -> u64 {
        let max = [100, 5000, 70_000, WRITE_MAX][usize::try_from(self.rng.below(4)).unwrap()];
        1 + self.rng.below(max)
    }

    async fn write(&mut self, payload: &Payload, place: &Place) -> Result<(), String> {
        let (offset, len) = (self.offset(), self.len());
        let len = usize::try_from(len.min(SIZE_MAX.saturating_sub(offset))).unwrap();
        if len == 0 {
            return Ok(());
        }
        self.stamp = self.stamp.wrapping_add(1);
        // Now and then zeroes, so that blocks become holes.
        let stamp = if self.rng.one_in(8) { 0 } else { self.stamp };
        let bytes: Vec<u8> = (0..len)
            .map(|n| if stamp == 0 { 0 } else { stamp ^ u8::try_from(n % 251).unwrap() })
            .collect();
        let stability = if self.rng.one_in(5) { Stability::Stable } else { Stability::Unstable };
        let start = usize::try_from(offset).unwrap();
        let size = self.bytes.len().max(start + len);
        let done = loop {
            let bytes = Bytes::from(bytes.clone());
            match payload.write(place, self.inode, offset, bytes, stability, Grade::Local).await {
                Err(Error::Busy) => {}
                done => break done.map_err(|error| format!("write: {error}"))?,
            }
        };
        if (done.pre.size, done.attr.size) != (self.bytes.len() as u64, size as u64) {
            return Err(format!("sizes {} {}, want {size}", done.pre.size, done.attr.size));
        }
        self.bytes.resize(size, 0);
        self.bytes[start..start + len].copy_from_slice(&bytes);
        Ok(())
    }

    async fn truncate(&mut self, payload: &Payload, place: &Place) -> Result<(), String> {
        let size = if self.rng.one_in(3) { 0 } else { self.offset() };
        loop {
            match payload.truncate(place, self.inode, size, Grade::Local).await {
                Err(Error::Busy) => {}
                Err(error) => return Err(format!("truncate: {error}")),
                Ok(_) => break,
            }
        }
        self.bytes.resize(usize::try_from(size).unwrap(), 0);
        Ok(())
    }

    async fn read(&mut self, payload: &Payload, place: &Place) -> Result<(), String> {
        let (offset, len) = (self.offset(), self.len());
        self.compare(payload, place, offset, u32::try_from(len).unwrap()).await
    }

    async fn compare(
        &self,
        payload: &Payload,
        place: &Place,
        offset: u64,
        len: u32,
    ) -> Result<(), String> {
        let done = loop {
            match payload.read(place, self.inode, offset, len).await {
                Err(Error::Busy) => reactor::sleep(std::time::Duration::from_millis(1)).await,
                done => break done.map_err(|error| format!("read: {error}"))?,
            }
        };
        let size = self.bytes.len();
        let from = usize::try_from(offset).unwrap().min(size);
        let to = (from + len as usize).min(size);
        let got = done.parts.concat();
        let want = &self.bytes[from..to];
        if done.attr.size != size as u64 || done.len as usize != got.len() {
            return Err(format!("size {} and {}, want {size}", done.attr.size, done.len));
        }
        if done.eof != (offset + u64::from(len) >= size as u64) {
            return Err(format!("eof {} at {offset}+{len} of {size}", done.eof));
        }
        match got.iter().zip(want).position(|(got, want)| got != want) {
            None if got.len() == want.len() => Ok(()),
            at => Err(format!("{} of {} bytes at {offset}, bad at {at:?}", got.len(), want.len())),
        }
    }

    async fn compare_all(&self, payload: &Payload, place: &Place) -> Result<(), String> {
        for offset in (0..=self.bytes.len() as u64).step_by(1 << 20) {
            self.compare(payload, place, offset, 1 << 20).await?;
        }
        Ok(())
    }
}

/// Somebody else reads the file meanwhile: what he sees is not checked here, what he leaves in the
/// caches and maps is.
async fn disturb(payload: Payload, place: Place, inode: InodeId, mut rng: Rng, steps: usize) {
    for _ in 0..steps {
        let (offset, len) = (rng.below(SIZE_MAX), 1 + u32::try_from(rng.below(100_000)).unwrap());
        match payload.read(&place, inode, offset, len).await {
            Ok(_) | Err(Error::Busy) => {}
            Err(error) => panic!("{inode:?}: {error}"),
        }
    }
}

/// Runs steps of all files at once, each file on its own task, half of them on each reactor.
fn run(server: &Server, models: Vec<Model>, steps: usize, seed: u64) -> Vec<Model> {
    let start = |(n, mut model): (usize, Model)| {
        let (payload, place) = (server.payload().clone(), server.place().clone());
        let remotes = server.remotes();
        let (other, inode) = ((payload.clone(), place.clone()), model.inode);
        let rng = Rng::from_seed(seed ^ model.rng.next_u64());
        drop(remotes[0].call(move || disturb(other.0, other.1, inode, rng, steps)));
        remotes[n % remotes.len()].call(move || async move {
            for step in 0..steps {
                let done = model.step(&payload, &place).await;
                done.map_err(|why| format!("{:?} step {step}: {why}", model.inode))?;
            }
            Ok(model)
        })
    };
    let running: Vec<_> = models.into_iter().enumerate().map(start).collect();
    let done: Vec<Result<Model, String>> =
        running.into_iter().map(|model| model.wait().unwrap()).collect();
    done.into_iter().map(|model| model.unwrap_or_else(|why| panic!("seed {seed}: {why}"))).collect()
}

fn compare(server: &Server, models: Vec<Model>, seed: u64) -> Vec<Model> {
    let same = server.on(async move |payload, place| {
        for model in &models {
            let same = model.compare_all(&payload, &place).await;
            same.map_err(|why| format!("{:?}: {why}", model.inode))?;
        }
        Ok::<_, String>(models)
    });
    same.unwrap_or_else(|why| panic!("seed {seed}: {why}"))
}

fn models(server: &Server, count: usize, seed: u64) -> Vec<Model> {
    (0..count).map(|n| Model::new(server.create(&format!("file-{n}")), seed)).collect()
}

#[test]
fn random_operations_with_uploads_eviction_and_restarts() {
    let seed = seed();
    let mut rng = Rng::from_seed(seed);
    let mut server = Server::start(2, |_| {});
    let mut files = models(&server, 5, seed);
    for _ in 0..12 {
        files = run(&server, files, 40, seed);
        match rng.below(5) {
            0 => server.drain(),
            1 => server.payload().drop_clean(),
            2 => {
                server.drain();
                server.payload().drop_clean();
            }
            3 => {}
            _ => server.restart(),
        }
        files = compare(&server, files, seed);
    }
    server.drain();
    server.restart();
    assert_eq!(server.payload().gauges().dirty_bytes, 0, "seed {seed}: drained is drained");
    compare(&server, files, seed);
}

#[test]
fn random_operations_over_a_store_that_fails() {
    let seed = seed();
    let mut server = Server::start(2, |_| {});
    *server.store.luck.lock().unwrap() = Some(Rng::from_seed(seed));
    let mut files = models(&server, 4, seed);
    for round in 0..6 {
        files = run(&server, files, 40, seed);
        if round % 2 == 0 {
            server.payload().drop_clean();
        } else {
            server.restart();
        }
        files = compare(&server, files, seed);
    }
    assert!(server.store.puts.load(SeqCst) > 0);
    *server.store.luck.lock().unwrap() = None;
    server.drain();
    server.payload().drop_clean();
    compare(&server, files, seed);
}
