//! The model store: a Vec that is obviously right. Everything is a scan over everything.
//!
//! It says what an append must answer and holds what must be readable afterwards. It refuses to be fast, to share
//! code with the engine's rules, and to know how ids and moments are made: those it takes from the real answer and checks.

use strandline_deql::{CommandScope, StoreConfig};
use strandline_engine::append::{AppendRequest, Expected, OnError};
use strandline_event::{
    BatchBuilder, BatchError, BatchUnit, Chunk, ErrorKind, EventId, EventInput, EventRef, InvalidEvent, Micros,
    REDACTED, Seq,
};

/// An event as a client sends it, owned.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Event {
    /// Stream.
    pub stream_id: String,
    /// Kind.
    pub event_type: String,
    /// Client's id.
    pub event_id: Option<EventId>,
    /// Client's seq.
    pub seq: Option<Seq>,
    /// Schema version.
    pub event_version: Option<u32>,
    /// When it happened.
    pub occurred_at: Option<Micros>,
    /// Payload, JSON text.
    pub data: String,
    /// Metadata, JSON text.
    pub metadata: Option<String>,
    /// Command id.
    pub command_id: Option<String>,
    /// Correlation id.
    pub correlation_id: Option<String>,
    /// Causation id.
    pub causation_id: Option<String>,
    /// Tenant.
    pub tenant_id: Option<String>,
}

impl Event {
    /// As the builder of batches takes it.
    #[must_use]
    pub fn input(&self) -> EventInput<'_> {
        EventInput {
            stream_id: &self.stream_id,
            event_type: &self.event_type,
            event_id: self.event_id,
            seq: self.seq,
            event_version: self.event_version,
            occurred_at: self.occurred_at,
            data: &self.data,
            metadata: self.metadata.as_deref(),
            command_id: self.command_id.as_deref(),
            correlation_id: self.correlation_id.as_deref(),
            causation_id: self.causation_id.as_deref(),
            tenant_id: self.tenant_id.as_deref(),
        }
    }

    fn without_command(&self) -> Self {
        Self { command_id: None, ..self.clone() }
    }
}

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Append {
    /// Stream type of all events.
    pub stream_type: String,
    /// Stream append or bulk.
    pub unit: BatchUnit,
    /// The events.
    pub events: Vec<Event>,
    /// Where the stream must stand.
    pub expected: Expected,
    /// For bulk.
    pub on_error: OnError,
    /// Dry run.
    pub inspect: bool,
    /// Part of a resumable ingestion.
    pub chunk: Option<Chunk>,
}

/// Why a request cannot be built.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unbuildable {
    /// An event.
    Event(InvalidEvent),
    /// The batch.
    Batch(BatchError),
}

impl Append {
    /// The engine's request.
    pub fn request(&self) -> Result<AppendRequest, Unbuildable> {
        let mut builder = BatchBuilder::new(&self.stream_type, self.unit);
        if let Some(chunk) = self.chunk {
            builder.set_chunk(chunk);
        }
        for event in &self.events {
            builder.push(&event.input()).map_err(Unbuildable::Event)?;
        }
        let mut request = AppendRequest::new(builder.finish().map_err(Unbuildable::Batch)?);
        request.expected = self.expected;
        request.on_error = self.on_error;
        request.inspect = self.inspect;
        Ok(request)
    }
}

/// A stored event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Stream type.
    pub stream_type: String,
    /// Seq.
    pub seq: Seq,
    /// As sent.
    pub event: Event,
    /// Given or made; `None` until the real store has answered.
    pub event_id: Option<EventId>,
    /// `None` until the real store has answered.
    pub ingested_at: Option<Micros>,
    /// What it said is shown no more.
    pub redacted: bool,
}

impl Stored {
    /// Whether a read gave exactly this event.
    #[must_use]
    pub fn is(&self, event: &EventRef<'_>) -> bool {
        let e = &self.event;
        Some(event.event_id) == self.event_id
            && event.stream_type == self.stream_type
            && event.stream_id == e.stream_id
            && event.seq == self.seq
            && event.event_type == e.event_type
            && event.event_version == e.event_version
            && Some(event.occurred_at) == e.occurred_at.or(self.ingested_at)
            && Some(event.ingested_at) == self.ingested_at
            && event.data == if self.redacted { REDACTED } else { &e.data }
            && event.metadata == e.metadata.as_deref().map(|text| if self.redacted { REDACTED } else { text })
            && event.command_id == e.command_id.as_deref()
            && event.correlation_id == e.correlation_id.as_deref()
            && event.causation_id == e.causation_id.as_deref()
            && event.tenant_id == e.tenant_id.as_deref()
    }
}

