//! The web console: what is served, under which headers, and that a read says which tier gave each event.

use crate::common::{Running, start, start_without_memory};
use serde_json::json;
use std::collections::BTreeSet;

/// The names that a file of the console loads: by tags of the page, by imports of a script.
fn loaded(text: &str) -> Vec<String> {
    let quoted = |start: &str| {
        let names = text.split(start).skip(1).filter_map(|rest| rest.split('"').next());
        names.map(|name| name.trim_start_matches("./").to_owned()).collect::<Vec<_>>()
    };
    [quoted("src=\""), quoted(" href=\""), quoted(" from \"")].concat()
}

fn fetch(server: &Running, name: &str) -> String {
    let answer = server.get(&format!("/admin/{name}"));
    assert_eq!(answer.status, 200, "{name}");
    let policy = answer.header("content-security-policy");
    for rule in
        ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"]
    {
        assert!(policy.contains(rule), "{name}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("cache-control"), "no-cache");
    let wanted = match name.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/html; charset=utf-8",
    };
    assert_eq!(answer.header("content-type"), wanted, "{name}");
    let tag = answer.header("etag");
    let again = server.get_with(&format!("/admin/{name}"), &[("if-none-match", tag)]);
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, tag), "{name}");
    assert_eq!(server.get_with(&format!("/admin/{name}"), &[("if-none-match", "\"x\"")]).status, 200);
    answer.text()
}

#[test]
fn the_console_is_served_whole_and_loads_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let mut waiting = vec![String::new()];
    let mut seen = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        if seen.insert(name.clone()) {
            let text = fetch(&server, &name);
            waiting.extend(loaded(&text).into_iter().filter(|name| !name.starts_with('#')));
        }
    }
    assert!(seen.contains("app.js") && seen.contains("style.css") && seen.len() > 10, "{seen:?}");
    server.get("/admin/no.js").error(404, "not_found");
    server.get("/admin/..%2fmod.rs").error(404, "not_found");
    server.get("/admin/?x=1").error(400, "bad_request");
    server.post("/admin/", "{}").error(405, "bad_request");
}

#[test]
fn a_read_says_which_tier_gave_each_event() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_without_memory(folder.path(), ", compaction.schedule = '0 0 1 1 *'");
    let tick = r#"{"event_type":"Ticked","data":{}}"#;
    server.append("c", &[tick; 3].join(",")).ok(201);
    server.post("admin:compaction/run?wait=true", "").ok(200);
    server.append("c", &[tick; 2].join(",")).ok(201);
    let page = server.get("streams/Call/c").ok(200);
    assert_eq!(page["tiers"], json!([{ "tier": "durable", "rows": 3 }, { "tier": "wal", "rows": 2 }]));
    let falling = server.get("streams/Call/c?order=desc&limit=4").ok(200);
    assert_eq!(falling["tiers"], json!([{ "tier": "wal", "rows": 2 }, { "tier": "durable", "rows": 2 }]));
    assert_eq!(server.get("streams/Call/c?from_seq=6").ok(200)["tiers"], json!([]));
}
