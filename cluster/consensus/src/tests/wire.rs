//! The network of a simulated cluster: calls come late, twice or never, as the weather says.

use super::world::Luck;
use crate::transport::{BoxFuture, Call, GroupId, Member, NodeId, Rpc, Transport, TransportError};
use crate::{Group, ReadIndex};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use strandline_event::SharedBytes;

/// How badly the network behaves.
#[derive(Clone)]
pub(crate) struct Weather {
    /// From -> to: nothing gets through.
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
    /// One message in so many is lost; 0: none.
    pub(crate) loses_one_in: u64,
    /// One request in so many is carried out twice; 0: none.
    pub(crate) repeats_one_in: u64,
    pub(crate) delay_ms_max: u64,
}

impl Weather {
    /// As it is when nothing is wrong.
    pub(crate) fn fair() -> Self {
        Self { cut: BTreeSet::new(), loses_one_in: 0, repeats_one_in: 0, delay_ms_max: 5 }
    }

    fn loses(&self, luck: &Luck, from: NodeId, to: NodeId) -> bool {
        self.cut.contains(&(from, to)) || (self.loses_one_in > 0 && luck.one_in(self.loses_one_in))
    }

    fn repeats(&self, luck: &Luck) -> bool {
        self.repeats_one_in > 0 && luck.one_in(self.repeats_one_in)
    }

    fn delay(&self, luck: &Luck) -> Duration {
        let late = luck.one_in(50);
        Duration::from_millis(luck.below(self.delay_ms_max + 1) * if late { 40 } else { 1 })
    }
}

/// What a call finds.
pub(super) trait Net: Send + Sync + 'static {
    /// The dice of the run.
    fn luck(&self) -> &Luck;
    fn weather(&self) -> &Mutex<Weather>;
    /// A group at a node that runs.
    fn found(&self, node: NodeId, group: &GroupId) -> Option<Arc<Group>>;
    /// A vote is asked for.
    fn asks_for_vote(&self, _from: NodeId, _to: NodeId) {}
}

async fn delay<W: Net>(net: &W) {
    let late = net.weather().lock().delay(net.luck());
    tokio::time::sleep(late).await;
}

fn loses<W: Net>(net: &W, from: NodeId, to: NodeId) -> bool {
    net.weather().lock().loses(net.luck(), from, to)
}

async fn carry<W: Net>(net: Arc<W>, from: NodeId, to: NodeId, call: Call) -> Option<SharedBytes> {
    delay(&*net).await;
    if loses(&*net, from, to) {
        return None;
    }
    if matches!(call.rpc, Rpc::Vote) {
        net.asks_for_vote(from, to);
    }
    let group = net.found(to, &call.group)?;
    let repeats = net.weather().lock().repeats(net.luck());
    if repeats {
        let (again, body, rpc, net) = (Arc::clone(&group), call.body.clone(), call.rpc, Arc::clone(&net));
        tokio::spawn(async move {
            delay(&*net).await;
            let _ = again.serve(from, rpc, body).await;
        });
    }
    let answer = group.serve(from, call.rpc, call.body).await.ok()?;
    // who has ended meanwhile says nothing any more
    let lives = net.found(to, &call.group).is_some_and(|now| Arc::ptr_eq(&now, &group));
    delay(&*net).await;
    (lives && !loses(&*net, to, from)).then_some(answer)
}

/// Where a read of a group must be at a node, by the word of another one. Nothing: that one does not lead, or is not heard.
pub(super) async fn read_index<W: Net>(net: &W, from: NodeId, to: NodeId, group: &GroupId) -> Option<ReadIndex> {
    delay(net).await;
    if loses(net, from, to) {
        return None;
    }
    let asked = net.found(to, group)?;
    let index = asked.read_index().await.ok()?;
    let lives = net.found(to, group).is_some_and(|now| Arc::ptr_eq(&now, &asked));
    delay(net).await;
    (lives && !loses(net, to, from)).then_some(index)
}

/// The way from one process; a dead one sends nothing and gets no answer.
pub(super) struct Link<W> {
    pub(super) net: Weak<W>,
    pub(super) from: NodeId,
    pub(super) dead: Arc<AtomicBool>,
}

impl<W: Net> Transport for Link<W> {
    fn call<'a>(
        &'a self,
        node: NodeId,
        _member: &'a Member,
        call: Call,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<SharedBytes, TransportError>> {
        Box::pin(async move {
            let waited_ms = u64::try_from(deadline.as_millis()).unwrap();
            let timed_out = TransportError::TimedOut { node, waited_ms };
            let (Some(net), false) = (self.net.upgrade(), self.dead.load(Ordering::SeqCst)) else {
                tokio::time::sleep(deadline).await;
                return Err(timed_out);
            };
            match tokio::time::timeout(deadline, carry(net, self.from, node, call)).await {
                Ok(Some(answer)) if !self.dead.load(Ordering::SeqCst) => Ok(answer),
                Ok(_) => {
                    tokio::time::sleep(deadline).await;
                    Err(timed_out)
                }
                Err(_) => Err(timed_out),
            }
        })
    }
}
