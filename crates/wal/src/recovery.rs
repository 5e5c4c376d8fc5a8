//! From a folder to a log: which segments belong to it, where it ends, what is damaged.
//!
//! It reads only. `open` carries out what this decides; `verify` only prints it.
//!
//! ```text
//!  files by number -> State of each -> chain (each State names the segment before, and its end) -> scan -> decide
//! ```

use crate::decide::{Decision, Facts as Place, Mark, decide};
use crate::disk::{Access, Disk, DiskFile};
use crate::frame::FrameHeader;
use crate::names::{FIRST_SPARE_NAME, SPARE_NAME, SegmentPattern};
use crate::num::{GroupNo, LogId, SegmentNo};
use crate::scan::{Progress, Scan, Scanner, Stop};
use crate::sealed::take_keys;
use crate::segment::Facts;
use crate::state::{Numbers, State};
use crate::tags::Seal;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use strandline_event::{LogIndex, Micros};
use strandline_keys::{KeyName, StoreKeys};

/// The end of the log was torn and left out; nothing acknowledged was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    /// Segment.
    pub segment: SegmentNo,
    /// Where the log ends now.
    pub offset: u64,
    /// What stood there.
    pub what: String,
}

/// Damage to what was acknowledged (or may have been).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Corrupt {
    /// Segment.
    pub segment: SegmentNo,
    /// Offset in its file.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
}

/// What recovery found.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The last entry, if the log has one.
    pub last: Option<LogId>,
    /// Time of that entry; `Micros::MIN` without one.
    pub last_time: Micros,
    /// Vote, membership, committed, purged as of the end; `None` if there is no log.
    pub state: Option<State>,
    /// Segments that belong to the log, ascending.
    pub segments: Vec<SegmentNo>,
    /// A torn end that was left out.
    pub cut: Option<Cut>,
    /// Damage: the log opens for reading only.
    pub corrupt: Vec<Corrupt>,
    /// The log was closed in order.
    pub clean_stop: bool,
}

impl Recovered {
    /// Index of the last entry; `ZERO` if there is none.
    #[must_use]
    pub fn last_index(&self) -> LogIndex {
        self.last.map_or(LogIndex::ZERO, |id| id.index)
    }
}

/// A segment that belongs to the log.
pub(crate) struct Kept {
    pub(crate) number: SegmentNo,
    pub(crate) path: PathBuf,
    pub(crate) first_index: LogIndex,
    pub(crate) first_number: u64,
    pub(crate) facts: Facts,
    pub(crate) file: Arc<dyn DiskFile>,
    /// The key that its State frame names.
    pub(crate) key_name: Option<KeyName>,
    /// Whether each of its frames carries a tag.
    pub(crate) has_tags: bool,
    /// What seals it, once its key was found.
    pub(crate) seal: Option<Seal>,
}

/// Everything that opening needs.
pub(crate) struct Recovery {
    pub(crate) report: Recovered,
    pub(crate) log_id: Option<u64>,
    pub(crate) kept: Vec<Kept>,
    /// Files that hold nothing of the log: spares, segments that were never acknowledged, leftovers of a trim.
    pub(crate) leftovers: Vec<PathBuf>,
    /// The end of the last segment rests on what stands behind it (frames without checksums are proven by later marks only):
    /// it must stay until the next segment states the end.
    pub(crate) end_needs_proof: bool,
    /// Frames of entries that went on in the next frame, so far.
    pub(crate) joined: u64,
    pub(crate) next_segment: SegmentNo,
    pub(crate) next_group: GroupNo,
    pub(crate) next_index: LogIndex,
}

/// How to recover.
#[derive(Clone, Copy)]
pub(crate) struct Mode<'a> {
    /// Sync the last segment before it is judged: what is only in the page cache must not be built upon.
    pub(crate) write: bool,
    /// Segments wholly below this are not read again, and one that is missing or damaged there is nobody's loss.
    pub(crate) check_from: LogIndex,
    /// The store's keys, by which encrypted segments are proven; `None`: nothing is encrypted.
    pub(crate) keys: Option<&'a StoreKeys>,
}

