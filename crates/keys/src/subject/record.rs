//! Records of the file of subject keys; `SUBJECTS.md` says them byte by byte. Pure: bytes in, records out, and the other way round.

use super::SubjectKeyId;
use crate::{Secret, Zeroizing};

/// Bytes of a record before its texts.
const FIXED_BYTES: usize = 80;
const MAGIC: [u8; 4] = *b"SLKR";
/// Where the secret stands in a record of a key, its checksum behind it.
const SECRET_AT: usize = 40;
/// Bytes of the secret and its checksum: what a destroyed key has zeros in.
pub const SECRET_BYTES: usize = Secret::BYTES + 4;
/// Records begin at multiples of this.
pub const RECORD_ALIGN: usize = 8;
/// The longest record: texts are bounded by the limits of events.
const RECORD_BYTES_MAX: usize = 1 << 16;

/// What a stream type's subjects are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SubjectKind {
    /// Each stream.
    Stream,
    /// Each tenant.
    Tenant,
}

impl SubjectKind {
    /// The word of the interface.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Tenant => "tenant",
        }
    }

    /// From the word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Stream, Self::Tenant].into_iter().find(|kind| kind.word() == word)
    }
}

/// Whose data a key seals.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Subject {
    /// The store.
    pub store: String,
    /// The stream type.
    pub stream_type: String,
    /// The stream, or the tenant.
    pub name: String,
}

/// What is left of a key that was destroyed: it never comes back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tombstone {
    /// When, in microseconds since 1970.
    pub at_us: i64,
    /// Who.
    pub who: String,
    /// Events that were sealed with it, as far as that is known.
    pub events: u64,
}

/// The secret of a record as it stands in the file.
#[derive(Clone, Debug)]
pub enum Stored {
    /// Whole.
    Whole(Secret),
    /// Overwritten.
    Destroyed,
    /// Neither: torn, or damaged.
    Broken,
}

/// One record.
#[derive(Clone, Debug)]
pub enum Record {
    /// A key.
    Key(SubjectKeyId, Subject, Stored),
    /// The key of this id is destroyed.
    Tombstone(SubjectKeyId, Subject, Tombstone),
    /// A stream type is erasable, by these subjects.
    Type(SubjectKind, String, String),
}

/// A record and where it stands.
#[derive(Clone, Debug)]
pub struct Found {
    /// The record.
    pub record: Record,
    /// Bytes that it takes.
    pub bytes: usize,
    /// Everything below this offset of the file was on stable storage when it was written.
    pub synced: u64,
}

/// Where the secret of a record stands in the file.
#[must_use]
pub const fn secret_at(record: u64) -> u64 {
    record + SECRET_AT as u64
}

