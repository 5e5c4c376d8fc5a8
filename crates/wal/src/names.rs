//! Names on the disk: the folder of a log and the files of its segments.

use crate::num::SegmentNo;
use chrono::{DateTime, Datelike as _, Timelike as _};
use strandline_event::{Micros, encode_path_text};

/// Digits of `{segment}`.
const SEGMENT_DIGITS: usize = 10;
/// The next segment, prepared ahead.
pub const SPARE_NAME: &str = "next.spare";

/// Says that nothing of a log may be durable yet. A folder has it from before anybody may rely on the log until its first group is
/// on the disk: one with neither this nor a segment that has begun has lost what it held.
pub const FIRST_SPARE_NAME: &str = "first.spare";

/// The file that a process which has the logs open holds locked, beside them.
pub const LOCK_NAME: &str = ".lock";

/// Folder of a log below wal.path. Bucket 0 has no suffix; `~` never stands in an encoded stream type. The one that would have
/// the lock's name has its dot encoded.
#[must_use]
pub fn log_folder_name(stream_type: &str, bucket: u32) -> String {
    let mut name = encode_path_text(stream_type);
    if name == LOCK_NAME {
        name.replace_range(..1, "%2E");
    }
    if bucket == 0 { name } else { format!("{name}~{bucket}") }
}

/// What `log_folder_name` encoded; `None` if it is no log's folder.
#[must_use]
pub fn parse_log_folder_name(name: &str) -> Option<(String, u32)> {
    let (text, bucket) = match name.split_once('~') {
        Some((text, bucket)) => (text, bucket.parse().ok().filter(|b| *b > 0)?),
        None => (name, 0),
    };
    let decoded = strandline_event::decode_path_text(text)?;
    (log_folder_name(&decoded, bucket) == name).then_some((decoded, bucket))
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Text(String),
    Year,
    Month,
    Day,
    Hour,
    Segment,
}

/// A parsed `wal.segment_pattern`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentPattern(Vec<Part>);

/// Why a text is no segment pattern.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PatternError {
    /// A placeholder that does not exist.
    #[error("unknown placeholder {{{0}}}")]
    Unknown(String),
    /// A brace without its other half.
    #[error("a brace is not closed")]
    Brace,
    /// `{segment}` is missing or stands twice.
    #[error("must hold {{segment}} exactly once")]
    Segment,
    /// A character that does not belong in a file name.
    #[error("must not hold a separator or control character")]
    Character,
    /// Names made from it could be taken for something else in the folder.
    #[error("must not make the name of a spare segment")]
    Spare,
}

impl SegmentPattern {
    /// Parses the value of `wal.segment_pattern`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.chars().any(|c| c == '/' || c == '\\' || c.is_control()) {
            return Err(PatternError::Character);
        }
        if text.ends_with(".spare") {
            return Err(PatternError::Spare);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            if rest[open..].starts_with('}') {
                return Err(PatternError::Brace);
            }
            let close = rest[open..].find('}').ok_or(PatternError::Brace)? + open;
            if open > 0 {
                parts.push(Part::Text(rest[..open].to_owned()));
            }
            parts.push(placeholder(&rest[open + 1..close])?);
            rest = &rest[close + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        let segments = parts.iter().filter(|p| **p == Part::Segment).count();
        if segments == 1 { Ok(Self(parts)) } else { Err(PatternError::Segment) }
    }

    /// Name of a segment whose first frame is of `time`.
    #[must_use]
    pub fn name(&self, number: SegmentNo, time: Micros) -> String {
        let at = DateTime::from_timestamp_micros(time.0).unwrap_or_default();
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                // a year outside four digits cannot come from a clock; it must not break the fixed width
                Part::Year => out.push_str(&format!("{:04}", at.year().clamp(0, 9999))),
                Part::Month => out.push_str(&format!("{:02}", at.month())),
                Part::Day => out.push_str(&format!("{:02}", at.day())),
                Part::Hour => out.push_str(&format!("{:02}", at.hour())),
                Part::Segment => out.push_str(&format!("{:0width$}", number.0, width = SEGMENT_DIGITS)),
            }
        }
        out
    }

    /// Number of the segment that has this name; `None` if the pattern does not make it.
    #[must_use]
    pub fn parse_name(&self, name: &str) -> Option<SegmentNo> {
        let mut rest = name;
        let mut number = None;
        for part in &self.0 {
            let digits = match part {
                Part::Text(text) => {
                    rest = rest.strip_prefix(text.as_str())?;
                    continue;
                }
                Part::Year => 4,
                Part::Segment => SEGMENT_DIGITS,
                Part::Month | Part::Day | Part::Hour => 2,
            };
            let (field, tail) = rest.split_at_checked(digits)?;
            if !field.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            if *part == Part::Segment {
                number = Some(SegmentNo(field.parse().ok()?));
            }
            rest = tail;
        }
        number.filter(|n| rest.is_empty() && n.0 > 0)
    }

    /// A number that changes when the finest time field of the pattern changes; constant without one.
    #[must_use]
    pub fn period(&self, time: Micros) -> i64 {
        const HOUR_US: i64 = 3_600_000_000;
        let has = |part| self.0.contains(&part);
        if has(Part::Hour) {
            return time.0.div_euclid(HOUR_US);
        }
        if has(Part::Day) {
            return time.0.div_euclid(24 * HOUR_US);
        }
        let at = DateTime::from_timestamp_micros(time.0).unwrap_or_default();
        if has(Part::Month) {
            return i64::from(at.year()) * 12 + i64::from(at.month0());
        }
        if has(Part::Year) { i64::from(at.year()) } else { 0 }
    }
}

