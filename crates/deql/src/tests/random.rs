//! Properties: a random valid store survives printing; no bytes make the parser fail but with places that are right.

use crate::config::choice::*;
use crate::config::key::{Kind, keys};
use crate::value::quote;
use crate::{parse_bytes, parse_file, print, print_full};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::TestRunner;
use std::cell::Cell;
use strandline_event::Field;

/// The names that a statement gives the fields of the envelope, in the order of `Field::ALL`.
type Names = Vec<String>;

/// Some fields renamed, no two to one name.
fn names() -> BoxedStrategy<Names> {
    let defaults = || Field::ALL.iter().map(|f| f.default_name().to_owned()).collect::<Names>();
    let renamed = (any::<u16>(), "[a-z]{3,8}").prop_map(move |(which, word)| {
        let rename = |(i, name): (usize, String)| if which >> i & 1 == 1 { format!("{word}_{i}_x") } else { name };
        defaults().into_iter().enumerate().map(rename).collect()
    });
    prop_oneof![Just(defaults()), renamed].boxed()
}

fn tuple(items: &[String]) -> String {
    format!("({})", items.iter().map(|i| quote(i)).collect::<Vec<_>>().join(","))
}

/// Literals that a key takes, valid by themselves; fields stand in them under the names that the statement gives them.
fn literal(kind: Kind, range: Option<crate::Range>, key: &'static str, names: &Names) -> BoxedStrategy<String> {
    let of = |fields: &[Field]| -> Names {
        let at = |field: &Field| Field::ALL.iter().position(|f| f == field).unwrap();
        fields.iter().map(|field| names[at(field)].clone()).collect()
    };
    let fixed = |text: String| Just(text).boxed();
    let any_of = |texts: &'static [&'static str]| select(texts).prop_map(quote).boxed();
    let any_expr = |fields: &[(&str, Field)]| {
        let expr = |(function, field): &(&str, Field)| match (*function, &of(&[*field])[0]) {
            ("", name) => quote(name),
            (function, name) => quote(&format!("{function}({name})")),
        };
        select(fields.iter().map(expr).collect::<Vec<_>>()).boxed()
    };
    match key {
        "ordering.per_stream" => return fixed(quote(&of(&[Field::Seq])[0])),
        "ordering.global" => return fixed(tuple(&of(&[Field::IngestedAt, Field::EventId]))),
        "inmemory.index_by" => return fixed(tuple(&of(&[Field::StreamType, Field::StreamId]))),
        "read.dedupe.key" => {
            let keys = [of(&[Field::EventId]), of(&[Field::StreamType, Field::StreamId, Field::Seq])];
            return select(keys.map(|key| tuple(&key)).to_vec()).boxed();
        }
        "durable.path" => return any_of(&["/d/x", "file:///d/it's/y", "s3://b/p", "gs://b", "az://c/p/q"]),
        "durable.commit.manifest_path" => return any_of(&["/d/m", "s3://b/m"]),
        "durable.file_pattern" => {
            return any_of(&["a/{writer}-{file_seq}.parquet", "dt={dt}/{writer}_{file_seq}.parquet"]);
        }
        "wal.path" => return any_of(&["/w", "file:///w/v"]),
        "wal.segment_pattern" => return any_of(&["{segment}.wal", "{yyyy}-{MM}-{dd}.{segment}"]),
        "compaction.schedule" => return any_of(&["0 3 * * sun", "*/7 1-5 1,15 * 1", " 0  0 29 2 * "]),
        "partition.dt.expr" => {
            return any_expr(&[("DATE", Field::OccurredAt), ("hour", Field::IngestedAt), ("", Field::OccurredAt)]);
        }
        "partition.stream_type.expr" | "partition.tenant_id.expr" => {
            return any_expr(&[("", Field::StreamType), ("", Field::TenantId), ("YEAR", Field::OccurredAt)]);
        }
        "security.kms.key_id" => return any_of(&["/k", "alias/x", "it's"]),
        _ => {}
    }
    match (kind, range) {
        (Kind::Bool, _) => any::<bool>().prop_map(|b| b.to_string()).boxed(),
        (Kind::Integer, Some(r)) => {
            prop_oneof![r.min..=r.max, r.min..=r.max.min(r.min + 20)].prop_map(|n| n.to_string()).boxed()
        }
        (Kind::Fraction, _) => (1e-9..0.999f64).prop_map(|f| f.to_string()).boxed(),
        (Kind::OneOf(texts), _) => any_of(texts),
        (Kind::TupleOf(texts), _) => {
            let texts: Names = texts.iter().map(|text| (*text).to_owned()).collect();
            let most = texts.len();
            subsequence(texts, 1..=most).prop_shuffle().prop_map(|items| tuple(&items)).boxed()
        }
        (Kind::FieldName, _) => select(names.clone()).prop_map(|name| quote(&name)).boxed(),
        (Kind::FieldTuple, _) => {
            subsequence(names.clone(), 1..=5).prop_shuffle().prop_map(|items| tuple(&items)).boxed()
        }
        // those of the envelope are set by `names`
        _ => "[a-z]{3,8}_x".prop_map(|n| quote(&n)).boxed(),
    }
}

