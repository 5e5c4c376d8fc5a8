//! Reads a segment from its start and stops at the first place where no good frame stands, with the facts about it.
//!
//! It reads in chunks (a device error is an error here, not a signal), changes nothing and decides nothing.

use crate::buffer::AlignedBuf;
use crate::decide::{Behind, Found, Place};
use crate::disk::DiskFile;
use crate::frame::{
    BLOCK_BYTES, FLAG_GOES_ON, FLAG_LAST, FLAG_NO_CHECKSUM, FLAG_NO_FSYNC, FRAME_ALIGN, FrameHeader, FrameKind,
    HEADER_BYTES, HeaderFault, MAGIC, block_up,
};
use crate::membership::Membership;
use crate::num::{GroupNo, LogId, SegmentNo, Vote};
use crate::segment::{Facts, Mark};
use crate::state::{State, decode_vote};
use crate::tags::Prover;
use std::io;
use strandline_event::{LogIndex, Micros};
use strandline_keys::StoreKeys;

/// Bytes read at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes read where the first frame of a file is wanted and nothing else.
const FIRST_BYTES: usize = 16 << 10;
/// Bytes behind a chunk that the disk is asked for before it is looked at: it reads while frames are checked.
const AHEAD_BYTES: u64 = 4 << 20;

/// A window that moves over a file.
pub(crate) struct Chunks<'a> {
    file: &'a dyn DiskFile,
    len: u64,
    start: u64,
    buf: AlignedBuf,
    /// Bytes read at once.
    at_once: usize,
    /// The file is read from its start up to here, as far as one knows; 0: nobody knows.
    read_through: u64,
    /// Everything before was asked for.
    asked_to: u64,
}

impl<'a> Chunks<'a> {
    pub(crate) fn new(file: &'a dyn DiskFile) -> io::Result<Self> {
        let buf = AlignedBuf::with_capacity(0);
        Ok(Self { file, len: file.len()?, start: 0, buf, at_once: CHUNK_BYTES, read_through: 0, asked_to: 0 })
    }

    /// Who moves it goes on up to `through` without a gap.
    fn will_read(&mut self, through: u64) {
        self.read_through = through.min(self.len);
    }

    /// Asks the disk for what comes behind `end`.
    fn ask_ahead(&mut self, end: u64) {
        let (from, to) = (self.asked_to.max(end), (end + AHEAD_BYTES).min(self.read_through));
        if from < to {
            self.file.will_need(from, to - from);
            self.asked_to = to;
        }
    }

    /// `len` bytes at `offset`; fewer at the end of the file.
    pub(crate) fn get(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = len.min(left);
        let held = offset >= self.start && offset + len as u64 <= self.start + self.buf.len() as u64;
        if !held {
            self.start = offset - offset % BLOCK_BYTES as u64;
            let ahead = usize::try_from(self.len - self.start.min(self.len)).unwrap_or(usize::MAX);
            let needed = usize::try_from(offset - self.start).unwrap_or(0) + len;
            self.buf.set_len(needed.max(self.at_once).min(ahead));
            self.ask_ahead(self.start + self.buf.len() as u64);
            let read = self.file.read_at(self.start, &mut self.buf)?;
            self.buf.set_len(read);
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX).min(self.buf.len());
        Ok(&self.buf[from..(from + len).min(self.buf.len())])
    }
}

/// The place where a scan stopped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BadPlace {
    pub(crate) offset: u64,
    pub(crate) found: Found,
    pub(crate) place: Place,
    /// Group of the place, as far as it can be told.
    pub(crate) group: GroupNo,
    pub(crate) behind: Behind,
    pub(crate) what: String,
}

/// Why a scan stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// At the end that the next segment states.
    AtLimit,
    /// No good frame here.
    Place(BadPlace),
    /// The device does not give the bytes.
    Unreadable { offset: u64, error: io::Error },
}

