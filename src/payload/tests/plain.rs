//! One behaviour at a time.

use std::sync::atomic::Ordering::SeqCst;

use meta::command::{AttrChange, Command};
use reactor::clock;
use vocab::{
    Error, InodeId,
    durable::Grade,
    limits::{BLOCK_BYTES, FILE_BYTES_MAX, FRAME_BYTES},
};

use super::{SEGMENT, Server};
use crate::{Evidence, Stability};

const BLOCK: u64 = BLOCK_BYTES as u64;

/// A block's worth of bytes that do not repeat by frame.
pub(super) fn block(stamp: u8) -> Vec<u8> {
    let word = |n: u32| (n ^ (u32::from(stamp) << 24)).to_le_bytes();
    (0..BLOCK_BYTES / 4).flat_map(word).collect()
}

pub(super) fn write_all(server: &Server, inode: InodeId, offset: u64, bytes: &[u8]) {
    for (at, part) in (offset..).step_by(128 * 1024).zip(bytes.chunks(128 * 1024)) {
        server.write(inode, at, part.to_vec());
    }
}

/// Nothing goes up before it is drained or full.
const LONG: std::time::Duration = std::time::Duration::from_secs(3600);

fn at_rest(config: &mut crate::Config) {
    config.settle = LONG;
    config.log_bytes_max = 1 << 30;
}

#[test]
fn evidence_is_as_asked_and_names_one_life_of_the_log() {
    let server = Server::start(1, |_| {});
    let file = server.create("a");
    let unstable = server.write(file, 0, vec![1; 10]);
    let Evidence::Logged(logged) = unstable.evidence else { panic!("more than asked") };
    let stable = server.try_write(file, 10, vec![2; 10], Stability::Stable).unwrap();
    let Evidence::Durable(durable) = stable.evidence else { panic!("less than asked") };
    let commit = server
        .on(async move |payload, place| payload.commit(&place, file, Grade::Local).await.unwrap());
    assert_eq!(logged.verifier(), durable.verifier());
    assert_eq!(logged.verifier(), commit.verifier());
    assert_eq!((stable.pre.size, stable.attr.size), (10, 20));
}

#[test]
fn what_lies_beyond_the_largest_file_is_refused() {
    let server = Server::start(1, |_| {});
    let file = server.create("a");
    let write = |offset| server.try_write(file, offset, vec![1; 10], Stability::Unstable);
    assert_eq!(write(FILE_BYTES_MAX - 9).unwrap_err(), Error::TooBig);
    assert_eq!(write(u64::MAX - 3).unwrap_err(), Error::TooBig);
    assert_eq!(write(FILE_BYTES_MAX - 10).unwrap().attr.size, FILE_BYTES_MAX);
    server.drain();
    server.payload().drop_clean();
    assert_eq!(server.read(file, FILE_BYTES_MAX - 12, 100), [&[0; 2][..], &[1; 10]].concat());
    let end = server.try_read(file, FILE_BYTES_MAX, 10).unwrap();
    assert!(end.eof && end.len == 0);
}

#[test]
fn a_file_that_does_not_exist_is_stale() {
    let server = Server::start(1, |_| {});
    let nobody = InodeId(4711);
    let write = server.try_write(nobody, 0, vec![1; 10], Stability::Unstable);
    assert_eq!(write.unwrap_err(), Error::Stale);
    assert_eq!(server.try_read(nobody, 0, 10).unwrap_err(), Error::Stale);
}

#[test]
fn a_sparse_file_costs_nothing() {
    let server = Server::start(1, |_| {});
    let file = server.create("sparse");
    let size = 8u64 << 40;
    server.truncate(file, size);
    server.write(file, size / 2, vec![7; 100]);
    server.drain();
    assert_eq!(server.payload().gauges().upload_bytes, 100, "the block weighs what is in it");
    assert_eq!(server.store.puts.load(SeqCst), 1);
    server.payload().drop_clean();
    assert_eq!(server.read(file, size / 2 - 2, 104)[..4], [0, 0, 7, 7]);
    for offset in (0..size).step_by(1 << 36) {
        let read = server.try_read(file, offset + 1, 1 << 20).unwrap();
        assert!(read.parts.len() <= 2 && read.len == 1 << 20);
    }
    assert_eq!(server.payload().gauges().cache_bytes, 100 + 160);
}

