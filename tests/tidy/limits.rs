//! What holds each row of the table in docs/limits.md: where its numbers stand in the code, and which tests reach them. A row, or a number in a
//! row, that stands nowhere here is refused, and so is one that the code has otherwise.

use crate::root;
use std::fs;

const EVENT: &str = "crates/event/src/limits.rs";
const WIRE: &str = "crates/client/src/wire/append.rs";
const HEADER: &str = "crates/client/src/wire/header.rs";
const STALL: &str = "cluster/server/src/stall.rs";
const CONNECTIONS: &str = "cluster/server/src/connections.rs";
const DESK: &str = "cluster/workers/src/subscriptions/desk.rs";
const DURABLE: &str = "crates/engine/src/subscribe/durable.rs";
const LINKS: &str = "cluster/consensus/src/net/mod.rs";
const META: &str = "cluster/consensus/src/meta/mod.rs";
const TOKENS: &str = "cluster/server/src/access/file.rs";
const BOUNDS: &str = "cluster/server/tests/http/bounds.rs";
const NATIVE: &str = "cluster/server/tests/http/native.rs";
const SLOW: &str = "cluster/server/tests/http/slow.rs";
const FOLLOWERS: &str = "cluster/workers/tests/node/followers.rs";
const ADMISSION: &str = "cluster/consensus/tests/net/admission.rs";

/// What makes a part of a row true.
enum Held {
    /// The number is the value of a constant.
    By(&'static str, &'static str),
    /// It stands so in a file that has no constant for it.
    In(&'static str, &'static str),
    /// A dependency holds it: the tests of the row are all there is.
    Elsewhere,
}

use Held::{By, Elsewhere, In};

/// A row by its first words, its parts as it says them, and tests by file and name.
struct Row {
    begins: &'static str,
    says: &'static [(&'static str, Held)],
    tests: &'static [(&'static str, &'static str)],
}

