//! Any node of a cluster takes any request: what another node leads is sent there, and its answer comes back as it is.
//!
//! ```text
//!  request ──> affair_of ── no ──> routes            reads (they ask the leaders how far this node must be), health, metrics: here
//!                ├── leader of the log, or of the meta group ──> relay (HTTP/1.1, one connection, over TLS where nodes have certificates) ──> its answer
//!                ├── the node that compacts the store ────────────^
//!                └── reads, at a node without the role `read` ──> readers: one that has it; if none can be reached, who holds all logs, or here
//! ```
//!
//! A log that this node does not hold is asked for at the node that leads the meta group where that holds it, else at one of its voters
//! that can be reached (`meta/holding.rs` of the consensus crate): either sends an append on to who leads it.
//!
//! A request makes a bounded number of hops: who led a moment ago may lead no more, and two nodes may each believe in the other. It refuses to
//! send anything twice: what broke under way has an unknown outcome, and the client's command id finds it out.

mod affair;
mod readers;
mod relay;
mod still;

pub(crate) use readers::Readers;

use crate::error::ApiError;
use crate::http::call::App;
use crate::trace;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpResponse};
use affair::{Affair, Answers, affair_of};
use relay::{NotReached, Reached};
use std::fmt::Display;
use std::io;
use std::time::{Duration, Instant};
use strandline_consensus::NodeId;
use strandline_consensus::control::Control;
use strandline_event::ErrorKind;
use tracing::Instrument;

/// How often a request was sent on.
const HOPS: &str = "x-strandline-hops";
/// How often it may be.
const HOPS_MAX: u32 = 2;
/// Looks at who leads while nobody is known to, and the time between two.
const LOOKS: u32 = 80;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Looks for which the answer of the node that was asked may still come where another one does this by now: it says so itself, or answers what it has
/// done, as soon as it has heard of it.
const LOOKS_REPLACED: u32 = 40;
/// Voters of a log that are asked for who leads it, one after the other.
const VOTERS_TRIED: usize = 3;
/// How long a request waits for another node in the place of one that compacts and cannot be reached, and the time between two looks.
const REPLACED_WITHIN: Duration = Duration::from_secs(10);
const REPLACED_LOOK_EVERY: Duration = Duration::from_millis(250);

/// Answers a request here, or has it answered by the node whose affair it is.
pub(crate) async fn forward(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let hops = hops_of(&request);
    let here = |request| async { next.call(request).await.map(ServiceResponse::map_into_boxed_body) };
    let Some((control, affair)) = affair_of(&request, hops) else { return here(request).await };
    let (request, affair) = match affair {
        Affair::Reads(_) if control.reads_here() => return here(request).await,
        Affair::Reads(store) => match readers::ask_one(request, &control, hops).await {
            Ok(answered) => return Ok(answered),
            Err(request) => match Affair::of_all(store, &control) {
                Some(affair) => (request, affair),
                None => return here(request).await,
            },
        },
        affair => (request, affair),
    };
    let (asked, way) = find(&request, &affair, &control).await;
    let (node, address, reached) = match way {
        Way::Here => return here(request).await,
        Way::AtItsAdminAddress(node) => return Ok(request.into_response(at_its_admin_address(node, &asked))),
        Way::There(node, address, reached) => (node, address, reached),
    };
    let (head, payload) = request.into_parts();
    let answer = match reached {
        Ok(reached) => {
            let relaying = relay::relay(reached, &head, payload, &address, hops + 1);
            let answered = tokio::select! {
                answered = relaying.instrument(trace::forward(node, &address)) => answered,
                // where another one leads meanwhile nobody waits for long until it is known whether that one stands still
                () = answers_no_more(&control, &asked, &address) => Err(io::Error::other("another node does this by now")),
            };
            answered.unwrap_or_else(|why| lost(&address, &why))
        }
        Err(why @ NotReached::NoPlace) => {
            HttpResponse::from_error(ApiError::new(ErrorKind::Overloaded, why.to_string()))
        }
        Err(NotReached::Failed(why)) => unreachable_at(&address, &why),
    };
    Ok(ServiceResponse::new(head, answer))
}

