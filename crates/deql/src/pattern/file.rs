//! Names of data files: Hive folders of the partition columns, then a unique name.
//!
//! Invariant: two files of different (writer, file number) never get one name.

use super::{Piece, check_characters, split};
use crate::config::choice::{Choice, PartitionColumn};
use crate::config::key::{Key, Kind};
use crate::config::settings::{Fault, Setting, text_of};
use crate::syntax::ast::{Literal, Spanned};
use crate::value::Value;
use strandline_event::{FieldNames, encode_path_text};

/// The partition value of a row whose expression is null, as Hive writes it.
pub const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";
const EXTENSION: &str = ".parquet";
/// Bytes of a part of a path: the 255 of file systems, less what a store hangs behind a name for a while.
pub const PATH_PART_BYTES_MAX: usize = 240;
/// Bytes of a writer's name and of a file's number at most.
const WRITER_BYTES_MAX: usize = 64;
const FILE_SEQ_BYTES_MAX: usize = 20;
/// Bytes that a partition value must have in a part at least.
const VALUE_BYTES_MIN: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Hole {
    Partition(PartitionColumn),
    Writer,
    FileSeq,
}

const HOLES: &[(&str, Hole)] = &[
    ("dt", Hole::Partition(PartitionColumn::Dt)),
    ("stream_type", Hole::Partition(PartitionColumn::StreamType)),
    ("tenant_id", Hole::Partition(PartitionColumn::TenantId)),
    ("writer", Hole::Writer),
    ("file_seq", Hole::FileSeq),
];

/// `durable.file_pattern`: the object name of a data file, relative to `durable.path`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct FilePattern {
    text: String,
    pieces: Vec<Piece<Hole>>,
}

/// A part of the path of data files, between two slashes, in which partition values stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathPart {
    /// The columns whose values stand in it.
    pub columns: Vec<PartitionColumn>,
    /// Bytes that their values may have in all, percent-encoded.
    pub room: usize,
}

/// Bytes of a partition value in a path.
#[must_use]
pub fn partition_value_bytes(value: Option<&str>) -> usize {
    encode_value(value).len()
}

/// The partition values of a file, not encoded; `None` is null.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PartitionValues<'a> {
    /// Value of `dt`.
    pub dt: Option<&'a str>,
    /// Value of `stream_type`.
    pub stream_type: Option<&'a str>,
    /// Value of `tenant_id`.
    pub tenant_id: Option<&'a str>,
}

impl FilePattern {
    /// Hive folders of the columns, then `part-{writer}-{file_seq}.parquet`.
    pub(crate) fn for_partitions(by: &[PartitionColumn]) -> Self {
        let folders: String = by.iter().map(|c| format!("{c}={{{c}}}/")).collect();
        let text = format!("{folders}part-{{writer}}-{{file_seq}}{EXTENSION}");
        let pieces = split(&text, HOLES).unwrap_or_default();
        Self { text, pieces }
    }

    /// Reads a pattern; the error completes the sentence "<key>: ...".
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        check_characters(text)?;
        let pieces = split(text, HOLES)?;
        for must in ["writer", "file_seq"] {
            if !text.contains(&format!("{{{must}}}")) {
                return Err(format!("{{{must}}} is missing: without it two files could get one name"));
            }
        }
        check_shape(text, &pieces)?;
        Ok(Self { text: text.to_owned(), pieces })
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the pattern names this partition column.
    #[must_use]
    pub fn names(&self, column: PartitionColumn) -> bool {
        self.pieces.contains(&Piece::Hole(Hole::Partition(column)))
    }

    /// The parts of the path in which partition values stand.
    #[must_use]
    pub fn parts(&self) -> Vec<PathPart> {
        let with_columns = parts(&self.pieces).into_iter().filter(|(columns, _)| !columns.is_empty());
        with_columns
            .map(|(columns, fixed)| PathPart { columns, room: PATH_PART_BYTES_MAX.saturating_sub(fixed) })
            .collect()
    }

    /// The relative path of a file. Values are percent-encoded here.
    #[must_use]
    pub fn render(&self, values: &PartitionValues<'_>, writer: &str, file_seq: &str) -> String {
        let value = |column| match column {
            PartitionColumn::Dt => values.dt,
            PartitionColumn::StreamType => values.stream_type,
            PartitionColumn::TenantId => values.tenant_id,
        };
        let mut path = String::new();
        for piece in &self.pieces {
            let part_begins = path.is_empty() || path.ends_with('/');
            match piece {
                Piece::Text(text) => path.push_str(text),
                Piece::Hole(Hole::Writer) => path.push_str(&encode_path_text(writer)),
                Piece::Hole(Hole::FileSeq) => path.push_str(&encode_path_text(file_seq)),
                Piece::Hole(Hole::Partition(column)) if part_begins => {
                    path.push_str(&shown_to_readers(value(*column)));
                }
                Piece::Hole(Hole::Partition(column)) => path.push_str(&encode_value(value(*column))),
            }
        }
        path
    }
}

