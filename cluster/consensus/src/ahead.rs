//! Entries go to followers while the leader's own disk takes them: two syncs beside each other, not one behind the other.
//!
//! ```text
//!  Storage::append ──> disk: write, sync ──> openraft core ──> Peer::append_entries ── take ──> what it has said
//!         └── send ──> follower: write, sync, answer ──────────────────────────────────────────────^
//! ```
//!
//! openraft has entries sent when they are durable here. By then a follower that was up to date has been asked the same, and what it has said
//! is the answer; where it has said anything but that it holds them, or nothing in time, it is asked as if nothing had been sent.
//!
//! openraft also tells each follower at once how far is committed, in a request of its own. In a log that is busy that waits a moment, and rides with the next
//! entries, which say it too. What is committed before openraft asks for an entry it says in that request alone, which goes nowhere where the member has the entry
//! already: so that is told then.
//!
//! Invariants: nothing that was said counts before openraft asks for it, so an entry is durable here before it is committed; only payloads go ahead, under a
//! vote that is durable, to members that hold everything before them; an answer is one to what openraft asks for: the same vote, up to
//! the same entry, behind the same entry. A leader that ends before its disk has them never makes others of their names: it comes back with
//! an election, in a later term.

use crate::codec;
use crate::contact::Contacts;
use crate::convert;
use crate::group::HEARTBEAT_MS;
use crate::transport::{Call, GroupId, Member, NodeId, Rpc, Transport};
use crate::types::{Content, Entry, Types};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use openraft::{LogId, Vote};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strandline_event::SharedBytes;
use strandline_wal::LeaderId;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// What was said later, or is asked for later, counts as not said: openraft takes an answer for one to what was asked just now.
const COUNTS_FOR: Duration = Duration::from_millis(HEARTBEAT_MS);

/// How long a word of how far is committed waits for entries to ride with, in a log whose entries come in such steps.
const RIDES_WITHIN: Duration = Duration::from_millis(2);

/// Entries that were asked to be stored, by their ends: a leader has one log in its term.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Asked {
    vote: Vote<u64>,
    prev: LogId<u64>,
    last: LogId<u64>,
}

impl Asked {
    /// `None`: no entries, or the first ones of a log.
    fn of(request: &AppendEntriesRequest<Types>) -> Option<Self> {
        Some(Self { vote: request.vote, prev: request.prev_log_id?, last: request.entries.last()?.log_id })
    }
}

/// What was sent last to a member.
struct Sent {
    asked: Asked,
    committed: Option<LogId<u64>>,
    at: Instant,
    holds: Holds,
}

/// Whether a member holds what was sent, once it is known.
pub(crate) struct Holds(watch::Receiver<Option<bool>>);

impl Holds {
    /// Waits until that is known.
    pub(crate) async fn known(mut self) -> bool {
        // who asked has ended: nobody knows
        self.0.wait_for(Option::is_some).await.is_ok_and(|holds| *holds == Some(true))
    }
}

/// When entries began their way last.
#[derive(Clone, Copy)]
struct Begun {
    /// Number of the last one.
    number: u64,
    at: Instant,
    /// The time since those before.
    step: Duration,
}

#[derive(Default)]
struct Line {
    member: Member,
    sent: Option<Sent>,
}

/// What goes ahead in a group on this node.
pub(crate) struct Ahead {
    group: GroupId,
    node: NodeId,
    transport: Arc<dyn Transport>,
    contacts: Arc<Contacts>,
    lines: Mutex<BTreeMap<NodeId, Line>>,
    begun: watch::Sender<Option<Begun>>,
}

impl Ahead {
    pub(crate) fn new(group: GroupId, node: NodeId, transport: Arc<dyn Transport>, contacts: Arc<Contacts>) -> Self {
        Self { group, node, transport, contacts, lines: Mutex::default(), begun: watch::Sender::new(None) }
    }

    /// Where a member is.
    pub(crate) fn knows(&self, node: NodeId, member: &Member) {
        let mut lines = self.lines.lock();
        let line = lines.entry(node).or_default();
        if line.member != *member {
            line.member = member.clone();
        }
    }

