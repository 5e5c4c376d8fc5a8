//! The verdict of a stream read: is what was read whole, and if not, what is missing.
//!
//! A pure function over the seqs of the merged rows and what the view knew beforehand: the range that was asked for
//! and the stream's head, which is read *before* the view is taken, so that rows can only be more than it promises.
//!
//! Which gap is a hole:
//!
//! ```text
//! require_monotonic_seq   tiers consulted   a missing range is a hole
//! true                    all               always
//! true                    some left out     only where no left-out tier can hold it: between two rows of one tier, and
//!                                           before the first row if that row is durable (nothing lies below files)
//! false                   all               only the head itself: clients may skip seqs, but the head is an event
//! false                   some left out     never
//! ```
//!
//! A seq that retention removed is `retired`, never missing.

use super::order::Order;
use strandline_deql::Tier;
use strandline_event::Seq;

/// Inclusive range of seqs.
pub type SeqRange = (Seq, Seq);

/// What a stream read proved.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verdict {
    /// First seq that was checked; 0 when there was nothing to check.
    pub from_seq: Seq,
    /// Last seq that was checked, inclusive.
    pub to_seq: Seq,
    /// Every seq of the range is there (or retired). Where clients may skip seqs, `false` without `missing` says that they did.
    pub contiguous: bool,
    /// Holes, ascending, inclusive.
    pub missing: Vec<SeqRange>,
    /// Ranges that retention removed, ascending, inclusive.
    pub retired: Vec<SeqRange>,
}

/// What is known before the rows are looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expectation<'a> {
    /// The first seq that was asked for, at least 1.
    pub(super) from: Seq,
    /// The last seq that was asked for.
    pub(super) to: Option<Seq>,
    /// The stream's head, known before the view was taken; 0: the stream had no event.
    pub(super) head: Seq,
    /// The page ends because it is full, not because the range ends.
    pub(super) full: bool,
    /// Order of the page: a full page ends at its last row, whichever end that is.
    pub(super) order: Order,
    /// `read.require_monotonic_seq`.
    pub(super) monotonic: bool,
    /// A tier of the store was not consulted.
    pub(super) partial: bool,
    /// Ranges that retention removed, ascending, disjoint.
    pub(super) retired: &'a [SeqRange],
}

/// Judges rows: `rows` are the seqs and tiers of the merged rows, ascending, whatever the order of the page.
#[must_use]
pub(super) fn judge(expected: &Expectation<'_>, rows: &[(Seq, Tier)]) -> Verdict {
    let Some((from, to)) = checked_range(expected, rows) else {
        return Verdict { contiguous: true, ..Verdict::default() };
    };
    let mut out = Verdict { from_seq: from, to_seq: to, contiguous: true, missing: Vec::new(), retired: Vec::new() };
    let mut next = from;
    let mut below: Option<Tier> = None;
    for (seq, tier) in rows {
        if *seq > next {
            gap(&mut out, expected, (next, Seq(seq.0 - 1)), (below, Some(*tier)));
        }
        next = next.max(seq.next());
        below = Some(*tier);
    }
    if next <= to {
        gap(&mut out, expected, (next, to), (below, None));
    }
    out
}

fn checked_range(expected: &Expectation<'_>, rows: &[(Seq, Tier)]) -> Option<SeqRange> {
    let lowest = rows.first().map(|r| r.0);
    let highest = rows.last().map(|r| r.0);
    let head = expected.head.max(highest.unwrap_or(Seq::ZERO));
    let mut from = expected.from.max(Seq::FIRST);
    let mut to = expected.to.map_or(head, |to| to.min(head));
    match (expected.full, expected.order) {
        (true, Order::Asc) => to = highest.unwrap_or(to),
        (true, Order::Desc) => from = lowest.unwrap_or(from),
        (false, _) => {}
    }
    (from <= to && to > Seq::ZERO).then_some((from, to))
}

/// Records a range without rows: what retention took of it, and the rest where it is a hole.
fn gap(out: &mut Verdict, expected: &Expectation<'_>, range: SeqRange, ends: (Option<Tier>, Option<Tier>)) {
    let mut next = range.0;
    for (first, last) in expected.retired.iter().filter(|r| r.0 <= range.1 && r.1 >= range.0) {
        let (first, last) = ((*first).max(range.0), (*last).min(range.1));
        if first > next {
            missing(out, expected, (next, Seq(first.0 - 1)), ends);
        }
        out.retired.push((first, last));
        next = last.next();
    }
    if next <= range.1 {
        missing(out, expected, (next, range.1), ends);
    }
}