/// The bytes of a record that is written when everything below `synced` is on stable storage.
#[must_use]
pub fn encode(record: &Record, synced: u64) -> Zeroizing<Vec<u8>> {
    // of one piece: what grows leaves copies of a secret behind
    let texts: usize = texts_of(record).iter().map(|text| 2 + text.len()).sum();
    let mut out = Zeroizing::new(Vec::with_capacity((FIXED_BYTES + texts).next_multiple_of(RECORD_ALIGN)));
    out.resize(FIXED_BYTES, 0);
    out[..4].copy_from_slice(&MAGIC);
    out[16..24].copy_from_slice(&synced.to_le_bytes());
    let kind: u8 = match record {
        Record::Key(id, _, secret) => {
            out[24..40].copy_from_slice(id);
            if let Stored::Whole(secret) = secret {
                out[SECRET_AT..SECRET_AT + Secret::BYTES].copy_from_slice(secret.expose());
                let sum = crc32c::crc32c(secret.expose());
                out[SECRET_AT + Secret::BYTES..SECRET_AT + SECRET_BYTES].copy_from_slice(&sum.to_le_bytes());
            }
            1
        }
        Record::Tombstone(id, _, tombstone) => {
            out[24..40].copy_from_slice(id);
            out[40..48].copy_from_slice(&tombstone.at_us.to_le_bytes());
            out[48..56].copy_from_slice(&tombstone.events.to_le_bytes());
            2
        }
        Record::Type(kind, ..) => {
            out[40] = *kind as u8 + 1;
            3
        }
    };
    out[12] = kind;
    for text in texts_of(record) {
        // the longest name is far below it
        out.extend_from_slice(&(text.len() as u16).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    let whole = out.len().next_multiple_of(RECORD_ALIGN);
    out.resize(whole, 0);
    let length = whole as u32;
    out[4..8].copy_from_slice(&length.to_le_bytes());
    let sum = checksum(&out);
    out[8..12].copy_from_slice(&sum.to_le_bytes());
    out
}

/// Store, stream type, name of the subject, who erased it.
fn texts_of(record: &Record) -> [&str; 4] {
    match record {
        Record::Key(_, of, _) => [&of.store, &of.stream_type, &of.name, ""],
        Record::Tombstone(_, of, tombstone) => [&of.store, &of.stream_type, &of.name, &tombstone.who],
        Record::Type(_, store, stream_type) => [store, stream_type, "", ""],
    }
}

/// Of everything but the place of the checksum, and, in a key, the secret: that may be overwritten.
fn checksum(record: &[u8]) -> u32 {
    let sum = crc32c::crc32c(&record[..8]);
    if record[12] == 1 {
        let sum = crc32c::crc32c_append(sum, &record[12..SECRET_AT]);
        return crc32c::crc32c_append(sum, &record[SECRET_AT + SECRET_BYTES..]);
    }
    crc32c::crc32c_append(sum, &record[12..])
}

/// The record that begins `bytes`; `None`: none does.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Found> {
    let head = bytes.get(..FIXED_BYTES)?;
    let number = |at: usize| head.get(at..at + 8).and_then(|of| of.try_into().ok()).map(u64::from_le_bytes);
    let word = |at: usize| head.get(at..at + 4).and_then(|of| of.try_into().ok()).map(u32::from_le_bytes);
    let length = word(4)? as usize;
    if head[..4] != MAGIC || !(FIXED_BYTES..=RECORD_BYTES_MAX).contains(&length) || !length.is_multiple_of(RECORD_ALIGN)
    {
        return None;
    }
    let record = bytes.get(..length)?;
    if word(8)? != checksum(record) {
        return None;
    }
    let mut rest = record.get(FIXED_BYTES..)?;
    let mut text = || {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        let (text, behind) = behind.split_at_checked(u16::from_le_bytes(*length).into())?;
        rest = behind;
        std::str::from_utf8(text).ok().map(str::to_owned)
    };
    let (store, stream_type, name, who) = (text()?, text()?, text()?, text()?);
    let id: SubjectKeyId = head.get(24..40)?.try_into().ok()?;
    let record = match head[12] {
        1 => Record::Key(
            id,
            Subject { store, stream_type, name },
            stored(head.get(SECRET_AT..SECRET_AT + SECRET_BYTES)?),
        ),
        2 => {
            let tombstone = Tombstone { at_us: number(40)?.cast_signed(), who, events: number(48)? };
            Record::Tombstone(id, Subject { store, stream_type, name }, tombstone)
        }
        3 => {
            let kind = match head[40] {
                1 => SubjectKind::Stream,
                2 => SubjectKind::Tenant,
                _ => return None,
            };
            Record::Type(kind, store, stream_type)
        }
        _ => return None,
    };
    Some(Found { record, bytes: length, synced: number(16)? })
}

fn stored(bytes: &[u8]) -> Stored {
    let Some((secret, sum)) = bytes.split_first_chunk::<{ Secret::BYTES }>() else { return Stored::Broken };
    if bytes.iter().all(|byte| *byte == 0) {
        return Stored::Destroyed;
    }
    if sum == crc32c::crc32c(secret).to_le_bytes() { Stored::Whole(Secret::new(*secret)) } else { Stored::Broken }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Record> {
        let of = Subject { store: "calls".into(), stream_type: "Call".into(), name: "ü/1".into() };
        vec![
            Record::Type(SubjectKind::Tenant, "calls".into(), "Call".into()),
            Record::Key([9; 16], of.clone(), Stored::Whole(Secret::new([3; 32]))),
            Record::Tombstone([9; 16], of, Tombstone { at_us: -5, who: "ops".into(), events: 7 }),
        ]
    }

    #[test]
    fn records_go_both_ways_and_no_changed_byte_is_taken() {
        for record in samples() {
            let bytes = encode(&record, 4096);
            let found = decode(&bytes).unwrap();
            assert_eq!((found.bytes, found.synced), (bytes.len(), 4096));
            assert_eq!(encode(&found.record, 4096), bytes);
            for at in 0..bytes.len() {
                let mut other = bytes.clone();
                other[at] ^= 1;
                let in_secret = (SECRET_AT..SECRET_AT + SECRET_BYTES).contains(&at);
                match decode(&other) {
                    None => {}
                    Some(Found { record: Record::Key(_, _, Stored::Broken), .. }) => assert!(in_secret, "byte {at}"),
                    Some(found) => panic!("byte {at}: {found:?}"),
                }
                assert!(decode(&bytes[..at]).is_none());
            }
        }
    }

    #[test]
    fn the_records_are_those_of_the_first_version() {
        let now: Vec<u8> = samples().iter().flat_map(|record| encode(record, 4096).to_vec()).collect();
        assert_eq!(now, crate::subject::tests::golden("subject-records-v1.bin", &now));
    }

    #[test]
    fn a_destroyed_secret_leaves_the_record_whole() {
        let mut bytes = encode(&samples()[1], 0);
        bytes[SECRET_AT..SECRET_AT + SECRET_BYTES].fill(0);
        assert!(matches!(decode(&bytes).unwrap().record, Record::Key(_, _, Stored::Destroyed)));
    }
}