const ROWS: &[Row] = &[
    Row {
        begins: "one event: its `data`",
        says: &[
            ("1 MiB", By(EVENT, "EVENT_BYTES_MAX")),
            ("nested 128 deep", By("cluster/server/src/decode/event.rs", "NESTING_MAX")),
        ],
        tests: &[
            (BOUNDS, "an_event_an_append_and_a_bulk_body_have_so_many_bytes"),
            (
                "cluster/server/tests/http/streams.rs",
                "json_that_is_nested_too_deep_is_refused_and_names_of_locks_are_names",
            ),
        ],
    },
    Row {
        begins: "one append to a stream",
        says: &[("10,000 events", By(EVENT, "APPEND_EVENTS_MAX")), ("16 MiB", By(EVENT, "APPEND_BYTES_MAX"))],
        tests: &[
            ("tests/blackbox/http.rs", "limits_are_named"),
            (BOUNDS, "an_event_an_append_and_a_bulk_body_have_so_many_bytes"),
            (NATIVE, "limits_of_an_append_are_those_of_http"),
        ],
    },
    Row {
        begins: "a bulk body |",
        says: &[
            ("64 MiB", By(EVENT, "BULK_BYTES_MAX")),
            ("1,000 stream types", By("cluster/server/src/decode/bulk.rs", "STREAM_TYPES_MAX")),
            ("100,000 lines", By("cluster/server/src/decode/bulk.rs", "LISTED_SKIP")),
        ],
        tests: &[
            (BOUNDS, "an_event_an_append_and_a_bulk_body_have_so_many_bytes"),
            ("cluster/server/tests/http/limits.rs", "a_body_of_too_many_new_stream_types_is_413"),
            ("cluster/server/src/decode/tests.rs", "nonsense_ends_soon"),
        ],
    },
    Row {
        begins: "a bulk body of Arrow",
        says: &[
            ("1,048,576 rows", In("crates/durable/src/ipc/mod.rs", "at most 1048576 are taken")),
            ("256 MiB of texts", By("crates/durable/src/ipc/decode.rs", "TEXT_BYTES_MAX")),
            ("compressed buffers are not taken", In("Cargo.toml", "features = [\"ipc\"] }")),
        ],
        tests: &[
            ("crates/durable/src/ipc/tests.rs", "a_small_stream_that_unpacks_to_very_much_is_refused"),
            ("tests/blackbox/ingest.rs", "a_small_body_of_arrow_that_unpacks_to_very_much_is_refused"),
        ],
    },
    Row {
        begins: "the body of any other request",
        says: &[
            ("1 MiB", By("cluster/server/src/routes/stores.rs", "SMALL_BODY_BYTES_MAX")),
            ("415", In("cluster/server/src/http/body.rs", "refuse_encoding(request)?;")),
        ],
        tests: &[(BOUNDS, "no_body_is_unpacked_on_any_route_that_takes_one"), (BOUNDS, "a_small_body_is_small")],
    },
    Row {
        begins: "a frame of the native protocol",
        says: &[
            (
                "64 MiB and 64 KiB with events",
                In("cluster/server/src/native/session.rs", "limits::BULK_BYTES_MAX + (64 << 10)"),
            ),
            ("4,096 appends", By(WIRE, "BATCHES_MAX")),
            ("64 KiB without", By(HEADER, "NO_EVENTS_BODY_MAX")),
        ],
        tests: &[(NATIVE, "a_frame_has_so_many_bytes_and_so_many_appends")],
    },
    Row {
        begins: "requests of a native connection",
        says: &[
            ("256", By("cluster/server/src/native/session.rs", "REQUESTS_MAX")),
            ("8 scans", By("cluster/server/src/native/scan.rs", "SCANS_MAX")),
        ],
        tests: &[
            ("tests/blackbox/native.rs", "a_client_that_takes_no_answers_holds_up_nobody_else"),
            ("cluster/server/src/native/scan.rs", "a_scan_that_is_cancelled_keeps_its_place_until_it_is_over"),
        ],
    },
    Row {
        begins: "requests in flight on a node",
        says: &[
            ("256 MiB", By(EVENT, "IN_FLIGHT_BYTES_MAX")),
            ("429", In("cluster/server/src/error.rs", "ErrorKind::Overloaded => StatusCode::TOO_MANY_REQUESTS")),
        ],
        tests: &[
            ("cluster/server/tests/http/limits.rs", "what_comes_too_fast_is_429_with_retry_after"),
            (NATIVE, "bytes_in_flight_are_counted_with_those_of_http_and_more_is_overloaded"),
        ],
    },
    Row {
        begins: "reads of a node",
        says: &[
            ("512", In("cluster/workers/src/node.rs", "reads_max: 512,")),
            ("256 MiB", In("cluster/workers/src/node.rs", "answer_bytes_max: limits::IN_FLIGHT_BYTES_MAX,")),
            ("429", In("cluster/server/src/error.rs", "ErrorKind::Overloaded => StatusCode::TOO_MANY_REQUESTS")),
        ],
        tests: &[
            ("cluster/server/tests/http/limits.rs", "what_comes_too_fast_is_429_with_retry_after"),
            ("cluster/server/tests/http/limits.rs", "answers_that_wait_for_their_clients_are_bounded"),
        ],
    },
    Row {
        begins: "a slow client",
        says: &[
            ("30 seconds", In(STALL, "stall: Duration::from_secs(30)")),
            ("4 KiB a second", In(STALL, "bytes_a_second: 4096")),
            ("once a minute has passed", In(STALL, "const GRACE: u32 = 2;")),
            ("some five minutes", In(STALL, "const AHEAD_BYTES: u64 = 1 << 20;")),
        ],
        tests: &[
            (STALL, "a_byte_every_29_seconds_keeps_nothing_open_and_a_slow_line_is_served"),
            (SLOW, "a_body_and_a_frame_that_come_byte_by_byte_are_given_up"),
            (SLOW, "a_body_without_an_end_keeps_no_connection"),
            (SLOW, "an_answer_that_is_taken_byte_by_byte_keeps_no_other_read_out"),
            (SLOW, "a_scan_that_is_taken_byte_by_byte_breaks_off"),
            (SLOW, "a_native_answer_that_is_taken_byte_by_byte_gives_back_what_it_holds"),
        ],
    },
    Row {
        begins: "the head of a request over HTTP",
        says: &[
            ("128 KiB", Elsewhere),
            ("65,534 bytes", Elsewhere),
            ("32 parameters", By("cluster/server/src/http/query.rs", "PARAMETERS_MAX")),
            // not by HTTP/2, whose heads come in other ways: it is not served
            ("96 headers", In("Cargo.toml", "features = [\"macros\", \"rustls-0_23\", \"unicode\"] }")),
            (
                "ten seconds",
                In("cluster/server/src/serve.rs", "const HEAD_TIMEOUT: Duration = Duration::from_secs(10);"),
            ),
        ],
        tests: &[
            (BOUNDS, "a_head_has_so_many_lines_and_bytes_on_every_listener_of_http"),
            (SLOW, "operators_are_given_no_more_time_and_a_head_that_comes_byte_by_byte_is_given_up"),
        ],
    },
    Row {
        begins: "a TLS handshake",
        says: &[
            ("3 seconds over HTTP", Elsewhere),
            (
                "10 of the native protocol",
                In("cluster/server/src/native/connection.rs", "const HANDSHAKE: Duration = Duration::from_secs(10);"),
            ),
            ("3 between nodes", By(LINKS, "CONNECT_WITHIN")),
        ],
        tests: &[
            ("tests/blackbox/security.rs", "a_handshake_that_does_not_go_on_ends"),
            ("cluster/consensus/tests/net/tls.rs", "a_handshake_that_does_not_go_on_ends"),
        ],
    },
    Row {
        begins: "connections of a listener",
        says: &[
            ("a quarter", In(CONNECTIONS, "HTTP_PART: u64 = 4;")),
            ("25,000 a thread", By(CONNECTIONS, "MOST")),
            ("an eighth, at most 25,000", In(CONNECTIONS, "NATIVE_PART: u64 = 8;")),
        ],
        tests: &[
            (CONNECTIONS, "a_share_is_a_part_of_the_descriptors_between_a_few_and_very_many"),
            ("cluster/server/tests/http/caps.rs", "one_connection_too_many_is_told_so_by_every_listener"),
            ("cluster/server/tests/http/caps.rs", "native_connections_that_say_nothing_keep_nobody_out"),
        ],
    },
    Row {
        begins: "connections to other nodes",
        says: &[
            ("an eighth", In(CONNECTIONS, "OUTGOING_PART: u64 = 8;")),
            ("25,000", By(CONNECTIONS, "MOST")),
            ("at most half", In("cluster/server/src/outgoing.rs", "places(limit / 2)")),
            ("429", In("cluster/server/src/native/relay.rs", "Refused::new(ErrorKind::Overloaded, NO_PLACE)")),
        ],
        tests: &[
            ("cluster/server/src/outgoing.rs", "connections_that_stay_leave_half_of_the_places_to_those_that_pass"),
            (
                "cluster/server/src/forward/relay.rs",
                "one_connection_too_many_is_told_so_and_the_next_after_an_end_is_made",
            ),
        ],
    },
    Row {
        begins: "connections between nodes",
        says: &[("256", By(LINKS, "CONNECTIONS_MAX")), ("16 of them", By(LINKS, "STRANGERS_MAX"))],
        tests: &[
            (ADMISSION, "one_connection_too_many_is_closed_and_the_next_after_an_end_is_not"),
            (ADMISSION, "connections_of_who_is_no_member_are_few_and_leave_room_for_members"),
            (ADMISSION, "connections_that_say_nothing_keep_no_member_out"),
        ],
    },
    Row {
        begins: "a frame between nodes",
        says: &[("264 MiB", By(LINKS, "BODY_BYTES_MAX")), ("64 KiB", By(LINKS, "SMALL_BYTES_MAX"))],
        tests: &[
            ("cluster/consensus/tests/net/hostile.rs", "a_length_over_the_limit_is_refused_before_anything_is_kept"),
            ("cluster/consensus/tests/net/requests.rs", "bodies_are_whole_aligned_and_as_large_as_a_frame_of_the_log"),
        ],
    },
    Row {
        begins: "a slow node",
        says: &[
            ("10 seconds for each MiB", By(LINKS, "STALL")),
            ("3 seconds", By(LINKS, "CONNECT_WITHIN")),
            ("after 60 seconds", By(LINKS, "IDLE")),
            ("no member after 10", By(LINKS, "STRANGER_IDLE")),
        ],
        tests: &[
            ("cluster/consensus/tests/net/slow.rs", "a_connection_of_which_nothing_comes_ends_in_its_time"),
            ("cluster/consensus/src/net/incoming.rs", "each_part_of_a_frame_has_its_time_however_its_bytes_come"),
            ("cluster/consensus/src/net/outgoing.rs", "who_takes_nothing_ends_the_writing"),
        ],
    },
    Row {
        begins: "a cluster",
        says: &[
            ("64 nodes", By(META, "NODES_MAX")),
            ("7 replicas", By(META, "REPLICATION_MAX")),
            ("256 stores", By(META, "STORES_MAX")),
            ("statements of 64 KiB", By(META, "STATEMENT_BYTES_MAX")),
            ("50,000 logs", By(META, "GROUPS_MAX")),
            ("4,096 nodes", By(META, "REMOVED_MAX")),
            ("256 KiB of one", By(META, "REMEMBERED_BYTES_MAX")),
            ("8 MiB of a store", By(META, "REMEMBERED_STORE_BYTES_MAX")),
            ("64 MiB of all", By(META, "REMEMBERED_ALL_BYTES_MAX")),
        ],
        tests: &[
            ("cluster/consensus/tests/meta/joining.rs", "a_cluster_has_so_many_nodes_and_one_that_goes_makes_room"),
            ("cluster/consensus/tests/meta/joining.rs", "nothing_is_done_before_there_is_a_cluster"),
            ("cluster/consensus/tests/meta/stores.rs", "what_is_remembered_is_the_leaders_and_never_goes_back"),
            ("cluster/consensus/tests/meta/stores.rs", "names_and_sizes_are_bounded"),
        ],
    },
    Row {
        begins: "the reason of a redaction",
        says: &[("1,024 bytes", By("crates/engine/src/redact.rs", "REASON_BYTES_MAX"))],
        tests: &[("tests/blackbox/redaction.rs", "what_cannot_be_redacted_says_why")],
    },
    Row {
        begins: "tokens of a node",
        says: &[
            ("10,000", By(TOKENS, "TOKENS_MAX")),
            ("16 MiB", By(TOKENS, "FILE_BYTES_MAX")),
            ("128 bytes", By(TOKENS, "NAME_BYTES_MAX")),
        ],
        tests: &[(TOKENS, "a_file_has_so_many_tokens_and_bytes_and_names_so_many")],
    },
    Row {
        begins: "a page of a read",
        says: &[("100,000 events", By(EVENT, "PAGE_EVENTS_MAX")), ("1,000 if", By(EVENT, "PAGE_EVENTS_DEFAULT"))],
        tests: &[
            (BOUNDS, "pages_buckets_and_new_stream_types_have_so_many_of_theirs"),
            ("tests/blackbox/native.rs", "what_http_would_refuse_is_refused"),
        ],
    },
    Row {
        begins: "subscribers of a node",
        says: &[
            ("8,192", By("cluster/workers/src/subscriptions/mod.rs", "FOLLOWERS_MAX")),
            ("429", In("cluster/server/src/error.rs", "ErrorKind::Overloaded => StatusCode::TOO_MANY_REQUESTS")),
        ],
        tests: &[(
            "cluster/workers/src/subscriptions/mod.rs",
            "one_follower_too_many_is_refused_and_the_next_after_an_end_is_not",
        )],
    },
    Row {
        begins: "named subscriptions of a store",
        says: &[
            ("1,000, each", By(DESK, "SUBSCRIPTIONS_MAX")),
            ("256 consumers", By(DESK, "CONSUMERS_MAX")),
            ("256 events", By(DURABLE, "HELD_MAX")),
            ("4,096 behind", By(DURABLE, "WINDOW")),
            ("parks 10,000", By(DURABLE, "PARKED_MAX")),
            ("200 in a cluster", By(DURABLE, "PARKED_MAX_CLUSTER")),
        ],
        tests: &[
            (FOLLOWERS, "a_store_has_so_many_named_subscriptions_and_each_so_many_consumers"),
            ("crates/engine/src/subscribe/durable/tests.rs", "what_is_remembered_and_held_is_bounded"),
            (
                "crates/engine/src/subscribe/durable/tests.rs",
                "so_many_are_parked_and_what_finds_no_place_is_given_again",
            ),
        ],
    },
    Row {
        begins: "stream types of a store",
        says: &[("10,000", By(EVENT, "STREAM_TYPES_MAX")), ("256 new ones", By(EVENT, "NEW_STREAM_TYPES_MAX"))],
        tests: &[
            (
                "cluster/workers/tests/node/buckets.rs",
                "a_store_has_so_many_stream_types_at_most_with_each_bucket_counted_and_each_registration",
            ),
            (
                "cluster/consensus/tests/meta/stores.rs",
                "a_store_has_so_many_logs_and_who_would_propose_one_more_is_told",
            ),
            (BOUNDS, "pages_buckets_and_new_stream_types_have_so_many_of_theirs"),
            (NATIVE, "a_frame_that_brings_too_many_stream_types_is_refused_and_stores_none"),
        ],
    },
    Row {
        begins: "buckets of a stream type",
        says: &[("256", By(EVENT, "BUCKETS_MAX"))],
        tests: &[(BOUNDS, "pages_buckets_and_new_stream_types_have_so_many_of_theirs")],
    },
    Row {
        begins: "`stream_id`",
        says: &[("1,024 bytes", By(EVENT, "STREAM_ID_BYTES_MAX"))],
        tests: &[(BOUNDS, "texts_of_an_event_have_so_many_bytes")],
    },
    Row {
        begins: "`event_type`",
        says: &[("256 bytes", By(EVENT, "EVENT_TYPE_BYTES_MAX")), ("256", By(EVENT, "ID_TEXT_BYTES_MAX"))],
        tests: &[(BOUNDS, "texts_of_an_event_have_so_many_bytes")],
    },
    Row {
        begins: "`stream_type`",
        says: &[("200 bytes", By(EVENT, "PATH_TEXT_BYTES_MAX"))],
        tests: &[
            (BOUNDS, "texts_of_an_event_have_so_many_bytes"),
            ("tests/blackbox/names.rs", "no_name_leaves_its_folder_by_any_way_in"),
        ],
    },
];

