//! The contract of objects on a real server; the probe; what is said where something is wrong.

use super::{check_text, location, moto, objects, settings, settings_with, through};
use crate::rigs::{Act, Moto, Proxy};
use std::net::TcpListener;
use std::sync::Arc;
use strandline_durable::objects::{ObjectError, Objects, Purpose, StoreObjects, conformance, open_location, probe};
use strandline_durable::{DurableTier, OpenOptions, Update};
use strandline_event::Micros;
use strandline_testkit::r#gen::store as declared;

#[test]
fn an_s3_server_keeps_the_contract() {
    conformance::check(&objects(&moto().url(), "contract"));
    conformance::check(&objects(&moto().url(), "contract/deeper"));
    assert_eq!(moto().open_uploads(), 0, "an upload that was dropped is aborted");
}

#[test]
fn a_store_with_conditional_creates_passes_the_probe_and_nothing_stays() {
    probe(&*objects(&moto().url(), "probe"), "s3://b/probe", 7).unwrap();
    assert_eq!(moto().keys("probe"), Vec::<String>::new());
}

#[test]
fn a_store_that_ignores_conditions_is_refused() {
    let proxy = Proxy::start(moto().port);
    proxy.strip_conditions();
    let error = probe(&*through(&proxy, "ignores"), "s3://bucket/ignores", 8).err().unwrap();
    assert!(matches!(error, ObjectError::NoConditionalCreate { .. }), "{error}");
    let text = check_text(&error);
    assert!(text.contains("s3://bucket/ignores") && text.contains("If-None-Match"), "{text}");
    assert_eq!(moto().keys("ignores"), Vec::<String>::new(), "the probe is taken away all the same");
    // the whole tier does not open there
    let config = declared("/durable", "wal.enabled = true, wal.path = '/wal'");
    let opened = DurableTier::open_with(through(&proxy, "ignores"), through(&proxy, "ignores/m"), &config, options());
    assert!(opened.err().unwrap().to_string().contains("conditional creates"));
    assert_eq!(moto().keys("ignores"), Vec::<String>::new());
}

#[test]
fn a_store_that_knows_no_conditions_is_refused() {
    let proxy = Proxy::start(moto().port);
    proxy.rule("PUT", ".probe-", 0, 9, Act::Answer(501));
    let error = probe(&*through(&proxy, "knows-none"), "s3://bucket/knows-none", 9).err().unwrap();
    assert!(matches!(error, ObjectError::NoConditionalCreate { .. }), "{error}");
    let settings = settings_with(&moto().url(), &[("AWS_CONDITIONAL_PUT", "disabled")]);
    let objects = open_location(&location("disabled"), Purpose::Read, &settings).unwrap();
    let error = probe(&*objects, "s3://bucket/disabled", 10).err().unwrap();
    assert!(matches!(error, ObjectError::NoConditionalCreate { .. }), "{error}");
}

fn options() -> OpenOptions {
    OpenOptions {
        writer: "n1".to_owned(),
        config_text: "CREATE EVENTSTORE s".to_owned(),
        entropy: 77,
        secret: 78,
        now: Micros(1_795_000_000_000_000),
        cache_bytes: 1 << 20,
        scratch: None,
    }
}

#[test]
fn what_is_wrong_is_said_with_bucket_key_and_what_to_check() {
    let proxy = Proxy::start(moto().port);
    let objects = through(&proxy, "said");
    proxy.rule("*", "said/x", 0, 9, Act::Answer(403));
    proxy.rule("GET", "list-type", 0, 9, Act::Answer(403));
    let error = objects.list_after("v1", 1).err().unwrap();
    assert!(
        check_text(&error).contains("`s3://strandline-test/said`") && error.to_string().contains("AWS_ACCESS_KEY_ID")
    );
    for error in [objects.put_new("x", b"").err(), objects.get("x").err(), objects.open("x").map(drop).err()] {
        let error = error.unwrap();
        let text = check_text(&error);
        assert!(matches!(error, ObjectError::Refused { .. }), "{text}");
        assert!(text.contains("s3://strandline-test/said/x") && text.contains("AWS_ACCESS_KEY_ID"), "{text}");
    }
    assert!(objects.trouble().unwrap().contains("403"), "readiness tells it");
    proxy.clear();
    assert!(matches!(objects.get("x"), Err(ObjectError::NotFound { .. })));
    assert_eq!(objects.trouble(), None, "an answer is an answer, whatever it says");

    let nowhere = strandline_deql::Location::S3 { bucket: "no-such-bucket".to_owned(), prefix: "p".to_owned() };
    let objects = open_location(&nowhere, Purpose::Read, &settings(&moto().url())).unwrap();
    for error in [objects.put_new("x", b"").err(), objects.get("x").err(), objects.list("").err()] {
        let error = error.unwrap();
        let text = check_text(&error);
        assert!(matches!(error, ObjectError::Refused { .. }) && text.contains("s3://no-such-bucket/p"), "{text}");
        assert!(text.contains("the bucket must exist"), "{text}");
    }
}