fn encode_value(value: Option<&str>) -> String {
    match value {
        // Hive has no empty value: readers take both for null
        None | Some("") => HIVE_NULL.to_owned(),
        // a real value of that name must not read back as null
        Some(HIVE_NULL) => HIVE_NULL.replacen('_', "%5F", 1),
        Some(value) => encode_path_text(value),
    }
}

/// A value with which a part of the path begins. Readers skip what begins with `.` or `_`, and the store's own folders and files do: no name of a
/// stream type or tenant may be one of these.
fn shown_to_readers(value: Option<&str>) -> String {
    let encoded = encode_value(value);
    match encoded.as_bytes().first() {
        Some(first @ (b'.' | b'_')) if encoded != HIVE_NULL => format!("%{first:02X}{}", &encoded[1..]),
        _ => encoded,
    }
}

fn check_shape(text: &str, pieces: &[Piece<Hole>]) -> Result<(), String> {
    if !text.ends_with(EXTENSION) {
        return Err(format!("it must end in {EXTENSION}"));
    }
    if text.split('/').any(|part| part.is_empty() || part.starts_with(['.', '_'])) {
        return Err("no part of the path may be empty or begin with `.` or `_`: readers skip such folders".to_owned());
    }
    let mut holes = Vec::new();
    for (i, piece) in pieces.iter().enumerate() {
        let Piece::Hole(hole) = piece else { continue };
        if holes.contains(hole) {
            return Err("a placeholder stands twice".to_owned());
        }
        holes.push(*hole);
        if matches!(pieces.get(i + 1), Some(Piece::Hole(_))) {
            return Err("two placeholders need a text between them: '1' and '12' would read as '11' and '2'".to_owned());
        }
    }
    check_room(pieces)
}

fn check_room(pieces: &[Piece<Hole>]) -> Result<(), String> {
    let least = |(columns, fixed): &(Vec<PartitionColumn>, usize)| fixed + columns.len() * VALUE_BYTES_MIN;
    let longest = parts(pieces).iter().map(least).max().unwrap_or_default();
    if longest > PATH_PART_BYTES_MAX {
        return Err(format!(
            "a part of the path may come to {longest} bytes, and file systems take no name of more than \
             {PATH_PART_BYTES_MAX}: shorten its text, or put a `/` into it"
        ));
    }
    Ok(())
}

/// Of each part of the path: the partition columns in it, and the bytes of everything else at most.
fn parts(pieces: &[Piece<Hole>]) -> Vec<(Vec<PartitionColumn>, usize)> {
    let mut parts = vec![(Vec::new(), 0)];
    for piece in pieces {
        if let Piece::Text(text) = piece {
            let mut texts = text.split('/');
            let first = texts.next().map_or(0, str::len);
            parts.last_mut().into_iter().for_each(|part| part.1 += first);
            parts.extend(texts.map(|text| (Vec::new(), text.len())));
            continue;
        }
        if let Some((columns, fixed)) = parts.last_mut() {
            match piece {
                Piece::Hole(Hole::Partition(column)) => {
                    // its first byte may have to be encoded
                    *fixed += if columns.is_empty() && *fixed == 0 { 2 } else { 0 };
                    columns.push(*column);
                }
                Piece::Hole(Hole::Writer) => *fixed += WRITER_BYTES_MAX,
                Piece::Hole(Hole::FileSeq) => *fixed += FILE_SEQ_BYTES_MAX,
                Piece::Text(_) => {}
            }
        }
    }
    parts
}

impl Setting for FilePattern {
    const KIND: Kind = Kind::Text("a path with {writer} and {file_seq} and every partition column, ending in .parquet");

    fn read(literal: &Spanned<Literal>, key: &Key, _: &FieldNames) -> Result<Self, Fault> {
        let text = text_of(literal, key)?;
        Self::parse(text).map_err(|why| {
            let known = PartitionColumn::TEXTS.iter().map(|t| format!("{t}={{{t}}}/")).collect::<String>();
            Fault::value(literal.span, format!("`{}`: {why}", key.name))
                .hint(Some(format!("for example '{known}part-{{writer}}-{{file_seq}}.parquet'")))
        })
    }

