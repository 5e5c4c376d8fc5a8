//! The tenants that events of streams have said, of streams whose heads callers ask for that are limited to tenants.
//!
//! A head keeps its owner as a hash of 64 bits under a key that everybody knows: who may choose a tenant's name could choose one that meets another's.
//! Rows say it in full; what they said is kept, so that a head is as cheap as ever from the second time on. It stays true: only a head changes its owner,
//! to several tenants, and is asked first. Bound: [`NAMED_MAX`] streams.

use crate::tenants::TenantScope;
use parking_lot::Mutex;
use std::collections::HashMap;
use strandline_event::hash::stream_hash;

/// Streams that are kept; then it begins anew.
const NAMED_MAX: usize = 4096;

/// Hashes of a stream's type and of its id.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct NamedStream(u128, u128);

impl NamedStream {
    pub(crate) fn new(stream_type: &str, stream_id: &str) -> Self {
        Self(stream_hash(stream_type), stream_hash(stream_id))
    }
}

/// The tenants of a store's streams.
#[derive(Default)]
pub(crate) struct Named(Mutex<HashMap<NamedStream, Box<str>>>);

impl Named {
    /// Whether an event of the stream has said a tenant of the caller's.
    pub(crate) fn is_of(&self, stream: NamedStream, scope: &TenantScope) -> bool {
        self.0.lock().get(&stream).is_some_and(|tenant| scope.holds(Some(tenant)))
    }

    /// An event of the stream says this one.
    pub(crate) fn keep(&self, stream: NamedStream, tenant: &str) {
        let mut all = self.0.lock();
        if all.len() >= NAMED_MAX && !all.contains_key(&stream) {
            all.clear();
        }
        all.insert(stream, tenant.into());
    }

    /// Forgets all of them.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_of_the_tenant_that_it_said_and_of_no_other_and_the_number_of_them_is_bounded() {
        let (named, scope) = (Named::default(), |tenant: &str| TenantScope::new(vec![tenant.to_owned()]));
        let stream = |n: usize| NamedStream::new("T", &n.to_string());
        named.keep(stream(0), "a");
        assert!(named.is_of(stream(0), &scope("a")));
        assert!(!named.is_of(stream(0), &scope("b")) && !named.is_of(stream(1), &scope("a")));
        assert!(!named.is_of(NamedStream::new("U", "0"), &scope("a")));
        (1..NAMED_MAX).for_each(|n| named.keep(stream(n), "a"));
        named.keep(stream(0), "a");
        assert!(named.is_of(stream(0), &scope("a")) && named.is_of(stream(1), &scope("a")));
        named.keep(stream(NAMED_MAX), "a");
        assert!(named.is_of(stream(NAMED_MAX), &scope("a")) && !named.is_of(stream(0), &scope("a")));
    }
}
