//! A place in the tokens, and the errors so far.

use super::ast::{Span, Spanned};
use super::lex::{Bad, Token, tokens};
use crate::diagnostic::{Diagnostic, DiagnosticKind};
use crate::shown::Shown;
use std::cell::OnceCell;

/// An error was reported; the caller finds a place to go on.
pub(crate) struct Reported;

pub(crate) struct Cursor {
    tokens: Vec<Spanned<Token>>,
    next: usize,
    end: Span,
    shown: OnceCell<Shown>,
    pub(crate) errors: Vec<Diagnostic>,
}

impl Cursor {
    pub(crate) fn new(text: &str) -> Self {
        let end = Span { start: text.len(), end: text.len() };
        let tokens = tokens(text);
        // what is no token is reported here, once, wherever the parser meets or skips it
        let errors = tokens.iter().filter_map(|token| match token.value {
            Token::Bad(bad) => Some(bad_token(bad, token.span)),
            _ => None,
        });
        let errors = errors.collect();
        Self { tokens, next: 0, end, shown: OnceCell::new(), errors }
    }

    /// The tokens of the whole text.
    pub(crate) fn all(&self) -> &[Spanned<Token>] {
        &self.tokens
    }

    /// What errors may show of the text; only errors ask.
    pub(crate) fn shown(&self) -> &Shown {
        self.shown.get_or_init(|| Shown::of(&self.tokens))
    }

    pub(crate) fn peek(&self) -> Option<&Token> {
        self.peek_at(0)
    }

    pub(crate) fn peek_at(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.next + ahead).map(|t| &t.value)
    }

    /// Where the next token stands; the end of the text after the last.
    pub(crate) fn span(&self) -> Span {
        self.tokens.get(self.next).map_or(self.end, |t| t.span)
    }

    pub(crate) fn previous_span(&self) -> Span {
        self.next.checked_sub(1).and_then(|i| self.tokens.get(i)).map_or(Span::default(), |t| t.span)
    }

    pub(crate) fn skip(&mut self) {
        self.next = (self.next + 1).min(self.tokens.len());
    }

    pub(crate) fn at_mark(&self, mark: char) -> bool {
        self.peek() == Some(&Token::Mark(mark))
    }

    pub(crate) fn take_mark(&mut self, mark: char) -> bool {
        let found = self.at_mark(mark);
        if found {
            self.skip();
        }
        found
    }

    pub(crate) fn at_keyword(&self, keyword: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword))
    }

    pub(crate) fn take_keyword(&mut self, keyword: &str) -> bool {
        let found = self.at_keyword(keyword);
        if found {
            self.skip();
        }
        found
    }

    /// Whether `word =` comes: the start of a setting.
    pub(crate) fn at_setting(&self) -> bool {
        matches!(self.peek(), Some(Token::Word(_))) && self.peek_at(1) == Some(&Token::Mark('='))
    }

    pub(crate) fn report(&mut self, span: Span, message: impl Into<String>, hint: Option<String>) -> Reported {
        self.errors.push(Diagnostic::new(DiagnosticKind::Syntax, span, message).hint(hint));
        Reported
    }

    /// Reports the next token: something else should stand there.
    pub(crate) fn expected(&mut self, what: &str, hint: Option<String>) -> Reported {
        let span = self.span();
        let message = match self.peek() {
            Some(Token::Bad(_)) => return Reported,
            None => format!("expected {what}, but the file ends"),
            Some(Token::Word(word)) if self.shown().shows(span) => {
                format!("expected {what}, found `{}`", shorten(word))
            }
            Some(Token::Word(_)) => format!("expected {what}, found another word"),
            Some(Token::Mark(mark)) => format!("expected {what}, found `{mark}`"),
            Some(Token::Literal(literal)) => format!("expected {what}, found {}", literal.name()),
        };
        self.report(span, message, hint)
    }
}

/// A word of the user in a message: long ones say nothing more.
pub(crate) fn shorten(word: &str) -> String {
    if word.chars().count() <= 60 { word.to_owned() } else { word.chars().take(60).chain("...".chars()).collect() }
}

fn bad_token(bad: Bad, span: Span) -> Diagnostic {
    let (message, hint) = match bad {
        Bad::OpenText => {
            ("this text is not closed on its line", "a text ends with a single quote: 'text'; a quote in it is ''")
        }
        Bad::OpenComment => ("this comment is not closed", "a comment ends with */"),
        Bad::DoubleQuotes => ("texts stand in single quotes", "write 'text' instead of \"text\""),
        Bad::Number => ("this is no number", "numbers are 256, 1_000_000 or 0.01, without a unit"),
        Bad::Stray => ("this cannot stand here", "texts stand in single quotes; comments begin with -- or /*"),
    };
    Diagnostic::new(DiagnosticKind::Syntax, span, message).hint(hint.to_owned())
}
