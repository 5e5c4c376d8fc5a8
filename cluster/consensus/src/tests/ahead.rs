//! Entries that go to followers before they are durable on the leader: to whom, and what counts of the answers.

use super::tape::NOW;
use crate::ahead::Ahead;
use crate::codec;
use crate::contact::Contacts;
use crate::machine::Payload;
use crate::network::Peers;
use crate::transport::{BoxFuture, Call, GroupId, Member, NodeId, Transport, TransportError};
use crate::types::{Content, Entry, Proposal, Types};
use openraft::entry::RaftEntry;
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use openraft::testing::log_id;
use openraft::{LogId, Vote};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use strandline_event::{LogIndex, SharedBytes};
use strandline_wal::LeaderId;
use tokio::time::{Instant, advance};

/// Answers everybody the same, and keeps who was asked, and what last.
struct Says(AppendEntriesResponse<u64>, Mutex<Vec<NodeId>>, Mutex<Option<AppendEntriesRequest<Types>>>);

impl Transport for Says {
    fn call<'a>(
        &'a self,
        node: NodeId,
        _member: &'a Member,
        call: Call,
        _deadline: Duration,
    ) -> BoxFuture<'a, Result<SharedBytes, TransportError>> {
        self.1.lock().push(node);
        *self.2.lock() = codec::append_request_of(&call.body).ok();
        Box::pin(std::future::ready(Ok(codec::append_answer(&self.0))))
    }
}

impl Says {
    fn new(answer: AppendEntriesResponse<u64>) -> Arc<Self> {
        Arc::new(Self(answer, Mutex::default(), Mutex::default()))
    }

    /// Who was asked since.
    async fn asked(&self) -> Vec<NodeId> {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        std::mem::take(&mut *self.1.lock())
    }
}

const TERM: u64 = 7;

fn prev() -> LogId<u64> {
    log_id(TERM, 1, 4)
}

fn entry(node: NodeId) -> Entry {
    numbered(node, 5)
}

fn numbered(node: NodeId, number: u64) -> Entry {
    let payload = Payload::new(1, NOW, SharedBytes::copy_aligned(b"x"));
    let proposal = Proposal { leader: LeaderId { term: TERM, node }, number, payloads: Arc::from([payload]) };
    Entry { log_id: log_id(TERM, node, number), index: LogIndex::ZERO, content: Content::Payloads(proposal) }
}

fn request(prev: LogId<u64>) -> AppendEntriesRequest<Types> {
    let (vote, entries) = (Vote::new_committed(TERM, 1), vec![entry(1)]);
    AppendEntriesRequest { vote, prev_log_id: Some(prev), entries, leader_commit: None }
}

/// Of node 1: 2 holds everything before the entry, 3 lacks one, and 4 has said so in an earlier term.
fn ahead(says: &Arc<Says>) -> Ahead {
    with_contacts(says).0
}

/// The same, and what says how far members hold the log.
fn with_contacts(says: &Arc<Says>) -> (Ahead, Arc<Contacts>) {
    let contacts = Arc::new(Contacts::default());
    for (node, term, through) in [(2, TERM, 4), (3, TERM, 3), (4, TERM - 1, 4)] {
        contacts.held(node).keeps(term, Some(through));
    }
    let transport: Arc<dyn Transport> = Arc::clone(says) as _;
    let ahead = Ahead::new(GroupId::Meta, 1, transport, Arc::clone(&contacts));
    (1..=4).for_each(|node| ahead.knows(node, &Member { address: format!("node{node}") }));
    (ahead, contacts)
}

#[tokio::test(start_paused = true)]
async fn who_holds_all_before_them_gets_entries_ahead_and_answers_what_is_asked_then() {
    let says = Says::new(AppendEntriesResponse::Success);
    let ahead = ahead(&says);
    ahead.send(Vote::new_committed(TERM, 1), prev(), &[entry(1)], Some(prev()));
    assert_eq!(says.asked().await, [2_u64]);
    // another question stays open
    assert!(ahead.take(2, &request(log_id(TERM - 1, 1, 4))).is_none() && ahead.take(3, &request(prev())).is_none());
    let heartbeat = AppendEntriesRequest { entries: Vec::new(), ..request(prev()) };
    assert!(ahead.take(2, &heartbeat).is_none());
    assert!(ahead.take(2, &request(prev())).unwrap().known().await);
    assert!(ahead.take(2, &request(prev())).is_none(), "once");
}

