//! Whose affair a request is in a cluster, and which node that is now.

use crate::forward::HOPS_MAX;
use crate::http::call::App;
use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use actix_web::web::Data;
use percent_encoding::percent_decode_str;
use std::sync::Arc;
use strandline_consensus::control::Control;
use strandline_consensus::meta::Asked;
use strandline_consensus::{GroupId, NodeId};
use strandline_event::LogKey;

/// Whose affair a request is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Affair {
    /// The leader's of this group: appends.
    Leads(GroupId),
    /// That of the node that compacts this store.
    Compacts(String),
    /// This member's: it knows who leads a log that the asked node does not hold.
    At(NodeId),
    /// Any node's with the role `read`, of this store: it asks the leaders how far it must be. Plain subscriptions are among them: such a node follows the logs by itself.
    Reads(String),
}

/// Who answers a request.
pub(super) enum Answers {
    /// This node.
    Here,
    /// The node with this id, at this HTTP address.
    There(NodeId, String),
    /// Nobody is known yet.
    Nobody,
}

impl Affair {
    /// What is asked about: of a log that this node does not hold, or not yet, who leads the meta group knows, or a voter of it. It stays the one
    /// that was asked when the type's own group begins meanwhile, under whatever leader.
    pub(super) fn asked_of(&self, control: &Control) -> Self {
        match self {
            Self::Leads(group) if control.groups().get(group).is_none() => match control.asked_about(group) {
                Asked::Leader => Self::Leads(GroupId::Meta),
                Asked::Member(node) => Self::At(node),
                // about to be opened: then its leader is known here
                Asked::Itself => self.clone(),
            },
            same => same.clone(),
        }
    }

    /// Whose it is to answer for all logs of a store, if this node lacks some.
    pub(super) fn of_all(store: String, control: &Control) -> Option<Self> {
        control.lacks_some(&store).then(|| match control.asked_about_all(&store) {
            Asked::Member(_) => Self::Compacts(store),
            Asked::Leader | Asked::Itself => Self::Leads(GroupId::Meta),
        })
    }

    /// Who answers it now.
    pub(super) fn who_answers(&self, control: &Control) -> Answers {
        let node = match self {
            Self::Leads(group) => control.groups().get(group).and_then(|group| {
                let (leader, _) = group.status().leader?;
                // who begins to lead a log hears of the others first, and takes nothing before
                (leader != control.node() || group.takes()).then_some(leader)
            }),
            Self::Compacts(store) => control.with_state(|state| state.compactor(store)),
            Self::At(node) => Some(*node),
            Self::Reads(_) => return Answers::Here,
        };
        match node {
            None => Answers::Nobody,
            Some(node) if node == control.node() => Answers::Here,
            Some(node) => http_of(control, node).map_or(Answers::Nobody, |address| Answers::There(node, address)),
        }
    }
}

fn http_of(control: &Control, node: NodeId) -> Option<String> {
    control.entry(node).map(|entry| entry.facts.addresses.http)
}

/// Whose affair a request is; `None`: the asked node's.
pub(super) fn affair_of(request: &ServiceRequest, hops: u32) -> Option<(Control, Affair)> {
    let app = request.app_data::<Data<App>>()?;
    let control = app.node.cluster()?;
    // what is no route says nothing of a store, and costs nobody a connection
    let is_route = request.match_pattern().is_some();
    if !app.forwards || hops >= HOPS_MAX || !is_route {
        return None;
    }
    // a HEAD that GET answers goes on as one (`http/head.rs`)
    let gets = request.method() == Method::GET;
    let buckets = |store: &str, stream_type: &str| control.with_state(|state| state.buckets_of(store, stream_type));
    let affair = of_path(request.path(), gets, &buckets)?;
    // no route reads by another method, and no read has a body
    let is_other = matches!(affair, Affair::Reads(_)) && (!gets || has_body(request));
    (!is_other).then(|| (control.clone(), affair))
}

