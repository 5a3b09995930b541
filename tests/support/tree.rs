//! A real tree of files, as a list that says what a copy of it must look like.
//!
//! It is taken from the Rust toolchain and cargo's sources, which stand on every machine that
//! builds this; what is short of the wanted count or size is generated, so that a test never
//! claims more than it did.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs::{self, Metadata},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use super::rng::Rng;

/// What was chosen, and where the list is.
#[derive(Debug)]
pub struct Tree {
    /// One line for each directory, file and link: see `guest/tree.rs`, which reads it.
    pub list: PathBuf,
    /// Regular files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

struct Found {
    path: String,
    source: PathBuf,
    size: u64,
    mode: u32,
}

impl Tree {
    /// Chooses at least that many files of at least that many bytes: the largest ones until the
    /// bytes are there, then every n-th of the others.
    ///
    /// # Panics
    /// When files cannot be read, or `scratch` not be written.
    #[must_use]
    pub fn choose(scratch: &Path, files_min: usize, bytes_min: u64) -> Self {
        let mut found = Vec::new();
        for (name, root) in sources() {
            find(&root, &name, &mut found);
        }
        found.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.path.cmp(&b.path)));
        let mut bytes = 0;
        let large = found.iter().take_while(|file| {
            let is_short = bytes < bytes_min;
            bytes += file.size;
            is_short
        });
        let large = large.count().min(files_min);
        let mut small = found.split_off(large);
        small.sort_by(|a, b| a.path.cmp(&b.path));
        let step = (small.len() / (files_min - large).max(1)).max(1);
        found.extend(small.into_iter().step_by(step).take(files_min - large));
        generate(scratch, files_min, bytes_min, &mut found);
        Self::write(scratch, &found)
    }

    fn write(scratch: &Path, found: &[Found]) -> Self {
        let mut dirs = BTreeSet::new();
        let mut lines = BTreeMap::new();
        let mut bytes = 0;
        for file in found {
            let content = fs::read(&file.source).expect("a file that was there");
            bytes += content.len() as u64;
            let hash = xxhash_rust::xxh3::xxh3_128(&content);
            let (len, mode) = (content.len(), file.mode);
            let source = file.source.display();
            lines.insert(
                &file.path,
                format!("F\t{}\t{mode:o}\t{len}\t{hash:032x}\t{source}", file.path),
            );
            dirs.extend(Path::new(&file.path).ancestors().skip(1).map(Path::to_owned));
        }
        let mut text = String::new();
        for dir in dirs.iter().filter(|dir| !dir.as_os_str().is_empty()) {
            writeln!(text, "D\t{}", dir.display()).expect("a String");
        }
        for line in lines.values() {
            writeln!(text, "{line}").expect("a String");
        }
        let list = scratch.join("tree");
        fs::write(&list, text).expect("scratch");
        println!("a tree of {} files, {} MiB", lines.len(), bytes >> 20);
        Self { list, files: lines.len(), bytes }
    }
}

fn sources() -> Vec<(String, PathBuf)> {
    let mut sources = Vec::new();
    let rustc = Command::new("rustc").args(["--print", "sysroot"]).output();
    if let Ok(rustc) = rustc {
        let root = String::from_utf8_lossy(&rustc.stdout).trim().to_owned();
        sources.push(("toolchain".to_owned(), PathBuf::from(root)));
    }
    let home = std::env::var("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|_| std::env::var("HOME").map(|home| Path::new(&home).join(".cargo")));
    if let Ok(home) = home {
        sources.push(("registry".to_owned(), home.join("registry/src")));
    }
    sources
}

fn find(dir: &Path, path: &str, found: &mut Vec<Found>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Ok(metadata) = entry.metadata() else { continue };
        let path = format!("{path}/{name}");
        if metadata.is_dir() {
            find(&entry.path(), &path, found);
        } else if metadata.is_file() && !path.contains(['\t', '\n']) {
            let mode = mode(&metadata);
            found.push(Found { path, source: entry.path(), size: metadata.len(), mode });
        }
    }
}

fn mode(metadata: &Metadata) -> u32 {
    metadata.permissions().mode() & 0o777 | 0o400
}

fn generate(scratch: &Path, files_min: usize, bytes_min: u64, found: &mut Vec<Found>) {
    let mut rng = Rng::new(1);
    let mut bytes: u64 = found.iter().map(|file| file.size).sum();
    let dir = scratch.join("generated");
    while found.len() < files_min || bytes < bytes_min {
        let n = found.len();
        let len =
            if bytes < bytes_min && n.is_multiple_of(100) { 32 << 20 } else { rng.below(16 << 10) };
        let source = dir.join(format!("{}/{n}", n / 200));
        fs::create_dir_all(source.parent().expect("below scratch")).expect("scratch");
        fs::write(&source, rng.bytes(len)).expect("scratch");
        bytes += len as u64;
        let path = format!("generated/{}/{n}", n / 200);
        found.push(Found { path, source, size: len as u64, mode: 0o644 });
    }
}
