//! Every member looks for what was committed to a store now, instead of at its next turn: a redaction is answered when nobody shows the text
//! any more, or says who has not answered. And a node that begins to lead a log asks every member how far its readers of the store may have come, and
//! one that does not hold every log asks one that does (`meta/holding.rs`): what it assigns itself is above, so that who follows the order of the store has not
//! passed it.
//!
//! It refuses to know what is looked for: the store's part on each node says how.

use super::Control;
use super::ask::question;
use crate::fields::{FieldError, Put, Take};
use crate::join::AskKind;
use crate::transport::{BoxFuture, NodeId};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strandline_event::{LogKey, Micros};

/// Version of the body.
const VERSION: u8 = 1;
/// Time that a member has: it reads a manifest.
const WITHIN: Duration = Duration::from_secs(3);

/// A store on this node: how it looks for what others have committed.
pub trait Looks: Send + Sync + 'static {
    /// What was committed before this call is known here when it returns.
    fn look(&self) -> BoxFuture<'_, Result<(), String>>;

    /// The newest moment that readers may have passed here: of all events, or what is closed; none: it is not known here.
    fn newest(&self) -> Option<Micros> {
        None
    }

    /// The same, once everything that was committed before this call is here; none: it is not in time.
    fn newest_now(&self) -> BoxFuture<'_, Option<Micros>> {
        Box::pin(async { None })
    }

    /// Whether this node has had a log, open or not. What is not known has been.
    fn has_had(&self, _log: &LogKey) -> bool {
        true
    }

    /// Whether files hold something of a log. What is not known is there.
    fn has_files(&self, _log: &LogKey) -> bool {
        true
    }
}

/// The stores of this node, by name.
pub(super) type Lookers = Mutex<BTreeMap<String, Arc<dyn Looks>>>;

impl Control {
    /// How this node looks for what others have committed to a store.
    pub fn looks_by(&self, store: &str, how: Arc<dyn Looks>) {
        self.lookers.lock().insert(store.to_owned(), how);
    }

    /// Every other member looks now. Gives those that have not said in time that they did.
    pub async fn look_everywhere(&self, store: &str) -> Vec<NodeId> {
        let others = self.with_state(|state| self.others(state));
        let asked = self.ask_each(others, AskKind::Look, &body_of(store).0, WITHIN).await;
        let silent = asked.into_iter().filter_map(|(node, asked)| {
            let error = asked.err()?;
            tracing::warn!(node, store, "it has not said that it looked for what was committed: {error}");
            Some(node)
        });
        silent.collect()
    }

    /// The newest moment of a store's events, as a node knows it that holds every log. `None`: it does not say.
    pub async fn newest_of(&self, store: &str) -> Option<Micros> {
        self.ask_holder(AskKind::Newest, store).await
    }

    /// The same, of everything that was committed before this call.
    pub async fn newest_now_of(&self, store: &str) -> Option<Micros> {
        self.ask_holder(AskKind::NewestNow, store).await
    }

    async fn ask_holder(&self, kind: AskKind, store: &str) -> Option<Micros> {
        let node = self.holder(store)?;
        let address = self.address_of(node)?;
        let ask = question(kind, &body_of(store).0);
        let answer = self.transport().ask(node, &address, ask, WITHIN).await.ok()?;
        moment_of(&answer).ok().flatten()
    }

    /// The newest moment that readers of a store may have passed on any other member, of those that say it in time.
    pub async fn newest_everywhere(&self, store: &str, within: Duration) -> Option<Micros> {
        let others = self.with_state(|state| self.others(state));
        let asked = self.ask_each(others, AskKind::Newest, &body_of(store).0, within).await;
        asked.into_iter().filter_map(|(_, answer)| moment_of(&answer.ok()?).ok().flatten()).max()
    }

    /// The answer to another node that asks.
    pub(super) fn newest_here(&self, body: &[u8]) -> Result<Vec<u8>, String> {
        let store = store_of(body).map_err(|error| error.to_string())?;
        let how = self.lookers.lock().get(&store).cloned();
        Ok(moment_bytes(how.and_then(|how| how.newest())))
    }

    /// The same, of what is committed now.
    pub(super) async fn newest_now_here(&self, body: &[u8]) -> Result<Vec<u8>, String> {
        let store = store_of(body).map_err(|error| error.to_string())?;
        let how = self.lookers.lock().get(&store).cloned();
        let Some(how) = how else { return Ok(moment_bytes(None)) };
        Ok(moment_bytes(how.newest_now().await))
    }

    /// Looks here, asked by another node.
    pub(super) async fn look_here(&self, body: &[u8]) -> Result<Vec<u8>, String> {
        let store = store_of(body).map_err(|error| error.to_string())?;
        let how = self.lookers.lock().get(&store).cloned();
        // it opens the store later, at what is newest then
        let Some(how) = how else { return Ok(Vec::new()) };
        how.look().await.map(|()| Vec::new())
    }
}

fn body_of(store: &str) -> Put {
    let mut body = Put::of(VERSION);
    body.text(store);
    body
}

fn moment_bytes(moment: Option<Micros>) -> Vec<u8> {
    let mut out = Put::of(VERSION);
    out.moment(moment);
    out.0
}

fn moment_of(body: &[u8]) -> Result<Option<Micros>, FieldError> {
    let mut take = Take(body);
    take.version(VERSION)?;
    let moment = take.moment()?;
    take.end()?;
    Ok(moment)
}

fn store_of(body: &[u8]) -> Result<String, FieldError> {
    let mut take = Take(body);
    take.version(VERSION)?;
    let store = take.text()?.to_owned();
    take.end()?;
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_and_answered_is_read_back_and_nothing_shorter_or_longer() {
        let asked = body_of("orders").0;
        assert_eq!(store_of(&asked), Ok("orders".to_owned()));
        for moment in [None, Some(Micros(-7)), Some(Micros(1 << 50))] {
            let bytes = moment_bytes(moment);
            assert_eq!(moment_of(&bytes), Ok(moment));
            for end in 0..bytes.len() {
                assert!(moment_of(&bytes[..end]).is_err(), "cut at {end}");
            }
            assert!(moment_of(&[&bytes[..], &[0]].concat()).is_err());
            assert!(moment_of(&[&[2][..], &bytes[1..]].concat()).is_err());
        }
    }
}
