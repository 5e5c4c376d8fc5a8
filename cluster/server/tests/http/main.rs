//! The HTTP interface against a real node, one module a group of routes; and what the native protocol counts together with it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod access;
mod admin;
mod bounds;
mod buckets;
mod caps;
mod common;
mod console;
mod counted;
mod events;
mod frames;
mod full_disk;
mod histograms;
mod limits;
mod lost_answers;
mod native;
mod retention;
mod rows;
mod slow;
mod streams;
mod subscriptions;
mod tenant_faults;
mod tenant_ids;
mod tenant_pages;
mod tenant_pieces;
mod unauthenticated;
