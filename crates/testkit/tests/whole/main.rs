//! Tests of a whole store, in one program: each one more would be built and linked with all that lies below it. What has an allocator of its own stays beside it.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/two_owners.rs"]
mod two_owners;

mod append_rules;
mod as_of;
mod buckets;
mod busy_owner;
mod cold_lookup;
mod damage;
mod discard;
mod follow;
mod holes;
mod judged_start;
mod lost_logs;
mod memory_alone;
mod merges;
mod names;
mod no_log;
mod no_log_told;
mod pages;
mod read_tiers;
mod rebuilt_runs;
mod replaced_keys;
mod replicas;
mod retention;
mod rivals;
mod rivals_no_log;
mod rivals_retention;
mod settling;
mod single_rows;
mod statement_outcome;
mod store;
mod subscribe;
mod verify_heads;
mod verify_owners;
mod windows;
