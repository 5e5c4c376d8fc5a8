//! An object that is written piece by piece to an object store, in bounded memory.
//!
//! What fits into one part is created by one conditional create. Anything larger is a multipart upload: parts go out while the
//! next one is filled, and the object appears whole when the upload is completed, or not at all.
//!
//! Completing overwrites (object_store gives it no condition), so the name must be the writer's own: names of data files and
//! runs hold the owner's epoch, which no two owners share. That is also why an object found under the name after an unclear
//! completion, as long as what was sent, is this one.
//!
//! An upload that is dropped is aborted. A process that ends before leaves its parts behind, seen by nobody and paid for: a
//! lifecycle rule of the bucket (`AbortIncompleteMultipartUpload`) removes them.

use super::failure::Request;
use super::{Aside, Created, NotCreated, ObjectError, Objects, StoreObjects, create};
use bytes::Bytes;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use std::io::{self, Write};
use std::time::Duration;
use tokio::task::JoinSet;

/// Length of a part; stores want at least 5 MiB, and most want equal ones.
pub(super) const PART_BYTES: usize = 8 << 20;
/// Parts of that length; an upload has 10,000 at most, and a data file up to 1 TiB: the later ones are larger.
const SMALL_PARTS: u32 = 1000;
const LARGE_PART_BYTES: usize = 128 << 20;
/// Parts under way at once: memory holds these and the one that is filled.
const IN_FLIGHT: usize = 3;
/// How long a drop waits for the abort; it goes on in the background.
const ABORT_WAIT: Duration = Duration::from_secs(10);

/// An object in the making.
pub(super) struct Upload {
    objects: StoreObjects,
    path: String,
    buffer: Vec<u8>,
    /// Bytes in parts that were handed out.
    sent: u64,
    parts: u32,
    begun: Option<Begun>,
}

/// A multipart upload under way.
struct Begun {
    upload: Box<dyn MultipartUpload>,
    running: JoinSet<object_store::Result<()>>,
}

impl Upload {
    pub(super) fn new(objects: StoreObjects, path: &str) -> Self {
        Self { objects, path: path.to_owned(), buffer: Vec::new(), sent: 0, parts: 0, begun: None }
    }

    fn part_bytes(&self) -> usize {
        if self.parts < SMALL_PARTS { PART_BYTES } else { LARGE_PART_BYTES }
    }

    /// Hands the buffer out as the next part, once there is room for it.
    fn send_part(&mut self) -> Result<(), ObjectError> {
        let Begun { mut upload, mut running } = match self.begun.take() {
            Some(begun) => begun,
            None => self.begin()?,
        };
        let part = Bytes::from(std::mem::take(&mut self.buffer));
        let length = part.len() as u64;
        let sending = async move {
            let mut outcome = Ok(());
            while outcome.is_ok() && running.len() >= IN_FLIGHT {
                outcome = joined(running.join_next().await);
            }
            running.spawn(upload.put_part(PutPayload::from_bytes(part)));
            (Begun { upload, running }, outcome)
        };
        let (begun, outcome) = self.wait(sending)?;
        self.begun = Some(begun);
        self.checked(outcome)?;
        self.sent += length;
        self.parts += 1;
        Ok(())
    }

    fn begin(&self) -> Result<Begun, ObjectError> {
        let (store, at) = (self.objects.store(), self.objects.at(&self.path)?);
        let beginning = async move { store.put_multipart(&at).await };
        let upload = self.objects.ask(&self.path, Request::Other, beginning)?;
        Ok(Begun { upload, running: JoinSet::new() })
    }

    /// Waits for all parts and makes the object appear.
    fn complete(&mut self) -> Result<(), ObjectError> {
        let Some(Begun { mut upload, mut running }) = self.begun.take() else { return Ok(()) };
        let completing = async move {
            let mut outcome = Ok(());
            while outcome.is_ok() && !running.is_empty() {
                outcome = joined(running.join_next().await);
            }
            if outcome.is_ok() {
                outcome = upload.complete().await.map(drop);
            }
            (Begun { upload, running }, outcome)
        };
        let (begun, outcome) = self.wait(completing)?;
        let Err(error) = self.checked(outcome) else { return Ok(()) };
        // a completion whose answer was lost: it is there, or the upload is not known any more
        match self.objects.open(&self.path) {
            Ok(object) if object.len() == self.sent => Ok(()),
            _ => {
                self.begun = Some(begun);
                Err(error)
            }
        }
    }

    fn wait<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Result<T, ObjectError> {
        self.objects.wait(future).map_err(|e| ObjectError::from_io(&self.path, e))
    }

    /// The outcome of a request that ran inside of another future.
    fn checked(&self, outcome: object_store::Result<()>) -> Result<(), ObjectError> {
        self.objects.ask(&self.path, Request::Other, async move { outcome })
    }
}

fn joined(part: Option<Result<object_store::Result<()>, tokio::task::JoinError>>) -> object_store::Result<()> {
    match part {
        None => Ok(()),
        Some(Ok(outcome)) => outcome,
        Some(Err(source)) => Err(object_store::Error::JoinError { source }),
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() >= self.part_bytes() {
            self.send_part().map_err(io::Error::other)?;
        }
        let room = self.part_bytes() - self.buffer.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        if self.buffer.capacity() < self.buffer.len() + taken.len() && self.begun.is_some() {
            // later parts will be full: one allocation each
            self.buffer.reserve_exact(room);
        }
        self.buffer.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Aside for Upload {
    fn finish(mut self: Box<Self>) -> Result<(), ObjectError> {
        if self.begun.is_none() {
            return match create(&self.objects, &self.path, &self.buffer).map_err(NotCreated::into_error)? {
                Created::Ours => Ok(()),
                Created::Others => Err(ObjectError::AlreadyExists { path: self.path.clone() }),
            };
        }
        if !self.buffer.is_empty() {
            self.send_part()?;
        }
        self.complete()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(Begun { mut upload, mut running }) = self.begun.take() else { return };
        let path = self.path.clone();
        let aborting = self.objects.spawn(async move {
            running.shutdown().await;
            if let Err(error) = upload.abort().await {
                tracing::warn!(path, %error, "parts of an upload stay until the bucket's lifecycle rule removes them");
            }
        });
        if let Ok(aborted) = aborting {
            // a store that hangs must not hold up who gives up
            let _ = aborted.recv_timeout(ABORT_WAIT);
        }
    }
}
