//! The log and the group over disks that crash.

mod histories;
mod members;
mod suite;
mod tape;
mod world;
