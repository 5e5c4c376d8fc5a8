//! The keyring of an encrypted store, where it lies: beside the manifests, one small object a revision, numbered from 1, created if
//! absent; the highest holds.
//!
//! A store is encrypted from its birth or not at all. Whoever opens it finds the keyring and asks the provider of keys once; a node that
//! meets a key it does not know (another node has rotated) reads the newest revision and asks once more.

use crate::manifest;
use crate::objects::{Created, KEYRING_FOLDER, NotCreated, ObjectError, Objects, SealedObjects, SharedObjects, create};
use crate::tier::OpenError;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use strandline_deql::StoreConfig;
use strandline_event::ErrorKind;
use strandline_keys::{DataKey, KeyError, KeyName, KeyProvider, Keyring, Purpose, StoreKeys};

/// Revisions that others make at once before a rotation gives up.
const TRIES: u32 = 16;

const GONE: &str = "the keyring is gone from the folder of the manifests: what is open goes on, and no start can open the store; put the folder \
                    `keyring` back from a copy before this node stops";

/// Who wraps the keys of a store; `None`: the caller has none.
pub type Provider = Option<Arc<dyn KeyProvider>>;

/// What a look at the keyring opens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyLook {
    /// Every key: one request to the provider each.
    All,
    /// The current one, where the last look opened every key of this revision: one request.
    Current,
}

/// The keys of an open store, with the way to newer ones.
pub(crate) struct Ring {
    keys: Arc<StoreKeys>,
    manifests: SharedObjects,
    provider: Arc<dyn KeyProvider>,
    /// Why the next start would not open the keyring, as of when it was looked at last.
    trouble: Mutex<Option<Arc<str>>>,
    /// The revision of which the last look opened every key; 0: of none.
    opened: AtomicU64,
    /// Looks that found some.
    failures: AtomicU64,
    /// Why something that others sealed was not opened, the first time.
    missed: OnceLock<Arc<str>>,
}

impl Ring {
    pub(crate) fn new(keys: StoreKeys, manifests: SharedObjects, provider: Arc<dyn KeyProvider>) -> Self {
        let (trouble, failures, opened) = (Mutex::default(), AtomicU64::new(0), AtomicU64::new(0));
        Self { keys: Arc::new(keys), manifests, provider, trouble, opened, failures, missed: OnceLock::new() }
    }

    /// Takes a newer keyring, and finds out whether the next start would open it. What is open goes on in any case.
    pub(crate) fn look(&self, at: KeyLook) {
        let trouble = match newest(&*self.manifests) {
            Ok(Some((revision, ring))) => self.opens(at, revision, &ring).err().map(|error| error.to_string()),
            Ok(None) => Some(GONE.to_owned()),
            // that the objects do not answer is told by themselves
            Err(error) if error.kind() == ErrorKind::Unavailable => return,
            Err(error) => Some(format!("{error}; no start can open the store so: put it back from a copy")),
        };
        self.found(trouble);
    }

    fn found(&self, trouble: Option<String>) {
        self.failures.fetch_add(u64::from(trouble.is_some()), Ordering::Relaxed);
        *self.trouble.lock() = trouble.map(|why| format!("keys: {why}").into());
    }

    /// Whether the provider opens the ring: all of it where it is new, where one did not open the last time, and where that is asked for.
    fn opens(&self, at: KeyLook, revision: u64, ring: &Keyring) -> Result<(), KeyError> {
        if at == KeyLook::Current && self.opened.load(Ordering::Relaxed) == revision {
            let opened = ring.opens_current(&*self.provider);
            return opened.inspect_err(|_| self.opened.store(0, Ordering::Relaxed));
        }
        let taken = self.keys.take(ring, &*self.provider);
        self.opened.store(if taken.is_ok() { revision } else { 0 }, Ordering::Relaxed);
        taken
    }

    pub(crate) fn trouble(&self) -> Option<Arc<str>> {
        self.trouble.lock().clone()
    }

    /// How many looks found that the next start would not open the keyring, and whether the last one did.
    pub(crate) fn looks(&self) -> (u64, bool) {
        (self.failures.load(Ordering::Relaxed), self.trouble.lock().is_some())
    }

    pub(crate) fn keys(&self) -> &Arc<StoreKeys> {
        &self.keys
    }

    /// The key of this name, by the newest revision if need be.
    ///
    /// # Errors
    /// [`is_away`] tells a key that cannot be had now from one that is not there, or does not open.
    pub(crate) fn find(&self, name: &KeyName, purpose: Purpose<'_>) -> Result<DataKey, OpenError> {
        match self.keys.find(name, purpose) {
            Err(KeyError::NoKey(_)) => self.find_newer(name, purpose).inspect_err(|error| {
                if is_away(error) {
                    self.missed.get_or_init(|| error.to_string().into());
                }
            }),
            found => Ok(found?),
        }
    }

    fn find_newer(&self, name: &KeyName, purpose: Purpose<'_>) -> Result<DataKey, OpenError> {
        if let Some((_, ring)) = newest(&*self.manifests)? {
            self.keys.take(&ring, &*self.provider).inspect_err(|error| self.found(Some(error.to_string())))?;
        }
        Ok(self.keys.find(name, purpose)?)
    }

