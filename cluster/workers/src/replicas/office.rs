//! What the leader of the meta group does for a store beside its logs: it keeps the named subscriptions.
//!
//! That takes every log, and so do command ids that are unique in the whole store. Of a store with neither it says, where the fewest follow, that the
//! voters of the meta group need not hold the logs; it says the contrary before the first subscription is made, and waits until they are here.

use super::{CLAIM_WITHIN, NEW_TYPE_WITHIN, PAUSE, StoreReplicas};
use crate::error::NodeError;
use strandline_consensus::meta::Command;
use strandline_deql::CommandScope;
use tokio::time::{Instant, sleep};

impl StoreReplicas {
    /// Takes the subscriptions over where this node has begun to lead, and lets them go where it leads no more.
    pub(super) fn keep_subscriptions(&self) {
        let (desk, office) = (&self.parts.subscriptions, self.parts.control.office());
        if office == desk.office() {
            return;
        }
        let Some(office) = office else {
            desk.leave_office(None);
            return;
        };
        if desk.office().is_none() && !self.is_spared() && !self.has_opened_all() {
            // a log that is opened later would count as closed up to what the others are, and its events there be given to nobody; of a store that
            // is spared there are no subscriptions
            return;
        }
        match desk.take_office(&self.parts.control, office) {
            Ok(()) => tracing::info!(
                store = self.name(),
                term = office.term,
                "this node keeps the named subscriptions from now on"
            ),
            Err(why) => {
                tracing::error!(store = self.name(), "the named subscriptions cannot be kept: {why}");
                desk.leave_office(Some(office));
            }
        }
    }

    /// Who leads keeps them, or is about to.
    pub(crate) async fn keeps_subscriptions(&self) -> Result<(), NodeError> {
        let until = Instant::now() + CLAIM_WITHIN;
        while !self.parts.subscriptions.is_here() {
            if !self.parts.control.leads() || Instant::now() >= until {
                return Err(self.led_elsewhere());
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    fn is_spared(&self) -> bool {
        self.parts.control.with_state(|state| state.is_spared(self.name()))
    }

    /// Says that the logs of this store are not needed where the meta group is led, if that is so and nothing else was said.
    pub(super) async fn spare(&self) {
        let (name, scope) = (self.name(), self.parts.store.config().id.command_id_unique_scope);
        if scope == CommandScope::Store || !self.parts.control.with_state(|state| state.may_spare(name)) {
            return;
        }
        let command = Command::Keep { store: name.to_owned(), keeps: false };
        if let Err(error) = self.parts.control.propose(&command).await {
            // the next look says it again
            tracing::debug!(store = name, "its logs are still held where the cluster is led: {error}");
        }
    }

    /// Whoever keeps subscriptions is about to make one: every log is here when this returns.
    pub(crate) async fn need_all(&self) -> Result<(), NodeError> {
        let until = Instant::now() + NEW_TYPE_WITHIN;
        if !self.parts.control.with_state(|state| state.is_kept(self.name())) {
            let command = Command::Keep { store: self.name().to_owned(), keeps: true };
            self.parts.control.propose(&command).await?;
        }
        while !(self.is_whole() && self.has_opened_all()) {
            if !self.parts.control.leads() || Instant::now() >= until {
                return Err(self.led_elsewhere());
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// The node that leads the meta group is to be asked.
    pub(crate) fn led_elsewhere(&self) -> NodeError {
        self.not_leader(self.meta_leader())
    }
}
