//! A read that came to a node without the role `read`: a node that has it answers, so that those that ingest do nothing else.
//!
//! Nodes with the role take turns. One that cannot be reached, or cannot read (503), is left alone for a while; where none can, the asked node answers by
//! itself, or has one answer that holds every log where it does not. An answer that breaks off after its head has gone to the client, and is not asked for again.

use super::relay::{self, NotReached};
use crate::http::call::App;
use crate::trace;
use actix_web::body::BoxBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::web::Data;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use strandline_consensus::NodeId;
use strandline_consensus::control::Control;
use tokio::time::timeout;
use tracing::Instrument;

/// How long a node that has not answered is asked nothing.
const LEFT_ALONE: Duration = Duration::from_secs(15);
/// The head of an answer takes no longer, unless the node stands still: a read waits less for the leaders.
const ANSWERS_WITHIN: Duration = Duration::from_secs(8);

/// What this node remembers of those that it asks.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    /// Whose turn it is.
    turn: AtomicUsize,
    /// Addresses that are left alone, and since when.
    left: Mutex<BTreeMap<String, Instant>>,
}

impl Readers {
    /// Those that are asked now, in this order.
    pub(crate) fn in_turn(&self, mut all: Vec<(NodeId, String)>) -> Vec<(NodeId, String)> {
        let mut left = self.left.lock();
        left.retain(|_, since| since.elapsed() < LEFT_ALONE);
        all.retain(|(_, address)| !left.contains_key(address));
        let first = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(all.len()).unwrap_or(0);
        all.rotate_left(first);
        all
    }

    pub(crate) fn is_left_alone(&self, address: String) {
        self.left.lock().insert(address, Instant::now());
    }
}

/// Has a read answered by another node; gives the request back if none can be reached.
pub(super) async fn ask_one(
    request: ServiceRequest,
    control: &Control,
    hops: u32,
) -> Result<ServiceResponse<BoxBody>, ServiceRequest> {
    let Some(app) = request.app_data::<Data<App>>().cloned() else { return Err(request) };
    let (head, _) = request.into_parts();
    for (node, address) in app.readers.in_turn(control.readers()) {
        let to = relay::To { node, address: &address, certificates: app.certificates.clone() };
        let asking = async {
            let reached = relay::reach(&to, &app.outgoing).await?;
            // a read has no body
            relay::relay(reached, &head, Payload::None, &address, hops + 1).await.map_err(NotReached::Failed)
        };
        let asked = timeout(ANSWERS_WITHIN, asking.instrument(trace::forward(node, &address))).await;
        match asked.unwrap_or_else(|_| Err(NotReached::Failed(io::ErrorKind::TimedOut.into()))) {
            // it says nothing of that node
            Err(NotReached::NoPlace) => break,
            Ok(answer) if answer.status() != StatusCode::SERVICE_UNAVAILABLE => {
                return Ok(ServiceResponse::new(head, answer));
            }
            Ok(_) => tracing::debug!(node, address, "that node cannot read"),
            Err(why) => tracing::debug!(node, address, "a read is not answered there: {why}"),
        }
        app.readers.is_left_alone(address);
    }
    Err(ServiceRequest::from_parts(head, Payload::None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_take_turns_and_one_that_is_away_is_left_alone() {
        let readers = Readers::default();
        let all = || (1..=3).map(|node| (node, format!("n{node}"))).collect::<Vec<(NodeId, String)>>();
        let asked = || readers.in_turn(all()).into_iter().map(|(node, _)| node).collect::<Vec<_>>();
        assert_eq!([asked(), asked(), asked(), asked()], [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 2, 3]]);
        readers.is_left_alone("n2".to_owned());
        assert_eq!([asked(), asked()], [[1, 3], [3, 1]]);
        readers.is_left_alone("n1".to_owned());
        readers.is_left_alone("n3".to_owned());
        assert!(asked().is_empty());
    }
}
