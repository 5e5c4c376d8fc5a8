//! Appends of callers that are limited to tenants, held while moments of their log run ahead of the clock.
//!
//! Each event of a stream takes a microsecond of its own, so what comes right behind a batch would say by its moment how many events another tenant has
//! appended just now. Held are all that come, whatever would become of them, and they are judged in the order in which they came; who is not limited
//! passes. How long they wait goes by steps: it tells no number either. Their bytes are counted, so those that wait are bounded. Invariant: whoever is
//! held is judged or refused, also where the owner of the log stops.

use super::WalWorker;
use crate::clock;
use crate::error::NodeError;
use crate::fatal::EndOnPanic;
use actix::{AsyncContext, Context};
use std::collections::VecDeque;
use std::time::Duration;
use strandline_engine::append::AppendRequest;
use strandline_engine::clock::LogClock;
use strandline_event::Micros;

/// They wait by steps of so many microseconds.
const STEP_US: u64 = 10_000;
/// So often none of them passes, since others have taken more moments meanwhile, before they are refused.
const STALLED_MAX: u32 = 16;

/// Requests that wait, with what their answers go to.
pub(super) struct Held<R> {
    waiting: VecDeque<(AppendRequest, R)>,
    /// Somebody will look.
    is_timed: bool,
    /// Looks in a row at which none of them passed.
    stalled: u32,
}

impl<R> Held<R> {
    pub(super) const fn new() -> Self {
        Self { waiting: VecDeque::new(), is_timed: false, stalled: 0 }
    }

    /// Gives a request back that may be judged now; `None`: it waits.
    pub(super) fn pass(
        &mut self,
        request: AppendRequest,
        reply: R,
        clock: &LogClock,
        now: impl FnOnce() -> Micros,
    ) -> Option<(AppendRequest, R)> {
        if request.tenants.is_none() || (self.waiting.is_empty() && clock.ahead_us(now()).is_none()) {
            return Some((request, reply));
        }
        self.waiting.push_back((request, reply));
        None
    }

    /// All that wait, in their order, for who was to look.
    fn take(&mut self) -> VecDeque<(AppendRequest, R)> {
        self.is_timed = false;
        self.give_up()
    }

    /// All that wait, for who does nothing of it: whoever was to look looks all the same, and nobody beside.
    fn give_up(&mut self) -> VecDeque<(AppendRequest, R)> {
        std::mem::take(&mut self.waiting)
    }

    /// In how long they are to be taken; `None`: nobody waits, or somebody looks by then.
    fn looks_again_in(&mut self, clock: &LogClock, now: Micros) -> Option<Duration> {
        if self.waiting.is_empty() || std::mem::replace(&mut self.is_timed, true) {
            return None;
        }
        let steps = clock.ahead_us(now).unwrap_or(0).div_ceil(STEP_US).max(1);
        Some(Duration::from_micros(steps.saturating_mul(STEP_US)))
    }

    /// Whether it is enough, after so many were taken and those that could not pass came back.
    fn is_stalled(&mut self, taken: usize) -> bool {
        let passed = taken == 0 || self.waiting.len() < taken;
        self.stalled = if passed { 0 } else { self.stalled + 1 };
        let is_enough = self.stalled >= STALLED_MAX;
        if is_enough {
            self.stalled = 0;
        }
        is_enough
    }
}

impl WalWorker {
    /// Those that are held are judged as soon as the clock has caught up.
    pub(super) fn let_in(&mut self, context: &mut Context<Self>) {
        let clock = self.parts.driver.log().published().clock();
        let Some(wait) = self.held.looks_again_in(clock, clock::now()) else { return };
        context.run_later(wait, |worker, context| {
            let _end = EndOnPanic("the owner of a log panicked over appends that were held");
            let held = worker.held.take();
            let taken = held.len();
            worker.take_all(held.into_iter(), context);
            if worker.held.is_stalled(taken) {
                let text = "others append more to one stream than a microsecond an event: try again";
                worker.refuse_held(|| NodeError::Overloaded(text));
            }
        });
    }

