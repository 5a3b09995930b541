//! A large directory listed while it changes.
//!
//! Names that are there all along are listed exactly once; others at most once.

use std::{collections::BTreeMap, fs, path::Path};

use super::Wrong;

/// A listing is interrupted for some changes after this many entries.
const STEP: usize = 997;

pub(crate) fn run(dir: &str, count: &str) -> Result<(), Wrong> {
    let count: usize = count.parse()?;
    for pass in 0..3 {
        list_under_change(Path::new(dir), pass, count)?;
    }
    Ok(())
}

fn list_under_change(dir: &Path, pass: usize, count: usize) -> Result<(), Wrong> {
    super::forget_cached()?;
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut changes = 0;
    for (n, entry) in fs::read_dir(dir)?.enumerate() {
        let name = entry?.file_name().into_string().map_err(|name| format!("{name:?}"))?;
        *seen.entry(name).or_default() += 1;
        if n % STEP == 0 {
            let new = dir.join(format!("come-{pass}-{n}"));
            fs::write(&new, "")?;
            fs::rename(&new, dir.join(format!("came-{pass}-{n}")))?;
            // Names that the listing has passed, and names that it has yet to reach.
            for victim in [n / STEP, count / STEP - n / STEP] {
                match fs::remove_file(dir.join(format!("go-{pass}-{victim}"))) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
                    _ => changes += 1,
                }
            }
        }
    }
    let twice: Vec<&String> = seen.iter().filter(|(_, n)| **n > 1).map(|(name, _)| name).collect();
    let stayed = seen.keys().filter(|name| name.starts_with("stay-")).count();
    println!("pass {pass}: {stayed} of {count} names that stayed, {changes} changes");
    if let Some(name) = twice.first() {
        return Err(format!("pass {pass}: {} names twice, like {name}", twice.len()).into());
    }
    if stayed != count {
        return Err(format!("pass {pass}: {stayed} of {count} names that stayed").into());
    }
    Ok(())
}
