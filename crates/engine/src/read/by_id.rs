//! One event by its id: the ids of every log's tail first, then the files.
//!
//! An owner checks its clients' ids exactly; two owners do not ask each other. So an id may stand twice in a store, and
//! a lookup says so instead of choosing silently.

use super::error::ReadError;
use super::source::{RowAt, Source, Sources};
use super::tiers::TierSet;
use crate::append::SettledError;
use crate::ids::TailLoc;
use crate::store::{LogShared, Setting, Store};
use crate::view::retired::RetiredSeqs;
use crate::view::tail::LogTail;
use std::sync::Arc;
use strandline_deql::Tier;
use strandline_durable::ReadStats;
use strandline_event::{EventId, EventRef, Seq};

/// Views that a lookup takes before it gives up on a log that is trimmed under it each time.
const VIEWS_MAX: usize = 8;

/// An event that was looked up.
pub struct FoundEvent {
    sources: Sources,
    at: RowAt,
    /// Other events with the same id, one sentence each.
    pub warnings: Vec<String>,
}

impl std::fmt::Debug for FoundEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.event().fmt(f)
    }
}

impl FoundEvent {
    /// The event.
    #[must_use]
    pub fn event(&self) -> EventRef<'_> {
        self.sources.row(self.at)
    }

    /// The tier that it was found in.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.sources.tier(self.at)
    }
}

impl Store {
    /// The event that has this id.
    ///
    /// # Errors
    /// [`ReadError`]; an id that is not found is no answer as long as a log is damaged.
    pub fn event_by_id(&self, id: EventId) -> Result<Option<FoundEvent>, ReadError> {
        self.look_up_event(id).map(|(found, _)| found)
    }

    /// [`event_by_id`](Self::event_by_id), and what the files cost.
    ///
    /// # Errors
    /// The same.
    pub fn look_up_event(&self, id: EventId) -> Result<(Option<FoundEvent>, ReadStats), ReadError> {
        self.look_up_among(id, &|_| Ok(true))
    }

    /// The same, among the events that somebody sees.
    pub(super) fn look_up_among(
        &self,
        id: EventId,
        sees: &dyn Fn(&EventRef<'_>) -> Result<bool, SettledError>,
    ) -> Result<(Option<FoundEvent>, ReadStats), ReadError> {
        for _ in 1..VIEWS_MAX {
            match self.look_up(id, sees) {
                Err(error) if error.trim_raced() => {}
                other => return other,
            }
        }
        self.look_up(id, sees)
    }

    fn look_up(
        &self,
        id: EventId,
        sees: &dyn Fn(&EventRef<'_>) -> Result<bool, SettledError>,
    ) -> Result<(Option<FoundEvent>, ReadStats), ReadError> {
        let setting = self.setting();
        let (sources, all, stats) = self.rows_of_id(id, &setting, setting.read_tiers)?;
        if all.is_empty() {
            // it may stand where a log cannot be read
            self.refuse_damaged(&setting, None)?;
        }
        let mut found = Vec::with_capacity(all.len());
        for at in all {
            if sees(&sources.row(at))? {
                found.push(at);
            }
        }
        let mut chosen = choose(sources, &found);
        if let Some(found) = &mut chosen {
            found.sources.open(&[found.at], self.opener())?;
        }
        Ok((chosen, stats))
    }

    /// All events that have an id, whatever tiers clients read: where each stands (stream type, stream, seq). What is under a tombstone
    /// may come back, and counts.
    ///
    /// # Errors
    /// [`ReadError`]; none is no answer as long as a log is damaged.
    pub(crate) fn places_of_id(&self, id: EventId) -> Result<Vec<(String, String, Seq)>, ReadError> {
        let place = |event: EventRef<'_>| (event.stream_type.to_owned(), event.stream_id.to_owned(), event.seq);
        let setting = self.setting();
        let mut tries = 1;
        let mut places: Vec<_> = loop {
            match self.rows_of_id(id, &setting, setting.all_tiers) {
                Err(error) if error.trim_raced() && tries < VIEWS_MAX => tries += 1,
                rows => {
                    let (sources, found, _) = rows?;
                    break found.into_iter().map(|at| place(sources.row(at))).collect();
                }
            }
        };
        places.extend(self.durable().pin().find_buried_event_id(id)?.iter().map(place));
        places.sort_unstable();
        places.dedup();
        match (
            places.is_empty(),
            self.logs().iter().find_map(|log| Some((log.key.clone(), log.refuses_writes()?.clone()))),
        ) {
            (true, Some((log, damage))) => Err(ReadError::Damaged { log, damage }),
            _ => Ok(places),
        }
    }

    fn rows_of_id(
        &self,
        id: EventId,
        setting: &Setting,
        tiers: TierSet,
    ) -> Result<(Sources, Vec<RowAt>, ReadStats), ReadError> {
        let mut stats = ReadStats::default();
        let mut sources = Sources::under(self.durable().veil());
        let mut found = Vec::new();
        for shared in self.logs() {
            // the tail's ids first, then the view: what leaves the tail meanwhile is in the files of the view
            if let Some(loc) = shared.published().find_id(id) {
                let at = self.tail_row((setting, tiers), &shared, loc, &mut sources)?;
                // a made id may belong to a row that bears its client's id instead
                found.extend(at.filter(|at| sources.row(*at).event_id == id));
            }
        }
        if let Some(snapshot) = self.pin_files(tiers) {
            let set = Arc::new(snapshot.find_event_id(id)?);
            stats = set.stats;
            let rows = set.len() as u32;
            let source = sources.push(Source::Files(set));
            found.extend((0..rows).map(|row| RowAt { source, row }));
        }
        let mut retired = RetiredSeqs::of(&self.durable().pin(), tiers.contains(Tier::Durable))?;
        found.retain(|at| !RetiredSeqs::hold(&mut retired, &sources.row(*at)));
        Ok((sources, found, stats))
    }

    /// The row of the tail, unless it is durable by now (or in a tier that is left out).
    fn tail_row(
        &self,
        (setting, tiers): (&Setting, TierSet),
        shared: &Arc<LogShared>,
        loc: TailLoc,
        sources: &mut Sources,
    ) -> Result<Option<RowAt>, ReadError> {
        let (tail, _snapshot) = self.pin_tail(setting, shared, tiers);
        if loc.index <= tail.after {
            return Ok(None);
        }
        let batch = match tail.hot.as_ref().and_then(|hot| hot.batch(&shared.key, loc.index)) {
            Some(batch) => Some(tail.hot_batch(&batch)),
            None => from_log(&tail, loc)?,
        };
        Ok(batch.map(|batch| RowAt { source: sources.push(Source::Batch(batch)), row: loc.row }))
    }
}

fn from_log(tail: &LogTail, loc: TailLoc) -> Result<Option<super::source::TailBatch>, ReadError> {
    match &tail.log {
        Some(log) => tail.entry(log, loc.index),
        None => Ok(None),
    }
}

/// The first one found; every other that is not the same event is told.
fn choose(sources: Sources, found: &[RowAt]) -> Option<FoundEvent> {
    let at = *found.first()?;
    let first = sources.row(at);
    let warnings = found
        .iter()
        .skip(1)
        .filter(|other| sources.row(**other) != first)
        .map(|other| {
            let (other, place) = (sources.row(*other), sources.place(*other));
            format!(
                "event_id {} also belongs to seq {} of stream `{}` of `{}` ({place})",
                other.event_id, other.seq, other.stream_id, other.stream_type
            )
        })
        .collect();
    Some(FoundEvent { at, warnings, sources })
}