/// What is asked about, once somebody is known who answers it, or in vain.
async fn look(affair: &Affair, control: &Control) -> Affair {
    for _ in 0..LOOKS {
        let asked = affair.asked_of(control);
        if !matches!(asked.who_answers(control), Answers::Nobody) {
            return asked;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    affair.asked_of(control)
}

/// The way to who answers a request.
enum Way {
    Here,
    /// The node with this id, which is administrated at an address that nobody else knows.
    AtItsAdminAddress(NodeId),
    /// The node with this id at this address, and a connection to it.
    There(NodeId, String, Result<Reached, NotReached>),
}

/// What is asked about, and the way to who answers it. One voter after the other, where they cannot be reached: each of them knows who leads.
async fn find(request: &ServiceRequest, affair: &Affair, control: &Control) -> (Affair, Way) {
    let mut tried = 1;
    loop {
        let asked = look(affair, control).await;
        let found = way(request, control, &asked).await;
        if tried == VOTERS_TRIED || !is_passed_by(&asked, &found) {
            return (asked, found);
        }
        tried += 1;
    }
}

/// Whether another voter is asked: nothing was sent to this one.
fn is_passed_by(asked: &Affair, found: &Way) -> bool {
    matches!((asked, found), (Affair::At(_), Way::There(_, _, Err(NotReached::Failed(_)))))
}

/// A node that compacts and is gone is replaced within seconds: until then the request waits.
async fn way(request: &ServiceRequest, control: &Control, asked: &Affair) -> Way {
    let Some(app) = request.app_data::<Data<App>>() else { return Way::Here };
    let until = Instant::now() + REPLACED_WITHIN;
    loop {
        let Answers::There(node, address) = asked.who_answers(control) else { return Way::Here };
        if is_of_its_admin_address(request) {
            return Way::AtItsAdminAddress(node);
        }
        let to = relay::To { node, address: &address, certificates: app.certificates.clone() };
        let reached = relay::reach(&to, &app.outgoing).await;
        let is_away = matches!(reached, Err(NotReached::Failed(_)));
        if !is_away || !matches!(asked, Affair::Compacts(_)) || Instant::now() >= until {
            return Way::There(node, address, reached);
        }
        tokio::time::sleep(REPLACED_LOOK_EVERY).await;
    }
}

/// Responses keep the error that they say: who may be told less is told less of it (`access/guard.rs`).
fn lost(address: &str, why: &dyn Display) -> HttpResponse {
    let text = format!(
        "the outcome is unknown: the answer of the node at {address} was lost ({why}); a retry with the same command id finds out where the store keeps \
         command ids (id.command_id.unique_scope); elsewhere read before you send it again"
    );
    HttpResponse::from_error(ApiError::new(ErrorKind::Unavailable, text).with("outcome", "unknown"))
}

fn unreachable_at(address: &str, why: &dyn Display) -> HttpResponse {
    let text = format!(
        "the node that does this, at {address}, cannot be reached ({why}): nothing was done; try again in a moment"
    );
    HttpResponse::from_error(ApiError::new(ErrorKind::NotLeader, text))
}

fn at_its_admin_address(node: NodeId, asked: &Affair) -> HttpResponse {
    let does = match asked {
        Affair::Compacts(_) => "compacts this store",
        _ => "leads the cluster, keeps its named subscriptions",
    };
    let text = format!(
        "node {node} {does} and answers this, at its own --admin address, which no other node knows: ask there; nothing was done here"
    );
    HttpResponse::from_error(ApiError::new(ErrorKind::NotLeader, text).with("leader", node))
}

/// Whether nodes are administrated at addresses of their own, which no other node knows.
fn is_of_its_admin_address(request: &ServiceRequest) -> bool {
    request.path().starts_with("/admin/")
        && request.app_data::<Data<App>>().is_some_and(|app| app.addresses.admin.is_some())
}

async fn answers_no_more(control: &Control, asked: &Affair, address: &str) {
    let mut looks = 0;
    while looks < LOOKS_REPLACED {
        looks = match asked.who_answers(control) {
            // nobody yet: it may be the one that was asked
            Answers::Nobody => 0,
            Answers::There(_, now) if now == address => 0,
            Answers::There(..) | Answers::Here => looks + 1,
        };
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn hops_of(request: &ServiceRequest) -> u32 {
    let said = request.headers().get(HOPS).and_then(|value| value.to_str().ok());
    // what is no number was not sent by a node: it goes nowhere
    said.map_or(0, |text| text.parse().unwrap_or(HOPS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_consensus::GroupId;

    #[test]
    fn a_voter_that_cannot_be_reached_is_passed_by_and_nobody_else() {
        let away =
            || Way::There(2, "n2:7070".to_owned(), Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()));
        assert!(is_passed_by(&Affair::At(2), &away()));
        let full = Way::There(2, "n2:7070".to_owned(), Err(NotReached::NoPlace));
        assert!(!is_passed_by(&Affair::At(2), &full) && !is_passed_by(&Affair::At(2), &Way::Here));
        assert!(!is_passed_by(&Affair::Leads(GroupId::Meta), &away()));
    }

    #[test]
    fn a_caller_that_is_limited_to_tenants_can_be_told_less_of_a_lost_answer() {
        let answer = lost("10.0.0.7:7070", &"broken pipe");
        let error = answer.error().and_then(|error| error.as_error::<ApiError>()).unwrap();
        assert!(error.to_json().to_string().contains("10.0.0.7"));
        let told = error.for_tenants().to_json().to_string();
        assert!(!told.contains("10.0.0.7") && told.contains("unknown"), "{told}");
    }
}
