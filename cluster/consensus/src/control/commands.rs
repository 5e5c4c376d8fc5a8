//! Command ids of a whole store between nodes: the leader of a log has new ones reserved by the keeper (who leads the meta group), which settles
//! logs with their leaders. What each of them decides says `crates/engine/src/append/reservations.rs`.
//!
//! It refuses to know logs and tables: the store's part on each node says how.

use super::Control;
use super::ask::{number_bytes, number_of, question};
use super::outcome::Proposed;
use crate::fields::{FieldError, Put, Take};
use crate::join::AskKind;
use crate::meta::{Command, put_group, take_group};
use crate::transport::{BoxFuture, GroupId, NodeId};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strandline_engine::append::{Granted, Word};
use strandline_event::{LogKey, SharedBytes};
use strandline_wal::LeaderId;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Version of the bodies.
const VERSION: u8 = 1;
/// Time of a keeper: it may have to settle logs first.
const RESERVE_WITHIN: Duration = Duration::from_secs(6);
/// Time of a log's leader: what is in flight is committed, or given back.
const SETTLE_WITHIN: Duration = Duration::from_secs(4);

/// A store on this node: how it keeps command ids apart.
pub trait KeepsCommands: Send + Sync + 'static {
    /// Reserves ids for a log, while this node is the keeper.
    fn reserve(&self, log: LogKey, keys: Vec<u128>) -> BoxFuture<'_, Result<Granted, String>>;

    /// Takes no reservation by an earlier word for a log that this node leads; gives the number of the entry up to which everything is that was taken before.
    fn settle(&self, log: LogKey, before: Word) -> BoxFuture<'_, Result<u64, String>>;
}

/// Questions of one kind that wait for answers at once: an answer may take seconds, and the groups' own calls go over the same connections.
const ASKED_AT_ONCE: usize = 64;

/// The stores of this node, by name, and places for what it asks.
pub(super) struct Keepers {
    stores: Mutex<BTreeMap<String, Arc<dyn KeepsCommands>>>,
    reserving: Semaphore,
    settling: Semaphore,
}

impl Default for Keepers {
    fn default() -> Self {
        let [reserving, settling] = [0, 1].map(|_| Semaphore::new(ASKED_AT_ONCE));
        Self { stores: Mutex::default(), reserving, settling }
    }
}

impl Control {
    /// How a store of this node keeps command ids apart.
    pub fn keeps_commands_by(&self, store: &str, how: Arc<dyn KeepsCommands>) {
        self.keepers.stores.lock().insert(store.to_owned(), how);
    }

    /// Where a keeper begins, on the node that leads the meta group: a larger number each time, for whoever asks wherever. It is the number of an entry
    /// of that group, a command in nobody's name, which changes nothing.
    ///
    /// # Errors
    /// This node does not lead, or no quorum answers.
    pub async fn keeper_begins(&self, store: &str) -> Result<u64, String> {
        let (store, owner, entries) = (store.to_owned(), LeaderId::default(), Vec::new());
        // of its own entry: what is applied by then may be of a keeper that came after this one
        let numbered = self.propose_numbered(&Command::Remember { store, owner, turn: 0, entries }).await;
        numbered.map_err(|not_done| match not_done {
            Proposed::Unknown(why) => why,
            _ => "this node does not lead the cluster".to_owned(),
        })
    }

    /// Asks the keeper to reserve ids for a log.
    ///
    /// # Errors
    /// It is none, cannot tell, or cannot be reached; they may be reserved all the same.
    pub async fn reserve_commands(
        &self,
        keeper: NodeId,
        store: &str,
        log: &LogKey,
        keys: &[u128],
    ) -> Result<Granted, String> {
        let mut body = begin(store, log);
        body.count(keys.len());
        keys.iter().for_each(|key| body.u128(*key));
        let answer = self.ask_of_commands(keeper, AskKind::Reserve, &body.0, RESERVE_WITHIN).await?;
        granted_of(&answer).map_err(|error| error.to_string())
    }

    /// Asks a log's leader to take no reservation before this word any more. Gives the entry up to which everything is that it took.
    ///
    /// # Errors
    /// It does not lead, or cannot be reached.
    pub async fn settle_commands(
        &self,
        leader: NodeId,
        store: &str,
        log: &LogKey,
        before: Word,
    ) -> Result<u64, String> {
        let mut body = begin(store, log);
        body.u64(before.from);
        body.u64(before.round);
        let answer = self.ask_of_commands(leader, AskKind::Settle, &body.0, SETTLE_WITHIN).await?;
        number_of(&answer).map_err(|error| error.to_string())
    }

