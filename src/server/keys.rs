//! The operator's keys: from the configuration or from files, 32 bytes as hex digits or base64.

use blocks::{Keyring, NamedKey};

use crate::config::{Config, KeySource};

/// The keys of a content store, when it is encrypted.
pub(crate) fn ring(config: &Config, store: &str) -> Result<Option<Keyring>, String> {
    let Some(current) = &config.content[store].key else { return Ok(None) };
    let read = |name: &String| -> Result<NamedKey, String> {
        let source = config.keys.get(name).ok_or_else(|| {
            format!("content.stores.{store}.encryption.key: no key `{name}`; declare it below keys")
        })?;
        let secret = read(source).map_err(|why| format!("keys.{name}: {why}"))?;
        Ok(NamedKey { name: name.clone(), secret })
    };
    let others = config.keys.keys().filter(|name| *name != current);
    let others: Vec<NamedKey> = others.map(read).collect::<Result<_, _>>()?;
    Ok(Some(Keyring::new(read(current)?, others)))
}

fn read(source: &KeySource) -> Result<[u8; 32], String> {
    let cure = "expected 32 bytes as 64 hex digits or base64; `openssl rand -hex 32` makes some";
    match source {
        KeySource::Value(text) => parse(&text.0).ok_or_else(|| cure.to_owned()),
        KeySource::File(path) => {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
            parse(&text).ok_or_else(|| format!("{}: {cure}", path.display()))
        }
    }
}

fn parse(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    if text.len() == 64 {
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = digit(pair[0], 16)? << 4 | digit(pair[1], 16)?;
        }
        return Some(bytes);
    }
    // 43 digits of base64 and a sign for what is missing (RFC 4648 section 4).
    let digits = text.strip_suffix('=').filter(|digits| digits.len() == 43)?;
    let mut bytes = Vec::with_capacity(33);
    for part in digits.as_bytes().chunks(4) {
        let mut bits = 0u32;
        for nth in 0..4 {
            bits = bits << 6 | u32::from(part.get(nth).map_or(Some(0), |&c| digit(c, 64))?);
        }
        bytes.extend_from_slice(&bits.to_be_bytes()[1..]);
    }
    bytes.truncate(32);
    bytes.try_into().ok()
}

fn digit(c: u8, base: u8) -> Option<u8> {
    match (base, c) {
        (16, _) => char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok()),
        (_, b'A'..=b'Z') => Some(c - b'A'),
        (_, b'a'..=b'z') => Some(c - b'a' + 26),
        (_, b'0'..=b'9') => Some(c - b'0' + 52),
        (_, b'+') => Some(62),
        (_, b'/') => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_bytes_as_hex_or_base64() {
        let bytes: Vec<u8> = (0..32).map(|n| n * 8 + 3).collect();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let base64 = "AwsTGyMrMztDS1NbY2tze4OLk5ujq7O7w8vT2+Pr8/s=";
        for text in [&hex, &hex.to_uppercase(), &format!("{base64}\n")] {
            assert_eq!(parse(text).map(Vec::from), Some(bytes.clone()), "{text}");
        }
        for text in ["", "abc", &hex[1..], &base64[1..], &format!("g{}", &hex[1..])] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
