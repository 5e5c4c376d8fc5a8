//! A file of statements: the stores and stream types that it declares.

use crate::config::StoreConfig;
use crate::diagnostic::{Diagnostic, DiagnosticKind, Diagnostics};
use crate::location::Location;
use crate::resolve::{Spans, resolve};
use crate::shown::Shown;
use crate::syntax::ast::{RawStatement, Span, Spanned};
use crate::syntax::parse::parse;

/// Longest text that is read; a statement with every key is below 10 KB.
const SOURCE_BYTES_MAX: usize = 1 << 20;
/// Stores of one file: every pair of them is compared.
const STORES_MAX: usize = 256;
/// Stream types of one file.
const AGGREGATES_MAX: usize = 4096;

/// What a file says, checked.
#[derive(Clone, PartialEq, Debug)]
pub struct Declarations {
    /// The statements in order, for those who answer them one by one.
    pub statements: Vec<Statement>,
    /// The stores; one that a later OR REPLACE of the file replaces is left out.
    pub stores: Vec<Declared>,
    /// The stream types of CREATE AGGREGATE.
    pub aggregates: Vec<Spanned<String>>,
}

/// A statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Statement {
    /// `CREATE [OR REPLACE] EVENTSTORE`: its configuration is in [`Declarations::stores`].
    CreateEventStore {
        /// Name of the store.
        name: String,
        /// Whether a store of that name may exist.
        or_replace: bool,
    },
    /// `CREATE AGGREGATE`
    CreateAggregate {
        /// Name of the stream type.
        name: String,
    },
    /// `DESCRIBE EVENTSTORE`
    DescribeEventStore {
        /// Name of the store.
        name: String,
    },
    /// `DESCRIBE EVENTSTORES`
    DescribeEventStores,
    /// `EXPORT DEREG`
    ExportDereg,
}

/// A store that a file declares.
#[derive(Clone, PartialEq, Debug)]
pub struct Declared {
    /// Its configuration.
    pub config: StoreConfig,
    /// Whether the statement says OR REPLACE.
    pub or_replace: bool,
    /// Where its name stands.
    pub name_span: Span,
    /// Where each key stands that it sets.
    pub spans: Spans,
}

/// Reads and checks a file.
///
/// # Errors
/// All mistakes of the file.
pub fn parse_file(name: &str, text: &str) -> Result<Declarations, Diagnostics> {
    if text.len() > SOURCE_BYTES_MAX {
        let message = format!("the file has {} bytes; at most {SOURCE_BYTES_MAX} are read", text.len());
        let error = Diagnostic::new(DiagnosticKind::File, Span::default(), message);
        return Err(Diagnostics::new(name, "", Shown::default(), vec![error]));
    }
    let (raw, mut errors) = parse(text);
    let mut out = Declarations { statements: Vec::new(), stores: Vec::new(), aggregates: Vec::new() };
    for statement in &raw {
        out.add(statement, &mut errors);
    }
    shared_places(&out.stores, &mut errors);
    if errors.is_empty() { Ok(out) } else { Err(Diagnostics::new(name, text, Shown::of_text(text), errors)) }
}

/// Reads and checks a file as it lies on the disk.
///
/// # Errors
/// All mistakes of the file; that it is no UTF-8, and where, of which nothing is shown.
pub fn parse_bytes(name: &str, bytes: &[u8]) -> Result<Declarations, Diagnostics> {
    let error = match std::str::from_utf8(bytes) {
        Ok(text) => return parse_file(name, text),
        Err(error) => error,
    };
    let valid = error.valid_up_to();
    let shown = &bytes[..bytes.len().min(SOURCE_BYTES_MAX).max(valid.min(SOURCE_BYTES_MAX))];
    let text = String::from_utf8_lossy(shown);
    let span = Span { start: valid, end: valid + 1 };
    let message = format!("the file is no UTF-8 text: byte {valid} begins no character");
    let error = Diagnostic::new(DiagnosticKind::File, span, message);
    Err(Diagnostics::new(name, &text, Shown::default(), vec![error.hint("save it as UTF-8".to_owned())]))
}

