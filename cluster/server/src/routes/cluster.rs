//! The cluster as operators see and change it: members, roles, shards, leaders, lag.
//!
//! Every node answers with what it knows: the state of the meta group as it has applied it, and of the groups that it is part of. A change
//! goes to the leader of the meta group, wherever that is.

use crate::error::{ApiError, ApiResult};
use crate::http::call::Call;
use crate::http::{answer, body};
use crate::routes::no_query;
use crate::routes::stores::SMALL_BODY_BYTES_MAX;
use actix_web::HttpResponse;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use strandline_consensus::control::{AWAY, Control, Waits};
use strandline_consensus::meta::{
    Command, Followers, GroupId, MetaState, NodeId, NodeState, Outcome, Placement, Roles, StoreEntry,
};
use strandline_consensus::{Group, GroupStatus};
use strandline_event::{ErrorKind, LogKey};

/// What a path may ask for.
const ACTIONS: &str = "drain, undrain, remove, replace, move, lead, replication, followers";

fn control(call: &Call) -> ApiResult<Control> {
    let control = call.app.node.cluster().cloned();
    control.ok_or_else(|| ApiError::not_supported("this node runs alone: there is no cluster to ask or change"))
}

/// GET /admin/v1/cluster
pub(crate) async fn status(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    let control = control(&call)?;
    let silent = control.silent().await;
    Ok(answer::ok(&cluster_json(&control, &silent)))
}

/// The cluster as this node knows it; `silent`: for how long nodes have not answered.
pub(crate) fn cluster_json(control: &Control, silent: &BTreeMap<NodeId, Duration>) -> Value {
    let state = control.state();
    let seen: BTreeMap<GroupId, GroupStatus> = control
        .groups()
        .all()
        .iter()
        .map(|group: &std::sync::Arc<Group>| (group.id().clone(), group.status()))
        .collect();
    let shards: Vec<Value> = state
        .groups()
        .iter()
        .map(|(id, placement)| shard(&state, id, placement, seen.get(id), control.waits_for(id)))
        .collect();
    json!({
        "cluster": format!("{:032x}", control.cluster()),
        "node": control.node(),
        "replication": state.cluster().map(|cluster| cluster.replication),
        "followers": state.cluster().map(|cluster| cluster.followers.name()),
        "members": members(&state, &seen, silent),
        "shards": shards,
        "stores": stores(&state),
    })
}

fn members(
    state: &MetaState,
    seen: &BTreeMap<GroupId, GroupStatus>,
    silent: &BTreeMap<NodeId, Duration>,
) -> Vec<Value> {
    let now = strandline_workers::clock::now();
    let away = |node: NodeId| {
        let time = silent.get(&node).filter(|time| **time > AWAY)?;
        Some(now.plus_us(-i64::try_from(time.as_micros()).unwrap_or(i64::MAX)).to_string())
    };
    let holds = |node: NodeId| state.groups().values().filter(|placement| placement.holds(node)).count();
    let follows = |node: NodeId| state.groups().values().filter(|placement| placement.learners.contains(&node)).count();
    let leads =
        |node: NodeId| seen.values().filter(|status| status.leader.as_ref().is_some_and(|(id, _)| *id == node)).count();
    let row = |entry: &strandline_consensus::meta::NodeEntry| {
        let facts = &entry.facts;
        json!({
            "id": facts.id,
            "state": entry.state.name(),
            "roles": facts.roles.to_string(),
            "address": facts.addresses.cluster,
            "http": facts.addresses.http,
            "native": Some(&facts.addresses.native).filter(|address| !address.is_empty()),
            "votes_in": holds(facts.id),
            "follows": follows(facts.id),
            "leads": leads(facts.id),
            "away_since": away(facts.id).filter(|_| entry.state != NodeState::Removed),
        })
    };
    state.nodes().values().map(row).collect()
}

fn stores(state: &MetaState) -> Vec<Value> {
    let row = |(name, store): (&String, &StoreEntry)| {
        let roles = store.compactor.and_then(|node| state.nodes().get(&node)).map(|entry| entry.facts.roles);
        json!({ "name": name, "version": store.version, "compactor": store.compactor, "compacts_as": roles.map(compacts_as) })
    };
    state.stores().iter().map(row).collect()
}

/// What makes a node compact: its role alone, among others, or that nobody with the role answered.
const fn compacts_as(roles: Roles) -> &'static str {
    match (roles.compact, roles.ingest) {
        (true, false) => "compactor",
        (true, true) => "member",
        (false, _) => "stand-in",
    }
}

