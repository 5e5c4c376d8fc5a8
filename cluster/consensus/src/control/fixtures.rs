//! A cluster's state as tests of this room begin with it.

use crate::meta::{Addresses, Command, MetaState, NodeFacts, Outcome, Roles};

/// Nodes 1 to n with these roles.
pub(super) fn cluster_of(roles: &[&str]) -> MetaState {
    let mut state = MetaState::default();
    for (id, roles) in (1..).zip(roles) {
        let at = |port: u64| format!("node{id}:{port}");
        let addresses = Addresses { cluster: at(1), http: at(2), native: String::new() };
        let node = NodeFacts { id, instance: u128::from(id), roles: Roles::parse(roles).unwrap(), addresses };
        if id == 1 {
            tell(&mut state, &Command::Create { cluster: 1, replication: 3, node });
        } else {
            tell(&mut state, &Command::AddNode(node));
            tell(&mut state, &Command::Admit(id));
        }
    }
    state
}

/// What changes it.
pub(super) fn tell(state: &mut MetaState, command: &Command) {
    assert_eq!(state.apply(state.applied() + 1, command), Ok(Outcome::Changed), "{command:?}");
}
