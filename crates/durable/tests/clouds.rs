//! `gs://` and `az://`: the contract of objects, a whole tier, and what is said where something is wrong, against servers on loopback that
//! speak as these two do. `scripts/clouds` runs it: the kinds are features, which the workspace's own build leaves out.

// helpers of a test are as blunt as the test itself
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg(all(feature = "gs", feature = "az", feature = "testkit"))]

#[path = "../../../tests/rigs/clouds.rs"]
mod clouds;
#[path = "../../../tests/rigs/proxy.rs"]
#[allow(dead_code)]
mod proxy;

use clouds::Clouds;
use proxy::{Act, Proxy};
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::sync::OnceLock;
use strandline_deql::{Location, StoreConfig, parse_file};
use strandline_durable::objects::{ObjectError, Purpose, Settings, conformance, open_location, probe};
use strandline_durable::{
    Commit, DurableTier, HeadRecord, JobSpec, OpenOptions, RowFilter, SharedObjects, StreamQuery, Update, sort_rows,
    verify_file, verify_manifests,
};
use strandline_event::hash::stream_hash;
use strandline_event::{EventId, EventRef, LogIndex, LogKey, Micros, Seq};

fn servers() -> &'static Clouds {
    static SERVERS: OnceLock<Clouds> = OnceLock::new();
    SERVERS.get_or_init(Clouds::start)
}

/// One of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cloud {
    Google,
    Azure,
}

impl Cloud {
    const BOTH: [Self; 2] = [Self::Google, Self::Azure];

    fn port(self) -> u16 {
        match self {
            Self::Google => servers().google,
            Self::Azure => servers().azure,
        }
    }

    /// As a statement names it.
    fn url(self, prefix: &str) -> String {
        let scheme = if self == Self::Google { "gs" } else { "az" };
        format!("{scheme}://{}/{prefix}", Clouds::BUCKET)
    }

    /// A store that lies there; its files are as large as their rows.
    fn config(self, prefix: &str) -> StoreConfig {
        let text = format!(
            "CREATE EVENTSTORE s WITH (durable.type = 'parquet', durable.path = '{}', durable.compression = 'none');",
            self.url(prefix)
        );
        parse_file("s.deql", &text).unwrap().stores.remove(0).config
    }

    fn location(self, prefix: &str) -> Location {
        self.config(prefix).durable.path
    }