/// What the good frames so far say.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// End of the good frames.
    pub(crate) end: u64,
    pub(crate) next_index: LogIndex,
    /// Frames so far whose entry goes on in the next one: an entry's number is the index of its first frame less these.
    pub(crate) joined: u64,
    pub(crate) last: Option<LogId>,
    pub(crate) last_time: Micros,
    /// Bytes of the payloads of entries so far.
    pub(crate) entry_bytes: u64,
    /// Merged from State, Vote and Membership frames.
    pub(crate) state: Option<State>,
    /// The last frame was a clean stop.
    pub(crate) clean_stop: bool,
    group: GroupNo,
    ordinal: u32,
    between_groups: bool,
}

/// The result.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) log_id: Option<u64>,
    pub(crate) progress: Progress,
    /// Where the frames of the last group start that carry no checksum, and what was known before them.
    pub(crate) unproven: Option<(GroupNo, Progress)>,
    /// What was known before an entry whose last frame was not read.
    pub(crate) open_entry: Option<Progress>,
    pub(crate) stop: Stop,
    /// Highest of any good header, those behind the stop included.
    pub(crate) synced_below: GroupNo,
    pub(crate) max_group: GroupNo,
    pub(crate) facts: Facts,
}

/// Scans one segment.
pub(crate) struct Scanner<'a> {
    chunks: Chunks<'a>,
    number: SegmentNo,
    prover: Prover<'a>,
    scan: Scan,
}

/// What a frame says about the log itself.
enum Said {
    State(Box<State>),
    Vote(Vote),
    Membership(Membership),
    Nothing,
}

impl Said {
    fn read(header: &FrameHeader, payload: &[u8]) -> Option<Self> {
        Some(match header.kind {
            FrameKind::State => Self::State(Box::new(State::decode(payload, header.version)?)),
            FrameKind::Vote => Self::Vote(decode_vote(payload)?),
            FrameKind::Membership => match Membership::decode(payload) {
                Some(membership) => Self::Membership(membership),
                // without a checksum the bytes may be anything: then the group is cut anyway, or proven
                None if header.has(FLAG_NO_CHECKSUM) => Self::Membership(Membership::default()),
                None => return None,
            },
            FrameKind::Blank | FrameKind::Entry | FrameKind::IdleMark | FrameKind::CleanStop => Self::Nothing,
        })
    }
}

type Fault = (Found, Option<FrameHeader>, String);

/// How a segment begins; without a good first frame nothing, and an error where somebody forged it.
type First = Result<Option<(FrameHeader, State)>, String>;

impl<'a> Scanner<'a> {
    pub(crate) fn new(file: &'a dyn DiskFile, number: SegmentNo, keys: Option<&'a StoreKeys>) -> io::Result<Self> {
        let progress = Progress {
            end: 0,
            next_index: LogIndex::ZERO,
            joined: 0,
            last: None,
            last_time: Micros::MIN,
            entry_bytes: 0,
            state: None,
            clean_stop: false,
            group: GroupNo(0),
            ordinal: 0,
            between_groups: true,
        };
        let scan = Scan {
            log_id: None,
            progress,
            unproven: None,
            open_entry: None,
            stop: Stop::AtLimit,
            synced_below: GroupNo(0),
            max_group: GroupNo(0),
            facts: Facts::empty(),
        };
        Ok(Self { chunks: Chunks::new(file)?, number, prover: Prover::new(keys), scan })
    }

    /// Says that the file is written by nobody: what comes behind the present place may be read before it is looked at.
    pub(crate) fn reading_ahead(mut self) -> Self {
        self.chunks.will_read(u64::MAX);
        self
    }

    /// Reads to `limit`, the end that the next segment states, or to the first bad place.
    pub(crate) fn run(mut self, limit: Option<u64>, mut each: impl FnMut(&FrameHeader, u64)) -> Scan {
        if let Some(limit) = limit {
            // a segment that has one after it is not written any more
            self.chunks.will_read(limit);
        }
        loop {
            let offset = self.offset();
            if limit.is_some_and(|limit| offset >= limit) {
                break;
            }
            match self.next(offset) {
                Ok(Ok(header)) => each(&header, offset),
                Ok(Err(fault)) => {
                    self.scan.stop = self.stop_at(offset, fault);
                    break;
                }
                Err(error) => {
                    self.scan.stop = Stop::Unreadable { offset, error };
                    break;
                }
            }
        }
        let Progress { end, entry_bytes, .. } = self.scan.progress;
        (self.scan.facts.end, self.scan.facts.entry_bytes) = (end, entry_bytes);
        self.scan
    }

