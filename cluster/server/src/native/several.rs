//! Several things of one frame, each judged on its own: what another node leads is done there.
//!
//! ```text
//!  here ──> judged
//!    └────> another node leads it: nothing was done ──> there, a frame a node ──> judged
//!              ^                                          └──> nor does that one, and says who does ──> there, once ──> judged
//!              └──────── a moment later: leaders change <─────────┴──────────────────────────────────────┘
//! ```
//!
//! A node that does not hold a log knows one that does, and that one knows who leads it: so the second time.
//!
//! Invariant: only what was refused as nobody's here is tried again, so nothing is done twice by it.

use crate::http::call::ServedStore;
use crate::native::refusal::refused;
use crate::native::relay::{No, Relay, not_sent};
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};
use strandline_client::{Client, ClientError, Refused};
use strandline_consensus::NodeId;
use strandline_event::ErrorKind;
use strandline_workers::{LeaderAt, NodeError};
use tokio::time::sleep;

/// How long a leader is looked for, and the time between two looks.
const LOOKS_WITHIN: Duration = Duration::from_secs(4);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What became of one of them.
#[derive(Debug)]
pub(super) enum Told<D> {
    /// It was judged, here or there.
    Judged(Result<D, Refused>),
    /// Nothing was done: another node leads it. What is said of it where nobody does it in time.
    Elsewhere(Option<LeaderAt>, Refused),
}

impl<D> Told<D> {
    /// For a node's refusal.
    pub(super) fn refused(error: &NodeError, served: &ServedStore) -> Self {
        let said = refused(error, served);
        match error {
            NodeError::NotLeader { leader } => Self::Elsewhere(leader.clone(), said),
            _ => Self::Judged(Err(said)),
        }
    }

    /// For another node's word on one of these.
    fn there(outcome: Result<D, Refused>, places: &[usize]) -> Self {
        match outcome {
            Err(refused) if refused.kind() == Some(ErrorKind::NotLeader) => Self::Elsewhere(None, refused),
            outcome => Self::Judged(outcome.map_err(|refused| in_place(refused, places))),
        }
    }

    /// With the node that another one named, where that is known.
    fn named(self, relay: &Relay) -> Self {
        match self {
            Self::Elsewhere(None, refused) => {
                let at = refused.leader.as_deref().and_then(|native| relay.node_at(native));
                Self::Elsewhere(at, refused)
            }
            told => told,
        }
    }

    /// What its client is told.
    pub(super) fn said(self) -> Result<D, Refused> {
        match self {
            Self::Judged(outcome) => outcome,
            Self::Elsewhere(_, refused) => Err(refused),
        }
    }

    /// Whether somebody may do it yet: a node that has no native protocol does not.
    fn is_open(&self) -> bool {
        matches!(self, Self::Elsewhere(at, _) if at.as_ref().is_none_or(|at| at.native.is_some()))
    }

    fn leader(&self) -> Option<(NodeId, &str)> {
        match self {
            Self::Elsewhere(Some(at), _) => at.native.as_deref().map(|address| (at.node, address)),
            _ => None,
        }
    }
}

/// Several things, by their places in a frame.
pub(super) trait Several: Sync {
    /// One that is done.
    type Done: Send;

    /// Tries some at this node. `Err`: a word about all of them.
    fn here(&self, places: &[usize]) -> impl Future<Output = Result<Vec<Told<Self::Done>>, Refused>> + Send;

    /// Has some done by another node.
    fn there(
        &self,
        client: &Client,
        places: &[usize],
    ) -> impl Future<Output = Result<Vec<Result<Self::Done, Refused>>, ClientError>> + Send;
}

/// Has done by others what was not this node's, `told` being what became of all of them here. `Err`: a word about all of them.
pub(super) async fn send_on<S: Several>(
    several: &S,
    mut told: Vec<Told<S::Done>>,
    relay: &Relay,
) -> Result<Vec<Told<S::Done>>, Refused> {
    let until = Instant::now() + LOOKS_WITHIN;
    loop {
        // then those whom these have named
        for _ in 0..2 {
            ask_leaders(several, &mut told, relay).await?;
        }
        let open: Vec<usize> =
            told.iter().enumerate().filter(|(_, one)| one.is_open()).map(|(place, _)| place).collect();
        if open.is_empty() || Instant::now() >= until {
            return Ok(told);
        }
        sleep(LOOK_EVERY).await;
        match several.here(&open).await {
            Ok(again) => open.iter().zip(again).for_each(|(place, one)| put(&mut told, *place, one)),
            Err(refused) => refuse(&mut told, &open, refused)?,
        }
    }
}