    /// Nothing is done of what is held.
    pub(super) fn refuse_held(&mut self, why: impl Fn() -> NodeError) {
        self.held.give_up().into_iter().for_each(|(_, reply)| reply.refuse(why()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use strandline_engine::clock::ClosedClocks;
    use strandline_engine::tenants::TenantScope;
    use strandline_event::{BatchBuilder, BatchUnit, EventInput, LogIndex};

    fn request(tenant: Option<&str>) -> AppendRequest {
        let mut batch = BatchBuilder::new("T", BatchUnit::Append);
        let event =
            EventInput { stream_id: "s", event_type: "E", data: "1", tenant_id: tenant, ..EventInput::default() };
        batch.push(&event).unwrap();
        let tenants = tenant.map(|tenant| Arc::new(TenantScope::new(vec![tenant.to_owned()])));
        AppendRequest { tenants, ..AppendRequest::new(batch.finish().unwrap()) }
    }

    #[test]
    fn who_is_limited_waits_for_the_clock_in_the_order_in_which_it_came() {
        let (clock, now) = (ClosedClocks::new(Micros::MIN).open_log(), Micros(1_000_000));
        let mut held = Held::new();
        let mut passes = |tenant: Option<&str>, n: u32, now: Micros| {
            held.pass(request(tenant), n, &clock, || now).is_some_and(|(_, same)| same == n)
        };
        assert!(passes(Some("a"), 1, now), "nothing is ahead");
        clock.assign(now, 49_999, LogIndex(1));
        let later = now.plus_us(49_500);
        assert!(passes(None, 2, now) && !passes(Some("a"), 3, now));
        assert!(!passes(Some("b"), 4, later), "another one waits");
        assert!(passes(None, 5, later));
        assert_eq!(held.looks_again_in(&clock, now), Some(Duration::from_millis(50)));
        assert_eq!(held.looks_again_in(&clock, now), None, "it is timed");
        let came: Vec<u32> = held.take().into_iter().map(|(_, n)| n).collect();
        assert_eq!(came, [3, 4]);
        assert_eq!(held.looks_again_in(&clock, now), None, "nobody waits");
        assert!(held.pass(request(Some("a")), 6, &clock, || later).is_some(), "the clock has caught up");
        // what is left of a step is one
        assert!(held.pass(request(Some("a")), 7, &clock, || now).is_none());
        assert_eq!(held.looks_again_in(&clock, later), Some(Duration::from_millis(10)));
    }

    #[test]
    fn one_look_at_a_time_is_to_come_also_where_what_was_held_is_refused() {
        let (clock, now) = (ClosedClocks::new(Micros::MIN).open_log(), Micros(1_000_000));
        clock.assign(now, 49_999, LogIndex(1));
        let mut held = Held::new();
        for n in 0..3 {
            assert!(held.pass(request(Some("a")), n, &clock, || now).is_none());
            let first = (n == 0).then_some(Duration::from_millis(50));
            assert_eq!(held.looks_again_in(&clock, now), first, "the first look still comes");
            assert_eq!(held.give_up().len(), 1);
        }
        assert!(held.pass(request(Some("a")), 3, &clock, || now).is_none());
        assert_eq!(held.take().len(), 1);
        assert!(held.pass(request(Some("a")), 4, &clock, || now).is_none());
        assert!(held.looks_again_in(&clock, now).is_some(), "that was the look");
    }

    #[test]
    fn who_is_held_does_not_wait_for_ever() {
        let mut held: Held<()> = Held::new();
        held.waiting.push_back((request(Some("a")), ()));
        for _ in 1..STALLED_MAX {
            assert!(!held.is_stalled(1));
        }
        assert!(held.is_stalled(1));
        assert!(!held.is_stalled(2), "one of them has passed");
        assert!(!held.is_stalled(1));
    }
}