#[derive(Clone, Debug)]
struct Command {
    stream_type: String,
    stream_id: String,
    id: String,
    events: Vec<Event>,
    first_seq: Seq,
}

/// What must be answered, as far as it is determined.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Refused as a whole.
    Refused(ErrorKind, Option<u32>),
    /// Done.
    Done {
        /// (row of the request, seq).
        stored: Vec<(u32, Seq)>,
        /// (row, first seq, count) of the first answers.
        duplicates: Vec<(u32, Seq, u32)>,
        /// Rows left out.
        rejected: Vec<(u32, ErrorKind)>,
        /// The chunk is stored already.
        chunk_known: bool,
    },
}

/// The model.
#[derive(Clone, Debug)]
pub struct Model {
    config: StoreConfig,
    /// Every stored event, in order of acceptance.
    pub events: Vec<Stored>,
    commands: Vec<Command>,
    chunks: Vec<(String, Chunk, Vec<u32>)>,
}

enum Row {
    New(Seq),
    Known(Seq, u32),
    Bad(ErrorKind),
}

struct Body<'a> {
    stored: Vec<(u32, Seq, &'a Event)>,
}

impl Model {
    /// An empty store.
    #[must_use]
    pub fn new(config: StoreConfig) -> Self {
        Self { config, events: Vec::new(), commands: Vec::new(), chunks: Vec::new() }
    }

    /// Last seq of a stream.
    #[must_use]
    pub fn head(&self, stream_type: &str, stream_id: &str) -> Seq {
        self.stream(stream_type, stream_id).map(|e| e.seq).max().unwrap_or_default()
    }

