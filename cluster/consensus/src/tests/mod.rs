//! The log and the group over disks that crash.

mod ahead;
mod clients;
mod disks;
mod histories;
mod lost;
mod members;
mod spread;
mod suite;
mod tape;
mod watched;
mod wire;
mod world;
