//! Options of the commands that change a cluster.

use super::OnStore;
use clap::{Args, Subcommand};
use strandline_consensus::meta::Followers;

/// What `cluster` does.
#[derive(Subcommand, Debug)]
pub(crate) enum Cluster {
    /// Move what a node holds to others; it gets nothing new
    Drain(ClusterNode),
    /// Let a node have places again
    Undrain(ClusterNode),
    /// End the membership of a node that is drained, or votes nowhere; its id is never let in again
    Remove(ClusterNode),
    /// Put another node in every place of one that is lost
    Replace(ClusterReplace),
    /// Move the log of a stream type, or of one bucket of it, from one node to another
    Move(ClusterMove),
    /// Say which of its voters leads a log while it can be counted on
    Lead(ClusterLead),
    /// Set how many voters each log has
    Replication(ClusterReplication),
    /// Say who follows a log in which it has no vote: all members, those that need it, or the fewest
    Followers(ClusterFollowers),
}

/// One node.
#[derive(Args, Debug)]
pub(crate) struct ClusterNode {
    /// The node's id
    #[arg(long, value_name = "N", value_parser = crate::value::node_id)]
    pub(crate) node: u64,
    /// Where the server is.
    #[command(flatten)]
    pub(crate) on: OnStore,
}

/// Options of `cluster replace`.
#[derive(Args, Debug)]
pub(crate) struct ClusterReplace {
    /// The id of the node that is lost
    #[arg(long, value_name = "N", value_parser = crate::value::node_id)]
    pub(crate) lost: u64,
    /// The id of the one that takes its place
    #[arg(long, value_name = "N", value_parser = crate::value::node_id)]
    pub(crate) with: u64,
    /// Where the server is.
    #[command(flatten)]
    pub(crate) on: OnStore,
}

/// Which log.
#[derive(Args, Debug)]
pub(crate) struct OfLog {
    /// The stream type (without: the log of the cluster itself, `meta`)
    #[arg(long)]
    pub(crate) stream_type: Option<String>,
    /// The bucket of a stream type that has several
    #[arg(long, requires = "stream_type", value_parser = crate::value::whole::<u32>(0..=u64::from(u32::MAX)))]
    pub(crate) bucket: Option<u32>,
}

/// Options of `cluster move`.
#[derive(Args, Debug)]
pub(crate) struct ClusterMove {
    /// Which log.
    #[command(flatten)]
    pub(crate) log: OfLog,
    /// The node whose place it is
    #[arg(long, value_name = "N", value_parser = crate::value::node_id)]
    pub(crate) from: u64,
    /// The node that gets it
    #[arg(long, value_name = "N", value_parser = crate::value::node_id)]
    pub(crate) to: u64,
    /// The node that gets it leads the log; one that votes in it already leads it from then on
    #[arg(long)]
    pub(crate) lead: bool,
    /// Where the server is.
    #[command(flatten)]
    pub(crate) on: OnStore,
}

/// Options of `cluster lead`.
#[derive(Args, Debug)]
pub(crate) struct ClusterLead {
    /// Which log.
    #[command(flatten)]
    pub(crate) log: OfLog,
    /// The node that shall lead (without: whichever is elected)
    #[arg(long, value_name = "N", value_parser = crate::value::node_id)]
    pub(crate) node: Option<u64>,
    /// Where the server is.
    #[command(flatten)]
    pub(crate) on: OnStore,
}

/// Options of `cluster replication`.
#[derive(Args, Debug)]
pub(crate) struct ClusterReplication {
    /// Voters of each log
    #[arg(long, value_name = "N", value_parser = crate::value::whole::<u8>(1..=7))]
    pub(crate) replicas: u8,
    /// Where the server is.
    #[command(flatten)]
    pub(crate) on: OnStore,
}

/// Options of `cluster followers`.
#[derive(Args, Debug)]
pub(crate) struct ClusterFollowers {
    /// Every member, or those that need them, or also fewer of the voters of `meta` (all nodes must know the word)
    #[arg(long, value_name = "WHO", value_parser = Followers::EACH.map(Followers::name))]
    pub(crate) who: String,
    /// Where the server is.
    #[command(flatten)]
    pub(crate) on: OnStore,
}
