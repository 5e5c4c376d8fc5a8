//! `compaction.schedule`: five-field cron in UTC, with the standard Unix meaning.
//!
//! minute, hour, day of month, month, day of week; 0 and 7 are Sunday; English names of months and days; lists,
//! ranges and steps. Where both day fields are restricted (begin with no `*`), a day matches if either does.
//!
//! The fields are read here, into bit sets, and handed to the crate `cron` in the form that it wants: with a seconds
//! field, and with weekdays from 1 = Sunday. It knows no OR of days, so there are two schedules then.

use crate::config::key::{Key, Kind};
use crate::config::settings::{Fault, Setting, text_of};
use crate::syntax::ast::{Literal, Spanned};
use crate::value::Value;
use chrono::{DateTime, Utc};
use std::fmt;
use std::str::FromStr;
use strandline_event::{FieldNames, Micros};

/// A field of the expression: bounds, and names of its values from the first on.
struct FieldSpec {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// Most days that a month ever has, from January on.
const MONTH_DAYS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

const FIELDS: [FieldSpec; 5] = [
    FieldSpec { name: "minute", min: 0, max: 59, names: &[] },
    FieldSpec { name: "hour", min: 0, max: 23, names: &[] },
    FieldSpec { name: "day of month", min: 1, max: 31, names: &[] },
    FieldSpec { name: "month", min: 1, max: 12, names: MONTHS },
    FieldSpec { name: "day of week", min: 0, max: 7, names: DAYS },
];

/// The values of one field, one bit each, and whether it was written with a `*` first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Values {
    bits: u64,
    star: bool,
}

/// A schedule of ticks. Equal if the text is equal.
#[derive(Clone)]
pub struct CronSchedule {
    text: String,
    schedules: Vec<cron::Schedule>,
}

impl CronSchedule {
    /// `*/5 * * * *`
    pub(crate) fn every_five_minutes() -> Self {
        let text = "*/5 * * * *";
        // the text is constant and tested; an empty list would only mean that no tick comes
        Self::parse(text).unwrap_or_else(|_| Self { text: text.to_owned(), schedules: Vec::new() })
    }

    /// Reads an expression; the error completes the sentence "<key>: ...".
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<_> = text.split_ascii_whitespace().collect();
        let Ok(parts) = <[&str; 5]>::try_from(parts.as_slice()) else {
            return Err(format!(
                "five fields are needed (minute hour day-of-month month day-of-week), not {}",
                parts.len()
            ));
        };
        let mut fields = [Values { bits: 0, star: false }; 5];
        for ((values, part), spec) in fields.iter_mut().zip(parts).zip(&FIELDS) {
            *values = read_field(part, spec).map_err(|why| format!("{} `{part}`: {why}", spec.name))?;
        }
        // 7 is Sunday, as 0
        let sunday = fields[4].bits >> 7 & 1;
        fields[4].bits = fields[4].bits & 0x7f | sunday;
        let schedules = translate(&fields)?;
        Ok(Self { text: parts.join(" "), schedules })
    }

    /// The expression, fields separated by one space.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first tick strictly after `after`; `None`: past the year 2100, or a moment that no calendar holds.
    #[must_use]
    pub fn next_after(&self, after: Micros) -> Option<Micros> {
        let after = DateTime::<Utc>::from_timestamp_micros(after.0)?;
        let next = self.schedules.iter().filter_map(|s| s.after(&after).next()).min()?;
        Some(Micros(next.timestamp_micros()))
    }
}

