//! What this node answers to others about the cluster, and whom it lets in.

use super::Control;
use super::admitting::is_member;
use super::health::REMOVED;
use super::outcome::{ControlError, Proposed};
use crate::join::{AskKind, Join, Offer, OfferedStore, Place, Proof, check_proof, offer_store};
use crate::meta::{Command, NodeEntry, NodeState, Refusal};
use crate::net::{Ask, Asker, Hear};
use crate::transport::{BoxFuture, GroupId};
use strandline_durable::objects::NodeProbe;

/// Joining nodes whose probes are remembered.
const OFFERS_MAX: usize = 64;

impl Hear for Control {
    fn admits(&self, asker: Asker) -> Result<(), String> {
        self.parts.machine.with(|state| match state.nodes().get(&asker.node) {
            Some(entry) if entry.state == NodeState::Removed => Err(format!(
                "node {} {REMOVED} and is never let in again: join with an empty --data-dir under a new --node-id",
                asker.node
            )),
            Some(entry) if entry.facts.instance != asker.instance => {
                Err(format!("node id {} belongs to another data directory", asker.node))
            }
            // one that this node has not heard of yet: it may be behind
            _ => Ok(()),
        })
    }

    fn knows(&self, asker: Asker) -> bool {
        self.is_known(asker) || self.vouched.is_member(asker)
    }

    fn takes_part(&self, asker: Asker, group: &GroupId) -> Result<(), String> {
        self.part_of(asker, group)
    }

    fn came(&self, asker: Asker) {
        self.lives.came(asker);
    }

    fn left(&self, asker: Asker) {
        self.lives.left(asker);
    }

    fn ask(&self, asker: Asker, ask: Ask) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        Box::pin(async move {
            let is_ours = asker.cluster != 0 && asker.cluster == self.cluster();
            match AskKind::from_u8(ask.kind) {
                Some(AskKind::Join) => self.offer(asker, &ask.body).await,
                Some(AskKind::Prove) => self.prove(asker, &ask.body).await,
                Some(_) if !is_ours => Err("only nodes of this cluster may ask that".to_owned()),
                Some(AskKind::Propose) => {
                    let command = Command::decode(&ask.body).map_err(|error| error.to_string())?;
                    self.hear_address(asker, &command);
                    let leads = self.parts.machine.next().is_some();
                    if leads {
                        self.is_member(asker)?;
                    }
                    Ok(if leads { self.propose_here(&command).await } else { Proposed::NotLeader }.encode())
                }
                Some(kind) => {
                    self.part_of(asker, &GroupId::Meta)?;
                    match kind {
                        AskKind::State => Ok(self.state().encode()),
                        AskKind::ReadIndex => self.read_index_here(&ask.body).await,
                        AskKind::TakeOver => self.take_over_here(asker.node, &ask.body).await,
                        AskKind::Silent => Ok(self.silent_bytes()),
                        AskKind::Look => self.look_here(&ask.body).await,
                        AskKind::Help => self.help_here(&ask.body).await,
                        AskKind::Reserve => self.reserve_here(&ask.body).await,
                        AskKind::Settle => self.settle_here(&ask.body).await,
                        AskKind::Newest => self.newest_here(&ask.body),
                        AskKind::NewestNow => self.newest_now_here(&ask.body).await,
                        AskKind::Lacks => self.lacks_here(asker.node, &ask.body).await,
                        AskKind::Unmade => self.unmade_here(&ask.body).await,
                        AskKind::Life => self.life_here(asker, &ask.body),
                        AskKind::Applied => self.applied_here(&ask.body).await,
                        AskKind::Progress => self.progress_here(&ask.body).await,
                        AskKind::Join | AskKind::Prove | AskKind::Propose => Err("it was answered before".to_owned()),
                    }
                }
                None => Err(format!("questions of kind {} are not known here: update this node", ask.kind)),
            }
        })
    }
}