/// A statement that sets a random choice of keys; most are valid, some contradict themselves.
fn statement() -> impl Strategy<Value = String> {
    let optional: Vec<_> = keys()
        .filter(|k| k.name != "durable.type" && k.name != "durable.path" && !k.name.starts_with("envelope."))
        .collect();
    let chosen = prop_oneof![subsequence(optional.clone(), 0..=8), subsequence(optional, 0..=30)];
    let settings = (names(), chosen).prop_flat_map(|(names, chosen)| {
        let set = chosen.into_iter().map(|k| {
            literal(k.kind, k.range, k.name, &names).prop_map(move |v| format!(",\n{} = {v}", k.name)).boxed()
        });
        let renames = keys().filter(|k| k.name.starts_with("envelope.")).zip(names.clone()).zip(Field::ALL);
        let renames = renames.filter(|((_, name), field)| name != field.default_name());
        let renames = renames.map(|((k, name), _)| Just(format!(",\n{} = {}", k.name, quote(&name))).boxed());
        renames.chain(set).collect::<Vec<_>>()
    });
    (literal(Kind::Bool, None, "durable.path", &Names::new()), settings).prop_map(|(path, settings)| {
        format!("CREATE EVENTSTORE random WITH (durable.type = 'parquet', durable.path = {path}{});", settings.concat())
    })
}

/// Whether a statement renames fields and names fields in its keys as well.
fn renames_and_names(text: &str) -> bool {
    let renames = text.contains("\nenvelope.");
    let naming = keys().filter(|k| matches!(k.kind, Kind::FieldTuple | Kind::FieldName));
    renames && naming.into_iter().any(|k| text.contains(&format!("\n{} = ", k.name)))
}

fn check_places(text: &str, bytes: &[u8]) {
    let Err(errors) = parse_bytes("random.deql", bytes) else { return };
    assert!(!errors.is_empty());
    let rendered = errors.to_string();
    let lines = text.split('\n').count();
    for error in &errors {
        assert!(error.span.start <= error.span.end && error.span.end <= text.len(), "{error:?}");
        assert!(text.is_char_boundary(error.span.start) && text.is_char_boundary(error.span.end), "{error:?}");
        let (line, column) = errors.position(error.span.start);
        assert!(line <= lines && column >= 1);
        assert!(!error.message.is_empty() && rendered.len() > error.message.len() / 2);
    }
    serde_json::to_string(&errors).unwrap();
}

fn shows_nothing_planted(text: &str) -> Result<(), TestCaseError> {
    let Err(errors) = parse_file("random.deql", text) else { return Ok(()) };
    let told = format!("{errors}{errors:?}{}", serde_json::to_string(&errors).unwrap());
    prop_assert!(!told.contains("hunter2"), "{}: {}", text, told);
    Ok(())
}

/// How many of the random stores are valid is counted: a property that skips everything proves nothing.
#[test]
fn a_printed_store_parses_to_the_same_store() {
    let (valid, with_names) = (Cell::new(0), Cell::new(0));
    let config = ProptestConfig { cases: 1000, source_file: Some(file!()), ..ProptestConfig::default() };
    let printed = |text: String| {
        let Ok(mut declarations) = parse_file("a.deql", &text) else {
            check_places(&text, text.as_bytes());
            return Ok(());
        };
        valid.set(valid.get() + 1);
        with_names.set(with_names.get() + usize::from(renames_and_names(&text)));
        let config = declarations.stores.remove(0).config;
        for printed in [print(&config), print_full(&config)] {
            match parse_file("b.deql", &printed) {
                Ok(again) => prop_assert_eq!(&again.stores[0].config, &config, "{}", printed),
                Err(errors) => prop_assert!(false, "{}\n{}", printed, errors),
            }
        }
        prop_assert_eq!(crate::check_rows(&config).len(), 84);
        Ok(())
    };
    TestRunner::new(config).run(&statement(), printed).unwrap_or_else(|error| panic!("{error}"));
    assert!(valid.get() > 250, "{} of 1000 are valid", valid.get());
    assert!(with_names.get() > 50, "{} of 1000 rename fields and name some", with_names.get());
    assert!(!Compression::TEXTS.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn random_bytes_give_errors_with_places(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check_places(&String::from_utf8_lossy(&bytes), &bytes);
    }

    #[test]
    fn random_text_gives_errors_with_places(text in "(CREATE |EVENTSTORE |WITH |\\(|\\)|'|;|,|=|wal\\.path |true |1_0|\\n|--|/\\*|\\*/|\t|\\r|\\PC){0,40}") {
        check_places(&text, text.as_bytes());
    }

    #[test]
    fn nothing_is_shown_of_random_text_that_is_no_statement(text in "(hunter2|CREATE USER |export |=|[ '\"\n;(),{}:@é]|--|/\\*|\\*/|[0-9]){0,30}") {
        shows_nothing_planted(&text)?;
    }

    #[test]
    fn nothing_is_shown_of_the_random_value_of_an_unknown_key(text in "(hunter2|CREATE USER |export |[ '\"\n;(),{}:@é]|--|/\\*|\\*/|[0-9]){0,30}") {
        shows_nothing_planted(&format!("CREATE EVENTSTORE s WITH (bananas = {text}"))?;
        shows_nothing_planted(&format!("CREATE EVENTSTORE s WITH (wal.enabled = maybe, bananas = {text})"))?;
    }

    #[test]
    fn mutations_give_errors_with_places(text in statement(), at in any::<prop::sample::Index>(), with in "\\PC{0,3}", cut in 0usize..6) {
        let mut chars: Vec<char> = text.chars().collect();
        let at = at.index(chars.len());
        let end = (at + cut).min(chars.len());
        chars.splice(at..end, with.chars());
        let text: String = chars.into_iter().collect();
        check_places(&text, text.as_bytes());
    }
}
