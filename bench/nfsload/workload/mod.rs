//! The workloads by name: what each prepares, runs and checks afterwards.

mod names;
mod readdir;
mod reads;
mod writes;

use std::{io, time::Duration};

use crate::{
    client::{Client, Error},
    engine::{Engine, Workload},
    nfs3::{Handle, Stable},
    pattern::{Pattern, Rng},
    stats::{Meter, Stats},
};

use names::{Create, Mix, Remove};
use readdir::ReadDir;
use reads::Read;
use writes::Write;

/// What a run may use.
pub(crate) struct Setting<'a> {
    pub(crate) client: &'a mut Client,
    pub(crate) engine: &'a mut Engine,
    pub(crate) meter: Meter,
    /// How long a workload runs before it is measured.
    pub(crate) ramp: Duration,
    /// A directory of this run alone.
    pub(crate) dir: Handle,
    pub(crate) connections: usize,
    pub(crate) lanes: usize,
    pub(crate) limit: Duration,
    pub(crate) file_bytes: u64,
    pub(crate) files: u32,
    pub(crate) seed: u64,
}

/// A workload: its name, what it does, and the usual connections and depth.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) connections: usize,
    pub(crate) depth: usize,
    /// Files in its directory.
    pub(crate) files: u32,
    run: fn(&mut Setting<'_>) -> Result<Stats, Error>,
}

const KIB: u32 = 1024;
const MIB: u32 = 1024 * KIB;

/// All workloads, in the order in which `all` runs them.
pub(crate) const KINDS: &[Kind] = &[
    Kind {
        name: "mix",
        what: "GETATTR 50 %, LOOKUP 30 %, ACCESS 20 % over a directory of files",
        connections: 4,
        depth: 16,
        files: 1000,
        run: mix,
    },
    Kind {
        name: "read-4k",
        what: "4 KiB random READ of a file that was just written",
        connections: 4,
        depth: 16,
        files: 0,
        run: |setting| read(setting, 4 * KIB, true),
    },
    Kind {
        name: "read-1m",
        what: "1 MiB sequential READ, a file for each connection",
        connections: 2,
        depth: 4,
        files: 0,
        run: |setting| read(setting, MIB, false),
    },
    Kind {
        name: "write-1m",
        what: "1 MiB sequential UNSTABLE WRITE, COMMIT every 64 MiB, a file for each connection",
        connections: 2,
        depth: 4,
        files: 0,
        run: |setting| {
            let every = Some(64);
            write(setting, Write::sequential(MIB, every))
        },
    },
    Kind {
        name: "write-4k",
        what: "4 KiB random UNSTABLE WRITE over a written file, COMMIT every 256",
        connections: 4,
        depth: 16,
        files: 0,
        run: |setting| {
            let every = Some(256);
            write(setting, Write::random(4 * KIB, Stable::Unstable, every))
        },
    },
    Kind {
        name: "sync-64k",
        what: "64 KiB random FILE_SYNC WRITE over a written file",
        connections: 4,
        depth: 4,
        files: 0,
        run: |setting| write(setting, Write::random(64 * KIB, Stable::FileSync, None)),
    },
    Kind {
        name: "create",
        what: "CREATE, WRITE 4 KiB and COMMIT of new files, as one operation",
        connections: 4,
        depth: 16,
        files: 0,
        run: create,
    },
    Kind {
        name: "readdir",
        what: "READDIRPLUS through a large directory; an operation is an entry, latency a call's",
        connections: 1,
        depth: 1,
        files: 50_000,
        run: read_dir,
    },
    Kind {
        name: "remove",
        what: "REMOVE of files until none is left or time is over",
        connections: 4,
        depth: 16,
        files: 50_000,
        run: remove,
    },
];

impl Kind {
    pub(crate) fn run(&self, setting: &mut Setting<'_>) -> Result<Stats, Error> {
        (self.run)(setting)
    }
}

/// Runs what prepares: it may not fail.
fn prepare(setting: &mut Setting<'_>, workload: &mut dyn Workload) -> Result<(), Error> {
    let stats = setting.engine.run(workload, None)?;
    match stats.faults.into_keys().next() {
        Some(fault) => Err(Error::Fault("preparation", fault)),
        None => Ok(()),
    }
}

/// Runs what goes on for ever: first for a while that is not counted, in which buffers, caches and
/// logs reach the size that they keep.
fn measure_steady(setting: &mut Setting<'_>, workload: &mut dyn Workload) -> Result<Stats, Error> {
    let ramp = setting.engine.run(workload, Some(setting.ramp))?;
    let mut stats = measure(setting, workload)?;
    for (fault, count) in ramp.faults {
        *stats.faults.entry(fault).or_default() += count;
    }
    Ok(stats)
}

