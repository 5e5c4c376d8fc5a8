//! Looks now and then whether the folders of a store's files and manifests are there, for whoever asks how the node is (`/ready`, `/metrics`).
//!
//! ```text
//!  every ten seconds, and when somebody asks --> one look, in a thread of the store's own --> its answer, told until the next one
//!                                                        | none for five seconds
//!                                                        v
//!                                                told as trouble itself
//! ```
//!
//! A share that hangs holds up whoever looks at it for as long as it hangs: that is this thread alone, which nobody waits for, neither a request nor
//! the node's end. Who asks gives a look a moment, in which no thread is held up, and is told what was known before where it takes longer. Of an object
//! store nothing is looked at: its requests say by themselves what they came to.

use crate::store::StoreParts;
use futures_util::future::join_all;
use parking_lot::{Condvar, Mutex};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;

/// Between two looks that nobody asks for.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A look that has no answer by then is told.
const SILENT: Duration = Duration::from_secs(5);
/// Who asks waits so long for a look.
const MOMENT: Duration = Duration::from_millis(250);

/// The looks of a node that runs, in the order of its stores; they end with it.
#[derive(Debug)]
pub(crate) struct FolderWatches(Vec<Looked>);

/// How it is found out whether the places of a store are there.
#[derive(Debug)]
enum Looked {
    /// One of them is a folder. None: the operating system gave no thread.
    Folder(Option<Watch>),
    /// They are asked: that takes no time.
    Directly,
}

impl FolderWatches {
    /// Begins to look after the folders of all stores.
    pub(crate) fn start(stores: &[Arc<StoreParts>]) -> Self {
        Self(stores.iter().map(|parts| look_after(parts)).collect())
    }

    /// Wants a look at each folder, and waits a moment for the answers.
    pub(crate) async fn ask(&self) {
        join_all(self.watches().map(|watch| watch.ask())).await;
    }

    /// Of these stores, those whose places are in trouble, and why.
    pub(crate) fn troubled<'a>(&self, stores: &'a [Arc<StoreParts>]) -> Vec<(&'a str, Arc<str>)> {
        let now = Instant::now();
        let mut troubled = Vec::new();
        for (parts, looked) in stores.iter().zip(&self.0) {
            let trouble = match looked {
                Looked::Folder(watch) => watch.as_ref().and_then(|watch| watch.trouble(now)),
                Looked::Directly => parts.store.durable().trouble(),
            };
            troubled.extend(trouble.map(|trouble| (parts.store.name(), trouble)));
        }
        troubled
    }

    /// Looks no more: the node stops.
    pub(crate) fn stop(&self) {
        self.watches().for_each(Watch::stop);
    }

    fn watches(&self) -> impl Iterator<Item = &Watch> {
        self.0.iter().filter_map(|looked| match looked {
            Looked::Folder(watch) => watch.as_ref(),
            Looked::Directly => None,
        })
    }
}

fn look_after(parts: &StoreParts) -> Looked {
    let (store, config) = (Arc::clone(&parts.store), parts.store.config());
    let places = [&config.durable.path, &config.durable.manifest_path];
    if places.into_iter().all(|place| place.as_local().is_none()) {
        return Looked::Directly;
    }
    let watch = Watch::start(move || store.durable().trouble());
    if let Err(error) = &watch {
        tracing::warn!(store = config.name, "nobody looks whether its folders are there: no thread ({error})");
    }
    Looked::Folder(watch.ok())
}

/// The looks at the folders of one store.
#[derive(Debug)]
struct Watch(Arc<Shared>);

/// What its thread and who asks share.
#[derive(Debug)]
struct Shared {
    known: Mutex<Known>,
    rings: Condvar,
    /// The number of the last look that was answered.
    answered: watch::Sender<u64>,
}

#[derive(Debug)]
struct Known {
    /// Why the folders are not there, as the last answer has it.
    trouble: Option<Arc<str>>,
    /// When it came; before the first one, when the watch began.
    heard: Instant,
    /// When the look began that is under way.
    since: Option<Instant>,
    /// Looks that have begun: one at a time.
    begun: u64,
    is_wanted: bool,
    end_is_near: bool,
}

impl Watch {
    fn start(look: impl FnMut() -> Option<Arc<str>> + Send + 'static) -> io::Result<Self> {
        let known =
            Known { trouble: None, heard: Instant::now(), since: None, begun: 0, is_wanted: false, end_is_near: false };
        let shared =
            Arc::new(Shared { known: Mutex::new(known), rings: Condvar::new(), answered: watch::Sender::new(0) });
        let watching = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("folders".to_owned()).spawn(move || watching.look(look));
        thread.map(|_| Self(shared))
    }

    /// What is known, without a look: a look that has been under way for long says by itself that something is wrong.
    fn trouble(&self, now: Instant) -> Option<Arc<str>> {
        let known = self.0.known.lock();
        let (from, patience) = match known.since {
            Some(since) => (since, SILENT),
            // it should have begun by then
            None => (known.heard, LOOK_EVERY + SILENT),
        };
        let silent = now.saturating_duration_since(from);
        if known.end_is_near || silent < patience {
            return known.trouble.clone();
        }
        Some(format!("the folder of durable.path has not answered for {} s", silent.as_secs()).into())
    }