#[tokio::test(start_paused = true)]
async fn an_answer_counts_for_a_short_time_and_only_if_it_is_that_it_holds_them() {
    let conflicts = Says::new(AppendEntriesResponse::Conflict);
    let other = ahead(&conflicts);
    other.send(Vote::new_committed(TERM, 1), prev(), &[entry(1)], None);
    assert_eq!(conflicts.asked().await, [2_u64]);
    assert!(!other.take(2, &request(prev())).unwrap().known().await);
    let says = Says::new(AppendEntriesResponse::Success);
    let ahead = ahead(&says);
    ahead.send(Vote::new_committed(TERM, 1), prev(), &[entry(1)], None);
    assert_eq!(says.asked().await, [2_u64]);
    advance(Duration::from_secs(1)).await;
    assert!(ahead.take(2, &request(prev())).is_none());
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_ahead_but_payloads_of_a_leadership_of_this_node() {
    let says = Says::new(AppendEntriesResponse::Success);
    let ahead = ahead(&says);
    let blank = Entry::new_blank(log_id(TERM, 1, 5));
    ahead.send(Vote::new_committed(TERM, 1), prev(), std::slice::from_ref(&blank), None);
    ahead.send(Vote::new_committed(TERM, 1), prev(), &[entry(1), blank], None);
    ahead.send(Vote::new_committed(TERM, 1), prev(), &[], None);
    // it follows, asks for votes, or has been elected anew since the entry was made
    ahead.send(Vote::new_committed(TERM, 2), prev(), &[entry(2)], None);
    ahead.send(Vote::new(TERM, 1), prev(), &[entry(1)], None);
    ahead.send(Vote::new_committed(TERM + 1, 1), prev(), &[entry(1)], None);
    assert!(says.asked().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn how_far_is_committed_rides_with_the_next_entries_of_a_busy_log() {
    let (says, vote) = (Says::new(AppendEntriesResponse::Success), Vote::new_committed(TERM, 1));
    let (ahead, contacts) = with_contacts(&says);
    let (fifth, sixth) = (log_id(TERM, 1, 5), log_id(TERM, 1, 6));
    // one entry says nothing of how fast they come
    ahead.send(vote, prev(), &[numbered(1, 5)], Some(prev()));
    assert!(!ahead.carries(2, vote, fifth, Some(fifth)).await);
    contacts.held(2).keeps(TERM, Some(5));
    ahead.send(vote, fifth, &[numbered(1, 6)], Some(prev()));
    let begun = Instant::now();
    // those that come say less than that, and of 3 nobody knows whether it has them
    assert!(!ahead.carries(2, vote, fifth, Some(fifth)).await && !ahead.carries(3, vote, fifth, None).await);
    assert!(ahead.carries(2, vote, fifth, Some(prev())).await);
    assert_eq!(begun.elapsed(), Duration::ZERO, "nothing is waited for that has come");
    contacts.held(2).keeps(TERM, Some(6));
    let (carried, ()) = tokio::join!(ahead.carries(2, vote, sixth, Some(fifth)), async {
        ahead.send(vote, sixth, &[numbered(1, 7)], Some(fifth));
    });
    assert!(carried);
    assert_eq!(says.asked().await, [2_u64; 3]);
}

#[tokio::test(start_paused = true)]
async fn how_far_is_committed_waits_for_a_moment_and_in_a_quiet_log_not_at_all() {
    let (says, vote) = (Says::new(AppendEntriesResponse::Conflict), Vote::new_committed(TERM, 1));
    let (ahead, contacts) = with_contacts(&says);
    let (fifth, sixth) = (log_id(TERM, 1, 5), log_id(TERM, 1, 6));
    ahead.send(vote, prev(), &[numbered(1, 5)], None);
    contacts.held(2).keeps(TERM, Some(5));
    ahead.send(vote, fifth, &[numbered(1, 6)], None);
    assert!(!ahead.carries(2, vote, fifth, None).await, "it has not taken them");
    let begun = Instant::now();
    assert!(!ahead.carries(2, vote, sixth, None).await, "nothing comes");
    assert!((Duration::from_millis(1)..Duration::from_millis(10)).contains(&begun.elapsed()));
    advance(Duration::from_secs(1)).await;
    let begun = Instant::now();
    assert!(!ahead.carries(2, vote, sixth, None).await);
    assert_eq!(begun.elapsed(), Duration::ZERO, "it is quiet");
}

#[tokio::test(start_paused = true)]
async fn who_took_entries_ahead_hears_that_they_were_committed_before_openraft_asked_for_them() {
    let (says, vote) = (Says::new(AppendEntriesResponse::Success), Vote::new_committed(TERM, 1));
    let fifth = log_id(TERM, 1, 5);
    for committed in [prev(), fifth] {
        let (ahead, contacts) = with_contacts(&says);
        let (ahead, transport): (_, Arc<dyn Transport>) = (Arc::new(ahead), Arc::clone(&says) as _);
        let mut peers = Peers { group: GroupId::Meta, transport, contacts, ahead: Arc::clone(&ahead) };
        let mut peer = peers.new_client(2, &Member { address: "node2".to_owned() }).await;
        ahead.send(vote, prev(), &[entry(1)], Some(prev()));
        assert_eq!(says.asked().await, [2_u64]);
        let request = AppendEntriesRequest { leader_commit: Some(committed), ..request(prev()) };
        let said = peer.append_entries(request, RPCOption::new(Duration::from_secs(1))).await.unwrap();
        assert_eq!(said, AppendEntriesResponse::Success);
        let asked = says.asked().await;
        if committed == prev() {
            assert!(asked.is_empty(), "it was told with the entry");
        } else {
            assert_eq!(asked, [2_u64]);
            let told = says.2.lock().take().unwrap();
            assert_eq!((told.vote, told.prev_log_id, told.leader_commit), (vote, Some(fifth), Some(fifth)));
            assert!(told.entries.is_empty());
        }
    }
}