    fn write(&self, _: &FieldNames) -> Option<Value> {
        Some(Value::Text(self.text.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_hive_folders() {
        let pattern = FilePattern::for_partitions(&[PartitionColumn::Dt, PartitionColumn::TenantId]);
        let path = |tenant_id| {
            let values = PartitionValues { dt: Some("2026-11-23"), stream_type: None, tenant_id };
            pattern.render(&values, "01ab", "7")
        };
        assert_eq!(path(Some("a/b=c")), "dt=2026-11-23/tenant_id=a%2Fb%3Dc/part-01ab-7.parquet");
        assert_eq!(path(None), "dt=2026-11-23/tenant_id=__HIVE_DEFAULT_PARTITION__/part-01ab-7.parquet");
        assert_ne!(path(Some(HIVE_NULL)), path(None));
        assert_eq!(path(Some("..")), "dt=2026-11-23/tenant_id=%2E./part-01ab-7.parquet");
    }

    #[test]
    fn no_value_names_a_folder_of_the_store_or_one_that_readers_skip() {
        let pattern = FilePattern::parse("{tenant_id}/{stream_type}-{writer}-{file_seq}.parquet").unwrap();
        let path = |tenant_id, stream_type| {
            let values = PartitionValues { dt: None, stream_type: Some(stream_type), tenant_id: Some(tenant_id) };
            pattern.render(&values, "n1", "7")
        };
        assert_eq!(path("_manifests", "_x"), "%5Fmanifests/%5Fx-n1-7.parquet");
        assert_eq!(path(".lock", ".."), "%2Elock/%2E.-n1-7.parquet");
        assert_eq!(path(HIVE_NULL, "a"), format!("%5F{}/a-n1-7.parquet", &HIVE_NULL[1..]));
        assert_eq!(path("", "a"), format!("{HIVE_NULL}/a-n1-7.parquet"));
    }

    #[test]
    fn no_part_of_a_path_outgrows_a_file_system() {
        let literal = "x".repeat(200);
        for bad in [
            format!("{literal}{{stream_type}}/{{writer}}-{{file_seq}}.parquet"),
            format!("{literal}{{writer}}-{{file_seq}}.parquet"),
            "{stream_type}+{tenant_id}+{dt}-{writer}-{file_seq}.parquet".to_owned(),
        ] {
            let error = FilePattern::parse(&bad).unwrap_err();
            assert!(error.contains("shorten"), "{bad}: {error}");
        }
        let pattern = FilePattern::parse("a/{dt}-x/b={stream_type}_{tenant_id}/{writer}-{file_seq}.parquet").unwrap();
        let both = vec![PartitionColumn::StreamType, PartitionColumn::TenantId];
        assert_eq!(
            pattern.parts(),
            [
                PathPart { columns: vec![PartitionColumn::Dt], room: PATH_PART_BYTES_MAX - 4 },
                PathPart { columns: both, room: PATH_PART_BYTES_MAX - 3 },
            ]
        );
        // what fits by this count fits in what is written
        let (value, longest) = ("ä/".repeat(20), "9".repeat(FILE_SEQ_BYTES_MAX));
        let values = PartitionValues { dt: None, stream_type: Some(&value), tenant_id: Some("") };
        let path = pattern.render(&values, &"w".repeat(WRITER_BYTES_MAX), &longest);
        let part = path.split('/').nth(2).unwrap();
        assert_eq!(part.len(), 3 + partition_value_bytes(Some(&value)) + partition_value_bytes(None));
    }

    #[test]
    fn bad_patterns_are_refused() {
        for bad in [
            "{writer}.parquet",
            "{file_seq}.parquet",
            "{writer}{file_seq}.parquet",
            "{writer}-{file_seq}.csv",
            "{hour}/{writer}-{file_seq}.parquet",
            "/{writer}-{file_seq}.parquet",
            "../{writer}-{file_seq}.parquet",
            "_x/{writer}-{file_seq}.parquet",
            "{writer-{file_seq}.parquet",
            "}{writer}-{file_seq}.parquet",
            "a\u{0}{writer}-{file_seq}.parquet",
            "{writer}-{file_seq}-{writer}.parquet",
        ] {
            assert!(FilePattern::parse(bad).is_err(), "{bad}");
        }
        FilePattern::parse("x/{stream_type}/{writer}_{file_seq}.parquet").unwrap();
    }
}
