//! What a node is, by its data folder and its options: a decision table.
//!
//! An existing folder wins: it says which node this is, and of which cluster; an option that says otherwise is refused, never
//! followed.
//!
//! | folder | --cluster | --join | --node-id | |
//! |---|---|---|---|---|
//! | any but a member's | no | no | no | a node alone |
//! | any | no | one of them | | refused: both need --cluster |
//! | a member's | no | no | no | refused: say where its listener is |
//! | empty | yes | no | none: 1 | makes a cluster |
//! | a node's alone | yes | no | none, or its own | makes a cluster, with its log as it is |
//! | | | | another | refused |
//! | a joining node's | yes | no | | refused: it has no log, and no cluster yet |
//! | | yes | yes | none, or its own | joins, as the node that it was |
//! | empty | yes | yes | given | joins |
//! | | | | none | refused |
//! | a node's alone | yes | yes | | refused: its log is no other's |
//! | a member's | yes | either | none, or its own | the member that it is (--join is where it looks for the others first) |
//! | | | | another | refused |

use crate::transport::NodeId;

/// What a data folder says of its node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Folder {
    /// Nothing: it is new.
    Empty,
    /// A node has begun to join a cluster and was not let in yet.
    Joining {
        /// Its id.
        node: NodeId,
    },
    /// It belongs to a node alone.
    Alone {
        /// Its id.
        node: NodeId,
    },
    /// It belongs to a member of a cluster.
    Member {
        /// Its id.
        node: NodeId,
        /// The cluster.
        cluster: u128,
    },
}

/// What the command line says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StartFlags {
    /// --node-id
    pub node_id: Option<NodeId>,
    /// --cluster
    pub cluster: Option<String>,
    /// --join
    pub join: Option<String>,
}

/// What the node is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Membership {
    /// Alone.
    Alone,
    /// The first of a new cluster.
    Creates {
        /// Its id.
        node: NodeId,
        /// Its folder holds the log of a node alone: the durable store need not be empty.
        has_log: bool,
    },
    /// A new one of a cluster that is there.
    Joins {
        /// Its id.
        node: NodeId,
        /// Where to ask.
        at: String,
    },
    /// One that has been in before.
    Is {
        /// Its id.
        node: NodeId,
        /// Its cluster.
        cluster: u128,
    },
}

/// Options that do not go with each other, or with the folder.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StartRefused {
    /// Without the address of its listener.
    #[error("{0} is an option of a cluster: give --cluster ADDR too, where other nodes reach this one")]
    NeedsCluster(&'static str),
    /// A member started as if it were alone.
    #[error(
        "the data directory belongs to node {node} of cluster {cluster:032x}: start it with --cluster ADDR; its log is the cluster's, \
         a node alone must not write to it"
    )]
    IsMember {
        /// The node.
        node: NodeId,
        /// The cluster.
        cluster: u128,
    },
    /// Another id than the folder's.
    #[error(
        "the data directory belongs to node {folder}, --node-id says {given}: leave --node-id out, or use the directory of node {given}"
    )]
    OtherId {
        /// The folder's.
        folder: NodeId,
        /// The option's.
        given: NodeId,
    },
    /// A folder with a log of its own.
    #[error(
        "the data directory belongs to a node alone (id {0}) whose log no other cluster knows: join with an empty --data-dir, or leave \
         --join out to make a cluster of it"
    )]
    JoinsWithLog(NodeId),
    /// A folder that was not let in yet.
    #[error(
        "the data directory belongs to node {0}, which has begun to join a cluster: give --cluster and --join again, or remove the directory"
    )]
    StillJoining(NodeId),
    /// No id.
    #[error("a node that joins needs --node-id N: a number from 1 that no node of the cluster has or had")]
    NeedsId,
    /// Nodes are numbered from 1.
    #[error("0 is no node id: give --node-id a number from 1")]
    Zero,
}

