//! Tokens to statements. After an error it goes on at the next setting or statement, so that one run finds them all.

use super::ast::{CreateEventStore, Literal, RawStatement, Setting, Span, Spanned};
use super::cursor::{Cursor, Reported, shorten};
use super::lex::{Bad, Token};
use crate::diagnostic::{Diagnostic, DiagnosticKind};
use crate::{names, suggest};

const STATEMENTS: &str =
    "CREATE EVENTSTORE, CREATE AGGREGATE, DESCRIBE EVENTSTORE, DESCRIBE EVENTSTORES or EXPORT DEREG";
/// The first words of statements.
const FIRST: [&str; 3] = ["CREATE", "DESCRIBE", "EXPORT"];
/// What to do about a text that is none.
const NONE: &str = "give the file of a store's statement, such as stores/minimal.deql; of a text without one nothing is shown, since it may be a secret";

/// All statements of a text that could be read, and all errors.
pub(crate) fn parse(text: &str) -> (Vec<RawStatement>, Vec<Diagnostic>) {
    let mut cursor = Cursor::new(text);
    let mut statements = Vec::new();
    loop {
        while cursor.take_mark(';') {}
        if cursor.peek().is_none() {
            return (statements, all_errors(cursor));
        }
        match statement(&mut cursor) {
            Ok(parsed) => {
                statements.push(parsed);
                end_of_statement(&mut cursor);
            }
            Err(Reported) => to_next_statement(&mut cursor),
        }
    }
}

/// All errors; one for a text that holds no statement at all: every line of a letter or a program would be wrong in a way of its own.
fn all_errors(cursor: Cursor) -> Vec<Diagnostic> {
    let first = cursor.all().first();
    // a comment that is not closed may have taken the statements
    let swallowed = matches!(first.map(|token| &token.value), Some(Token::Bad(Bad::OpenComment)));
    if cursor.errors.is_empty() || swallowed || cursor.shown().holds_a_statement() {
        return cursor.errors;
    }
    let near = match first.map(|token| &token.value) {
        Some(Token::Word(word)) if !FIRST.iter().any(|keyword| word.eq_ignore_ascii_case(keyword)) => {
            near_keyword(word, &FIRST)
        }
        _ => None,
    };
    let message = format!("nothing in this text is a statement: one begins with {STATEMENTS}");
    let error = Diagnostic::new(DiagnosticKind::Syntax, first.map_or(Span::default(), |token| token.span), message);
    vec![error.hint(near.unwrap_or_else(|| NONE.to_owned()))]
}

/// The last statement may leave its `;` out.
fn end_of_statement(cursor: &mut Cursor) {
    if cursor.peek().is_none() || cursor.take_mark(';') {
        return;
    }
    cursor.expected("`;` at the end of the statement", None);
    if !at_statement(cursor) {
        to_next_statement(cursor);
    }
}

fn at_statement(cursor: &Cursor) -> bool {
    FIRST.iter().any(|k| cursor.at_keyword(k)) && matches!(cursor.peek_at(1), Some(Token::Word(_)))
}

/// Skips to behind the next `;`, or to what begins a statement.
fn to_next_statement(cursor: &mut Cursor) {
    cursor.skip();
    while cursor.peek().is_some() && !cursor.take_mark(';') && !at_statement(cursor) {
        cursor.skip();
    }
}

fn statement(cursor: &mut Cursor) -> Result<RawStatement, Reported> {
    if cursor.take_keyword("CREATE") {
        return create(cursor);
    }
    if cursor.take_keyword("DESCRIBE") {
        if cursor.take_keyword("EVENTSTORES") {
            return Ok(RawStatement::DescribeEventStores);
        }
        if cursor.take_keyword("EVENTSTORE") {
            return Ok(RawStatement::DescribeEventStore { name: name(cursor, "the name of a store")? });
        }
        return Err(keyword_expected(cursor, &["EVENTSTORE", "EVENTSTORES"]));
    }
    if cursor.take_keyword("EXPORT") {
        if cursor.take_keyword("DEREG") {
            return Ok(RawStatement::ExportDereg);
        }
        return Err(keyword_expected(cursor, &["DEREG"]));
    }
    let hint = match cursor.peek() {
        Some(Token::Word(word)) => near_keyword(word, &FIRST),
        _ => None,
    };
    Err(cursor.expected(&format!("a statement: {STATEMENTS}"), hint))
}

