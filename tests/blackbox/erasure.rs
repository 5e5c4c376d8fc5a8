//! Erasure of the real program: what an erasable stream type says is in no byte of the data, is read everywhere until its key is destroyed, and
//! nowhere afterwards, in an older copy of the data too.

use crate::harness::{Finished, Http, Server, Sse, Store, run, run_command};
use crate::redaction::by_name;
use crate::rigs::Moto;
use crate::s3::{bytes_below, encoded_key};
use crate::security::audited;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use strandline_client::{
    AllWanted, BatchBuilder, BatchUnit, Client, EventInput, EventRef, Expected, Filter, Options, Position,
    StreamWanted, SubscribeWanted,
};

const SECRET: &str = "planted-0815-secret";
const ERASE: &str = "/admin/v1/stores/test/erase";

struct Rig {
    store: Store,
    keys: tempfile::TempDir,
    /// Where the durable path is a bucket's.
    moto: Option<Moto>,
}

const KEYS: [&str; 2] = ["id.command_id.unique_scope = 'stream'", "compaction.schedule = '0 0 1 1 *'"];
/// Below it the objects of a store on S3 lie.
const PREFIX: &str = "erased";

/// All data at a moment, but for the keys.
struct Older {
    folders: tempfile::TempDir,
    objects: Vec<(String, Vec<u8>)>,
}

impl Rig {
    fn new(log: bool) -> Self {
        let store = if log { Store::new(&KEYS) } else { Store::without_log(&KEYS) };
        Self { store, keys: tempfile::tempdir().unwrap(), moto: None }
    }

    /// Encrypted at rest, on S3.
    fn sealed_on_s3() -> Self {
        let (keys, moto) = (tempfile::tempdir().unwrap(), Moto::start());
        let file = keys.path().join("of-the-store").to_string_lossy().into_owned();
        assert_eq!(run(&["keys", "init", "--file", &file]).code, 0);
        let path = format!("durable.path = 's3://{}/{PREFIX}'", Moto::BUCKET);
        let key = format!("security.kms.key_id = '{file}'");
        let sealed = [path.as_str(), "security.encrypt.at_rest = true", "security.kms.provider = 'local'", &key];
        let mut store = Store::new(&[&sealed[..], &KEYS].concat());
        store.set_env(Moto::env(&moto.url()));
        Self { store, keys, moto: Some(moto) }
    }

    fn objects(&self) -> Vec<(String, Vec<u8>)> {
        self.moto.as_ref().map(|moto| bytes_below(moto, PREFIX)).unwrap_or_default()
    }

    fn folders(&self) -> impl Iterator<Item = &'static str> {
        let is_there = move |folder: &&str| self.store.path().join(folder).is_dir();
        ["node", "durable", "log"].into_iter().filter(is_there)
    }

    fn copied(&self) -> Older {
        let folders = tempfile::tempdir().unwrap();
        self.folders().for_each(|name| copy(&self.store.path().join(name), &folders.path().join(name)));
        Older { folders, objects: self.objects() }
    }

    fn put_back(&self, older: &Older) {
        for name in self.folders() {
            std::fs::remove_dir_all(self.store.path().join(name)).unwrap();
            copy(&older.folders.path().join(name), &self.store.path().join(name));
        }
        if let Some(moto) = &self.moto {
            moto.keys(PREFIX).iter().for_each(|key| moto.put(&encoded_key(key), None));
            older.objects.iter().for_each(|(key, bytes)| moto.put(&encoded_key(key), Some(bytes)));
        }
    }

    fn key_file(&self) -> PathBuf {
        self.keys.path().join("subjects")
    }

    fn serve(&self) -> Command {
        let mut command = self.store.program();
        command.args(self.store.serve_arguments()).arg("--subject-keys").arg(self.key_file());
        command
    }

    fn start(&self) -> Server {
        Server::start_from(&mut self.serve())
    }

    /// `strandline verify` with the keys.
    fn verify(&self) -> Finished {
        let mut command = self.store.program();
        command.arg("verify").args(&self.store.serve_arguments()[1..5]).arg("--subject-keys").arg(self.key_file());
        run_command(command, b"")
    }

    fn assert_refused(&self, accepting: bool, text: &str) {
        let mut command = self.serve();
        command.args(accepting.then_some("--accept-lost-subject-keys"));
        let refused = run_command(command, b"");
        assert!(refused.code == 2 && refused.stderr.contains(text), "{text}: {refused:?}");
    }
}

