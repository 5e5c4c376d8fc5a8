//! Objects of an encrypted store: sealed on their way out, opened on their way in. `FORMAT.md` section 7 says every byte.
//!
//! Data files go through as they are: they are Parquet, which is encrypted by its own rules. So do names that begin with a dot
//! (probes, the mark of a cluster) and the keyring, which hold nothing of an event.
//!
//! ```text
//!  header: magic, version, chunk length, name of the key | chunk, tag | chunk, tag | ... | last chunk, tag
//! ```
//!
//! Invariant: nothing is given that did not open under the key of its own name and place: bytes that were changed, cut or put in the
//! place of others are an error that names the object.

use super::{Aside, Listed, ObjectError, ObjectInfo, Objects, Readable, SharedObjects};
use crate::chunks::{self, CHUNK_BYTES, ChunkSeal, SEALED_CHUNK_BYTES, bad};
use crate::keyring::{KeyLook, Ring, is_away};
use crate::tier::OpenError;
use bytes::Bytes;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use strandline_keys::{KEY_NAME_BYTES, KeyName, Purpose, StoreKeys};

/// First bytes.
const MAGIC: [u8; 4] = *b"SLSO";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 48;
/// Folder of the keyring beside the manifests.
pub(crate) const KEYRING_FOLDER: &str = "keyring";

/// Whether bytes begin as a sealed object does.
pub(crate) fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Whether an object of this name stands as it is in an encrypted store.
fn is_clear(path: &str) -> bool {
    let staged = path.strip_suffix(".tmp").or_else(|| path.strip_suffix(".old")).or_else(|| path.strip_suffix(".link"));
    staged.unwrap_or(path).ends_with(".parquet")
        || path.starts_with('.')
        || path.strip_prefix(KEYRING_FOLDER).is_some_and(|rest| rest.starts_with('/'))
}

/// Objects below which others lie.
pub(crate) struct SealedObjects {
    inner: SharedObjects,
    ring: Arc<Ring>,
}

/// The chunks of an object, bound to its header.
struct Seal {
    chunks: ChunkSeal,
    header: [u8; HEADER_BYTES],
}

impl Seal {
    fn new(keys: &StoreKeys, path: &str) -> Self {
        let (name, key) = keys.fresh(Purpose::Object(path));
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&MAGIC);
        header[4..6].copy_from_slice(&VERSION.to_le_bytes());
        header[8..12].copy_from_slice(&(CHUNK_BYTES as u32).to_le_bytes());
        header[HEADER_BYTES - KEY_NAME_BYTES..].copy_from_slice(&name.to_bytes());
        Self { chunks: ChunkSeal::new(key, &header), header }
    }

    fn of(ring: &Ring, path: &str, header: &[u8]) -> io::Result<Self> {
        let not = || bad("it is not sealed, and the store is encrypted: somebody put it there");
        let header: [u8; HEADER_BYTES] = header.try_into().map_err(|_| not())?;
        if !is_sealed(&header) {
            return Err(not());
        }
        if header[4..6] != VERSION.to_le_bytes() || header[8..12] != (CHUNK_BYTES as u32).to_le_bytes() {
            return Err(bad("it is sealed in a version that this program does not read"));
        }
        let (_, name) = header.split_last_chunk::<KEY_NAME_BYTES>().ok_or_else(not)?;
        let found = ring.find(&KeyName::from_bytes(name), Purpose::Object(path));
        let key =
            found.map_err(|error| away(path, &error).map_or_else(|| bad(&error.to_string()), io::Error::other))?;
        Ok(Self { chunks: ChunkSeal::new(key, &header), header })
    }
}

/// That a key cannot be had now says nothing against what it sealed.
fn away(path: &str, error: &OpenError) -> Option<ObjectError> {
    is_away(error).then(|| ObjectError::KeyAway { path: path.to_owned(), said: error.to_string() })
}

fn sealed_bytes(plain: u64) -> u64 {
    HEADER_BYTES as u64 + chunks::sealed_bytes(plain)
}

