//! What an error may show of the text that it was found in.
//!
//! Any file may be given where statements belong: a token file, a private key, the environment of a program. The rule, for the sentences of errors,
//! their source lines, their JSON and their Debug:
//!
//! 1. Words are shown inside statements only. One begins where all words of a beginning stand (`CREATE EVENTSTORE`, ...), one of them
//!    mistyped at most, and ends behind its name, or with the `)` of its settings. A text without a beginning is one mistake, of which
//!    the place is told.
//! 2. Of a setting whose key is not known the key is shown where it could be one, and never the value.
//! 3. No comment is shown.
//! 4. What looks like a token, a PEM block or a key is hidden wherever it stands.
//!
//! Invariant: stars stand for what is hidden, as many bytes and characters as before, so that places stay right.

use crate::config::key;
use crate::suggest;
use crate::syntax::ast::{Literal, Span, Spanned};
use crate::syntax::lex::{Bad, Token, tokens};

/// The words that statements begin with.
const BEGINNINGS: [&[&str]; 7] = [
    &["CREATE", "EVENTSTORE"],
    &["CREATE", "AGGREGATE"],
    &["CREATE", "OR", "REPLACE", "EVENTSTORE"],
    &["CREATE", "OR", "REPLACE", "AGGREGATE"],
    &["DESCRIBE", "EVENTSTORE"],
    &["DESCRIBE", "EVENTSTORES"],
    &["EXPORT", "DEREG"],
];
/// Words of a beginning that may be mistyped.
const TYPOS_MAX: usize = 1;
/// The longest unknown key that is shown; the longest known one is half of it.
const KEY_NAME_BYTES_MAX: usize = 64;
/// What a token of a node begins with.
const TOKEN: &str = "slt_";
const PEM_BEGIN: &str = "-----BEGIN";
const PEM_END: &str = "-----END";
const PEM_DASHES: &str = "-----";
/// Shorter words are no keys: 128 bits are 32 hex digits, 192 bits 32 letters of Base64.
const KEY_BYTES_MIN: usize = 32;
/// What ids of AWS credentials begin with, and how long they are at least.
const ACCESS_KEYS: [&str; 2] = ["AKIA", "ASIA"];
const ACCESS_KEY_BYTES_MIN: usize = 16;

/// The words of a text that errors may show, in order; the default is none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Shown {
    spans: Vec<Span>,
}

impl Shown {
    pub(crate) fn of_text(text: &str) -> Self {
        Self::of(&tokens(text))
    }

    pub(crate) fn of(tokens: &[Spanned<Token>]) -> Self {
        let (mut spans, mut at) = (Vec::new(), 0);
        while at < tokens.len() {
            at = match beginning(&tokens[at..]) {
                Some(words) => statement(tokens, at, words, &mut spans),
                None => at + 1,
            };
        }
        Self { spans }
    }

    /// Whether any statement begins in the text, mistyped or not.
    pub(crate) const fn holds_a_statement(&self) -> bool {
        !self.spans.is_empty()
    }

    /// Whether what begins there is shown; of a place between two words: whether what ends there is.
    pub(crate) fn shows(&self, span: Span) -> bool {
        let behind = self.spans.partition_point(|shown| shown.start <= span.start);
        let last = behind.checked_sub(1).and_then(|at| self.spans.get(at));
        last.is_some_and(|shown| span.start < shown.end || (span.start == span.end && span.start == shown.end))
    }

    /// The text with stars in the place of all that is not shown.
    pub(crate) fn only(&self, text: &str) -> String {
        starred(text, &self.spans, false)
    }
}

/// A key that is not known, if it could be one: what is written in its place by mistake may be anything.
pub(crate) fn key_name(word: &str) -> Option<&str> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-');
    (word.len() <= KEY_NAME_BYTES_MAX && word.bytes().all(plain)).then_some(word)
}

