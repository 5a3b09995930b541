//! Copies a tree of files and compares it with its list.
//!
//! The list has a line for each directory, `D path`, before those of the files,
//! `F path mode size xxh3-128 source`, with tabs between.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    time::Instant,
};

use xxhash_rust::xxh3::Xxh3;

use super::Wrong;

/// User Mode Linux keeps every file of the host open that it remembers.
const FORGET_EVERY: usize = 2000;
const BUFFER_BYTES: usize = 1 << 20;

enum Line<'a> {
    Dir(&'a str),
    File { path: &'a str, mode: u32, size: u64, hash: u128, source: &'a str },
}

pub(crate) fn copy(list: &str, dir: &str) -> Result<(), Wrong> {
    let started = Instant::now();
    let text = fs::read_to_string(list)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let (mut files, mut bytes) = (0_usize, 0);
    fs::create_dir(dir)?;
    for line in text.lines() {
        match parse(line)? {
            Line::Dir(path) => fs::create_dir(Path::new(dir).join(path))?,
            Line::File { path, mode, source, .. } => {
                let mut from = File::open(source)?;
                let to = Path::new(dir).join(path);
                let mut to = OpenOptions::new().write(true).create_new(true).mode(mode).open(to)?;
                loop {
                    let len = from.read(&mut buffer)?;
                    if len == 0 {
                        break;
                    }
                    to.write_all(&buffer[..len])?;
                    bytes += len;
                }
                files += 1;
                if files.is_multiple_of(FORGET_EVERY) {
                    super::forget_cached()?;
                }
            }
        }
    }
    println!("copied {files} files, {} MiB: {:.1} s", bytes >> 20, started.elapsed().as_secs_f64());
    Ok(())
}

pub(crate) fn compare(list: &str, dir: &str) -> Result<(), Wrong> {
    super::forget_cached()?;
    let started = Instant::now();
    let text = fs::read_to_string(list)?;
    let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut wrong = Vec::new();
    let (mut files, mut bytes) = (0, 0);
    for line in text.lines() {
        let (Line::Dir(path) | Line::File { path, .. }) = parse(line)?;
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        names.entry(parent).or_default().insert(name);
        if let Line::File { path, mode, size, hash, .. } = parse(line)? {
            files += 1;
            bytes += size;
            match of_file(&Path::new(dir).join(path)) {
                Ok(found) if found == (mode, size, hash) => {}
                Ok((m, s, h)) => wrong.push(format!(
                    "{path}: mode {m:o}, size {s}, checksum {h:x}, not {mode:o}, {size}, {hash:x}"
                )),
                Err(e) => wrong.push(format!("{path}: {e}")),
            }
        }
    }
    for (parent, names) in names {
        let entries = fs::read_dir(Path::new(dir).join(parent))?;
        let found: Result<Vec<String>, Wrong> = entries
            .map(|entry| {
                entry?.file_name().into_string().map_err(|name| format!("{name:?}").into())
            })
            .collect();
        let mut found = found?;
        found.sort_unstable();
        if !found.iter().eq(names.iter()) {
            let extra = found.iter().find(|name| !names.contains(name.as_str()));
            wrong.push(format!("{parent}/: {} names, not {}; {extra:?}", found.len(), names.len()));
        }
    }
    println!(
        "compared {files} files, {} MiB: {:.1} s",
        bytes >> 20,
        started.elapsed().as_secs_f64()
    );
    wrong.iter().take(20).for_each(|line| eprintln!("{line}"));
    if wrong.is_empty() { Ok(()) } else { Err(format!("{} differ", wrong.len()).into()) }
}

fn of_file(path: &Path) -> Result<(u32, u64, u128), Wrong> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    let mut hasher = Xxh3::new();
    let mut buffer = vec![0; BUFFER_BYTES.min(usize::try_from(metadata.len())? + 1)];
    let mut size = 0;
    loop {
        let len = file.read(&mut buffer)?;
        if len == 0 {
            break;
        }
        hasher.update(&buffer[..len]);
        size += len as u64;
    }
    if size != metadata.len() {
        return Err(format!("{size} bytes read of {}", metadata.len()).into());
    }
    Ok((metadata.permissions().mode() & 0o7777, size, hasher.digest128()))
}

fn parse(line: &str) -> Result<Line<'_>, Wrong> {
    let cells: Vec<&str> = line.split('\t').collect();
    match cells[..] {
        ["D", path] => Ok(Line::Dir(path)),
        ["F", path, mode, size, hash, source] => Ok(Line::File {
            path,
            mode: u32::from_str_radix(mode, 8)?,
            size: size.parse()?,
            hash: u128::from_str_radix(hash, 16)?,
            source,
        }),
        _ => Err(format!("not a line of a tree: {line}").into()),
    }
}
