use super::*;
use openraft::entry::{RaftEntry, RaftPayload};
use openraft::testing::log_id;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn payload() -> impl Strategy<Value = Payload> {
    (any::<u16>(), any::<u32>(), any::<i64>(), proptest::collection::vec(any::<u8>(), 0..80)).prop_map(
        |(schema, count, time, bytes)| {
            let (front, back) = bytes.split_at(bytes.len() / 3);
            let parts = [SharedBytes::copy_aligned(front), SharedBytes::copy_aligned(back)];
            Payload { schema, count, time: Micros(time), parts }
        },
    )
}

fn entry() -> impl Strategy<Value = Entry> {
    let membership = proptest::collection::btree_map(any::<u64>(), "[a-z]{0,9}", 1..4);
    let content = prop_oneof![
        Just(Content::Blank),
        membership.prop_map(|nodes| {
            let nodes: BTreeMap<u64, Member> =
                nodes.into_iter().map(|(node, address)| (node, Member { address })).collect();
            Content::Membership(openraft::Membership::new(vec![nodes.keys().copied().collect()], nodes))
        }),
        proptest::collection::vec(payload(), 1..4).prop_map(|payloads| {
            let leader = LeaderId { term: 3, node: 4 };
            Content::Payloads(Proposal { leader, number: 5, payloads: payloads.into() })
        }),
    ];
    content.prop_map(|content| Entry { log_id: log_id(3, 4, 5), index: LogIndex::ZERO, content })
}

/// What must be the same on the other side.
fn says(entry: &Entry) -> String {
    let payloads = match &entry.content {
        Content::Payloads(proposal) => proposal
            .payloads
            .iter()
            .map(|p| (p.schema, p.count, p.time, [&p.parts[0][..], &p.parts[1][..]].concat()))
            .collect::<Vec<_>>(),
        _ => vec![],
    };
    format!("{:?} {} {:?} {payloads:?}", entry.log_id, entry.is_blank(), entry.get_membership())
}

proptest! {
    #[test]
    fn appends_round_trip(entries in proptest::collection::vec(entry(), 0..5), prev in any::<Option<u64>>()) {
        let prev_log_id = prev.map(|number| log_id(1, 2, number));
        let request = AppendEntriesRequest {
            vote: Vote::new_committed(7, 8),
            prev_log_id,
            entries,
            leader_commit: Some(log_id(1, 1, 1)),
        };
        let body = append_request(&request);
        prop_assert!(body.is_aligned());
        let read = append_request_of(&body).unwrap();
        prop_assert_eq!((read.vote, read.prev_log_id, read.leader_commit), (request.vote, prev_log_id, request.leader_commit));
        let all = |entries: &[Entry]| entries.iter().map(says).collect::<Vec<_>>();
        prop_assert_eq!(all(&read.entries), all(&request.entries));
        for entry in &read.entries {
            if let Content::Payloads(proposal) = &entry.content {
                prop_assert!(proposal.payloads.iter().all(|payload| payload.parts[0].is_aligned()));
            }
        }
        for cut in 0..body.len() {
            let read = append_request_of(&body.slice(0..cut).unwrap());
            // zeros at the end may be missing
            prop_assert!(read.is_err() || body[cut..].iter().all(|byte| *byte == 0), "cut at {}", cut);
        }
    }

    #[test]
    fn hostile_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), version in any::<bool>()) {
        if version && bytes.len() > 1 {
            (bytes[0], bytes[1]) = (1, 0);
        }
        let body = SharedBytes::copy_aligned(&bytes);
        let _ = append_request_of(&body);
        let _ = append_answer_of(&body);
        let _ = vote_request_of(&body);
        let _ = vote_answer_of(&body);
        let _ = snapshot_request_of(&body);
        let _ = snapshot_answer_of(&body);
    }
}

#[test]
fn votes_snapshots_and_answers_round_trip() {
    for answer in [
        AppendEntriesResponse::Success,
        AppendEntriesResponse::PartialSuccess(Some(log_id(1, 2, 3))),
        AppendEntriesResponse::PartialSuccess(None),
        AppendEntriesResponse::HigherVote(Vote::new(5, 6)),
        AppendEntriesResponse::Conflict,
    ] {
        assert_eq!(append_answer_of(&append_answer(&answer)).unwrap(), answer);
    }
    let request = VoteRequest::new(Vote::new(2, 3), Some(log_id(1, 1, 9)));
    assert_eq!(vote_request_of(&vote_request(&request)).unwrap(), request);
    let answer = VoteResponse { vote: Vote::new(2, 3), vote_granted: true, last_log_id: None };
    assert_eq!(vote_answer_of(&vote_answer(&answer)).unwrap(), answer);
    let nodes = BTreeMap::from([(1, Member { address: "a:1".into() }), (2, Member::default())]);
    let membership = openraft::Membership::new(vec![[1].into()], nodes);
    let through = EntryId { leader: LeaderId { term: 4, node: 1 }, number: 9, index: LogIndex(12) };
    let meta = SnapshotMeta {
        last_log_id: Some(log_id(4, 1, 9)),
        last_membership: StoredMembership::new(Some(log_id(1, 1, 1)), membership),
        snapshot_id: "4-1-9".into(),
    };
    let pointer = Pointer { through, body: b"version 7".to_vec() };
    let vote = Vote::new_committed(4, 1);
    let body = snapshot_request(&vote, &meta, &pointer);
    assert_eq!(snapshot_request_of(&body).unwrap(), (vote, meta, pointer));
    assert_eq!(snapshot_answer_of(&snapshot_answer(&vote)).unwrap(), vote);
}

#[test]
fn another_version_is_refused_by_name() {
    let mut bytes = append_answer(&AppendEntriesResponse::Success).to_vec();
    bytes[0] = 2;
    assert_eq!(append_answer_of(&SharedBytes::copy_aligned(&bytes)), Err(UNKNOWN));
    let blank = Entry::new_blank(log_id(1, 1, 1));
    let request =
        AppendEntriesRequest { vote: Vote::new(1, 1), prev_log_id: None, entries: vec![blank], leader_commit: None };
    let mut bytes = append_request(&request).to_vec();
    let kind = bytes.len() - 8;
    bytes[kind] = 9;
    assert_eq!(append_request_of(&SharedBytes::copy_aligned(&bytes)).err(), Some(WRONG));
}