fn missing(out: &mut Verdict, expected: &Expectation<'_>, range: SeqRange, ends: (Option<Tier>, Option<Tier>)) {
    out.contiguous = false;
    if !expected.monotonic {
        let head_is_gone = ends.1.is_none() && !expected.partial && range.1 == expected.head;
        if head_is_gone {
            out.missing.push((range.1, range.1));
        }
        return;
    }
    let certain = !expected.partial
        || match ends {
            (Some(below), Some(above)) => below == above,
            (None, Some(above)) => above == Tier::Durable,
            (_, None) => false,
        };
    if certain {
        out.missing.push(range);
    }
}

/// A range in words: `3`, `7-9`.
pub(super) fn range_text(first: Seq, last: Seq) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

impl Verdict {
    /// Of a read that left tiers out: the seqs up to the stream's head that were asked for, lie behind the last row, and are neither holes
    /// nor retired. The head is an event, so another tier has it; between it and the last row clients may have skipped some.
    pub(super) fn not_read_behind(&self, last: Seq, head: Seq) -> Option<SeqRange> {
        let first = last.next().max(self.from_seq);
        let is_told = |range: &SeqRange| range.1 >= head;
        let is_hidden = self.to_seq == head && first <= head && !self.missing.iter().chain(&self.retired).any(is_told);
        is_hidden.then_some((first, head))
    }

    /// The holes in words: `3, 7-9`.
    #[must_use]
    pub fn missing_text(&self) -> String {
        const SHOWN: usize = 5;
        let mut text = String::new();
        for (i, (first, last)) in self.missing.iter().take(SHOWN).enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            text += comma;
            text += &range_text(*first, *last);
        }
        if self.missing.len() > SHOWN {
            text += &format!(" and {} more ranges", self.missing.len() - SHOWN);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Tier::{Durable, Inmemory, Wal};

    fn expected(head: u64) -> Expectation<'static> {
        Expectation {
            from: Seq::FIRST,
            to: None,
            head: Seq(head),
            full: false,
            order: Order::Asc,
            monotonic: true,
            partial: false,
            retired: &[],
        }
    }

    fn rows(seqs: &[u64], tier: Tier) -> Vec<(Seq, Tier)> {
        seqs.iter().map(|s| (Seq(*s), tier)).collect()
    }

    fn missing(v: &Verdict) -> Vec<(u64, u64)> {
        v.missing.iter().map(|(a, b)| (a.0, b.0)).collect()
    }

    #[test]
    fn a_whole_stream_is_contiguous() {
        let v = judge(&expected(3), &rows(&[1, 2, 3], Wal));
        assert_eq!((v.from_seq, v.to_seq, v.contiguous, v.missing.len()), (Seq(1), Seq(3), true, 0));
    }

    #[test]
    fn holes_are_found_at_the_start_in_the_middle_and_below_the_head() {
        let v = judge(&expected(9), &rows(&[2, 3, 6], Durable));
        assert_eq!(missing(&v), [(1, 1), (4, 5), (7, 9)]);
        assert_eq!(v.missing_text(), "1, 4-5, 7-9");
        assert!(!v.contiguous);
        assert_eq!(missing(&judge(&expected(2), &[])), [(1, 2)]);
    }

    #[test]
    fn rows_above_the_known_head_are_newer_and_no_hole() {
        let v = judge(&expected(2), &rows(&[1, 2, 3], Wal));
        assert_eq!((v.to_seq, v.contiguous), (Seq(3), true));
    }

    #[test]
    fn a_full_page_ends_at_its_last_row() {
        let asc = Expectation { full: true, ..expected(9) };
        assert!(judge(&asc, &rows(&[1, 2], Wal)).contiguous);
        let desc = Expectation { full: true, order: Order::Desc, ..expected(9) };
        let v = judge(&desc, &rows(&[8, 9], Wal));
        assert_eq!((v.from_seq, v.to_seq, v.contiguous), (Seq(8), Seq(9), true));
        assert_eq!(missing(&judge(&desc, &rows(&[7, 8], Wal))), [(9, 9)]);
    }

