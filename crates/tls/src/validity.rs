//! From when to when a certificate is valid: two moments out of its DER bytes (RFC 5280, section 4.1). It refuses to judge anything else
//! of a certificate: the library does, when a connection is made.

use strandline_event::Micros;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The first moment and the last.
pub(crate) type Moments = (Micros, Micros);

/// Whether it is valid at a moment.
pub(crate) fn is_within(now: Micros, (first, last): Moments) -> bool {
    (first..=last).contains(&now)
}

/// The first and the last moment at which a certificate is valid; `None`: the bytes are no certificate.
pub(crate) fn of(certificate: &[u8]) -> Option<Moments> {
    let (_, certificate, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, mut rest, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    if let Some((VERSION, _, behind)) = element(rest) {
        rest = behind;
    }
    // serial number, algorithm, issuer
    for _ in 0..3 {
        (_, _, rest) = element(rest)?;
    }
    let (_, validity, _) = element(rest).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (tag, from, rest) = element(validity)?;
    let from = moment(tag, from)?;
    let (tag, until, _) = element(rest)?;
    Some((from, moment(tag, until)?))
}

/// Tag and content of the element that stands first, and what is behind it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, behind) = rest.split_at_checked(length)?;
    Some((tag, content, behind))
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`, always in UTC.
fn moment(tag: u8, text: &[u8]) -> Option<Micros> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (century, rest) = match (tag, text.len()) {
        (UTC_TIME, 12) => (if text < "50" { "20" } else { "19" }, text),
        (GENERALIZED_TIME, 14) => text.split_at(2),
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2);
    let (year, month, day) = (part(0)?, part(2)?, part(4)?);
    let (hour, minute, second) = (part(6)?, part(8)?, part(10)?);
    strandline_event::time::parse_rfc3339(&format!("{century}{year}-{month}-{day}T{hour}:{minute}:{second}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_both_forms() {
        let told = |tag, text: &str| moment(tag, text.as_bytes()).map(|moment| moment.to_string());
        assert_eq!(told(UTC_TIME, "261126160000Z").unwrap(), told(GENERALIZED_TIME, "20261126160000Z").unwrap());
        assert!(told(UTC_TIME, "750101000000Z").unwrap().starts_with("1975-01-01T00:00:00"));
        assert!(told(GENERALIZED_TIME, "20491231235959Z").unwrap().starts_with("2049-12-31T23:59:59"));
        for (tag, text) in [
            (UTC_TIME, "20261126160000Z"),
            (UTC_TIME, "261126160000"),
            (0x02, "261126160000Z"),
            (UTC_TIME, "26112616000xZ"),
        ] {
            assert_eq!(told(tag, text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_certificate_says_nothing() {
        let set = crate::dev::make(0, &[]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.pem");
        std::fs::write(&path, &set.server.certificate).unwrap();
        let der = crate::files::chain(&path).unwrap().remove(0);
        let (from, until) = of(&der).unwrap();
        assert!(from < until);
        for cut in 0..der.len() {
            assert!(of(&der[..cut]).is_none(), "cut at {cut}");
        }
        assert_eq!(of(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
