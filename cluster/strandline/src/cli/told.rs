//! Options of `serve` for what a node tells of itself while it runs.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// How the log is written.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line, for programs that collect logs
    Json,
}

/// Options of `serve` for its log and for traces.
#[derive(Args, Debug)]
#[command(next_help_heading = "Log and traces")]
pub(crate) struct ServeTold {
    /// How the log is written to stderr (what is in it, STRANDLINE_LOG says)
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Send traces to the collector at this address, by OTLP over HTTP (`http://127.0.0.1:4318`); only of a program that was built with
    /// the feature `otel`
    #[arg(long, value_name = "URL")]
    pub(crate) traces: Option<String>,
    /// The authorities that the collector's certificate is trusted by (PEM), for an https:// address
    #[arg(long, value_name = "FILE", requires = "traces")]
    pub(crate) traces_ca: Option<PathBuf>,
    /// How many of the traces that begin here are sent, in percent; one that a client began is sent if the client says so
    #[arg(long, value_name = "PERCENT", default_value = "100", value_parser = crate::value::whole::<u8>(0..=100))]
    pub(crate) traces_share: u8,
}
