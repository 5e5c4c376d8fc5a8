//! Text to statements: a lexer that never fails, a parser that goes on after an error.

pub(crate) mod ast;
pub(crate) mod cursor;
pub(crate) mod lex;
pub(crate) mod parse;