/// A file's text; nothing where it is not there, so that nothing is found in it.
fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

/// The numbers of a text, each as it is written.
fn numbers(text: &str) -> Vec<&str> {
    let no_digit = |byte: char| !byte.is_ascii_digit() && byte != ',';
    let found = text.split(no_digit).map(|number| number.trim_matches(','));
    found.filter(|number| !number.is_empty()).collect()
}

/// The first number of a text as people write it, in its unit.
fn meant(text: &str) -> Option<u64> {
    let number = *numbers(text).first()?;
    let unit = text.split_once(number)?.1.trim_start();
    let times = match unit.get(..3) {
        Some("MiB") => 1 << 20,
        Some("KiB") => 1 << 10,
        _ => 1,
    };
    Some(number.replace(',', "").parse::<u64>().ok()? * times)
}

/// The value of a constant of a file: a whole number, one that is shifted, or a time in seconds.
fn value(source: &str, name: &str) -> Option<u64> {
    let line = source.lines().find(|line| line.trim_start().contains(&format!("const {name}: ")))?;
    let written = line.split_once(" = ")?.1.trim_end().trim_end_matches(';');
    let written = written.strip_prefix("Duration::from_secs(").map_or(written, |rest| rest.trim_end_matches(')'));
    let whole = |text: &str| text.trim().replace('_', "").parse::<u64>().ok();
    match written.split_once("<<") {
        Some((number, bits)) => Some(whole(number)? << whole(bits)?),
        None => whole(written),
    }
}

