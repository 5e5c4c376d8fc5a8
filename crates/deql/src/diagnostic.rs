//! What is wrong in a file and where: every error of a run, with source line, caret and hint. What it may show of the file is the rule of
//! [`crate::shown`]; here it is kept, for every way in which errors are told.
//!
//! Invariant: every span lies in the source, on character boundaries, so rendering cannot fail.

use crate::location::without_secrets;
use crate::shown::{Shown, without_keys};
use crate::syntax::ast::Span;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::ser::SerializeStruct;
use std::fmt;
use strandline_event::ErrorKind;

/// Errors that are kept of one file; more of them help nobody.
pub(crate) const DIAGNOSTICS_MAX: usize = 500;

/// Source that is shown with the errors of one run; after that they come without their lines.
const SHOWN_BYTES_MAX: usize = 4 << 20;

/// What sort of mistake it is; stable, for programs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DiagnosticKind {
    /// The text is no statement.
    Syntax,
    /// A name that cannot be one.
    BadName,
    /// No such key.
    UnknownKey,
    /// A key that is given twice.
    DuplicateKey,
    /// A mandatory key is not given.
    MissingKey,
    /// A value of the wrong type.
    WrongType,
    /// A value that is out of range or not in the list.
    BadValue,
    /// Keys that contradict each other.
    Contradiction,
    /// A name that is declared twice.
    DuplicateName,
    /// The file itself cannot be read.
    File,
}

impl DiagnosticKind {
    /// snake_case code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::BadName => "bad_name",
            Self::UnknownKey => "unknown_key",
            Self::DuplicateKey => "duplicate_key",
            Self::MissingKey => "missing_key",
            Self::WrongType => "wrong_type",
            Self::BadValue => "bad_value",
            Self::Contradiction => "contradiction",
            Self::DuplicateName => "duplicate_name",
            Self::File => "file",
        }
    }
}

/// One mistake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// What sort of mistake.
    pub kind: DiagnosticKind,
    /// A sentence that names what is wrong.
    pub message: String,
    /// Where it stands.
    pub span: Span,
    /// Other places that belong to it, with a word each.
    pub related: Vec<(Span, String)>,
    /// What would be right.
    pub hint: Option<String>,
}

impl Diagnostic {
    pub(crate) fn new(kind: DiagnosticKind, span: Span, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), span, related: Vec::new(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into();
        self
    }

    pub(crate) fn related(mut self, span: Span, word: impl Into<String>) -> Self {
        self.related.push((span, word.into()));
        self
    }
}

