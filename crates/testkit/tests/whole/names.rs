//! Names of stream types and tenants, whatever they are: each has a folder of its own, in the logs and among the files, and none leaves its folder, hides
//! in it, or meets what is the store's own.

// helpers of a test are as blunt as the test itself; the lint's exception covers `#[test]` functions only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use strandline_durable::Layout;
use strandline_event::builder::check_stream_type;
use strandline_testkit::r#gen::store;
use strandline_wal::log_folder_name;
use strandline_wal::names::parse_log_folder_name;

const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// Texts that are likelier to meet each other, or something else, than random ones.
fn name() -> impl Strategy<Value = String> {
    let hostile = prop::sample::select(
        &[
            ".",
            "..",
            "...",
            "../a",
            "a/b",
            "a%2Fb",
            "a%2fb",
            "%2e%2e",
            "%2E.",
            "a\\b",
            "\0",
            "a\u{0}",
            "nul",
            "CON",
            "a.",
            "a ",
            "A",
            "a",
            "\u{fc}",
            "u\u{308}",
            "\u{202e}",
            "~1",
            "a~1",
            "a=b",
            ".lock",
            "%2Elock",
            "_runs",
            "%5Fruns",
            "_manifests",
            "_delta_log",
            HIVE_NULL,
            "%5F_HIVE_DEFAULT_PARTITION__",
            "x.parquet",
            "-",
            "%",
        ][..],
    );
    let short = prop::string::string_regex("[./%~_=aA-]{1,4}").unwrap();
    prop_oneof![3 => hostile.prop_map(str::to_owned), 3 => short, 2 => "\\PC{1,12}", 1 => any::<String>()]
        .prop_filter("a name that is taken", |name| check_stream_type(name).is_ok())
}

/// Patterns with every place that a name can have in a path.
const PATTERNS: [&str; 4] = [
    "",
    ", durable.file_pattern = '{tenant_id}/{stream_type}/{writer}-{file_seq}.parquet'",
    ", durable.file_pattern = '{stream_type}/x{tenant_id}/{writer}-{file_seq}.parquet'",
    ", durable.file_pattern = 'lake/{tenant_id}/a-{stream_type}/{writer}-{file_seq}.parquet'",
];

fn folder(layout: &Layout, tenant: Option<&str>, stream_type: &str) -> String {
    let key = vec![tenant.map(str::to_owned), Some(stream_type.to_owned())];
    let path = layout.file_path(&key, "n1-e1", 7);
    for part in path.split('/') {
        assert!(!part.is_empty() && part.len() <= 255, "{path}");
        assert!(!part.starts_with(['.', '_']) || part == HIVE_NULL, "{path} hides, or is the store's own");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.%=".contains(&byte);
        assert!(part.bytes().all(plain), "{path}");
    }
    path.rsplit_once('/').unwrap().0.to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]
    #[test]
    fn distinct_names_have_distinct_folders_and_none_escapes(
        first in (proptest::option::of(name()), name()),
        second in (proptest::option::of(name()), name()),
    ) {
        for pattern in PATTERNS {
            let settings = format!("partition.by = ('tenant_id', 'stream_type'){pattern}");
            let layout = Layout::new(&store("/durable", &settings)).unwrap();
            let of = |names: &(Option<String>, String)| folder(&layout, names.0.as_deref(), &names.1);
            prop_assert_eq!(of(&first) == of(&second), first == second, "{}", pattern);
        }
        let logs = [&first.1, &second.1].map(|name| log_folder_name(name, 0));
        prop_assert_eq!(logs[0] == logs[1], first.1 == second.1);
        for (log, name) in logs.iter().zip([&first.1, &second.1]) {
            let taken = [".", "..", ".lock"].contains(&log.as_str());
            prop_assert!(!taken && !log.contains(['/', '\\', '\0', '~']), "{}", log);
            prop_assert_eq!(parse_log_folder_name(log), Some((name.clone(), 0)));
        }
    }
}
