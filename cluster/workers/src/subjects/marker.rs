//! What the data folder keeps of the subject keys, for each store that has erasable stream types.
//!
//! ```text
//! subject-keys              which file it is, where it was, which stream types are erasable: no cut file takes that away
//! subject-keys.reached      how far the file had come: an older copy, or one that was cut, is behind it
//! ```
//!
//! `crates/keys/SUBJECTS.md` says the bytes of both. A line break in the path of the file is not kept.

use crate::data_dir::{DataDirError, at, make_own_folder, write_whole};
use crate::node::StartError;
use std::fs;
use std::path::{Path, PathBuf};
use strandline_event::hex::to_hex;
use strandline_event::{decode_path_text, encode_path_text};
use strandline_keys::subject::record::SubjectKind;

/// The first version: the id and the path, and no more.
const TITLE_1: &str = "strandline subject-keys 1";
const TITLE: &str = "strandline subject-keys 2";

/// Which file of subject keys a store was served with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Marker {
    /// Of the file, in hex digits.
    pub(super) id: String,
    /// Where it was.
    pub(super) place: String,
    /// The erasable stream types; `None`: a program before this version wrote it, which kept none.
    pub(super) types: Option<Vec<(String, SubjectKind)>>,
}

/// Where the marker of a store is.
pub(super) fn path_in(store_folder: &Path) -> PathBuf {
    store_folder.join("subject-keys")
}

/// Where it is kept how far the file of keys had come.
pub(super) fn reached_in(store_folder: &Path) -> PathBuf {
    store_folder.join("subject-keys.reached")
}

impl Marker {
    pub(super) fn new(id: [u8; 16], place: &Path, types: Vec<(String, SubjectKind)>) -> Self {
        let place = place.display().to_string().replace(['\n', '\r'], "?");
        Self { id: to_hex(&id), place, types: Some(types) }
    }

    /// Whether it is of the version that keeps how far the keys had come.
    pub(super) const fn keeps_reached(&self) -> bool {
        self.types.is_some()
    }

    /// Writes it, in the place of another one.
    pub(super) fn write(&self, path: &Path) -> Result<(), DataDirError> {
        if let Some(folder) = path.parent() {
            make_own_folder(folder)?;
        }
        write_whole(path, self.encode().as_bytes())
    }

    /// `None`: the store has no erasable stream type.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, StartError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(path)(error).into()),
        };
        let damaged = || {
            let what = "is damaged: it says which file holds the subject keys, and which stream types are erasable; put it back from a copy";
            StartError::Refused(vec![format!("{} {what}", path.display())])
        };
        Self::decode(&text).map(Some).ok_or_else(damaged)
    }

    fn encode(&self) -> String {
        let mut text = format!("{TITLE}\n{}\n{}\n", self.id, self.place);
        for (name, kind) in self.types.iter().flatten() {
            text.push_str(&format!("{} {}\n", kind.word(), encode_path_text(name)));
        }
        let sum = crc32c::crc32c(text.as_bytes());
        text.push_str(&format!("{sum:08x}\n"));
        text
    }

    fn decode(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let title = lines.next()?;
        let (id, place) = (lines.next()?.to_owned(), lines.next()?.to_owned());
        if title == TITLE_1 {
            return Some(Self { id, place, types: None });
        }
        let (body, sum) = text.strip_suffix('\n')?.rsplit_once('\n')?;
        let sum = (sum.len() == 8).then(|| u32::from_str_radix(sum, 16).ok()).flatten()?;
        if title != TITLE || crc32c::crc32c_append(crc32c::crc32c(body.as_bytes()), b"\n") != sum {
            return None;
        }
        let erasable = |line: &str| {
            let (kind, name) = line.split_once(' ')?;
            Some((decode_path_text(name)?, SubjectKind::from_word(kind)?))
        };
        let types = body.lines().skip(3).map(erasable).collect::<Option<_>>()?;
        Some(Self { id, place, types: Some(types) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(types: &[(&str, SubjectKind)]) -> Marker {
        let types = types.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
        Marker::new([0xab; 16], Path::new("/keys/of subjects"), types)
    }

    #[test]
    fn it_goes_both_ways_and_one_that_was_cut_or_changed_is_damaged() {
        let all = [marker(&[]), marker(&[("Call", SubjectKind::Stream), ("a b\n/ü", SubjectKind::Tenant)])];
        for marker in all {
            let text = marker.encode();
            assert_eq!(Marker::decode(&text), Some(marker));
            for at in (0..text.len()).filter(|at| text.is_char_boundary(*at)) {
                assert_eq!(Marker::decode(&text[..at]), None, "cut at {at}");
                let other = if text[at..].starts_with('0') { "1" } else { "0" };
                let mut changed = text.clone();
                changed.replace_range(at..=at, other);
                assert_eq!(Marker::decode(&changed), None, "byte {at}: {changed}");
            }
        }
    }

    #[test]
    fn its_text_is_that_of_its_version_and_the_first_one_is_read() {
        let text = marker(&[("Call", SubjectKind::Stream), ("a b", SubjectKind::Tenant)]).encode();
        let of = "strandline subject-keys 2\nabababababababababababababababab\n/keys/of subjects\nstream Call\ntenant a%20b\n";
        assert_eq!(text, format!("{of}{:08x}\n", crc32c::crc32c(of.as_bytes())));
        let first = "strandline subject-keys 1\nabababababababababababababababab\n/keys/of subjects\n";
        assert_eq!(Marker::decode(first), Some(Marker { types: None, ..marker(&[]) }));
        assert_eq!(Marker::decode("strandline subject-keys 3\nab\n/keys\n"), None);
    }
}