fn create(cursor: &mut Cursor) -> Result<RawStatement, Reported> {
    let start = cursor.span();
    let or_replace = cursor.take_keyword("OR");
    if or_replace && !cursor.take_keyword("REPLACE") {
        return Err(keyword_expected(cursor, &["REPLACE"]));
    }
    if cursor.take_keyword("EVENTSTORE") {
        return create_eventstore(cursor, or_replace).map(RawStatement::CreateEventStore);
    }
    if cursor.take_keyword("AGGREGATE") {
        let name = name(cursor, "the name of a stream type")?;
        if or_replace {
            let span = Span { start: start.start, end: name.span.end };
            let hint = format!("CREATE AGGREGATE {};", name.value);
            return Err(cursor.report(span, "an aggregate has nothing to replace", Some(hint)));
        }
        return Ok(RawStatement::CreateAggregate { name });
    }
    Err(keyword_expected(cursor, &["EVENTSTORE", "AGGREGATE"]))
}

fn create_eventstore(cursor: &mut Cursor, or_replace: bool) -> Result<CreateEventStore, Reported> {
    let name = store_name(cursor)?;
    if !cursor.take_keyword("WITH") {
        let reported = keyword_expected(cursor, &["WITH"]);
        // another word in its place: the settings are still worth reading
        if cursor.peek_at(1) != Some(&Token::Mark('(')) {
            return Err(reported);
        }
        cursor.skip();
    }
    if !cursor.take_mark('(') {
        return Err(cursor.expected("`(` after WITH", None));
    }
    let (settings, lost) = settings(cursor);
    Ok(CreateEventStore { or_replace, name, settings, lost })
}

/// The name of the store; empty where something else stands before WITH, so that the settings are still read.
fn store_name(cursor: &mut Cursor) -> Result<Spanned<String>, Reported> {
    let what = "the name of the store";
    let nameless = Spanned { value: String::new(), span: cursor.span() };
    if cursor.at_keyword("WITH") && cursor.peek_at(1) == Some(&Token::Mark('(')) {
        cursor.expected(what, None);
        return Ok(nameless);
    }
    name(cursor, what).or_else(|reported| {
        if !matches!(cursor.peek_at(1), Some(Token::Word(word)) if word.eq_ignore_ascii_case("WITH")) {
            return Err(reported);
        }
        cursor.skip();
        Ok(nameless)
    })
}

/// `key = value, ... )`; a comma before the `)` is allowed. Also the keys whose values could not be read.
fn settings(cursor: &mut Cursor) -> (Vec<Setting>, Vec<String>) {
    let (mut out, mut lost) = (Vec::new(), Vec::new());
    while !cursor.take_mark(')') {
        if cursor.peek().is_none() || at_end_of_list(cursor) {
            cursor.expected("`)` at the end of the settings", None);
            break;
        }
        match setting(cursor, &mut lost) {
            Ok(setting) => {
                out.push(setting);
                separator(cursor);
            }
            Err(Reported) => {
                to_next_setting(cursor);
                cursor.take_mark(',');
            }
        }
    }
    (out, lost)
}

/// A `;` that no setting follows, or a new statement: the `)` was forgotten.
fn at_end_of_list(cursor: &Cursor) -> bool {
    cursor.at_mark(';') || (at_statement(cursor) && !cursor.at_setting())
}

fn separator(cursor: &mut Cursor) {
    if cursor.take_mark(',') || cursor.at_mark(')') || cursor.peek().is_none() {
        return;
    }
    let setting_follows =
        matches!(cursor.peek_at(1), Some(Token::Word(_))) && cursor.peek_at(2) == Some(&Token::Mark('='));
    if cursor.at_mark(';') && setting_follows {
        cursor.report(cursor.span(), "settings are separated by `,`, not `;`", None);
        cursor.skip();
        return;
    }
    if at_end_of_list(cursor) {
        return;
    }
    if cursor.at_setting() {
        let at = cursor.previous_span().end;
        cursor.report(Span { start: at, end: at }, "a `,` is missing between these settings", None);
        return;
    }
    cursor.expected("`,` or `)` after the value", None);
    to_next_setting(cursor);
    cursor.take_mark(',');
}

/// Skips to a `,` or `)` of the list, to what begins a setting, or to its end.
fn to_next_setting(cursor: &mut Cursor) {
    let mut depth = 0_usize;
    let mut moved = false;
    while cursor.peek().is_some() {
        if depth == 0 && (cursor.at_mark(',') || cursor.at_mark(')')) {
            return;
        }
        if cursor.at_mark(';') || (moved && (cursor.at_setting() || at_end_of_list(cursor))) {
            return;
        }
        if cursor.at_mark('(') {
            depth += 1;
        } else if cursor.at_mark(')') {
            depth -= 1;
        }
        moved = true;
        cursor.skip();
    }
}

