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

    /// The relative path of a file. Values are percent-encoded here.
    #[must_use]
    pub fn render(&self, values: &PartitionValues<'_>, writer: &str, file_seq: &str) -> String {
        let value = |column| match column {
            PartitionColumn::Dt => values.dt,
            PartitionColumn::StreamType => values.stream_type,
            PartitionColumn::TenantId => values.tenant_id,
        };
        let piece = |piece: &Piece<Hole>| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Hole(Hole::Writer) => encode_path_text(writer),
            Piece::Hole(Hole::FileSeq) => encode_path_text(file_seq),
            Piece::Hole(Hole::Partition(column)) => encode_value(value(*column)),
        };
        self.pieces.iter().map(piece).collect()
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
    Ok(())
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
