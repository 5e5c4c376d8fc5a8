//! Where what is said of named subscriptions is kept before anybody is told: a node alone has a file, in a cluster the leader of the meta group
//! remembers it with the others ([`ledger`](super::ledger)).

use super::file::{Outcome, SubscriptionFile, SubscriptionFileError, Ticket};
use super::ledger::Ledger;
use std::sync::Arc;
use strandline_engine::subscribe::durable::{PARKED_MAX, PARKED_MAX_CLUSTER};
use strandline_engine::subscribe::record::Record;

/// Keeps records.
#[derive(Clone)]
pub(super) enum Keeper {
    /// The file of a node alone.
    File(Arc<SubscriptionFile>),
    /// The cluster, as long as this node leads it.
    Cluster(Arc<Ledger>),
    /// Another node of the cluster.
    Elsewhere,
}

impl Keeper {
    /// Puts records behind all that were pushed before. Must be called on the runtime.
    pub(super) fn push(&self, records: Vec<Record>) -> Ticket {
        match self {
            Self::File(file) => file.push(records),
            Self::Cluster(ledger) => ledger.push(records),
            Self::Elsewhere => Ticket::ended(elsewhere()),
        }
    }

    /// Events of one subscription that may be parked.
    pub(super) const fn parked_max(&self) -> usize {
        match self {
            Self::File(_) => PARKED_MAX,
            Self::Cluster(_) | Self::Elsewhere => PARKED_MAX_CLUSTER,
        }
    }
}

pub(super) fn elsewhere() -> Outcome {
    Err(Arc::new(SubscriptionFileError::Elsewhere("another node keeps them by now: come again".to_owned())))
}
