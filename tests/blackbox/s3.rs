//! Stores on an object store: the real program against a real S3 server on loopback, and a proxy that spoils the network.

use crate::encryption::{assert_is_sealed, assert_nothing_planted};
use crate::harness::{Finished, Random, Server, Store, root, run_command, seed};
use crate::names::{encoded, names};
use crate::oracles::oracle;
use crate::rigs::{Act, Moto, Proxy};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// Compaction only by hand.
const BY_HAND: [&str; 2] = ["compaction.trigger = 'time'", "compaction.schedule = '0 0 1 1 *'"];

fn url(prefix: &str) -> String {
    format!("s3://{}/{prefix}", Moto::BUCKET)
}

/// A store with data files and manifests on S3, through this address.
fn store_on(address: &str, prefix: &str, more: &[&str]) -> Store {
    let path = format!("durable.path = '{}'", url(prefix));
    let keys: Vec<&str> = [path.as_str()].into_iter().chain(BY_HAND).chain(more.iter().copied()).collect();
    store_with(address, &keys)
}

fn store_with(address: &str, keys: &[&str]) -> Store {
    let mut store = Store::new(keys);
    let mut env = Moto::env(address);
    // a hung endpoint is given up sooner than by default
    env.extend([("AWS_TIMEOUT", "3s".to_owned()), ("AWS_MAX_ATTEMPTS", "2".to_owned())]);
    store.set_env(env);
    store
}

fn tick(stream: &str, number: u64) -> Value {
    json!({"stream_type": "Call", "stream_id": stream, "event_type": "Ticked", "data": {"n": number}})
}

fn append(server: &Server, numbers: std::ops::Range<u64>) {
    let lines: Vec<Value> = numbers.map(|n| tick(&format!("s{}", n % 5), n)).collect();
    assert_eq!(server.http().bulk(&lines)["appended"], lines.len());
}

/// Every number once, whatever tier it is in.
fn check(server: &Server, count: u64) {
    let mut seen: Vec<u64> = server.http().scan().iter().map(|e| e["data"]["n"].as_u64().unwrap()).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..count).collect::<Vec<_>>());
}

fn refused(store: &Store) -> Finished {
    Server::try_start(store.program().args(store.serve_arguments())).err().expect("it must not start")
}

#[test]
fn a_year_of_flights_lives_on_s3() {
    let moto = Moto::start();
    let keys = ["partition.by = ('dt')", "partition.dt.granularity = 'month'", "id.command_id.unique_scope = 'stream'"];
    let store = store_on(&moto.url(), "flights", &keys);
    let server = store.start();
    let sample = root().join("samples/flights-sample.ndjson.zst");
    let ingested = server.client(&["ingest", &sample.to_string_lossy()]);
    assert!(ingested.stdout.starts_with("appended 11210, already there 0, refused 0"), "{ingested:?}");
    server.http().compact();
    let before = server.http().scan();
    assert_eq!(before.len(), 11_210);
    let one = before[0]["stream_id"].as_str().unwrap().to_owned();
    let stream_type = before[0]["stream_type"].as_str().unwrap().to_owned();
    let stream = server.http().stream(&stream_type, &one);
    let files = server.client(&["files", "--format", "paths"]).stdout;
    let urls: Vec<&str> = files.lines().collect();
    assert!(urls.len() > 10 && urls.iter().all(|name| name.starts_with(&url("flights/dt="))), "{files}");
    server.stop();
    store.assert_clean();

    let fingerprints: serde_json::Map<String, Value> = before
        .iter()
        .map(|e| (e["event_id"].as_str().unwrap().to_owned(), json!([e["stream_id"], e["seq"], e["data"]])))
        .collect();
    let given = store.path().join("given.json");
    let endpoint = format!("127.0.0.1:{}", moto.port);
    let all = json!({"endpoint": endpoint, "root": url("flights"), "urls": urls, "fingerprints": fingerprints});
    std::fs::write(&given, all.to_string()).unwrap();
    oracle("read_s3.py", &[&given]);

    let server = store.start();
    assert_eq!(server.http().stream(&stream_type, &one), stream, "from files, by pages");
    let again = server.client(&["ingest", &sample.to_string_lossy()]);
    assert!(again.stdout.starts_with("appended 0, already there 11210"), "runs of chunks are on S3 too: {again:?}");
    let mut after = server.http().scan();
    let mut before = before;
    let key = |e: &Value| e["event_id"].as_str().unwrap().to_owned();
    after.sort_by_key(key);
    before.sort_by_key(key);
    assert!(after == before, "the same events after a restart");
    server.stop();
    store.assert_clean();
    assert_eq!(moto.open_uploads(), 0);
    assert!(moto.keys("flights/").iter().all(|key| !key.contains(".probe-") && !key.contains(".lock")));
}

