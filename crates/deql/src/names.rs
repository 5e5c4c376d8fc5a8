//! Identifiers: names of stores, aggregates and columns.
//!
//! Column names stay valid, unquoted and distinct in JSON, Parquet, SQL and Hive folders, so they are identifiers.

/// Longest name of a store, an aggregate or a column.
const NAME_CHARS_MAX: usize = 128;

/// Names that the interfaces put beside or around the fields of an event.
const RESERVED: &[&str] = &[
    "after",
    "appended",
    "as_of",
    "code",
    "consistency",
    "contiguous",
    "details",
    "duplicate",
    "duplicates",
    "error",
    "event",
    "events",
    "expected_seq",
    "first_seq",
    "from_seq",
    "inspect",
    "last_seq",
    "limit",
    "line",
    "missing",
    "next",
    "occurred_from",
    "occurred_to",
    "on_error",
    "order",
    "position",
    "projections",
    "rejected",
    "retired",
    "to_seq",
    "verdict",
    "warnings",
];

/// Whether a column may not have this name, however it is capitalised.
pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|r| r.eq_ignore_ascii_case(name))
}

/// Checks `[A-Za-z_][A-Za-z0-9_]*`, 1 to 128 characters; the error completes the sentence "<what>: ...".
pub(crate) fn check_identifier(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a name cannot be empty".to_owned());
    }
    if name.chars().count() > NAME_CHARS_MAX {
        return Err(format!("a name has at most {NAME_CHARS_MAX} characters"));
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("a name starts with a letter or _".to_owned());
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || *c == '_')) {
        Some(c) => Err(format!("a name holds letters A to Z, digits and _ only, not {c:?}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers() {
        for good in ["a", "_", "A9_z", &"x".repeat(128)] {
            assert_eq!(check_identifier(good), Ok(()), "{good}");
        }
        for bad in ["", "9a", "a-b", "a.b", "ü", "a b", &"x".repeat(129)] {
            assert!(check_identifier(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_default_name_is_reserved() {
        for field in strandline_event::Field::ALL {
            assert!(!is_reserved(field.default_name()));
        }
        assert!(is_reserved("Position"));
    }
}
