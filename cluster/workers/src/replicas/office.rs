//! What the leader of the meta group does for a store beside its logs: it keeps the named subscriptions.

use super::{CLAIM_WITHIN, PAUSE, StoreReplicas};
use crate::error::NodeError;
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
        if desk.office().is_none() && !self.has_opened_all() {
            // a log that is opened later would count as closed up to what the others are, and its events there be given to nobody
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

    /// The node that leads the meta group is to be asked.
    pub(crate) fn led_elsewhere(&self) -> NodeError {
        self.not_leader(self.meta_leader())
    }
}