/// All mistakes of a file, in the order of their places. Display renders them without colours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostics {
    file: String,
    /// With stars in the place of what is not shown.
    source: String,
    shown: Shown,
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    pub(crate) fn new(file: &str, source: &str, shown: Shown, mut list: Vec<Diagnostic>) -> Self {
        list.sort_by_key(|d| (d.span, d.kind.code()));
        list.truncate(DIAGNOSTICS_MAX);
        for diagnostic in &mut list {
            diagnostic.span = inside(source, diagnostic.span);
            diagnostic.message = told(&diagnostic.message);
            diagnostic.hint = diagnostic.hint.as_deref().map(told);
            for (span, word) in &mut diagnostic.related {
                (*span, *word) = (inside(source, *span), told(word));
            }
        }
        // a line that is shown may hold what should not stand in a statement
        let source = without_keys(&without_secrets(&shown.only(source)));
        Self { file: file.to_owned(), source, shown, list }
    }

    /// The name of the file.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The mistakes.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// How many there are; at least one.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What it means to the one who sent the text.
    #[must_use]
    pub const fn error_kind(&self) -> ErrorKind {
        ErrorKind::BadRequest
    }

    /// Line and column of a byte, both from 1, the column in characters.
    #[must_use]
    pub fn position(&self, at: usize) -> (usize, usize) {
        let before = self.source.get(..at).unwrap_or(&self.source);
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// The text for a terminal: each mistake with file, line, column, source line (where it is shown), caret and hint.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        let mut budget_bytes = SHOWN_BYTES_MAX;
        for diagnostic in &self.list {
            let window = self.window(diagnostic);
            let left = budget_bytes.checked_sub(window.end - window.start);
            match left.filter(|_| self.shown.shows(diagnostic.span)) {
                Some(left) => {
                    budget_bytes = left;
                    out.push_str(&self.render_one(diagnostic, window, &renderer));
                }
                None => out.push_str(&self.render_short(diagnostic)),
            }
            out.push_str("\n\n");
        }
        let count = self.list.len();
        out.push_str(&format!("{}: {count} {}\n", self.file, if count == 1 { "error" } else { "errors" }));
        out
    }

    /// The lines that a mistake shows: only they go to the renderer, whose cost grows with the source.
    fn window(&self, diagnostic: &Diagnostic) -> Span {
        let spans = || diagnostic.related.iter().map(|(span, _)| *span).chain([diagnostic.span]);
        let first = spans().map(|s| s.start).min().unwrap_or(0);
        let last = spans().map(|s| s.end).max().unwrap_or(0);
        Span {
            start: self.source[..first].rfind('\n').map_or(0, |n| n + 1),
            end: self.source[last..].find('\n').map_or(self.source.len(), |n| last + n),
        }
    }

    fn render_short(&self, diagnostic: &Diagnostic) -> String {
        let (line, column) = self.position(diagnostic.span.start);
        let hint = diagnostic.hint.as_ref().map_or_else(String::new, |hint| format!("\n  = help: {hint}"));
        format!("error: {}\n --> {}:{line}:{column}{hint}", diagnostic.message, self.file)
    }

    fn render_one(&self, diagnostic: &Diagnostic, window: Span, renderer: &Renderer) -> String {
        let shift = |span: Span| span.start - window.start..span.end - window.start;
        let mut snippet = Snippet::source(&self.source[window.start..window.end])
            .line_start(self.position(window.start).0)
            .path(&self.file)
            .annotation(AnnotationKind::Primary.span(shift(diagnostic.span)));
        for (span, word) in &diagnostic.related {
            snippet = snippet.annotation(AnnotationKind::Context.span(shift(*span)).label(word));
        }
        let mut group = Level::ERROR.primary_title(&diagnostic.message).element(snippet);
        if let Some(hint) = &diagnostic.hint {
            group = group.element(Level::HELP.message(hint));
        }
        renderer.render(&[group])
    }
}

/// A sentence without keys, and without what would steer a terminal; of source lines the renderer takes care.
fn told(sentence: &str) -> String {
    let plain = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    without_keys(sentence).chars().map(plain).collect()
}

/// The span, moved into the source and onto character boundaries.
fn inside(source: &str, span: Span) -> Span {
    let start = source.floor_char_boundary(span.start.min(source.len()));
    let end = source.ceil_char_boundary(span.end.clamp(start, source.len()));
    Span { start, end }
}

impl<'d> IntoIterator for &'d Diagnostics {
    type Item = &'d Diagnostic;
    type IntoIter = std::slice::Iter<'d, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

/// `{"file", "errors": [{"code", "error", "line", "column", "end_line", "end_column", "hint", "related"}]}`
impl serde::Serialize for Diagnostics {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = |span: Span| {
            let ((line, column), (end_line, end_column)) = (self.position(span.start), self.position(span.end));
            (line, column, end_line, end_column)
        };
        let errors = self.list.iter().map(|d| {
            let (line, column, end_line, end_column) = place(d.span);
            let related = d.related.iter().map(|(span, word)| {
                let (line, column, ..) = place(*span);
                serde_json::json!({"line": line, "column": column, "label": word})
            });
            serde_json::json!({
                "code": d.kind.code(), "error": d.message, "line": line, "column": column, "end_line": end_line,
                "end_column": end_column, "hint": d.hint, "related": related.collect::<Vec<_>>(),
            })
        });
        let mut out = serializer.serialize_struct("Diagnostics", 2)?;
        out.serialize_field("file", &self.file)?;
        out.serialize_field("errors", &errors.collect::<Vec<_>>())?;
        out.end()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_a_text_holds_does_not_steer_a_terminal() {
        let text =
            "CREATE EVENTSTORE s WITH (durable.type = '\u{1b}[31m\u{7}\u{9b}1m', durable.path = '\u{1b}]0;x\u{85}')";
        let told = crate::parse_file("f", text).unwrap_err().to_string();
        assert!(told.contains("durable.type") && !told.contains(|c: char| c.is_control() && c != '\n'), "{told:?}");
    }
}