#[test]
fn data_files_and_manifests_may_be_on_different_kinds_of_places() {
    let moto = Moto::start();
    for (n, (files, manifests)) in
        [("local", "s3"), ("s3", "local"), ("s3", "s3"), ("file", "s3")].into_iter().enumerate()
    {
        let folder = tempfile::tempdir().unwrap();
        let place = |kind: &str, word: &str| match kind {
            "s3" => url(&format!("mixed/{n}/{word}")),
            "file" => format!("file://{}/{word}", folder.path().display()),
            _ => format!("{}/{word}", folder.path().display()),
        };
        let path = format!("durable.path = '{}'", place(files, "files"));
        let manifest = format!("durable.commit.manifest_path = '{}'", place(manifests, "manifests"));
        let keys: Vec<&str> = [path.as_str(), &manifest].into_iter().chain(BY_HAND).collect();
        let store = store_with(&moto.url(), &keys);
        let server = store.start();
        append(&server, 0..50);
        server.http().compact();
        append(&server, 50..70);
        server.stop();
        let server = store.start();
        check(&server, 70);
        server.http().compact();
        check(&server, 70);
        server.stop();
        store.assert_clean();
        let parquet = moto.keys(&format!("mixed/{n}/files")).iter().filter(|key| key.ends_with(".parquet")).count();
        // the second run merged: what it replaced keeps its name there until its grace period is over
        assert_eq!(parquet, if files == "s3" { 3 } else { 0 });
    }
}

#[test]
fn an_object_store_that_cannot_keep_commits_apart_is_refused() {
    let moto = Moto::start();
    let proxy = Proxy::start(moto.port);
    proxy.strip_conditions();
    let finished = refused(&store_on(&proxy.url(), "ignores", &[]));
    assert_eq!(finished.code, 2, "{finished:?}");
    for part in [url("ignores").as_str(), "conditional creates", "If-None-Match", "local folder"] {
        assert!(finished.stderr.contains(part), "{part}: {finished:?}");
    }
    assert_eq!(moto.keys("ignores"), Vec::<String>::new(), "nothing was claimed, nothing stays");
}

#[test]
fn what_is_wrong_at_a_start_is_said() {
    let moto = Moto::start();
    let mut store = store_on(&moto.url(), "wrong", &[]);
    let mut plain = Moto::env(&moto.url());
    plain.retain(|(name, _)| *name != "AWS_ALLOW_HTTP");
    store.set_env(plain);
    let finished = refused(&store);
    assert!(finished.code == 2 && finished.stderr.contains("AWS_ALLOW_HTTP=true"), "{finished:?}");

    let store = store_with(&moto.url(), &["durable.path = 's3://no-such-bucket/x'"]);
    let finished = refused(&store);
    assert!(finished.code == 3 && finished.stderr.contains("s3://no-such-bucket/x"), "{finished:?}");
    assert!(finished.stderr.contains("the bucket must exist"), "{finished:?}");

    let proxy = Proxy::start(moto.port);
    proxy.rule("*", "", 0, 99, Act::Answer(403));
    let finished = refused(&store_on(&proxy.url(), "forbidden", &[]));
    assert!(finished.code == 3 && finished.stderr.contains("AWS_ACCESS_KEY_ID"), "{finished:?}");
    assert!(!finished.stderr.contains("nobody-may-print") && !finished.stderr.contains("the-session-token"));

    for (url, feature) in [("gs://bucket/x", "`gs`"), ("az://container/x", "`az`")] {
        let path = format!("durable.path = '{url}'");
        let finished = refused(&store_with(&moto.url(), &[&path]));
        let named = finished.stderr.contains(feature) && finished.stderr.contains("durable.path");
        assert!(finished.code == 2 && named, "{finished:?}");
    }
}

