//! The native protocol: its frames (PROTOCOL.md says them byte by byte) and the Rust client.
//!
//! ```text
//!  wire   frames and bodies, no I/O: what a client and a server share
//!  net    the client: one connection, many requests in flight, single appends gathered, retries that are safe
//! ```
//!
//! It knows the event vocabulary and nothing of a store: no tier, no rule, no actor. Only `net` knows a runtime.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use strandline_client::{BatchBuilder, BatchUnit, Client, EventInput, Expected, Options};
//! let client = Client::connect(Options::new("127.0.0.1:7071")).await?;
//! let mut batch = BatchBuilder::new("Call", BatchUnit::Append);
//! let (command_id, data) = (Some("call-7/ended"), "{\"seconds\":12}");
//! batch.push(&EventInput { stream_id: "call-7", event_type: "CallEnded", command_id, data, ..EventInput::default() })?;
//! let stored = client.append(batch.finish()?, Expected::Any).await?;
//! println!("seq {}", stored.first_seq());
//! # Ok(()) }
//! ```

mod net;
pub mod wire;

pub use net::{
    Client, ClientError, ClusterClient, ClusterOptions, Followed, Options, Page, Parts, Scan, Subscription, Tls,
};
pub use strandline_event::{BatchBuilder, BatchBytes, BatchUnit, EventInput, EventRef, Position, Seq};
pub use wire::append::{Expected, OnError};
pub use wire::events::Events;
pub use wire::hello::Welcome;
pub use wire::outcome::{Appended, BulkOutcomes, KnownEvent, PartAppended, RejectedRow, StoredEvent};
pub use wire::read::{AllWanted, Direction, Filter, HeadIs, PageFacts, StreamWanted};
pub use wire::refused::Refused;
pub use wire::stay::Stay;
pub use wire::subscribe::{PartFacts, SubscribeWanted};
