//! An object store behind the blocking view: `memory://` today, buckets by the same adapter.
//!
//! Futures run on a small runtime of its own; the caller's thread waits on a channel, so that a call is
//! allowed on any thread (waiting inside another runtime's worker would be slow, but not wrong).

use super::{Aside, ObjectError, ObjectInfo, Objects, Readable};
use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use std::future::Future;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use strandline_event::Micros;

/// Objects of one prefix of an object store.
pub struct StoreObjects {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    runtime: Option<tokio::runtime::Runtime>,
}

impl StoreObjects {
    /// Objects below `prefix` (no slash at its ends; may be empty). Errors: no thread for the runtime.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &str) -> Result<Self, ObjectError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("objects")
            .enable_all()
            .build()
            .map_err(|e| ObjectError::from_io(prefix, e))?;
        Ok(Self { inner: Arc::new(Inner { store, prefix: prefix.to_owned(), runtime: Some(runtime) }) })
    }

    /// A store in the memory of this process.
    pub fn memory() -> Result<Self, ObjectError> {
        Self::new(Arc::new(object_store::memory::InMemory::new()), "")
    }
}

impl Inner {
    fn at(&self, path: &str) -> Result<StorePath, ObjectError> {
        let full = match (self.prefix.is_empty(), path.is_empty()) {
            (true, _) => path.to_owned(),
            (false, true) => self.prefix.clone(),
            (false, false) => format!("{}/{path}", self.prefix),
        };
        StorePath::parse(&full).map_err(|e| ObjectError::Io { path: path.to_owned(), source: io::Error::other(e) })
    }

    /// Runs a future to its end on the own runtime.
    fn wait<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
        let (done, answer) = std::sync::mpsc::sync_channel(1);
        let runtime = self.runtime.as_ref().ok_or_else(|| io::Error::other("the object store is closed"))?;
        runtime.spawn(async move {
            // the receiver waits below; it cannot be gone
            let _ = done.send(future.await);
        });
        answer.recv().map_err(|_| io::Error::other("the object store's task ended without an answer"))
    }

    fn put(&self, path: &str, bytes: Bytes, mode: PutMode) -> Result<(), ObjectError> {
        let (store, at) = (Arc::clone(&self.store), self.at(path)?);
        let options = PutOptions { mode, ..PutOptions::default() };
        let put = async move { store.put_opts(&at, PutPayload::from_bytes(bytes), options).await };
        self.wait(put).map_err(|e| ObjectError::from_io(path, e))?.map_err(|e| sort(path, e))?;
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // a plain drop would block, which is forbidden on another runtime's thread
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn sort(path: &str, error: object_store::Error) -> ObjectError {
    let path = path.to_owned();
    match error {
        object_store::Error::NotFound { .. } => ObjectError::NotFound { path },
        object_store::Error::AlreadyExists { .. } => ObjectError::AlreadyExists { path },
        error => ObjectError::Io { path, source: io::Error::other(error) },
    }
}

impl Objects for StoreObjects {
    fn open(&self, path: &str) -> Result<Box<dyn Readable>, ObjectError> {
        let (store, at) = (Arc::clone(&self.inner.store), self.inner.at(path)?);
        let head = self.inner.wait(async move { store.head(&at).await });
        let bytes = head.map_err(|e| ObjectError::from_io(path, e))?.map_err(|e| sort(path, e))?.size;
        Ok(Box::new(StoreObject { inner: Arc::clone(&self.inner), at: self.inner.at(path)?, bytes }))
    }

    fn put_new(&self, path: &str, bytes: &[u8]) -> Result<(), ObjectError> {
        self.inner.put(path, Bytes::copy_from_slice(bytes), PutMode::Create)
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), ObjectError> {
        self.inner.put(path, Bytes::copy_from_slice(bytes), PutMode::Overwrite)
    }

    fn create(&self, path: &str) -> Result<Box<dyn Aside>, ObjectError> {
        if self.exists(path)? {
            return Err(ObjectError::AlreadyExists { path: path.to_owned() });
        }
        Ok(Box::new(StoreAside { inner: Arc::clone(&self.inner), path: path.to_owned(), bytes: Vec::new() }))
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        let (store, at) = (Arc::clone(&self.inner.store), self.inner.at(prefix.trim_end_matches('/'))?);
        let listing = async move { store.list(Some(&at)).try_collect::<Vec<_>>().await };
        let metas = self.inner.wait(listing).map_err(|e| ObjectError::from_io(prefix, e))?;
        let strip = if self.inner.prefix.is_empty() { 0 } else { self.inner.prefix.len() + 1 };
        let mut out = Vec::new();
        for meta in metas.map_err(|e| sort(prefix, e))? {
            let path = meta.location.as_ref().get(strip..).unwrap_or_default().to_owned();
            out.push(ObjectInfo { path, bytes: meta.size, modified: Micros(meta.last_modified.timestamp_micros()) });
        }
        out.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(out)
    }

    fn delete(&self, path: &str) -> Result<(), ObjectError> {
        let (store, at) = (Arc::clone(&self.inner.store), self.inner.at(path)?);
        let deleted = self.inner.wait(async move { store.delete(&at).await });
        deleted.map_err(|e| ObjectError::from_io(path, e))?.map_err(|e| sort(path, e))
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
}

struct StoreObject {
    inner: Arc<Inner>,
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
        let (store, at) = (Arc::clone(&self.inner.store), self.at.clone());
        let bytes =
            self.inner.wait(async move { store.get_range(&at, start..end).await })?.map_err(io::Error::other)?;
        if bytes.len() != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }
}

/// Gathers an object in memory and creates it at the end: one create-if-absent, at most one data file large.
struct StoreAside {
    inner: Arc<Inner>,
    path: String,
    bytes: Vec<u8>,
}

impl Write for StoreAside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Aside for StoreAside {
    fn finish(self: Box<Self>) -> Result<(), ObjectError> {
        self.inner.put(&self.path, Bytes::from(self.bytes), PutMode::Create)
    }
}
