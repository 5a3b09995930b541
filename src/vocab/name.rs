//! Names of directory entries: any bytes but `/` and NUL.

use crate::{Error, limits::NAME_BYTES_MAX};

/// Whether bytes may name an entry. `.` and `..` pass here; operations treat them on their own.
///
/// # Errors
/// `Invalid` when empty or with `/` or NUL, `NameTooLong` above [`NAME_BYTES_MAX`].
pub fn check(name: &[u8]) -> Result<(), Error> {
    if name.len() > NAME_BYTES_MAX as usize {
        return Err(Error::NameTooLong);
    }
    if name.is_empty() || name.iter().any(|&byte| byte == b'/' || byte == 0) {
        return Err(Error::Invalid);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_but_slash_and_nul() {
        assert_eq!(check(b"caf\xe9 \n\xff"), Ok(()));
        assert_eq!(check(&[b'n'; 255]), Ok(()));
        assert_eq!(check(&[b'n'; 256]), Err(Error::NameTooLong));
        for bad in [&b""[..], b"a/b", b"a\0b"] {
            assert_eq!(check(bad), Err(Error::Invalid), "{bad:?}");
        }
    }
}