/// The text with stars in the place of what looks like a token, a PEM block or a key.
pub(crate) fn without_keys(text: &str) -> String {
    let mut hidden = pem_blocks(text);
    let in_a_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '_' | '-');
    let mut start = 0;
    for piece in text.split_inclusive(|c: char| !in_a_key(c)) {
        let word = piece.trim_end_matches(|c: char| !in_a_key(c));
        let keys = keys_in(word).into_iter();
        hidden.extend(keys.map(|key| Span { start: start + key.start, end: start + key.end }));
        start += piece.len();
    }
    hidden.sort_unstable();
    starred(text, &hidden, true)
}

/// The beginning that stands at the start of the tokens, the one with the fewest typos.
fn beginning(tokens: &[Spanned<Token>]) -> Option<&'static [&'static str]> {
    let found = BEGINNINGS.into_iter().filter_map(|words| Some((typos(tokens, words)?, words)));
    found.min_by_key(|(typos, _)| *typos).map(|(_, words)| words)
}

/// How many of the words are mistyped; `None`: something else stands there.
fn typos(tokens: &[Spanned<Token>], words: &[&str]) -> Option<usize> {
    let mut typos = 0;
    for (at, keyword) in words.iter().enumerate() {
        let Some(Token::Word(word)) = tokens.get(at).map(|token| &token.value) else { return None };
        if word.eq_ignore_ascii_case(keyword) {
            continue;
        }
        typos += 1;
        // most words are too long or too short to be compared letter by letter
        let may_be_near = (3 * keyword.len()..=10 * keyword.len()).contains(&(5 * word.len()));
        let near = || suggest::nearest(word, std::iter::once(*keyword)).is_some();
        if typos > TYPOS_MAX || !may_be_near || !near() {
            return None;
        }
    }
    Some(typos)
}

fn mark_at(tokens: &[Spanned<Token>], at: usize) -> Option<char> {
    match tokens.get(at)?.value {
        Token::Mark(mark) => Some(mark),
        _ => None,
    }
}

/// Whether `word =` stands there.
fn setting_at(tokens: &[Spanned<Token>], at: usize) -> bool {
    matches!(tokens.get(at).map(|token| &token.value), Some(Token::Word(_))) && mark_at(tokens, at + 1) == Some('=')
}

/// Adds what is shown of the statement that begins there with these words; gives the place behind it.
fn statement(tokens: &[Spanned<Token>], start: usize, words: &[&str], shown: &mut Vec<Span>) -> usize {
    let has_settings = words.first() == Some(&"CREATE") && words.last() == Some(&"EVENTSTORE");
    // a name, and WITH before settings
    let more = match words.last() {
        Some(&"EVENTSTORES" | &"DEREG") => 0,
        _ => 1 + usize::from(has_settings),
    };
    let mut end = start + words.len();
    for _ in 0..more {
        let token = tokens.get(end).map(|token| &token.value);
        let is_word = matches!(token, Some(Token::Word(_) | Token::Literal(Literal::Text(_))));
        if !is_word || beginning(&tokens[end..]).is_some() {
            break;
        }
        end += 1;
    }
    shown.extend(tokens[start..end].iter().map(|token| token.span));
    if has_settings && mark_at(tokens, end) == Some('(') {
        shown.push(tokens[end].span);
        end = settings(tokens, end + 1, shown);
    }
    if mark_at(tokens, end) == Some(';') {
        shown.push(tokens[end].span);
        end += 1;
    }
    end
}

