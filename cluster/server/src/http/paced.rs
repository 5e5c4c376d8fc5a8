//! An answer whose length nobody knows beforehand (a scan), as its client takes it: who is too slow gets no more of it, and what it held
//! (files, a place among the readers) is given back.
//!
//! Only the time counts in which it was the client's turn. The connection asks for a piece when it has room, and never again if the client
//! takes nothing, so a task looks at the clock.

use crate::stall::{Patience, Taking};
use crate::task::{Tied, look_again};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::poll_fn;
use parking_lot::Mutex;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// The pieces as they are made, how the client takes them, and since when the next one waits for it.
struct Giving {
    pieces: Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>,
    taking: Taking,
    since: Option<Instant>,
}

/// `None`: its client was too slow.
type Shared = Arc<Mutex<Option<Giving>>>;

/// The same pieces, until the client is too slow; then an error, which breaks the connection: nobody takes a part for the whole.
pub(crate) fn paced(
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    patience: Patience,
) -> impl Stream<Item = io::Result<Bytes>> {
    let giving = Giving { pieces: Box::pin(pieces), taking: Taking::begin(patience), since: None };
    let shared: Shared = Arc::new(Mutex::new(Some(giving)));
    let watch = watch(&shared, patience);
    poll_fn(move |context| {
        // it ends with the answer
        let _ = &watch;
        next(&shared, context)
    })
}

fn next(shared: &Shared, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
    let mut held = shared.lock();
    let Some(giving) = &mut *held else { return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into()))) };
    if let Some(since) = giving.since.take() {
        giving.taking.waited(since.elapsed());
    }
    let polled = giving.pieces.as_mut().poll_next(context);
    if let Poll::Ready(Some(Ok(bytes))) = &polled {
        giving.taking.gave(bytes.len());
        giving.since = Some(Instant::now());
    }
    polled
}

/// Takes back what a client that is too slow holds.
fn watch(shared: &Shared, patience: Patience) -> Tied<()> {
    let shared = Arc::downgrade(shared);
    look_again(move || look(&shared.upgrade()?, patience))
}

/// When to look again; what is late is taken back.
fn look(shared: &Shared, patience: Patience) -> Option<Instant> {
    let (mut held, now) = (shared.lock(), Instant::now());
    let giving = held.as_ref()?;
    let Some(since) = giving.since else { return Some(now + patience.stall) };
    let late = since + giving.taking.patience();
    if late > now {
        return Some(late);
    }
    *held = None;
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;
    use futures_util::stream::repeat_with;
    use std::time::Duration;

    #[test]
    fn a_client_that_is_too_slow_gives_back_what_its_answer_holds() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let held = Arc::new(());
            let pieces = |held: &Arc<()>| {
                let held = Arc::clone(held);
                repeat_with(move || {
                    let _ = &held;
                    Ok(Bytes::from_static(&[7; 1024]))
                })
            };
            let patient = Patience { stall: Duration::from_secs(600), ..Patience::default() };
            let mut taken = Box::pin(paced(pieces(&held), patient));
            for _ in 0..100 {
                assert_eq!(taken.next().await.unwrap().unwrap().len(), 1024);
            }
            assert_eq!(Arc::strong_count(&held), 2);
            drop(taken);
            assert_eq!(Arc::strong_count(&held), 1);
            let hurry = Patience { stall: Duration::from_millis(1), bytes_a_second: u64::MAX };
            let mut silent = Box::pin(paced(pieces(&held), hurry));
            silent.next().await.unwrap().unwrap();
            // the answer itself is asked for nothing any more
            while Arc::strong_count(&held) > 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert!(silent.next().await.unwrap().is_err());
        });
    }
}
