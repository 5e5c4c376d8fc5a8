//! What is asked of a named subscription, and what is told of it.

use super::trouble::Trouble;
use strandline_engine::subscribe::durable::{Counts, Settings};
use strandline_event::{Micros, Position, Seq};

/// What a subscription shall be.
#[derive(Clone, Debug)]
pub struct SubscriptionWish {
    /// Filter, mode, attempts, time.
    pub settings: Settings,
    /// Behind which it begins; `None`: behind everything that is there now.
    pub after: Option<Position>,
}

/// A subscription as it is now.
#[derive(Clone, Debug)]
pub struct NamedStatus {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Micros,
    /// As it was made.
    pub settings: Settings,
    /// Everything up to here is acknowledged, parked, or not asked for.
    pub position: Position,
    /// Consumers, and events by state.
    pub counts: Counts,
    /// For how long the first event has been there that is asked for and is neither acknowledged nor parked, microseconds; 0: there is none, up to the newest
    /// event of the store. What nobody has looked at yet counts as asked for.
    pub lag_us: i64,
    /// Why its events cannot be read, while they cannot.
    pub trouble: Option<Trouble>,
    /// Parked events, oldest first.
    pub parked: Vec<ParkedEvent>,
}

/// A parked event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParkedEvent {
    /// Its position.
    pub position: Position,
    /// When it was parked.
    pub at: Micros,
    /// Attempts that failed.
    pub attempts: u32,
    /// Why.
    pub reason: String,
    /// It is to be given again.
    pub replayed: bool,
    /// Which one it is, where that was [looked up](crate::StoreHandle::name_parked): only the position is kept.
    pub event: Option<EventPlace>,
    /// Why it could not be looked up.
    pub unread: Option<String>,
}

/// Where an event stands in its stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventPlace {
    /// The stream's type.
    pub stream_type: String,
    /// The stream.
    pub stream_id: String,
    /// Its place there.
    pub seq: Seq,
}