struct Found {
    number: SegmentNo,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    head: Option<(FrameHeader, State)>,
    /// Why the first frame cannot be read.
    fault: Option<String>,
}

impl Found {
    fn numbers(&self) -> Option<Numbers> {
        self.head.as_ref().and_then(|(_, state)| state.numbers)
    }

    /// Whether its frames carry tags; `None`: it has no good first frame.
    fn has_tags(&self) -> Option<bool> {
        self.head.as_ref().map(|(header, _)| header.is_tagged())
    }

    /// Whether this segment says that the log was cut off before it, and that one of this number is behind the cut.
    fn has_cut_off(&self, number: SegmentNo) -> bool {
        let Some((_, state)) = &self.head else { return false };
        let cut = state.numbers.is_some_and(|numbers| numbers.cut);
        cut && number < self.number && state.before.is_some_and(|before| before.segment < number)
    }
}

/// Whether any segment of a folder begins as one does, or cannot be read. Only first blocks are looked at, the last segment's first.
///
/// # Errors
/// The folder or a file in it cannot be opened.
pub fn any_begun(disk: &dyn Disk, dir: &Path, pattern: &SegmentPattern) -> io::Result<bool> {
    let names = disk.list(dir)?.into_iter();
    let mut segments: Vec<_> = names.filter_map(|name| Some((pattern.parse_name(&name)?, name))).collect();
    segments.sort();
    for (number, name) in segments.into_iter().rev() {
        let mode = Mode { write: false, check_from: LogIndex::ZERO, keys: None };
        let found = look(disk, dir.join(name), number, mode)?;
        if found.head.is_some() || found.fault.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What is in a folder.
pub(crate) fn recover(disk: &dyn Disk, dir: &Path, pattern: &SegmentPattern, mode: Mode<'_>) -> io::Result<Recovery> {
    let mut out = Recovery {
        report: Recovered { last_time: Micros::MIN, ..Recovered::default() },
        log_id: None,
        kept: Vec::new(),
        leftovers: Vec::new(),
        end_needs_proof: false,
        joined: 0,
        next_segment: SegmentNo::FIRST,
        next_group: GroupNo::FIRST,
        next_index: LogIndex::ZERO,
    };
    let files = find(disk, dir, pattern, mode, &mut out)?;
    out.next_segment = files.last().map_or(SegmentNo::FIRST, |f| f.number.next());
    tags_stay(&files, &mut out);
    let Some(tip) = files.iter().rposition(|f| f.head.is_some()) else {
        // only births that were never acknowledged, or damage
        never_begun(&files, mode, &mut out)?;
        return Ok(out);
    };
    never_begun(&files[tip + 1..], mode, &mut out)?;
    if mode.write {
        files[tip].file.sync_data()?;
    }
    let last = Scanner::new(&*files[tip].file, files[tip].number, mode.keys)?;
    // who only looks may look at a log that is being written
    let last = if mode.write { last.reading_ahead() } else { last };
    let end = last.run(None, |_, _| {});
    let purged = end.progress.state.as_ref().and_then(|state| state.purged);
    let chain = chain(&files[..=tip], purged, mode.check_from, &mut out);
    for (found, older) in chain.iter().zip(all_older(&chain, mode)) {
        let (facts, corrupt) = older?;
        out.report.corrupt.extend(corrupt);
        keep(found, facts, &mut out);
    }
    let facts = tail(&files[tip], end, &mut out);
    keep(&files[tip], facts, &mut out);
    take_keys(mode.keys, &mut out);
    Ok(out)
}

/// Segments by number. A file that is none of ours is left alone, unless frames stand in it.
fn find(
    disk: &dyn Disk,
    dir: &Path,
    pattern: &SegmentPattern,
    mode: Mode<'_>,
    out: &mut Recovery,
) -> io::Result<Vec<Found>> {
    let mut names: Vec<_> = disk.list(dir)?.into_iter().map(|name| (pattern.parse_name(&name), name)).collect();
    names.sort();
    let mut files: Vec<Found> = Vec::new();
    for (number, name) in names {
        let path = dir.join(&name);
        let Some(number) = number else {
            if [SPARE_NAME, FIRST_SPARE_NAME].contains(&name.as_str()) {
                out.leftovers.push(path);
            } else if let Some(header) = foreign(disk, &path) {
                let what = format!("{name} holds frames, but wal.segment_pattern does not make this name");
                out.report.corrupt.push(Corrupt { segment: header.segment, offset: 0, what });
            }
            continue;
        };
        if files.last().is_some_and(|f| f.number == number) {
            let what = format!("{name} has the number of another segment");
            out.report.corrupt.push(Corrupt { segment: number, offset: 0, what });
            continue;
        }
        files.push(look(disk, path, number, mode)?);
    }
    Ok(files)
}

/// Opens a segment and reads how it begins.
fn look(disk: &dyn Disk, path: PathBuf, number: SegmentNo, mode: Mode<'_>) -> io::Result<Found> {
    let file = disk.open(&path, if mode.write { Access::ReadWrite } else { Access::Read })?;
    let (head, fault) = match Scanner::new(&*file, number, mode.keys).and_then(Scanner::first) {
        Ok(Ok(head)) => (head, None),
        Ok(Err(forged)) => (None, Some(forged)),
        Err(e) => (None, Some(format!("cannot be read: {e}"))),
    };
    Ok(Found { number, path, file, head, fault })
}

fn foreign(disk: &dyn Disk, path: &Path) -> Option<FrameHeader> {
    let file = disk.open(path, Access::Read).ok()?;
    let mut bytes = [0; crate::frame::HEADER_BYTES];
    file.read_at(0, &mut bytes).ok()?;
    FrameHeader::decode(&bytes).ok()
}

/// A log that has written tags goes on with them: whoever could put a segment without them behind would say what the log is without its key.
fn tags_stay(files: &[Found], out: &mut Recovery) {
    let first = files.iter().position(|f| f.has_tags() == Some(true)).unwrap_or(files.len());
    for found in files[first..].iter().filter(|f| f.has_tags() == Some(false)) {
        let what = "its frames carry no tags, and those of a segment before it do: somebody put it there".to_owned();
        out.report.corrupt.push(Corrupt { segment: found.number, offset: 0, what });
    }
}

/// Segments behind the last one that has a good State: their first group was in flight, unless the bytes say otherwise.
fn never_begun(files: &[Found], mode: Mode<'_>, out: &mut Recovery) -> io::Result<()> {
    for found in files {
        let scan = Scanner::new(&*found.file, found.number, mode.keys)?.run(None, |_, _| {});
        out.next_group = out.next_group.max(scan.max_group.next());
        match judge(&scan, true) {
            (Decision::Corrupt, Some(corrupt)) => {
                out.report.corrupt.push(Corrupt { segment: found.number, ..corrupt });
            }
            _ => out.leftovers.push(found.path.clone()),
        }
    }
    Ok(())
}

/// Walks from the last segment to the first, as each State names the one before. It ends without complaint where the rest was
/// trimmed, or is wholly below `check_from`.
fn chain<'a>(files: &'a [Found], purged: Option<LogId>, check_from: LogIndex, out: &mut Recovery) -> Vec<&'a Found> {
    let mut chain: Vec<&Found> = Vec::new();
    let mut next = files.last();
    let mut left_alone = false;
    while let Some(found) = next {
        chain.push(found);
        let Some((header, state)) = &found.head else { break };
        next = None;
        let Some(before) = state.before else { break };
        if before.segment >= found.number {
            let what = "the segment names itself or a later one as the one before it".to_owned();
            out.report.corrupt.push(Corrupt { segment: found.number, offset: 0, what });
            break;
        }
        let there = files.iter().find(|f| f.number == before.segment);
        let trimmed = purged.is_some_and(|purged| header.index <= purged.index.next());
        match there {
            Some(f) if f.has_tags() == Some(before.has_tags) => next = Some(f),
            // a leftover of a trim may be half gone
            _ if trimmed => {}
            _ if before.last.is_some_and(|last| last.index < check_from) => left_alone = true,
            Some(f) => {
                let bad_start = match f.has_tags() {
                    None => "the segment does not start with a good state frame",
                    Some(true) => "its frames carry tags, and the segment after it says that they do not",
                    Some(false) => {
                        "its frames carry no tags, and the segment after it says that they do: somebody put it there"
                    }
                };
                let what = f.fault.clone().unwrap_or_else(|| bad_start.to_owned());
                out.report.corrupt.push(Corrupt { segment: f.number, offset: 0, what });
            }
            None => {
                let what = "the segment is missing".to_owned();
                out.report.corrupt.push(Corrupt { segment: before.segment, offset: 0, what });
            }
        }
    }
    chain.reverse();
    let dead = |number: SegmentNo| chain.iter().any(|found| found.has_cut_off(number));
    let is_chained = |f: &Found| chain.iter().any(|c| c.number == f.number);
    for found in files.iter().filter(|f| !is_chained(f)) {
        let inside = chain.first().is_some_and(|first| found.number > first.number);
        let unknown = || "the segment is not the one before any other".to_owned();
        let what = found.fault.clone().or_else(|| found.head.as_ref().map(|_| unknown()));
        if dead(found.number) && out.report.corrupt.is_empty() {
            out.leftovers.push(found.path.clone());
        } else if let (true, Some(what)) = (inside, what) {
            out.report.corrupt.push(Corrupt { segment: found.number, offset: 0, what });
        } else if out.report.corrupt.is_empty() && (inside || !left_alone) {
            out.leftovers.push(found.path.clone());
        }
    }
    chain
}