fn has_body(request: &ServiceRequest) -> bool {
    let sized = request.headers().get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    sized || request.headers().contains_key(TRANSFER_ENCODING)
}

/// How many buckets the cluster gives a stream type of a store; `None`: this node has not heard of it.
type Buckets<'a> = &'a dyn Fn(&str, &str) -> Option<u32>;

/// Whose affair a path is. `gets`: it changes nothing.
fn of_path(path: &str, gets: bool, buckets: Buckets<'_>) -> Option<Affair> {
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let text = |segment: &str| percent_decode_str(segment).decode_utf8().ok().map(|text| text.into_owned());
    match segments.as_slice() {
        ["v1", "stores", store, "streams" | "events" | "scan" | "subscribe", ..] if gets => {
            text(store).map(Affair::Reads)
        }
        ["v1", "stores", _, "subscriptions", ..] | ["admin", "v1", "stores", _, "subscriptions", ..] => {
            Some(Affair::Leads(GroupId::Meta))
        }
        ["v1", "stores", ..] if gets => None,
        ["v1", "stores", store, "streams", stream_type, stream @ ..] => {
            let (store, stream_type) = (text(store)?, text(stream_type)?);
            let stream_id = text(stream.first().unwrap_or(&""))?;
            let log = LogKey::of_stream(&stream_type, &stream_id, buckets(&store, &stream_type).unwrap_or(1));
            Some(Affair::Leads(GroupId::Log { store: Arc::from(store), log }))
        }
        ["v1", "stores", _, "events", ..] => Some(Affair::Leads(GroupId::Meta)),
        ["admin", "v1", "stores", store, "compaction" | "retention" | "restore" | "redact", ..] => {
            text(store).map(Affair::Compacts)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_whose_affair_it_is() {
        let buckets = |store: &str, stream_type: &str| (store == "s" && stream_type == "Many").then_some(100_u32);
        // of 100 buckets its stream is in this one
        let many = LogKey { stream_type: Arc::from("Many"), bucket: 92 };
        let of_many = || Some(Affair::Leads(GroupId::Log { store: Arc::from("s"), log: many.clone() }));
        let log = |name: &str| GroupId::Log { store: Arc::from("a b"), log: LogKey::single(name) };
        let reads = || Some(Affair::Reads("s".to_owned()));
        let compacts = || Some(Affair::Compacts("s".to_owned()));
        for (path, gets, affair) in [
            ("/v1/stores/s/streams/Call/1", true, reads()),
            ("/v1/stores/s/streams/Call/1/head", true, reads()),
            ("/v1/stores/s/events", true, reads()),
            ("/v1/stores/s/scan", true, reads()),
            ("/v1/stores/s/subscribe", true, reads()),
            ("/v1/stores/s/subscriptions", true, Some(Affair::Leads(GroupId::Meta))),
            ("/v1/stores/s/subscriptions/a/events", true, Some(Affair::Leads(GroupId::Meta))),
            ("/v1/stores/s/subscriptions/a/ack", false, Some(Affair::Leads(GroupId::Meta))),
            ("/v1/stores/s", true, None),
            ("/v1/stores/s/stream-types", true, None),
            ("/v1/stores/a%20b/streams/C%2Fd/1", false, Some(Affair::Leads(log("C/d")))),
            ("/v1/stores/s/streams/Many/strandline", false, of_many()),
            ("/v1/stores/s/streams/Many/%73trandline", false, of_many()),
            ("/v1/stores/s/events", false, Some(Affair::Leads(GroupId::Meta))),
            ("/admin/v1/stores/s/compaction", true, compacts()),
            ("/admin/v1/stores/s/compaction/run", false, compacts()),
            ("/admin/v1/stores/s/redact", false, compacts()),
            ("/admin/v1/stores/s/files", true, None),
            ("/admin/v1/cluster", true, None),
            ("/health", true, None),
        ] {
            assert_eq!(of_path(path, gets, &buckets), affair, "{path}");
        }
    }
}