/// The settings behind a `(`: up to behind their `)`, to a `;` that no setting follows, or to what begins another statement.
fn settings(tokens: &[Spanned<Token>], start: usize, shown: &mut Vec<Span>) -> usize {
    // whether the key of this setting is known; none before its first word
    let mut known: Option<bool> = None;
    let (mut at, mut depth) = (start, 0_usize);
    while let Some(token) = tokens.get(at) {
        if setting_at(tokens, at) {
            (known, depth) = (None, 0);
        } else if beginning(&tokens[at..]).is_some() {
            return at;
        }
        match (&token.value, known) {
            (Token::Mark(';'), _) if !setting_at(tokens, at + 1) => return at,
            (Token::Mark(mark), _) => {
                shown.push(token.span);
                match mark {
                    ')' if depth == 0 => return at + 1,
                    ')' => depth -= 1,
                    '(' => depth += 1,
                    _ => {}
                }
                known = if depth == 0 && matches!(mark, ',' | ';') { None } else { Some(known == Some(true)) };
            }
            (Token::Word(word), None) => {
                let is_known = key::index_of(word).is_some();
                if is_known || (setting_at(tokens, at) && key_name(word).is_some()) {
                    shown.push(token.span);
                }
                known = Some(is_known);
            }
            (Token::Bad(Bad::OpenComment), _) => {}
            (_, Some(true)) => shown.push(token.span),
            (_, None | Some(false)) => known = Some(false),
        }
        at += 1;
    }
    at
}

fn pem_blocks(text: &str) -> Vec<Span> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(start) = text[at..].find(PEM_BEGIN).map(|bytes| at + bytes) {
        let behind = |word: &str, from: usize| text[from..].find(word).map(|bytes| from + bytes + word.len());
        at = behind(PEM_END, start).and_then(|end| behind(PEM_DASHES, end)).unwrap_or(text.len());
        found.push(Span { start, end: at });
    }
    found
}

/// Where keys and tokens stand in a word without blanks. What begins with a slash is a path: each of its parts is judged by itself.
fn keys_in(word: &str) -> Vec<Span> {
    let apart = |at: usize| at.checked_sub(1).is_none_or(|before| !word.as_bytes()[before].is_ascii_alphanumeric());
    let token = word.match_indices(TOKEN).map(|(at, _)| at).find(|at| apart(*at));
    if let Some(at) = token {
        return vec![Span { start: at + TOKEN.len(), end: word.len() }];
    }
    if !word.starts_with('/') && is_key(word) {
        return vec![Span { start: 0, end: word.len() }];
    }
    let (mut found, mut start) = (Vec::new(), 0);
    for part in word.split('/') {
        if is_key(part) {
            found.push(Span { start, end: start + part.len() });
        }
        start += part.len() + 1;
    }
    found
}

fn is_key(word: &str) -> bool {
    let any = |is: fn(&u8) -> bool| word.bytes().any(|b| is(&b));
    let mixed = || any(u8::is_ascii_lowercase) && any(u8::is_ascii_uppercase) && any(u8::is_ascii_digit);
    let hex = || word.bytes().all(|b| b.is_ascii_hexdigit());
    let access = word.len() >= ACCESS_KEY_BYTES_MIN && ACCESS_KEYS.iter().any(|begin| word.starts_with(begin));
    access || (word.len() >= KEY_BYTES_MIN && (mixed() || hex()))
}

/// The text with stars for the characters that lie inside the spans, or outside of them, and for control characters beyond ASCII; white space
/// stays. The spans are in the order of their starts.
fn starred(text: &str, spans: &[Span], inside: bool) -> String {
    let mut spans = spans.iter().peekable();
    let hide = |(at, c): (usize, char)| {
        while spans.next_if(|span| span.end <= at).is_some() {}
        let within = spans.peek().is_some_and(|span| span.start <= at);
        // of what steers a terminal the renderer of source lines knows the ASCII ones
        let steers = c.is_control() && !c.is_ascii();
        if steers || (within == inside && !c.is_whitespace()) { star(c) } else { c }
    };
    text.char_indices().map(hide).collect()
}

