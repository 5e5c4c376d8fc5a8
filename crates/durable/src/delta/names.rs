//! Names: of the files of `_delta_log`, and of a data file as the Delta log spells it.
//!
//! ```text
//! _delta_log/<20 digits>.json                            one Delta version
//! _delta_log/<20 digits>.checkpoint.parquet              all of a version, object stores
//! _delta_log/<20 digits>.checkpoint.<uuid>.json          all of a version, local folders
//! _delta_log/_last_checkpoint                            a hint
//! _delta/<data file>.link                                locally: a second link to the file, which actions name
//! ```
//!
//! Locally a data file changes its name when it is replaced (`x.parquet.old`), so that a glob stays exact. A Delta reader that
//! chose its files a moment ago must still find them: the Delta log names a hard link that stays until the bytes go. It lies in a folder that
//! readers of folders pass over (`_`), and no name of it, or of a checkpoint, ends in `.parquet`, which a glob would find.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use strandline_event::hash::keyed_hash;

/// The folder of the log, below `durable.path`.
pub(crate) const FOLDER: &str = "_delta_log";
/// The hint at the newest checkpoint.
pub(crate) const LAST_CHECKPOINT: &str = "_delta_log/_last_checkpoint";
/// The folder of local data files' second links.
const LINK_FOLDER: &str = "_delta";
const LINK_SUFFIX: &str = ".link";

/// What stays as it is in a path of an action: RFC 3986's unreserved characters, `/` and `=`.
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b'=');

/// A file of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LogFile {
    /// One version.
    Commit(u64),
    /// A checkpoint in Parquet.
    Parquet(u64),
    /// A checkpoint in JSON.
    Json(u64),
}

impl LogFile {
    /// The version that it belongs to.
    pub(crate) const fn version(self) -> u64 {
        match self {
            Self::Commit(version) | Self::Parquet(version) | Self::Json(version) => version,
        }
    }
}

/// Name of a version.
pub(crate) fn commit(version: u64) -> String {
    format!("{FOLDER}/{version:020}.json")
}

/// Name of a checkpoint in Parquet.
pub(crate) fn parquet_checkpoint(version: u64) -> String {
    format!("{FOLDER}/{version:020}.checkpoint.parquet")
}

/// Name of a checkpoint in JSON. Its UUID follows from store and version: who writes it again writes the same.
pub(crate) fn json_checkpoint(version: u64, store_id: [u8; 16]) -> String {
    let bits = keyed_hash(0, 0, &[b"delta checkpoint", &store_id, &version.to_be_bytes()]);
    format!("{FOLDER}/{version:020}.checkpoint.{}.json", uuid(bits.to_be_bytes()))
}

/// 16 bytes in the form of a UUID.
pub(crate) fn uuid(bytes: [u8; 16]) -> String {
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// What a name in the folder is; `None`: nothing that a state is made from.
pub(crate) fn parse(path: &str) -> Option<LogFile> {
    let name = path.strip_prefix(FOLDER)?.strip_prefix('/')?;
    let (digits, rest) = name.split_at_checked(20)?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let version = digits.parse().ok()?;
    match rest.split('.').collect::<Vec<_>>()[..] {
        ["", "json"] => Some(LogFile::Commit(version)),
        ["", "checkpoint", "parquet"] => Some(LogFile::Parquet(version)),
        ["", "checkpoint", id, "json"] if id.len() == 36 => Some(LogFile::Json(version)),
        _ => None,
    }
}

/// The second link of a local data file.
pub(crate) fn link(path: &str) -> String {
    format!("{LINK_FOLDER}/{path}{LINK_SUFFIX}")
}

/// The data file of a second link.
pub(crate) fn linked(name: &str) -> Option<&str> {
    name.strip_prefix(LINK_FOLDER)?.strip_prefix('/')?.strip_suffix(LINK_SUFFIX)
}

/// A name as it stands in an action.
pub(crate) fn encode(name: &str) -> String {
    utf8_percent_encode(name, ENCODED).to_string()
}

/// A name as an action means it.
pub(crate) fn decode(path: &str) -> String {
    percent_decode_str(path).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again() {
        for file in [LogFile::Commit(0), LogFile::Parquet(7), LogFile::Json(u64::MAX)] {
            let name = match file {
                LogFile::Commit(v) => commit(v),
                LogFile::Parquet(v) => parquet_checkpoint(v),
                LogFile::Json(v) => json_checkpoint(v, [3; 16]),
            };
            assert_eq!(parse(&name), Some(file), "{name}");
        }
        for other in [
            LAST_CHECKPOINT,
            "_delta_log/.aside-7-1",
            "_delta_log/00000000000000000001.crc",
            "_delta_log/00000000000000000001.checkpoint.0000000001.0000000002.parquet",
            "_delta_log/0000000000000000000x.json",
            "_delta_log/1.json",
            "00000000000000000001.json",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
        assert_ne!(json_checkpoint(1, [3; 16]), json_checkpoint(2, [3; 16]).replace("002.", "001."));
    }

    #[test]
    fn links_lie_where_no_reader_of_files_looks() {
        let link = link("dt=2026/x.parquet");
        assert!(link.starts_with('_') && !link.ends_with(".parquet"));
        assert_eq!(linked(&link), Some("dt=2026/x.parquet"));
        assert_eq!((linked("dt=2026/x.parquet"), linked("_delta_log/x.link")), (None, None));
    }

    #[test]
    fn paths_are_encoded_once_more() {
        let name = "dt=2026-01-01/tenant_id=a%2Fb%3Dc/große Datei #1?.parquet";
        let path = encode(name);
        assert_eq!(path, "dt=2026-01-01/tenant_id=a%252Fb%253Dc/gro%C3%9Fe%20Datei%20%231%3F.parquet");
        assert_eq!(decode(&path), name);
    }
}
