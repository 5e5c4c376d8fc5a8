//! Callers that are limited to tenants: what they may append, and which streams they see.
//!
//! A stream belongs to the tenant of its first event, which its head keeps; one with events of several tenants belongs to nobody
//! ([`MIXED_TENANTS`]) and is for callers without limits. Invariant: whether a row is seen is decided by its stream's owner and by
//! its own tenant, both; holes are judged before, on the whole stream.
//!
//! The owner is a hash of 64 bits, which another name may have. Who reads is told nothing by that: rows are compared in full, and where there are none one
//! is asked for (`read/named.rs`). An append is judged by the hash alone: no row is at hand, and one would have to be read of each stream of a body, from files
//! and object stores that an append does not wait for. So names are held against each other where scopes are made: a token file has no two tenants of one hash.
//! What is left is a tenant that stands in no line of it.

use crate::append::{AppendError, Refusal, SettledError, with_rows};
use crate::store::{Buckets, LogShared, Store};
use foldhash::fast::FixedState;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use strandline_durable::{MIXED_TENANTS, tenant_hash};
use strandline_event::hash::{keyed_hash, stream_hash};
use strandline_event::{BatchBytes, BatchView, Chunk, EventRef, bucket_of};

/// Streams whose owners one read remembers.
const REMEMBERED_MAX: usize = 4096;

/// The tenants that a caller is limited to; at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TenantScope {
    names: Vec<String>,
    hashes: Vec<u64>,
}

impl TenantScope {
    /// These and no others.
    #[must_use]
    pub fn new(names: Vec<String>) -> Self {
        let hashes = names.iter().map(|name| tenant_hash(Some(name))).collect();
        Self { names, hashes }
    }

    /// Whether an event of this tenant is one of the caller's.
    #[must_use]
    pub fn holds(&self, tenant: Option<&str>) -> bool {
        tenant.is_some_and(|tenant| self.names.iter().any(|name| name == tenant))
    }

    /// Whether a stream with this owner is one of the caller's.
    #[must_use]
    pub fn owns(&self, owner: u64) -> bool {
        owner != MIXED_TENANTS && self.hashes.contains(&owner)
    }

    /// A batch as this caller's own: the mark of a chunk is known to callers of the same tenants alone. Else one tenant could take
    /// another's chunk for stored by sending something under its digest, or learn that it was loaded. `None`: it cannot be built.
    #[must_use]
    pub fn with_own_chunk(&self, batch: BatchBytes, key: (u64, u64)) -> Option<BatchBytes> {
        let view = batch.view();
        let Some(chunk) = view.chunk() else { return Some(batch) };
        with_rows(view, Some(self.own_chunk(chunk, key)), 0..view.rows())
    }

    fn own_chunk(&self, chunk: Chunk, key: (u64, u64)) -> Chunk {
        let mut names: Vec<&[u8]> = self.names.iter().map(String::as_bytes).collect();
        names.sort_unstable();
        let parts: Vec<&[u8]> = [b"chunk of tenants", &chunk.digest[..]].into_iter().chain(names).collect();
        Chunk { digest: keyed_hash(key.0, key.1, &parts).to_be_bytes(), number: chunk.number }
    }

    /// The tenants.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

/// The owner of a stream whose events so far have the one owner and whose others have the other.
#[must_use]
pub(crate) const fn joined(one: u64, other: u64) -> u64 {
    if one == other { one } else { MIXED_TENANTS }
}

impl Store {
    /// Whether a caller sees a stream. One that does not exist is seen by nobody.
    ///
    /// # Errors
    /// Heads that cannot be read.
    pub fn sees_stream(&self, scope: &TenantScope, stream_type: &str, stream_id: &str) -> Result<bool, SettledError> {
        Ok(self.owner_tenant(stream_type, stream_id)?.is_some_and(|owner| scope.owns(owner)))
    }

    /// Streams of a batch that are there and not the caller's, by their places in it. They never will be: their log refuses what this caller appends.
    ///
    /// # Errors
    /// Heads that cannot be read.
    pub fn streams_of_others(
        &self,
        scope: &TenantScope,
        batch: BatchView<'_>,
    ) -> Result<BTreeSet<usize>, SettledError> {
        let mut others = BTreeSet::new();
        for stream in 0..batch.stream_count() {
            let owner = self.owner_tenant(batch.stream_type(), batch.stream(stream))?;
            if owner.is_some_and(|owner| !scope.owns(owner)) {
                others.insert(stream);
            }
        }
        Ok(others)
    }