fn keep(found: &Found, facts: Facts, out: &mut Recovery) {
    let Some((header, state)) = &found.head else { return };
    if out.log_id.is_some_and(|id| id != header.log_id) {
        let what = "a segment of another log".to_owned();
        out.report.corrupt.push(Corrupt { segment: found.number, offset: 0, what });
    }
    out.log_id = Some(header.log_id);
    out.report.segments.push(found.number);
    let file = Arc::clone(&found.file);
    let (path, first_index) = (found.path.clone(), header.index);
    let first_number = found.numbers().map_or(first_index.0, |numbers| numbers.next);
    let (key_name, has_tags) = (state.key, header.is_tagged());
    let number = found.number;
    out.kept.push(Kept { number, path, first_index, first_number, facts, file, key_name, has_tags, seal: None });
}

/// What a segment holds, and what is wrong with it.
type Judged = io::Result<(Facts, Option<Corrupt>)>;

/// All segments of a chain but the last, in order. What is found in one says nothing of another: two are read at a time, so that the disk
/// and the other processor need not wait for the checks of one.
fn all_older(chain: &[&Found], mode: Mode<'_>) -> Vec<Judged> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some([found, behind]) = chain.get(at..at + 2) else { return done };
            done.push((at, older(found, behind, mode)));
        }
    };
    let mut judged: Vec<(usize, Judged)> = match chain.len() {
        0..=2 => work(),
        _ => std::thread::scope(|scope| {
            let other = scope.spawn(work);
            let mut judged = work();
            judged.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            judged
        }),
    };
    judged.sort_by_key(|(at, _)| *at);
    judged.into_iter().map(|(_, judged)| judged).collect()
}