#[test]
fn an_endpoint_that_hangs_stops_neither_appends_nor_the_end() {
    let moto = Moto::start();
    let proxy = Proxy::start(moto.port);
    let store = store_on(&proxy.url(), "hangs", &[]);
    let server = store.start();
    append(&server, 0..10);
    server.http().compact();
    assert_eq!(server.http().get("/ready").expect(200), json!({"status": "ready"}));

    proxy.hang(true);
    append(&server, 10..20);
    server.http().compact();
    let jobs = server.http().get("/admin/v1/stores/test/compaction").expect(200)["jobs"].clone();
    let error = jobs[0]["error"].as_str().unwrap().to_owned();
    assert!(error.contains(&url("hangs")) && error.contains("AWS_ENDPOINT_URL"), "{error}");
    let ready = server.http().get("/ready").expect(200);
    assert_eq!((&ready["status"], &ready["degraded"][0]["store"]), (&json!("ready"), &json!("test")));
    assert!(ready["degraded"][0]["error"].as_str().unwrap().contains(&url("hangs")), "{ready}");
    assert_eq!(gauges(&server), [1, 0], "the object store is away, no key is");
    append(&server, 20..30);

    proxy.hang(false);
    server.http().compact();
    assert_eq!(server.http().get("/ready").expect(200), json!({"status": "ready"}), "it is found again");
    check(&server, 30);

    append(&server, 30..40);
    proxy.hang(true);
    let began = Instant::now();
    server.stop();
    assert!(began.elapsed() < Duration::from_secs(60));

    let finished = refused(&store);
    assert!(finished.code == 3 && finished.stderr.contains(&url("hangs")), "{finished:?}");
    proxy.hang(false);
    let server = store.start();
    check(&server, 40);
    server.stop();
    store.assert_clean();
}

#[test]
fn lost_answers_lose_and_double_nothing() {
    let moto = Moto::start();
    let proxy = Proxy::start(moto.port);
    let store = store_on(&proxy.url(), "lost", &[]);
    let server = store.start();
    let mut count = 0;
    for act in [Act::LoseAnswer, Act::ServeAndAnswer(500), Act::Answer(409), Act::ServeAndAnswer(412), Act::Cut] {
        append(&server, count..count + 20);
        count += 20;
        proxy.rule("PUT", "_manifests/v", 0, 1, act);
        proxy.rule("PUT", ".parquet", 0, 1, act);
        server.http().compact();
        proxy.clear();
        check(&server, count);
    }
    // nobody knows whether it was committed: the next run finds out
    append(&server, count..count + 20);
    count += 20;
    proxy.rule("PUT", "_manifests/v", 0, 1, Act::Late);
    proxy.rule("PUT", "_manifests/v", 0, 9, Act::Cut);
    server.http().compact();
    let jobs = server.http().get("/admin/v1/stores/test/compaction").expect(200)["jobs"].clone();
    assert!(jobs[0]["error"].as_str().unwrap().contains("unknown"), "{}", jobs[0]);
    check(&server, count);
    assert_eq!(proxy.release(), [200], "it lands after everybody gave up");
    proxy.clear();
    server.http().compact();
    let files = server.http().get("/admin/v1/stores/test/files").expect(200);
    let rows: u64 = files["files"].as_array().unwrap().iter().map(|f| f["rows"].as_u64().unwrap()).sum();
    assert_eq!(rows, count, "every event is in files, once");
    check(&server, count);
    server.stop();
    store.assert_clean();
}

