//! Compaction as it runs on a node: when (supervisor), where (workers), and what happened (the book of jobs).

pub(crate) mod handing;
pub(crate) mod helping;
pub(crate) mod job;
pub(crate) mod merge;
pub(crate) mod pace;
pub(crate) mod pause;
pub(crate) mod phases;
pub(crate) mod run;
pub(crate) mod supervisor;
pub(crate) mod worker;
