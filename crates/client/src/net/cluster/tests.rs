//! A client of two nodes that are played: who leads is the test's.

use super::*;
use crate::net::tests::{Played, batch, listening, on_a_runtime};
use crate::wire::frames::Frame;
use crate::wire::header::Kind;
use crate::wire::outcome::OutcomesWriter;
use crate::wire::read::encode_empty;
use strandline_event::Seq;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

struct Node {
    listener: TcpListener,
    address: String,
}

impl Node {
    async fn new() -> Self {
        let (listener, options) = listening().await;
        Self { listener, address: options.address }
    }

    async fn accept(&self) -> Played {
        Played::accept(&self.listener).await
    }
}

/// A client of both that has greeted the first.
async fn client(nodes: &[&Node]) -> (ClusterClient, Played) {
    let mut options = ClusterOptions::new(nodes.iter().map(|node| node.address.clone()));
    options.each.patience = Duration::from_millis(50);
    let connecting = tokio::spawn(ClusterClient::connect(options));
    let mut first = nodes[0].accept().await;
    let ping = first.next().await.unwrap();
    first.say(encode_empty(Kind::Pong, ping.header.request)).await;
    (connecting.await.unwrap().unwrap(), first)
}

fn append(client: &ClusterClient, command: Option<&'static str>) -> JoinHandle<Result<Appended, ClientError>> {
    let client = client.clone();
    tokio::spawn(async move { client.append(batch(9, command), Expected::Any).await })
}

async fn refuse(played: &mut Played, frame: &Frame, refused: Refused) {
    let mut out = OutcomesWriter::new(Kind::Appended, frame.header.request, 1);
    out.refused(&refused);
    played.say(out.finish()).await;
}

fn not_leader(leader: Option<&Node>) -> Refused {
    let leader = leader.map(|node| node.address.clone());
    Refused { leader, ..Refused::new(ErrorKind::NotLeader, "another node leads") }
}

#[test]
fn the_leader_is_learned_and_asked_first_from_then_on() {
    on_a_runtime(async {
        let (one, two) = (Node::new().await, Node::new().await);
        // the second node is not among the addresses: it is learned
        let (client, mut first) = client(&[&one]).await;
        // an append without a command id: nothing was done, so it may go elsewhere
        let asking = append(&client, None);
        let frame = first.next().await.unwrap();
        refuse(&mut first, &frame, not_leader(Some(&two))).await;
        let mut second = two.accept().await;
        let frame = second.next().await.unwrap();
        second.store(&frame).await;
        assert_eq!(asking.await.unwrap().unwrap().first_seq(), Seq(1));
        let asking = append(&client, None);
        let frame = second.next().await.unwrap();
        second.store(&frame).await;
        asking.await.unwrap().unwrap();
    });
}

#[test]
fn while_nobody_leads_the_client_asks_again() {
    on_a_runtime(async {
        let (one, two) = (Node::new().await, Node::new().await);
        let (client, mut first) = client(&[&one, &two]).await;
        let asking = append(&client, None);
        let frame = first.next().await.unwrap();
        refuse(&mut first, &frame, not_leader(None)).await;
        let mut second = two.accept().await;
        let frame = second.next().await.unwrap();
        refuse(&mut second, &frame, not_leader(None)).await;
        let frame = first.next().await.unwrap();
        first.store(&frame).await;
        asking.await.unwrap().unwrap();
    });
}

#[test]
fn an_answer_that_was_lost_is_asked_for_again_elsewhere_only_by_command_id() {
    on_a_runtime(async {
        let (one, two) = (Node::new().await, Node::new().await);
        let (client, mut first) = client(&[&one, &two]).await;
        let (with, without) = (append(&client, Some("c")), append(&client, None));
        let mut appends = 0;
        while appends < 2 {
            let frame = first.next().await.unwrap();
            appends += crate::wire::append::decode_append(&frame.body).unwrap().appends.len();
        }
        drop((first, one));
        // it may have been stored: nobody else is asked
        assert!(matches!(without.await.unwrap(), Err(ClientError::OutcomeUnknown { .. })));
        let mut second = two.accept().await;
        let frame = second.next().await.unwrap();
        let appends = crate::wire::append::decode_append(&frame.body).unwrap().appends;
        assert_eq!(appends.len(), 1);
        assert_eq!(appends[0].batch.view().command_id(0), Some("c"));
        second.store(&frame).await;
        with.await.unwrap().unwrap();
    });
}

#[test]
fn the_stores_own_word_ends_it_and_nothing_less_closes_an_open_outcome() {
    let refused = |kind| ClientError::Refused(Refused::new(kind, "no"));
    for kind in [ErrorKind::NotLeader, ErrorKind::Unavailable, ErrorKind::Overloaded] {
        let error = unless_known(refused(kind), Some("it broke".into()));
        assert!(matches!(error, ClientError::OutcomeUnknown { .. }), "{kind:?}");
        assert_eq!(unless_known(refused(kind), None), refused(kind));
    }
    for kind in [ErrorKind::WrongExpectedSeq, ErrorKind::CommandConflict] {
        assert_eq!(unless_known(refused(kind), Some("it broke".into())), refused(kind));
    }
}

#[test]
fn a_conflict_is_told_and_not_tried_elsewhere() {
    on_a_runtime(async {
        let (one, two) = (Node::new().await, Node::new().await);
        let (client, mut first) = client(&[&one, &two]).await;
        let asking = append(&client, Some("c"));
        let frame = first.next().await.unwrap();
        refuse(&mut first, &frame, Refused::new(ErrorKind::WrongExpectedSeq, "elsewhere")).await;
        assert_eq!(asking.await.unwrap().unwrap_err().kind(), Some(ErrorKind::WrongExpectedSeq));
    });
}