fn shard(
    state: &MetaState,
    id: &GroupId,
    placement: &Placement,
    seen: Option<&GroupStatus>,
    waits: Option<Waits>,
) -> Value {
    let (store, stream_type, bucket) = match id {
        GroupId::Meta => (None, None, None),
        GroupId::Log { store, log } => (Some(&**store), Some(&*log.stream_type), Some(log.bucket)),
    };
    // only a leader knows how far its followers are
    let lag = seen.map(|status| {
        let behind = |through: &Option<u64>| status.last.unwrap_or(0).saturating_sub(through.unwrap_or(0));
        status
            .replicated
            .iter()
            .map(|(node, through)| (node.to_string(), json!(behind(through))))
            .collect::<serde_json::Map<_, _>>()
    });
    json!({
        "name": id.to_string(),
        "store": store,
        "stream_type": stream_type,
        "bucket": bucket,
        "voters": placement.voters,
        "learners": placement.learners,
        "leaving": placement.leaving,
        "settled": placement.is_settled(),
        "waits_for": waits.map(|waits| json!({ "node": waits.node, "why": waits.why })),
        "epoch": placement.epoch,
        "shall_lead": placement.leads,
        "compactor": store.and_then(|store| state.compactor(store)),
        "here": seen.is_some(),
        "leader": seen.and_then(|status| status.leader.as_ref().map(|(node, _)| *node)),
        "term": seen.map(|status| status.term),
        "applied": seen.and_then(|status| status.applied),
        "lag": lag,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfNode {
    node: NodeId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfTwo {
    lost: NodeId,
    with: NodeId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfShard {
    /// Without these three: the meta group.
    store: Option<String>,
    stream_type: Option<String>,
    bucket: Option<u32>,
    from: NodeId,
    to: NodeId,
    /// `to` leads from then on.
    #[serde(default)]
    lead: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfLeader {
    /// As of a move.
    store: Option<String>,
    stream_type: Option<String>,
    bucket: Option<u32>,
    /// Null, which must be said: whoever is elected.
    #[serde(deserialize_with = "Option::deserialize")]
    node: Option<NodeId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfReplicas {
    replicas: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfFollowers {
    who: String,
}

/// POST /admin/v1/cluster/{action}
pub(crate) async fn change(call: Call) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    let (control, action) = (control(&call)?, call.segment(3)?);
    body::require_json_or_form(&call.request)?;
    let permits = call.app.node.permits();
    let body =
        body::read(&call.request, call.payload, permits, "a change of the cluster", SMALL_BODY_BYTES_MAX).await?;
    let outcome = match command(&action, &body.bytes)? {
        Command::Remove(node) => control.remove(node).await,
        command => control.propose(&command).await,
    };
    let outcome = outcome.map_err(|error| ApiError::new(error.kind(), error.to_string()))?;
    Ok(answer::ok(&json!({ "changed": outcome == Outcome::Changed })))
}

/// The command that a request means.
fn command(action: &str, body: &[u8]) -> ApiResult<Command> {
    let node = || parsed::<OfNode>(action, body, r#"{"node": 3}"#).map(|of| of.node);
    Ok(match action {
        "drain" => Command::Drain(node()?),
        "undrain" => Command::Undrain(node()?),
        "remove" => Command::Remove(node()?),
        "replace" => {
            let of: OfTwo = parsed(action, body, r#"{"lost": 3, "with": 4}"#)?;
            Command::Replace { lost: of.lost, with: of.with }
        }
        "move" => {
            let form = r#"{"store": "orders", "stream_type": "Order", "bucket": 0, "from": 1, "to": 4, "lead": true}"#;
            let of: OfShard = parsed(action, body, form)?;
            let group = group_of(action, form, (of.store, of.stream_type), of.bucket)?;
            let (from, to) = (of.from, of.to);
            if of.lead { Command::MoveLead { group, from, to } } else { Command::Move { group, from, to } }
        }
        "lead" => {
            let form = r#"{"store": "orders", "stream_type": "Order", "bucket": 0, "node": 2}"#;
            let of: OfLeader = parsed(action, body, form)?;
            Command::Lead { group: group_of(action, form, (of.store, of.stream_type), of.bucket)?, node: of.node }
        }
        "replication" => Command::SetReplication(parsed::<OfReplicas>(action, body, r#"{"replicas": 3}"#)?.replicas),
        "followers" => Command::Follow(followers(action, body)?),
        "add" => {
            let text = "a node adds itself: start it with `serve --node-id N --cluster ADDR --join ADDR`, the address of any member";
            return Err(ApiError::bad_request(text));
        }
        _ => {
            let text = format!("there is no action `{action}`: POST /admin/v1/cluster/{{action}} takes {ACTIONS}");
            return Err(ApiError::new(ErrorKind::NotFound, text));
        }
    })
}

fn followers(action: &str, body: &[u8]) -> ApiResult<Followers> {
    let of: OfFollowers = parsed(action, body, r#"{"who": "fewest"}"#)?;
    Followers::named(&of.who).ok_or_else(|| {
        let known = Followers::EACH.map(Followers::name).join(", ");
        ApiError::bad_request(format!("{action} takes {{\"who\": \"fewest\"}}: who follows is one of {known}"))
    })
}

fn group_of(
    action: &str,
    form: &str,
    named: (Option<String>, Option<String>),
    bucket: Option<u32>,
) -> ApiResult<GroupId> {
    match named {
        (None, None) if bucket.is_none() => Ok(GroupId::Meta),
        (Some(store), Some(name)) => {
            let log = LogKey { stream_type: name.into(), bucket: bucket.unwrap_or(0) };
            Ok(GroupId::Log { store: store.into(), log })
        }
        _ => Err(ApiError::bad_request(format!("a {action} names a store and a stream type: {form}"))),
    }
}

fn parsed<T: serde::de::DeserializeOwned>(action: &str, body: &[u8], form: &str) -> ApiResult<T> {
    body::parsed(body, &format!("{action} takes {form}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(action: &str, body: &str) -> Result<Command, (ErrorKind, String)> {
        command(action, body.as_bytes()).map_err(|error| (error.kind(), error.message().to_owned()))
    }

    #[test]
    fn every_action_is_a_command() {
        let log = LogKey { stream_type: "Order".into(), bucket: 2 };
        let group = GroupId::Log { store: "orders".into(), log };
        for (action, body, command) in [
            ("drain", r#"{"node": 3}"#, Command::Drain(3)),
            ("undrain", r#"{"node": 3}"#, Command::Undrain(3)),
            ("remove", r#"{"node": 3}"#, Command::Remove(3)),
            ("replace", r#"{"lost": 3, "with": 4}"#, Command::Replace { lost: 3, with: 4 }),
            (
                "move",
                r#"{"store": "orders", "stream_type": "Order", "bucket": 2, "from": 1, "to": 4}"#,
                Command::Move { group: group.clone(), from: 1, to: 4 },
            ),
            (
                "move",
                r#"{"store": "orders", "stream_type": "Order", "bucket": 2, "from": 1, "to": 4, "lead": true}"#,
                Command::MoveLead { group: group.clone(), from: 1, to: 4 },
            ),
            (
                "lead",
                r#"{"store": "orders", "stream_type": "Order", "bucket": 2, "node": 4}"#,
                Command::Lead { group, node: Some(4) },
            ),
            ("lead", r#"{"node": null}"#, Command::Lead { group: GroupId::Meta, node: None }),
            ("move", r#"{"from": 1, "to": 4}"#, Command::Move { group: GroupId::Meta, from: 1, to: 4 }),
            ("replication", r#"{"replicas": 5}"#, Command::SetReplication(5)),
            ("followers", r#"{"who": "needed"}"#, Command::Follow(Followers::Needed)),
            ("followers", r#"{"who": "all"}"#, Command::Follow(Followers::All)),
            ("followers", r#"{"who": "fewest"}"#, Command::Follow(Followers::Fewest)),
        ] {
            assert_eq!(told(action, body), Ok(command), "{action} {body}");
        }
    }

    #[test]
    fn a_request_that_is_no_action_says_what_is() {
        for (action, body, kind, said) in [
            ("drain", "{}", ErrorKind::BadRequest, r#"drain takes {"node": 3}"#),
            ("drain", r#"{"node": 3, "now": true}"#, ErrorKind::BadRequest, "unknown field"),
            ("move", r#"{"store": "s", "from": 1, "to": 2}"#, ErrorKind::BadRequest, "names a store and a stream type"),
            ("lead", r#"{"store": "s", "node": 1}"#, ErrorKind::BadRequest, "names a store and a stream type"),
            ("lead", r#"{"store": "s", "stream_type": "T"}"#, ErrorKind::BadRequest, "missing field `node`"),
            ("followers", r#"{"who": "some"}"#, ErrorKind::BadRequest, "one of all, needed, fewest"),
            ("followers", r#"{"who": 3}"#, ErrorKind::BadRequest, r#"followers takes {"who": "fewest"}"#),
            ("add", "{}", ErrorKind::BadRequest, "--join"),
            ("grow", "{}", ErrorKind::NotFound, "replication"),
        ] {
            let (found, text) = told(action, body).unwrap_err();
            assert!(found == kind && text.contains(said), "{action}: {text}");
        }
    }
}