    fn settings(self, port: u16, more: &[(&'static str, &str)]) -> Settings {
        let (env, prefix) = match self {
            Self::Google => (Clouds::google_env(port), "GOOGLE_"),
            Self::Azure => (Clouds::azure_env(port), "AZURE_"),
        };
        let named = |what: &str, value: &str| (format!("{prefix}{what}"), value.to_owned());
        let mut pairs: Vec<(String, String)> = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        pairs.extend([named("TIMEOUT", "2s"), named("CONNECT_TIMEOUT", "2s"), named("MAX_ATTEMPTS", "3")]);
        pairs.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
        pairs.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Settings::new(&pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>())
    }

    fn objects_at(self, port: u16, prefix: &str) -> SharedObjects {
        open_location(&self.location(prefix), Purpose::Read, &self.settings(port, &[])).unwrap()
    }

    fn objects(self, prefix: &str) -> SharedObjects {
        self.objects_at(self.port(), prefix)
    }

    fn tier(self, prefix: &str, entropy: u128) -> DurableTier {
        let (data, manifests) = (self.objects(prefix), self.objects(&format!("{prefix}/_manifests")));
        DurableTier::open_with(data, manifests, &self.config(prefix), options(entropy)).unwrap()
    }
}

/// No text for people ever holds what the test's client authenticates with.
fn check_text(error: &ObjectError) -> String {
    let text = error.to_string();
    for secret in [Clouds::KEY, Clouds::TOKEN] {
        assert!(!text.contains(secret), "{text}");
    }
    text
}

#[test]
fn both_keep_the_contract() {
    for cloud in Cloud::BOTH {
        conformance::check(&cloud.objects("contract"));
        conformance::check(&cloud.objects("contract/deeper"));
        probe(&*cloud.objects("probe"), &cloud.url("probe"), 7).unwrap();
        assert_eq!(cloud.objects("probe").list("").unwrap(), []);
    }
}

fn options(entropy: u128) -> OpenOptions {
    OpenOptions {
        writer: "n1".to_owned(),
        config_text: "CREATE EVENTSTORE s".to_owned(),
        entropy,
        secret: 78,
        now: Micros(1_795_000_000_000_000),
        cache_bytes: 1 << 20,
        scratch: None,
    }
}

/// A tier lives there: versions are committed, an older owner finds out, a start finds all of it.
#[test]
fn a_tier_is_opened_committed_to_and_taken_over() {
    for cloud in Cloud::BOTH {
        let old = cloud.tier("tier", 1);
        for n in 1..20_u64 {
            old.update(&Update::Config("CREATE EVENTSTORE s".to_owned()), u128::from(n) << 8, Micros(1)).unwrap();
        }
        let new = cloud.tier("tier", 2);
        assert!(new.pin().version() > 20 && new.epoch() > old.epoch(), "{cloud:?}");
        let late = old.update(&Update::Config("CREATE EVENTSTORE s".to_owned()), 4711, Micros(1));
        assert!(late.is_err(), "{cloud:?}: an older owner's commit fails");
        assert_eq!(verify_manifests(&new), [], "{cloud:?}");
        assert_eq!(new.pin().scan(&RowFilter::default()).count(), 0);
        assert!(new.sweep(Micros(i64::MAX)).is_ok());
    }
}

const ROWS: u64 = 500;
const STREAMS: u64 = 50;
const BEGIN: Micros = Micros(1_795_000_000_000_000);

/// The n-th event, of one of the streams in turn.
fn event<'a>(n: u64, stream_id: &'a str, data: &'a str) -> EventRef<'a> {
    let at = BEGIN.plus_us(n.cast_signed());
    EventRef {
        event_id: EventId((u128::from(n) + 1).to_be_bytes()),
        stream_type: "T",
        stream_id,
        seq: Seq(n / STREAMS + 1),
        event_type: "E",
        event_version: None,
        occurred_at: at,
        ingested_at: at,
        data,
        metadata: None,
        command_id: None,
        correlation_id: None,
        causation_id: None,
        tenant_id: None,
    }
}

/// One job that makes them durable.
fn write(tier: &DurableTier, events: Vec<EventRef<'_>>) {
    let (log, batches) = (LogKey::single("T"), [events]);
    let job = JobSpec { job_id: 4711, log: log.clone(), from_exclusive: LogIndex(0), through: LogIndex(1) };
    let order = sort_rows(&tier.layout(), &batches);
    let files = tier.write_files(&tier.layout(), &job, &batches, &order, &mut |_| ControlFlow::Continue(())).unwrap();
    let head = |n: u64| HeadRecord {
        stream: stream_hash(&format!("s{n}")),
        last_seq: Seq(ROWS / STREAMS),
        first_seq: Seq::FIRST,
        owner_tenant: 0,
    };
    let commit = Commit {
        job_id: job.job_id,
        at: BEGIN,
        log,
        from_exclusive: job.from_exclusive,
        through: job.through,
        last_ingested_at: BEGIN.plus_us(ROWS.cast_signed()),
        files,
        heads: (0..STREAMS).map(head).collect(),
        commands: Vec::new(),
        chunks: Vec::new(),
    };
    tier.commit(&commit).unwrap();
}

/// Events go into a data file there, and come back through another handle, by a lookup and by a scan.
#[test]
fn events_are_written_and_read_back() {
    let text = |n: u64| (format!("s{}", n % STREAMS), format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(2000)));
    let texts: Vec<(String, String)> = (0..ROWS).map(text).collect();
    for cloud in Cloud::BOTH {
        let tier = cloud.tier("events", 1);
        write(&tier, (0..).zip(&texts).map(|(n, (stream, data))| event(n, stream, data)).collect());
        let other = cloud.tier("events", 2);
        let snapshot = other.pin();
        for file in snapshot.files() {
            assert_eq!(verify_file(&other, file), [], "{cloud:?}");
        }
        assert_eq!(verify_manifests(&other), [], "{cloud:?}");
        let query = StreamQuery {
            stream_type: "T",
            stream_id: "s17",
            from_seq: Seq::FIRST,
            to_seq: Seq(u64::MAX),
            descending: false,
            limit: 100,
        };
        let found = snapshot.stream(&query).unwrap();
        let wanted = texts.iter().filter(|(stream, _)| stream == "s17").map(|(_, data)| data.as_str());
        assert!(found.iter().map(|event| event.data).eq(wanted), "{cloud:?}: {} rows", found.len());
        assert_eq!(found.stats.files, 1, "{cloud:?}");
        let rows: usize = snapshot.scan(&RowFilter::default()).map(|batch| batch.unwrap().rows()).sum();
        assert_eq!(rows as u64, ROWS, "{cloud:?}");
    }
}

#[test]
fn lost_answers_are_understood() {
    for cloud in Cloud::BOTH {
        let proxy = Proxy::start(cloud.port());
        let objects = cloud.objects_at(proxy.port, "lost");
        proxy.rule("PUT", "lost", 0, 1, Act::ServeAndAnswer(500));
        let error = objects.put_new("x", b"1").unwrap_err();
        assert!(matches!(error, ObjectError::Unclear { .. }), "{cloud:?}: {}", check_text(&error));
        assert!(matches!(objects.put_new("x", b"2"), Err(ObjectError::AlreadyExists { .. })), "{cloud:?}: it was done");
        proxy.rule("PUT", "lost", 0, 1, Act::LoseAnswer);
        assert!(matches!(objects.put_new("y", b"1"), Err(ObjectError::Unclear { .. })), "{cloud:?}");
        assert_eq!(&objects.get("y").unwrap()[..], b"1");
        // an upload finds out by itself
        let mut out = objects.create("z").unwrap();
        proxy.rule("PUT", "lost", 0, 1, Act::LoseAnswer);
        std::io::Write::write_all(&mut out, b"mine").unwrap();
        out.finish().unwrap();
        assert_eq!(&objects.get("z").unwrap()[..], b"mine", "{cloud:?}");
        proxy.rule("GET", "lost", 0, 1, Act::Answer(503));
        assert_eq!(&objects.get("z").unwrap()[..], b"mine", "{cloud:?}: a read is tried again");
    }
}

#[test]
fn what_is_wrong_is_said_with_bucket_key_and_the_settings_to_check() {
    for (cloud, credentials, endpoint) in [
        (Cloud::Google, ("GOOGLE_BEARER_TOKEN", "another", "GOOGLE_SERVICE_ACCOUNT"), "GOOGLE_BASE_URL"),
        (
            Cloud::Azure,
            ("AZURE_STORAGE_ACCOUNT_NAME", "another", "AZURE_STORAGE_ACCOUNT_KEY"),
            "AZURE_STORAGE_ENDPOINT",
        ),
    ] {
        let (name, value, to_check) = credentials;
        let stranger = cloud.settings(cloud.port(), &[(name, value)]);
        let objects = open_location(&cloud.location("said"), Purpose::Read, &stranger).unwrap();
        let error = objects.get("x").unwrap_err();
        let text = check_text(&error);
        assert!(matches!(error, ObjectError::Refused { .. }), "{text}");
        assert!(text.contains(&cloud.url("said/x")) && text.contains(to_check) && !text.contains("AWS_"), "{text}");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = cloud.objects_at(port, "nobody").get("x").unwrap_err();
        let text = check_text(&error);
        assert!(matches!(error, ObjectError::Unreachable { .. }), "{text}");
        assert!(text.contains(&cloud.url("nobody/x")) && text.contains(endpoint) && !text.contains("AWS_"), "{text}");
    }
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let said = |cloud: Cloud, settings: &Settings| {
        check_text(&open_location(&cloud.location("p"), Purpose::Read, settings).map(drop).unwrap_err())
    };
    for cloud in Cloud::BOTH {
        let prefix = if cloud == Cloud::Google { "GOOGLE_" } else { "AZURE_" };
        let name: &'static str = if cloud == Cloud::Google { "GOOGLE_MAX_ATTEMPTS" } else { "AZURE_MAX_ATTEMPTS" };
        let text = said(cloud, &cloud.settings(9, &[(name, "0")]));
        assert!(text.contains("1 to 100") && text.contains(prefix) && text.contains(&cloud.url("p")), "{text}");
    }
    let text = said(Cloud::Azure, &Settings::new(&[]));
    assert!(text.contains("settings in the environment") && text.to_lowercase().contains("account"), "{text}");
    let text = said(Cloud::Google, &Settings::new(&[("GOOGLE_SERVICE_ACCOUNT", "/nowhere/key.json")]));
    assert!(text.contains("settings in the environment"), "{text}");
}
