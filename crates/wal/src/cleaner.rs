//! What takes long and no commit waits for, in a thread beside that of a disk's commits: unlinking trimmed segments, letting go of
//! the last handles of their files, which is when a file system gives the blocks back, and zeros for the next segment of a busy log.
//!
//! Invariant: a segment to remove comes here when the frame that says "purged" is durable, so its removal may come late, or never: the next
//! start removes what is left.

use crate::at_disk::{AtDisk, END_PATIENCE};
use crate::buffer::AlignedBuf;
use crate::files::{FILL_STEP_BYTES, LogFiles, lacks_descriptor};
use crate::io::{AbortOnPanic, FatalIo, OnFatal};
use crate::segment::Segment;
use crate::view::LogView;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// A piece of work.
pub(crate) enum Chore {
    /// Unlink segments of a log.
    Remove(Arc<LogFiles>, Vec<Arc<Segment>>),
    /// Write some zeros for a log's next segment.
    Fill(Arc<LogFiles>),
    /// Drop a view that readers see no more; it may hold the last handles.
    LetGo(Arc<LogView>),
    /// End, when all before is done.
    Stop,
}

/// The thread. Dropping it finishes what it was given and joins; where the disk says nothing for ten seconds, it is left behind.
pub(crate) struct Cleaner {
    chores: Sender<Chore>,
    thread: Option<JoinHandle<()>>,
    at_disk: Arc<AtDisk>,
    patience: Duration,
}

impl Cleaner {
    pub(crate) fn start(on_fatal: OnFatal) -> io::Result<Self> {
        // not bounded: a trim now and then gives it something
        let (chores, receiver) = channel();
        let at_disk = Arc::<AtDisk>::default();
        let theirs = Arc::clone(&at_disk);
        let body = move || {
            let _guard = AbortOnPanic;
            work(&receiver, &on_fatal, &theirs);
            theirs.ended();
        };
        let thread = std::thread::Builder::new().name("strandline-log-clean".into()).spawn(body)?;
        Ok(Self { chores, thread: Some(thread), at_disk, patience: END_PATIENCE })
    }

    /// Where to give it work.
    pub(crate) fn chores(&self) -> Sender<Chore> {
        self.chores.clone()
    }

    /// Its end waits for nothing that the disk does not end.
    #[cfg(test)]
    pub(crate) fn impatient(mut self) -> Self {
        self.patience = Duration::ZERO;
        self
    }
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        // a thread that is gone already needs no stop
        let _ = self.chores.send(Chore::Stop);
        let Some(thread) = self.thread.take() else { return };
        if self.at_disk.ends_unless_kept_for(self.patience) {
            let _ = thread.join();
        } else {
            tracing::warn!(
                "the disk of the logs gives no answer: what the next start removes as well is not waited for"
            );
        }
    }
}

fn work(chores: &Receiver<Chore>, on_fatal: &OnFatal, at_disk: &AtDisk) {
    let mut zeros = None;
    for chore in chores {
        let _stay = at_disk.stay();
        match chore {
            Chore::Remove(files, gone) => {
                for segment in &gone {
                    files.remove(segment);
                    at_disk.answers();
                }
                drop(gone);
                match files.sync_removals() {
                    Err(error) if !lacks_descriptor(&error) => {
                        on_fatal(&FatalIo { dir: files.dir.clone(), action: "background", error });
                    }
                    _ => {}
                }
            }
            Chore::Fill(files) => {
                let zeros = zeros.get_or_insert_with(|| AlignedBuf::zeroed(FILL_STEP_BYTES));
                if let Err(error) = files.fill_ahead(zeros) {
                    on_fatal(&FatalIo { dir: files.dir.clone(), action: "background", error });
                }
            }
            Chore::LetGo(view) => drop(view),
            Chore::Stop => return,
        }
    }
}
