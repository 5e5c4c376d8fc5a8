//! What the leader of the meta group remembers of a store's named subscriptions, with the other nodes: crates/engine/SUBSCRIPTIONS.md, section 3.
//!
//! ```text
//!  push: records ──> folded here ──> of what changed, all that there is now, in one command at a time ──> told when a quorum has it
//! ```
//!
//! One a leadership. Invariant: a later command holds at least what an earlier one did, and one that was made under another leadership, or
//! overtaken, counts nowhere; so what was answered is never taken back. A word whose command has an unknown outcome is not answered with yes, and
//! goes with the next one.

use super::file::{Outcome, SubscriptionFileError, Ticket};
use super::keeper::elsewhere;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strandline_consensus::control::{Control, ControlError};
use strandline_consensus::meta::Command;
use strandline_engine::subscribe::durable::Settings;
use strandline_engine::subscribe::record::{Folded, Record};
use strandline_event::Micros;
use strandline_keys::{KeyName, NONCE_BYTES, Purpose, StoreKeys};
use strandline_wal::LeaderId;
use tokio::sync::oneshot;

const NONCE: [u8; NONCE_BYTES] = [0; NONCE_BYTES];
const PURPOSE: Purpose<'static> = Purpose::NodeFile("subscriptions");
/// Bytes of one command, about.
const COMMAND_BYTES: usize = 1 << 20;

type Remembered = BTreeMap<String, Arc<[u8]>>;

#[derive(Default)]
struct Pending {
    folded: Folded,
    changed: BTreeSet<String>,
    waiting: Vec<oneshot::Sender<Outcome>>,
    writing: bool,
    turn: u64,
}

/// The ledger of one store under one leadership.
pub(super) struct Ledger {
    control: Control,
    store: String,
    owner: LeaderId,
    keys: Option<Arc<StoreKeys>>,
    pending: Mutex<Pending>,
}

impl Ledger {
    /// Over what was remembered when the leadership began.
    ///
    /// # Errors
    /// It cannot be read by this program, or without its keys.
    pub(super) fn open(
        control: &Control,
        store: &str,
        owner: LeaderId,
        keys: Option<&Arc<StoreKeys>>,
    ) -> Result<(Arc<Self>, Folded), String> {
        let known = control.with_state(|state| {
            state.stores().get(store).map(|store| (store.remembered_turn, store.remembered.clone()))
        });
        let (turn, remembered) = known.ok_or("the cluster has no such store")?;
        let folded = folded(&remembered, keys.map(|keys| &**keys))?;
        let pending = Mutex::new(Pending { folded: folded.clone(), turn, ..Pending::default() });
        let (control, store, keys) = (control.clone(), store.to_owned(), keys.cloned());
        Ok((Arc::new(Self { control, store, owner, keys, pending }), folded))
    }

    /// Whether nothing was ever remembered: what a node had kept while it was alone may be taken over.
    pub(super) fn is_new(&self) -> bool {
        self.pending.lock().turn == 0
    }

    /// Puts records behind all that were pushed before. Must be called on the runtime.
    pub(super) fn push(self: &Arc<Self>, records: Vec<Record>) -> Ticket {
        let (told, ticket) = oneshot::channel();
        let mut pending = self.pending.lock();
        // a word that changes nothing may repeat one that is not remembered yet
        if records.is_empty() && pending.changed.is_empty() && !pending.writing {
            return Ticket::ended(Ok(()));
        }
        for record in records {
            let name = name_of(&pending.folded, &record);
            pending.changed.extend(name);
            pending.folded.apply(record);
        }
        pending.waiting.push(told);
        if !std::mem::replace(&mut pending.writing, true) {
            // a node that stops does not wait for it: what nobody was told of may be lost
            let ledger = Arc::clone(self);
            tokio::spawn(async move { ledger.write_all().await });
        }
        Ticket::of(ticket)
    }

    async fn write_all(&self) {
        loop {
            let (turn, entries, waiting) = {
                let mut pending = self.pending.lock();
                if pending.waiting.is_empty() {
                    pending.writing = false;
                    return;
                }
                let entries = self.take_changed(&mut pending);
                pending.turn += u64::from(!entries.is_empty());
                // who waits is told when the last piece of what had changed by then is there
                let all = pending.changed.is_empty();
                (pending.turn, entries, if all { std::mem::take(&mut pending.waiting) } else { Vec::new() })
            };
            if entries.is_empty() {
                tell(waiting.into_iter(), &Ok(()));
                continue;
            }
            let names: Vec<String> = entries.iter().map(|(name, _)| name.clone()).collect();
            let command = Command::Remember { store: self.store.clone(), owner: self.owner, turn, entries };
            let outcome = self.control.propose(&command).await.map(drop);
            if let Err(error) = &outcome {
                tracing::info!(store = self.store, "what was said of named subscriptions is not remembered: {error}");
                let mut pending = self.pending.lock();
                pending.changed.extend(names);
                let also = std::mem::take(&mut pending.waiting);
                drop(pending);
                tell(waiting.into_iter().chain(also), &refused(error));
                continue;
            }
            tell(waiting.into_iter(), &Ok(()));
        }
    }

    /// What changed, as it is now, up to about a command's size.
    fn take_changed(&self, pending: &mut Pending) -> Vec<(String, Arc<[u8]>)> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while bytes < COMMAND_BYTES {
            let Some(name) = pending.changed.pop_first() else { break };
            let mut value = Vec::new();
            if let Some(kept) = pending.folded.all.get(&name) {
                kept.records(&name).for_each(|record| record.encode(&mut value));
                value = sealed(self.keys.as_deref(), &name, value);
            }
            bytes += name.len() + value.len();
            entries.push((name, Arc::from(value)));
        }
        entries
    }
}

