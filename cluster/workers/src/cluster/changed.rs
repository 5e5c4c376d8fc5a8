//! What a member says anew when it comes back: other roles than it had, and where it is now.
//!
//! Roles are changed before the node serves, and a refusal ends its start; the cluster is told an address until it knows it, while the node serves.

use super::ClusterError;
use crate::member_file::MemberFile;
use std::path::Path;
use std::time::Duration;
use strandline_consensus::control::Control;
use strandline_consensus::meta::{Command, MetaState, NodeFacts, Roles};
use strandline_consensus::stop::told;
use tokio::sync::watch;
use tokio::time::sleep;

/// Between attempts to tell the cluster where this node is now.
const READDRESS_PAUSE: Duration = Duration::from_secs(1);

/// A node that comes back does what the cluster says, unless it was told something else and the cluster agrees. The file follows.
pub(super) async fn keep_roles(
    control: &Control,
    wanted: Option<Roles>,
    member: &MemberFile,
    state: &MetaState,
    dir: &Path,
) -> Result<(), ClusterError> {
    let had = state.nodes().get(&member.node).map_or(member.roles, |entry| entry.facts.roles);
    let roles = wanted.unwrap_or(had);
    if roles != had {
        let command = Command::SetRoles { node: member.node, instance: member.instance, roles };
        control.propose(&command).await.map_err(|error| ClusterError::Roles { wanted: roles, had, error })?;
        tracing::info!("this node has had the roles {had}, and has {roles} from now on");
    }
    if roles != member.roles {
        MemberFile { roles, ..*member }.write(dir)?;
    }
    Ok(())
}

/// Tells the cluster where this node is, where that has changed, until it knows.
pub(super) async fn readdress(control: Control, facts: NodeFacts, mut stopped: watch::Receiver<bool>) {
    let telling = async {
        loop {
            if control.entry(facts.id).is_some_and(|known| known.facts.addresses == facts.addresses) {
                return;
            }
            let NodeFacts { id: node, instance, addresses, .. } = facts.clone();
            match control.propose(&Command::Readdress { node, instance, addresses }).await {
                Ok(_) => return,
                Err(error) => tracing::info!("the cluster does not know yet where this node is: {error}"),
            }
            sleep(READDRESS_PAUSE).await;
        }
    };
    tokio::select! {
        () = telling => {}
        () = told(&mut stopped) => {}
    }
}