fn placeholder(name: &str) -> Result<Part, PatternError> {
    Ok(match name {
        "yyyy" => Part::Year,
        "MM" => Part::Month,
        "dd" => Part::Day,
        "HH" => Part::Hour,
        "segment" => Part::Segment,
        other => return Err(PatternError::Unknown(other.to_owned())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Micros = Micros(1_795_435_200_000_000);

    #[test]
    fn names_round_trip() {
        let texts = ["events-{yyyy}{MM}{dd}-{HH}-{segment}.wal", "{segment}", "{HH}{segment}{dd}x", "ü{segment}"];
        for text in texts {
            let pattern = SegmentPattern::parse(text).unwrap();
            for number in [1, 77, 9_999_999_999] {
                let name = pattern.name(SegmentNo(number), NOON);
                assert_eq!(pattern.parse_name(&name), Some(SegmentNo(number)), "{name}");
                assert_eq!(pattern.parse_name(&format!("{name}.tmp")), None);
            }
            assert_eq!(pattern.parse_name(SPARE_NAME), None);
        }
        let pattern = SegmentPattern::parse(texts[0]).unwrap();
        assert_eq!(pattern.name(SegmentNo(3), NOON), "events-20261123-12-0000000003.wal");
    }

    #[test]
    fn bad_patterns_are_refused() {
        let wrong =
            ["x", "{segment}{segment}", "{Segment}", "{segment", "a}b{segment}", "a/{segment}", "{segment}.spare"];
        for text in wrong {
            assert!(SegmentPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn periods_follow_the_finest_field() {
        let period = |text: &str, us| SegmentPattern::parse(text).unwrap().period(NOON.plus_us(us));
        let hour = 3_600_000_000;
        for (text, same, other) in [
            ("{yyyy}{HH}{segment}", hour - 1, hour),
            ("{dd}{segment}", 11 * hour, 12 * hour),
            ("{MM}{segment}", 7 * 24 * hour, 8 * 24 * hour),
            ("{yyyy}{segment}", 30 * 24 * hour, 60 * 24 * hour),
        ] {
            assert_eq!(period(text, 0), period(text, same), "{text}");
            assert_ne!(period(text, 0), period(text, other), "{text}");
        }
        assert_eq!(period("{segment}", 0), period("{segment}", 1 << 60));
    }

    #[test]
    fn folders_tell_buckets_apart() {
        for (text, bucket) in
            [("Call", 0), ("Call", 3), ("a~1", 0), ("..", 0), ("a/b", 9), (".lock", 0), (".lock", 2), (".locks", 0)]
        {
            let name = log_folder_name(text, bucket);
            assert_eq!(parse_log_folder_name(&name), Some((text.to_owned(), bucket)), "{name}");
            assert_ne!(name, LOCK_NAME);
        }
        for wrong in ["Call~0", "Call~x", "a b", "%zz", LOCK_NAME] {
            assert_eq!(parse_log_folder_name(wrong), None, "{wrong}");
        }
    }
}
