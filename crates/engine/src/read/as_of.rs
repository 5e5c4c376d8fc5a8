//! One stream as of an earlier version of the manifest: what was in files then, and nothing else.
//!
//! The version says up to which moment each log was in files; the rows are read from the files of now, whatever merges have made
//! of those of then. So it holds as long as the version is kept, and what retention removed since is
//! retired here as well.

use super::stream::{Manner, StreamRead};
use super::{ReadError, ReadStats, StreamPage};
use crate::store::Store;
use strandline_durable::{EndAt, PastVersion};
use strandline_event::{Micros, Seq};

/// As of what a stream is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AsOf {
    /// A version of the manifest.
    Version(u64),
    /// The newest version that was committed at or before a moment.
    At(Micros),
}

impl Store {
    /// As [`read_stream`](Self::read_stream) from files alone, as of a manifest version, or a moment.
    ///
    /// # Errors
    /// [`ReadError`]; `NoVersion` where it was folded away, or there never was one of this number; `NoVersionAt` where all that are kept are
    /// younger.
    pub fn read_stream_as_of(&self, read: &StreamRead<'_>, as_of: AsOf) -> Result<StreamPage, ReadError> {
        let past = self.past(as_of)?;
        let version = past.version;
        let log = self.owner_of(read.stream_type, read.stream_id);
        let through = past.logs.get(&log).map_or(Micros::MIN, |(_, last_ingested_at)| *last_ingested_at);
        // pinned before the stream is read: what retention takes out between is taken out of both
        let nothing = EndAt { last: Seq::ZERO, doubtful: None };
        let (EndAt { last: head, doubtful }, stats) = match through {
            Micros::MIN => (nothing, ReadStats::default()),
            _ => self.durable().pin().end_at(&log, read.stream_id, through)?,
        };
        if head == Seq::ZERO {
            let mut page = StreamPage::none();
            page.stats = stats;
            return Ok(page);
        }
        let to_seq = Some(read.to_seq.map_or(head, |to| to.min(head)));
        let mut page = self.read_stream_with(&StreamRead { to_seq, ..*read }, Manner::past(self, head))?;
        page.stats += stats;
        page.warnings.extend(doubtful.map(|(first, last)| {
            format!("whether seq {first} to {last}, which retention removed since, were there in version {version} is not known any more")
        }));
        Ok(page)
    }

    fn past(&self, as_of: AsOf) -> Result<PastVersion, ReadError> {
        match as_of {
            AsOf::Version(version) => {
                let found = self.durable().past_version(version).map_err(ReadError::Version)?;
                found.ok_or_else(|| ReadError::NoVersion { version, newest: self.durable().pin().version() })
            }
            AsOf::At(at) => {
                let found = self.durable().version_at(at).map_err(ReadError::Version)?;
                found.map_err(|oldest| ReadError::NoVersionAt { at, oldest })
            }
        }
    }
}
