//! What statements mean: defaults, renaming, pairs, replacement, what is not served yet.

use super::{mistakes, store, with};
use crate::*;
use std::path::Path;
use strandline_event::{Field, IdFormat};

#[test]
fn defaults_are_those_of_the_reference() {
    let c = with("");
    assert_eq!((c.id.event_id_format, c.id.command_id_unique_scope), (IdFormat::V7, CommandScope::None));
    assert_eq!(c.durable.manifest_path.to_string(), "/data/s/_manifests");
    assert_eq!(c.durable.file_pattern.as_str(), "part-{writer}-{file_seq}.parquet");
    assert_eq!((c.durable.compression, c.durable.compression_level), (Compression::Zstd, Some(3)));
    assert_eq!((c.row_group.target_mb, c.row_group.max_rows), (128, 1_000_000));
    assert_eq!(c.stats.columns, [Field::StreamId, Field::Seq, Field::EventType, Field::OccurredAt]);
    assert_eq!((c.bloom.columns.as_slice(), c.bloom.fpp), ([Field::StreamId, Field::EventId].as_slice(), 0.01));
    assert_eq!((c.inmemory.enabled, c.inmemory.max_mb, c.inmemory.ttl_seconds), (false, 512, 60));
    assert_eq!((c.wal.enabled, c.wal.rollover_mb, c.wal.retention_hours, c.wal.fsync), (false, 256, 24, true));
    assert_eq!((c.compaction.min_segment_mb, c.compaction.target_file_mb, c.compaction.max_file_mb), (64, 256, 512));
    assert_eq!((c.compaction.max_open_files, c.compaction.schedule.as_str()), (32, "*/5 * * * *"));
    assert_eq!(c.read.tiers, [Tier::Durable]);
    assert_eq!((c.retention.enabled, c.retention.durable_days, c.retention.wal_hours), (false, 3650, 24));
    assert_eq!(
        c.partition.source(PartitionColumn::Dt),
        PartitionSource::Time { field: Field::OccurredAt, granularity: Granularity::Day }
    );
    assert_eq!(c.set.len(), 2);
    assert!(c.is_set("durable.path") && !c.is_set("wal.path") && !c.is_set("bananas"));
}

#[test]
fn white_space_comments_case_and_single_values_are_free() {
    let a = store("create eventstore s with(durable.type='parquet',durable.path='/data/s',partition.by='dt',)");
    let b = store(
        "-- x\nCREATE /* y */ EventStore s\nWITH ( durable.type = 'parquet' , durable.path = 'file:///data/s/', partition.by = ('dt') ) ;;",
    );
    assert_eq!(a, b);
    assert_eq!(with("wal.rollover = 'both'").wal.rollover, with("wal.rollover = ('size', 'time')").wal.rollover);
    assert_eq!(with("partition.by = ()").partition.by, []);
}

#[test]
fn tuples_follow_the_renaming() {
    let c = with("envelope.seq_key = 'n', envelope.stream_id_key = 'subscriber', stats.columns = ('n')");
    assert_eq!(c.row_group.sort_by, [Field::StreamId, Field::Seq]);
    let text = print_full(&c);
    assert!(text.contains("row_group.sort_by = ('subscriber', 'n') (default)"), "{text}");
    assert!(text.contains("ordering.per_stream = 'n' (default)"), "{text}");
    assert_eq!(c.stats.columns, [Field::Seq]);
    let swapped = with("envelope.seq_key = 'stream_id', envelope.stream_id_key = 'seq', row_group.sort_by = ('seq')");
    assert_eq!(swapped.row_group.sort_by, [Field::StreamId]);
}