/// A star of as many bytes as the character.
const fn star(c: char) -> char {
    match c.len_utf8() {
        1 => '*',
        2 => '\u{d7}',
        3 => '\u{2217}',
        _ => '\u{1f7b6}',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{parse_bytes, parse_file};

    const HEX: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    const BASE64: &str = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj/Ab+Cd9Q==";

    /// Everything that is said of a text.
    fn said(text: &[u8]) -> String {
        let errors = parse_bytes("f", text).unwrap_err();
        let json = serde_json::to_string(&errors).unwrap();
        format!("{errors}{}{json}{errors:?}{:?}", errors.render(true), errors.iter().collect::<Vec<_>>())
    }

    fn only(text: &str) -> String {
        Shown::of_text(text).only(text)
    }

    #[test]
    fn of_a_text_that_is_no_statement_its_place_is_told_and_nothing_else() {
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{BASE64}\n{BASE64}\n-----END PRIVATE KEY-----\n");
        let texts = [
            (format!("slt_{HEX}\n"), "slt_"),
            (format!("# tokens\nhunter2 read {HEX}\n"), "hunter2"),
            (pem, "MIIE"),
            (
                format!("AWS_SECRET_ACCESS_KEY=hunter2\nexport PASSWORD='hunter2'; export OTHER=\"{BASE64}\"\n"),
                "hunter2",
            ),
            (format!("export PASSWORD=hunter2;\nexport A=B;\ncreate user hunter2 with ({HEX} = hunter2);"), "hunter2"),
            (format!("{{\"version\": 1, \"key\": \"{BASE64}\", \"note\": 'hunter2'}}"), "hunter2"),
            ("hunter2".to_owned(), "hunter2"),
            ("'hunter2'".to_owned(), "hunter2"),
            ("CREATE USER hunter2 IDENTIFIED BY 'hunter2'".to_owned(), "hunter2"),
            ("/* hunter2".to_owned(), "hunter2"),
        ];
        for (text, secret) in &texts {
            let said = said(text.as_bytes());
            for word in [*secret, HEX, "MIIE", "PASSWORD"] {
                assert!(!said.contains(word), "{word}: {said}");
            }
            assert!(said.contains(" --> f:"), "the place is told: {said}");
        }
        let message = parse_file("f", "\n  hunter2").unwrap_err().to_string();
        assert!(
            message.contains("nothing in this text is a statement: one begins with CREATE EVENTSTORE"),
            "{message}"
        );
        assert!(message.contains(" --> f:2:3\n  = help: "), "{message}");
    }

    #[test]
    fn nothing_is_shown_of_bytes_that_are_no_text() {
        let said = said(b"CREATE EVENTSTORE hunter2 WITH (durable.path = 'hunter2\xff')");
        assert!(!said.contains("hunter2") && said.contains("no UTF-8"), "{said}");
    }

    #[test]
    fn what_stands_beside_a_statement_is_not_shown() {
        let good = "CREATE EVENTSTORE s WITH (durable.type = 'parquet', durable.path = '/d')";
        for text in [
            format!("{good}\nhunter2 {HEX}"),
            format!(
                "hunter2 = {BASE64};\n{good}; EXPORT DEREG hunter2; DESCRIBE EVENTSTORE s hunter2; CREATE AGGREGATE C hunter2"
            ),
            format!("{good} 'hunter2"),
            format!("{good}; CREATE EVENTSTORE t /* hunter2"),
            "CREATE EVENTSTORE s WITH (wal.enabled = 1, -- hunter2\n /* hunter2 */ durable.type = 2)".to_owned(),
        ] {
            let said = said(text.as_bytes());
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn the_value_of_an_unknown_key_is_never_shown() {
        for setting in [
            "wal.pasword = 'hunter2'",
            "wal.pasword = hunter2",
            "wal.pasword = \"hunter2\"",
            "wal.pasword = 'hunter2",
            "wal.pasword = ('a', hunter2, 'hunter2')",
            "wal.pasword = ('a' 'hunter2'), wal.fsync = 'hunter3'",
            "wal.pasword == hunter2 hunter2",
            "wal.pasword : 'hunter2'",
            "wal.pasword = x, hunter2",
            "\"wal.pasword\" = 'hunter2'",
            "wal.pasword = hunter2; wal.fsync = 1",
            "wal.pasword = /* hunter2 */ 1",
            "wal.pasword = 'a''hunter2'",
        ] {
            let text =
                format!("CREATE EVENTSTORE s WITH (durable.type = 'parquet',\n {setting}\n, durable.path = '/d')");
            let said = said(text.as_bytes());
            assert!(!said.contains("hunter2"), "{setting}: {said}");
        }
        let near = parse_file("f", "CREATE EVENTSTORE s WITH (durable.pth = 'hunter2')").unwrap_err().to_string();
        assert!(near.contains("`durable.pth` is no key") && near.contains("`durable.path`"), "{near}");
        assert!(near.contains("CREATE EVENTSTORE s WITH (durable.pth = *********)"), "{near}");
        // what cannot be a key is not named either
        for word in [BASE64.trim_end_matches('='), "Hunter2", &format!("a{}", &HEX[1..]), &"k".repeat(65)] {
            let said = said(format!("CREATE EVENTSTORE s WITH ({word} = 1)").as_bytes());
            assert!(!said.contains(word) && said.contains("is no key of an event store"), "{said}");
        }
    }

    #[test]
    fn what_looks_like_a_key_is_hidden_in_statements_too() {
        for secret in [format!("slt_{HEX}"), HEX.to_owned(), BASE64.to_owned(), "AKIAIOSFODNN7EXAMPLE".to_owned()] {
            for text in [
                format!("CREATE EVENTSTORE s WITH (durable.type = '{secret}', durable.path = '{secret}')"),
                format!("CREATE EVENTSTORE s WITH (durable.type = {secret})"),
                format!("CREATE EVENTSTORE {secret}"),
                format!("CREATE {secret} EVENTSTORE; CREATE AGGREGATE {secret} {secret}"),
            ] {
                let (said, shown) = (said(text.as_bytes()), secret.trim_start_matches("slt_").trim_end_matches('='));
                assert!(!said.contains(shown), "{said}");
            }
        }
        let pem = format!("-----BEGIN KEY-----{BASE64}-----END KEY-----");
        let text =
            format!("CREATE EVENTSTORE s WITH (durable.type = 'orc', security.kms.key_id = '{pem}', wal.fsync = 1)");
        assert!(!said(text.as_bytes()).contains("MIIE"));
    }

    #[test]
    fn stars_are_as_long_as_what_they_hide() {
        assert_eq!(
            only("a \u{e4}\u{20ac}\u{1f600}b\n CREATE AGGREGATE C; x"),
            "* \u{d7}\u{2217}\u{1f7b6}*\n CREATE AGGREGATE C; *"
        );
        assert_eq!(
            only("CRAETE EVENTSTORE s WITH (a.b = (1, c), wal.path = '/w' -- x\n)"),
            "CRAETE EVENTSTORE s WITH (a.b = (*, *), wal.path = '/w' ** *\n)"
        );
        for plain in [
            "/var/lib/strandline/Calls2026/durable/abcdefghijkl",
            "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "aslt_x slt_ AWS_SECRET_ACCESS_KEY s3://Bucket/a/b1",
            "dt={dt}/stream_type={stream_type}/tenant_id={tenant_id}/part-{writer}-{file_seq}.parquet",
        ] {
            assert_eq!(without_keys(plain), plain);
        }
        assert_eq!(without_keys("a slt_ab, 'slt_c'"), "a slt_**, 'slt_*'");
        assert_eq!(without_keys(&format!("/keys/{HEX}/x")), format!("/keys/{}/x", "*".repeat(64)));
    }

    #[test]
    fn a_beginning_may_have_one_typo() {
        for text in
            ["create eventstore", "CRAETE EVENTSTORE", "CREATE EVENTSTOR", "CREATE OR REPLACE AGREGATE", "EXPORT DERG"]
        {
            assert!(Shown::of_text(text).holds_a_statement(), "{text}");
        }
        for text in
            ["", "CRAETE EVENTSTOR", "CREATE", "EXPORT EVERYTHING", "CREATE OR REPLACE USER", "CREATE 'EVENTSTORE'"]
        {
            assert!(!Shown::of_text(text).holds_a_statement(), "{text}");
        }
    }
}