fn append(http: &Http, stream_type: &str, stream: &str, command: &str, event: &Value) -> Value {
    http.post(&format!("streams/{stream_type}/{stream}"), &json!({ "events": [event], "command_id": command })).json()
}

fn event(number: u64) -> Value {
    json!({ "event_type": "E", "data": { "says": SECRET, "n": number }, "metadata": { "by": SECRET } })
}

fn erased() -> Value {
    json!({ "erased": true })
}

/// Files below a folder that hold the text.
pub(crate) fn holding(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holding(&path, text));
        } else if std::fs::read(&path).unwrap().windows(text.len()).any(|part| part == text.as_bytes()) {
            found.push(path);
        }
    }
    found
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}

/// What each way of reading shows of a stream's first event: payload and metadata.
fn shown(server: &Server, stream: &str) -> Vec<(Value, Value)> {
    let http = server.http();
    let all = [http.stream("Person", stream), http.global(), http.scan()];
    let first = |rows: &Vec<Value>| {
        let row = rows.iter().find(|row| row["stream_id"] == stream && row["seq"] == 1).unwrap();
        (row["data"].clone(), row["metadata"].clone())
    };
    let mut shown: Vec<_> = all.iter().map(first).collect();
    let id = all[0][0]["event_id"].as_str().unwrap();
    let by_id = http.get(&format!("events/{id}")).expect(200)["event"].clone();
    shown.push((by_id["data"].clone(), by_id["metadata"].clone()));
    let mut followed = Sse::open(&http, "subscribe", None);
    shown.push(loop {
        let row = followed.event().data.unwrap();
        if row["stream_id"] == stream && row["seq"] == 1 {
            break (row["data"].clone(), row["metadata"].clone());
        }
    });
    let named = by_name(&http, |row| row["stream_id"] == stream && row["seq"] == 1);
    shown.push((named["data"].clone(), named["metadata"].clone()));
    shown.extend(shown_by_frames(server, stream));
    shown
}

/// What the first event of a stream says, if it is among these.
fn first_of<'a>(mut events: impl Iterator<Item = EventRef<'a>>, stream: &str) -> Option<(Value, Value)> {
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let event = events.find(|event| event.stream_id == stream && event.seq.0 == 1)?;
    Some((json(event.data), json(event.metadata.unwrap())))
}

/// The same by the native protocol: of a page, of everything, of a scan, and to who follows.
fn shown_by_frames(server: &Server, stream: &str) -> [(Value, Value); 4] {
    let all = AllWanted { after: Position::START, limit: 1000, filter: Filter::default() };
    let after = Some(Position::START);
    let wanted = SubscribeWanted { after, window_bytes: 1 << 20, filter: Filter::default(), stream_id: None };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::connect(options(server)).await.unwrap();
        let page = client.read_stream(&StreamWanted::all("Person", stream)).await.unwrap();
        let of_page = first_of(page.events.iter(), stream).unwrap();
        let (everything, _) = client.read_all(&all).await.unwrap();
        let of_all = first_of(everything.iter(), stream).unwrap();
        let (mut scan, mut of_scan) = (client.scan(Filter::default(), 1 << 20), None);
        while let Some(part) = scan.next().await.unwrap() {
            of_scan = of_scan.or_else(|| first_of(part.iter(), stream));
        }
        let mut following = client.subscribe(wanted);
        loop {
            let came = following.next().await.unwrap().events;
            if let Some(followed) = first_of(came.iter(), stream) {
                return [of_page, of_all, of_scan.unwrap(), followed];
            }
        }
    })
}

