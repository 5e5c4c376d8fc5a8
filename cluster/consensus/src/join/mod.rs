//! How a node becomes a member: what its data folder and its options make of it, and the proof that it shares the stores.
//!
//! ```text
//!  joining node                                   a member (any)
//!    Join { who I am } ───────────────────────────> AddNode (meta group); a probe in every store's durable.path
//!    <──────────── Offer { cluster, stores, probes }
//!    reads .cluster and each probe, writes one of its own beside each
//!    Prove { what the probes hold, my probes } ───> reads them; all as told: Admit (meta group)
//!    <──────────────────────────────── Admitted
//! ```
//!
//! Both sides may repeat any step. It refuses to trust a path: that two nodes are told the same folder says nothing, what one
//! writes and the other reads does.

mod codec;
mod probe;
mod start;

pub use codec::{AskKind, Join, Offer, OfferedStore, Proof, StoreProof};
pub use probe::{Place, ProofError, check_proof, offer_store, prove_store};
pub use start::{Folder, Membership, StartFlags, StartRefused, start};