    async fn ask_of_commands(
        &self,
        node: NodeId,
        kind: AskKind,
        body: &[u8],
        within: Duration,
    ) -> Result<SharedBytes, String> {
        let address = self.address_of(node).ok_or_else(|| format!("where node {node} is is not known"))?;
        let places = if kind == AskKind::Reserve { &self.keepers.reserving } else { &self.keepers.settling };
        let waited = timeout(within, places.acquire()).await;
        let _place = waited.map_err(|_| "too many such questions wait")?.map_err(|error| error.to_string())?;
        let ask = question(kind, body);
        self.transport().ask(node, &address, ask, within).await.map_err(|error| error.to_string())
    }

    /// The same, asked by another node.
    pub(super) async fn reserve_here(&self, body: &[u8]) -> Result<Vec<u8>, String> {
        let (store, log, keys) = reserve_of(body).map_err(|error| error.to_string())?;
        let granted = self.keeper_of(&store)?.reserve(log, keys).await?;
        Ok(granted_bytes(&granted))
    }

    /// The same, asked by the keeper.
    pub(super) async fn settle_here(&self, body: &[u8]) -> Result<Vec<u8>, String> {
        let (store, log, before) = settle_of(body).map_err(|error| error.to_string())?;
        let number = self.keeper_of(&store)?.settle(log, before).await?;
        Ok(number_bytes(number))
    }

    fn keeper_of(&self, store: &str) -> Result<Arc<dyn KeepsCommands>, String> {
        self.keepers.stores.lock().get(store).cloned().ok_or_else(|| format!("store `{store}` is not open here"))
    }
}

fn begin(store: &str, log: &LogKey) -> Put {
    let mut out = Put::of(VERSION);
    put_group(&mut out, &GroupId::Log { store: Arc::from(store), log: log.clone() });
    out
}

fn log_of(take: &mut Take<'_>) -> Result<(Arc<str>, LogKey), FieldError> {
    take.version(VERSION)?;
    match take_group(take)? {
        GroupId::Log { store, log } => Ok((store, log)),
        GroupId::Meta => Err(FieldError::Value("the meta group has no command ids")),
    }
}

fn reserve_of(body: &[u8]) -> Result<(Arc<str>, LogKey, Vec<u128>), FieldError> {
    let mut take = Take(body);
    let (store, log) = log_of(&mut take)?;
    let keys = (0..take.count(16)?).map(|_| take.u128()).collect::<Result<_, _>>()?;
    take.end()?;
    Ok((store, log, keys))
}

fn settle_of(body: &[u8]) -> Result<(Arc<str>, LogKey, Word), FieldError> {
    let mut take = Take(body);
    let (store, log) = log_of(&mut take)?;
    let before = Word { from: take.u64()?, round: take.u64()? };
    take.end()?;
    Ok((store, log, before))
}

fn granted_bytes(granted: &Granted) -> Vec<u8> {
    let mut out = Put::of(VERSION);
    out.u64(granted.word.from);
    out.u64(granted.word.round);
    out.count(granted.taken.len());
    for (key, log) in &granted.taken {
        out.u128(*key);
        out.u32(log.bucket);
        out.text(&log.stream_type);
    }
    out.0
}

fn granted_of(body: &[u8]) -> Result<Granted, FieldError> {
    let mut take = Take(body);
    take.version(VERSION)?;
    let word = Word { from: take.u64()?, round: take.u64()? };
    let taken = |take: &mut Take<'_>| {
        let (key, bucket) = (take.u128()?, take.u32()?);
        Ok::<_, FieldError>((key, LogKey { stream_type: Arc::from(take.text()?), bucket }))
    };
    let taken = (0..take.count(24)?).map(|_| taken(&mut take)).collect::<Result<_, _>>()?;
    take.end()?;
    Ok(Granted { word, taken })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::only_whole;

    #[test]
    fn what_is_asked_and_answered_is_read_back_and_nothing_else() {
        let log = LogKey { stream_type: Arc::from("Call"), bucket: 3 };
        let word = Word { from: 7, round: 9 };
        let mut reserve = begin("orders", &log);
        reserve.count(2);
        [1u128, 5 << 100].into_iter().for_each(|key| reserve.u128(key));
        assert_eq!(reserve_of(&reserve.0), Ok((Arc::from("orders"), log.clone(), vec![1u128, 5 << 100])));
        only_whole(&reserve.0, reserve_of);
        let mut settle = begin("orders", &log);
        settle.u64(word.from);
        settle.u64(word.round);
        assert_eq!(settle_of(&settle.0), Ok((Arc::from("orders"), log.clone(), word)));
        only_whole(&settle.0, settle_of);
        for taken in [Vec::new(), vec![(1u128 << 90, log.clone()), (2, LogKey::single("Order"))]] {
            let granted = Granted { word, taken };
            let bytes = granted_bytes(&granted);
            assert_eq!(granted_of(&bytes), Ok(granted));
            only_whole(&bytes, granted_of);
        }
        let mut of_meta = Put::of(VERSION);
        put_group(&mut of_meta, &GroupId::Meta);
        assert!(log_of(&mut Take(&of_meta.0)).is_err());
    }
}