/// A segment that has one after it: it must be whole up to the end that the next one states. The next one may go on at a
/// higher index than this one ended, and says both: positions that were given up.
fn older(found: &Found, next: &Found, mode: Mode<'_>) -> Judged {
    let (Some((header, _)), Some((next_header, next_state))) = (&found.head, &next.head) else {
        return Ok((Facts::empty(), None));
    };
    let Some(before) = next_state.before else { return Ok((Facts::empty(), None)) };
    if before.last.is_none_or(|last| last.index < mode.check_from) {
        let last = before.last.filter(|last| last.index >= header.index);
        return Ok((Facts { end: before.end, last, last_time: before.last_time, ..Facts::empty() }, None));
    }
    let mut scan = Scanner::new(&*found.file, found.number, mode.keys)?.run(Some(before.end), |_, _| {});
    let (progress, last) = (&scan.progress, scan.progress.last);
    let goes_on = next_header.index >= progress.next_index && (last.is_none() || last == before.last);
    let mut corrupt = None;
    if let (_, Some(place)) = judge(&scan, false) {
        corrupt = Some(Corrupt { segment: found.number, ..place });
        scan.facts.end = before.end;
    } else if progress.end != before.end || !goes_on {
        let what = "the next segment does not go on where this one ends".to_owned();
        corrupt = Some(Corrupt { segment: found.number, offset: progress.end, what });
    }
    Ok((scan.facts, corrupt))
}