/// Runs what is measured.
fn measure(setting: &mut Setting<'_>, workload: &mut dyn Workload) -> Result<Stats, Error> {
    setting.meter.begin();
    let stats = setting.engine.run(workload, Some(setting.limit))?;
    setting.meter.end();
    Ok(stats)
}

/// Makes a file for each connection, or one for all, and fills it.
fn fill_files(setting: &mut Setting<'_>, count: usize) -> Result<Vec<(Handle, Pattern)>, Error> {
    let mut files = Vec::new();
    for number in 0..count {
        let file = setting.client.create(&setting.dir, &format!("data-{number}"))?;
        files.push((file, Pattern(Rng(setting.seed ^ number as u64).next())));
    }
    let mut fill = Write::sequential(MIB, None).once();
    fill.start(&files, setting.file_bytes, setting.lanes);
    prepare(setting, &mut fill)?;
    for (file, pattern) in &mut files {
        setting.client.commit(file)?;
        *pattern = pattern.lap(1);
    }
    Ok(files)
}

fn read(setting: &mut Setting<'_>, len: u32, is_random: bool) -> Result<Stats, Error> {
    let count = if is_random { 1 } else { setting.connections };
    let files = fill_files(setting, count)?;
    let mut reads = Read::new(files, setting.file_bytes, len, is_random, setting.seed);
    measure_steady(setting, &mut reads)
}

fn write(setting: &mut Setting<'_>, mut writes: Write) -> Result<Stats, Error> {
    let files = if writes.is_random() {
        fill_files(setting, 1)?
    } else {
        let names = (0..setting.connections).map(|number| format!("data-{number}"));
        let names: Vec<String> = names.collect();
        let create = |name: &String| setting.client.create(&setting.dir, name);
        let files = names.iter().map(create).collect::<Result<Vec<_>, _>>()?;
        files.into_iter().map(|file| (file, Pattern(0))).collect()
    };
    // Other bytes than those that were there, so that reading back tells them apart.
    let mut rng = Rng(!setting.seed);
    let fresh: Vec<(Handle, Pattern)> =
        files.iter().map(|(file, _)| (file.clone(), Pattern(rng.next()))).collect();
    writes.start(&fresh, setting.file_bytes, setting.lanes);
    let mut stats = measure_steady(setting, &mut writes)?;
    stats.elapsed += writes.finish(setting.client)?;
    setting.meter.end();
    writes.read_back(setting.client, &files, &mut rng, &mut stats)?;
    Ok(stats)
}

fn mix(setting: &mut Setting<'_>) -> Result<Stats, Error> {
    let files = make_files(setting, setting.files)?;
    let mut mix = Mix::new(setting.dir.clone(), files, setting.seed);
    measure_steady(setting, &mut mix)
}

fn create(setting: &mut Setting<'_>) -> Result<Stats, Error> {
    let dirs = (0..setting.connections).map(|number| format!("dir-{number}"));
    let dirs: Vec<String> = dirs.collect();
    let mkdir = |name: &String| setting.client.mkdir(&setting.dir, name);
    let dirs = dirs.iter().map(mkdir).collect::<Result<Vec<_>, _>>()?;
    let mut creates = Create::with_data(dirs, setting.lanes, setting.seed);
    let mut stats = measure_steady(setting, &mut creates)?;
    creates.read_back(setting.client, &mut stats)?;
    Ok(stats)
}

fn read_dir(setting: &mut Setting<'_>) -> Result<Stats, Error> {
    let files = make_files(setting, setting.files)?;
    let mut reads = ReadDir::new(setting.dir.clone(), files.len(), setting.lanes);
    measure(setting, &mut reads)
}

fn remove(setting: &mut Setting<'_>) -> Result<Stats, Error> {
    let files = make_files(setting, setting.files)?;
    let mut removes = Remove::new(setting.dir.clone(), files.len());
    measure(setting, &mut removes)
}

/// Makes empty files `f0`, `f1` and so on in the run's directory; their handles in that order.
fn make_files(setting: &mut Setting<'_>, count: u32) -> Result<Vec<Handle>, Error> {
    let mut creates = Create::empty(setting.dir.clone(), setting.lanes, count);
    prepare(setting, &mut creates)?;
    creates.into_files().ok_or_else(|| io::Error::other("files are missing").into())
}