/// Appends and compacts until the node is gone; adds the numbers that were acknowledged.
fn load_until_it_dies(server: Server, first: u64, acknowledged: &mut BTreeSet<u64>, after: Duration) -> u64 {
    let (loading, compacting) = (server.http(), server.http());
    std::thread::scope(|scope| {
        let load = scope.spawn(move || {
            let mut next = first;
            loop {
                let body: String =
                    (next..next + 20).map(|n| format!("{}\n", tick(&format!("s{}", n % 5), n))).collect();
                next += 20;
                match loading.try_post("events", "application/x-ndjson", body.as_bytes()) {
                    Ok(answer) if answer.status == 201 => acknowledged.extend(next - 20..next),
                    Ok(answer) => panic!("{}", answer.text()),
                    Err(_) => return next,
                }
            }
        });
        let run = "/admin/v1/stores/test/compaction/run?wait=true";
        scope.spawn(move || while compacting.try_post(run, "application/json", b"").is_ok() {});
        std::thread::sleep(after);
        server.kill();
        load.join().unwrap()
    })
}

#[test]
fn nothing_is_lost_by_kill_9_on_s3() {
    let mut random = Random(seed("kill9 on s3"));
    let moto = Moto::start();
    let store =
        store_on(&moto.url(), "kill9", &["wal.rollover_mb = 1", "wal.retention_hours = 0", "partition.by = ('dt')"]);
    let (mut acknowledged, mut next) = (BTreeSet::new(), 0);
    for round in 0..8 {
        let server = store.start();
        let numbers: Vec<u64> = server.http().scan().iter().map(|e| e["data"]["n"].as_u64().unwrap()).collect();
        let there: BTreeSet<u64> = numbers.iter().copied().collect();
        assert_eq!(there.len(), numbers.len(), "round {round}: twice");
        assert!(acknowledged.is_subset(&there), "round {round}: lost {:?}", acknowledged.difference(&there).next());
        assert!(there.iter().all(|n| *n < next), "round {round}: nobody sent it");
        let after = Duration::from_millis(50 + random.below(1_000));
        next = load_until_it_dies(server, next, &mut acknowledged, after);
        println!("s3: round {round}: killed after {after:?}, {} acknowledged", acknowledged.len());
    }
    let server = store.start();
    server.http().compact();
    let there: BTreeSet<u64> = server.http().scan().iter().map(|e| e["data"]["n"].as_u64().unwrap()).collect();
    assert!(!acknowledged.is_empty() && acknowledged.is_subset(&there));
    let files = server.http().get("/admin/v1/stores/test/files").expect(200);
    let rows: u64 = files["files"].as_array().unwrap().iter().map(|f| f["rows"].as_u64().unwrap()).sum();
    assert_eq!(rows, there.len() as u64, "every event is in files, once");
    server.stop();
    store.assert_clean();
    assert!(!Path::new("s3:").exists(), "no folder is made of a URL");
}