fn options(server: &Server) -> Options {
    Options { store: "test".to_owned(), ..Options::new(server.native()) }
}

fn native_append(server: &Server, stream: &str) {
    let mut batch = BatchBuilder::new("Person", BatchUnit::Append);
    let data = json!({ "says": SECRET }).to_string();
    batch.push(&EventInput { stream_id: stream, event_type: "E", data: &data, ..EventInput::default() }).unwrap();
    let batch = batch.finish().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::connect(options(server)).await.unwrap();
        client.append(batch, Expected::Any).await.unwrap();
    });
}

/// Erases the stream whose four events of one type are there, three times.
fn erase_anna(server: &Server) {
    let receipt = server.client(&["erase", "--stream-id", "anna"]);
    assert!(receipt.code == 0 && receipt.stdout.contains("Person") && receipt.stdout.contains("anna"), "{receipt:?}");
    assert!(!receipt.stderr.contains("already"), "{receipt:?}");
    let repeated = server.client(&["erase", "--stream-id", "anna"]);
    assert!(repeated.code == 0 && repeated.stderr.contains("it was erased already, at "), "{repeated:?}");
    let again = server.http().post(ERASE, &json!({ "stream_id": "anna", "stream_type": "Person" })).expect(200);
    let row = &again["erased"][0];
    assert_eq!((&row["already"], &row["events"], &row["name"]), (&json!(true), &json!(4), &json!("anna")), "{again}");
}

#[test]
fn a_destroyed_key_leaves_nothing_to_read_in_any_tier_or_copy() {
    for rig in [Rig::new(true), Rig::new(false), Rig::sealed_on_s3()] {
        let server = rig.start();
        let http = server.http();
        let person = http.post("stream-types", &json!({ "name": "Person", "erasable": "stream" })).expect(201);
        assert_eq!(person["erasable"], "stream");
        let said = event(1);
        let first = append(&http, "Person", "anna", "c1", &said);
        append(&http, "Person", "bert", "c1", &event(2));
        http.bulk(&[
            json!({ "stream_type": "Person", "stream_id": "anna", "event_type": "E", "data": { "says": SECRET } }),
        ]);
        native_append(&server, "anna");
        let wanted = (said["data"].clone(), said["metadata"].clone());
        assert!(shown(&server, "anna").iter().all(|of| *of == wanted), "{:?}", shown(&server, "anna"));
        let retry = append(&http, "Person", "anna", "c1", &said);
        assert_eq!((&retry["duplicate"], &retry["events"]), (&json!(true), &first["events"]), "{retry}");
        let other = append(&http, "Person", "anna", "c1", &event(7));
        assert_eq!(other["code"], "command_conflict", "{other}");
        http.compact();
        append(&http, "Person", "anna", "c9", &event(9));
        server.stop();
        assert_eq!(holding(rig.store.path(), SECRET), [] as [PathBuf; 0], "nothing of it is in the data");
        let older = rig.copied();
        assert_eq!(older.objects.len() > 5, rig.moto.is_some());
        let holds = |bytes: &[u8]| bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
        assert!(!older.objects.iter().any(|(_, bytes)| holds(bytes)), "nor in the bucket");

        let server = rig.start();
        assert!(shown(&server, "anna").iter().all(|of| *of == wanted), "after a restart");
        erase_anna(&server);
        let check = |server: &Server, when: &str| {
            let gone = (erased(), erased());
            assert!(shown(server, "anna").iter().all(|of| *of == gone), "{when}: {:?}", shown(server, "anna"));
            assert_eq!(server.http().stream("Person", "anna").len(), 4, "{when}: the events stay");
            assert_eq!(shown(server, "bert")[0].0["says"], SECRET, "{when}");
            let refused = append(&server.http(), "Person", "anna", "c10", &event(10));
            assert_eq!(refused["code"], "strict_violation", "{when}: {refused}");
            // with the key went what equal events are known by
            let retry = append(&server.http(), "Person", "anna", "c1", &said);
            assert_eq!(retry["code"], "strict_violation", "{when}: {retry}");
        };
        check(&server, "at once");
        server.http().compact();
        check(&server, "compacted");
        server.stop();
        rig.store.assert_clean();
        let server = rig.start();
        check(&server, "started again");
        server.stop();
        rig.put_back(&older);
        let server = rig.start();
        check(&server, "an older copy");
        server.stop();
    }
}

