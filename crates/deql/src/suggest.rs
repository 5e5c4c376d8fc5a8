//! The nearest known word to a word that is not known.

/// The candidate that needs the fewest edits, if it is near enough to be what was meant.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // edit distance is quadratic: a word longer than any key means nothing known
    if word.len() > 200 {
        return None;
    }
    let lower = word.to_lowercase();
    let (distance, best) = candidates
        .map(|known| (strsim::osa_distance(&lower, &known.to_lowercase()), known))
        .min_by_key(|(distance, _)| *distance)?;
    let longest = lower.chars().count().max(best.chars().count());
    (distance * 5 <= longest * 2).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_far_ones_are_not() {
        let known = ["zstd", "gzip", "snappy"];
        assert_eq!(nearest("ZSTD", known.into_iter()), Some("zstd"));
        assert_eq!(nearest("snapy", known.into_iter()), Some("snappy"));
        assert_eq!(nearest("bananas", known.into_iter()), None);
        assert_eq!(nearest("x", std::iter::empty()), None);
    }
}
