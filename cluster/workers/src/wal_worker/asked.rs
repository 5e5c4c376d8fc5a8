//! What others ask of the owner of a log besides appends: how far it is, and that it ends.
//!
//! Who waits is told once what it asked about is durable and answered, or was given back; a worker that stops has nothing in flight.

use super::WalWorker;
use crate::error::NodeError;
use crate::fatal::EndOnPanic;
use crate::messages::{Abandon, Compacted, DecideInFlight, FinishInFlight, Seal, StopLog};
use actix::{ActorContext, Handler, ResponseFuture};
use strandline_event::LogIndex;
use tokio::sync::oneshot;

impl WalWorker {
    /// Told when everything that is accepted by now is durable, or was given back.
    fn in_flight_ends(&mut self) -> oneshot::Receiver<LogIndex> {
        let (waiter, finished) = oneshot::channel();
        self.waiting.push((self.parts.driver.last_accepted(), waiter));
        self.wake();
        finished
    }
}

impl Handler<Seal> for WalWorker {
    type Result = ResponseFuture<LogIndex>;

    fn handle(&mut self, _: Seal, context: &mut Self::Context) -> Self::Result {
        let _end = EndOnPanic("the owner of a log panicked over a seal");
        let last = self.parts.driver.seal();
        let (waiter, sealed) = oneshot::channel();
        self.waiting.push((last, waiter));
        self.go_on(context);
        self.wake();
        // a worker that stops has nothing in flight
        Box::pin(async move { sealed.await.unwrap_or(last) })
    }
}

impl Handler<FinishInFlight> for WalWorker {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: FinishInFlight, _: &mut Self::Context) -> Self::Result {
        let _end = EndOnPanic("the owner of a log panicked over what it has in flight");
        let finished = self.in_flight_ends();
        // a worker that stops has nothing in flight
        Box::pin(async move { drop(finished.await) })
    }
}

impl Handler<DecideInFlight> for WalWorker {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: DecideInFlight, _: &mut Self::Context) -> Self::Result {
        let _end = EndOnPanic("the owner of a log panicked over what it has proposed");
        let (finished, replica) = (self.in_flight_ends(), self.parts.io.replica.clone());
        Box::pin(async move {
            drop(finished.await);
            if let Some(replica) = replica {
                replica.decided().await;
            }
        })
    }
}

impl Handler<Compacted> for WalWorker {
    type Result = ();

    fn handle(&mut self, message: Compacted, context: &mut Self::Context) {
        let _end = EndOnPanic("the owner of a log panicked after a compaction");
        self.parts.driver.compacted(message.through, message.settled);
        self.trim();
        self.go_on(context);
        self.let_go(context);
    }
}

impl Handler<StopLog> for WalWorker {
    type Result = ResponseFuture<LogIndex>;

    fn handle(&mut self, _: StopLog, context: &mut Self::Context) -> Self::Result {
        let _end = EndOnPanic("the owner of a log panicked while it stopped");
        let last = self.parts.driver.durable();
        self.refuse_held(|| NodeError::Draining);
        let (waiter, stopped) = oneshot::channel();
        self.stopping = Some(waiter);
        self.go_on(context);
        Box::pin(async move { stopped.await.unwrap_or(last) })
    }
}

impl Handler<Abandon> for WalWorker {
    type Result = ();

    fn handle(&mut self, _: Abandon, context: &mut Self::Context) {
        self.refuse_held(|| NodeError::Draining);
        context.terminate();
    }
}