#[test]
fn an_endpoint_that_refuses_or_hangs_gives_an_error_and_is_found_again() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = objects(&format!("http://127.0.0.1:{port}"), "nobody");
    for error in [nobody.put_new("x", b"").err(), nobody.get("x").err(), nobody.list_after("", 1).err()] {
        let error = error.unwrap();
        let text = check_text(&error);
        assert!(matches!(error, ObjectError::Unreachable { .. }), "a create that was not sent is not unclear: {text}");
        assert!(text.contains("s3://strandline-test/nobody") && text.contains("AWS_ENDPOINT_URL"), "{text}");
    }
    let proxy = Proxy::start(moto().port);
    let hangs = through(&proxy, "hangs");
    proxy.hang(true);
    let error = hangs.get("x").err().unwrap();
    assert!(matches!(error, ObjectError::Unreachable { .. }), "{}", check_text(&error));
    let error = hangs.put_new("x", b"1").err().unwrap();
    assert!(matches!(error, ObjectError::Unclear { .. }), "it may have been served: {}", check_text(&error));
    assert!(hangs.trouble().is_some());
    proxy.hang(false);
    hangs.put_new("x", b"1").unwrap();
    assert_eq!(hangs.trouble(), None);
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let open = |more: &[(&str, &str)]| {
        open_location(&location("p"), Purpose::Read, &settings_with("http://127.0.0.1:9", more)).map(drop)
    };
    let error = |more: &[(&str, &str)]| check_text(&open(more).err().unwrap());
    assert!(error(&[("AWS_ALLOW_HTTP", "false")]).contains("AWS_ALLOW_HTTP=true"));
    assert!(error(&[("AWS_MAX_ATTEMPTS", "0")]).contains("1 to 100"));
    assert!(error(&[("AWS_TIMEOUT", "soon")]).contains("s3://strandline-test/p"));
    assert!(error(&[("AWS_SERVER_SIDE_ENCRYPTION", "what")]).contains("must be one of AES256, aws:kms"));
    open(&[("AWS_SESSION_TOKEN", "the-session-token"), ("AWS_PROFILE", "another program's")]).unwrap();
    // TLS with the system's certificates: a client can be made
    open(&[("AWS_ENDPOINT_URL", "https://127.0.0.1:9")]).unwrap();
}

#[test]
fn the_session_token_is_sent_and_the_region_is_signed_for() {
    let proxy = Proxy::start(moto().port);
    let more = [("AWS_SESSION_TOKEN", "the-session-token"), ("AWS_REGION", "eu-central-1")];
    let objects = open_location(&location("signed"), Purpose::Read, &settings_with(&proxy.url(), &more)).unwrap();
    objects.put_new("x", b"1").unwrap();
    let head = proxy.last_head();
    assert!(head.to_lowercase().contains("x-amz-security-token: the-session-token"), "{head}");
    assert!(
        head.contains("/eu-central-1/s3/aws4_request") && head.to_lowercase().contains("if-none-match: *"),
        "{head}"
    );
}

#[test]
fn a_long_history_is_not_listed_at_every_start() {
    const VERSIONS: u64 = 2_300;
    let config = declared("/durable", "wal.enabled = true, wal.path = '/wal'");
    let memory = || Arc::new(StoreObjects::memory().unwrap());
    let manifests = memory();
    let tier = DurableTier::open_with(memory(), Arc::clone(&manifests) as _, &config, options()).unwrap();
    for n in 1..VERSIONS {
        tier.update(&Update::Config("CREATE EVENTSTORE s".to_owned()), u128::from(n) << 8, Micros(1)).unwrap();
    }
    assert_eq!(tier.pin().version(), VERSIONS);
    let direct = objects(&moto().url(), "history");
    // the oldest were folded away
    for info in manifests.list("").unwrap().into_iter().skip(200) {
        direct.put_new(&info.path, &manifests.get(&info.path).unwrap()).unwrap();
    }
    let proxy = Proxy::start(moto().port);
    let open = |entropy| {
        let places = (through(&proxy, "history-data"), through(&proxy, "history"));
        DurableTier::open_with(places.0, places.1, &config, OpenOptions { entropy, ..options() }).unwrap()
    };
    let tier = open(3);
    assert_eq!((tier.pin().version(), tier.epoch()), (VERSIONS + 1, Some(2)));
    let lists = |seen: &[String]| seen.iter().filter(|line| line.contains("list-type=2")).count();
    let seen = proxy.seen();
    assert!(lists(&seen) <= 8 && seen.len() < 25, "{} lists of {} requests", lists(&seen), seen.len());
    tier.sweep(Micros(0)).unwrap();
    let seen = proxy.seen();
    assert_eq!(lists(&seen), 2, "the data files, and whether a version follows: {seen:?}");
    let history: Vec<u64> = tier.history(3).unwrap().into_iter().map(|version| version.version).collect();
    assert_eq!(history, [VERSIONS + 1, VERSIONS, VERSIONS - 1]);
    let seen = proxy.seen();
    assert!(lists(&seen) == 1 && seen.len() == 4, "{seen:?}");
    assert_eq!(moto().keys("history/").len() as u64, VERSIONS - 200 + 1);
    assert_eq!(Moto::BUCKET, "strandline-test");
}
