//! What waits for the connection and what waits for answers.
//!
//! ```text
//!  append (small) -> singles --take: many in one frame--> in flight --answer--> each caller
//!  anything else  -> requests ------take--------------->     |
//!                      ^ repeatable                          |
//!                      +------------ connection broke -------+--> outcome unknown
//!  of a scan      -> words ---------take--> nobody answers: they wait for no place
//! ```
//!
//! No I/O here. Invariants: a request is in exactly one of these places until its caller is told, once; and what waits is what the
//! server of the last Welcome takes.

use crate::net::error::ClientError;
use crate::wire::append::{BATCHES_MAX, BYTES_BEFORE, Expected, body_bytes_of_one, bytes_in_frame, encode_append};
use crate::wire::append_rows::{encode_append_rows, may_be_beside};
use crate::wire::fields::Encoded;
use crate::wire::frames::Frame;
use crate::wire::header::{Kind, NO_EVENTS_BODY_MAX};
use crate::wire::hello::Welcome;
use crate::wire::outcome::{Appended, decode_appended};
use crate::wire::read::encode_empty;
use crate::wire::refused::Refused;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use strandline_event::{BatchBytes, BatchUnit, ErrorKind};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// Gathered frames that may be on their way: while one is being made durable and the next is judged, a third is read by the server; what comes
/// meanwhile waits together.
const GATHERED_IN_FLIGHT: usize = 3;
/// Appends that go in one frame, however few callers there are.
const GATHERED_MIN: usize = 8;
/// Bytes of one gathered frame.
const GATHERED_BYTES_MAX: usize = 1 << 20;
/// Connections that may break over a request: if it is what breaks them, it must not do so for ever.
const BROKEN_MAX: u32 = 8;
/// Bytes that are handed to the socket at once.
const TAKE_BYTES_MAX: usize = 1 << 20;

/// Whether a request may arrive twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Repeat {
    Never,
    /// Where the store knows appends by their command ids.
    IfCommandsAreChecked,
    Always,
}

impl Repeat {
    /// Of an append: see PROTOCOL.md, section 8.
    pub(super) fn of(batch: &BatchBytes) -> Self {
        let view = batch.view();
        let mut rows = 0..view.rows();
        let has_command = |row: usize| view.command_id(row).is_some();
        let known = match view.unit() {
            BatchUnit::Append => rows.any(has_command),
            BatchUnit::Rows => rows.all(has_command),
        };
        match (view.chunk(), known) {
            (Some(_), _) => Self::Always,
            (None, true) => Self::IfCommandsAreChecked,
            (None, false) => Self::Never,
        }
    }

    /// Of several that go together.
    pub(super) fn of_all<'a>(batches: impl IntoIterator<Item = &'a BatchBytes>) -> Self {
        let all = batches.into_iter().map(Self::of);
        all.min_by_key(|repeat| *repeat as u8).unwrap_or(Self::Always)
    }

    pub(super) fn is_safe(self, welcome: &Welcome) -> bool {
        match self {
            Self::Never => false,
            Self::IfCommandsAreChecked => welcome.checks_commands,
            Self::Always => true,
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) frame: Frame,
    /// What it answers was on its way before, on a connection that broke.
    pub(super) again: bool,
}

/// Who waits for the answer to a request.
pub(super) enum Reply {
    One(oneshot::Sender<Result<Heard, ClientError>>),
    /// A scan or a subscription: several frames.
    Many(mpsc::UnboundedSender<Result<Frame, ClientError>>),
}

/// A request that is a frame of its own.
pub(super) struct Request {
    pub(super) id: u64,
    pub(super) frame: Arc<Encoded>,
    pub(super) repeat: Repeat,
    pub(super) reply: Reply,
    /// Connections that broke while it was on its way.
    pub(super) broken: u32,
    /// Bytes that it counts for: of appends.
    pub(super) held: Option<OwnedSemaphorePermit>,
}

/// A small append.
pub(super) struct Single {
    pub(super) batch: BatchBytes,
    pub(super) expected: Expected,
    pub(super) reply: oneshot::Sender<Result<Appended, ClientError>>,
    /// Connections that broke while it was on its way.
    pub(super) broken: u32,
    pub(super) held: OwnedSemaphorePermit,
}