fn plain_bytes(sealed: u64) -> io::Result<u64> {
    chunks::plain_bytes(sealed.saturating_sub(HEADER_BYTES as u64))
}

/// Lengths as who reads sees them; of what was never sealed, as they are.
fn plain(mut listed: Vec<ObjectInfo>) -> Vec<ObjectInfo> {
    for info in listed.iter_mut().filter(|info| !is_clear(&info.path)) {
        info.bytes = plain_bytes(info.bytes).unwrap_or(info.bytes);
    }
    listed
}

impl SealedObjects {
    pub(crate) fn new(inner: SharedObjects, ring: Arc<Ring>) -> Self {
        Self { inner, ring }
    }

    fn sealed(&self, path: &str, bytes: &[u8]) -> Vec<u8> {
        let seal = Seal::new(self.ring.keys(), path);
        let mut out = Vec::with_capacity(usize::try_from(sealed_bytes(bytes.len() as u64)).unwrap_or(0));
        out.extend_from_slice(&seal.header);
        seal.chunks.seal_all(bytes, &mut out);
        out
    }

    fn readable(&self, path: &str, inner: Box<dyn Readable>) -> Result<Box<dyn Readable>, ObjectError> {
        let wrap = |e| ObjectError::from_io(path, e);
        let length = plain_bytes(inner.len()).map_err(wrap)?;
        let header = inner.read_at(0, HEADER_BYTES).map_err(wrap)?;
        let seal = Seal::of(&self.ring, path, &header).map_err(wrap)?;
        Ok(Box::new(SealedObject { inner, seal, length }))
    }
}

struct SealedObject {
    inner: Box<dyn Readable>,
    seal: Seal,
    length: u64,
}

impl Readable for SealedObject {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, start: u64, length: usize) -> io::Result<Bytes> {
        self.seal.chunks.read(start, length, self.length, |from, to| {
            let bytes = usize::try_from(to - from).map_err(io::Error::other)?;
            self.inner.read_at(HEADER_BYTES as u64 + from, bytes)
        })
    }
}

/// An object in the making.
struct SealingAside {
    inner: Box<dyn Aside>,
    path: String,
    seal: Seal,
    /// Plain bytes that wait for their chunk to be full, or the last.
    waiting: Vec<u8>,
    number: u64,
}

impl SealingAside {
    fn put(&mut self, last: bool) -> io::Result<()> {
        let length = self.waiting.len().min(CHUNK_BYTES);
        let mut out = Vec::with_capacity(SEALED_CHUNK_BYTES);
        self.seal.chunks.seal(self.number, last, &self.waiting[..length], &mut out);
        self.waiting.drain(..length);
        self.number += 1;
        self.inner.write_all(&out)
    }
}

impl Write for SealingAside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // the last chunk is known when the object ends: one full chunk waits
        let room = CHUNK_BYTES.saturating_sub(self.waiting.len());
        if room == 0 {
            self.put(false)?;
            return self.write(bytes);
        }
        let taken = bytes.len().min(room);
        self.waiting.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Aside for SealingAside {
    fn finish(mut self: Box<Self>) -> Result<(), ObjectError> {
        self.put(true).map_err(|e| ObjectError::from_io(&self.path, e))?;
        self.inner.finish()
    }
}

impl Objects for SealedObjects {
    fn keys(&self) -> Option<&Arc<StoreKeys>> {
        Some(self.ring.keys())
    }

    fn look_at_keys(&self, at: KeyLook) {
        self.ring.look(at);
    }

    fn key_trouble(&self) -> Option<Arc<str>> {
        self.ring.trouble()
    }

    fn key_looks(&self) -> (u64, bool) {
        self.ring.looks()
    }

    fn learn_key(&self, path: &str, name: &KeyName) -> Result<(), ObjectError> {
        // a key that no keyring has is told by who looks for it
        let found = self.ring.find(name, Purpose::DataFile);
        found.err().and_then(|error| away(path, &error)).map_or(Ok(()), Err)
    }

    fn seals(&self, path: &str) -> bool {
        !is_clear(path)
    }

