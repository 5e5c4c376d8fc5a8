//! What the benches share: stores that look like those of a year of work, made in minutes.

pub mod calls;
pub mod cold;
