//! What a node knows of its cluster: members, what it leads, how far others are behind. A node alone tells the names and no value.
//!
//! Numbers of logs are sums or maxima of a store: a series a stream type would be thousands.

use super::text::Text;
use crate::http::call::Call;
use std::collections::BTreeMap;
use strandline_consensus::control::{AWAY, Control, LEADERLESS};
use strandline_consensus::meta::{GroupId, MetaState, NodeState, Roles};

/// The logs of a store on this node.
#[derive(Default)]
struct Logs {
    all: usize,
    led: usize,
    leaderless: usize,
    ended: usize,
    term: u64,
    lag: u64,
}

pub(super) fn cluster(text: &mut Text, call: &Call) {
    let control = call.app.node.cluster();
    members(text, control);
    roles(text, control);
    compactors(text, call, control);
    let logs = control.map(logs_of).unwrap_or_default();
    type Number = fn(&Logs) -> u64;
    let numbers: [(&str, &str, Number); 6] = [
        ("cluster_logs", "Replicas of logs that this node has", |logs| logs.all as u64),
        ("cluster_logs_led", "Logs that this node leads", |logs| logs.led as u64),
        ("cluster_logs_leaderless", "Logs that have had no leader for longer than elections take", |logs| {
            logs.leaderless as u64
        }),
        ("cluster_logs_ended", "Logs that have ended on this node by themselves", |logs| logs.ended as u64),
        ("cluster_term", "The highest term among the logs: each election is a new one", |logs| logs.term),
        ("cluster_replication_lag_entries", "How many entries the follower that is most behind lacks", |logs| logs.lag),
    ];
    for (name, help, number) in numbers {
        text.head(name, help, "gauge");
        for (store, logs) in &logs {
            text.line(name, &format!("store=\"{store}\""), number(logs));
        }
    }
}

fn members(text: &mut Text, control: Option<&Control>) {
    text.head("cluster_members", "Nodes of the cluster", "gauge");
    if let Some(control) = control {
        for state in [NodeState::Joining, NodeState::Member, NodeState::Draining, NodeState::Removed] {
            let count = |meta: &strandline_consensus::meta::MetaState| {
                meta.nodes().values().filter(|entry| entry.state == state).count()
            };
            text.line("cluster_members", &format!("state=\"{}\"", state.name()), control.with_state(count));
        }
    }
    text.head(
        "cluster_members_unreachable",
        "Nodes that do not answer this one, which asks those that follow it",
        "gauge",
    );
    if let Some(control) = control {
        let away = control.silent_here().values().filter(|time| **time > AWAY).count();
        text.line("cluster_members_unreachable", "", away);
    }
    text.head("cluster_is_leader", "1 on the node that leads the meta group", "gauge");
    if let Some(control) = control {
        text.line("cluster_is_leader", "", u8::from(control.leads()));
    }
}

fn roles(text: &mut Text, control: Option<&Control>) {
    text.head("cluster_members_with_role", "Members of the cluster that have a role", "gauge");
    let counts = control.map(|control| control.with_state(members_with_roles));
    for (role, count) in counts.into_iter().flatten() {
        text.line("cluster_members_with_role", &format!("role=\"{role}\""), count);
    }
    text.head("cluster_node_role", "1 for each role that this node has", "gauge");
    let own = control.and_then(|control| control.entry(control.node()));
    for (role, has) in own.into_iter().flat_map(|entry| entry.facts.roles.named()) {
        text.line("cluster_node_role", &format!("role=\"{role}\""), u8::from(has));
    }
}

fn members_with_roles(state: &MetaState) -> [(&'static str, usize); 3] {
    let mut counts = Roles::ALL.named().map(|(role, _)| (role, 0));
    for entry in state.nodes().values().filter(|entry| entry.state == NodeState::Member) {
        counts.iter_mut().zip(entry.facts.roles.named()).for_each(|((_, count), (_, has))| *count += usize::from(has));
    }
    counts
}

/// Which node compacts: named by the meta group, and whether this one does.
fn compactors(text: &mut Text, call: &Call, control: Option<&Control>) {
    let stores: Vec<(String, Option<u64>)> = control.map_or_else(Vec::new, |control| {
        control.with_state(|state| state.stores().iter().map(|(name, store)| (name.clone(), store.compactor)).collect())
    });
    text.head("cluster_compactor", "The node that is named to compact a store; 0: none is", "gauge");
    for (store, compactor) in &stores {
        text.line("cluster_compactor", &format!("store=\"{store}\""), compactor.unwrap_or(0));
    }
    text.head("cluster_compacts", "1 where this node compacts a store: it is named, and has claimed it", "gauge");
    for served in call.app.stores().filter(|_| control.is_some()) {
        let label = format!("store=\"{}\"", served.store.name());
        text.line("cluster_compacts", &label, u8::from(served.store.compacts()));
    }
}

fn logs_of(control: &Control) -> BTreeMap<String, Logs> {
    let mut stores: BTreeMap<String, Logs> =
        control.with_state(|state| state.stores().keys().map(|name| (name.clone(), Logs::default())).collect());
    for group in control.groups().all() {
        let GroupId::Log { store, .. } = group.id() else { continue };
        let (logs, status) = (stores.entry(store.to_string()).or_default(), group.status());
        logs.all += 1;
        logs.led += usize::from(status.leader.as_ref().is_some_and(|(node, _)| *node == control.node()));
        logs.leaderless += usize::from(group.leaderless() > LEADERLESS);
        logs.ended += usize::from(group.ended().is_some());
        logs.term = logs.term.max(status.term);
        logs.lag = status.replicated.keys().map(|node| status.behind(*node)).max().unwrap_or(0).max(logs.lag);
    }
    stores
}