fn tell(waiting: impl Iterator<Item = oneshot::Sender<Outcome>>, outcome: &Outcome) {
    for told in waiting {
        // who does not wait any more does not mind
        let _ = told.send(outcome.clone());
    }
}

fn refused(error: &ControlError) -> Outcome {
    match error {
        ControlError::Refused { kind: strandline_event::ErrorKind::Unavailable, .. } => elsewhere(),
        error => Err(Arc::new(SubscriptionFileError::Elsewhere(error.to_string()))),
    }
}

fn name_of(folded: &Folded, record: &Record) -> Option<String> {
    let number = match record {
        Record::Created { name, .. } => return Some(name.clone()),
        Record::Changed(number, _) | Record::Deleted(number) => *number,
    };
    folded.all.iter().find(|(_, kept)| kept.number == number).map(|(name, _)| name.clone())
}

/// Of an encrypted store: the name of a key of its own, and what was sealed by it, bound to the subscription's name.
fn sealed(keys: Option<&StoreKeys>, name: &str, plain: Vec<u8>) -> Vec<u8> {
    let Some(keys) = keys else { return plain };
    let (of_key, key) = keys.fresh(PURPOSE);
    let mut out = of_key.to_bytes().to_vec();
    out.extend(key.seal_vec(NONCE, name.as_bytes(), &plain));
    out
}

fn opened(keys: Option<&StoreKeys>, name: &str, value: &[u8]) -> Result<Vec<u8>, String> {
    let Some(keys) = keys else { return Ok(value.to_vec()) };
    let (of_key, sealed) = value.split_first_chunk().ok_or("it is too short")?;
    let key = keys.find(&KeyName::from_bytes(of_key), PURPOSE).map_err(|e| e.to_string())?;
    key.open_vec(NONCE, name.as_bytes(), sealed).map_err(|_| "it is not what was sealed under this name".to_owned())
}

/// How a subscription was made, by what is remembered of it: when, and its settings.
///
/// # Errors
/// It cannot be read by this program, or without its keys.
pub(crate) fn made(keys: Option<&StoreKeys>, name: &str, value: &[u8]) -> Result<(Micros, Settings), String> {
    match Record::decode_first(&opened(keys, name, value)?) {
        Some(Record::Created { at, settings, .. }) => Ok((at, settings)),
        _ => Err("it is of a later program, or damaged".to_owned()),
    }
}

fn folded(remembered: &Remembered, keys: Option<&StoreKeys>) -> Result<Folded, String> {
    let mut folded = Folded::default();
    for (name, value) in remembered {
        let cannot = |why: String| format!("what is remembered of subscription `{name}` cannot be read: {why}");
        let plain = opened(keys, name, value).map_err(cannot)?;
        let records = Record::decode_all(&plain);
        let records = records.ok_or_else(|| cannot("it is of a later program, or damaged".to_owned()))?;
        records.into_iter().for_each(|record| folded.apply(record));
    }
    Ok(folded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_engine::read::Filter;
    use strandline_engine::subscribe::durable::Mode;
    use strandline_engine::subscribe::record::Kept;
    use strandline_event::{EventId, Position};
    use strandline_keys::testing::store_keys;

    #[test]
    fn how_one_was_made_is_read_whatever_has_become_of_it_since() {
        let settings = Settings { filter: Filter::default(), mode: Mode::Sync, attempts_max: 5, ack_within_us: 1 };
        let at = Position { ingested_at: Micros(3), event_id: EventId([1; 16]) };
        let parked = BTreeMap::from([(at, (Micros(4), 2, "no".to_owned()))]);
        let kept = Kept { number: 7, at: Micros(1), settings: settings.clone(), done: at, parked };
        let mut plain = Vec::new();
        kept.records("a").for_each(|record| record.encode(&mut plain));
        assert_eq!(made(None, "a", &plain), Ok((Micros(1), settings.clone())));
        let keys = store_keys(1);
        let value = sealed(Some(&*keys), "a", plain.clone());
        assert_eq!(made(Some(&*keys), "a", &value), Ok((Micros(1), settings)));
        assert!(made(Some(&*keys), "b", &value).is_err() && made(None, "a", &value).is_err());
        assert!(made(None, "a", &plain[..9]).is_err() && made(None, "a", &[]).is_err());
    }

    #[test]
    fn what_is_sealed_opens_under_its_name_and_by_its_keys_alone() {
        let (keys, others) = (store_keys(1), store_keys(2));
        let plain = b"planted".to_vec();
        let value = sealed(Some(&*keys), "a", plain.clone());
        assert!(!value.windows(plain.len()).any(|part| part == plain));
        assert_eq!(opened(Some(&*keys), "a", &value).unwrap(), plain);
        assert!(opened(Some(&*keys), "b", &value).is_err(), "that of another subscription");
        assert!(opened(Some(&*others), "a", &value).is_err(), "of another store");
        assert!(opened(Some(&*keys), "a", &plain).is_err(), "in clear");
        for at in 0..value.len() {
            let mut changed = value.clone();
            changed[at] ^= 4;
            assert!(opened(Some(&*keys), "a", &changed).is_err(), "byte {at}");
            assert!(opened(Some(&*keys), "a", &value[..at]).is_err(), "cut at {at}");
        }
    }
}
