//! Any node of a cluster takes any request: what another node leads is sent there, and its answer comes back as it is.
//!
//! ```text
//!  request ──> leaders_affair ── no ──> routes       reads (they ask the leaders how far this node must be), health, metrics: here
//!                └── leader of the log, or of the meta group ──> relay (HTTP/1.1, one connection, over TLS where nodes have certificates) ──> its answer
//! ```
//!
//! A request makes a bounded number of hops: who led a moment ago may lead no more, and two nodes may each believe in the other. It refuses to
//! send anything twice: what broke under way has an unknown outcome, and the client's command id finds it out.

mod relay;

use crate::error::ApiError;
use crate::http::call::App;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, ResponseError};
use percent_encoding::percent_decode_str;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use strandline_consensus::control::Control;
use strandline_consensus::{GroupId, NodeId};
use strandline_event::{ErrorKind, LogKey};
use strandline_tls::Certificates;

/// How often a request was sent on.
const HOPS: &str = "x-strandline-hops";
/// How often it may be.
const HOPS_MAX: u32 = 2;
/// Looks at who leads while nobody is known to, and the time between two.
const LOOKS: u32 = 80;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Who answers a request.
enum Answers {
    /// This node.
    Here,
    /// The node with this id, at this HTTP address.
    There(NodeId, String),
    /// Nobody is known yet.
    Nobody,
}

/// Answers a request here, or has it answered by the node that leads.
pub(crate) async fn forward(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let hops = hops_of(&request);
    let here = |request| async { next.call(request).await.map(ServiceResponse::map_into_boxed_body) };
    let Some((control, group)) = leaders_affair(&request, hops) else { return here(request).await };
    let mut asked = asked_of(&control, &group);
    let mut answers = who_answers(&control, &asked);
    for _ in 0..LOOKS {
        if !matches!(answers, Answers::Nobody) {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        asked = asked_of(&control, &group);
        answers = who_answers(&control, &asked);
    }
    let Answers::There(node, address) = answers else { return here(request).await };
    let to = relay::To { node, address: &address, certificates: certificates_of(&request) };
    let (head, payload) = request.into_parts();
    let answered = tokio::select! {
        answered = relay::relay(&head, payload, &to, hops + 1) => answered,
        // a node that stands still answers nothing: when another one leads, nobody waits for it any more
        () = leads_no_more(&control, &asked, &address) => {
            Err(relay::Broken::Sent(io::Error::other("another node leads by now")))
        }
    };
    let answer = match answered {
        Ok(answer) => answer,
        Err(relay::Broken::NotSent(why)) => {
            let text = format!(
                "the node that leads this, at {address}, cannot be reached ({why}): nothing was done; try again in a moment"
            );
            ApiError::new(ErrorKind::NotLeader, text).error_response()
        }
        Err(relay::Broken::Sent(why)) => {
            let text = format!(
                "the outcome is unknown: the answer of the node at {address} was lost ({why}); a retry with the same command id finds out"
            );
            ApiError::new(ErrorKind::Unavailable, text).with("outcome", "unknown").error_response()
        }
    };
    Ok(ServiceResponse::new(head, answer))
}

async fn leads_no_more(control: &Control, group: &GroupId, address: &str) {
    loop {
        match who_answers(control, group) {
            // nobody yet: it may be the one that was asked
            Answers::Nobody => {}
            Answers::There(_, leader) if leader == address => {}
            Answers::There(..) | Answers::Here => return,
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn certificates_of(request: &ServiceRequest) -> Option<Arc<Certificates>> {
    request.app_data::<Data<App>>()?.certificates.clone()
}

fn hops_of(request: &ServiceRequest) -> u32 {
    let said = request.headers().get(HOPS).and_then(|value| value.to_str().ok());
    // what is no number was not sent by a node: it goes nowhere
    said.map_or(0, |text| text.parse().unwrap_or(HOPS_MAX))
}

/// The group whose leader answers; `None`: any node does.
fn leaders_affair(request: &ServiceRequest, hops: u32) -> Option<(Control, GroupId)> {
    let app = request.app_data::<Data<App>>()?;
    let control = app.node.cluster()?;
    if !app.forwards || hops >= HOPS_MAX {
        return None;
    }
    Some((control.clone(), group_of(request)?))
}

/// The group whose leader is asked: of a stream type that is not here, or not yet, who leads the meta group knows. It stays the one that
/// was asked when the type's own group begins meanwhile, under whatever leader.
fn asked_of(control: &Control, group: &GroupId) -> GroupId {
    if control.groups().get(group).is_some() { group.clone() } else { GroupId::Meta }
}

fn who_answers(control: &Control, group: &GroupId) -> Answers {
    let status = control.groups().get(group).map_or_else(|| control.meta_status(), |group| group.status());
    let Some((leader, _)) = status.leader else { return Answers::Nobody };
    if leader == control.node() {
        return Answers::Here;
    }
    http_of(control, leader).map_or(Answers::Nobody, |address| Answers::There(leader, address))
}

fn http_of(control: &Control, node: u64) -> Option<String> {
    control.entry(node).map(|entry| entry.facts.addresses.http)
}

/// Appends, and what the node that compacts does. Reads are answered by any node: it asks the leaders how far it must be.
fn group_of(request: &ServiceRequest) -> Option<GroupId> {
    let segments: Vec<&str> = request.path().trim_start_matches('/').split('/').collect();
    let reads = request.method() == Method::GET || request.method() == Method::HEAD;
    match segments.as_slice() {
        ["v1", "stores", ..] if reads => None,
        ["v1", "stores", store, "streams", stream_type, ..] => {
            let stream_type = percent_decode_str(stream_type).decode_utf8().ok()?;
            let store = percent_decode_str(store).decode_utf8().ok()?;
            Some(GroupId::Log { store: Arc::from(&*store), log: LogKey::single(&stream_type) })
        }
        ["v1", "stores", _, "events", ..]
        | ["admin", "v1", "stores", _, "compaction" | "retention" | "restore" | "redact", ..] => Some(GroupId::Meta),
        _ => None,
    }
}
