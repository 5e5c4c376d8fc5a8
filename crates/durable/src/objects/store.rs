//! An object store behind the blocking view: `memory://`, and buckets by the same adapter.
//!
//! Futures run on a small runtime of its own; the caller's thread waits on a channel, so that a call is
//! allowed on any thread (waiting inside another runtime's worker would be slow, but not wrong).
//!
//! Creates go through a client that sends each request once: then an answer is the answer to this request, and never to an
//! earlier try that nobody heard of. Everything else is repeated by the client itself, within the bounds of `cloud.rs`.

use super::failure::{Request, failure};
use super::upload::Upload;
use super::{Aside, Listed, ObjectError, ObjectInfo, Objects, Readable};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path as StorePath;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use parking_lot::Mutex;
use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::io::{self, Seek, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use strandline_event::Micros;

/// The character behind `/`: a folder's name with it comes behind everything in the folder.
const BEHIND_SLASH: char = '0';
/// What is fetched at once of an object that goes into a local file.
const COPY_BYTES: u64 = 8 << 20;
/// First pause between two tries of a create; it doubles.
const PAUSE_MS: u64 = 100;
/// Longest pause, as a power of two of the first.
const PAUSE_DOUBLINGS_MAX: u32 = 5;

/// Objects of one prefix of an object store. Cloning shares it.
#[derive(Clone)]
pub struct StoreObjects {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn ObjectStore>,
    /// The same store without repetitions.
    once: Arc<dyn ObjectStore>,
    prefix: String,
    /// `s3://bucket`: what stands before the keys in errors; empty in memory.
    bucket: String,
    /// None once it was closed.
    runtime: Mutex<Option<tokio::runtime::Runtime>>,
    /// What the last request that got no answer said; none once one does.
    trouble: Mutex<Option<Arc<str>>>,
    /// What the first request said that got no answer.
    unanswered: OnceLock<Arc<str>>,
    /// Folder for local copies.
    scratch: Option<PathBuf>,
    copies: AtomicU64,
}

impl StoreObjects {
    /// Objects below `prefix` (no slash at its ends; may be empty). Errors: no thread for the runtime.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &str) -> Result<Self, ObjectError> {
        Self::in_bucket(Arc::clone(&store), store, "", prefix)
    }

    /// Objects in a bucket (`s3://bucket`); `once` sends each request once.
    pub(super) fn in_bucket(
        store: Arc<dyn ObjectStore>,
        once: Arc<dyn ObjectStore>,
        bucket: &str,
        prefix: &str,
    ) -> Result<Self, ObjectError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("objects")
            .enable_all()
            .build()
            .map_err(|e| ObjectError::from_io(prefix, e))?;
        let inner = Inner {
            store,
            once,
            prefix: prefix.to_owned(),
            bucket: bucket.to_owned(),
            runtime: Mutex::new(Some(runtime)),
            trouble: Mutex::default(),
            unanswered: OnceLock::new(),
            scratch: None,
            copies: AtomicU64::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A store in the memory of this process.
    pub fn memory() -> Result<Self, ObjectError> {
        Self::new(Arc::new(object_store::memory::InMemory::new()), "")
    }

    /// Local copies of objects go into this folder, which is this process's alone; what an earlier one left there is removed.
    pub(crate) fn with_scratch(mut self, folder: &Path) -> Result<Self, ObjectError> {
        let wrap = |e| ObjectError::from_io(&folder.to_string_lossy(), e);
        fs::create_dir_all(folder).map_err(wrap)?;
        for entry in fs::read_dir(folder).map_err(wrap)?.flatten() {
            // without a name already, unless the process ended in between
            let _ = fs::remove_file(entry.path());
        }
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.scratch = Some(folder.to_owned());
        }
        Ok(self)
    }

    pub(super) fn at(&self, path: &str) -> Result<StorePath, ObjectError> {
        let full = match (self.inner.prefix.is_empty(), path.is_empty()) {
            (true, _) => path.to_owned(),
            (false, true) => self.inner.prefix.clone(),
            (false, false) => format!("{}/{path}", self.inner.prefix),
        };
        StorePath::parse(&full).map_err(|e| ObjectError::Io { path: path.to_owned(), source: io::Error::other(e) })
    }

    /// Bucket and key, for errors; in memory the name alone.
    fn place(&self, path: &str) -> String {
        let parts = [self.inner.bucket.as_str(), &self.inner.prefix, path];
        if self.inner.bucket.is_empty() {
            return path.to_owned();
        }
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
    }

    /// Runs a future to its end on the own runtime.
    pub(super) fn wait<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
        let answer = self.spawn(future)?;
        answer.recv().map_err(|_| io::Error::other("the object store's task ended without an answer"))
    }

    /// Begins a future on the own runtime.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<std::sync::mpsc::Receiver<T>> {
        let (done, answer) = std::sync::mpsc::sync_channel(1);
        let runtime = self.inner.runtime.lock();
        let runtime = runtime.as_ref().ok_or_else(|| io::Error::other("the object store is closed"))?;
        runtime.spawn(async move {
            // whoever asked may have stopped waiting
            let _ = done.send(future.await);
        });
        Ok(answer)
    }

    /// Runs a request and turns its error into ours.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        path: &str,
        request: Request,
        future: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T, ObjectError> {
        let answer = self.wait(future).map_err(|e| ObjectError::from_io(path, e))?;
        let outcome = answer.map_err(|e| failure(&self.place(path), request, e));
        self.note(outcome.as_ref().err());
        outcome
    }

    /// Remembers whether the store answers.
    pub(super) fn note(&self, error: Option<&ObjectError>) {
        use ObjectError::{Refused, Unclear, Unreachable};
        let bad = error.filter(|error| matches!(error, Unreachable { .. } | Unclear { .. } | Refused { .. }));
        if let Some(error @ (Unreachable { .. } | Unclear { .. })) = bad {
            self.inner.unanswered.get_or_init(|| error.to_string().into());
        }
        *self.inner.trouble.lock() = bad.map(|error| error.to_string().into());
    }

    pub(super) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.inner.store)
    }

    fn info(&self, meta: ObjectMeta) -> ObjectInfo {
        let strip = if self.inner.prefix.is_empty() { 0 } else { self.inner.prefix.len() + 1 };
        let path = meta.location.as_ref().get(strip..).unwrap_or_default().to_owned();
        ObjectInfo { path, bytes: meta.size, modified: Micros(meta.last_modified.timestamp_micros()) }
    }

    /// By name, relative to the prefix.
    fn infos(&self, metas: Vec<ObjectMeta>) -> Vec<ObjectInfo> {
        let mut out: Vec<_> = metas.into_iter().map(|meta| self.info(meta)).collect();
        out.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        out
    }

    /// A new file in the scratch folder, for this user alone, its name taken away at once.
    fn scratch_file(&self, folder: &Path) -> io::Result<File> {
        let n = self.inner.copies.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("copy-{}-{n}", std::process::id()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        fs::remove_file(&path)?;
        Ok(file)
    }
}