#[test]
fn bytes_cut_off_never_come_back() {
    for is_drained in [false, true] {
        let mut server = Server::start(1, |_| {});
        let file = server.create("a");
        write_all(&server, file, 0, &block(3));
        write_all(&server, file, BLOCK, &[9; 1000]);
        if is_drained {
            server.drain();
        }
        server.truncate(file, 5);
        server.truncate(file, 2 * BLOCK);
        let check = |server: &Server| {
            assert_eq!(server.read(file, 0, 100), [&block(3)[..5], &[0; 95]].concat());
            assert_eq!(server.read(file, BLOCK - 10, 2000), vec![0; 2000]);
        };
        check(&server);
        server.restart();
        check(&server);
        server.drain();
        server.payload().drop_clean();
        check(&server);
        server.restart();
        check(&server);
    }
}

/// Goes through so many segments of the log.
fn fill(server: &Server, file: InodeId, segments: usize) {
    for n in 0..segments * 8 {
        server.write(file, n as u64 * 128 * 1024, vec![1; 128 * 1024]);
    }
}

#[test]
fn old_records_stay_dead_when_what_undid_them_has_left_the_log() {
    let mut server = Server::start(1, |config| {
        config.settle = LONG;
        config.log_bytes_max = 64 * u64::from(SEGMENT);
    });
    let [cut, over, pin, filler] = ["cut", "over", "pin", "filler"].map(|name| server.create(name));
    // Two old records, and one that holds their segment in the log.
    server.write(cut, 0, vec![5; 1000]);
    server.write(over, 0, vec![5; 1000]);
    server.write(pin, 0, vec![6; 1000]);
    fill(&server, filler, 2);
    // Far from there, what undoes them: a truncate that is sealed, a block that is uploaded.
    server.truncate(cut, 0);
    write_all(&server, over, 0, &block(9));
    server.until("sealed", |server| {
        server.on(async move |_, place| place.meta.sealed(cut).await.unwrap().0 > 0)
    });
    server.until("uploaded", |server| server.payload().gauges().uploads == 1);
    // The free segments are used again.
    for _ in 0..10 {
        server.truncate(filler, 0);
        fill(&server, filler, 3);
    }
    server.write(cut, 2000, vec![7; 10]);
    server.restart();
    assert_eq!(server.read(pin, 0, 2000), vec![6; 1000], "the old segment is still there");
    assert_eq!(server.read(cut, 0, 2000), vec![0; 2000]);
    assert!(server.read(over, 0, 5000) == block(9)[..5000]);
}

#[test]
fn truncates_before_and_after_a_snapshot_do_not_mix() {
    let mut server = Server::start(1, at_rest);
    let file = server.create("a");
    server.write(file, 0, vec![1; 5000]);
    server.drain();
    server.store.is_slow.store(true, SeqCst);
    let puts = server.store.puts.load(SeqCst);
    server.truncate(file, 0);
    write_all(&server, file, 0, &block(4));
    server.until("the block under way", |server| server.store.puts.load(SeqCst) > puts);
    server.truncate(file, 1000);
    // Whoever changes attributes takes the data state along: here from before the block arrives,
    // and it arrives first.
    let place = server.place().clone();
    let data = place.meta.unflushed(file);
    server.store.is_slow.store(false, SeqCst);
    server.until("the block there", |server| server.payload().gauges().uploads == 2);
    let change = AttrChange { mode: Some(0o600), ..AttrChange::default() };
    let now = clock::wall();
    server.submit(Command::SetAttr { inode: file, change, guard: None, now, data }).unwrap();
    drop(place);
    server.drain();
    server.payload().drop_clean();
    assert!(server.read(file, 0, 5000) == block(4)[..1000]);
    server.restart();
    assert!(server.read(file, 0, 5000) == block(4)[..1000]);
}

