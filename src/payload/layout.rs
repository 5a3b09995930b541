//! How many slices a folder of logs has: fixed when it is made, for a file's records are in the log
//! of the slice that its id hashes to. `FORMAT.md` shows the file.

use std::path::Path;

use reactor::{file, whole};

const NAME: &str = "layout";
const HEAD: &str = "dittofs log layout 1";
const SLICES_MAX: u16 = 1024;
const BYTES_MAX: u64 = 4096;

/// The number of slices of a folder; a new folder gets `wanted`. Blocking: at start only.
pub(crate) fn slices(dir: &Path, wanted: usize) -> Result<u16, String> {
    let path = dir.join(NAME);
    let words = |what: &str, error: &dyn std::fmt::Display| {
        format!("cannot {what} {}: {error}", path.display())
    };
    let found = whole::read(&path, BYTES_MAX).map_err(|error| words("read", &error))?;
    if let Some(bytes) = found {
        let damaged = "it is damaged or of another version; restore it, or move the folder away";
        let slices = std::str::from_utf8(&bytes).ok().and_then(parse);
        return slices.ok_or_else(|| words("understand", &damaged));
    }
    let slices = u16::try_from(wanted.max(1)).unwrap_or(SLICES_MAX).min(SLICES_MAX);
    let text = format!("{HEAD}\nslices {slices}\n");
    let made = file::create_dir(dir).and_then(|()| whole::replace(&path, text.as_bytes()));
    made.map_err(|error| words("create", &error))?;
    Ok(slices)
}

fn parse(text: &str) -> Option<u16> {
    let slices = text.strip_prefix(HEAD)?.strip_prefix("\nslices ")?.strip_suffix('\n')?;
    slices.parse().ok().filter(|slices| (1..=SLICES_MAX).contains(slices))
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
        whole::replace(&dir.path().join(NAME), b"dittofs log layout 2\nslices 3\n").unwrap();
        assert!(slices(dir.path(), 3).unwrap_err().contains("another version"));
    }
}