#[test]
fn tenants_are_erased_as_wholes() {
    let rig = Rig::new(true);
    let server = rig.start();
    let http = server.http();
    http.post("stream-types", &json!({ "name": "Person", "erasable": "tenant" })).expect(201);
    let of =
        |tenant: &str| json!({ "event_type": "E", "data": { "says": SECRET }, "metadata": {}, "tenant_id": tenant });
    append(&http, "Person", "anna", "1", &of("x"));
    append(&http, "Person", "bert", "1", &of("y"));
    let without = append(&http, "Person", "carl", "1", &json!({ "event_type": "E", "data": {} }));
    assert_eq!(without["code"], "strict_violation", "{without}");
    http.post(ERASE, &json!({ "tenant_id": "x" })).expect(200);
    assert_eq!(http.stream("Person", "anna")[0]["data"], erased());
    assert_eq!(http.stream("Person", "bert")[0]["data"]["says"], SECRET);
    let refused = append(&http, "Person", "new", "1", &of("x"));
    assert_eq!(refused["code"], "strict_violation", "{refused}");
    let ended = server.finish();
    let is_told = audited(&ended.stderr, &["erase", "Person", "who="]) > 0;
    assert!(ended.code == 0 && is_told && !ended.stderr.contains(SECRET), "{ended:?}");
    rig.store.assert_clean();
}

