//! What the benches share: stores that look like those of a year of work, made in minutes, and those who append.

pub mod appenders;
pub mod calls;
pub mod cold;
pub mod jobs;
