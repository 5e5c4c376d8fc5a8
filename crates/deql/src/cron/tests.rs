//! Ticks on the right days, and expressions that are refused.

use super::*;
use proptest::prelude::*;
use strandline_event::time::parse_rfc3339;

/// The first `n` ticks after a moment.
fn ticks(expression: &str, after: &str, n: usize) -> Vec<String> {
    let schedule = CronSchedule::parse(expression).unwrap();
    let mut at = parse_rfc3339(after).unwrap();
    let mut out = Vec::new();
    for _ in 0..n {
        at = schedule.next_after(at).unwrap();
        out.push(at.to_string());
    }
    out
}

#[test]
fn the_default_ticks_every_five_minutes() {
    assert_eq!(
        ticks("*/5 * * * *", "2026-11-23T10:57:12.000001Z", 2),
        ["2026-11-23T11:00:00Z", "2026-11-23T11:05:00Z"]
    );
    // strictly after
    assert_eq!(ticks("*/5 * * * *", "2026-11-23T11:00:00Z", 1), ["2026-11-23T11:05:00Z"]);
    assert!(!CronSchedule::every_five_minutes().schedules.is_empty());
}

#[test]
fn sunday_is_0_and_7_and_monday_is_1() {
    // 2026-11-23 is a Monday
    for sunday in ["0", "7", "sun", "SUN"] {
        assert_eq!(
            ticks(&format!("0 3 * * {sunday}"), "2026-11-23T00:00:00Z", 1),
            ["2026-11-29T03:00:00Z"],
            "{sunday}"
        );
    }
    assert_eq!(ticks("0 3 * * 1", "2026-11-23T00:00:00Z", 2), ["2026-11-23T03:00:00Z", "2026-11-30T03:00:00Z"]);
    assert_eq!(ticks("0 3 * * 6", "2026-11-23T00:00:00Z", 1), ["2026-11-28T03:00:00Z"]);
    assert_eq!(ticks("0 0 * * fri-sun", "2026-11-23T00:00:00Z", 4)[2], "2026-11-29T00:00:00Z");
    assert_eq!(ticks("0 0 * * 5-7", "2026-11-23T00:00:00Z", 4)[3], "2026-12-04T00:00:00Z");
}

#[test]
fn a_day_of_month_or_a_day_of_week_when_both_are_restricted() {
    assert_eq!(
        ticks("0 0 1,15 * mon", "2026-11-24T00:00:00Z", 4),
        ["2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z", "2026-12-07T00:00:00Z", "2026-12-14T00:00:00Z"]
    );
    // a field that begins with * is not restricted: both must match (odd days that are Mondays)
    assert_eq!(ticks("0 0 */2 * mon", "2026-11-24T00:00:00Z", 2), ["2026-12-07T00:00:00Z", "2026-12-21T00:00:00Z"]);
}

#[test]
fn names_steps_ranges_and_lists() {
    assert_eq!(ticks("30 22 * jan-MAR *", "2026-11-24T00:00:00Z", 1), ["2027-01-01T22:30:00Z"]);
    assert_eq!(
        ticks("0 8-18/5 * * *", "2026-11-24T00:00:00Z", 4)[2..],
        ["2026-11-24T18:00:00Z", "2026-11-25T08:00:00Z"]
    );
    assert_eq!(ticks("50/5 * * * *", "2026-11-24T00:00:00Z", 3)[1..], ["2026-11-24T00:55:00Z", "2026-11-24T01:50:00Z"]);
    assert_eq!(ticks("1,2,59 0 * * *", "2026-11-24T00:02:00Z", 2), ["2026-11-24T00:59:00Z", "2026-11-25T00:01:00Z"]);
}

#[test]
fn rare_days_come() {
    assert_eq!(ticks("0 0 29 2 *", "2026-11-24T00:00:00Z", 2), ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]);
    assert_eq!(ticks("0 0 31 * *", "2026-11-24T00:00:00Z", 2), ["2026-12-31T00:00:00Z", "2027-01-31T00:00:00Z"]);
    assert_eq!(ticks("0 0 30 2 mon", "2026-11-24T00:00:00Z", 1), ["2027-02-01T00:00:00Z"]);
}

#[test]
fn nonsense_is_refused_and_said() {
    for (bad, why) in [
        ("0 0 30 2 *", "never"),
        ("0 0 31 4,6,9,11 *", "never"),
        ("* * * *", "five fields"),
        ("0 * * * * *", "five fields"),
        ("", "five fields"),
        ("60 * * * *", "out of range"),
        ("* 24 * * *", "out of range"),
        ("* * 0 * *", "out of range"),
        ("* * * 13 *", "out of range"),
        ("* * * * 8", "out of range"),
        ("*/0 * * * *", "step of 0"),
        ("5-1 * * * *", "begins after"),
        ("a * * * *", "is no minute"),
        ("1,,2 * * * *", "is no minute"),
        ("-1 * * * *", "is no minute"),
        ("@daily", "five fields"),
        ("* * * foo *", "is no month"),
        ("99999999999 * * * *", "is no minute"),
    ] {
        let error = CronSchedule::parse(bad).unwrap_err();
        assert!(error.contains(why), "{bad}: {error}");
    }
}

#[test]
fn moments_outside_the_calendar_have_no_next_tick() {
    let schedule = CronSchedule::every_five_minutes();
    assert_eq!(schedule.next_after(Micros(i64::MAX)), None);
    assert_eq!(schedule.next_after(Micros(i64::MIN)), None);
    assert_eq!(schedule.next_after(parse_rfc3339("2200-01-01T00:00:00Z").unwrap()), None);
}

proptest! {
    /// Against the definition: step minute by minute and ask whether the moment matches.
    #[test]
    fn the_next_tick_is_the_first_minute_that_matches(
        minute in 0u32..60, hour in 0u32..24, day in proptest::option::of(1u32..29),
        week in proptest::option::of(0u32..8), start in 0i64..100_000,
    ) {
        use chrono::{Datelike, Timelike};
        let or_star = |v: Option<u32>| v.map_or("*".to_owned(), |v| v.to_string());
        let schedule = CronSchedule::parse(&format!("{minute} {hour} {} * {}", or_star(day), or_star(week))).unwrap();
        let start_us = 1_790_000_000_000_000 + start * 60_000_000;
        let next = schedule.next_after(Micros(start_us)).unwrap();
        let matches = |us: i64| {
            let t = DateTime::<Utc>::from_timestamp_micros(us).unwrap();
            let by_day = day.is_some_and(|d| t.day() == d);
            let by_week = week.is_some_and(|w| t.weekday().num_days_from_sunday() == w % 7);
            t.minute() == minute && t.hour() == hour && (by_day || by_week || (day.is_none() && week.is_none()))
        };
        let first = (1..).map(|m| start_us.div_euclid(60_000_000) * 60_000_000 + m * 60_000_000).find(|us| matches(*us));
        prop_assert_eq!(Some(next.0), first);
    }

    #[test]
    fn no_text_makes_it_panic(text in "[0-9*/,a-z -]{0,30}") {
        if let Ok(schedule) = CronSchedule::parse(&text) {
            let _ = schedule.next_after(Micros(0));
            prop_assert_eq!(CronSchedule::parse(schedule.as_str()).unwrap(), schedule);
        }
    }
}
