//! Properties: a random valid store survives printing; no bytes make the parser fail but with places that are right.

use crate::config::choice::*;
use crate::config::key::{Kind, keys};
use crate::value::quote;
use crate::{parse_bytes, parse_file, print, print_full};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use strandline_event::Field;

/// Literals that a key takes, valid by themselves.
fn literal(kind: Kind, range: Option<crate::Range>, key: &'static str) -> BoxedStrategy<String> {
    let fields: Vec<&'static str> = Field::ALL.iter().map(|f| f.default_name()).collect();
    let tuple =
        |items: Vec<&'static str>| format!("({})", items.iter().map(|i| quote(i)).collect::<Vec<_>>().join(","));
    let fixed = |text: &'static str| Just(text.to_owned()).boxed();
    let any_of = |texts: &'static [&'static str]| select(texts).prop_map(quote).boxed();
    match key {
        "ordering.per_stream" => return fixed("'seq'"),
        "ordering.global" => return fixed("('ingested_at','event_id')"),
        "inmemory.index_by" => return fixed("('stream_type','stream_id')"),
        "read.dedupe.key" => {
            return select(&["'event_id'", "('stream_type','stream_id','seq')"][..]).prop_map(str::to_owned).boxed();
        }
        "durable.path" => return any_of(&["/d/x", "file:///d/it's/y", "s3://b/p", "gs://b", "az://c/p/q"]),
        "durable.commit.manifest_path" => return any_of(&["/d/m", "s3://b/m"]),
        "durable.file_pattern" => {
            return any_of(&["a/{writer}-{file_seq}.parquet", "dt={dt}/{writer}_{file_seq}.parquet"]);
        }
        "wal.path" => return any_of(&["/w", "file:///w/v"]),
        "wal.segment_pattern" => return any_of(&["{segment}.wal", "{yyyy}-{MM}-{dd}.{segment}"]),
        "compaction.schedule" => return any_of(&["0 3 * * sun", "*/7 1-5 1,15 * 1", " 0  0 29 2 * "]),
        "partition.dt.expr" => return any_of(&["DATE(occurred_at)", "hour(ingested_at)", "occurred_at"]),
        "partition.stream_type.expr" | "partition.tenant_id.expr" => {
            return any_of(&["stream_type", "tenant_id", "YEAR(occurred_at)"]);
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
        (Kind::TupleOf(texts), _) => subsequence(texts, 1..=texts.len()).prop_shuffle().prop_map(tuple).boxed(),
        (Kind::FieldName, _) => select(fields).prop_map(quote).boxed(),
        (Kind::FieldTuple, _) => subsequence(fields, 1..=5).prop_shuffle().prop_map(tuple).boxed(),
        // names of the envelope
        _ => "[a-z]{3,8}_x".prop_map(|n| quote(&n)).boxed(),
    }
}

/// A statement that sets a random choice of keys; most are valid, some contradict themselves.
fn statement() -> impl Strategy<Value = String> {
    let is_name = |key: &str| key.starts_with("envelope.");
    let optional: Vec<_> = keys().filter(|k| !k.name.starts_with("durable.type") && k.name != "durable.path").collect();
    let chosen = prop_oneof![subsequence(optional.clone(), 0..=8), subsequence(optional, 0..=30)];
    let settings = chosen.prop_flat_map(move |chosen| {
        // tuples below are written in default names, so names and tuples do not come together
        let renames = chosen
            .iter()
            .all(|k| is_name(k.name) || !matches!(k.kind, Kind::FieldTuple | Kind::FieldName | Kind::Text(_)));
        let kept = chosen.into_iter().filter(|k| renames || !is_name(k.name));
        kept.map(|k| literal(k.kind, k.range, k.name).prop_map(move |v| format!(",\n{} = {v}", k.name)))
            .collect::<Vec<_>>()
    });
    (literal(Kind::Bool, None, "durable.path"), settings).prop_map(|(path, settings)| {
        format!("CREATE EVENTSTORE random WITH (durable.type = 'parquet', durable.path = {path}{});", settings.concat())
    })
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_printed_store_parses_to_the_same_store(text in statement()) {
        let Ok(mut declarations) = parse_file("a.deql", &text) else {
            check_places(&text, text.as_bytes());
            return Ok(());
        };
        let config = declarations.stores.remove(0).config;
        for printed in [print(&config), print_full(&config)] {
            match parse_file("b.deql", &printed) {
                Ok(again) => prop_assert_eq!(&again.stores[0].config, &config, "{}", printed),
                Err(errors) => prop_assert!(false, "{}\n{}", printed, errors),
            }
        }
        let row_count = crate::check_rows(&config).len();
        prop_assert_eq!(row_count, 84);
    }

    #[test]
    fn random_bytes_give_errors_with_places(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check_places(&String::from_utf8_lossy(&bytes), &bytes);
    }

    #[test]
    fn random_text_gives_errors_with_places(text in "(CREATE |EVENTSTORE |WITH |\\(|\\)|'|;|,|=|wal\\.path |true |1_0|\\n|--|/\\*|\\*/|\t|\\r|\\PC){0,40}") {
        check_places(&text, text.as_bytes());
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

/// The generator makes valid stores most of the time: a property that skips everything proves nothing.
#[test]
fn most_random_stores_are_valid() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let texts = (0..200).map(|_| statement().new_tree(&mut runner).unwrap().current());
    let valid = texts.filter(|text| parse_file("x", text).is_ok()).count();
    assert!(valid > 60, "{valid} of 200");
    assert!(!Compression::TEXTS.is_empty());
}
