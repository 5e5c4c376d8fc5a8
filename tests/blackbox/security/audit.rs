//! The audit log over every described route: one line each, of whoever was refused and of what was administrated.

use super::{start_for, token, with_tokens};
use crate::secrets::{ask, routes};

/// How many lines of the audit log say all of this.
pub(crate) fn audited<S: AsRef<str>>(log: &str, words: &[S]) -> usize {
    let lines = log.lines().filter(|line| line.contains("strandline_audit"));
    lines.filter(|line| words.iter().all(|word| line.contains::<&str>(word.as_ref()))).count()
}

/// Whatever came of it: each route that operators answer for, and each that somebody without a token asks.
#[test]
fn every_route_that_administrates_or_refuses_stands_in_the_audit_log() {
    let (store, file) = with_tokens();
    let operator = token(&file, &["--name", "operator", "--role", "admin"]);
    let server = start_for(&store, &file);
    let mut wanted = Vec::new();
    for [method, path, needs] in routes(server.url()).into_iter().filter(|[_, _, needs]| needs != "open") {
        let plain = path.split('?').next().unwrap();
        assert!(
            ask(server.url(), &method, &path, "slt_of-nobody", "{}").starts_with("HTTP/1.1 401"),
            "{method} {path}"
        );
        let asked = format!("method={method} path={plain} ");
        wanted.push(["refused", "who=? ", "unauthenticated", &asked].map(str::to_owned));
        if (needs.starts_with("admin") && method != "GET") || method == "DELETE" {
            ask(server.url(), &method, &path, &operator, "{}");
            let done = ["administration", "who=operator ", "status=", &asked];
            wanted.push(done.map(str::to_owned));
        }
    }
    assert!(wanted.len() > 60, "{}", wanted.len());
    let log = server.finish().stderr;
    for words in wanted {
        assert_eq!(audited(&log, &words), 1, "{words:?}: {log}");
    }
}

/// The same of tokens that are known: of one without the role, and of one that is limited to a tenant where a whole store is meant.
#[test]
fn every_route_that_a_token_does_not_reach_stands_in_the_audit_log() {
    let (store, file) = with_tokens();
    let [reader, appender] = ["read", "append"].map(|role| token(&file, &["--name", role, "--role", role]));
    let limited = token(&file, &["--name", "limited", "--role", "append,read", "--tenant-id", "a"]);
    let server = start_for(&store, &file);
    let mut wanted = Vec::new();
    for [method, path, needs] in routes(server.url()) {
        let mut refused = match needs.as_str() {
            "open" | "any token" => continue,
            "append" => vec![("read", &reader, "the role append")],
            needs if needs.starts_with("read") => vec![("append", &appender, "the role read")],
            needs if needs.starts_with("admin") => vec![("read", &reader, "the role admin")],
            needs => panic!("{method} {path} needs {needs}"),
        };
        if needs.starts_with("read, ") {
            refused.push(("limited", &limited, "is limited to tenants"));
        }
        for (who, token, why) in refused {
            let answer = ask(server.url(), &method, &path, token, "{}");
            assert!(answer.starts_with("HTTP/1.1 403"), "{who}: {method} {path}: {answer}");
            let asked = format!("method={method} path={} ", path.split('?').next().unwrap());
            wanted.push(["refused", &format!("who={who} "), "forbidden", &asked, why].map(str::to_owned));
        }
    }
    // in one second no more lines are told
    assert!((50..=100).contains(&wanted.len()), "{}", wanted.len());
    let log = server.finish().stderr;
    for words in wanted {
        assert_eq!(audited(&log, &words), 1, "{words:?}: {log}");
    }
}
