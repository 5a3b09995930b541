//! How many slices a folder of logs has: fixed when it is made, for a file's records are in the log
//! of the slice that its id hashes to. `FORMAT.md` shows the file.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read, Write},
    path::Path,
};

const NAME: &str = "layout";
const HEAD: &str = "dittofs log layout 1";
const SLICES_MAX: u16 = 1024;

/// The number of slices of a folder; a new folder gets `wanted`. Blocking: at start only.
pub(crate) fn slices(dir: &Path, wanted: usize) -> Result<u16, String> {
    let path = dir.join(NAME);
    let words = |what: &str, error: &dyn std::fmt::Display| {
        format!("cannot {what} {}: {error}", path.display())
    };
    let mut text = String::new();
    match File::open(&path).and_then(|mut file| file.read_to_string(&mut text)) {
        Ok(_) => parse(&text).ok_or_else(|| {
            let why = "it is damaged or of another version; restore it, or move the folder away";
            words("understand", &why)
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let slices = u16::try_from(wanted.max(1)).unwrap_or(SLICES_MAX).min(SLICES_MAX);
            create(dir, &format!("{HEAD}\nslices {slices}\n"))
                .map_err(|error| words("create", &error))?;
            Ok(slices)
        }
        Err(error) => Err(words("read", &error)),
    }
}

fn parse(text: &str) -> Option<u16> {
    let slices = text.strip_prefix(HEAD)?.strip_prefix("\nslices ")?.strip_suffix('\n')?;
    slices.parse().ok().filter(|slices| (1..=SLICES_MAX).contains(slices))
}

/// Whole or not at all, through a power cut.
fn create(dir: &Path, text: &str) -> std::io::Result<()> {
    fs::create_dir_all(dir)?;
    let new = dir.join("layout.new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, dir.join(NAME))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_number_of_slices() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("new");
        assert_eq!(slices(&dir, 3), Ok(3));
        assert_eq!(slices(&dir, 8), Ok(3));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in ["", "slices 3\n", "dittofs log layout 1\nslices 0\n", "dittofs log layout 1\n"]
        {
            assert_eq!(parse(text), None, "{text:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), "dittofs log layout 2\nslices 3\n").unwrap();
        assert!(slices(dir.path(), 3).unwrap_err().contains("another version"));
    }
}