#[test]
fn what_cannot_be_erased_says_why() {
    let store = Store::new(&[]);
    let server = store.start();
    let none = server.http().post("stream-types", &json!({ "name": "P", "erasable": "stream" }));
    let none = none.expect_error(422, "strict_violation");
    assert!(none["error"].as_str().unwrap().contains("--subject-keys"), "{none}");
    let none = server.http().post(ERASE, &json!({ "stream_id": "a" })).expect_error(422, "strict_violation");
    assert!(none["error"].as_str().unwrap().contains("was registered as erasable by stream before"), "{none}");
    server.stop();

    let rig = Rig::new(true);
    let server = rig.start();
    let http = server.http();
    append(&http, "Plain", "a", "1", &event(1));
    http.post("stream-types", &json!({ "name": "Plain", "erasable": "stream" })).expect_error(422, "strict_violation");
    http.post("stream-types", &json!({ "name": "P", "erasable": "stream" })).expect(201);
    http.post("stream-types", &json!({ "name": "P", "erasable": "stream" })).expect(201);
    http.post("stream-types", &json!({ "name": "P", "erasable": "tenant" })).expect_error(422, "strict_violation");
    http.post("stream-types", &json!({ "name": "P", "erasable": "no" })).expect_error(422, "strict_violation");
    for no_word in [json!("yes"), json!(true), json!(["stream"]), json!(1)] {
        let refused = http.post("stream-types", &json!({ "name": "P", "erasable": no_word }));
        let told = refused.expect_error(400, "bad_request");
        assert_eq!(told["error"], "`erasable` is \"no\", \"stream\" or \"tenant\"", "{no_word}");
    }
    let mode = std::fs::metadata(rig.key_file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else reads the keys");
    let types = http.get("stream-types").expect(200);
    assert!(types["stream_types"].as_array().unwrap().iter().any(|of| of["name"] == "P" && of["erasable"] == "stream"));
    http.post(ERASE, &json!({ "stream_id": "a", "stream_type": "Plain" })).expect_error(422, "strict_violation");
    http.post(ERASE, &json!({ "tenant_id": "a" })).expect_error(422, "strict_violation");
    http.post(ERASE, &json!({ "stream_id": "unknown" })).expect_error(404, "not_found");
    http.post(ERASE, &json!({})).expect_error(400, "bad_request");
    server.stop();
    // without the keys, with other ones, with keys among the data
    let serve = |keys: Option<&Path>| {
        let mut command = rig.store.program();
        command.args(rig.store.serve_arguments());
        if let Some(keys) = keys {
            command.arg("--subject-keys").arg(keys);
        }
        run_command(command, b"")
    };
    let other = tempfile::tempdir().unwrap();
    let inside = ["node/keys", "durable/keys", "log/keys"].map(|place| rig.store.path().join(place));
    let others = [None, Some(other.path().join("other"))];
    for keys in others.into_iter().chain(inside.into_iter().map(Some)) {
        let refused = serve(keys.as_deref());
        assert!(refused.code == 2 && refused.stderr.contains("--subject-keys"), "{keys:?}: {refused:?}");
    }
    // a new data folder, as after the loss of one: it learns that the keys are needed
    std::fs::remove_dir_all(rig.store.path().join("node/stores")).unwrap();
    rig.start().stop();
    assert_eq!(serve(None).code, 2);
}

/// With keys that were cut, or an older copy of them, rows would be there that nobody opens, and erasable types be stored as they come.
#[test]
fn keys_that_are_behind_the_data_are_refused_until_their_loss_is_accepted() {
    let rig = Rig::new(true);
    let server = rig.start();
    server.http().post("stream-types", &json!({ "name": "Person", "erasable": "stream" })).expect(201);
    let older = std::fs::read(rig.key_file()).unwrap();
    append(&server.http(), "Person", "anna", "c1", &event(1));
    server.stop();
    let newest = std::fs::read(rig.key_file()).unwrap();
    let clean = rig.verify();
    assert_eq!(clean.code, 0, "{clean:?}");
    for behind in [&newest[..4096], &older[..]] {
        std::fs::write(rig.key_file(), behind).unwrap();
        rig.assert_refused(false, "behind the data");
        rig.assert_refused(false, "--accept-lost-subject-keys");
        let found = rig.verify();
        let said = "stream type `Person`: 1 events are sealed with keys";
        assert!(found.code == 1 && found.stdout.contains(said), "{found:?}");
        assert!(found.stdout.contains("subject-keys.reached: --subject-keys is behind the data"), "{found:?}");
    }
    std::fs::write(rig.key_file(), &newest).unwrap();
    let server = rig.start();
    assert_eq!(server.http().stream("Person", "anna")[0]["data"]["says"], SECRET, "the newest copy is back");
    server.stop();

    std::fs::write(rig.key_file(), &newest[..4096]).unwrap();
    let server = Server::start_from(rig.serve().arg("--accept-lost-subject-keys"));
    let http = server.http();
    assert_eq!(http.get("stream-types").expect(200)["stream_types"][0]["erasable"], "stream");
    assert!(http.stream("Person", "anna")[0]["data"]["sealed"].is_string(), "what is lost is lost");
    append(&http, "Person", "carl", "c1", &event(2));
    assert_eq!(http.stream("Person", "carl")[0]["data"]["says"], SECRET);
    server.stop();
    assert_eq!(holding(rig.store.path(), SECRET), [] as [PathBuf; 0], "it was sealed");
    // it was accepted for ever
    rig.start().stop();
}

#[test]
fn what_the_data_keeps_of_the_keys_and_the_keys_themselves_are_verified() {
    let rig = Rig::new(true);
    let server = rig.start();
    server.http().post("stream-types", &json!({ "name": "Person", "erasable": "stream" })).expect(201);
    append(&server.http(), "Person", "anna", "c1", &event(1));
    append(&server.http(), "Person", "berta", "c1", &event(2));
    server.stop();
    assert_eq!(rig.verify().code, 0);
    let folder = rig.store.path().join("node/stores/test");
    let planted = |path: &Path, change: &dyn Fn(&mut Vec<u8>), said: &str| {
        let whole = std::fs::read(path).unwrap();
        let mut bytes = whole.clone();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
        let found = rig.verify();
        assert!(found.code == 1 && found.stdout.contains(said), "{said}: {found:?}");
        std::fs::write(path, whole).unwrap();
    };
    planted(&folder.join("subject-keys"), &|bytes| bytes[30] ^= 1, "is damaged: it says which file holds");
    planted(&folder.join("subject-keys.reached"), &|bytes| bytes.fill(1), "it is gone or damaged");
    // a byte of the first record, with others behind it
    planted(&rig.key_file(), &|bytes| bytes[4096 + 20] ^= 1, "are damaged at offset 4096");
    std::fs::remove_file(folder.join("subject-keys")).unwrap();
    let found = rig.verify();
    assert!(found.code == 1 && found.stdout.contains("a start without --subject-keys would store"), "{found:?}");
    // as it says itself
    rig.start().stop();
    assert_eq!(rig.verify().code, 0);
}

/// A data folder of the version before: it names the file, and neither the stream types nor how far the keys had come.
#[test]
fn a_data_folder_of_the_first_version_learns_what_it_lacks() {
    let rig = Rig::new(true);
    let server = rig.start();
    server.http().post("stream-types", &json!({ "name": "Person", "erasable": "stream" })).expect(201);
    append(&server.http(), "Person", "anna", "c1", &event(1));
    server.stop();
    let newest = std::fs::read(rig.key_file()).unwrap();
    let folder = rig.store.path().join("node/stores/test");
    let (marker, reached) = (folder.join("subject-keys"), folder.join("subject-keys.reached"));
    let second = std::fs::read_to_string(&marker).unwrap();
    let lines: Vec<&str> = second.lines().collect();
    assert_eq!((lines[0], lines[3]), ("strandline subject-keys 2", "stream Person"));
    std::fs::remove_file(&reached).unwrap();
    rig.assert_refused(false, "subject-keys.reached is gone or damaged");
    std::fs::write(&marker, format!("strandline subject-keys 1\n{}\n{}\n", lines[1], lines[2])).unwrap();
    // what is erasable nobody knows, so that nobody can accept it
    std::fs::write(rig.key_file(), &newest[..4096]).unwrap();
    rig.assert_refused(false, "whatever its age");
    rig.assert_refused(true, "whatever its age");
    std::fs::write(rig.key_file(), &newest).unwrap();
    let server = rig.start();
    assert_eq!(server.http().stream("Person", "anna")[0]["data"]["says"], SECRET);
    server.stop();
    assert!(reached.exists() && std::fs::read_to_string(&marker).unwrap() == second);
    std::fs::write(rig.key_file(), &newest[..4096]).unwrap();
    rig.assert_refused(false, "behind the data");
}

/// The keys of a node alone are in a file of one process: a member would store of such a type what comes as it comes, for ever.
#[test]
fn a_store_with_erasable_types_becomes_no_cluster() {
    let rig = Rig::new(true);
    let server = rig.start();
    server.http().post("stream-types", &json!({ "name": "Person", "erasable": "stream" })).expect(201);
    server.stop();
    for with_keys in [false, true] {
        let mut command = rig.store.program();
        command.args(rig.store.serve_arguments()).args(["--cluster", "127.0.0.1:0"]);
        if with_keys {
            command.arg("--subject-keys").arg(rig.key_file());
        }
        let refused = run_command(command, b"");
        assert!(refused.code == 2 && refused.stderr.contains("erasable stream types"), "{refused:?}");
    }
    // nothing has become a member's
    let server = rig.start();
    assert_eq!(server.http().get("stream-types").expect(200)["stream_types"][0]["erasable"], "stream");
    server.stop();
}
