//! Points in time as people and log files write them: RFC 3339, UTC.

use time::{
    OffsetDateTime, UtcOffset,
    format_description::{StaticFormatDescription, well_known::Rfc3339},
    macros::format_description,
};
use vocab::Time;

/// Always the same width, so that lines of a log stand in columns and sort as text.
const MILLIS: StaticFormatDescription =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// For example `2026-02-09T10:00:00.123Z`.
#[must_use]
pub fn format(at: Time) -> String {
    let nanos = i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanos);
    let moment = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok();
    // A clock beyond the year 9999 is shown as it is.
    moment.and_then(|moment| moment.format(MILLIS).ok()).unwrap_or_else(|| format!("{nanos}ns"))
}

/// Reads any RFC 3339 time, whatever its offset; `None` when it is none.
#[must_use]
pub fn parse(text: &str) -> Option<Time> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?.to_offset(UtcOffset::UTC);
    Some(Time { seconds: moment.unix_timestamp(), nanos: moment.nanosecond() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_with_milliseconds_and_zulu() {
        let cases = [
            (0, 0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, 1_999_999, "2000-02-29T00:00:00.001Z"),
            (-1, 500_000_000, "1969-12-31T23:59:59.500Z"),
        ];
        for (seconds, nanos, want) in cases {
            assert_eq!(format(Time { seconds, nanos }), want);
        }
    }

    #[test]
    fn reads_what_it_wrote_and_other_offsets() {
        let time = Time { seconds: 1_770_631_200, nanos: 123_000_000 };
        assert_eq!(parse(&format(time)), Some(time));
        assert_eq!(parse("2026-02-09T11:00:00.123+01:00"), Some(time));
        assert_eq!(parse("yesterday"), None);
        assert_eq!(parse("2026-02-30T00:00:00Z"), None);
    }
}
