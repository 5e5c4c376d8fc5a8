//! Options of the commands on a token file.

use super::CheckFormat;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Commands on tokens.
#[derive(Subcommand, Debug)]
pub(crate) enum Token {
    /// Make a token: it is printed once, the token file keeps its hash
    New(TokenNew),
    /// List who has a token: names, roles, stores and tenants, and nothing of the tokens themselves
    List(TokenList),
    /// Take a token back: its line goes out of the token file, which a node that runs reads again
    Revoke(TokenRevoke),
}

/// Options of `token new`. The lists are words with commas between them.
#[derive(Args, Debug)]
pub(crate) struct TokenNew {
    /// What the audit log calls its owner
    #[arg(long)]
    pub(crate) name: String,
    /// What it may do; admin may do everything
    #[arg(long, value_enum, value_delimiter = ',', required = true)]
    pub(crate) role: Vec<TokenRole>,
    /// The stores that exist for it (without: all)
    #[arg(long = "stores", value_name = "NAMES", value_delimiter = ',')]
    pub(crate) stores: Vec<String>,
    /// The tenants whose streams exist for it, once for each (without: all streams)
    #[arg(long = "tenant-id", value_name = "TENANT")]
    pub(crate) tenants: Vec<String>,
    /// Put its line at the end of this token file (made if it is not there); without it the line is printed too
    #[arg(long = "token-file", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// Roles of tokens.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TokenRole {
    Append,
    Read,
    Admin,
}

/// Options of `token list`.
#[derive(Args, Debug)]
pub(crate) struct TokenList {
    /// The token file
    #[arg(long = "token-file", alias = "file", value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: CheckFormat,
}

/// Options of `token revoke`.
#[derive(Args, Debug)]
pub(crate) struct TokenRevoke {
    /// The token file
    #[arg(long = "token-file", alias = "file", value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// What the audit log calls its owner
    #[arg(long)]
    pub(crate) name: String,
}