impl Inner {
    fn close(&self) {
        // a plain drop would block, which is forbidden on another runtime's thread
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Objects for StoreObjects {
    fn open(&self, path: &str) -> Result<Box<dyn Readable>, ObjectError> {
        let (store, at) = (self.store(), self.at(path)?);
        let bytes = self.ask(path, Request::Other, async move { store.head(&at).await })?.size;
        self.open_known(path, bytes)
    }

    fn open_known(&self, path: &str, bytes: u64) -> Result<Box<dyn Readable>, ObjectError> {
        Ok(Box::new(StoreObject { objects: self.clone(), path: path.to_owned(), at: self.at(path)?, bytes }))
    }

    fn put_new(&self, path: &str, bytes: &[u8]) -> Result<(), ObjectError> {
        let (once, at) = (Arc::clone(&self.inner.once), self.at(path)?);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let payload = PutPayload::from_bytes(Bytes::copy_from_slice(bytes));
        self.ask(path, Request::Create, async move { once.put_opts(&at, payload, options).await.map(drop) })
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), ObjectError> {
        let (store, at) = (self.store(), self.at(path)?);
        let payload = PutPayload::from_bytes(Bytes::copy_from_slice(bytes));
        self.ask(path, Request::Other, async move { store.put(&at, payload).await.map(drop) })
    }

    fn create(&self, path: &str) -> Result<Box<dyn Aside>, ObjectError> {
        if self.exists(path)? {
            return Err(ObjectError::AlreadyExists { path: path.to_owned() });
        }
        Ok(Box::new(Upload::new(self.clone(), path)))
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        let (store, at) = (self.store(), self.at(prefix.trim_end_matches('/'))?);
        let listing = async move { store.list(Some(&at)).try_collect::<Vec<_>>().await };
        Ok(self.infos(self.ask(prefix, Request::Other, listing)?))
    }

    fn list_after(&self, after: &str, limit: usize) -> Result<Listed, ObjectError> {
        let (store, root, after_at) = (self.store(), self.at("")?, self.at(after)?);
        let listing = async move {
            let mut found = store.list_with_offset(Some(&root), &after_at).take(limit).try_collect::<Vec<_>>().await?;
            // stores without such a request are listed whole, in any order
            found.sort_unstable_by(|a, b| a.location.cmp(&b.location));
            Ok(found)
        };
        let metas = self.ask("", Request::Other, listing)?;
        let complete = metas.len() < limit;
        Ok(Listed { objects: self.infos(metas), complete })
    }

    fn list_range(&self, folder: &str, from: &str, to: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        let folder = folder.trim_end_matches('/');
        let below = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        // a listing begins behind its offset
        let mut before = from.to_owned();
        before.pop();
        let (store, at, offset) = (self.store(), self.at(folder)?, self.at(&format!("{below}{before}"))?);
        let listing = async move { store.list_with_offset(Some(&at), &offset).try_collect::<Vec<_>>().await };
        let mut out = self.infos(self.ask(folder, Request::Other, listing)?);
        out.retain(|info| {
            let name = info.path.get(below.len()..).unwrap_or_default();
            !name.contains('/') && *name >= *from && *name < *to
        });
        Ok(out)
    }

    fn list_beside(&self, folder: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        // a listing comes in the order of names: what is in the folder is one run of it, which is skipped by a second one
        let (store, at, left_out) = (self.store(), self.at("")?, self.at(folder)?);
        let behind = self.at(&format!("{folder}{BEHIND_SLASH}"))?;
        let listing = async move {
            let mut metas = Vec::new();
            let mut listed = store.list(Some(&at));
            while let Some(meta) = listed.try_next().await? {
                if meta.location.prefix_matches(&left_out) {
                    listed = store.list_with_offset(Some(&at), &behind);
                } else {
                    metas.push(meta);
                }
            }
            Ok(metas)
        };
        Ok(self.infos(self.ask(folder, Request::Other, listing)?))
    }

    fn delete(&self, path: &str) -> Result<(), ObjectError> {
        let (store, at) = (self.store(), self.at(path)?);
        self.ask(path, Request::Other, async move { store.delete(&at).await })
    }

    fn rename(&self, from: &str, _to: &str) -> Result<(), ObjectError> {
        let source = io::Error::new(io::ErrorKind::Unsupported, "object stores do not rename");
        Err(ObjectError::Io { path: from.to_owned(), source })
    }

    fn stages(&self) -> bool {
        false
    }

    fn local_root(&self) -> Option<&Path> {
        None
    }

    fn pause(&self, tries: u32) {
        if self.inner.bucket.is_empty() {
            return; // nothing in memory gets better by waiting
        }
        let doublings = tries.saturating_sub(1).min(PAUSE_DOUBLINGS_MAX);
        let pause = Duration::from_millis(PAUSE_MS << doublings);
        // only a store that is closed has no timer, and nothing to wait for
        let _ = self.wait(async move { tokio::time::sleep(pause).await });
    }

    fn unanswered(&self) -> Option<Arc<str>> {
        self.inner.unanswered.get().cloned()
    }

    fn trouble(&self) -> Option<Arc<str>> {
        self.inner.trouble.lock().clone()
    }

    fn close(&self) {
        self.inner.close();
    }

    fn local_copy(&self, path: &str) -> Result<Option<File>, ObjectError> {
        let Some(folder) = &self.inner.scratch else { return Ok(None) };
        let wrap = |e| ObjectError::from_io(path, e);
        let object = self.open(path)?;
        let mut file = self.scratch_file(folder).map_err(wrap)?;
        let mut start = 0;
        while start < object.len() {
            let length = COPY_BYTES.min(object.len() - start);
            let bytes = object.read_at(start, usize::try_from(length).unwrap_or(usize::MAX)).map_err(wrap)?;
            file.write_all(&bytes).map_err(wrap)?;
            start += length;
        }
        file.rewind().map_err(wrap)?;
        Ok(Some(file))
    }

    fn get(&self, path: &str) -> Result<Bytes, ObjectError> {
        let (store, at) = (self.store(), self.at(path)?);
        self.ask(path, Request::Other, async move { store.get_opts(&at, GetOptions::default()).await?.bytes().await })
    }
}

struct StoreObject {
    objects: StoreObjects,
    path: String,
    at: StorePath,
    bytes: u64,
}

impl Readable for StoreObject {
    fn len(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, start: u64, length: usize) -> io::Result<Bytes> {
        let end = start.checked_add(length as u64).filter(|end| *end <= self.bytes);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        if length == 0 {
            return Ok(Bytes::new());
        }
        let (store, at) = (self.objects.store(), self.at.clone());
        let reading = async move { store.get_range(&at, start..end).await };
        let bytes = self.objects.ask(&self.path, Request::Other, reading).map_err(io::Error::other)?;
        if bytes.len() != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }
}