/// What a node is. See the table above.
///
/// # Errors
/// [`StartRefused`]: nothing has been touched.
pub fn start(folder: Folder, flags: &StartFlags) -> Result<Membership, StartRefused> {
    if flags.node_id == Some(0) {
        return Err(StartRefused::Zero);
    }
    if flags.cluster.is_none() {
        return match (&flags.join, flags.node_id, folder) {
            (Some(_), _, _) => Err(StartRefused::NeedsCluster("--join")),
            (None, Some(_), _) => Err(StartRefused::NeedsCluster("--node-id")),
            (None, None, Folder::Member { node, cluster }) => Err(StartRefused::IsMember { node, cluster }),
            (None, None, Folder::Joining { node }) => Err(StartRefused::StillJoining(node)),
            (None, None, Folder::Empty | Folder::Alone { .. }) => Ok(Membership::Alone),
        };
    }
    let own = |folder: NodeId| match flags.node_id {
        Some(given) if given != folder => Err(StartRefused::OtherId { folder, given }),
        _ => Ok(folder),
    };
    match (folder, &flags.join) {
        (Folder::Member { node, cluster }, _) => Ok(Membership::Is { node: own(node)?, cluster }),
        (Folder::Empty, None) => Ok(Membership::Creates { node: flags.node_id.unwrap_or(1), has_log: false }),
        (Folder::Alone { node }, None) => Ok(Membership::Creates { node: own(node)?, has_log: true }),
        (Folder::Empty, Some(at)) => match flags.node_id {
            Some(node) => Ok(Membership::Joins { node, at: at.clone() }),
            None => Err(StartRefused::NeedsId),
        },
        (Folder::Alone { node }, Some(_)) => Err(StartRefused::JoinsWithLog(node)),
        (Folder::Joining { node }, None) => Err(StartRefused::StillJoining(node)),
        (Folder::Joining { node }, Some(at)) => Ok(Membership::Joins { node: own(node)?, at: at.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table, written out once more by its rows.
    fn wanted(folder: Folder, cluster: bool, join: bool, id: Option<NodeId>) -> Result<Membership, &'static str> {
        use Folder::{Alone, Empty, Joining, Member};
        match (folder, cluster, join, id) {
            (_, _, _, Some(0)) => Err("from 1"),
            (_, false, true, _) => Err("--join is an option of a cluster"),
            (_, false, false, Some(_)) => Err("--node-id is an option of a cluster"),
            (Member { .. }, false, false, None) => Err("must not write to it"),
            (Joining { .. }, false, false, None) | (Joining { .. }, true, false, _) => Err("has begun to join"),
            (Joining { .. }, true, true, None | Some(7)) => Ok(Membership::Joins { node: 7, at: "a:1".into() }),
            (Joining { .. }, true, true, Some(_)) => Err("leave --node-id out"),
            (_, false, false, None) => Ok(Membership::Alone),
            (Empty, true, false, id) => Ok(Membership::Creates { node: id.unwrap_or(1), has_log: false }),
            (Alone { .. }, true, false, None | Some(7)) => Ok(Membership::Creates { node: 7, has_log: true }),
            (Alone { .. }, true, false, Some(_)) => Err("leave --node-id out"),
            (Empty, true, true, Some(node)) => Ok(Membership::Joins { node, at: "a:1".into() }),
            (Empty, true, true, None) => Err("needs --node-id"),
            (Alone { .. }, true, true, _) => Err("empty --data-dir"),
            (Member { .. }, true, _, None | Some(7)) => Ok(Membership::Is { node: 7, cluster: 5 }),
            (Member { .. }, true, _, Some(_)) => Err("leave --node-id out"),
        }
    }

    #[test]
    fn every_row_of_the_table_holds() {
        let folders = [
            Folder::Empty,
            Folder::Joining { node: 7 },
            Folder::Alone { node: 7 },
            Folder::Member { node: 7, cluster: 5 },
        ];
        for folder in folders {
            for (cluster, join) in [(false, false), (false, true), (true, false), (true, true)] {
                for node_id in [None, Some(0), Some(7), Some(8)] {
                    let flags = StartFlags {
                        node_id,
                        cluster: cluster.then(|| "c:1".to_owned()),
                        join: join.then(|| "a:1".to_owned()),
                    };
                    match (start(folder, &flags), wanted(folder, cluster, join, node_id)) {
                        (Ok(is), Ok(wanted)) => assert_eq!(is, wanted, "{folder:?} {flags:?}"),
                        (Err(refused), Err(said)) => {
                            assert!(refused.to_string().contains(said), "{folder:?} {flags:?}: {refused}");
                        }
                        (is, wanted) => panic!("{folder:?} {flags:?}: {is:?}, not {wanted:?}"),
                    }
                }
            }
        }
    }
}
