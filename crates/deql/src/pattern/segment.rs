//! Names of log segments: time fields of their creation, and the segment counter.

use super::{Piece, check_characters, split};
use crate::config::choice::Granularity;
use crate::config::key::{Key, Kind};
use crate::config::settings::{Fault, Setting, text_of};
use crate::syntax::ast::{Literal, Spanned};
use crate::value::Value;
use strandline_event::{FieldNames, Micros};

const STANDARD: &str = "events-{yyyy}{MM}{dd}-{HH}-{segment}.wal";
/// Digits of `{segment}`; a larger number takes more.
const SEGMENT_DIGITS: usize = 10;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Hole {
    Time(Granularity),
    Segment,
}

const HOLES: &[(&str, Hole)] = &[
    ("yyyy", Hole::Time(Granularity::Year)),
    ("MM", Hole::Time(Granularity::Month)),
    ("dd", Hole::Time(Granularity::Day)),
    ("HH", Hole::Time(Granularity::Hour)),
    ("segment", Hole::Segment),
];

/// `wal.segment_pattern`: the file name of a segment in its log's folder.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SegmentPattern {
    text: String,
    pieces: Vec<Piece<Hole>>,
}

impl SegmentPattern {
    /// `events-{yyyy}{MM}{dd}-{HH}-{segment}.wal`
    pub(crate) fn standard() -> Self {
        Self { text: STANDARD.to_owned(), pieces: split(STANDARD, HOLES).unwrap_or_default() }
    }

    /// Reads a pattern; the error completes the sentence "<key>: ...".
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        check_characters(text)?;
        if text.contains('/') {
            return Err("it is a file name, without `/`".to_owned());
        }
        if text.starts_with('.') {
            return Err("a file name that begins with `.` is hidden".to_owned());
        }
        let pieces = split(text, HOLES)?;
        let counters = pieces.iter().filter(|p| **p == Piece::Hole(Hole::Segment)).count();
        if counters != 1 {
            return Err("{segment} must stand in it exactly once: it keeps the names apart".to_owned());
        }
        check_neighbours(&pieces)?;
        Ok(Self { text: text.to_owned(), pieces })
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The file name of segment number `segment`, created at `at`.
    #[must_use]
    pub fn render(&self, segment: u64, at: Micros) -> String {
        let (year, month, day, hour) = crate::partition::calendar(at);
        let piece = |piece: &Piece<Hole>| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Hole(Hole::Segment) => format!("{segment:0SEGMENT_DIGITS$}"),
            Piece::Hole(Hole::Time(Granularity::Year)) => format!("{year:04}"),
            Piece::Hole(Hole::Time(Granularity::Month)) => format!("{month:02}"),
            Piece::Hole(Hole::Time(Granularity::Day)) => format!("{day:02}"),
            Piece::Hole(Hole::Time(Granularity::Hour)) => format!("{hour:02}"),
        };
        self.pieces.iter().map(piece).collect()
    }

    /// The segment number in a file name; `None`: no segment of this pattern.
    #[must_use]
    pub fn parse_segment(&self, file_name: &str) -> Option<u64> {
        let mut rest = file_name;
        let mut segment = None;
        for piece in &self.pieces {
            let width = match piece {
                Piece::Text(text) => {
                    rest = rest.strip_prefix(text.as_str())?;
                    continue;
                }
                Piece::Hole(Hole::Time(Granularity::Year)) => 4,
                Piece::Hole(Hole::Time(_)) => 2,
                Piece::Hole(Hole::Segment) => rest.bytes().take_while(u8::is_ascii_digit).count(),
            };
            let digits = rest.get(..width).filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))?;
            if *piece == Piece::Hole(Hole::Segment) {
                segment = Some(digits.parse().ok()?);
            }
            rest = &rest[width..];
        }
        segment.filter(|_| rest.is_empty())
    }

    /// The finest time field: a segment rolls over by time when it changes. `None`: the pattern has no time.
    #[must_use]
    pub fn finest(&self) -> Option<Granularity> {
        let times = self.pieces.iter().filter_map(|p| match p {
            Piece::Hole(Hole::Time(granularity)) => Some(*granularity),
            _ => None,
        });
        times.min()
    }
}

/// The counter has no fixed width: what follows it must not begin with a digit.
fn check_neighbours(pieces: &[Piece<Hole>]) -> Result<(), String> {
    let after = pieces.iter().skip_while(|p| **p != Piece::Hole(Hole::Segment)).nth(1);
    let digit = match after {
        None => false,
        Some(Piece::Text(text)) => text.starts_with(|c: char| c.is_ascii_digit()),
        Some(Piece::Hole(_)) => true,
    };
    if digit { Err("a digit directly after {segment} cannot be told from it".to_owned()) } else { Ok(()) }
}

impl Setting for SegmentPattern {
    const KIND: Kind = Kind::Text("a file name with {segment}, and {yyyy} {MM} {dd} {HH} where wanted");

    fn read(literal: &Spanned<Literal>, key: &Key, _: &FieldNames) -> Result<Self, Fault> {
        Self::parse(text_of(literal, key)?).map_err(|why| {
            Fault::value(literal.span, format!("`{}`: {why}", key.name)).hint(Some(format!("for example '{STANDARD}'")))
        })
    }

    fn write(&self, _: &FieldNames) -> Option<Value> {
        Some(Value::Text(self.text.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_time_and_counter() {
        let pattern = SegmentPattern::standard();
        let name = pattern.render(42, Micros(1_795_433_400_000_000));
        assert_eq!(name, "events-20261123-11-0000000042.wal");
        assert_eq!(pattern.parse_segment(&name), Some(42));
        assert_eq!(pattern.parse_segment("events-20261123-11-99999999999.wal"), Some(99_999_999_999));
        for other in ["events-20261123-11-.wal", "events-2026112311-1.wal", "x", "events-20261123-11-1.wal.tmp", ""] {
            assert_eq!(pattern.parse_segment(other), None, "{other}");
        }
        assert_eq!(pattern.finest(), Some(Granularity::Hour));
    }

    #[test]
    fn the_finest_field_decides_the_time_roll() {
        assert_eq!(SegmentPattern::parse("{yyyy}{MM}-{segment}").unwrap().finest(), Some(Granularity::Month));
        assert_eq!(SegmentPattern::parse("{segment}.wal").unwrap().finest(), None);
    }

    #[test]
    fn bad_patterns_are_refused() {
        for bad in [
            "x.wal",
            "{segment}{HH}.wal",
            "{segment}0.wal",
            "a/{segment}",
            "{mm}{segment}",
            ".{segment}",
            "{segment}-{segment}",
        ] {
            assert!(SegmentPattern::parse(bad).is_err(), "{bad}");
        }
    }
}