    /// Only the first frame: the State that every segment starts with.
    pub(crate) fn first(mut self) -> io::Result<First> {
        self.chunks.at_once = FIRST_BYTES;
        let header = match self.next(0)? {
            Ok(header) => Some(header),
            Err((Found::Forged, _, what)) => return Ok(Err(what)),
            Err(_) => None,
        };
        Ok(Ok(header.zip(self.scan.progress.state)))
    }

    fn offset(&self) -> u64 {
        let progress = &self.scan.progress;
        if progress.between_groups { block_up(progress.end) } else { progress.end }
    }

    /// Reads and checks one frame, and takes it in.
    fn next(&mut self, offset: u64) -> io::Result<Result<FrameHeader, Fault>> {
        let header = match FrameHeader::decode(self.chunks.get(offset, HEADER_BYTES)?) {
            Ok(header) => header,
            Err(HeaderFault::Nothing) => return Ok(Err((Found::Nothing, None, HeaderFault::Nothing.to_string()))),
            Err(fault @ HeaderFault::Version(_)) => return Ok(Err((Found::Foreign, None, fault.to_string()))),
            Err(fault) => return Ok(Err((Found::Bad, None, fault.to_string()))),
        };
        if let Err(what) = self.belongs(&header) {
            return Ok(Err((Found::Bad, None, what.to_owned())));
        }
        let payload = self.chunks.get(offset + HEADER_BYTES as u64, header.payload_len as usize)?;
        if !header.payload_is_good(payload) {
            return Ok(Err((Found::Bad, Some(header), "payload checksum differs".to_owned())));
        }
        let said = Said::read(&header, header.body(payload));
        if let Some(Said::State(state)) = &said {
            self.prover.begin(&header, state, self.number);
        }
        if let Some(what) = self.prover.refuses(&header, payload) {
            return Ok(Err((Found::Forged, Some(header), what.to_owned())));
        }
        Ok(match said.and_then(|said| self.take_in(&header, offset, said)) {
            Some(()) => Ok(header),
            None => Err((Found::Bad, Some(header), "payload is not what its kind says".to_owned())),
        })
    }