/// The last segment: where it ends, and what the log is as of there.
fn tail(found: &Found, mut scan: Scan, out: &mut Recovery) -> Facts {
    out.next_group = out.next_group.max(scan.max_group.next());
    match judge(&scan, true) {
        (Decision::Corrupt, Some(corrupt)) => {
            out.report.corrupt.push(Corrupt { segment: found.number, ..corrupt });
        }
        (Decision::Cut, Some(place)) => {
            out.report.cut = Some(Cut { segment: found.number, offset: scan.progress.end, what: place.what });
        }
        _ => {}
    }
    out.end_needs_proof = scan.unproven.is_some();
    if let Some((group, before)) = scan.unproven.take()
        && out.report.corrupt.is_empty()
        && group >= scan.synced_below
    {
        let what = format!("group {group} has no checksum and nothing proves it");
        out.report.cut = Some(Cut { segment: found.number, offset: before.end, what });
        roll_back(&mut scan, before);
    }
    if let (Some(before), true) = (scan.open_entry.take(), out.report.corrupt.is_empty()) {
        let what = "the last entry is not there to its end".to_owned();
        match &out.report.cut {
            Some(_) => out.report.cut = Some(Cut { segment: found.number, offset: before.end, what }),
            None => out.report.corrupt.push(Corrupt { segment: found.number, offset: before.end, what }),
        }
        roll_back(&mut scan, before);
    }
    if let Some(what) = cut_file(found) {
        out.report.corrupt.push(Corrupt { segment: found.number, offset: scan.progress.end, what });
    }
    let progress = scan.progress;
    out.joined = progress.joined;
    let before = found.head.as_ref().and_then(|(_, state)| state.before);
    out.next_index = progress.next_index;
    out.report.last = progress.last.or_else(|| before.and_then(|b| b.last));
    out.report.last_time =
        if progress.last.is_some() { progress.last_time } else { before.map_or(Micros::MIN, |b| b.last_time) };
    out.report.clean_stop = progress.clean_stop && out.report.cut.is_none();
    out.report.state = progress.state;
    scan.facts
}

/// The file of the last segment of a replicated log has its full size from its first frame on: somebody made it shorter, and what
/// was there may have been acknowledged.
fn cut_file(found: &Found) -> Option<String> {
    let wanted = found.numbers()?.file_bytes;
    let len = found.file.len().ok()?;
    (len < wanted).then(|| format!("the file was cut to {len} bytes, it had {wanted}"))
}

fn roll_back(scan: &mut Scan, before: Progress) {
    scan.facts.end = before.end;
    scan.facts.sparse.retain(|mark| mark.offset < before.end);
    scan.facts.last = before.last;
    scan.facts.last_time = before.last_time;
    scan.facts.entry_bytes = before.entry_bytes;
    scan.progress = before;
}

/// The decision about where a scan stopped, with the place for the report.
fn judge(scan: &Scan, last_segment: bool) -> (Decision, Option<Corrupt>) {
    let corrupt = |offset, what| Corrupt { segment: SegmentNo(0), offset, what };
    match &scan.stop {
        Stop::AtLimit => (Decision::End, None),
        Stop::Unreadable { offset, error } => {
            (Decision::Corrupt, Some(corrupt(*offset, format!("cannot be read: {error}"))))
        }
        Stop::Place(place) => {
            let mark = if place.group < scan.synced_below { Mark::Below } else { Mark::AtOrAbove };
            // the group of a bad first frame may be unknown: then only what is behind it can speak
            let unknown = place.group == GroupNo(0);
            let facts = Place {
                found: place.found,
                place: place.place,
                mark: if unknown { Mark::AtOrAbove } else { mark },
                behind: place.behind,
                last_segment,
            };
            let decision = decide(facts);
            let place = (decision != Decision::End).then(|| corrupt(place.offset, place.what.clone()));
            (decision, place)
        }
    }
}