/// A key of an object is a text, which clients and servers encode again on its way: a name must come back as it went.
#[test]
fn names_stay_in_their_place_on_an_object_store_too() {
    let moto = Moto::start();
    let store = store_on(&moto.url(), "names", &["partition.by = ('tenant_id', 'stream_type')"]);
    let server = store.start();
    let names = names();
    let line = |name: &String| json!({"stream_type": name, "stream_id": name, "tenant_id": name, "event_type": "E", "data": name});
    server.http().bulk(&names.iter().map(line).collect::<Vec<_>>());
    let check = |server: &Server| {
        for name in &names {
            let rows = server.http().stream(&encoded(name), &encoded(name));
            assert_eq!(rows.len(), 1, "{name:?}");
            assert_eq!([&rows[0]["stream_type"], &rows[0]["tenant_id"], &rows[0]["data"]], [&json!(name); 3]);
        }
        assert_eq!(server.http().scan().len(), names.len());
    };
    check(&server);
    server.http().compact();
    check(&server);
    let files = server.http().get("/admin/v1/stores/test/files").expect(200)["files"].as_array().unwrap().clone();
    let files: BTreeSet<String> =
        files.iter().map(|file| format!("names/{}", file["path"].as_str().unwrap())).collect();
    assert_eq!(files.len(), names.len());
    let objects = moto.keys("");
    let of_data: BTreeSet<String> = objects.iter().filter(|key| key.ends_with(".parquet")).cloned().collect();
    assert_eq!(of_data, files);
    let stays = |key: &String| key.starts_with("names/") && !key.split('/').any(|part| ["", ".", ".."].contains(&part));
    assert!(objects.iter().all(stays), "{objects:?}");
    server.stop();
    store.assert_clean();
    let server = store.start();
    check(&server);
    server.stop();
}

/// A key as it stands in a request.
pub(crate) fn encoded_key(key: &str) -> String {
    key.replace('=', "%3D")
}

/// Everything below a prefix of the bucket.
pub(crate) fn bytes_below(moto: &Moto, prefix: &str) -> Vec<(String, Vec<u8>)> {
    let get = |key: String| {
        let bytes = moto.object(&encoded_key(&key));
        (key, bytes)
    };
    moto.keys(prefix).into_iter().map(get).collect()
}

#[test]
fn the_object_store_is_asked_to_encrypt_every_object_by_itself() {
    let moto = Moto::start();
    let key = moto.make_key("alias/of-the-bucket");
    let mut store = store_on(&moto.url(), "asked", &[]);
    let asking = |word: &str| -> Vec<(&'static str, String)> {
        let more = [("AWS_SERVER_SIDE_ENCRYPTION", word.to_owned()), ("AWS_SSE_KMS_KEY_ID", key.clone())];
        Moto::env(&moto.url()).into_iter().chain(more).collect()
    };
    store.set_env(asking("kms"));
    let wrong = refused(&store);
    assert!(wrong.code == 2 && wrong.stderr.contains("aws:kms"), "{wrong:?}");
    store.set_env(asking("aws:kms"));
    let server = store.start();
    append(&server, 0..50);
    server.http().compact();
    check(&server, 50);
    server.stop();
    store.assert_clean();
    let objects = moto.keys("asked");
    assert!(objects.len() > 4, "{objects:?}");
    for name in objects {
        let head = moto.head(&encoded_key(&name));
        let says = |wanted: &str| head.lines().any(|line| line == wanted);
        assert!(says("x-amz-server-side-encryption: aws:kms"), "{name}: {head}");
        assert!(says(&format!("x-amz-server-side-encryption-aws-kms-key-id: {key}")), "{name}: {head}");
    }
}

