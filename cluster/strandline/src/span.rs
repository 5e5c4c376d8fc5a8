//! Lengths of time as options take them: a whole number and its unit.

use std::time::Duration;

/// `90s`, `30m`, `24h`, `7d`, or `0`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time: give a whole number and its unit, such as 90s, 30m, 24h or 7d");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "" if number == 0 => 0,
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_needs_a_unit() {
        let seconds = |text| parse(text).map(|span| span.as_secs());
        assert_eq!(["0", "90s", "30m", "24h", "7d"].map(seconds), [0, 90, 1800, 86_400, 604_800].map(Ok));
        for wrong in ["", "24", "h", "-1h", "1.5h", "1w", "24 h", "99999999999999999999s", "999999999999999999d"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