fn setting(cursor: &mut Cursor, lost: &mut Vec<String>) -> Result<Setting, Reported> {
    let Some(Token::Word(word)) = cursor.peek() else {
        return Err(cursor.expected("a key", Some("settings are written key = value".to_owned())));
    };
    let key = Spanned { value: word.clone(), span: cursor.span() };
    cursor.skip();
    let value = if cursor.take_mark('=') {
        value(cursor)
    } else {
        let named = if cursor.shown().shows(key.span) { format!(" `{}`", shorten(&key.value)) } else { String::new() };
        Err(cursor.expected(&format!("`=` after the key{named}"), None))
    };
    value.inspect_err(|_| lost.push(key.value.clone())).map(|value| Setting { key, value })
}

fn value(cursor: &mut Cursor) -> Result<Spanned<Literal>, Reported> {
    let start = cursor.span();
    if !cursor.take_mark('(') {
        return scalar(cursor);
    }
    let items = tuple_items(cursor).inspect_err(|_| to_end_of_tuple(cursor))?;
    let span = Span { start: start.start, end: cursor.previous_span().end };
    Ok(Spanned { value: Literal::Tuple(items), span })
}

fn tuple_items(cursor: &mut Cursor) -> Result<Vec<Spanned<Literal>>, Reported> {
    let mut items = Vec::new();
    while !cursor.take_mark(')') {
        if cursor.at_mark('(') {
            return Err(cursor.report(cursor.span(), "a tuple cannot hold a tuple", None));
        }
        items.push(scalar(cursor)?);
        if !cursor.take_mark(',') && !cursor.at_mark(')') {
            return Err(cursor.expected("`,` or `)` in the tuple", None));
        }
    }
    Ok(items)
}

/// Skips to behind the `)` of the tuple, or to where it must have been forgotten.
fn to_end_of_tuple(cursor: &mut Cursor) {
    let mut depth = 1_usize;
    while depth > 0 && cursor.peek().is_some() && !cursor.at_mark(';') && !cursor.at_setting() {
        if cursor.at_mark('(') {
            depth += 1;
        } else if cursor.at_mark(')') {
            depth -= 1;
        }
        cursor.skip();
    }
}

fn scalar(cursor: &mut Cursor) -> Result<Spanned<Literal>, Reported> {
    let span = cursor.span();
    let value = match cursor.peek() {
        Some(Token::Literal(literal)) => literal.clone(),
        Some(Token::Word(word)) if word.eq_ignore_ascii_case("true") => Literal::Bool(true),
        Some(Token::Word(word)) if word.eq_ignore_ascii_case("false") => Literal::Bool(false),
        Some(Token::Word(word)) => {
            let hint = cursor.shown().shows(span).then(|| format!("texts stand in single quotes: '{word}'"));
            return Err(cursor.expected("a value", hint));
        }
        _ => {
            return Err(
                cursor.expected("a value", Some("a value is 'text', true, false, 256, 0.01 or ('a', 'b')".to_owned()))
            );
        }
    };
    cursor.skip();
    Ok(Spanned { value, span })
}

fn name(cursor: &mut Cursor, what: &str) -> Result<Spanned<String>, Reported> {
    let span = cursor.span();
    let Some(Token::Word(word)) = cursor.peek() else {
        let hint = match cursor.peek() {
            Some(Token::Literal(Literal::Text(text)))
                if names::check_identifier(text).is_ok() && cursor.shown().shows(span) =>
            {
                Some(format!("names stand without quotes: {text}"))
            }
            _ => None,
        };
        return Err(cursor.expected(what, hint));
    };
    let word = word.clone();
    cursor.skip();
    if let Err(why) = names::check_identifier(&word) {
        // the rest of the statement is still read: its errors belong to the same run
        cursor.errors.push(Diagnostic::new(DiagnosticKind::BadName, span, why));
    }
    Ok(Spanned { value: word, span })
}

fn near_keyword(word: &str, keywords: &[&str]) -> Option<String> {
    suggest::nearest(word, keywords.iter().copied()).map(|near| format!("did you mean {near}?"))
}

fn keyword_expected(cursor: &mut Cursor, keywords: &[&str]) -> Reported {
    let hint = match cursor.peek() {
        Some(Token::Word(word)) => near_keyword(word, keywords),
        _ => None,
    };
    cursor.expected(&keywords.join(" or "), hint)
}