impl Request {
    fn judge(&self, welcome: &Welcome) -> Option<ClientError> {
        let sent = (self.broken > 0).then_some(self.repeat);
        judge(welcome, Body::of(&self.frame), sent)
    }
}

impl Single {
    fn judge(&self, welcome: &Welcome) -> Option<ClientError> {
        let sent = (self.broken > 0).then(|| Repeat::of(&self.batch));
        judge(welcome, Body::of_one(&self.batch), sent)
    }
}

/// Why a request is not sent on a connection that began with this Welcome. `sent`: it was on its way before, on one that broke.
fn judge(welcome: &Welcome, body: Body, sent: Option<Repeat>) -> Option<ClientError> {
    let unknown = |why: &dyn fmt::Display| {
        let why = format!("the connection broke, and it is not sent again: {why}");
        Some(ClientError::OutcomeUnknown { why })
    };
    if sent.is_some_and(|repeat| !repeat.is_safe(welcome)) {
        return unknown(&"the store does not check command ids any more");
    }
    match body.check_fits(welcome).err()? {
        error if sent.is_some() && body.carries_events => unknown(&error),
        error => Some(error),
    }
}

/// What limits are for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body {
    bytes: usize,
    carries_events: bool,
}

impl Body {
    pub(super) fn of(frame: &Encoded) -> Self {
        Self { bytes: frame.body_bytes, carries_events: frame.kind().is_some_and(Kind::carries_events) }
    }

    /// Of an append that shares its frame with no other.
    pub(super) fn of_one(batch: &BatchBytes) -> Self {
        Self { bytes: body_bytes_of_one(batch), carries_events: true }
    }

    /// A body over a limit would end the connection.
    pub(super) fn check_fits(self, welcome: &Welcome) -> Result<(), ClientError> {
        let (bytes, limit) = (self.bytes, welcome.body_max as usize);
        let text = if bytes > limit {
            format!("a request of {bytes} bytes is over the server's limit of {limit}: send less at once")
        } else if bytes > NO_EVENTS_BODY_MAX && !self.carries_events {
            format!(
                "a request of {bytes} bytes is over the limit of {NO_EVENTS_BODY_MAX} for one without events: its names and filters are \
                 too long"
            )
        } else {
            return Ok(());
        };
        Err(ClientError::Refused(Refused::new(ErrorKind::TooLarge, text)))
    }
}

enum InFlight {
    Request(Request),
    Singles(Gathered),
}

/// Single appends of one frame.
struct Gathered {
    singles: Vec<Single>,
    /// They went as rows of one batch.
    are_rows: bool,
}

/// Whether the server of this connection takes rows of one batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum TakesRows {
    /// It has answered no such frame yet: one of them is on its way at most, so that what comes back keeps its order, and it is no larger than a frame
    /// without events, which a server takes it for that does not know it.
    #[default]
    Untold,
    Yes,
    No,
}

/// The queues of one client.
#[derive(Default)]
pub(super) struct Queue {
    singles: VecDeque<Single>,
    requests: VecDeque<Request>,
    /// Frames without an answer of their own, with the request that each belongs to.
    words: VecDeque<(u64, Arc<Encoded>)>,
    in_flight: HashMap<u64, InFlight>,
    gathered_in_flight: usize,
    /// Appends of these frames.
    singles_in_flight: usize,
    last_id: u64,
    takes_rows: TakesRows,
    pub(super) closed: bool,
    /// Of the last connection.
    pub(super) welcome: Option<Arc<Welcome>>,
}

/// What goes to the socket next.
pub(super) struct Taken {
    pub(super) frames: Vec<Arc<Encoded>>,
    gathered: Option<(u64, Gathered)>,
    /// Bytes of a body of rows.
    rows_max: usize,
}

