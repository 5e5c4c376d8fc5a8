//! The global order on a node where others lead: quiet logs are closed here as far as their leaders say, while somebody follows the store.
//!
//! ```text
//!  an event is visible above what a quiet log is closed to  ->  its leader says what it has closed  ->  whatever log began before that is open here
//!                                                                                                       (the meta group says which)  ->  closed here
//! ```
//!
//! Without it an event of one log would wait for the next one of every other. Its questions are bounded: a thousand a second, about one log each.
//!
//! Who reads the order once has the leaders asked before (`confirm`), and once more where events came meanwhile. It asks again where a quiet log is closed too low
//! all the same: its leader's clock is behind and has not heard of the newest event, or it begins to lead in this moment. A log whose group is being made is closed by who makes it; where
//! that one is away, by each node for itself.

use super::{CONFIRM_WITHIN, StoreReplicas};
use crate::clock;
use crate::error::NodeError;
use crate::subscriptions::Closes;
use futures_util::future::join_all;
use std::sync::Weak;
use std::time::Duration;
use strandline_consensus::{BoxFuture, GroupId, Leadership};
use strandline_event::{LogKey, Micros};
use tokio::time::{Instant, sleep, timeout};

/// Time between two rounds of questions, for each log that is asked about.
const PAUSE_A_LOG: Duration = Duration::from_millis(1);
/// The same for who reads the order once.
const PAUSE: Duration = Duration::from_millis(5);
/// A log that has had no event for so long is quiet. Of one that has the order ends before what is on its way, and nobody waits for that.
const QUIET_US: i64 = 100_000;
/// How long nobody has led a log that nothing is stored in yet, until no leader is waited for: who shall make its group is away.
const UNMADE_FOR: Duration = Duration::from_secs(3);

/// A store's answer to who follows it.
pub(super) struct ClosesUp(pub(super) Weak<StoreReplicas>);

impl Closes for ClosesUp {
    fn is_whole(&self) -> bool {
        self.0.upgrade().is_none_or(|replicas| replicas.is_whole())
    }

    fn is_held_back(&self) -> bool {
        self.0.upgrade().is_some_and(|replicas| !replicas.holding_back().is_empty())
    }

    fn check_open(&self, stream_type: Option<&str>) -> Result<(), NodeError> {
        self.0.upgrade().map_or(Ok(()), |replicas| replicas.check_open(stream_type))
    }

    fn close_up(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // a store that was closed is followed by nobody
            if let Some(replicas) = self.0.upgrade() {
                replicas.close_up().await;
            }
        })
    }
}

impl StoreReplicas {
    /// Logs that other nodes lead, and that are closed here below what is visible of others.
    fn holding_back(&self) -> Vec<LogKey> {
        self.closed_below(self.parts.store.closed().newest(), Micros(i64::MAX))
    }

    /// Those that are closed here below a moment and have had no event since another one.
    fn closed_below(&self, moment: Micros, since: Micros) -> Vec<LogKey> {
        let mut held = Vec::new();
        for log in self.parts.store.logs() {
            let its = log.published().clock();
            if !its.leads() && its.seen() <= since && its.close(moment) < moment {
                held.push(log.key.clone());
            }
        }
        held
    }

    async fn close_up(&self) {
        let held = self.holding_back();
        if !held.is_empty() && self.may_ask(held.len()) {
            self.close_at_leaders(held).await;
        }
    }

    /// What is visible here by now is in the order that is read next.
    pub(super) async fn close_quiet(&self) {
        let closed = self.parts.store.closed();
        let newest = closed.newest();
        let closing = async {
            // what came while leaders were asked before is above what they were asked for: all once more, then the quiet ones
            let mut since = Micros(i64::MAX);
            // it does not fall again, whatever log is opened before the read
            while closed.close() < newest {
                let held = self.closed_below(newest, since);
                if held.is_empty() {
                    return;
                }
                if since < Micros(i64::MAX) {
                    sleep(PAUSE).await;
                }
                self.close_at_leaders(held).await;
                since = clock::now().plus_us(-QUIET_US);
            }
        };
        // a log that nobody can close in time does not keep from reading what is before
        let _ = timeout(CONFIRM_WITHIN, closing).await;
    }

    /// Closes logs as far as their leaders say.
    async fn close_at_leaders(&self, held: Vec<LogKey>) {
        let (newest, wanted) = (self.parts.store.closed().newest(), self.wanted());
        let asked = held.into_iter().map(|log| async move {
            let moment = if self.is_unmade(&log) { None } else { self.closed_by_leader(&log).await };
            (log, moment)
        });
        let closed = join_all(asked).await;
        // a log of which nothing is known here yet may have events below these moments: it must hold the order back first
        if self.try_confirm(&GroupId::Meta).await.is_err() || !self.has_all_logs() {
            return;
        }
        let closed = closed.into_iter().filter_map(|(log, moment)| {
            let moment = moment.or_else(|| self.is_unmade(&log).then_some(newest))?;
            Some((log, moment))
        });
        self.closed_elsewhere(closed, wanted);
    }

    /// Whether nothing is stored in a log yet, as far as this node knows of the cluster, and nobody has led it for a while. Who leads it first assigns as
    /// every new leader does.
    fn is_unmade(&self, log: &LogKey) -> bool {
        let nobody_leads = self.group(log).is_some_and(|group| group.leaderless() >= UNMADE_FOR);
        nobody_leads && !self.may_hold(log)
    }

    /// The moment up to which the leader of a log has closed it, once everything up to there is visible here.
    async fn closed_by_leader(&self, log: &LogKey) -> Option<Micros> {
        let group = self.group(log)?;
        match group.leadership() {
            Leadership::Follows { leader: Some((node, _)) } => {
                self.reached(&self.id_of(log), &group, node).await.ok()?.closed
            }
            Leadership::Follows { leader: None } => None,
            // its owner assigns nothing yet: the group is being made
            Leadership::Leads => group.read_index().await.ok()?.closed,
        }
    }

    fn has_all_logs(&self) -> bool {
        let logs = self.logs(|log, placement| placement.is_established().then(|| log.clone()));
        logs.iter().all(|log| self.group(log).is_some())
    }

    fn may_ask(&self, logs: usize) -> bool {
        let (mut again, now) = (self.asks_again.lock(), Instant::now());
        if again.is_some_and(|again| now < again) {
            return false;
        }
        *again = Some(now + PAUSE_A_LOG * u32::try_from(logs).unwrap_or(u32::MAX));
        true
    }
}