    fn belongs(&self, header: &FrameHeader) -> Result<(), &'static str> {
        let progress = &self.scan.progress;
        let first = self.scan.log_id.is_none();
        if header.segment != self.number || self.scan.log_id.is_some_and(|id| id != header.log_id) {
            return Err("a frame of another segment");
        }
        if first {
            let good = header.kind == FrameKind::State && header.ordinal == 0 && header.group.0 > 0;
            return if good { Ok(()) } else { Err("the segment does not start with a state frame") };
        }
        if header.index != progress.next_index {
            return Err("index does not follow");
        }
        let follows = if progress.between_groups {
            header.group == progress.group.next() && header.ordinal == 0
        } else {
            header.group == progress.group && header.ordinal == progress.ordinal + 1
        };
        if follows { Ok(()) } else { Err("group or ordinal does not follow") }
    }

    fn take_in(&mut self, header: &FrameHeader, offset: u64, said: Said) -> Option<()> {
        let scan = &mut self.scan;
        if scan.unproven.as_ref().is_none_or(|(group, _)| *group != header.group) {
            scan.unproven = (!header.proves_itself()).then(|| (header.group, scan.progress.clone()));
        }
        if header.kind.takes_index() {
            scan.open_entry = match scan.open_entry.take() {
                _ if !header.has(FLAG_GOES_ON) => None,
                None => Some(scan.progress.clone()),
                begun => begun,
            };
        }
        let progress = &mut scan.progress;
        match said {
            Said::State(state) => {
                progress.joined = state.numbers.map_or(0, |numbers| header.index.0.saturating_sub(numbers.next));
                progress.state = Some(*state);
                progress.next_index = header.index;
            }
            Said::Vote(vote) => progress.state.as_mut()?.vote = vote,
            Said::Membership(membership) => {
                let state = progress.state.as_mut()?;
                state.membership = membership;
                state.membership_id = LogId { leader: header.leader, index: header.index };
                if let Some(numbers) = &mut state.numbers {
                    numbers.membership = header.index.0.saturating_sub(progress.joined);
                }
            }
            Said::Nothing => {}
        }
        scan.log_id = Some(header.log_id);
        if header.ordinal == 0 {
            let number = header.index.0.saturating_sub(progress.joined);
            scan.facts.mark(Mark { next_index: header.index, number, offset });
        }
        if header.kind == FrameKind::Entry {
            progress.entry_bytes += u64::from(header.payload_len);
        }
        if header.kind.takes_index() {
            progress.last = Some(LogId { leader: header.leader, index: header.index });
            progress.last_time = header.time;
            progress.next_index = header.index.next();
            progress.joined += u64::from(header.has(FLAG_GOES_ON));
            (scan.facts.last, scan.facts.last_time) = (progress.last, header.time);
        }
        progress.clean_stop = header.kind == FrameKind::CleanStop;
        (progress.group, progress.ordinal) = (header.group, header.ordinal);
        progress.between_groups = header.has(FLAG_LAST);
        progress.end = offset + header.frame_bytes() as u64;
        if progress.between_groups {
            progress.end = block_up(progress.end);
        }
        scan.synced_below = scan.synced_below.max(header.synced_below);
        scan.max_group = scan.max_group.max(header.group);
        Some(())
    }

    fn stop_at(&mut self, offset: u64, (found, header, what): Fault) -> Stop {
        let progress = &self.scan.progress;
        let place = if progress.between_groups { Place::BetweenGroups } else { Place::InsideGroup };
        let expected = match (&header, self.scan.log_id) {
            (Some(header), _) => Some(header.group),
            (None, None) => None,
            (None, Some(_)) if progress.between_groups => Some(progress.group.next()),
            (None, Some(_)) => Some(progress.group),
        };
        if let Some(header) = &header {
            self.scan.synced_below = self.scan.synced_below.max(header.synced_below);
            self.scan.max_group = self.scan.max_group.max(header.group);
        }
        match self.look_behind(offset, expected) {
            Ok((behind, group)) => Stop::Place(BadPlace { offset, found, place, group, behind, what }),
            Err(error) => Stop::Unreadable { offset, error },
        }
    }

    /// Good headers of this segment behind `offset`, at any multiple of 16.
    fn look_behind(&mut self, offset: u64, expected: Option<GroupNo>) -> io::Result<(Behind, GroupNo)> {
        let (mut behind, mut group) = (Behind::Nothing, expected);
        let mut at = offset.next_multiple_of(FRAME_ALIGN as u64) + FRAME_ALIGN as u64;
        while let Some(found) = next_header(&mut self.chunks, at)? {
            at = found.0 + FRAME_ALIGN as u64;
            let header = found.1;
            if header.segment != self.number || self.scan.log_id.is_some_and(|id| id != header.log_id) {
                continue;
            }
            self.scan.synced_below = self.scan.synced_below.max(header.synced_below);
            self.scan.max_group = self.scan.max_group.max(header.group);
            // where the first frame of a segment is bad its group is the first one seen, unless that starts here
            let own = *group.get_or_insert(if header.ordinal == 0 { GroupNo(0) } else { header.group });
            behind = match behind {
                _ if header.group < own => behind,
                Behind::Nothing if header.group == own => Behind::OwnGroup,
                _ if header.group == own => behind,
                Behind::LaterGroup => Behind::LaterGroup,
                _ if header.has(FLAG_NO_FSYNC) => Behind::LaterUnsynced,
                _ => Behind::LaterGroup,
            };
        }
        Ok((behind, group.unwrap_or_default()))
    }
}

