//! `strandline token`: a token for somebody, and its line for the token file; who has one; and the way back. No hash is ever printed again.

use crate::cli::{CheckFormat, Token, TokenList, TokenNew, TokenRevoke, TokenRole};
use crate::exit::Failure;
use crate::out;
use serde_json::{Value, json};
use strandline_server::access::{Role, TokenFileError, TokenLine, append_line, list_lines, remove_line, token};

const COLUMNS: &[&str] = &["name", "roles", "stores", "tenants"];

pub(crate) fn run(command: &Token) -> Result<(), Failure> {
    match command {
        Token::New(options) => new(options),
        Token::List(options) => list(options),
        Token::Revoke(options) => revoke(options),
    }
}

fn list(options: &TokenList) -> Result<(), Failure> {
    let lines = list_lines(&options.file).map_err(not_taken)?;
    let row = |line: &TokenLine, all: Value| {
        let some = |list: &Option<Vec<String>>| list.as_ref().map_or(all.clone(), |list| json!(list));
        json!({ "name": line.name, "roles": line.roles, "stores": some(&line.stores), "tenants": some(&line.tenants) })
    };
    let rows = |all: &Value| lines.iter().map(|line| row(line, all.clone())).collect::<Vec<_>>();
    match options.format {
        CheckFormat::Json => {
            let all = json!({ "tokens": rows(&Value::Null) });
            out::line(&serde_json::to_string_pretty(&all).map_err(|e| Failure::Server(e.to_string()))?)
        }
        CheckFormat::Table if lines.is_empty() => {
            out::line("no token stands in it: nobody but load balancers is answered")
        }
        CheckFormat::Table => out::line(&out::json_table(&rows(&json!("all")), COLUMNS)),
    }
}

fn revoke(options: &TokenRevoke) -> Result<(), Failure> {
    let TokenRevoke { file, name } = options;
    if !remove_line(file, name).map_err(not_taken)? {
        let known = "`strandline token list` shows those that stand in it";
        return Err(Failure::No(format!("no token in {} is called {name}: {known}", file.display())));
    }
    out::note(
        "strandline: it is taken back: a node that runs with this file reads it again within two seconds, or at SIGHUP",
    );
    Ok(())
}

fn not_taken(error: TokenFileError) -> Failure {
    Failure::Usage(error.to_string())
}

fn new(options: &TokenNew) -> Result<(), Failure> {
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
        append_line(file, &made.line).map_err(not_taken)?;
        out::note("strandline: this is the token; it stands nowhere else");
        return out::line(&made.token);
    }
    out::note("strandline: the token, which stands nowhere else, and the line for the token file");
    out::line(&made.token)?;
    out::line(&made.line)
}
