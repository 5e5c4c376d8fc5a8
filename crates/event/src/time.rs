//! Text form of moments: RFC 3339, UTC, microseconds.

use crate::num::Micros;
use chrono::{DateTime, SecondsFormat, Utc};

/// Years a user can write: 0001 to 9999. Anything else is refused, so that the text form round-trips.
const EARLIEST_US: i64 = -62_135_596_800_000_000;
const LATEST_US: i64 = 253_402_300_799_999_999;

/// `2013-01-01T10:17:00Z`, with 3 or 6 digits of fraction where there is one.
///
/// Moments outside years 1 to 9999 are clamped (they cannot come in from outside, see [`parse_rfc3339`]).
#[must_use]
pub fn to_rfc3339(moment: Micros) -> String {
    let clamped = moment.0.clamp(EARLIEST_US, LATEST_US);
    DateTime::<Utc>::from_timestamp_micros(clamped)
        .map_or_else(String::new, |t| t.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

/// Parses RFC 3339 with any offset. Fractions finer than a microsecond are cut. `None`: not a moment of years 1 to 9999.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<Micros> {
    let us = DateTime::parse_from_rfc3339(text).ok()?.timestamp_micros();
    in_range(Micros(us)).then_some(Micros(us))
}

/// Whether a moment lies in years 1 to 9999.
#[must_use]
pub const fn in_range(moment: Micros) -> bool {
    EARLIEST_US <= moment.0 && moment.0 <= LATEST_US
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for text in
            ["2013-01-01T10:17:00Z", "1969-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z", "2026-11-23T10:00:00.120Z"]
        {
            assert_eq!(to_rfc3339(parse_rfc3339(text).unwrap()), text);
        }
        assert_eq!(parse_rfc3339("2013-01-01T10:17:00+02:00").unwrap().to_string(), "2013-01-01T08:17:00Z");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "2013-01-01", "10000-01-01T00:00:00Z", "2013-13-01T00:00:00Z"] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }
}