/// The next good header at or behind `at` (a multiple of 16), whatever it belongs to. Holes are skipped.
pub(crate) fn next_header(chunks: &mut Chunks<'_>, mut at: u64) -> io::Result<Option<(u64, FrameHeader)>> {
    while at < chunks.len {
        if at.is_multiple_of(CHUNK_BYTES as u64) {
            // once per chunk: jump over what was never written
            match chunks.file.next_data(at)? {
                None => return Ok(None),
                Some(data) => at = at.max(data - data % FRAME_ALIGN as u64),
            }
        }
        let until = (at + 1).next_multiple_of(CHUNK_BYTES as u64);
        let len = usize::try_from(until - at).unwrap_or(CHUNK_BYTES);
        let bytes = chunks.get(at, len)?;
        let found = bytes.chunks(FRAME_ALIGN).position(|piece| piece.starts_with(&MAGIC));
        match found {
            None => at = until,
            Some(i) => {
                at += (i * FRAME_ALIGN) as u64;
                match FrameHeader::decode(chunks.get(at, HEADER_BYTES)?) {
                    Ok(header) => return Ok(Some((at, header))),
                    Err(_) => at += FRAME_ALIGN as u64,
                }
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Mapped;
    use parking_lot::Mutex;
    use std::ops::Range;

    /// Zeros that remember what was read of them, and what was asked for before.
    struct Zeros {
        len: u64,
        read_to: Mutex<u64>,
        asked: Mutex<Vec<Range<u64>>>,
    }

    impl DiskFile for Zeros {
        fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::PermissionDenied.into())
        }

        fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
            buf.fill(0);
            *self.read_to.lock() = offset + buf.len() as u64;
            Ok(buf.len())
        }

        fn will_need(&self, offset: u64, len: u64) {
            let read_to = *self.read_to.lock();
            assert!(offset + len <= read_to + 4 * CHUNK_BYTES as u64 + AHEAD_BYTES, "{offset} and {len} at {read_to}");
            self.asked.lock().push(offset..offset + len);
        }

        fn sync_data(&self) -> io::Result<()> {
            Ok(())
        }

        fn set_len(&self, _: u64) -> io::Result<()> {
            Err(io::ErrorKind::PermissionDenied.into())
        }

        fn len(&self) -> io::Result<u64> {
            Ok(self.len)
        }

        fn next_data(&self, _: u64) -> io::Result<Option<u64>> {
            Ok(None)
        }

        fn map(&self) -> io::Result<Mapped> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn is_direct(&self) -> bool {
            false
        }
    }

    /// Walks to the end of a file by frames of so many bytes; gives what was asked for.
    fn walk(frame: usize, read_through: Option<u64>) -> Vec<Range<u64>> {
        let file = Zeros { len: 20 << 20, read_to: Mutex::default(), asked: Mutex::default() };
        let mut chunks = Chunks::new(&file).unwrap();
        read_through.into_iter().for_each(|through| chunks.will_read(through));
        for at in (0..file.len).step_by(frame) {
            assert!(chunks.get(at, frame).unwrap().iter().all(|byte| *byte == 0));
        }
        drop(chunks);
        file.asked.into_inner()
    }

    #[test]
    fn what_will_be_read_is_asked_for_once_without_a_gap() {
        for frame in [96, 5_008, 300_000, 3_000_000] {
            for (through, end) in [(9_000_123, 9_000_123), (u64::MAX, 20 << 20)] {
                let asked = walk(frame, Some(through));
                let first = asked[0].start;
                assert!(first <= frame.max(CHUNK_BYTES) as u64, "{asked:?}");
                let begins = asked.iter().map(|range| range.start);
                let ends = std::iter::once(first).chain(asked.iter().map(|range| range.end));
                assert!(begins.eq(ends.take(asked.len())), "a gap or a double in {asked:?}");
                assert_eq!(asked.last().unwrap().end, end, "by frames of {frame}");
            }
        }
    }

    #[test]
    fn nothing_is_asked_for_of_a_file_that_may_be_written() {
        assert!(walk(5_008, None).is_empty());
    }
}
