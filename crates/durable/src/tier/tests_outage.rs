//! An object store that gives no answer is told as such, wherever the request stands in a read: never as damage.

use super::*;
use crate::objects::{Objects, Readable, StoreObjects, Wrapped};
use crate::testing::*;
use crate::{MergeLimits, MergeSpec, RowFilter, StreamQuery};
use bytes::Bytes;
use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicI64;
use strandline_deql::StoreConfig;
use strandline_event::{ErrorKind, Seq};

/// Objects of which reads get no answer after so many.
#[derive(Clone)]
struct Outage {
    inner: SharedObjects,
    left: Arc<AtomicI64>,
}

impl Outage {
    fn ask(&self, path: &str) -> Result<(), ObjectError> {
        if self.left.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Ok(());
        }
        Err(ObjectError::Unreachable { path: path.to_owned(), said: "no route".to_owned(), check: "check it" })
    }
}

struct Read {
    inner: Box<dyn Readable>,
    outage: Outage,
    path: String,
}

impl Readable for Read {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_at(&self, start: u64, length: usize) -> io::Result<Bytes> {
        self.outage.ask(&self.path).map_err(io::Error::other)?;
        self.inner.read_at(start, length)
    }
}

impl Wrapped for Outage {
    fn inner(&self) -> &dyn Objects {
        &*self.inner
    }

    fn on_open(&self, path: &str) -> Result<Box<dyn Readable>, ObjectError> {
        self.ask(path)?;
        let inner = self.inner.open(path)?;
        Ok(Box::new(Read { inner, outage: self.clone(), path: path.to_owned() }))
    }
}

/// A tier of two large files, opened anew, whose reads get so many answers.
fn opened(data: &SharedObjects, manifests: &SharedObjects, config: &StoreConfig) -> (DurableTier, Arc<AtomicI64>) {
    let left = Arc::new(AtomicI64::new(i64::MAX));
    let outage = Outage { inner: Arc::clone(data), left: Arc::clone(&left) };
    let tier = DurableTier::open_with(Arc::new(outage), Arc::clone(manifests), config, options(2)).unwrap();
    (tier, left)
}

#[test]
fn a_request_without_an_answer_is_no_damage() {
    let memory = || -> SharedObjects { Arc::new(StoreObjects::memory().unwrap()) };
    let (data, manifests) = (memory(), memory());
    let config = config(", durable.compression = 'none', row_group.max_rows = 3000");
    let tier = DurableTier::open_with(Arc::clone(&data), Arc::clone(&manifests), &config, options(1)).unwrap();
    let events = history(20_000);
    commit_each(&tier, &events, 10_000);
    drop(tier);
    let (from_seq, to_seq) = (Seq(1), Seq(u64::MAX));
    let (stream_type, stream_id) = ("Call", events[0].stream_id.as_str());
    let stream = StreamQuery { stream_type, stream_id, from_seq, to_seq, descending: false, limit: 1000 };
    let scan = |tier: &DurableTier| {
        tier.pin().scan(&RowFilter::default()).try_for_each(|batch| batch.map(drop)).map_err(|e| e.kind())
    };
    let lookup = |tier: &DurableTier| tier.pin().stream(&stream).map(drop).map_err(|e| e.kind());
    let merge = |tier: &DurableTier| {
        let (snapshot, limits) = (tier.pin(), MergeLimits::default());
        let inputs = snapshot.files().to_vec();
        let spec = MergeSpec { job: job(9, 0, 20), inputs, enough_bytes: u64::MAX, limits };
        tier.merge_files(&snapshot, &spec, &mut |_| ControlFlow::Continue(())).map(drop).map_err(|e| e.kind())
    };
    for read in [&scan as &dyn Fn(&DurableTier) -> Result<(), ErrorKind>, &lookup, &merge] {
        let mut failed = 0;
        for answers in 0.. {
            let (tier, left) = opened(&data, &manifests, &config);
            left.store(answers, Ordering::SeqCst);
            match read(&tier) {
                Ok(()) => break,
                Err(kind) => assert_eq!(kind, ErrorKind::Unavailable, "after {answers} answers"),
            }
            failed += 1;
        }
        assert!(failed > 2, "the outage must come in the middle");
    }
}
