//! What a client was told is stable is there after a power cut at any moment of the disk.
//!
//! One ext4 has the log, the metadata and the blocks of a server; the disk below it remembers every
//! write and every flush. The server is started on what a cut at each flush, and at moments between
//! them, would have left. `SEED=n` repeats the work and the choices; `ROUNDS=n` says how many cuts.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use nfs3_types::nfs3::stable_how;
use tests::{
    client::Client,
    device::Device,
    disk::Disk,
    drive::{After, Driver, Past, Step},
    rng::Rng,
    server::{Server, Share},
};

const DEVICE_BYTES: u64 = 1 << 30;
const STEPS: usize = 150;

/// A step of the work, and between which events of the disk it was sent and answered.
struct Told {
    sent: usize,
    answered: usize,
    step: Step,
}

/// The power is cut at every flush of a hundred changes, and as often between two.
#[test]
fn power_cut_at_every_flush() {
    let seed = number("SEED").unwrap_or(0);
    println!("SEED={seed}");
    let mut rng = Rng::new(seed);
    let dir = tempfile::tempdir().expect("folder");
    let (device, disk, mut server) = start(dir.path());
    let mounted = disk.mounted.clone();
    let (mut past, told) = work(&mut server, &device, &mut rng);
    server.kill9();
    disk.unmount();
    let cuts = choose(&device.flushes(), device.now(), &mut rng);
    println!("{} flushes, {} changes, {} cuts", device.flushes().len(), told.len(), cuts.len());
    let (mut known, mut lost) = (0, Vec::new());
    for &cut in &cuts {
        while told.get(known).is_some_and(|told| told.answered <= cut) {
            past.advance(&told[known].step);
            known += 1;
        }
        let open = told.get(known).filter(|told| told.sent < cut).map(|told| &told.step);
        println!("the power goes before event {cut}, after {known} changes");
        let checked = AssertUnwindSafe(|| {
            check(&mut server, &device, &mounted, (cut, &past, open), &mut rng);
        });
        if catch_unwind(checked).is_err() {
            // The disk went with what failed.
            lost.push(cut);
            server.end();
        }
    }
    let (all, clean) = (cuts.len(), cuts.len() - lost.len());
    println!("| {} | {all} cuts | {clean} clean |", server.name());
    assert!(lost.is_empty(), "SEED={seed}: something acknowledged is lost before event {lost:?}");
}

/// The disk does forget what nobody flushed: with `writeback`, it takes what was acknowledged.
#[test]
fn power_cut_takes_what_was_not_synced() {
    let dir = tempfile::tempdir().expect("folder");
    let (device, disk, mut server) = start(dir.path());
    let mut client = Client::mount(&server, "/export").expect("mount");
    let root = client.root.clone();
    let file = client.create_new(&root, b"a").expect("create");
    let bytes = Rng::new(1).bytes(1 << 18);
    client.write(&file, 0, &bytes, stable_how::FILE_SYNC).expect("write");
    server.set_durability("/export", "writeback");
    device.record();
    client.write(&file, 0, &vec![1; bytes.len()], stable_how::FILE_SYNC).expect("write");
    let answered = device.now();
    server.kill9();
    disk.unmount();
    let mut none = (0..).map(Rng::new).find(|rng| rng.clone().below(5) == 0).expect("one in five");
    let image = device.cut(answered, &mut none);
    let disk = Disk::found(image, disk.mounted.clone());
    server.start();
    let mut client = Client::mount(&server, "/export").expect("mount");
    assert!(client.read_all(&file).expect("read") == bytes, "what was synced, and no more");
    server.kill9();
    disk.unmount();
}

fn start(dir: &Path) -> (Device, Disk, Server) {
    let device = Device::new(&dir.join("device"), DEVICE_BYTES);
    let disk = Disk::make(device.live(), dir.join("disk"));
    let data = disk.mounted.join("data");
    let server = Server::with_limits(&data, vec![Share::export()], "64Mi", "256Mi");
    (device, disk, server)
}

/// Work of one client that waits for each answer, while the disk remembers.
fn work(server: &mut Server, device: &Device, rng: &mut Rng) -> (Past, Vec<Told>) {
    let mut driver = Driver::new(server, 0, Rng::new(rng.number()));
    device.record();
    let (past, mut told) = (driver.past(), Vec::new());
    for step in 0..STEPS {
        // So that blocks are put into the content store too.
        let uploading = (step % 20 == 10).then(|| server.begin_drop_cache());
        let sent = device.now();
        driver.step().expect("it serves");
        let answered = device.now();
        told.extend(driver.last().map(|step| Told { sent, answered, step }));
        drop(uploading);
    }
    (past, told)
}

/// After each flush, and somewhere before the next; evenly fewer when `ROUNDS` says so.
fn choose(flushes: &[usize], end: usize, rng: &mut Rng) -> Vec<usize> {
    let mut cuts = Vec::new();
    for (n, &flush) in flushes.iter().enumerate() {
        let next = flushes.get(n + 1).map_or(end, |next| next - 1);
        cuts.extend([flush, flush + rng.below(next.saturating_sub(flush) + 1)]);
    }
    let count = number("ROUNDS").map_or(cuts.len(), |n| usize::try_from(n).expect("a few"));
    let spread = cuts.len().div_ceil(count.max(1)).max(1);
    cuts.into_iter().step_by(spread).collect()
}

/// Starts the server on what the cut left, and compares.
fn check(
    server: &mut Server,
    device: &Device,
    mounted: &Path,
    (cut, past, open): (usize, &Past, Option<&Step>),
    rng: &mut Rng,
) {
    let image = device.cut(cut, rng);
    let disk = Disk::found(image.clone(), mounted.to_owned());
    server.start();
    let mut driver = Driver::resume(server, past.clone(), open, Rng::new(rng.number()));
    driver.compare_all(After::Crash);
    server.kill9();
    disk.unmount();
    device.forget(&image);
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().expect("SEED and ROUNDS are numbers"))
}