#[test]
fn computed_defaults_follow_the_keys_they_depend_on() {
    let c = with(
        "partition.by = ('dt', 'tenant_id'), partition.dt.granularity = 'hour', durable.compression = 'lz4', inmemory.enabled = true",
    );
    assert_eq!(c.durable.file_pattern.as_str(), "dt={dt}/tenant_id={tenant_id}/part-{writer}-{file_seq}.parquet");
    assert_eq!(c.partition.dt_expr, PartitionExpr::Time { granularity: Granularity::Hour, field: Field::OccurredAt });
    assert_eq!(c.durable.compression_level, None);
    assert_eq!(c.read.tiers, [Tier::Inmemory, Tier::Durable]);
    let c = with("partition.dt.expr = 'month( ingested_at )'");
    assert_eq!(c.partition.dt_granularity, Granularity::Month);
    assert_eq!(
        c.partition.source(PartitionColumn::Dt),
        PartitionSource::Time { field: Field::IngestedAt, granularity: Granularity::Month }
    );
    let c = with("partition.dt.expr = 'occurred_at', partition.dt.granularity = 'year'");
    assert_eq!(
        c.partition.source(PartitionColumn::Dt),
        PartitionSource::Time { field: Field::OccurredAt, granularity: Granularity::Year }
    );
}

#[test]
fn one_of_a_retention_pair_holds_for_both() {
    let c = with("retention.enabled = true, retention.wal_hours = 5, inmemory.ttl_seconds = 7");
    assert_eq!((c.wal.retention_hours, c.retention.inmemory_seconds), (5, 7));
    // the retention side counts only while retention is on
    assert_eq!(with("retention.wal_hours = 5").wal.retention_hours, 24);
    assert_eq!(
        with("retention.enabled = true, retention.wal_hours = 5, wal.retention_hours = 5").wal.retention_hours,
        5
    );
}

#[test]
fn statements_of_every_kind() {
    let text = "DESCRIBE EVENTSTORES; describe eventstore calls; EXPORT DEREG; CREATE AGGREGATE Call; CREATE OR REPLACE EVENTSTORE s WITH (durable.type='parquet', durable.path='/d')";
    let declarations = parse_file("x", text).unwrap();
    let name = |n: &str| n.to_owned();
    assert_eq!(
        declarations.statements,
        [
            Statement::DescribeEventStores,
            Statement::DescribeEventStore { name: name("calls") },
            Statement::ExportDereg,
            Statement::CreateAggregate { name: name("Call") },
            Statement::CreateEventStore { name: name("s"), or_replace: true },
        ]
    );
    assert!(declarations.stores[0].or_replace);
    assert_eq!(parse_file("x", "").unwrap().statements, []);
}

#[test]
fn a_text_that_holds_no_statement_is_one_mistake() {
    let letter = "# Stores\n\nWe \"create\" them; that's all.\n1.2.3 of; them\n";
    for text in
        [letter, "import os;\nos.exit(1);\n", "CRAETE STORE a WITH (); CRAETE STORE b WITH ();", "export A=b", "x"]
    {
        let found = mistakes(text);
        assert!(found.len() == 1 && found[0].contains("nothing in this text is a statement"), "{found:?}");
    }
    for text in ["CRAETE EVENTSTORE a; CRAETE EVENTSTORE b;", "CRAETE STORE a"] {
        let near = parse_file("x", text).unwrap_err();
        assert_eq!(near.iter().next().unwrap().hint.as_deref(), Some("did you mean CREATE?"));
    }
    // words of ours alone are found in files of others too
    let unlike = parse_file("x", "EXPORT A; EXPORT B").unwrap_err();
    assert!(unlike.iter().next().unwrap().hint.as_deref().is_some_and(|hint| hint.contains("stores/minimal.deql")));
    // what begins as a statement does is one, and each of its mistakes is told
    assert_eq!(mistakes("CREATE EVENTSTOR a; CREATE EVENTSTOR b;").len(), 2);
    assert_eq!(mistakes("CRAETE EVENTSTORE a WITH (); CRAETE EVENTSTORE b WITH ();").len(), 2);
    assert_eq!(mistakes("nothing; nothing; EXPORT DEREG;").len(), 2);
}

#[test]
fn or_replace_in_one_file_keeps_the_last() {
    let text = "CREATE EVENTSTORE s WITH (durable.type='parquet', durable.path='/a'); CREATE OR REPLACE EVENTSTORE s WITH (durable.type='parquet', durable.path='/b');";
    let declarations = parse_file("x", text).unwrap();
    assert_eq!(declarations.stores.len(), 1);
    assert_eq!(declarations.stores[0].config.durable.path.to_string(), "/b");
}

