//! Every layout key (durable.*, partition.*, row_group.*, stats.*, bloom.*, envelope.*) has its effect in the files: pyarrow and DuckDB
//! read them, and `layout.py` computes from the rows what each key of the store asks for.

use crate::harness::{Server, Store};
use crate::oracles::{files, names, oracle};
use serde_json::{Value, json};

/// Keys of the stores, and what is special about each. Every store is checked against all keys, these and the defaults.
const STORES: &[(&str, &[&str])] = &[
    ("defaults", &[]),
    (
        "renamed",
        &[
            "envelope.event_id_key = 'a'",
            "envelope.stream_type_key = 'b'",
            "envelope.stream_id_key = 'c'",
            "envelope.seq_key = 'd'",
            "envelope.event_type_key = 'e'",
            "envelope.event_version_key = 'f'",
            "envelope.occurred_at_key = 'g'",
            "envelope.ingested_at_key = 'h'",
            "envelope.payload_key = 'i'",
            "envelope.metadata_key = 'j'",
            "envelope.command_id_key = 'k'",
            "envelope.correlation_id_key = 'l'",
            "envelope.causation_id_key = 'm'",
            "envelope.tenant_id_key = 'n'",
            "partition.by = ('dt','tenant_id')",
        ],
    ),
    (
        "hour",
        &["partition.by = ('dt')", "partition.dt.granularity = 'hour'", "partition.dt.expr = 'HOUR(occurred_at)'"],
    ),
    ("day", &["partition.by = ('dt','stream_type')", "partition.dt.expr = 'DATE(occurred_at)'"]),
    ("month", &["partition.by = ('stream_type','dt')", "partition.dt.granularity = 'month'"]),
    ("month-of", &["partition.by = ('dt')", "partition.dt.expr = 'MONTH(occurred_at)'"]),
    (
        "month-of-ingestion",
        &[
            "partition.by = ('dt','tenant_id')",
            "partition.dt.expr = 'month(when)'",
            "envelope.ingested_at_key = 'when'",
        ],
    ),
    ("year", &["partition.by = ('dt')", "partition.dt.expr = 'YEAR(occurred_at)'"]),
    (
        "of-ingestion",
        &["partition.by = ('dt')", "partition.dt.expr = 'ingested_at'", "partition.dt.granularity = 'hour'"],
    ),
    ("null-level", &["partition.by = ('tenant_id','stream_type')"]),
    (
        "other-source",
        &[
            "partition.by = ('dt','stream_type','tenant_id')",
            "partition.stream_type.expr = 'event_type'",
            "partition.tenant_id.expr = 'correlation_id'",
            "durable.file_pattern = '{dt}/kind={stream_type}/of={tenant_id}/x_{writer}_{file_seq}.parquet'",
        ],
    ),
    (
        "moments",
        &[
            "partition.by = ('stream_type','tenant_id')",
            "partition.stream_type.expr = 'MONTH(occurred_at)'",
            "partition.tenant_id.expr = 'YEAR(occurred_at)'",
            "durable.file_pattern = 'month={stream_type}/year={tenant_id}/{writer}_{file_seq}.parquet'",
        ],
    ),
    (
        "pattern",
        &[
            "partition.by = ('dt','stream_type','tenant_id')",
            "partition.dt.granularity = 'month'",
            "durable.file_pattern = 'lake/stream_type={stream_type}/dt={dt}/{tenant_id}.{file_seq}-{writer}.parquet'",
        ],
    ),
    ("none", &["durable.compression = 'none'", "durable.dictionary.enabled = false"]),
    (
        "snappy",
        &["durable.compression = 'snappy'", "stats.columns = ('event_id','seq','event_version','tenant_id','data')"],
    ),
    ("gzip", &["durable.compression = 'gzip'", "stats.columns = ('ingested_at')", "bloom.columns = ('tenant_id')"]),
    ("lz4", &["durable.compression = 'lz4'", "stats.enabled = false", "bloom.enabled = false"]),
    (
        "brotli",
        &["durable.compression = 'brotli'", "bloom.columns = ('command_id','correlation_id','data','metadata')"],
    ),
    (
        "all-columns",
        &[
            "stats.columns = ('event_id','stream_type','stream_id','seq','event_type','event_version','occurred_at','ingested_at','data','metadata','command_id','correlation_id','causation_id','tenant_id')",
            "bloom.columns = ('event_id','stream_type','stream_id','seq','event_type','event_version','occurred_at','ingested_at','data','metadata','command_id','correlation_id','causation_id','tenant_id')",
            "row_group.max_rows = 100",
        ],
    ),
    (
        "sort-desc",
        &["row_group.sort_by = ('tenant_id','event_version','seq','stream_id')", "row_group.sort_order = 'desc'"],
    ),
    (
        "sort-asc",
        &["row_group.sort_by = ('tenant_id','event_version','occurred_at','event_id')", "row_group.max_rows = 64"],
    ),
    (
        "sort-one",
        &["row_group.sort_by = ('occurred_at')", "row_group.sort_order = 'desc'", "partition.by = ('stream_type')"],
    ),
];