/// One schedule, or two where a day matches by month or by week.
fn translate(fields: &[Values; 5]) -> Result<Vec<cron::Schedule>, String> {
    let [minute, hour, day, month, week] = fields;
    let all_days = Values { bits: bits(1, 31), star: true };
    let all_week = Values { bits: bits(0, 6), star: true };
    let either = !day.star && !week.star;
    let pairs = if either { vec![(*day, all_week), (all_days, *week)] } else { vec![(*day, *week)] };
    let mut schedules = Vec::new();
    for (day, week) in pairs {
        // 30 February comes never; the other half of an OR may still tick
        if !some_month_has(day, *month) {
            continue;
        }
        let text = format!(
            "0 {} {} {} {} {}",
            list(minute.bits, 0),
            list(hour.bits, 0),
            list(day.bits, 0),
            list(month.bits, 0),
            list(week.bits, 1)
        );
        schedules.push(cron::Schedule::from_str(&text).map_err(|e| e.to_string())?);
    }
    if schedules.is_empty() {
        return Err("it never comes: no such day is in these months".to_owned());
    }
    Ok(schedules)
}

fn some_month_has(day: Values, month: Values) -> bool {
    let earliest = day.bits.trailing_zeros();
    (1..=12).zip(MONTH_DAYS).any(|(number, days)| month.bits >> number & 1 == 1 && earliest <= days)
}

const fn bits(from: u32, to: u32) -> u64 {
    (u64::MAX >> (63 - to)) & (u64::MAX << from)
}

fn list(bits: u64, plus: u32) -> String {
    let values = (0..64).filter(|i| bits >> i & 1 == 1).map(|i| (i + plus).to_string());
    values.collect::<Vec<_>>().join(",")
}

fn read_field(part: &str, spec: &FieldSpec) -> Result<Values, String> {
    let mut all = 0;
    for item in part.split(',') {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(number(step, spec.name)?)),
            None => (item, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (spec.min, spec.max - u32::from(spec.max == 7)),
            Some((from, to)) => (value(from, spec)?, last_of_range(from, to, spec)?),
            None => {
                let from = value(range, spec)?;
                // `5/10` is not in POSIX, but means everywhere: from 5 to the end by 10
                (from, if step.is_some() { spec.max - u32::from(spec.max == 7 && from < 7) } else { from })
            }
        };
        if from > to {
            return Err(format!("the range {range} is empty: it begins after its end"));
        }
        let step = step.unwrap_or(1);
        if step == 0 {
            return Err("a step of 0 goes nowhere".to_owned());
        }
        all |= (from..=to).step_by(step as usize).fold(0, |bits, v| bits | 1 << v);
    }
    Ok(Values { bits: all, star: part.starts_with('*') })
}

/// The end of a range: after a later day, `sun` is the 7th (`fri-sun`).
fn last_of_range(from: &str, to: &str, spec: &FieldSpec) -> Result<u32, String> {
    let last = value(to, spec)?;
    let by_name = !to.starts_with(|c: char| c.is_ascii_digit());
    Ok(if spec.max == 7 && last == 0 && by_name && value(from, spec)? > 0 { 7 } else { last })
}

fn value(text: &str, spec: &FieldSpec) -> Result<u32, String> {
    let lower = text.to_ascii_lowercase();
    if let Some(at) = spec.names.iter().position(|name| *name == lower) {
        return Ok(at as u32 + spec.min);
    }
    let value = number(text, spec.name)?;
    if (spec.min..=spec.max).contains(&value) {
        return Ok(value);
    }
    Err(format!("{value} is out of range {} to {}", spec.min, spec.max))
}

fn number(text: &str, what: &str) -> Result<u32, String> {
    let digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits {
        return Err(format!("`{text}` is no {what}"));
    }
    text.parse().map_err(|_| format!("`{text}` is no {what}"))
}

impl PartialEq for CronSchedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for CronSchedule {}

impl fmt::Debug for CronSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Setting for CronSchedule {
    const KIND: Kind = Kind::Text("a cron expression of five fields, in UTC");

    fn read(literal: &Spanned<Literal>, key: &Key, _: &FieldNames) -> Result<Self, Fault> {
        Self::parse(text_of(literal, key)?).map_err(|why| {
            Fault::value(literal.span, format!("`{}`: {why}", key.name))
                .hint(Some("for example '*/5 * * * *': every five minutes".to_owned()))
        })
    }

    fn write(&self, _: &FieldNames) -> Option<Value> {
        Some(Value::Text(self.text.clone()))
    }
}

#[cfg(test)]
mod tests;