    /// The first row of a batch that its log refuses this caller for good, by its tenant or by whose stream it is, as far as this node has the log: another
    /// one may lead it, and know more. Whose a stream is stays so, or becomes nobody's.
    ///
    /// # Errors
    /// Heads that cannot be read.
    pub fn row_of_others(&self, scope: &TenantScope, batch: BatchView<'_>) -> Result<Option<Refusal>, SettledError> {
        let mut owners: Vec<Option<u64>> = vec![None; batch.stream_count()];
        for row in 0..batch.rows() {
            let refused = |error| Ok(Some(Refusal { row: Some(row as u32), error }));
            let tenant = batch.tenant_id(row);
            if !scope.holds(tenant) {
                return refused(AppendError::OtherTenant);
            }
            let (tenant, stream) = (tenant_hash(tenant), batch.stream_of(row));
            let Some(known) = owners.get_mut(stream) else { continue };
            let stream_id = batch.stream(stream);
            let owner = match *known {
                Some(owner) => owner,
                // of a new stream the tenant of its first row
                None => self.owner_tenant(batch.stream_type(), stream_id)?.unwrap_or(tenant),
            };
            *known = Some(owner);
            if owner != tenant {
                return refused(AppendError::OtherOwner { stream_id: stream_id.to_owned() });
            }
        }
        Ok(None)
    }

    /// The owner of a stream as its head keeps it; `None`: there is no such stream here.
    fn owner_tenant(&self, stream_type: &str, stream_id: &str) -> Result<Option<u64>, SettledError> {
        let Some(shared) = self.log(&self.owner_of(stream_type, stream_id)) else { return Ok(None) };
        Ok(shared.published().head(stream_id)?.map(|head| head.tenant))
    }
}

/// Which rows of one read its caller sees. It remembers the owners of streams for as long as the read takes.
pub struct Visible {
    scope: Arc<TenantScope>,
    logs: Vec<Arc<LogShared>>,
    buckets: Arc<Buckets>,
    known: HashMap<(usize, u128), bool, FixedState>,
}

impl Visible {
    /// For a read of a store that begins now.
    #[must_use]
    pub fn new(store: &Store, scope: &Arc<TenantScope>) -> Self {
        // what has a log has its number of buckets already: the logs first
        let logs = store.logs();
        Self { scope: Arc::clone(scope), logs, buckets: store.buckets(), known: HashMap::default() }
    }

    /// Whether the caller sees an event. What began after the read is not seen.
    ///
    /// # Errors
    /// Heads that cannot be read.
    pub fn sees(&mut self, event: &EventRef<'_>) -> Result<bool, SettledError> {
        if !self.scope.holds(event.tenant_id) {
            return Ok(false);
        }
        let stream = stream_hash(event.stream_id);
        let bucket = bucket_of(stream, self.buckets.get(event.stream_type).copied().unwrap_or(1));
        let owns = |log: &Arc<LogShared>| log.key.bucket == bucket && &*log.key.stream_type == event.stream_type;
        let Some(log) = self.logs.iter().position(owns) else { return Ok(false) };
        if let Some(seen) = self.known.get(&(log, stream)) {
            return Ok(*seen);
        }
        let head = match self.logs.get(log) {
            Some(shared) => shared.published().head_by_hash(stream)?,
            None => None,
        };
        let seen = head.is_some_and(|head| self.scope.owns(head.tenant));
        if self.known.len() >= REMEMBERED_MAX {
            self.known.clear();
        }
        self.known.insert((log, stream), seen);
        Ok(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_holds_its_tenants_and_owns_no_stream_of_several() {
        let scope = TenantScope::new(vec!["acme".to_owned(), "zeta".to_owned()]);
        assert!(scope.holds(Some("acme")) && !scope.holds(Some("Acme")) && !scope.holds(None));
        assert!(scope.owns(tenant_hash(Some("zeta"))) && !scope.owns(tenant_hash(Some("other"))));
        assert!(!scope.owns(0) && !scope.owns(MIXED_TENANTS));
        assert_eq!(scope.names(), ["acme", "zeta"]);
        assert_eq!((joined(3, 3), joined(3, 0), joined(MIXED_TENANTS, 3)), (3, MIXED_TENANTS, MIXED_TENANTS));
    }
}