#[test]
fn replacement_names_what_it_may_not_change() {
    let old = with("wal.enabled = true, wal.path = '/w'");
    let free = with("wal.enabled = true, wal.path = '/elsewhere', inmemory.enabled = true, compaction.schedule = '0 * * * *',
        read.missing_seq.policy = 'warn', retention.enabled = true, projection.mode = 'async', wal.rollover = 'time', wal.rollover_mb = 1,
        wal.retention_hours = 1, row_group.max_rows = 5, bloom.fpp = 0.5, stats.enabled = false, durable.compression = 'gzip',
        durable.compression.level = 1");
    assert_eq!(replaceable_changes(&old, &free), Ok(()));
    let changed = crate::changed_keys(&old, &free);
    assert!(
        changed.contains(&"bloom.fpp") && changed.contains(&"read.tiers"),
        "what follows another key changes with it: {changed:?}"
    );
    assert!(!changed.contains(&"wal.path") && !changed.contains(&"projection.mode"), "{changed:?}");
    let (kept, differs) = crate::on_this_node(&old, free.clone());
    assert_eq!((kept.wal.path.clone(), differs), (old.wal.path.clone(), true), "the path of the log is the node's own");
    assert_eq!(crate::changed_keys(&free, &kept), [""; 0]);
    let fixed = with("partition.by = 'dt', wal.fsync = false, envelope.seq_key = 'n', strict.tenant_required = true");
    assert_eq!(
        replaceable_changes(&old, &fixed),
        Err(vec![
            "envelope.seq_key",
            "ordering.per_stream",
            "partition.by",
            "wal.enabled",
            "wal.fsync",
            "strict.tenant_required"
        ])
    );
}

#[test]
fn what_is_not_served_yet_is_named() {
    let keys = |list: Vec<(&'static str, &'static str)>| list.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    let c = with("");
    assert_eq!(keys(serve_refusals(&c)), [""; 0]);
    assert_eq!(keys(not_active_yet(&c)), [""; 0]);
    let all = store("CREATE EVENTSTORE s WITH (durable.type = 'parquet', durable.path = '/p', id.command_id.unique_scope = 'store',
        security.encrypt.at_rest = true, security.kms.provider = 'aws_kms', security.kms.key_id = 'alias/x', security.encrypt.in_transit = true)");
    let refused = keys(serve_refusals(&all));
    let wanted: &[&str] = if cfg!(feature = "s3") { &[] } else { &["security.kms.provider"] };
    assert_eq!(refused, wanted, "the provider speaks as s3 does");
}

/// A redacted event stands where its hidden text put it: the file would not have the order that it names, and no merge would take it.
#[test]
fn nothing_is_sorted_by_what_may_be_redacted() {
    let refused = |sort_by: &str, immutable: bool| {
        let c = with(&format!("row_group.sort_by = {sort_by}, strict.immutable_events = {immutable}"));
        serve_refusals(&c).into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    for sort_by in ["('stream_id', 'data')", "'metadata'"] {
        assert_eq!(refused(sort_by, false), ["row_group.sort_by"], "{sort_by}");
        assert_eq!(refused(sort_by, true), [""; 0], "{sort_by}");
    }
    assert_eq!(refused("('stream_id', 'event_type')", false), [""; 0]);
}

#[test]
fn object_stores_are_served_where_the_build_has_them() {
    for (url, served) in
        [("s3://b/p", cfg!(feature = "s3")), ("gs://b", cfg!(feature = "gs")), ("az://c/p", cfg!(feature = "az"))]
    {
        let c = store(&format!(
            "CREATE EVENTSTORE s WITH (durable.type = 'parquet', durable.path = '{url}', wal.enabled = true, wal.path = '/w')"
        ));
        let refused = serve_refusals(&c);
        let keys: Vec<_> = refused.iter().map(|(key, _)| *key).collect();
        let wanted: &[_] = if served { &[] } else { &["durable.path", "durable.commit.manifest_path"] };
        assert_eq!(keys, wanted, "{url}");
        assert!(
            refused.iter().all(|(_, why)| why.contains(&format!("`{}`", &url[..2]))),
            "the feature is named: {refused:?}"
        );
    }
}

#[test]
fn local_dev_is_a_store_as_any_other() {
    let c = StoreConfig::local_dev(Path::new("/srv/data"));
    assert_eq!(c.wal.path.as_ref().unwrap().as_local(), Some(Path::new("/srv/data/wal")));
    assert_eq!(c.durable.path.as_local(), Some(Path::new("/srv/data/durable")));
    assert_eq!(c.read.tiers, [Tier::Inmemory, Tier::Wal, Tier::Durable]);
    assert_eq!(store(&print(&c)), c);
    assert_eq!(StoreConfig::local_dev(Path::new("/srv/x/.././data/")), c);
    assert_eq!(serve_refusals(&c), []);
}

#[test]
fn check_says_where_a_value_comes_from() {
    let c = with("compaction.enabled = false, wal.rollover_mb = 8");
    let row = |key: &str| check_rows(&c).into_iter().find(|row| row.key == key).unwrap();
    assert_eq!((row("durable.path").source(), row("bloom.fpp").source()), ("set", "default"));
    assert_eq!(row("bloom.fpp").value_text(), "0.01");
    assert_eq!(row("wal.path").value_text(), "-");
    assert_eq!(row("wal.rollover_mb").note.unwrap(), "no effect: wal.enabled is false");
    assert_eq!(
        row("compaction.enabled").note.unwrap(),
        "warning: each commit leaves its small files, which are never merged"
    );
    assert_eq!(row("compaction.min_segment_mb").note.unwrap(), "no effect: wal.enabled is false: no log grows");
    let all = with("row_group.sort_by = 'metadata', strict.immutable_events = false");
    let refused = check_rows(&all).into_iter().find(|row| row.key == "row_group.sort_by").unwrap();
    assert!(refused.note.unwrap().starts_with("refused by serve: "));
    assert_eq!(row("durable.commit.manifest_path").note.unwrap(), "_manifests under durable.path");
    let json = store_json(&c);
    assert_eq!(json["config"].as_object().unwrap().len(), KEY_COUNT);
    assert_eq!(json["config"]["wal.rollover_mb"], 8);
    assert_eq!(json["config"]["wal.path"], serde_json::Value::Null);
    assert_eq!(json["config"]["stats.columns"][1], "seq");
}

#[test]
fn a_key_file_in_a_folder_of_its_store_is_warned_of() {
    let warned = |provider: &str, id: &str| {
        let kms = format!("security.kms.provider = '{provider}', security.kms.key_id = '{id}'");
        let c = with(&format!("wal.enabled = true, wal.path = '/log', security.encrypt.at_rest = true, {kms}"));
        warnings(&c).into_iter().any(|(key, _)| key == "security.kms.key_id")
    };
    assert!(warned("local", "/data/s/key") && warned("local", "/log/sub/key"));
    assert!(!warned("local", "/data/s.key") && !warned("local", "/logs/key"));
    assert!(!warned("aws_kms", "/log/key"));
}

#[test]
fn a_mistake_is_reported_once() {
    // the key is given, its value is wrong: it is not missing as well
    assert_eq!(mistakes("CREATE EVENTSTORE s WITH (durable.type = 'parquet', durable.path = 5)").len(), 1);
    assert_eq!(mistakes("CREATE EVENTSTORE s WITH (durable.type = 'parquet', durable.path = oops)").len(), 1);
    assert_eq!(mistakes("CREATE EVENTSTORE s WITH (durable.type = 'parquet', durable.pat = '/x')").len(), 1);
    // a contradiction with a value that could not be read is not judged
    assert_eq!(mistakes("CREATE EVENTSTORE s WITH (durable.type = 'parquet', durable.path = '/x', compaction.target_file_mb = 9999, compaction.max_file_mb = 'x')").len(), 1);
}

#[test]
fn many_mistakes_are_cheap() {
    let keys = (0..40_000).map(|i| format!("wal.pat{i}=1,")).collect::<String>();
    let text = format!("CREATE EVENTSTORE s WITH ({keys})");
    let errors = parse_file("long_line.deql", &text).unwrap_err();
    assert_eq!(errors.len(), 500);
    let rendered = errors.to_string();
    assert!(rendered.len() < 1 << 20, "{}", rendered.len());
    let stores: String = (0..300)
        .map(|i| format!("CREATE EVENTSTORE s{i} WITH (durable.type='parquet', durable.path='/d{i}');"))
        .collect();
    assert_eq!(mistakes(&stores).len(), 44);
}

#[test]
fn a_store_without_a_name_is_still_checked() {
    assert_eq!(
        mistakes("CREATE EVENTSTORE WITH (durable.type = 'parquet', durable.path = '/a', wal.fsync = 1)").len(),
        2
    );
    assert_eq!(
        mistakes("CREATE EVENTSTORE 's' WITH (durable.type = 'parquet', durable.path = '/a', wal.fsync = 1)").len(),
        2
    );
    assert_eq!(
        mistakes("CREATE EVENTSTORE s USING (durable.type = 'parquet', durable.path = '/a', wal.fsync = 1)").len(),
        2
    );
}

#[test]
fn an_export_reads_back_whatever_clients_called_their_stream_types() {
    let hostile = [
        "a b; ü]",
        "X; CREATE AGGREGATE Y",
        "X --",
        "X /* ",
        "line\nCREATE AGGREGATE Z;",
        "*/ CREATE AGGREGATE W;",
        "",
    ];
    let names: Vec<&str> = ["Call"].into_iter().chain(hostile).chain(["Aircraft"]).collect();
    let text = export(&[], &names);
    let declarations = parse_file("export", &text).unwrap();
    let read: Vec<&str> = declarations.aggregates.iter().map(|name| name.value.as_str()).collect();
    assert_eq!(read, ["Call", "Aircraft"], "{text}");
    assert!(text.contains(r#"-- the stream type "a b; ü]" has no name"#), "{text}");
}

#[test]
fn export_is_a_file_that_parses() {
    let (a, b) = (with("wal.enabled = true, wal.path = '/it''s'"), StoreConfig::local_dev(Path::new("/x")));
    let text = export(&[&a, &b], &["Call", "Aircraft"]);
    let declarations = parse_file("export", &text).unwrap();
    assert_eq!(declarations.stores[0].config, a);
    assert_eq!(declarations.stores[1].config, b);
    assert_eq!(declarations.aggregates.len(), 2);
}

#[test]
fn bytes_that_are_no_text_are_located() {
    let errors = parse_bytes("x.deql", b"CREATE EVENTSTORE\n a\xff").unwrap_err();
    assert_eq!(errors.position(errors.iter().next().unwrap().span.start), (2, 3));
    assert!(parse_bytes("x", &vec![b' '; 2 << 20]).is_err());
    assert_eq!(mistakes("CREATE EVENTSTORE s").len(), 1);
}

#[test]
fn the_log_and_the_files_of_a_store_never_lie_one_inside_the_other() {
    let text = |durable: &str, wal: &str, more: &str| {
        format!(
            "CREATE EVENTSTORE s WITH (durable.type = 'parquet', durable.path = '{durable}', wal.enabled = true, wal.path = '{wal}'{more})"
        )
    };
    for (durable, wal, more) in [
        ("/data/durable", "/data", ""),
        ("/data", "/data/wal", ""),
        ("/data", "file:///data/", ""),
        ("/durable", "/wal", ", durable.commit.manifest_path = '/wal/manifests'"),
        ("/durable", "/meta/wal", ", durable.commit.manifest_path = '/meta'"),
    ] {
        let found = mistakes(&text(durable, wal, more));
        assert_eq!(found.len(), 1, "{durable} {wal}{more}");
    }
    assert!(parse_file("x", &text("/data/durable", "/data/wal", "")).is_ok());
    assert!(parse_file("x", &text("/data", "/data-wal", "")).is_ok());
}

#[test]
fn no_place_of_one_store_lies_in_any_place_of_another() {
    let text = |durable: &str, wal: &str| {
        format!(
            "CREATE EVENTSTORE a WITH (durable.type = 'parquet', durable.path = '/a', wal.enabled = true, wal.path = '/wals/a');
             CREATE EVENTSTORE b WITH (durable.type = 'parquet', durable.path = '{durable}', wal.enabled = true, wal.path = '{wal}');"
        )
    };
    for (durable, wal) in [("/wals", "/b"), ("/wals/a/x", "/b"), ("/b", "/a/wal"), ("/b", "/wals")] {
        assert_eq!(mistakes(&text(durable, wal)).len(), 1, "{durable} {wal}");
    }
    assert!(parse_file("x", &text("/b", "/wals/b")).is_ok());
}
