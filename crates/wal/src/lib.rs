//! The log tier: one log of opaque entries per folder, made of segments of frames.
//!
//! It knows frames, segments, files and durability. It refuses to know events, streams, seqs, JSON, actors, the wall
//! clock and randomness. `FORMAT.md` says every byte.
//!
//! ```text
//!  push -> LogWriter (pure) -> Group -> LogIo (one thread a disk, or the caller's: write, fdatasync, callback)
//!             ^                                     |
//!             +---- committed(group) <--------------+
//!             |
//!             +---> LogView (ArcSwap) -> readers: frames(from, to), no lock, no mailbox
//! ```
//!
//! Invariant: nothing is in a view before it is durable, and a block that holds acknowledged frames is never written again.

mod ahead;
mod at_disk;
pub mod buffer;
mod cleaner;
pub mod config;
#[cfg(any(test, feature = "testkit"))]
pub mod crash_disk;
pub mod decide;
pub mod disk;
pub mod dump;
pub mod entries;
pub mod files;
#[cfg(any(test, feature = "testkit"))]
pub mod folders;
#[cfg(any(test, feature = "testkit"))]
pub mod forge;
pub mod frame;
pub mod group;
pub mod io;
mod map;
pub mod membership;
pub mod names;
pub mod num;
pub mod open;
pub mod reader;
pub mod real_disk;
pub mod recovery;
pub mod replicated;
mod rollover;
pub mod scan;
mod sealed;
pub mod segment;
pub mod space;
mod staged;
pub mod state;
mod tags;
pub mod trim;
pub mod verify;
pub mod view;
pub mod wire;
pub mod writer;

#[cfg(test)]
mod tests;

pub use config::{Committed, Entry, LogConfig, PushError, Pushed, Rollover};
pub use disk::{Access, DeviceSpace, Disk, DiskFile};
pub use entries::StoredEntry;
pub use frame::{FrameHeader, FrameKind};
pub use group::Group;
pub use io::{FatalIo, GroupFailed, InlineIo, IoThread, LogIo, OnCommit, OnFatal};
pub use map::Mapped;
pub use membership::Membership;
pub use names::{SegmentPattern, log_folder_name};
pub use num::{GroupNo, LeaderId, LogId, SegmentNo, Vote};
pub use open::{LogIdentity, OpenError, OpenLog, OpenedLog, open_log, open_read_only};
pub use reader::{FrameIter, FrameLoc, FrameView, ReadError};
pub use real_disk::RealDisk;
pub use recovery::{Corrupt, Cut, Recovered, any_begun};
pub use replicated::{Content, Last};
pub use space::Room;
pub use view::{LogView, SegmentBytes, SegmentInfo, SharedView};
pub use writer::LogWriter;
