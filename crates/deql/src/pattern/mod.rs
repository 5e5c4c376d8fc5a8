//! Name patterns with placeholders in braces: names of data files and of log segments.

mod file;
mod segment;

pub use file::{FilePattern, HIVE_NULL, PATH_PART_BYTES_MAX, PartitionValues, PathPart, partition_value_bytes};
pub use segment::SegmentPattern;

/// A piece of a pattern.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Piece<P> {
    Text(String),
    Hole(P),
}

/// Splits a pattern at its placeholders; the error completes the sentence "<key>: ...".
fn split<P: Copy>(pattern: &str, known: &[(&str, P)]) -> Result<Vec<Piece<P>>, String> {
    let list = || known.iter().map(|(name, _)| format!("{{{name}}}")).collect::<Vec<_>>().join(" ");
    let mut pieces = Vec::new();
    let mut rest = pattern;
    while !rest.is_empty() {
        let brace = rest.find(['{', '}']).unwrap_or(rest.len());
        let (text, tail) = rest.split_at(brace);
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        let Some(inner) = tail.strip_prefix('{') else {
            if tail.is_empty() {
                break;
            }
            return Err("a `}` without its `{`".to_owned());
        };
        let Some((name, after)) = inner.split_once('}') else {
            return Err("a `{` without its `}`".to_owned());
        };
        let Some((_, hole)) = known.iter().find(|(text, _)| *text == name) else {
            return Err(format!("{{{name}}} is no placeholder; there are {}", list()));
        };
        pieces.push(Piece::Hole(*hole));
        rest = after;
    }
    Ok(pieces)
}

/// Refuses what is no plain name in any file system.
fn check_characters(pattern: &str) -> Result<(), String> {
    match pattern.chars().find(|c| c.is_control() || matches!(c, '\\' | '*' | '?' | '"' | '<' | '>' | '|' | ':' | '%'))
    {
        Some(c) => Err(format!("{c:?} is not allowed in file names")),
        None => Ok(()),
    }
}