impl Queue {
    pub(super) fn new(welcome: Welcome) -> Self {
        Self { welcome: Some(Arc::new(welcome)), ..Self::default() }
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Given back: the server does not take it.
    pub(super) fn push_single(&mut self, single: Single) -> Option<Untold> {
        if let Some(error) = self.welcome.as_ref().and_then(|welcome| single.judge(welcome)) {
            return Some(Untold::Single(single, error));
        }
        self.singles.push_back(single);
        None
    }

    /// Given back: the server does not take it.
    pub(super) fn push_request(&mut self, request: Request) -> Option<Untold> {
        if let Some(error) = self.welcome.as_ref().and_then(|welcome| request.judge(welcome)) {
            return Some(Untold::Request(request, error));
        }
        self.requests.push_back(request);
        None
    }

    /// A frame that is not answered.
    pub(super) fn push_word(&mut self, id: u64, frame: Encoded) {
        self.words.push_back((id, Arc::new(frame)));
    }

    /// Gives a scan up. ScanCancel is not answered, so its place is free at once; parts that still come find nobody.
    /// One that has ended, or was never sent, costs the server nothing.
    pub(super) fn cancel(&mut self, id: u64) {
        self.requests.retain(|request| request.id != id);
        self.words.retain(|(of, _)| *of != id);
        if self.in_flight.remove(&id).is_some() {
            self.push_word(id, encode_empty(Kind::ScanCancel, id));
        }
    }

    /// Another connection begins: what waits is judged again, by what its server says. `Err`: it serves another store, for which
    /// nothing of this was meant.
    pub(super) fn renew(&mut self, welcome: Welcome) -> Result<Vec<Untold>, ClientError> {
        if let Some(last) = self.welcome.as_ref().filter(|last| last.store != welcome.store) {
            let text = format!(
                "the node serves the store '{}' now, and this client was made for '{}': connect again",
                welcome.store, last.store
            );
            return Err(ClientError::Refused(Refused::new(ErrorKind::NotFound, text)));
        }
        self.welcome = Some(Arc::new(welcome));
        // it may be another server
        self.takes_rows = TakesRows::Untold;
        let mut untold = Vec::new();
        for request in std::mem::take(&mut self.requests) {
            untold.extend(self.push_request(request));
        }
        for single in std::mem::take(&mut self.singles) {
            untold.extend(self.push_single(single));
        }
        Ok(untold)
    }

    /// Whether anybody waits, for the connection or for an answer.
    pub(super) fn is_idle(&self) -> bool {
        !self.has_waiting() && !self.is_owed()
    }

    /// Whether anything waits to be sent.
    pub(super) fn has_waiting(&self) -> bool {
        !self.singles.is_empty() || !self.requests.is_empty() || !self.words.is_empty()
    }

    /// Whether an answer is owed.
    pub(super) fn is_owed(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Whether it is about to be told that the server takes rows, or not.
    fn is_to_be_told(&self) -> bool {
        let are_rows = |one: &InFlight| matches!(one, InFlight::Singles(Gathered { are_rows: true, .. }));
        self.takes_rows == TakesRows::Untold && self.gathered_in_flight > 0 && self.in_flight.values().any(are_rows)
    }

    /// Takes what may be sent now. Single appends come out raw: see [`Taken::encode`].
    pub(super) fn take(&mut self) -> Taken {
        let welcome = self.welcome.as_ref();
        let requests_max = welcome.map_or(1, |welcome| welcome.requests_max.max(1) as usize);
        let gathered_max = welcome.map_or(0, |welcome| welcome.body_max as usize).min(GATHERED_BYTES_MAX);
        // first, and for no place: a request that is on its way may end only when one of them has come
        let frames = self.words.drain(..).map(|(_, frame)| frame).collect();
        let mut taken = Taken { frames, gathered: None, rows_max: 0 };
        let mut bytes = 0;
        while bytes < TAKE_BYTES_MAX && self.in_flight.len() < requests_max {
            let Some(request) = self.requests.pop_front() else { break };
            bytes += request.frame.len();
            taken.frames.push(Arc::clone(&request.frame));
            self.in_flight.insert(request.id, InFlight::Request(request));
        }
        let may_gather = self.gathered_in_flight < GATHERED_IN_FLIGHT && self.in_flight.len() < requests_max;
        if may_gather && !self.singles.is_empty() && !self.is_to_be_told() {
            // each frame carries its share of the callers: those that are answered together come back together, and went in one frame for ever,
            // whose way nobody shares
            let callers = self.singles.len() + self.singles_in_flight;
            let share = callers.div_ceil(GATHERED_IN_FLIGHT.min(requests_max)).clamp(GATHERED_MIN, BATCHES_MAX);
            taken.rows_max = match self.takes_rows {
                TakesRows::Untold => gathered_max.min(NO_EVENTS_BODY_MAX),
                TakesRows::Yes => gathered_max,
                TakesRows::No => 0,
            };
            let (mut bytes, mut only_rows) = (BYTES_BEFORE, taken.rows_max > 0);
            let first = self.singles.front().map(|single| &single.batch);
            let fitting = self.singles.iter().take(share).take_while(|single| {
                bytes += bytes_in_frame(&single.batch);
                only_rows = only_rows && first.is_some_and(|first| may_be_beside(first, &single.batch));
                bytes <= if only_rows { taken.rows_max } else { gathered_max }
            });
            let count = fitting.count().max(1);
            let are_rows = only_rows;
            let singles = self.singles.drain(..count).collect();
            self.gathered_in_flight += 1;
            self.singles_in_flight += count;
            taken.gathered = Some((self.next_id(), Gathered { singles, are_rows }));
        }
        taken
    }

    /// The gathered appends of what was taken are on their way.
    pub(super) fn on_its_way(&mut self, taken: &mut Taken) {
        if let Some((id, gathered)) = taken.gathered.take() {
            self.in_flight.insert(id, InFlight::Singles(gathered));
        }
    }

    /// Whom a frame answers.
    pub(super) fn answered(&mut self, frame: &Frame) -> Option<Answered> {
        use std::collections::hash_map::Entry;
        let Entry::Occupied(entry) = self.in_flight.entry(frame.header.request) else { return None };
        let goes_on = match entry.get() {
            InFlight::Request(Request { reply: Reply::Many(parts), .. }) => is_not_last(frame).then(|| parts.clone()),
            _ => None,
        };
        if let Some(parts) = goes_on {
            return Some(Answered::Part(parts));
        }
        Some(match entry.remove() {
            InFlight::Request(request) => Answered::Request(request),
            InFlight::Singles(Gathered { singles, are_rows }) => {
                self.gathered_in_flight -= 1;
                self.singles_in_flight -= singles.len();
                if are_rows && is_not_supported(frame) {
                    // nothing of it was done: they go as before there were such frames, in their order
                    self.takes_rows = TakesRows::No;
                    singles.into_iter().rev().for_each(|single| self.singles.push_front(single));
                    return None;
                }
                if are_rows && frame.header.kind == Kind::Appended.to_u8() {
                    self.takes_rows = TakesRows::Yes;
                }
                Answered::Singles(singles)
            }
        })
    }

    /// The connection is gone: what may arrive twice waits again, in its order; who is told instead is given.
    pub(super) fn broke(&mut self, why: &str) -> Vec<Untold> {
        let mut in_flight: Vec<(u64, InFlight)> = self.in_flight.drain().collect();
        in_flight.sort_unstable_by_key(|(id, _)| std::cmp::Reverse(*id));
        (self.gathered_in_flight, self.singles_in_flight) = (0, 0);
        let welcome = self.welcome.clone();
        let safe = |repeat: Repeat, broken: u32| {
            broken + 1 < BROKEN_MAX && welcome.as_ref().is_some_and(|welcome| repeat.is_safe(welcome))
        };
        // room for a scan that is gone
        self.words.clear();
        let mut untold = Vec::new();
        let unknown = || ClientError::OutcomeUnknown { why: why.to_owned() };
        for (_, entry) in in_flight {
            match entry {
                InFlight::Request(request)
                    if safe(request.repeat, request.broken) && matches!(request.reply, Reply::One(_)) =>
                {
                    self.requests.push_front(Request { broken: request.broken + 1, ..request });
                }
                InFlight::Request(request) => match &request.reply {
                    Reply::Many(_) => {
                        untold.push(Untold::Request(request, ClientError::Broken { why: why.to_owned() }));
                    }
                    Reply::One(_) => untold.push(Untold::Request(request, unknown())),
                },
                InFlight::Singles(Gathered { singles, .. }) => {
                    for single in singles.into_iter().rev() {
                        if safe(Repeat::of(&single.batch), single.broken) {
                            self.singles.push_front(Single { broken: single.broken + 1, ..single });
                        } else {
                            untold.push(Untold::Single(single, unknown()));
                        }
                    }
                }
            }
        }
        untold
    }

    /// Nobody waits any longer. An append that was on its way once may have arrived.
    pub(super) fn give_up(&mut self, error: &ClientError) -> Vec<Untold> {
        self.words.clear();
        let told = |was_sent: bool| match was_sent {
            true => ClientError::OutcomeUnknown { why: error.to_string() },
            false => error.clone(),
        };
        let single = |single: Single| {
            let error = told(single.broken > 0);
            Untold::Single(single, error)
        };
        let request = |request: Request| {
            let error = told(request.broken > 0 && request.held.is_some());
            Untold::Request(request, error)
        };
        let singles: Vec<Untold> = self.singles.drain(..).map(single).collect();
        singles.into_iter().chain(self.requests.drain(..).map(request)).collect()
    }
}

fn is_not_last(frame: &Frame) -> bool {
    if frame.header.kind == Kind::SubscribePart.to_u8() {
        return true;
    }
    let is_part = frame.header.kind == Kind::ScanPart.to_u8();
    is_part && frame.body.first().is_some_and(|facts| facts & 1 == 0)
}

/// Whether the server does not know what a frame asked.
fn is_not_supported(answer: &Frame) -> bool {
    let refused = super::appended(answer).err();
    refused.is_some_and(|error| error.kind() == Some(ErrorKind::NotSupported))
}

impl Taken {
    /// Makes the frame of the gathered appends; not under the lock that callers wait for.
    pub(super) fn encode(&mut self) {
        let rows_max = self.rows_max;
        let Some((id, Gathered { singles, are_rows })) = &mut self.gathered else { return };
        let appends = singles.iter().map(|single| (&single.batch, single.expected));
        let rows = if *are_rows { encode_append_rows(*id, appends.clone()) } else { None };
        let rows = rows.filter(|frame| frame.body_bytes <= rows_max);
        *are_rows = rows.is_some();
        self.frames.push(Arc::new(rows.unwrap_or_else(|| encode_append(*id, appends, false))));
    }

    pub(super) const fn has_gathered(&self) -> bool {
        self.gathered.is_some()
    }
}

/// A request that is told an error.
pub(super) enum Untold {
    Request(Request, ClientError),
    Single(Single, ClientError),
}

impl Untold {
    /// Tells it. Who is gone does not mind.
    pub(super) fn tell(self) {
        match self {
            Self::Request(request, error) => match request.reply {
                Reply::One(reply) => drop(reply.send(Err(error))),
                Reply::Many(reply) => drop(reply.send(Err(error))),
            },
            Self::Single(single, error) => drop(single.reply.send(Err(error))),
        }
    }
}

/// Whom a frame answers.
pub(super) enum Answered {
    Part(mpsc::UnboundedSender<Result<Frame, ClientError>>),
    Request(Request),
    Singles(Vec<Single>),
}

impl Answered {
    /// Hands the frame on. `Err`: it is no answer to what was asked, so the connection cannot be trusted.
    pub(super) fn deliver(self, frame: Frame) -> Result<(), ClientError> {
        match self {
            Self::Part(reply) => drop(reply.send(Ok(frame))),
            Self::Request(request) => {
                drop(request.held);
                match request.reply {
                    Reply::One(reply) => drop(reply.send(Ok(Heard { frame, again: request.broken > 0 }))),
                    Reply::Many(reply) => drop(reply.send(Ok(frame))),
                }
            }
            Self::Singles(singles) => return deliver_singles(singles, &frame),
        }
        Ok(())
    }
}

fn deliver_singles(singles: Vec<Single>, frame: &Frame) -> Result<(), ClientError> {
    let outcomes = super::appended(frame).and_then(|()| Ok(decode_appended(&frame.body)?));
    let outcomes = match outcomes {
        Ok(outcomes) if outcomes.len() == singles.len() => outcomes,
        Ok(_) => return fail(singles, ClientError::Protocol(crate::wire::error::WireError::Body("another number"))),
        // the frame as a whole was refused, for instance as too much in flight
        Err(error) => return fail(singles, error),
    };
    for (single, outcome) in singles.into_iter().zip(outcomes) {
        let Single { reply, held, broken, .. } = single;
        drop(held);
        drop(reply.send(outcome.map_err(|refused| ClientError::from(refused).of_append(broken > 0))));
    }
    Ok(())
}

fn fail(singles: Vec<Single>, error: ClientError) -> Result<(), ClientError> {
    // also that nobody knows the outcome is the server's own word: what else is on its way there is answered as before
    let is_answer = matches!(error, ClientError::Refused(_) | ClientError::OutcomeUnknown { .. });
    for single in singles {
        let told = error.clone().of_append(single.broken > 0);
        Untold::Single(single, told).tell();
    }
    if is_answer { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests;
