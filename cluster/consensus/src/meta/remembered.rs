//! What the leader of the meta group remembers of named subscriptions: bytes by name, which it alone may change.
//!
//! Its entries alone count, so nobody else's, and a turn that was overtaken changes nothing: a node that lost its office, and a command that was
//! long under way, take nothing back.

use super::limits;
use super::refusal::Refusal;
use super::state::{Applied, MetaState, Outcome, text};
use super::types::{Office, StoreEntry};
use std::collections::BTreeMap;
use std::sync::Arc;

type Values = BTreeMap<String, Arc<[u8]>>;

fn bytes(values: &Values) -> usize {
    values.iter().map(|(name, value)| name.len() + value.len()).sum()
}

impl MetaState {
    pub(super) fn remember(&mut self, store: &str, turn: u64, entries: &[(String, Arc<[u8]>)], index: u64) -> Applied {
        let others = |(name, of): (&String, &StoreEntry)| if name == store { 0 } else { bytes(&of.remembered) };
        let elsewhere: usize = self.stores.iter().map(others).sum();
        let entry = self.stores.get_mut(store).ok_or_else(|| Refusal::UnknownStore(store.to_owned()))?;
        if turn <= entry.remembered_turn {
            return Ok(Outcome::AsBefore);
        }
        let mut values = entry.remembered.clone();
        for (name, value) in entries {
            if name.is_empty() || name.len() > limits::TEXT_BYTES_MAX {
                return Err(text(name, "the name of a subscription", "1 to 256 bytes"));
            }
            if value.is_empty() {
                values.remove(name);
            } else {
                values.insert(name.clone(), Arc::clone(value));
            }
        }
        check(entries, &values, elsewhere)?;
        (entry.remembered, entry.remembered_turn) = (values, turn);
        if entry.office == Office::Spared && !entry.remembered.is_empty() {
            // who gives their events reads every log
            entry.office = Office::Kept;
            self.settle_in(index);
        }
        Ok(Outcome::Changed)
    }
}

fn check(entries: &[(String, Arc<[u8]>)], values: &Values, elsewhere: usize) -> Result<(), Refusal> {
    let remedy = "delete subscriptions, or let their parked events be processed";
    let too_many = |what, limit| Err(Refusal::TooMany { what, limit, remedy });
    if values.len() > limits::REMEMBERED_MAX {
        return too_many("named subscriptions in a store", limits::REMEMBERED_MAX);
    }
    if entries.iter().any(|(_, value)| value.len() > limits::REMEMBERED_BYTES_MAX) {
        return too_many("bytes of one named subscription", limits::REMEMBERED_BYTES_MAX);
    }
    let here = bytes(values);
    if here > limits::REMEMBERED_STORE_BYTES_MAX {
        return too_many("bytes of a store's named subscriptions", limits::REMEMBERED_STORE_BYTES_MAX);
    }
    if here + elsewhere > limits::REMEMBERED_ALL_BYTES_MAX {
        return too_many("bytes of named subscriptions", limits::REMEMBERED_ALL_BYTES_MAX);
    }
    Ok(())
}