    /// The events of a stream, in order.
    pub fn stream<'a>(&'a self, stream_type: &'a str, stream_id: &'a str) -> impl Iterator<Item = &'a Stored> {
        self.events.iter().filter(move |e| e.stream_type == stream_type && e.event.stream_id == stream_id)
    }

    /// What a request must be answered now. Nothing changes.
    #[must_use]
    pub fn judge(&self, append: &Append) -> Verdict {
        let same = |known: &&(String, Chunk, Vec<u32>)| known.0 == append.stream_type && Some(known.1) == append.chunk;
        if let Some((.., refused)) = self.chunks.iter().find(same) {
            let inside = refused.iter().filter(|row| (**row as usize) < append.events.len());
            let rejected = inside.map(|row| (*row, ErrorKind::InvalidEvent)).collect();
            return Verdict::Done { stored: vec![], duplicates: vec![], rejected, chunk_known: true };
        }
        if append.unit == BatchUnit::Append
            && let Some(verdict) = self.judge_whole(append)
        {
            return verdict;
        }
        self.judge_rows(append)
    }

    fn judge_whole(&self, append: &Append) -> Option<Verdict> {
        let first = append.events.first()?;
        if append.events.iter().any(|e| e.stream_id != first.stream_id) {
            return Some(Verdict::Refused(ErrorKind::BadRequest, None));
        }
        if let Some(id) = append.events.iter().find_map(|e| e.command_id.as_ref()) {
            let other = |e: &Event| e.command_id.as_ref().is_some_and(|c| c != id);
            if let Some(row) = append.events.iter().position(other) {
                return Some(Verdict::Refused(ErrorKind::InvalidEvent, Some(row as u32)));
            }
            if let Some(command) = self.command(&append.stream_type, &first.stream_id, id) {
                let events: Vec<Event> = append.events.iter().map(Event::without_command).collect();
                // an event of another stream type is another event
                if command.stream_type != append.stream_type || command.events != events {
                    return Some(Verdict::Refused(ErrorKind::CommandConflict, None));
                }
                let duplicates = vec![(0, command.first_seq, events.len() as u32)];
                return Some(Verdict::Done { stored: vec![], duplicates, rejected: vec![], chunk_known: false });
            }
        }
        let head = self.head(&append.stream_type, &first.stream_id);
        let as_expected = match append.expected {
            Expected::Any => true,
            Expected::Empty => head.0 == 0,
            Expected::At(seq) => head == seq,
        };
        (!as_expected).then_some(Verdict::Refused(ErrorKind::WrongExpectedSeq, None))
    }

    fn judge_rows(&self, append: &Append) -> Verdict {
        let (mut body, mut duplicates, mut rejected) = (Body { stored: vec![] }, vec![], vec![]);
        let abort = append.unit == BatchUnit::Append || append.on_error == OnError::Abort;
        for (row, event) in append.events.iter().enumerate() {
            let row = row as u32;
            match self.row(append, &body, event) {
                Row::New(seq) => body.stored.push((row, seq, event)),
                Row::Known(first, count) => duplicates.push((row, first, count)),
                Row::Bad(kind) if abort => return Verdict::Refused(kind, Some(row)),
                Row::Bad(kind) => rejected.push((row, kind)),
            }
        }
        if append.unit == BatchUnit::Append
            && !body.stored.is_empty()
            && let Some((row, ..)) = duplicates.first()
        {
            return Verdict::Refused(ErrorKind::SeqConflict, Some(*row));
        }
        let stored = body.stored.into_iter().map(|(row, seq, _)| (row, seq)).collect();
        Verdict::Done { stored, duplicates, rejected, chunk_known: false }
    }

    fn row(&self, append: &Append, body: &Body<'_>, event: &Event) -> Row {
        if let (BatchUnit::Rows, Some(id)) = (append.unit, &event.command_id) {
            let in_scope = |other: &Event| {
                other.command_id.as_ref() == Some(id)
                    && match self.config.id.command_id_unique_scope {
                        CommandScope::None => false,
                        CommandScope::Stream => other.stream_id == event.stream_id,
                        CommandScope::StreamType | CommandScope::Store => true,
                    }
            };
            if let Some((_, seq, other)) = body.stored.iter().find(|(_, _, other)| in_scope(other)) {
                return if *other == event { Row::Known(*seq, 1) } else { Row::Bad(ErrorKind::CommandConflict) };
            }
            if let Some(command) = self.command(&append.stream_type, &event.stream_id, id) {
                let same = command.stream_type == append.stream_type && command.events == [event.without_command()];
                return if same { Row::Known(command.first_seq, 1) } else { Row::Bad(ErrorKind::CommandConflict) };
            }
        }
        match self.seq(append, body, event) {
            Row::New(_) if self.breaks_a_rule(event).is_some() => {
                Row::Bad(self.breaks_a_rule(event).unwrap_or(ErrorKind::Io))
            }
            Row::New(_) if self.id_is_taken(append, body, event) => Row::Bad(ErrorKind::EventIdConflict),
            other => other,
        }
    }

    fn seq(&self, append: &Append, body: &Body<'_>, event: &Event) -> Row {
        let before = self.head(&append.stream_type, &event.stream_id);
        let mine = body.stored.iter().filter(|(_, _, e)| e.stream_id == event.stream_id);
        let head = mine.clone().map(|(_, seq, _)| *seq).max().unwrap_or(before);
        let next = Seq(head.0 + 1);
        let Some(given) = event.seq else {
            return if next.0 > i64::MAX as u64 { Row::Bad(ErrorKind::InvalidEvent) } else { Row::New(next) };
        };
        if given > head {
            return match given {
                Seq(seq) if seq > i64::MAX as u64 => Row::Bad(ErrorKind::InvalidEvent),
                _ if given > next && self.config.read.require_monotonic_seq => Row::Bad(ErrorKind::SeqGap),
                _ => Row::New(given),
            };
        }
        let same = if given > before {
            mine.clone().any(|(_, seq, other)| *seq == given && *other == event)
        } else {
            let found = self.stream(&append.stream_type, &event.stream_id).find(|e| e.seq == given);
            found.is_some_and(|stored| is_same(stored, event))
        };
        if same { Row::Known(given, 1) } else { Row::Bad(ErrorKind::SeqConflict) }
    }

    fn breaks_a_rule(&self, event: &Event) -> Option<ErrorKind> {
        let c = &self.config;
        let missing = (c.id.command_id_required && event.command_id.is_none())
            || (!c.id.correlation_id_optional && event.correlation_id.is_none())
            || (c.strict.event_version_required && event.event_version.is_none())
            || (c.strict.tenant_required && event.tenant_id.is_none())
            || (c.partition.enforce
                && c.partition.by.contains(&strandline_deql::PartitionColumn::TenantId)
                && event.tenant_id.is_none());
        let wrong_id = event.event_id.is_some_and(|id| !id.is(c.id.event_id_format));
        if missing { Some(ErrorKind::StrictViolation) } else { wrong_id.then_some(ErrorKind::InvalidEvent) }
    }

    fn id_is_taken(&self, append: &Append, body: &Body<'_>, event: &Event) -> bool {
        let Some(id) = event.event_id else { return false };
        self.events.iter().any(|e| e.stream_type == append.stream_type && e.event_id == Some(id))
            || body.stored.iter().any(|(_, _, e)| e.event_id == Some(id))
    }

    fn command(&self, stream_type: &str, stream_id: &str, id: &str) -> Option<&Command> {
        let scope = self.config.id.command_id_unique_scope;
        self.commands.iter().find(|c| {
            c.id == id
                && match scope {
                    CommandScope::None => false,
                    CommandScope::Stream => c.stream_type == stream_type && c.stream_id == stream_id,
                    CommandScope::StreamType => c.stream_type == stream_type,
                    CommandScope::Store => true,
                }
        })
    }

    /// The request was accepted with this verdict: its events are stored. Gives their places in `events`.
    pub fn store(&mut self, append: &Append, verdict: &Verdict) -> std::ops::Range<usize> {
        let start = self.events.len();
        let Verdict::Done { stored, rejected, .. } = verdict else { return start..start };
        if append.inspect || stored.is_empty() {
            return start..start;
        }
        for (row, seq) in stored {
            let event = append.events[*row as usize].clone();
            if append.unit == BatchUnit::Rows
                && let Some(id) = &event.command_id
            {
                self.remember_command(append, id, &[*row], *seq);
            }
            let event_id = event.event_id;
            self.events.push(Stored {
                stream_type: append.stream_type.clone(),
                seq: *seq,
                event,
                event_id,
                ingested_at: None,
                redacted: false,
            });
        }
        if append.unit == BatchUnit::Append
            && let Some(id) = append.events.iter().find_map(|e| e.command_id.as_ref())
        {
            let rows: Vec<u32> = (0..append.events.len() as u32).collect();
            self.remember_command(append, id, &rows, stored[0].1);
        }
        if let Some(chunk) = append.chunk {
            let refused = rejected.iter().map(|(row, _)| *row).collect();
            self.chunks.push((append.stream_type.clone(), chunk, refused));
        }
        start..self.events.len()
    }

    fn remember_command(&mut self, append: &Append, id: &str, rows: &[u32], first_seq: Seq) {
        let events: Vec<Event> = rows.iter().map(|r| append.events[*r as usize].without_command()).collect();
        let stream_id = events[0].stream_id.clone();
        let stream_type = append.stream_type.clone();
        self.commands.push(Command { stream_type, stream_id, id: id.to_owned(), events, first_seq });
    }

    /// The real store gave the events these ids and moments: checks them and keeps them.
    ///
    /// # Panics
    /// When an id is not unique in its stream type or of another version, or a moment breaks an order.
    pub fn learn<'a>(&mut self, places: std::ops::Range<usize>, real: impl Iterator<Item = EventRef<'a>>) {
        let mut count = 0;
        // in a body of several tenants no row counts those of other streams before it
        let several =
            self.events[places.clone()].windows(2).any(|two| two[0].event.tenant_id != two[1].event.tenant_id);
        for (at, real) in places.clone().zip(real) {
            count += 1;
            let mine = &self.events[at];
            let before = |e: &&Stored| e.stream_type == mine.stream_type && e.ingested_at.is_some();
            for (place, earlier) in self.events[..at].iter().enumerate().filter(|(_, earlier)| before(earlier)) {
                assert_ne!(earlier.event_id, Some(real.event_id), "an id was given twice");
                let is_above = earlier.ingested_at <= Some(real.ingested_at);
                assert!(is_above || (several && place >= places.start), "a moment fell within a log");
                if earlier.event.stream_id == mine.event.stream_id {
                    assert!(earlier.ingested_at < Some(real.ingested_at), "a moment did not rise within a stream");
                }
            }
            assert!(mine.event_id.is_none_or(|id| id == real.event_id));
            assert!(real.event_id.is(self.config.id.event_id_format));
            let mine = &mut self.events[at];
            mine.event_id = Some(real.event_id);
            mine.ingested_at = Some(real.ingested_at);
            assert!(mine.is(&real), "stored {mine:?}, read {real:?}");
        }
        assert_eq!(count, places.len());
    }
}

fn is_same(stored: &Stored, event: &Event) -> bool {
    let filled = Event {
        seq: stored.event.seq,
        event_id: stored.event.event_id,
        occurred_at: stored.event.occurred_at,
        ..event.clone()
    };
    // what it said nobody knows any more
    let filled = match stored.redacted {
        true => Event { data: stored.event.data.clone(), metadata: stored.event.metadata.clone(), ..filled },
        false => filled,
    };
    filled == stored.event
        && event.event_id.is_none_or(|id| Some(id) == stored.event_id)
        && event.occurred_at.or(stored.ingested_at) == stored.event.occurred_at.or(stored.ingested_at)
}