    /// Why something was not opened whose key could not be had, the first time; `None`: all of it was.
    pub(crate) fn missed(&self) -> Option<Arc<str>> {
        self.missed.get().cloned()
    }
}

/// Whether a key cannot be had now, as its provider does not give it or the keyring is out of reach: that says nothing against what it sealed.
pub(crate) fn is_away(error: &OpenError) -> bool {
    match error {
        OpenError::Keys(error) => error.is_away(),
        OpenError::Objects(_) => true,
        _ => false,
    }
}

fn path_of(revision: u64) -> String {
    format!("{KEYRING_FOLDER}/r{revision:020}")
}

/// The newest revision, if there is one.
fn newest(manifests: &dyn Objects) -> Result<Option<(u64, Keyring)>, OpenError> {
    match listed_newest(manifests) {
        // a rotation took it away between the two requests: its own is there
        Err(OpenError::Objects(ObjectError::NotFound { .. })) => listed_newest(manifests),
        found => found,
    }
}

fn listed_newest(manifests: &dyn Objects) -> Result<Option<(u64, Keyring)>, OpenError> {
    let listed = manifests.list_range(KEYRING_FOLDER, "r", "s")?;
    let Some(path) = listed.into_iter().map(|info| info.path).max() else { return Ok(None) };
    let revision = path.rsplit_once("/r").and_then(|(_, digits)| digits.parse().ok()).unwrap_or(0);
    let ring = Keyring::decode(&path, &manifests.get(&path)?)?;
    Ok(Some((revision, ring)))
}

/// The objects of a store as its declaration wants them: sealed, if it is encrypted. `makes`: a new store gets its keyring now.
///
/// # Errors
/// `Keys`: there is no provider, or it does not open the keyring.
pub fn sealed_places(
    (objects, manifests): (SharedObjects, SharedObjects),
    config: &StoreConfig,
    provider: Provider,
    makes: bool,
) -> Result<(SharedObjects, SharedObjects), OpenError> {
    if !config.security.encrypt_at_rest {
        return Ok((objects, manifests));
    }
    let provider = provider.ok_or(KeyError::NoProvider)?;
    let ring = match newest(&*manifests)? {
        Some((_, ring)) => ring,
        // not encrypted, or none at all: who reads the manifest says what is wrong
        None if !makes || manifest::newest_version(&*manifests)?.is_some() => return Ok((objects, manifests)),
        None => made(&*manifests, &*provider)?,
    };
    let keys = StoreKeys::open(&ring, &*provider)?;
    let ring = Arc::new(Ring::new(keys, Arc::clone(&manifests), provider));
    let sealed = |inner| -> SharedObjects { Arc::new(SealedObjects::new(inner, Arc::clone(&ring))) };
    Ok((sealed(objects), sealed(manifests)))
}

/// The first revision; of several nodes that try, one makes it.
fn made(manifests: &dyn Objects, provider: &dyn KeyProvider) -> Result<Keyring, OpenError> {
    let ring = Keyring::new(provider)?;
    match create(manifests, &path_of(1), ring.encode().as_bytes()).map_err(NotCreated::into_error)? {
        Created::Ours => Ok(ring),
        Created::Others => match newest(manifests)? {
            Some((_, ring)) => Ok(ring),
            None => Err(ObjectError::NotFound { path: path_of(1) }.into()),
        },
    }
}

/// What a rotation did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rotated {
    /// The keyring's revision now.
    pub revision: u64,
    /// Keys that were wrapped again.
    pub wrapped: u64,
    /// Number of the new key, which seals from now on.
    pub current: u64,
}

/// Wraps every key of a store again, by the provider's current version, and adds a new one. `on_key` is told of each that is wrapped.
/// `None`: the store has no keyring.
///
/// # Errors
/// The provider; the objects. Nothing has changed then, or all of it.
pub fn rotate_keyring(
    manifests: &dyn Objects,
    provider: &dyn KeyProvider,
    on_key: &mut dyn FnMut(u64),
) -> Result<Option<Rotated>, OpenError> {
    for _ in 0..TRIES {
        let Some((revision, ring)) = newest(manifests)? else { return Ok(None) };
        let next = ring.rotated(provider, &mut *on_key)?;
        let path = path_of(revision + 1);
        match create(manifests, &path, next.encode().as_bytes()).map_err(NotCreated::into_error)? {
            Created::Ours => {
                let older =
                    (1..=revision).rev().map(path_of).take_while(|path| manifests.exists(path).unwrap_or(false));
                // what stays is read by nobody
                manifests.delete_all(&older.collect::<Vec<_>>())?;
                let wrapped = ring.keys().len() as u64;
                return Ok(Some(Rotated { revision: revision + 1, wrapped, current: wrapped + 1 }));
            }
            // another rotation was faster: upon its revision
            Created::Others => {}
        }
    }
    Err(OpenError::Contended)
}