#[test]
fn an_encrypted_store_lives_on_s3_under_a_key_of_kms() {
    let moto = Moto::start();
    let first = moto.make_key("alias/events");
    let kms = Proxy::start(moto.port);
    let keys = [
        "security.encrypt.at_rest = true",
        "security.kms.provider = 'aws_kms'",
        "security.kms.key_id = 'alias/events'",
        "partition.by = ('tenant_id')",
        "durable.compression = 'none'",
    ];
    let path = format!("durable.path = '{}'", url("sealed"));
    let all: Vec<&str> = [path.as_str()].into_iter().chain(BY_HAND).chain(keys).collect();
    let mut store = store_with(&moto.url(), &all);
    let mut env = Moto::env(&moto.url());
    env.push(("AWS_ENDPOINT_URL_KMS", kms.url()));
    store.set_env(env);
    let planted = |n: u64| {
        json!({"stream_type": "Call", "stream_id": format!("planted-{}", n % 5), "event_type": "Ticked", "tenant_id": "planted-tenant",
            "data": {"n": n, "text": "planted-payload"}})
    };
    let server = store.start();
    server.http().bulk(&(0..50).map(planted).collect::<Vec<_>>());
    server.http().compact();
    // the key is away: what is open goes on
    kms.rule("POST", "/", 0, usize::MAX, Act::Cut);
    server.http().bulk(&(50..80).map(planted).collect::<Vec<_>>());
    server.http().compact();
    check(&server, 80);
    let objects = bytes_below(&moto, "sealed");
    assert!(objects.len() > 5);
    for (key, bytes) in &objects {
        assert!(!key.contains("planted") && !bytes.windows(7).any(|part| part == b"planted"), "{key}");
    }
    let kinds: Vec<bool> = objects.iter().filter_map(|(key, bytes)| assert_is_sealed(key, bytes)).collect();
    assert!(kinds.contains(&true) && kinds.contains(&false), "{kinds:?}");
    server.stop();
    // its log, and what it keeps for files that are elsewhere
    assert!(assert_nothing_planted(store.path()) > 3);
    let away = refused(&store);
    assert!(away.code == 3 && away.stderr.contains("cannot be asked"), "{away:?}");
    for asks in [["keys", "rotate", "--config"], ["manifest", "show", "--config"]] {
        let mut command = store.program();
        command.args(asks).arg(store.config());
        let away = run_command(command, b"");
        assert!(away.code == 3 && away.stderr.contains("cannot be asked"), "{asks:?}: {away:?}");
    }
    kms.clear();
    let server = store.start();
    check(&server, 80);
    server.stop();
    store.assert_clean();
    rotates(&moto, &store, &first);
    let server = store.start();
    check(&server, 80);
    server.stop();
    store.assert_clean();
}

/// The alias gets another key of KMS, which wraps the store's keys again and a new one; what the first one wrapped is gone.
fn rotates(moto: &Moto, store: &Store, first: &str) {
    let keyrings = || {
        let objects = bytes_below(moto, "sealed").into_iter().filter(|(key, _)| key.contains("/keyring/"));
        objects.map(|(_, bytes)| String::from_utf8(bytes).unwrap()).collect::<Vec<_>>()
    };
    let before = keyrings();
    assert!(before.len() == 1 && before[0].contains(first), "{before:?}");
    let other = moto.make_key("alias/others");
    moto.kms("UpdateAlias", &format!("{{\"AliasName\": \"alias/events\", \"TargetKeyId\": \"{other}\"}}"));
    let mut command = store.program();
    command.args(["keys", "rotate", "--config"]).arg(store.config());
    let rotated = run_command(command, b"");
    assert_eq!(rotated.code, 0, "{rotated:?}");
    for said in ["key 1 is wrapped again", "key 2 is new"] {
        assert!(rotated.stdout.contains(said), "{said}: {rotated:?}");
    }
    let after = keyrings();
    assert!(after.len() == 1 && after[0].contains(&other) && !after[0].contains(first), "{after:?}");
}

/// Encrypted under a key of KMS, on a local folder.
const UNDER_KMS: [&str; 5] = [
    "security.encrypt.at_rest = true",
    "security.kms.provider = 'aws_kms'",
    "security.kms.key_id = 'alias/events'",
    BY_HAND[0],
    BY_HAND[1],
];

/// KMS is asked through the proxy.
fn env_of(moto: &Moto, kms: &Proxy) -> Vec<(&'static str, String)> {
    let mut env = Moto::env(&moto.url());
    env.push(("AWS_ENDPOINT_URL_KMS", kms.url()));
    env
}