impl Declarations {
    fn add(&mut self, statement: &RawStatement, errors: &mut Vec<Diagnostic>) {
        let statement = match statement {
            RawStatement::CreateEventStore(create) => {
                let (config, spans) = resolve(create, errors);
                let (name, or_replace) = (create.name.value.clone(), create.or_replace);
                self.add_store(Declared { config, or_replace, name_span: create.name.span, spans }, errors);
                Statement::CreateEventStore { name, or_replace }
            }
            RawStatement::CreateAggregate { name } => {
                self.add_aggregate(name, errors);
                Statement::CreateAggregate { name: name.value.clone() }
            }
            RawStatement::DescribeEventStore { name } => Statement::DescribeEventStore { name: name.value.clone() },
            RawStatement::DescribeEventStores => Statement::DescribeEventStores,
            RawStatement::ExportDereg => Statement::ExportDereg,
        };
        self.statements.push(statement);
    }

    fn add_aggregate(&mut self, name: &Spanned<String>, errors: &mut Vec<Diagnostic>) {
        match self.aggregates.iter().find(|known| known.value == name.value) {
            Some(first) => errors.push(declared_twice("stream type", &name.value, name.span, first.span, None)),
            None if self.aggregates.len() == AGGREGATES_MAX => {
                errors.push(too_many(name.span, AGGREGATES_MAX, "stream types"));
            }
            None => self.aggregates.push(name.clone()),
        }
    }

    fn add_store(&mut self, declared: Declared, errors: &mut Vec<Diagnostic>) {
        let name = &declared.config.name;
        // a store whose name could not be read is reported already
        if name.is_empty() {
            return;
        }
        let Some(known) = self.stores.iter_mut().find(|s| s.config.name == *name) else {
            if self.stores.len() == STORES_MAX {
                errors.push(too_many(declared.name_span, STORES_MAX, "stores"));
            } else {
                self.stores.push(declared);
            }
            return;
        };
        if declared.or_replace {
            *known = declared;
            return;
        }
        let hint = Some(format!("CREATE OR REPLACE EVENTSTORE {name} takes the place of the first"));
        errors.push(declared_twice("store", name, declared.name_span, known.name_span, hint));
    }
}

fn too_many(at: Span, max: usize, what: &str) -> Diagnostic {
    Diagnostic::new(DiagnosticKind::File, at, format!("one file declares at most {max} {what}"))
}

fn declared_twice(what: &str, name: &str, at: Span, first: Span, hint: Option<String>) -> Diagnostic {
    Diagnostic::new(DiagnosticKind::DuplicateName, at, format!("the {what} {name} is declared twice"))
        .related(first, "first declared here")
        .hint(hint)
}

/// Two stores of a node in one folder would take each other's files for their own.
fn shared_places(stores: &[Declared], errors: &mut Vec<Diagnostic>) {
    for (i, second) in stores.iter().enumerate() {
        for first in &stores[..i] {
            let of_second = places(&second.config);
            let clash = places(&first.config)
                .into_iter()
                .flat_map(|a| of_second.into_iter().map(move |b| (a, b)))
                .find(|((_, a), (_, b))| matches!((a, b), (Some(a), Some(b)) if a.overlaps(b)));
            let Some(((key_a, Some(a)), (key_b, Some(b)))) = clash else { continue };
            let (name_a, name_b) = (&first.config.name, &second.config.name);
            let message = if key_a == key_b {
                format!("the stores {name_a} and {name_b} share a place: `{key_a}` is {a} and {b}")
            } else {
                format!("the stores {name_a} and {name_b} share a place: `{key_a}` is {a} and `{key_b}` is {b}")
            };
            let place = |store: &Declared, key| *store.spans.get(key).unwrap_or(&store.name_span);
            errors.push(
                Diagnostic::new(DiagnosticKind::Contradiction, place(second, key_b), message)
                    .related(place(first, key_a), "the other store")
                    .hint("give each store a place of its own, none inside another".to_owned()),
            );
        }
    }
}

fn places(config: &StoreConfig) -> [(&'static str, Option<&Location>); 3] {
    [
        ("durable.path", Some(&config.durable.path)),
        ("durable.commit.manifest_path", Some(&config.durable.manifest_path)),
        ("wal.path", config.wal.path.as_ref()),
    ]
}
