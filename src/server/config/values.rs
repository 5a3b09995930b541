//! What a scalar of the configuration may be, and how it is written: sizes, durations, addresses.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use serde_json::{Value as Json, json};

/// A value that one scalar of the file, one environment variable or one flag can carry.
pub(crate) trait Scalar: Sized {
    /// Its JSON Schema.
    fn schema() -> Json;
    /// Reads it. The error says what was expected, and shows how it is written.
    fn parse(text: &str) -> Result<Self, String>;
    /// Writes it so that [`Scalar::parse`] reads the same.
    fn show(&self) -> Json;
    /// Never to be shown to anybody.
    const SECRET: bool = false;
    /// Relative values count from the configuration's folder.
    const IS_PATH: bool = false;
}

/// A text that is never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Permission bits, written in octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode(pub(crate) u32);

/// A number of bytes, written `1Gi`, `512Mi`, `1GB` or plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) u64);

/// Units of a size, the largest first.
const SIZES: &[(&str, u64)] = &[
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("K", 1_000),
    ("", 1),
];
/// Units of a duration, the largest first.
const DURATIONS: &[(&str, u64)] =
    &[("h", 3_600_000), ("ms", 1), ("m", 60_000), ("s", 1_000), ("d", 86_400_000)];

impl Scalar for Size {
    fn schema() -> Json {
        json!({"type": ["string", "integer"], "examples": ["512Mi", "1Gi", "1GB"]})
    }

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "expected a size such as 512Mi, 1Gi, 1GB or a number of bytes".to_owned();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim().to_ascii_lowercase();
        let unit = unit.strip_suffix('b').unwrap_or(&unit);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let (_, factor) =
            SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(wrong)?;
        number.checked_mul(*factor).map(Self).ok_or_else(|| "beyond 16 EiB".to_owned())
    }

    fn show(&self) -> Json {
        let binary = SIZES.iter().filter(|(name, _)| name.ends_with('i'));
        let found = binary
            .into_iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        match found {
            Some((unit, factor)) => json!(format!("{}{unit}", self.0 / factor)),
            None => json!(self.0),
        }
    }
}

impl Scalar for Duration {
    fn schema() -> Json {
        json!({"type": "string", "examples": ["30s", "15m", "168h", "1h30m"]})
    }

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "expected a duration such as 30s, 15m, 168h or 1h30m".to_owned();
        let mut millis = 0_u64;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let (number, after) = rest.split_at(digits);
            let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
            let (unit, after) = after.split_at(letters);
            let number: u64 = number.parse().map_err(|_| wrong())?;
            let (_, factor) = DURATIONS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
            let part = number.checked_mul(*factor).ok_or_else(wrong)?;
            millis = millis.checked_add(part).ok_or_else(wrong)?;
            rest = after;
        }
        if text.is_empty() { Err(wrong()) } else { Ok(Self::from_millis(millis)) }
    }

    fn show(&self) -> Json {
        let millis = self.as_millis();
        let unit = ["h", "m", "s", "ms"].into_iter().find_map(|unit| {
            let (_, factor) = DURATIONS.iter().find(|(name, _)| *name == unit)?;
            let factor = u128::from(*factor);
            (millis >= factor && millis.is_multiple_of(factor))
                .then(|| format!("{}{unit}", millis / factor))
        });
        json!(unit.unwrap_or_else(|| "0s".to_owned()))
    }
}

impl Scalar for bool {
    fn schema() -> Json {
        json!({"type": "boolean"})
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Ok(true),
            "false" | "no" | "off" => Ok(false),
            _ => Err("expected true or false".to_owned()),
        }
    }

    fn show(&self) -> Json {
        json!(self)
    }
}

/// Whole numbers, with the range that the type itself gives.
macro_rules! whole {
    ($($type:ty),*) => {$(
        impl Scalar for $type {
            fn schema() -> Json {
                json!({"type": "integer", "minimum": 0, "maximum": <$type>::MAX})
            }

            fn parse(text: &str) -> Result<Self, String> {
                text.parse()
                    .map_err(|_| format!("expected a whole number from 0 to {}", <$type>::MAX))
            }

            fn show(&self) -> Json {
                json!(self)
            }
        }
    )*};
}

whole!(u16, u32, usize);

impl Scalar for f64 {
    fn schema() -> Json {
        json!({"type": "number"})
    }

    fn parse(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().filter(|number: &Self| number.is_finite());
        number.ok_or_else(|| "expected a number such as 0.5".to_owned())
    }

    fn show(&self) -> Json {
        json!(self)
    }
}

impl Scalar for String {
    fn schema() -> Json {
        json!({"type": "string"})
    }

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn show(&self) -> Json {
        json!(self)
    }
}

impl Scalar for Secret {
    const SECRET: bool = true;

    fn schema() -> Json {
        json!({"type": "string"})
    }

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }

    fn show(&self) -> Json {
        json!("***")
    }
}

impl Scalar for PathBuf {
    const IS_PATH: bool = true;

    fn schema() -> Json {
        json!({"type": "string"})
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("expected a path".to_owned());
        }
        Ok(match (text.strip_prefix("~/"), std::env::home_dir()) {
            (Some(below), Some(home)) => home.join(below),
            _ => Self::from(text),
        })
    }

    fn show(&self) -> Json {
        json!(self.display().to_string())
    }
}

impl Scalar for IpAddr {
    fn schema() -> Json {
        json!({"type": "string", "examples": ["0.0.0.0", "127.0.0.1", "::"]})
    }

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| {
            "expected an IP address such as 0.0.0.0 (all), 127.0.0.1 (this machine) or ::"
                .to_owned()
        })
    }

    fn show(&self) -> Json {
        json!(self.to_string())
    }
}

impl Scalar for Mode {
    fn schema() -> Json {
        json!({"type": ["string", "integer"], "examples": ["0755", "1777"]})
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mode = u32::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8).ok();
        let mode = mode.filter(|mode| *mode <= 0o7777);
        mode.map(Self).ok_or_else(|| "expected octal permission bits such as 0755".to_owned())
    }

    fn show(&self) -> Json {
        json!(format!("{:04o}", self.0))
    }
}

/// An enum of which each variant has one word in the configuration.
macro_rules! words {
    ($type:ty: $($word:literal => $variant:expr),* $(,)?) => {
        impl Scalar for $type {
            fn schema() -> serde_json::Value {
                serde_json::json!({"type": "string", "enum": [$($word),*]})
            }

            fn parse(text: &str) -> Result<Self, String> {
                $(if text.eq_ignore_ascii_case($word) { return Ok($variant); })*
                Err(format!("expected one of {}", [$($word),*].join(", ")))
            }

            fn show(&self) -> serde_json::Value {
                $(if *self == $variant { return serde_json::json!($word); })*
                unreachable!("every variant has its word")
            }
        }
    };
}
pub(crate) use words;