    fn open(&self, path: &str) -> Result<Box<dyn Readable>, ObjectError> {
        let inner = self.inner.open(path)?;
        if is_clear(path) { Ok(inner) } else { self.readable(path, inner) }
    }

    fn open_known(&self, path: &str, bytes: u64) -> Result<Box<dyn Readable>, ObjectError> {
        if is_clear(path) {
            return self.inner.open_known(path, bytes);
        }
        self.readable(path, self.inner.open_known(path, sealed_bytes(bytes))?)
    }

    fn put_new(&self, path: &str, bytes: &[u8]) -> Result<(), ObjectError> {
        if is_clear(path) {
            self.inner.put_new(path, bytes)
        } else {
            self.inner.put_new(path, &self.sealed(path, bytes))
        }
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), ObjectError> {
        if is_clear(path) {
            self.inner.replace(path, bytes)
        } else {
            self.inner.replace(path, &self.sealed(path, bytes))
        }
    }

    fn create(&self, path: &str) -> Result<Box<dyn Aside>, ObjectError> {
        let mut inner = self.inner.create(path)?;
        if is_clear(path) {
            return Ok(inner);
        }
        let seal = Seal::new(self.ring.keys(), path);
        inner.write_all(&seal.header).map_err(|e| ObjectError::from_io(path, e))?;
        Ok(Box::new(SealingAside {
            inner,
            path: path.to_owned(),
            seal,
            waiting: Vec::with_capacity(CHUNK_BYTES),
            number: 0,
        }))
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        Ok(plain(self.inner.list(prefix)?))
    }

    fn list_after(&self, after: &str, limit: usize) -> Result<Listed, ObjectError> {
        let Listed { objects, complete } = self.inner.list_after(after, limit)?;
        Ok(Listed { objects: plain(objects), complete })
    }

    fn list_range(&self, folder: &str, from: &str, to: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        Ok(plain(self.inner.list_range(folder, from, to)?))
    }

    fn list_beside(&self, folder: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        Ok(plain(self.inner.list_beside(folder)?))
    }

    fn delete(&self, path: &str) -> Result<(), ObjectError> {
        self.inner.delete(path)
    }

    fn delete_all(&self, paths: &[String]) -> Result<(), ObjectError> {
        self.inner.delete_all(paths)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), ObjectError> {
        self.inner.rename(from, to)
    }

    fn rename_all(&self, names: &[(String, String)]) -> Result<(), ObjectError> {
        self.inner.rename_all(names)
    }

    fn link(&self, from: &str, to: &str) -> Result<(), ObjectError> {
        self.inner.link(from, to)
    }

    fn stages(&self) -> bool {
        self.inner.stages()
    }

    fn local_root(&self) -> Option<&Path> {
        self.inner.local_root()
    }

    fn pause(&self, tries: u32) {
        self.inner.pause(tries);
    }

    fn trouble(&self) -> Option<Arc<str>> {
        self.inner.trouble()
    }

    fn unanswered(&self) -> Option<Arc<str>> {
        self.inner.unanswered().or_else(|| self.ring.missed())
    }

    fn close(&self) {
        self.inner.close();
    }

    fn local_copy(&self, path: &str) -> Result<Option<File>, ObjectError> {
        // a copy in a file would be a sealed one
        if is_clear(path) { self.inner.local_copy(path) } else { Ok(None) }
    }

    fn exists(&self, path: &str) -> Result<bool, ObjectError> {
        self.inner.exists(path)
    }

    fn get(&self, path: &str) -> Result<Bytes, ObjectError> {
        let bytes = self.inner.get(path)?;
        if is_clear(path) {
            return Ok(bytes);
        }
        let wrap = |e| ObjectError::from_io(path, e);
        let length = plain_bytes(bytes.len() as u64).map_err(wrap)?;
        let seal = Seal::of(&self.ring, path, &bytes[..HEADER_BYTES]).map_err(wrap)?;
        seal.chunks.open(0, chunks::chunks_of(length), &bytes[HEADER_BYTES..]).map(Bytes::from).map_err(wrap)
    }
}

#[cfg(test)]
#[path = "tests_sealed.rs"]
mod tests;
