//! Sets of seq ranges as sorted streams: union and difference, one pass, nothing held but the ends.
//!
//! Invariant: what comes out is by (stream, first), and two ranges of a stream neither touch nor overlap.

use super::record::RetiredRange;
use std::iter::Peekable;
use strandline_event::Seq;

/// Ranges sorted by (stream, first).
pub(crate) type Ranges<'a> = Box<dyn Iterator<Item = RetiredRange> + 'a>;

/// Joins ranges of a sorted stream that touch or overlap.
pub(crate) fn coalesced(sorted: impl Iterator<Item = RetiredRange>) -> impl Iterator<Item = RetiredRange> {
    let mut sorted = sorted.peekable();
    std::iter::from_fn(move || {
        let mut out = sorted.next()?;
        while let Some(next) = sorted.next_if(|next| next.stream == out.stream && next.first <= out.last.next()) {
            out.last = out.last.max(next.last);
        }
        Some(out)
    })
}

/// Everything that one of the sorted sources has.
pub(crate) fn union<'a>(sources: Vec<Ranges<'a>>) -> impl Iterator<Item = RetiredRange> + 'a {
    let mut sources: Vec<Peekable<_>> = sources.into_iter().map(Iterator::peekable).collect();
    coalesced(std::iter::from_fn(move || {
        let heads = sources.iter_mut().enumerate();
        let (_, source) = heads.filter_map(|(i, source)| Some((*source.peek()?, i))).min()?;
        sources.get_mut(source)?.next()
    }))
}

/// What `from` has and `minus` has not; both as [`union`] gives them.
pub(crate) fn subtracted<'a>(from: Ranges<'a>, minus: Ranges<'a>) -> impl Iterator<Item = RetiredRange> + 'a {
    let (mut from, mut minus) = (from, minus.peekable());
    let mut rest: Option<RetiredRange> = None;
    std::iter::from_fn(move || {
        loop {
            let mut range = rest.take().or_else(|| from.next())?;
            let below = |cut: &RetiredRange| (cut.stream, cut.last) < (range.stream, range.first);
            while minus.next_if(below).is_some() {}
            let Some(cut) = minus.peek().filter(|cut| cut.stream == range.stream && cut.first <= range.last) else {
                return Some(range);
            };
            if cut.last < range.last {
                rest = Some(RetiredRange { first: cut.last.next(), ..range });
            }
            if range.first < cut.first {
                range.last = Seq(cut.first.0.saturating_sub(1));
                return Some(range);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    type Set = BTreeSet<(u128, u64)>;

    /// The ranges of a set, each seq by itself: sorted, not joined.
    fn singles(set: &Set) -> Ranges<'static> {
        let all: Vec<_> = set
            .iter()
            .map(|(stream, seq)| RetiredRange { stream: *stream, first: Seq(*seq), last: Seq(*seq) })
            .collect();
        Box::new(all.into_iter())
    }

    fn seqs(ranges: &[RetiredRange]) -> Set {
        ranges.iter().flat_map(|r| (r.first.0..=r.last.0).map(|seq| (r.stream, seq))).collect()
    }

    /// Sorted, and joined wherever two ranges touch.
    fn is_tidy(ranges: &[RetiredRange]) -> bool {
        ranges
            .windows(2)
            .all(|p| p[0].stream < p[1].stream || (p[0].stream == p[1].stream && p[0].last.next() < p[1].first))
    }

    fn sets() -> impl Strategy<Value = Vec<Set>> {
        prop::collection::vec(prop::collection::btree_set((0_u128..3, 1_u64..30), 0..40), 1..4)
    }

    proptest! {
        #[test]
        fn union_and_difference_are_those_of_sets(sets in sets(), minus in sets()) {
            let all: Set = sets.iter().flatten().copied().collect();
            let gone: Set = minus.iter().flatten().copied().collect();
            let both: Vec<_> = union(sets.iter().map(singles).collect()).collect();
            prop_assert!(is_tidy(&both));
            prop_assert_eq!(seqs(&both), all.clone());
            let less: Vec<_> = subtracted(
                Box::new(union(sets.iter().map(singles).collect())),
                Box::new(union(minus.iter().map(singles).collect())),
            ).collect();
            prop_assert!(is_tidy(&less));
            prop_assert_eq!(seqs(&less), &all - &gone);
        }
    }
}
