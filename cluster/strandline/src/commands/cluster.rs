//! `strandline cluster`: changes of a cluster, asked of any of its nodes.

use crate::cli::{Cluster, OfLog, OnStore};
use crate::client::{Client, Request};
use crate::exit::Failure;
use crate::out;
use serde_json::{Value, json};

pub(crate) fn run(command: &Cluster) -> Result<(), Failure> {
    let client = Client::new(on(command))?;
    let (action, wish) = wish(command, || Ok(client.store()?.to_owned()))?;
    let (path, body) = (format!("/admin/v1/cluster/{action}"), wish.to_string());
    let request = Request { path, body: Some(body.as_bytes()), content_type: "application/json", ..Request::default() };
    let answer = client.send(&request)?.ok()?;
    out::line(match answer.json()["changed"].as_bool() {
        Some(false) => "it was so already",
        _ => "done: what has to move moves from now on, until `strandline status` shows it settled",
    })
}

const fn on(command: &Cluster) -> &OnStore {
    match command {
        Cluster::Drain(of) | Cluster::Undrain(of) | Cluster::Remove(of) => &of.on,
        Cluster::Replace(of) => &of.on,
        Cluster::Move(of) => &of.on,
        Cluster::Lead(of) => &of.on,
        Cluster::Replication(of) => &of.on,
        Cluster::Followers(of) => &of.on,
    }
}

/// The action, and its body. `store`: whose log it is, where it is one of a store.
fn wish(command: &Cluster, store: impl FnOnce() -> Result<String, Failure>) -> Result<(&'static str, Value), Failure> {
    Ok(match command {
        Cluster::Drain(of) => ("drain", json!({ "node": of.node })),
        Cluster::Undrain(of) => ("undrain", json!({ "node": of.node })),
        Cluster::Remove(of) => ("remove", json!({ "node": of.node })),
        Cluster::Replace(of) => ("replace", json!({ "lost": of.lost, "with": of.with })),
        Cluster::Move(of) => {
            ("move", of_log(json!({ "from": of.from, "to": of.to, "lead": of.lead }), &of.log, store)?)
        }
        Cluster::Lead(of) => ("lead", of_log(json!({ "node": of.node }), &of.log, store)?),
        Cluster::Replication(of) => ("replication", json!({ "replicas": of.replicas })),
        Cluster::Followers(of) => ("followers", json!({ "who": of.who })),
    })
}

fn of_log(mut wish: Value, log: &OfLog, store: impl FnOnce() -> Result<String, Failure>) -> Result<Value, Failure> {
    if let Some(stream_type) = &log.stream_type {
        wish["store"] = json!(store()?);
        wish["stream_type"] = json!(stream_type);
        wish["bucket"] = json!(log.bucket.unwrap_or(0));
    }
    Ok(wish)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn told(line: &str) -> (&'static str, Value) {
        let line = ["strandline", "cluster"].into_iter().chain(line.split(' '));
        let Command::Cluster(command) = Cli::try_parse_from(line).unwrap().command else { panic!("another command") };
        wish(&command, || Ok("orders".to_owned())).unwrap()
    }

    #[test]
    fn every_command_is_a_request() {
        for (line, action, body) in [
            ("drain --node 3", "drain", json!({ "node": 3 })),
            ("undrain --node 3", "undrain", json!({ "node": 3 })),
            ("remove --node 3", "remove", json!({ "node": 3 })),
            ("replace --lost 3 --with 4", "replace", json!({ "lost": 3, "with": 4 })),
            (
                "move --stream-type Order --bucket 2 --from 1 --to 4 --lead",
                "move",
                json!({ "store": "orders", "stream_type": "Order", "bucket": 2, "from": 1, "to": 4, "lead": true }),
            ),
            ("move --from 1 --to 4", "move", json!({ "from": 1, "to": 4, "lead": false })),
            (
                "lead --stream-type Order --node 2",
                "lead",
                json!({ "store": "orders", "stream_type": "Order", "bucket": 0, "node": 2 }),
            ),
            ("lead", "lead", json!({ "node": null })),
            ("replication --replicas 5", "replication", json!({ "replicas": 5 })),
            ("followers --who needed", "followers", json!({ "who": "needed" })),
            ("followers --who fewest", "followers", json!({ "who": "fewest" })),
        ] {
            assert_eq!(told(line), (action, body), "{line}");
        }
    }
}
