//! The log and the group over disks that crash.

mod disks;
mod histories;
mod members;
mod suite;
mod tape;
mod world;
