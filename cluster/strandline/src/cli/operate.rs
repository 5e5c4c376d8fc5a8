//! Options of the commands by which operators steer what a store keeps: retention, redaction, named subscriptions.

use super::{CheckFormat, OnStore};
use clap::{Args, Subcommand};

/// What `retention` does.
#[derive(Subcommand, Debug)]
pub(crate) enum Retention {
    /// Take out now what is too old, and wait for the end
    Run(RetentionRun),
    /// Bring back what retention took out, as long as it is in its grace period
    Restore(RetentionRestore),
}

/// Options of `retention run`.
#[derive(Args, Debug)]
pub(crate) struct RetentionRun {
    /// Say which files would go, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// With --dry-run: only files of this stream type (a run takes those of all)
    #[arg(long)]
    pub(crate) stream_type: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: CheckFormat,
    /// Where the server is.
    #[command(flatten)]
    pub(crate) on: OnStore,
}

/// Options of `retention restore`.
#[derive(Args, Debug)]
pub(crate) struct RetentionRestore {
    /// Only the files of this partition, by its folders: `dt=2026-11-23`, several with `/` between them (without: all)
    #[arg(long, value_name = "FOLDERS")]
    pub(crate) partition: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: CheckFormat,
    /// Where the server is.
    #[command(flatten)]
    pub(crate) on: OnStore,
}

/// Options of `redact`.
#[derive(Args, Debug)]
pub(crate) struct Redact {
    /// The event whose payload and metadata are taken away
    #[arg(long, value_name = "UUID", required_unless_present = "seq", conflicts_with_all = ["stream_type", "stream_id", "seq"])]
    pub(crate) event_id: Option<String>,
    /// The same by its place: the type of its stream
    #[arg(long, requires = "stream_id")]
    pub(crate) stream_type: Option<String>,
    /// By its place: its stream
    #[arg(long, requires = "seq")]
    pub(crate) stream_id: Option<String>,
    /// By its place: which event of the stream
    #[arg(long, requires = "stream_type", value_parser = crate::value::whole::<u64>(1..=u64::MAX))]
    pub(crate) seq: Option<u64>,
    /// Why; it is kept with the redaction for ever
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: CheckFormat,
    /// Where the server is.
    #[command(flatten)]
    pub(crate) on: OnStore,
}

/// What `subscriptions` does.
#[derive(Subcommand, Debug)]
pub(crate) enum Subscriptions {
    /// List named subscriptions: where they stand, and how many events they have parked
    List(SubscriptionsList),
    /// Show a named subscription, and the events that it has parked
    Show(SubscriptionsShow),
    /// Have parked events given again: all, or one
    Replay(SubscriptionsReplay),
    /// Delete a named subscription: its position and what it has parked are forgotten
    Delete(SubscriptionsDelete),
}

/// Options of `subscriptions list`.
#[derive(Args, Debug)]
pub(crate) struct SubscriptionsList {
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: CheckFormat,
    /// Where the server is.
    #[command(flatten)]
    pub(crate) on: OnStore,
}

/// Options of `subscriptions show`.
#[derive(Args, Debug)]
pub(crate) struct SubscriptionsShow {
    /// Name of the subscription
    #[arg(long)]
    pub(crate) name: String,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: CheckFormat,
    /// Where the server is.
    #[command(flatten)]
    pub(crate) on: OnStore,
}

/// Options of `subscriptions replay`.
#[derive(Args, Debug)]
pub(crate) struct SubscriptionsReplay {
    /// Name of the subscription
    #[arg(long)]
    pub(crate) name: String,
    /// Only the event that `subscriptions show` lists at this position (without: all that are parked)
    #[arg(long)]
    pub(crate) position: Option<String>,
    /// Where the server is.
    #[command(flatten)]
    pub(crate) on: OnStore,
}

/// Options of `subscriptions delete`.
#[derive(Args, Debug)]
pub(crate) struct SubscriptionsDelete {
    /// Name of the subscription
    #[arg(long)]
    pub(crate) name: String,
    /// Where the server is.
    #[command(flatten)]
    pub(crate) on: OnStore,
}