impl Control {
    /// Who leads knows the members: nobody else has a word in what the cluster does.
    fn is_member(&self, asker: Asker) -> Result<(), String> {
        let is_one = self.parts.machine.with(|state| is_member(state, asker));
        if is_one { Ok(()) } else { Err(format!("node {} is no member of this cluster: join it first", asker.node)) }
    }

    async fn offer(&self, asker: Asker, body: &[u8]) -> Result<Vec<u8>, String> {
        let Join(facts) = Join::decode(body).map_err(|error| error.to_string())?;
        if (facts.id, facts.instance) != (asker.node, asker.instance) {
            return Err("a node joins for itself alone".to_owned());
        }
        if self.cluster() == 0 {
            return Err("this node has not joined a cluster itself yet: ask again, or ask another node".to_owned());
        }
        let node = facts.id;
        // whose folder an id is never changes, so no leader is needed to say so: the missing voter may be of just this id
        let of_another =
            |entry: &NodeEntry| entry.state != NodeState::Removed && entry.facts.instance != facts.instance;
        if self.entry(node).as_ref().is_some_and(of_another) {
            return Err(Refusal::OtherInstance(node).to_string());
        }
        self.propose(&Command::AddNode(facts)).await.map_err(|error: ControlError| error.to_string())?;
        let state = self.leaders_state().await.map_err(|error| error.to_string())?;
        let (mut stores, mut probes) = (Vec::new(), Vec::new());
        for (name, store) in state.stores() {
            let probe = NodeProbe { name: (self.parts.entropy)(), secret: (self.parts.entropy)() };
            self.at_place(name, &store.statement, move |place| offer_store(place, probe)).await?;
            probes.push(probe);
            stores.push(OfferedStore { name: name.clone(), statement: store.statement.clone(), probe: probe.name });
        }
        let mut offers = self.offers.lock();
        if offers.len() >= OFFERS_MAX {
            // they ask again
            offers.clear();
        }
        offers.insert(node, probes);
        Ok(Offer { cluster: self.cluster(), stores }.encode())
    }

    async fn prove(&self, asker: Asker, body: &[u8]) -> Result<Vec<u8>, String> {
        let proof = Proof::decode(body).map_err(|error| error.to_string())?;
        let again = || "the proof is not of the last offer: ask to join again".to_owned();
        if proof.node != asker.node {
            return Err("a node joins for itself alone".to_owned());
        }
        let known = self.entry(asker.node).or(self
            .leaders_state()
            .await
            .ok()
            .and_then(|s| s.nodes().get(&asker.node).cloned()));
        if known.is_none_or(|entry| entry.facts.instance != asker.instance) {
            return Err(again());
        }
        let probes = self.offers.lock().remove(&asker.node).ok_or_else(again)?;
        let state = self.leaders_state().await.map_err(|error| error.to_string())?;
        if probes.len() != proof.stores.len() || probes.len() != state.stores().len() {
            return Err(again());
        }
        for (((name, store), probe), proof) in state.stores().iter().zip(probes).zip(proof.stores) {
            self.at_place(name, &store.statement, move |place| check_proof(place, probe, proof)).await?;
        }
        self.propose(&Command::Admit(asker.node)).await.map_err(|error| error.to_string())?;
        Ok(Vec::new())
    }

    /// Does something at a store's durable.path, in a thread that may block.
    async fn at_place(
        &self,
        name: &str,
        statement: &str,
        what: impl FnOnce(Place<'_>) -> Result<(), crate::join::ProofError> + Send + 'static,
    ) -> Result<(), String> {
        let (places, name, statement) = (self.parts.places.clone(), name.to_owned(), statement.to_owned());
        let doing = tokio::task::spawn_blocking(move || {
            let place = places.open(&statement)?;
            let objects = (place.write)()?;
            let place = Place { store: &name, location: &place.location, objects: &*objects };
            what(place).map_err(|error| error.to_string())
        });
        doing.await.map_err(|_| "the store's durable.path could not be looked at".to_owned())?
    }
}