/// Rows of each store.
const ROWS: u64 = 600;

#[test]
fn every_layout_key_has_its_effect() {
    for (name, keys) in STORES {
        let facts = facts_of_jobs_and_merges(name, keys);
        let partitions: Vec<&str> =
            facts["partitions"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
        let count = |column: &str| partitions.iter().filter(|p| p.starts_with(&format!("{column}="))).count();
        let expected = match *name {
            "hour" => Some(("dt", 15)),
            "day" => Some(("dt", 5)),
            "month" | "month-of" => Some(("dt", 4)),
            "year" => Some(("dt", 3)),
            "null-level" => Some(("tenant_id", 4)),
            "other-source" => Some(("stream_type", 5)),
            "moments" => Some(("tenant_id", 3)),
            _ => None,
        };
        if let Some((column, values)) = expected {
            assert_eq!(count(column), values, "{name}: {partitions:?}");
        }
        assert_eq!(
            partitions.contains(&"tenant_id=None"),
            ["null-level", "renamed", "pattern", "other-source", "month-of-ingestion"].contains(name),
            "{name}"
        );
        let groups: Vec<&Value> =
            facts["groups"].as_array().unwrap().iter().flat_map(|f| f.as_array().unwrap()).collect();
        let bound = match *name {
            "all-columns" => 100,
            "sort-asc" => 64,
            _ => continue,
        };
        assert!(groups.iter().filter(|g| g["rows"] == bound).count() > 3, "{name}: the bound of rows ends row groups");
    }
}

/// What `layout.py` says of the files that a job writes, and, which is given, of those that merges make of them and of a second job's.
fn facts_of_jobs_and_merges(name: &str, keys: &[&str]) -> Value {
    let store = Store::new(keys);
    let server = store.start();
    let fields = names(&server);
    let told: Value = server.http().get("/v1/stores/test").expect(200)["config"].clone();
    let checked = |part: u64| {
        mixed(&server, &fields, part);
        server.http().compact();
        let paths = files(&server);
        let facts = check_layout(&store, &server, name, &paths, &told);
        (paths, facts)
    };
    let (of_a_job, _) = checked(0);
    let (of_merges, facts) = checked(1);
    // where files go by the time of ingestion, an hour may end between the two
    let stay = of_merges.iter().any(|path| of_a_job.contains(path));
    assert!(!stay || name.contains("of-ingestion"), "{name}: every partition is merged");
    server.stop();
    store.assert_clean();
    facts
}

/// Pairs of a codec's levels, the cheaper first: the better one makes the same column smaller.
const LEVELS: &[(&str, u32, u32)] = &[("zstd", 1, 19), ("gzip", 1, 9), ("brotli", 0, 11)];

#[test]
fn levels_make_columns_smaller() {
    for (codec, low, high) in LEVELS {
        let of = |level: u32| {
            let keys = [format!("durable.compression = '{codec}'"), format!("durable.compression.level = {level}")];
            let facts = facts(codec, &[&keys[0], &keys[1]], |server, fields| {
                (0..4).for_each(|part| mixed(server, fields, part));
                server.http().compact();
            });
            let sizes = |column: &str| {
                let pair = &facts["bytes"][column];
                (pair[0].as_u64().unwrap(), pair[1].as_u64().unwrap())
            };
            sizes("data")
        };
        let (cheap, dear) = (of(*low), of(*high));
        assert_eq!(cheap.1, dear.1, "{codec}: the same texts in the same order");
        assert!(dear.0 < cheap.0, "{codec}: level {low} makes {} bytes, level {high} {}", cheap.0, dear.0);
    }
}

#[test]
fn row_groups_end_by_bytes() {
    const MB: u64 = 1 << 20;
    let facts = facts("bytes", &["row_group.target_mb = 1", "durable.compression = 'none'"], |server, fields| {
        // rows of very different sizes, so that no average says where a group ends
        let lines = (0..700_u64).map(|n| {
            let length = if n % 50 == 0 { 200_000 } else { 1 + n as usize * 7 % 3000 };
            let text: String = "row group ".chars().cycle().take(length).collect();
            json!({
                fields["stream_type"].as_str().unwrap(): "T", fields["stream_id"].as_str().unwrap(): format!("s{}", n % 7),
                fields["event_type"].as_str().unwrap(): "E", fields["data"].as_str().unwrap(): {"n": n, "text": text},
            })
        });
        server.http().bulk(&lines.collect::<Vec<_>>());
        server.http().compact();
    });
    // each is within the bound (layout.py says so); and the bound is what ends them
    let groups: Vec<u64> =
        facts["groups"][0].as_array().unwrap().iter().map(|g| g["bytes"].as_u64().unwrap()).collect();
    assert!(groups.len() >= 4, "{groups:?}");
    assert!(groups[..groups.len() - 1].iter().all(|bytes| *bytes > MB / 2), "{groups:?}");
}

/// Values that are asked for and are not there: even at one in a thousand some twenty of them are let through.
const PROBES: u64 = 20_000;

/// As many streams as a filter of a power of two of bytes is made for at that rate, and a few less: any more, and it had twice the bits.
/// In the file of one job, and in that of a merge of two.
#[test]
fn bloom_filters_have_their_rate() {
    for (fpp, streams, jobs) in [(0.1, 5_600_u64, 1), (0.01, 6_700, 1), (0.001, 4_430, 1), (0.01, 6_700, 2)] {
        let key = format!("bloom.fpp = {fpp}");
        let store = Store::new(&[&key, "bloom.columns = ('stream_id')"]);
        let server = store.start();
        let line = |n: u64| json!({"stream_type": "T", "event_type": "E", "stream_id": format!("stream {n}")});
        // each stream twice: what counts is how many different ones there are
        let lines: Vec<Value> = (0..2 * streams).map(|n| line(n % streams)).collect();
        for part in lines.chunks(lines.len() / jobs) {
            part.chunks(1000).for_each(|lines| drop(server.http().bulk(lines)));
            server.http().compact();
        }
        let keys: Value = server.http().get("/v1/stores/test").expect(200)["config"].clone();
        let facts = check_layout_with(&store, &server, "fpp", &files(&server), &keys, PROBES);
        server.stop();
        let measured = facts["fpp"].as_f64().unwrap();
        println!(
            "bloom.fpp = {fpp}, {jobs} jobs: DuckDB lets {measured} of {PROBES} values through that are not there"
        );
        assert!(fpp / 2.0 <= measured && measured <= fpp * 1.5, "{fpp}, {jobs} jobs: measured {measured}");
        assert_eq!(facts["bloom"], json!(["stream_id"]));
        store.assert_clean();
    }
}

#[test]
fn partition_enforce_refuses_what_has_no_partition() {
    for (keys, refused) in [
        (&["partition.by = ('tenant_id')"][..], false),
        (&["partition.by = ('tenant_id')", "partition.enforce = true"], true),
    ] {
        let store = Store::new(keys);
        let server = store.start();
        let event = json!({"event_type": "E"});
        let answer = server.http().post("streams/T/s", &json!({ "events": [event] }));
        if refused {
            let error = answer.expect_error(422, "strict_violation");
            assert!(error["error"].as_str().unwrap().contains("tenant_id"), "{error}");
        } else {
            answer.expect(201);
        }
        let tenant = json!({"event_type": "E", "tenant_id": "acme"});
        server.http().post("streams/T/t", &json!({ "events": [tenant] })).expect(201);
        server.http().compact();
        let paths = files(&server);
        let nulls = paths.iter().filter(|path| path.contains("tenant_id=__HIVE_DEFAULT_PARTITION__")).count();
        assert_eq!((paths.len(), nulls), if refused { (1, 0) } else { (2, 1) });
        server.stop();
        store.assert_clean();
    }
}

/// What `layout.py` says of the files of a store with these keys.
fn facts(name: &str, keys: &[&str], fill: impl FnOnce(&Server, &Value)) -> Value {
    let store = Store::new(keys);
    let server = store.start();
    let fields = names(&server);
    fill(&server, &fields);
    let keys: Value = server.http().get("/v1/stores/test").expect(200)["config"].clone();
    let facts = check_layout(&store, &server, name, &files(&server), &keys);
    server.stop();
    store.assert_clean();
    facts
}

/// Checks files of a store against the keys of a statement; what `layout.py` says of them.
pub(crate) fn check_layout(store: &Store, server: &Server, name: &str, files: &[String], keys: &Value) -> Value {
    check_layout_with(store, server, name, files, keys, 0)
}

/// And asks the filter of stream ids of the only file for so many that are not there.
fn check_layout_with(store: &Store, server: &Server, name: &str, files: &[String], keys: &Value, probes: u64) -> Value {
    let given = store.path().join("layout.json");
    let fields = names(server);
    let all = json!({"name": name, "fields": fields, "files": files, "root": store.durable(), "keys": keys, "probes": probes});
    std::fs::write(&given, all.to_string()).unwrap();
    let said = oracle("layout.py", &[&given]);
    serde_json::from_str(said.lines().last().unwrap()).unwrap()
}

/// Events with every field there and absent, five days in three years, and texts of all kinds; not in the order of any key.
fn mixed(server: &Server, fields: &Value, part: u64) {
    let name = |field: &str| fields[field].as_str().unwrap().to_owned();
    let days = ["2026-11-01", "2026-10-31", "2025-12-31", "2026-11-30", "1969-12-31"];
    let mut lines = Vec::new();
    for n in 0..ROWS / 2 {
        let mut event = serde_json::Map::new();
        event.insert(name("stream_type"), json!(["Call", "Flug/ü", "a=b"][(n % 3) as usize]));
        event.insert(name("stream_id"), json!(format!("s {}", n * 7 % 31)));
        event.insert(name("event_type"), json!(format!("E{}", n % 5)));
        let hour = [0, 10, 23][(n / 5 % 3) as usize];
        event.insert(name("occurred_at"), json!(format!("{}T{hour:02}:59:59.{n:06}Z", days[(n % 5) as usize])));
        event.insert(
            name("data"),
            json!({"part": part, "n": n * n % 997, "text": format!("{:x}", n * 0x9e37_79b9 % 65521)}),
        );
        if n % 4 > 0 {
            event.insert(name("tenant_id"), json!(["acme", "a=b/c", "zoë"][(n % 3) as usize]));
        }
        if n % 2 == 0 {
            event.insert(name("event_version"), json!(if n % 14 == 0 { u64::from(u32::MAX) - n } else { n % 7 }));
        }
        if n % 3 == 0 {
            event.insert(name("metadata"), json!({"trace": n}));
        }
        if n % 5 == 0 {
            event.insert(name("command_id"), json!(format!("c-{part}-{n}")));
        }
        if n % 5 < 2 {
            event.insert(name("correlation_id"), json!(format!("co/{}", n % 4)));
            event.insert(name("causation_id"), json!("x".repeat((n % 90) as usize)));
        }
        lines.push(Value::Object(event));
    }
    assert_eq!(server.http().bulk(&lines)["appended"], ROWS / 2);
}