    #[test]
    fn the_asked_range_bounds_the_check() {
        let some = Expectation { from: Seq(4), to: Some(Seq(6)), ..expected(9) };
        assert!(judge(&some, &rows(&[4, 5, 6], Wal)).contiguous);
        assert_eq!(missing(&judge(&some, &rows(&[5], Wal))), [(4, 4), (6, 6)]);
        let beyond = Expectation { from: Seq(10), ..expected(9) };
        assert_eq!(judge(&beyond, &[]), Verdict { contiguous: true, ..Verdict::default() });
    }

    #[test]
    fn what_a_left_out_tier_may_hold_is_no_hole() {
        let partial = Expectation { partial: true, ..expected(9) };
        let mut both = rows(&[1, 2, 4], Durable);
        both.extend(rows(&[7, 9], Inmemory));
        let v = judge(&partial, &both);
        assert_eq!(missing(&v), [(3, 3), (8, 8)]);
        assert!(!v.contiguous);
        assert!(judge(&partial, &rows(&[5, 6], Inmemory)).missing.is_empty());
        assert_eq!(missing(&judge(&partial, &rows(&[2], Durable))), [(1, 1)]);
    }

    #[test]
    fn what_follows_the_last_row_up_to_the_head_is_in_a_left_out_tier() {
        let behind = |expected: &Expectation<'_>, rows: &[(Seq, Tier)]| {
            let verdict = judge(expected, rows);
            verdict.not_read_behind(rows.last().map_or(Seq::ZERO, |row| row.0), expected.head)
        };
        let partial = Expectation { partial: true, ..expected(9) };
        assert_eq!(behind(&partial, &rows(&[1, 2], Durable)), Some((Seq(3), Seq(9))));
        assert_eq!(behind(&partial, &[]), Some((Seq(1), Seq(9))));
        assert_eq!(behind(&Expectation { monotonic: false, ..partial }, &rows(&[4], Durable)), Some((Seq(5), Seq(9))));
        assert_eq!(behind(&Expectation { from: Seq(7), ..partial }, &[]), Some((Seq(7), Seq(9))));
        assert_eq!(behind(&partial, &rows(&[8, 9], Inmemory)), None);
        assert_eq!(behind(&Expectation { to: Some(Seq(5)), ..partial }, &rows(&[1], Durable)), None, "not asked for");
        assert_eq!(behind(&Expectation { full: true, ..partial }, &rows(&[1], Durable)), None, "more pages come");
        assert_eq!(behind(&Expectation { retired: &[(Seq(8), Seq(9))], ..partial }, &rows(&[1], Durable)), None);
        assert_eq!(behind(&expected(0), &[]), None, "there is no stream");
    }

    #[test]
    fn where_clients_may_skip_only_the_head_must_be_there() {
        let free = Expectation { monotonic: false, ..expected(40) };
        let v = judge(&free, &rows(&[3, 17, 40], Wal));
        assert_eq!((v.missing.len(), v.contiguous, v.from_seq), (0, false, Seq(1)));
        let page = Expectation { from: Seq(4), to: Some(Seq(17)), full: true, ..free };
        let v = judge(&page, &rows(&[17], Wal));
        assert_eq!((v.from_seq, v.to_seq, v.contiguous), (Seq(4), Seq(17), false), "a page shows the jump before it");
        let between = judge(&Expectation { full: false, to: Some(Seq(16)), ..page }, &[]);
        assert_eq!((between.from_seq, between.to_seq, between.contiguous), (Seq(4), Seq(16), false));
        assert!(between.missing.is_empty());
        assert_eq!(missing(&judge(&free, &rows(&[3, 17], Wal))), [(40, 40)]);
        assert_eq!(missing(&judge(&free, &[])), [(40, 40)]);
        let nothing = Expectation { from: Seq(41), to: Some(Seq(40)), ..free };
        assert_eq!(judge(&nothing, &[]), Verdict { contiguous: true, ..Verdict::default() });
    }

    #[test]
    fn retired_ranges_are_no_holes_wherever_they_lie() {
        let retired = [(Seq(1), Seq(3)), (Seq(6), Seq(6)), (Seq(9), Seq(20))];
        let some = Expectation { retired: &retired, ..expected(9) };
        let v = judge(&some, &rows(&[4, 7, 8], Durable));
        assert_eq!(missing(&v), [(5, 5)]);
        assert_eq!(v.retired, [(Seq(1), Seq(3)), (Seq(6), Seq(6)), (Seq(9), Seq(9))]);
        let v = judge(&some, &rows(&[4, 5, 7, 8], Durable));
        assert!(v.contiguous && v.missing.is_empty());
    }
}