    /// Entries begin their way to the disk here, behind `prev`, under a vote that is durable. Must be called in a runtime.
    pub(crate) fn send(&self, vote: Vote<u64>, prev: LogId<u64>, entries: &[Entry], committed: Option<LogId<u64>>) {
        let leader = LeaderId { term: vote.leader_id.term, node: vote.leader_id.node_id };
        let is_own = |entry: &Entry| {
            matches!(entry.content, Content::Payloads(_)) && convert::leader_of(&entry.log_id) == leader
        };
        let Some(last) = entries.last().map(|entry| entry.log_id) else { return };
        if !vote.committed || leader.node != self.node || !entries.iter().all(is_own) {
            return;
        }
        let (asked, mut body) = (Asked { vote, prev, last }, None);
        for (node, line) in self.lines.lock().iter_mut() {
            if *node == self.node || self.contacts.holds(*node, leader.term) != Some(prev.index) {
                continue;
            }
            let body: &SharedBytes = body.get_or_insert_with(|| {
                let (prev_log_id, entries, leader_commit) = (Some(prev), entries.to_vec(), committed);
                codec::append_request(&AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
            });
            let holds = self.ask(*node, line.member.clone(), body.clone());
            line.sent = Some(Sent { asked, committed, at: Instant::now(), holds });
        }
        // last: who waits for it finds what was sent
        self.begun.send_modify(|begun| {
            let at = Instant::now();
            let step = begun.map_or(Duration::MAX, |before| at - before.at);
            *begun = Some(Begun { number: last.index, at, step });
        });
    }

    fn ask(&self, node: NodeId, member: Member, body: SharedBytes) -> Holds {
        let call = Call { group: self.group.clone(), rpc: Rpc::Append, body };
        let (transport, contacts) = (Arc::clone(&self.transport), Arc::clone(&self.contacts));
        let (tell, holds) = watch::channel(None);
        contacts.asks(node);
        tokio::spawn(async move {
            let answer = transport.call(node, &member, call, COUNTS_FOR).await;
            let said = answer.ok().and_then(|answer| codec::append_answer_of(&answer).ok());
            let is_success = said == Some(AppendEntriesResponse::Success);
            if is_success {
                contacts.hears(node);
            }
            tell.send_replace(Some(is_success));
        });
        Holds(holds)
    }

    /// What a member says to exactly this, if it was asked already: whether it holds the entries. `None`, or where it does not: it must be asked.
    pub(crate) fn take(&self, node: NodeId, request: &AppendEntriesRequest<Types>) -> Option<Holds> {
        let asked = Asked::of(request)?;
        let sent = self.lines.lock().get_mut(&node)?.sent.take_if(|sent| sent.asked == asked)?;
        (sent.at.elapsed() <= COUNTS_FOR).then_some(sent.holds)
    }

    /// A member that has taken entries up to this one ahead hears how far is committed since: with the entries that come next, or in a moment by
    /// itself. Must be called in a runtime.
    pub(crate) fn tell(
        self: &Arc<Self>,
        node: NodeId,
        vote: Vote<u64>,
        last: LogId<u64>,
        committed: Option<LogId<u64>>,
    ) {
        let ahead = Arc::clone(self);
        tokio::spawn(async move {
            if ahead.carries(node, vote, last, committed).await {
                return;
            }
            let member = ahead.lines.lock().get(&node).map(|line| line.member.clone());
            let Some(member) = member else { return };
            let (prev_log_id, entries, leader_commit) = (Some(last), Vec::new(), committed);
            let body = codec::append_request(&AppendEntriesRequest { vote, prev_log_id, entries, leader_commit });
            // who does not hear it hears the next heartbeat
            drop(ahead.ask(node, member, body));
        });
    }

    /// Whether a member was told how far is committed with the entries that came next, and has taken them. `false`: it must be told; then
    /// at most [`RIDES_WITHIN`] is over, or those entries came to nothing.
    pub(crate) async fn carries(
        &self,
        node: NodeId,
        vote: Vote<u64>,
        prev: LogId<u64>,
        committed: Option<LogId<u64>>,
    ) -> bool {
        let mut begun = self.begun.subscribe();
        let is_busy = |begun: Begun| begun.step <= RIDES_WITHIN && begun.at.elapsed() <= RIDES_WITHIN;
        if !begun.borrow().is_some_and(is_busy) {
            return false;
        }
        let has_begun = |begun: &Option<Begun>| begun.is_some_and(|begun| begun.number > prev.index);
        if !timeout(RIDES_WITHIN, begun.wait_for(has_begun)).await.is_ok_and(|begun| begun.is_ok()) {
            return false;
        }
        let holds = {
            let lines = self.lines.lock();
            let sent = lines.get(&node).and_then(|line| line.sent.as_ref());
            let says_it =
                |sent: &&Sent| (sent.asked.vote, sent.asked.prev) == (vote, prev) && sent.committed >= committed;
            sent.filter(says_it).map(|sent| Holds(sent.holds.0.clone()))
        };
        match holds {
            Some(holds) => holds.known().await,
            None => false,
        }
    }
}