/// Why a row does not hold.
fn findings(line: &str, row: &Row) -> Vec<String> {
    let cell = line.rsplit_once(" | ").map_or(line, |(_, cell)| cell);
    let mut found = Vec::new();
    for (said, held) in row.says {
        if !cell.contains(said) {
            found.push(format!("says no `{said}`"));
        }
        match held {
            By(file, name) if value(&read(file), name) != meant(said) => {
                found.push(format!("says `{said}`, {name} in {file} is {:?}", value(&read(file), name)));
            }
            In(file, code) if !read(file).contains(code) => {
                found.push(format!("says `{said}`, {file} has no `{code}`"))
            }
            _ => {}
        }
    }
    let known: Vec<&str> = row.says.iter().flat_map(|(said, _)| numbers(said)).collect();
    found.extend(numbers(cell).into_iter().filter(|n| !known.contains(n)).map(|n| format!("nothing holds its {n}")));
    for (file, name) in row.tests {
        if !read(file).contains(&format!("fn {name}(")) {
            found.push(format!("its test {name} is not in {file}"));
        }
    }
    found.into_iter().map(|what| format!("docs/limits.md, {}: {what}", row.begins)).collect()
}

#[test]
fn every_limit_that_is_told_is_held_and_tested() {
    let page = read("docs/limits.md");
    let table = page.split("## Of sizes").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the table");
    let lines = table.lines().filter_map(|line| line.strip_prefix("| ")).filter(|line| !line.starts_with("what |"));
    let mut found = Vec::new();
    let mut held = 0;
    for line in lines {
        let line = line.trim_end().trim_end_matches('|').trim_end();
        match ROWS.iter().find(|row| line.starts_with(row.begins)) {
            Some(row) => {
                held += 1;
                found.extend(findings(line, row));
            }
            None => found.push(format!("docs/limits.md: nothing in tests/tidy/limits.rs holds the row `{line}`")),
        }
    }
    assert!(held == ROWS.len(), "{held} of {} rows are told", ROWS.len());
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn numbers_are_read_as_people_and_programs_write_them() {
    assert_eq!(numbers("at most 10,000 events, 16 MiB, 429"), ["10,000", "16", "429"]);
    assert_eq!(
        [meant("16 MiB"), meant("64 KiB without"), meant("parks 10,000")],
        [Some(16 << 20), Some(64 << 10), Some(10_000)]
    );
    let source = "    pub const A: usize = 16 << 20;\nconst B: u32 = 10_000;\npub const C: Duration = Duration::from_secs(60);\n";
    assert_eq!(["A", "B", "C", "D"].map(|name| value(source, name)), [Some(16 << 20), Some(10_000), Some(60), None]);
}
