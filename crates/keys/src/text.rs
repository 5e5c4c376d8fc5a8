//! Lines of text that end with a checksum: the form of key files and keyrings.

use std::fmt::Write;

/// Bytes of the line of the checksum.
pub(crate) const SUM_BYTES: usize = 16;

/// Adds the line of the checksum.
pub(crate) fn with_sum(mut lines: String) -> String {
    add_sum(&mut lines);
    lines
}

/// The same, in place.
pub(crate) fn add_sum(lines: &mut String) {
    let crc = crc32c::crc32c(lines.as_bytes());
    // a String takes everything
    let _ = writeln!(lines, "crc32c {crc:08x}");
}

/// The lines in front of a right checksum, the first of which is `title`.
pub(crate) fn checked<'a>(text: &'a str, title: &str) -> Result<std::str::Lines<'a>, &'static str> {
    let (lines, sum) = text.trim_end_matches('\n').rsplit_once('\n').ok_or("it is cut")?;
    let body = text.get(..lines.len() + 1).ok_or("it is cut")?;
    let mut out = body.lines();
    if out.next() != Some(title) {
        return Err("it has another title, or a version that this program does not read");
    }
    if sum != format!("crc32c {:08x}", crc32c::crc32c(body.as_bytes())) {
        return Err("its checksum differs");
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_checked() {
        let text = with_sum("title 1\na b\n".to_owned());
        assert_eq!(checked(&text, "title 1").unwrap().collect::<Vec<_>>(), ["a b"]);
        assert!(checked(&text, "title 2").is_err());
        assert!(checked(&text.replace("a b", "a c"), "title 1").is_err());
        assert!(checked("", "title 1").is_err());
    }
}
