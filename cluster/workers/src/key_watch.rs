//! Looks now and then whether the next start would still get the key of an encrypted store. What is open needs no key service, so nothing else
//! would find out that it is away before a start fails.
//!
//! A look is two small requests to the place of the manifests and one to the provider, each hour one for every key. It has a thread of its own, which
//! nobody waits for: a key service that hangs holds up neither the node nor its end.

use crate::store::StoreParts;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::Duration;
use strandline_durable::KeyLook;
use strandline_engine::store::Store;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// While something is wrong.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// One of so many looks opens every key: the provider may have lost what opens an older one.
const LOOKS_OF_ALL: u32 = 360;

#[derive(Debug, Default)]
struct End {
    is_near: Mutex<bool>,
    rings: Condvar,
}

/// The looks of a node that runs; they end with it.
#[derive(Debug)]
pub(crate) struct KeyWatches(Arc<End>);

impl KeyWatches {
    /// Begins to look after the key of every encrypted store.
    pub(crate) fn start(stores: &[Arc<StoreParts>]) -> Self {
        let watches = Self(Arc::default());
        for parts in stores.iter().filter(|parts| parts.store.durable().keys().is_some()) {
            let (store, end) = (Arc::clone(&parts.store), Arc::clone(&watches.0));
            let name = store.name().to_owned();
            let thread = std::thread::Builder::new().name("keys".to_owned()).spawn(move || look_after(&store, &end));
            if let Err(error) = thread {
                tracing::warn!(store = name, "nobody looks after its keys: no thread ({error})");
            }
        }
        watches
    }

    /// Looks no more: the node stops.
    pub(crate) fn stop(&self) {
        *self.0.is_near.lock() = true;
        self.0.rings.notify_all();
    }
}

impl Drop for KeyWatches {
    fn drop(&mut self) {
        self.stop();
    }
}

fn look_after(store: &Store, end: &End) {
    let (mut was_well, mut looks) = (true, 0);
    loop {
        let pause = if was_well { LOOK_EVERY } else { LOOK_AGAIN };
        let mut is_near = end.is_near.lock();
        if !*is_near {
            // woken for nothing it looks earlier
            let _ = end.rings.wait_for(&mut is_near, pause);
        }
        if *is_near {
            return;
        }
        drop(is_near);
        looks = (looks + 1) % LOOKS_OF_ALL;
        store.durable().look_at_keys(if looks == 0 { KeyLook::All } else { KeyLook::Current });
        let (trouble, name) = (store.durable().key_trouble(), store.name());
        match &trouble {
            Some(why) if was_well => tracing::warn!(store = name, "the next start would not open the store: {why}"),
            None if !was_well => tracing::info!(store = name, "the key of the store is to be had again"),
            _ => {}
        }
        was_well = trouble.is_none();
    }
}