/// While the key service is away, what is open goes on, with a log and without one, and `/ready` names it at once and says that it is back.
#[test]
fn a_key_service_that_is_away_is_named_by_ready_and_stops_nothing() {
    let moto = Moto::start();
    moto.make_key("alias/events");
    let kms = Proxy::start(moto.port);
    for mut store in [Store::without_log(&UNDER_KMS), Store::new(&UNDER_KMS)] {
        store.set_env(env_of(&moto, &kms));
        let server = store.start();
        append(&server, 0..10);
        // it does not answer, it is broken, it refuses: each is found out, and found out again
        for (count, act) in [(20, Act::Cut), (30, Act::Answer(503)), (40, Act::Answer(400))] {
            kms.rule("POST", "/", 0, usize::MAX, act);
            let ready = told_by_ready(&server, true);
            let why = ready["degraded"][0]["error"].as_str().unwrap();
            assert_eq!((&ready["status"], &ready["degraded"][0]["store"]), (&json!("ready"), &json!("test")));
            assert!(why.contains("alias/events") && why.contains("KMS") && !why.contains("object store"), "{why}");
            assert_eq!(gauges(&server), [0, 1], "the key service is away, the files are there");
            append(&server, count - 10..count - 1);
            // a log that begins now asks nobody for its key
            let mut first = tick("s", count - 1);
            first["stream_type"] = json!(format!("New{count}"));
            assert_eq!(server.http().bulk(&[first])["appended"], 1);
            server.http().compact();
            kms.clear();
            assert_eq!(told_by_ready(&server, false), json!({"status": "ready"}));
            assert_eq!(gauges(&server), [0, 0]);
        }
        check(&server, 40);
        server.stop();
        store.assert_clean();
    }
}

/// No answer comes and no connection ends: who asks gives up by itself, and nobody else waits for it.
#[test]
fn a_key_service_that_hangs_is_named_by_ready_and_holds_up_nobody() {
    let moto = Moto::start();
    moto.make_key("alias/events");
    let kms = Proxy::start(moto.port);
    let mut store = Store::new(&UNDER_KMS);
    store.set_env(env_of(&moto, &kms));
    let server = store.start();
    append(&server, 0..10);
    kms.rule("POST", "/", 0, usize::MAX, Act::Hang);
    // what comes from here on hangs
    kms.seen();
    let began = Instant::now();
    while kms.seen().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(60), "nobody looks after the key");
        std::thread::sleep(Duration::from_millis(20));
    }
    // the look hangs now
    append(&server, 10..19);
    let mut first = tick("s", 19);
    first["stream_type"] = json!("New");
    assert_eq!(server.http().bulk(&[first])["appended"], 1);
    server.http().compact();
    check(&server, 20);
    let ready = told_by_ready(&server, true);
    let why = ready["degraded"][0]["error"].as_str().unwrap();
    assert!(why.contains("alias/events") && why.contains("cannot be asked"), "{why}");
    assert_eq!(gauges(&server), [0, 1]);
    server.stop();
    let away = refused(&store);
    assert!(away.code == 3 && away.stderr.contains("cannot be asked"), "{away:?}");
    kms.clear();
    let server = store.start();
    check(&server, 20);
    assert_eq!(server.http().get("/ready").expect(200), json!({"status": "ready"}));
    server.stop();
    store.assert_clean();
}

/// Whether metrics say that the object store of the files is away, and the keys.
fn gauges(server: &Server) -> [u64; 2] {
    let metrics = server.http().get("/metrics").text();
    ["durable", "keys"].map(|what| {
        let name = format!("strandline_{what}_degraded{{store=\"test\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    })
}

/// What `/ready` says as soon as it tells of trouble, or of none.
pub(crate) fn told_by_ready(server: &Server, trouble: bool) -> Value {
    let began = Instant::now();
    loop {
        // 200 all the while
        let ready = server.http().get("/ready").expect(200);
        if ready.get("degraded").is_some() == trouble {
            return ready;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{ready}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