#[test]
fn a_block_written_while_it_travels_keeps_what_is_newer() {
    let server = Server::start(1, |_| {});
    let file = server.create("a");
    server.store.is_slow.store(true, SeqCst);
    server.write(file, 0, vec![1; 5000]);
    server.until("under way", |server| server.store.puts.load(SeqCst) > 0);
    server.write(file, 1000, vec![2; 1000]);
    server.store.is_slow.store(false, SeqCst);
    server.drain();
    server.payload().drop_clean();
    let want = [vec![1; 1000], vec![2; 1000], vec![1; 3000]].concat();
    assert_eq!(server.read(file, 0, 9000), want);
}

#[test]
fn equal_blocks_are_put_once() {
    let server = Server::start(2, at_rest);
    let files: Vec<InodeId> = (0..6).map(|n| server.create(&format!("copy-{n}"))).collect();
    for &file in &files {
        write_all(&server, file, 0, &block(1));
    }
    server.drain();
    assert_eq!(server.store.puts.load(SeqCst), 1);
    let gauges = server.payload().gauges();
    assert_eq!((gauges.uploads, gauges.upload_dedup_hits), (1, 5));
    server.payload().drop_clean();
    let last = server.read(files[5], BLOCK - 1000, 2000);
    assert_eq!(last, block(1)[BLOCK_BYTES as usize - 1000..]);
}

#[test]
fn a_growing_file_uploads_each_full_block_once() {
    let server = Server::start(1, at_rest);
    let file = server.create("log");
    for n in 0..3 {
        write_all(&server, file, n * BLOCK, &block(u8::try_from(n).unwrap()));
        write_all(&server, file, (n + 1) * BLOCK, &[1; 100]);
    }
    server.until("three blocks uploaded", |server| server.payload().gauges().uploads >= 3);
    server.until("only the tail dirty", |server| server.payload().gauges().dirty_bytes == 100);
    assert_eq!(server.store.puts.load(SeqCst), 3, "the tail waits until it settles");
}

#[test]
fn a_small_random_read_fetches_its_frames_and_hits_need_no_store() {
    let server = Server::start(1, |config| {
        at_rest(config);
        config.cache_bytes_max = 64 << 20;
    });
    let file = server.create("image");
    write_all(&server, file, 0, &block(8));
    server.drain();
    server.payload().drop_clean();
    let gets = || server.store.gets.load(SeqCst);
    let before = gets();
    let at = 40 * FRAME_BYTES as usize + 100;
    assert_eq!(server.read(file, at as u64, 4096), block(8)[at..at + 4096]);
    assert!(gets() - before <= 2, "index and frame");
    let frame = u64::from(FRAME_BYTES);
    assert!(server.payload().gauges().cache_bytes < 2 * frame, "one frame is kept");
    let before = (gets(), server.payload().gauges().cache_hits);
    assert_eq!(server.read(file, at as u64, 4096), block(8)[at..at + 4096]);
    assert_eq!(gets(), before.0);
    assert_eq!(server.payload().gauges().cache_hits, before.1 + 1);
}

#[test]
fn a_sequential_reader_finds_what_it_will_read() {
    let server = Server::start(1, |config| {
        at_rest(config);
        config.cache_bytes_max = 256 << 20;
    });
    let blocks: Vec<Vec<u8>> = (0..4).map(block).collect();
    let file = server.create("film");
    for (offset, block) in (0..).step_by(BLOCK_BYTES as usize).zip(&blocks) {
        write_all(&server, file, offset, block);
    }
    server.drain();
    server.payload().drop_clean();
    for offset in (0..4 * BLOCK).step_by(64 * 1024) {
        let got = server.read(file, offset, 64 * 1024);
        let from = usize::try_from(offset % BLOCK).unwrap();
        let block = &blocks[usize::try_from(offset / BLOCK).unwrap()];
        assert!(got == block[from..from + 64 * 1024], "{offset}");
        server.on(async |_, _| reactor::sleep(std::time::Duration::from_millis(1)).await);
    }
    let gauges = server.payload().gauges();
    assert!(gauges.cache_hits > gauges.cache_misses, "{gauges:?}");
}
