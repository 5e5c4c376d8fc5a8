//! Text to tokens. Total: what is no token becomes a [`Token::Bad`] that the parser reports, and lexing goes on.

use super::ast::{Literal, Span, Spanned};
use winnow::ascii::{line_ending, multispace1, till_line_ending};
use winnow::combinator::{alt, eof, opt, peek, preceded, repeat, terminated};
use winnow::prelude::*;
use winnow::stream::{LocatingSlice, Location as _};
use winnow::token::{any, one_of, take_till, take_until, take_while};

type Input<'s> = LocatingSlice<&'s str>;

/// A token. A key with its dots is one word.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Token {
    Word(String),
    Literal(Literal),
    /// One of `( ) , = ;`
    Mark(char),
    Bad(Bad),
}

/// Why something is no token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bad {
    OpenText,
    OpenComment,
    DoubleQuotes,
    Number,
    Stray,
}

/// All tokens of a text.
pub(crate) fn tokens(text: &str) -> Vec<Spanned<Token>> {
    let mut input = LocatingSlice::new(text);
    let mut out: Vec<Spanned<Token>> = Vec::new();
    loop {
        let _: winnow::Result<()> = trivia(&mut input);
        let start = input.current_token_start();
        let token: winnow::Result<Token> = token(&mut input);
        let Ok(token) = token else { return out };
        let span = Span { start, end: input.previous_token_end() };
        // a run of stray characters is one mistake
        match out.last_mut() {
            Some(last)
                if token == Token::Bad(Bad::Stray)
                    && last.value == Token::Bad(Bad::Stray)
                    && last.span.end == start =>
            {
                last.span.end = span.end;
            }
            _ => out.push(Spanned { value: token, span }),
        }
    }
}

/// White space, comments, and the byte order mark that some editors leave.
fn trivia(input: &mut Input<'_>) -> winnow::Result<()> {
    let line_comment = ("--", till_line_ending, alt((line_ending, eof))).void();
    let block_comment = ("/*", take_until(0.., "*/"), "*/").void();
    repeat(0.., alt((multispace1.void(), line_comment, block_comment, "\u{feff}".void()))).parse_next(input)
}

fn token(input: &mut Input<'_>) -> winnow::Result<Token> {
    alt((
        word.map(Token::Word),
        text.map(|t| t.map_or(Token::Bad(Bad::OpenText), |t| Token::Literal(Literal::Text(t)))),
        number,
        one_of(['(', ')', ',', '=', ';']).map(Token::Mark),
        double_quoted.value(Token::Bad(Bad::DoubleQuotes)),
        // block comments that end are trivia; this one takes the rest
        ("/*", winnow::token::rest).value(Token::Bad(Bad::OpenComment)),
        any.value(Token::Bad(Bad::Stray)),
    ))
    .parse_next(input)
}

/// Letters, digits, `_` and `.`, and inner hyphens: names that are no identifiers are refused with a reason later.
fn word(input: &mut Input<'_>) -> winnow::Result<String> {
    let part = || take_while(1.., |c: char| c.is_alphanumeric() || c == '_' || c == '.');
    let hyphen = terminated('-', peek(one_of(|c: char| c.is_alphanumeric())));
    (
        one_of(|c: char| c.is_alphabetic() || c == '_'),
        repeat::<_, _, (), _, _>(0.., alt((part().void(), hyphen.void()))),
    )
        .take()
        .map(str::to_owned)
        .parse_next(input)
}

/// `'text'` on one line, `''` is a quote; `None`: not closed (it takes the rest of the line).
fn text(input: &mut Input<'_>) -> winnow::Result<Option<String>> {
    let inner = |i: &mut Input<'_>| -> winnow::Result<String> {
        let piece =
            alt((take_till(1.., |c| matches!(c, '\'' | '\n' | '\r')).map(str::to_owned), "''".value("'".to_owned())));
        repeat(0.., piece).parse_next(i)
    };
    let (content, close) = preceded('\'', (inner, opt('\''))).parse_next(input)?;
    Ok(close.map(|_| content))
}

fn double_quoted(input: &mut Input<'_>) -> winnow::Result<()> {
    ('"', take_till(0.., |c| matches!(c, '"' | '\n' | '\r')), opt('"')).void().parse_next(input)
}

/// Everything that begins like a number, judged as a whole.
fn number(input: &mut Input<'_>) -> winnow::Result<Token> {
    let body = take_while(0.., |c: char| c.is_alphanumeric() || c == '_' || c == '.');
    let start = (opt('-'), opt('.'), one_of('0'..='9'));
    let raw = (start, body).take().parse_next(input)?;
    Ok(literal_number(raw).map_or(Token::Bad(Bad::Number), Token::Literal))
}

/// `12`, `1_000`, `-1`, `0.01`; an underscore only between digits.
fn literal_number(raw: &str) -> Option<Literal> {
    let unsigned = raw.strip_prefix('-').unwrap_or(raw);
    let is_digits = |part: &str| {
        !part.is_empty() && part.split('_').all(|group| !group.is_empty() && group.bytes().all(|b| b.is_ascii_digit()))
    };
    let plain: String = raw.chars().filter(|c| *c != '_').collect();
    match unsigned.split_once('.') {
        None if is_digits(unsigned) => Some(Literal::Integer(plain.parse().ok())),
        Some((whole, fraction)) if is_digits(whole) && is_digits(fraction) => plain.parse().ok().map(Literal::Decimal),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lex(text: &str) -> Vec<Token> {
        tokens(text).into_iter().map(|t| t.value).collect()
    }

    #[test]
    fn tokens_of_every_kind() {
        use Literal::{Decimal, Integer, Text};
        assert_eq!(
            lex("a.b = 'it''s', -- note 'x'\n 1_000 /* ( */ -0.5 (true);"),
            [
                Token::Word("a.b".into()),
                Token::Mark('='),
                Token::Literal(Text("it's".into())),
                Token::Mark(','),
                Token::Literal(Integer(Some(1000))),
                Token::Literal(Decimal(-0.5)),
                Token::Mark('('),
                Token::Word("true".into()),
                Token::Mark(')'),
                Token::Mark(';'),
            ]
        );
        assert_eq!(lex("-- only a comment"), []);
        assert_eq!(lex("\u{feff}''"), [Token::Literal(Text(String::new()))]);
    }

    #[test]
    fn mistakes_are_tokens_too() {
        assert_eq!(lex("'open\n,"), [Token::Bad(Bad::OpenText), Token::Mark(',')]);
        assert_eq!(lex("/* open ; "), [Token::Bad(Bad::OpenComment)]);
        assert_eq!(lex("\"x\" 1__0 1.2.3 .5 12ab"), {
            let mut all = vec![Token::Bad(Bad::DoubleQuotes)];
            all.extend(vec![Token::Bad(Bad::Number); 4]);
            all
        });
        assert_eq!(lex("#!? ü-1"), [Token::Bad(Bad::Stray), Token::Word("ü-1".into())]);
        assert_eq!(lex(&"9".repeat(60)), [Token::Literal(Literal::Integer(None))]);
    }
}
