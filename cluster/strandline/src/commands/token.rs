//! `strandline token new`: a token for somebody, and its line for the token file.

use crate::cli::{TokenNew, TokenRole};
use crate::exit::Failure;
use crate::out;
use strandline_server::access::{Role, TokenLine, append_line, token};

pub(crate) fn new(options: &TokenNew) -> Result<(), Failure> {
    let role = |role: &TokenRole| match role {
        TokenRole::Append => Role::Append,
        TokenRole::Read => Role::Read,
        TokenRole::Admin => Role::Admin,
    };
    let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let line = TokenLine {
        name: options.name.clone(),
        sha256: String::new(),
        roles: options.role.iter().map(role).collect(),
        stores: some(&options.stores),
        tenants: some(&options.tenants),
    };
    let made = token::make(line).map_err(Failure::Usage)?;
    if let Some(file) = &options.file {
        append_line(file, &made.line).map_err(|error| Failure::Usage(error.to_string()))?;
        out::note("strandline: this is the token; it stands nowhere else");
        return out::line(&made.token);
    }
    out::note("strandline: the token, which stands nowhere else, and the line for the token file");
    out::line(&made.token)?;
    out::line(&made.line)
}