    /// A look that begins after this, and a moment for its answer.
    async fn ask(&self) {
        if let Some(look) = self.want(Instant::now()) {
            // what was known before is told where it takes longer
            let _ = timeout(MOMENT, self.answered(look)).await;
        }
    }

    /// Wants a look, and says which number it will have. `None`: it is not worth waiting for, since another one takes long already.
    fn want(&self, now: Instant) -> Option<u64> {
        let mut known = self.0.known.lock();
        known.is_wanted = true;
        self.0.rings.notify_one();
        let takes_long = known.since.is_some_and(|since| now.saturating_duration_since(since) >= MOMENT);
        (!takes_long && !known.end_is_near).then_some(known.begun + 1)
    }

    async fn answered(&self, look: u64) {
        let mut answers = self.0.answered.subscribe();
        // who answers lives as long as this
        let _ = answers.wait_for(|answered| *answered >= look).await;
    }

    fn stop(&self) {
        self.0.known.lock().end_is_near = true;
        self.0.rings.notify_one();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn look(&self, mut look: impl FnMut() -> Option<Arc<str>>) {
        while self.begin() {
            let trouble = look();
            let mut known = self.known.lock();
            known.trouble = trouble;
            known.heard = Instant::now();
            known.since = None;
            let number = known.begun;
            drop(known);
            self.answered.send_modify(|answered| *answered = number);
        }
    }

    /// Waits until a look is due; `false`: none is any more.
    fn begin(&self) -> bool {
        let mut known = self.known.lock();
        if !known.is_wanted && !known.end_is_near {
            // woken for nothing it looks earlier
            let _ = self.rings.wait_for(&mut known, LOOK_EVERY);
        }
        if known.end_is_near {
            return false;
        }
        known.is_wanted = false;
        known.begun += 1;
        known.since = Some(Instant::now());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::mpsc;
    use std::task::Poll;

    /// A share that hangs: each look says that it begins, and waits for its answer.
    struct Hanging {
        watch: Watch,
        begun: mpsc::Receiver<()>,
        answers: mpsc::Sender<Option<Arc<str>>>,
    }

    fn hanging() -> Hanging {
        let ((begins, begun), (answers, answer)) = (mpsc::channel(), mpsc::channel());
        let look = move || {
            let _ = begins.send(());
            answer.recv().ok().flatten()
        };
        Hanging { watch: Watch::start(look).unwrap(), begun, answers }
    }

    #[test]
    fn a_look_that_does_not_end_is_told_and_nobody_waits_for_it() {
        let Hanging { watch, begun, answers } = hanging();
        let before = Instant::now();
        let first = watch.want(before).unwrap();
        begun.recv().unwrap();
        assert_eq!(watch.trouble(before), None, "it has only just begun");
        let later = Instant::now() + SILENT;
        let told = watch.trouble(later).unwrap();
        assert!(told.contains("has not answered for") && told.contains("durable.path"), "{told}");
        for _ in 0..3 {
            assert_eq!(watch.want(later), None, "who asks gets what is known at once");
        }
        assert!(begun.try_recv().is_err(), "one look at a time");

        answers.send(Some("it is gone".into())).unwrap();
        runtime::run(watch.answered(first)).unwrap();
        // those who asked meanwhile get one more look, all of them the same
        begun.recv().unwrap();
        assert_eq!(watch.trouble(before).as_deref(), Some("it is gone"), "the last answer, while a look is under way");
        answers.send(None).unwrap();
        runtime::run(watch.answered(first + 1)).unwrap();
        assert_eq!(watch.trouble(before), None);
    }

    #[test]
    fn who_asks_wants_a_look_at_all_folders_before_one_has_answered() {
        let hang = || {
            let Hanging { watch, begun, answers } = hanging();
            (Looked::Folder(Some(watch)), (begun, answers))
        };
        let (watches, _ends): (Vec<_>, Vec<_>) = [hang(), hang(), hang()].into_iter().unzip();
        let watches = FolderWatches(watches);
        let waits = async {
            let mut asking = pin!(watches.ask());
            poll_fn(|context| Poll::Ready(asking.as_mut().poll(context).is_pending())).await
        };
        assert!(runtime::run(waits).unwrap());
        for watch in watches.watches() {
            let known = watch.0.known.lock();
            assert!(known.is_wanted || known.begun == 1);
        }
    }

    #[test]
    fn a_watch_that_ends_waits_for_no_look_and_tells_what_it_knows() {
        let Hanging { watch, begun, answers } = hanging();
        watch.want(Instant::now()).unwrap();
        begun.recv().unwrap();
        watch.stop();
        let late = Instant::now() + 10 * LOOK_EVERY;
        assert_eq!((watch.trouble(late), watch.want(late)), (None, None));
        runtime::run(watch.ask()).unwrap();
        drop((watch, answers));
        assert!(begun.recv().is_err(), "its thread ends with the look, and begins no other");
    }

    #[test]
    fn a_watch_that_looks_no_more_is_told() {
        let Hanging { watch, .. } = hanging();
        let late = Instant::now() + LOOK_EVERY + SILENT;
        assert!(watch.trouble(late).is_some());
    }
}
