//! A statement to a typed, checked configuration. Goes on after every error.
//!
//! Order: keys known and single; `envelope.*` (names decide what tuples mean); all other values; mandatory keys;
//! computed defaults; contradictions. What failed earlier is not blamed again later.

use crate::checks;
use crate::config::StoreConfig;
use crate::config::key::{self, Key, KeyIndex, KeySet};
use crate::config::settings::{Fault, FaultKind};
use crate::derive;
use crate::diagnostic::{DIAGNOSTICS_MAX, Diagnostic, DiagnosticKind};
use crate::shown;
use crate::suggest;
use crate::syntax::ast::{CreateEventStore, Literal, Setting, Span, Spanned};
use std::collections::BTreeMap;

const MANDATORY: [&str; 2] = ["durable.type", "durable.path"];

/// The places of the keys that a statement sets.
pub(crate) type Spans = BTreeMap<&'static str, Span>;

/// The configuration of a statement. It is only valid if nothing was added to `errors`.
pub(crate) fn resolve(create: &CreateEventStore, errors: &mut Vec<Diagnostic>) -> (StoreConfig, Spans) {
    let mut resolver = Resolver {
        config: StoreConfig::defaults(&create.name.value),
        spans: Spans::new(),
        failed: KeySet::default(),
        errors,
    };
    for lost in create.lost.iter().filter_map(|name| key::index_of(name)) {
        resolver.failed.insert(lost);
    }
    let known: Vec<_> = create.settings.iter().filter_map(|setting| resolver.known(setting)).collect();
    let is_name = |key: &Key| key.name.starts_with("envelope.");
    for (index, key, value) in known.iter().filter(|(_, key, _)| is_name(key)) {
        resolver.read(*index, key, value);
    }
    // tuples are written in configured names: where those are wrong, they cannot be judged
    checks::names(&resolver.config).into_iter().for_each(|c| resolver.contradiction(&create.name, c));
    for (index, key, value) in known.iter().filter(|(_, key, _)| !is_name(key)) {
        resolver.read(*index, key, value);
    }
    resolver.mandatory(&create.name);
    derive::fill(&mut resolver.config);
    for contradiction in checks::all(&resolver.config) {
        resolver.contradiction(&create.name, contradiction);
    }
    (resolver.config, resolver.spans)
}

struct Resolver<'e> {
    config: StoreConfig,
    spans: Spans,
    /// Keys that are given, but not as a value that can be judged.
    failed: KeySet,
    errors: &'e mut Vec<Diagnostic>,
}

impl Resolver<'_> {
    /// The key of a setting, if it is known and not given before.
    fn known<'s>(&mut self, setting: &'s Setting) -> Option<(KeyIndex, &'static Key, &'s Spanned<Literal>)> {
        let name = &setting.key.value;
        let Some((index, key)) = key::keys().enumerate().find(|(_, key)| key.name == name) else {
            self.unknown(&setting.key);
            return None;
        };
        if let Some(first) = self.spans.get(key.name) {
            let message = format!("the key `{name}` is given twice");
            let error = Diagnostic::new(DiagnosticKind::DuplicateKey, setting.key.span, message);
            self.errors.push(error.related(*first, "first given here").hint("keep one of them".to_owned()));
            return None;
        }
        self.spans.insert(key.name, setting.key.span);
        Some((KeyIndex(index), key, &setting.value))
    }

    fn unknown(&mut self, key: &Spanned<String>) {
        // a file of nothing but unknown keys costs no more than its first errors
        let worth_it = self.errors.len() < DIAGNOSTICS_MAX;
        let near = worth_it.then(|| suggest::nearest(&key.value, key::keys().map(|k| k.name))).flatten();
        let hint = near.map(|near| format!("the nearest key is `{near}`"));
        let named = shown::key_name(&key.value).map_or_else(|| "this".to_owned(), |name| format!("`{name}`"));
        let message = format!("{named} is no key of an event store");
        self.errors.push(Diagnostic::new(DiagnosticKind::UnknownKey, key.span, message).hint(hint));
        // what was meant is not missing as well
        if let Some(meant) = near.and_then(key::index_of) {
            self.failed.insert(meant);
        }
    }

    fn read(&mut self, index: KeyIndex, key: &'static Key, value: &Spanned<Literal>) {
        match (key.read)(&mut self.config, value, key) {
            Ok(()) => self.config.set.insert(index),
            Err(Fault { kind, message, span, hint }) => {
                self.failed.insert(index);
                let kind = match kind {
                    FaultKind::Type => DiagnosticKind::WrongType,
                    FaultKind::Value => DiagnosticKind::BadValue,
                };
                self.errors.push(Diagnostic::new(kind, span, message).hint(hint));
            }
        }
    }

    fn mandatory(&mut self, store: &Spanned<String>) {
        for name in MANDATORY {
            let Some(index) = key::index_of(name) else { continue };
            if self.config.set.contains(index) || self.failed.contains(index) {
                continue;
            }
            self.failed.insert(index);
            let message = format!("the key `{name}` is mandatory");
            let example = if name == "durable.type" { "'parquet'" } else { "'/var/lib/strandline/durable'" };
            let error = Diagnostic::new(DiagnosticKind::MissingKey, store.span, message);
            self.errors.push(error.hint(format!("for example {name} = {example}")));
        }
    }

    /// Reports keys that contradict each other, at the first of them that the statement sets.
    fn contradiction(&mut self, store: &Spanned<String>, found: checks::Contradiction) {
        let failed = |name: &&str| key::index_of(name).is_some_and(|i| self.failed.contains(i));
        if found.keys.iter().any(failed) {
            return;
        }
        let mut places = found.keys.iter().filter_map(|name| Some((*name, *self.spans.get(name)?)));
        let (_, at) = places.next().unwrap_or(("", store.span));
        let kind = if found.keys.len() == 1 { DiagnosticKind::BadValue } else { DiagnosticKind::Contradiction };
        let mut error = Diagnostic::new(kind, at, found.message).hint(found.hint);
        for (name, span) in places {
            error = error.related(span, format!("`{name}` is set here"));
        }
        self.errors.push(error);
    }
}
