//! A command on its way to the meta group's leader, wherever that is.
//!
//! Commands may be repeated, so this is the one place that does: until an answer is certain, or the time is over. A node that is
//! asked on behalf of another one does it itself or says that it does not lead: a command takes one hop.

use super::ask::question;
use super::outcome::{ControlError, Proposed};
use super::{Control, PROPOSE_WITHIN, machine};
use crate::consensus::Abandoned;
use crate::join::AskKind;
use crate::machine::Payload;
use crate::meta::{Command, Outcome};
use crate::transport::{NodeId, TransportError};
use crate::types::Proposal;
use std::sync::Arc;
use std::time::Duration;
use strandline_event::SharedBytes;
use tokio::time::{Instant, sleep, timeout_at};

/// While nobody leads.
const PAUSE: Duration = Duration::from_millis(100);
/// Until what was applied is seen, or an entry of Raft's own has come in between.
const SHORT_PAUSE: Duration = Duration::from_millis(5);
/// Time of one hop: an election in between is another try.
const HOP_WITHIN: Duration = Duration::from_secs(3);

impl Control {
    /// Has a command done, by whoever leads.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn propose(&self, command: &Command) -> Result<Outcome, ControlError> {
        let until = Instant::now() + PROPOSE_WITHIN;
        let mut open = None;
        loop {
            let why = match self.attempt(command).await {
                Proposed::Done(outcome) => return Ok(outcome),
                Proposed::Refused { kind, text } => return Err(ControlError::Refused { kind, text }),
                Proposed::NotLeader => "its leader is being elected".to_owned(),
                Proposed::Unknown(why) => open.insert(why).clone(),
            };
            if Instant::now() + PAUSE >= until {
                return Err(open.map_or(ControlError::NoLeader(why), ControlError::Unknown));
            }
            sleep(PAUSE).await;
        }
    }

    async fn attempt(&self, command: &Command) -> Proposed {
        if self.parts.machine.next().is_some() {
            return self.propose_here(command).await;
        }
        let hint = self.may_be();
        if let Some((node, address)) = self.leader_elsewhere() {
            let told = self.ask_leader(command, node, &address).await;
            // the last leader that this node has heard of may be elsewhere by now
            let Some((any, address)) = hint.filter(|_| matches!(told, Proposed::Unknown(_))) else { return told };
            return match self.ask_leader(command, any, &address).await {
                Proposed::NotLeader | Proposed::Unknown(_) => told,
                told => told,
            };
        }
        // one that has moved is reached by nobody: it looks for the leader among those that it knows, and where it was told that one may be;
        // whichever node that is has another address by now
        let known = self.parts.transport.known().into_iter().filter(|(node, _)| *node != self.node());
        for (node, address) in hint.into_iter().chain(known) {
            match self.ask_leader(command, node, &address).await {
                Proposed::NotLeader | Proposed::Unknown(_) => {}
                told => return told,
            }
        }
        Proposed::NotLeader
    }

    async fn ask_leader(&self, command: &Command, node: NodeId, address: &str) -> Proposed {
        let ask = question(AskKind::Propose, &command.encode());
        match self.parts.transport.ask(node, address, ask, HOP_WITHIN).await {
            Ok(answer) => Proposed::decode(&answer).unwrap_or_else(|error| Proposed::Unknown(error.to_string())),
            Err(TransportError::Refused { .. } | TransportError::TooLarge { .. }) => Proposed::NotLeader,
            // it may have arrived
            Err(error) => Proposed::Unknown(error.to_string()),
        }
    }

    /// Has it done here, where this node leads.
    pub(super) async fn propose_here(&self, command: &Command) -> Proposed {
        let command = self.beside_who_is_away(command);
        match self.propose_numbered(&command).await {
            Ok(number) => self.told(number),
            Err(not_done) => not_done,
        }
    }

    /// The same; gives the number of its entry once that is applied, whatever it did. No other entry of the group has this number, and later ones
    /// have larger ones.
    pub(super) async fn propose_numbered(&self, command: &Command) -> Result<u64, Proposed> {
        let _turn = self.turn.lock().await;
        let bytes = SharedBytes::copy_aligned(&command.encode());
        let until = Instant::now() + HOP_WITHIN;
        while Instant::now() < until {
            let Some((leader, number)) = self.parts.machine.next() else { return Err(Proposed::NotLeader) };
            let payload = Payload::new(machine::SCHEMA, (self.parts.clock)(), bytes.clone());
            let proposal = Proposal { leader, number, payloads: Arc::from([payload]) };
            // without a quorum it would wait for ever
            let proposing = timeout_at(until, self.parts.meta.propose(proposal)).await;
            let late = || Err(Abandoned::Unknown("no quorum has answered in time".to_owned()));
            match proposing.unwrap_or_else(|_| late()) {
                Ok(()) => return Ok(number),
                // a membership came in between: its entry is about to be applied
                Err(Abandoned::Stale) => sleep(SHORT_PAUSE).await,
                Err(Abandoned::NotLeader { .. }) => return Err(Proposed::NotLeader),
                Err(Abandoned::Unknown(why)) => return Err(Proposed::Unknown(why)),
            }
        }
        Err(Proposed::NotLeader)
    }

    fn told(&self, number: u64) -> Proposed {
        match self.parts.machine.outcome(number) {
            Some(Ok(outcome)) => Proposed::Done(outcome),
            Some(Err(refusal)) => Proposed::Refused { kind: refusal.kind(), text: refusal.to_string() },
            None => Proposed::Unknown("its outcome is no more known here".to_owned()),
        }
    }
}
