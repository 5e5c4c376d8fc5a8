//! `strandline check`: every key's effective value, or every error of the file in one run.

use crate::cli::{Check, CheckFormat};
use crate::exit::Failure;
use crate::out;
use std::io::Read as _;
use std::path::Path;
use strandline_deql::{self as deql, Declarations, Diagnostics, Statement, StoreConfig};

pub(crate) fn run(options: &Check) -> Result<(), Failure> {
    let (name, bytes) = read(&options.file)?;
    match (deql::parse_bytes(&name, &bytes), options.format) {
        (Ok(declarations), CheckFormat::Table) => {
            print_tables(&declarations)?;
            if let Some(next) = next(&options.file, &declarations) {
                out::note(&next);
            }
            Ok(())
        }
        (Ok(declarations), CheckFormat::Json) => print_json(&deql::check_json(&declarations)),
        (Err(errors), CheckFormat::Table) => Err(not_valid(&name, &errors)),
        (Err(errors), CheckFormat::Json) => {
            print_json(&errors)?;
            Err(Failure::Usage(format!("{name} is not valid")))
        }
    }
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    out::line(&serde_json::to_string_pretty(value).map_err(|e| Failure::Usage(e.to_string()))?)
}

/// Reads and parses a file of statements (`-`: stdin); the failure shows all its errors in the source.
pub(crate) fn load(file: &Path) -> Result<Declarations, Failure> {
    let (name, bytes) = read(file)?;
    deql::parse_bytes(&name, &bytes).map_err(|errors| not_valid(&name, &errors))
}

fn read(file: &Path) -> Result<(String, Vec<u8>), Failure> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map_err(|e| Failure::file("read", file, &e))?;
        return Ok(("<stdin>".to_owned(), bytes));
    }
    Ok((file.display().to_string(), std::fs::read(file).map_err(|e| Failure::file("read", file, &e))?))
}

fn not_valid(name: &str, errors: &Diagnostics) -> Failure {
    let text = errors.render(out::coloured());
    Failure::Usage(format!("{name} is not valid\n{}", text.trim_end()))
}

fn print_tables(declarations: &Declarations) -> Result<(), Failure> {
    for declared in &declarations.stores {
        print_store(&declared.config)?;
    }
    if !declarations.aggregates.is_empty() {
        let names: Vec<&str> = declarations.aggregates.iter().map(|a| a.value.as_str()).collect();
        out::line(&format!("registered stream types: {}", names.join(", ")))?;
    }
    if declarations.stores.is_empty() {
        out::line("the file is valid and declares no store: `serve` needs a CREATE EVENTSTORE statement")?;
    }
    declarations.statements.iter().try_for_each(|statement| answer(statement, declarations))
}

/// Answers the statements that ask for something, from what the file itself declares.
fn answer(statement: &Statement, declarations: &Declarations) -> Result<(), Failure> {
    let names = || declarations.stores.iter().map(|s| s.config.name.as_str()).collect::<Vec<_>>().join(", ");
    match statement {
        Statement::CreateEventStore { .. } | Statement::CreateAggregate { .. } => Ok(()),
        Statement::DescribeEventStore { name } => {
            let found = declarations.stores.iter().find(|s| s.config.name == *name);
            let unknown = || {
                Failure::Usage(format!(
                    "DESCRIBE EVENTSTORE {name}: the file declares no such store (it declares {}); a running node answers it \
                     under POST /api/deql/create",
                    names()
                ))
            };
            print_json(&deql::store_json(&found.ok_or_else(unknown)?.config))
        }
        Statement::DescribeEventStores => out::line(&format!("eventstores: {}", names())),
        Statement::ExportDereg => {
            declarations.stores.iter().try_for_each(|declared| out::line(deql::print(&declared.config).trim_end()))
        }
    }
}

/// What to do with a file that is valid; `None`: nothing can be served of it.
fn next(file: &Path, declarations: &Declarations) -> Option<String> {
    let is_served = |config: &StoreConfig| deql::serve_refusals(config).is_empty();
    if declarations.stores.is_empty() || !declarations.stores.iter().all(|declared| is_served(&declared.config)) {
        return None;
    }
    // without a certificate such a store is not served
    let with_tls = match declarations.stores.iter().any(|declared| declared.config.security.encrypt_in_transit) {
        true => {
            " --tls-cert certs/server.pem --tls-key certs/server.key (for security.encrypt.in_transit; `strandline certs dev --dir certs` makes these \
             for development, and commands then take --url https://127.0.0.1:7070 --tls-ca certs/ca.pem)"
        }
        false => "",
    };
    Some(match file == Path::new("-") {
        true => format!("valid: put it into a file, and run it: strandline serve --config FILE{with_tls}"),
        false => {
            let shown = file.display().to_string();
            // as a shell takes it
            let is_plain = shown.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-'));
            let shown = if is_plain { shown } else { format!("'{}'", shown.replace('\'', r"'\''")) };
            format!("valid; run it: strandline serve --config {}{with_tls}", out::escaped(&shown))
        }
    })
}

fn print_store(config: &StoreConfig) -> Result<(), Failure> {
    out::line(&format!("EVENTSTORE {}", config.name))?;
    let rows = deql::check_rows(config).into_iter().map(|row| {
        let (value, source) = (row.value_text(), row.source().to_owned());
        vec![row.key.to_owned(), value, source, row.note.unwrap_or_default()]
    });
    out::line(&out::table(&["key", "value", "from", "note"], rows))?;
    for (key, why) in deql::serve_refusals(config) {
        out::line(&format!("`serve` refuses {key}: {why}"))?;
    }
    for (key, why) in deql::warnings(config) {
        out::line(&format!("warning: {key}: {why}"))?;
    }
    for (key, why) in deql::hints(config) {
        out::line(&format!("hint: {key}: {why}"))?;
    }
    for (key, why) in deql::not_active_yet(config) {
        out::line(&format!("not active yet: {key}: {why}"))?;
    }
    Ok(())
}
