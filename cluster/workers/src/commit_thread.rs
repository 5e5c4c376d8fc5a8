//! The commit thread of a store without a log: takes the groups that wait in its logs, commits them as one manifest
//! version, calls back.
//!
//! There is no timer: while one commit runs, the next groups gather. Invariant: every group that is submitted is called
//! back, once, also when the store ends.

use crate::clock;
use crate::fatal::EndOnPanic;
use crate::wiring::AliveMark;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};
use strandline_engine::append::{FilesCommitted, FilesFailed, FilesGroup};
use strandline_engine::compact::commit_groups_patiently;
use strandline_engine::store::Store;

/// Pauses between two looks at what became of a commit.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Called with what became of a group.
pub(crate) type OnCommitted = Box<dyn FnOnce(Result<FilesCommitted, FilesFailed>) + Send>;

/// A handle; the thread ends when the last one is gone and everything is called back.
#[derive(Clone)]
pub(crate) struct CommitThread(Sender<(FilesGroup, OnCommitted)>);

impl CommitThread {
    /// Starts the thread.
    pub(crate) fn start(store: Arc<Store>, alive: AliveMark) -> io::Result<Self> {
        let (sender, receiver) = channel();
        thread::Builder::new().name("commits".to_owned()).spawn(move || {
            let _alive = alive;
            let _end = EndOnPanic("the commit thread of a store panicked");
            run(&store, &receiver);
        })?;
        Ok(Self(sender))
    }

    /// Hands a group over. One group of each log at a time.
    pub(crate) fn submit(&self, group: FilesGroup, done: OnCommitted) {
        if let Err(refused) = self.0.send((group, done)) {
            // the thread only ends after its handles: it has panicked, and the process ends with it
            (refused.0.1)(Err(FilesFailed::Unknown(Arc::from("the commit thread is gone"))));
        }
    }
}

fn run(store: &Store, submitted: &Receiver<(FilesGroup, OnCommitted)>) {
    while let Ok(first) = submitted.recv() {
        let mut groups = vec![first.0];
        let mut waiting = vec![first.1];
        for (group, done) in submitted.try_iter() {
            groups.push(group);
            waiting.push(done);
        }
        let outcomes = commit_groups_patiently(store, &groups, clock::now(), &mut |tries| wait(store, tries));
        for (done, outcome) in waiting.into_iter().zip(outcomes) {
            done(outcome);
        }
    }
}

/// The object store gave no clear answer to a commit: whether to ask it again, after a pause. Appends wait meanwhile: none of them
/// could be stored, and a client that gives up may send its command again.
fn wait(store: &Store, tries: u32) -> bool {
    if tries == 1 {
        tracing::error!(store = store.name(), "the outcome of a commit is unknown: appends wait until it can be read");
    }
    let pause = PAUSE_MIN.saturating_mul(1 << tries.min(10)).min(PAUSE_MAX);
    let end = Instant::now() + pause;
    while !store.durable().is_abandoned() && Instant::now() < end {
        thread::sleep(PAUSE_MIN);
    }
    !store.durable().is_abandoned()
}