/// One frame to each node that is known to lead some.
async fn ask_leaders<S: Several>(several: &S, told: &mut [Told<S::Done>], relay: &Relay) -> Result<(), Refused> {
    let mut leaders: BTreeMap<NodeId, (String, Vec<usize>)> = BTreeMap::new();
    for (place, one) in told.iter().enumerate() {
        if let Some((node, address)) = one.leader() {
            leaders.entry(node).or_insert_with(|| (address.to_owned(), Vec::new())).1.push(place);
        }
    }
    let asked = leaders.into_iter().map(|(node, (address, places))| async move {
        let answered = match relay.client(node, &address).await {
            Ok(client) => several.there(&client, &places).await.map_err(|error| relay.no((node, &address), error)),
            Err(error) => Err(not_sent(&address, error)),
        };
        (places, answered)
    });
    for (places, answered) in join_all(asked).await {
        match answered {
            Ok(outcomes) => {
                for (place, outcome) in places.iter().zip(outcomes) {
                    put(told, *place, Told::there(outcome, &places).named(relay));
                }
            }
            Err(No::NotThere(refused)) => {
                places.iter().for_each(|place| put(told, *place, Told::Elsewhere(None, refused.clone()).named(relay)));
            }
            Err(No::All(refused)) => refuse(told, &places, refused)?,
        }
    }
    Ok(())
}

/// A word about some: about the whole frame, where it holds nothing else.
fn refuse<D>(told: &mut [Told<D>], places: &[usize], refused: Refused) -> Result<(), Refused> {
    let refused = in_place(refused, places);
    if places.len() == told.len() {
        return Err(refused);
    }
    places.iter().for_each(|place| put(told, *place, Told::Judged(Err(refused.clone()))));
    Ok(())
}

/// Who was sent a part of a frame counts by that.
fn in_place(refused: Refused, places: &[usize]) -> Refused {
    let part = refused.part.and_then(|part| places.get(part as usize)).map(|place| *place as u32);
    Refused { part, ..refused }
}

fn put<D>(told: &mut [Told<D>], place: usize, one: Told<D>) {
    if let Some(slot) = told.get_mut(place) {
        *slot = one;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no(kind: ErrorKind, part: Option<u32>) -> Refused {
        Refused { part, ..Refused::new(kind, "no") }
    }

    fn led_at(native: Option<&str>) -> Told<()> {
        let at = LeaderAt { node: 2, http: "n2:7070".to_owned(), native: native.map(str::to_owned) };
        Told::Elsewhere(Some(at), no(ErrorKind::NotLeader, None))
    }

    #[test]
    fn only_what_nobody_has_done_is_tried_again() {
        let away: Told<()> = Told::there(Err(no(ErrorKind::NotLeader, None)), &[0]);
        assert!(away.is_open() && away.leader().is_none());
        assert!(led_at(Some("n2:7071")).is_open());
        assert_eq!(led_at(Some("n2:7071")).leader(), Some((2, "n2:7071")));
        // nobody speaks the protocol there: its client is told
        assert!(!led_at(None).is_open() && led_at(None).leader().is_none());
        for kind in [ErrorKind::Unavailable, ErrorKind::WrongExpectedSeq, ErrorKind::Io] {
            assert!(!Told::<()>::there(Err(no(kind, None)), &[0]).is_open(), "{kind:?}");
        }
        assert!(!Told::there(Ok(()), &[0]).is_open());
    }

    #[test]
    fn another_nodes_word_names_the_parts_of_the_clients_frame() {
        let told: Told<()> = Told::there(Err(no(ErrorKind::SeqGap, Some(1))), &[2, 5]);
        assert_eq!(told.said().unwrap_err().part, Some(5));
        let two = || vec![led_at(Some("n2:7071")), Told::Judged(Ok(()))];
        // something else was done: it is a word about one part
        let mut told = two();
        assert!(refuse(&mut told, &[0], no(ErrorKind::Overloaded, None)).is_ok());
        let said: Vec<_> = told.into_iter().map(Told::said).collect();
        assert_eq!(said, [Err(no(ErrorKind::Overloaded, None)), Ok(())]);
        // nothing was: it is one about all of it
        let whole = refuse(&mut two(), &[0, 1], no(ErrorKind::SeqGap, Some(1)));
        assert_eq!(whole, Err(no(ErrorKind::SeqGap, Some(1))));
    }
}
