//! The audit log: who administrated what, and who was refused, one line each under the target `strandline_audit`.
//!
//! A line has the name of a token, never the token or its hash; the path, never the query or the body. What anybody can cause
//! without a token is bounded, so that the log cannot be filled: what was left out is counted in the next line.

use crate::access::principal::Principal;
use crate::access::token::PREFIX;
use parking_lot::Mutex;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The target of its lines.
pub(crate) const TARGET: &str = "strandline_audit";
/// Lines about refused requests in one [`WINDOW`].
const REFUSED_MAX: u32 = 100;
const WINDOW: Duration = Duration::from_secs(1);
/// In the place of the status of an answer that nobody waited for.
const UNANSWERED: u16 = 499;
/// Characters of a path that a line shows.
const PATH_CHARS: usize = 300;
/// So many hex digits behind a token's prefix are no name.
const SECRET_DIGITS_MIN: usize = 16;

/// What is counted of refused requests, and of files that are read again.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    refused: Mutex<Refused>,
    reloads: Mutex<BTreeMap<&'static str, Reloads>>,
}

/// How reading something again went.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Reloads {
    /// How often it could not be taken.
    pub(crate) failures: u64,
    /// Why the last time; `None`: it was taken.
    pub(crate) failing: Option<String>,
}

#[derive(Debug, Default)]
struct Refused {
    began: Option<Instant>,
    lines: u32,
    left_out: u64,
}

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// Where from.
    pub(crate) from: Option<SocketAddr>,
    /// `POST`, or the kind of a frame.
    pub(crate) method: &'a str,
    /// Without a query.
    pub(crate) path: &'a str,
}

impl Asked<'_> {
    fn address(&self) -> String {
        self.from.map_or_else(|| "-".to_owned(), |from| from.to_string())
    }

    fn path_text(&self) -> String {
        let text: String = without_tokens(self.path).chars().take(PATH_CHARS).flat_map(char::escape_default).collect();
        // the store of a Hello is any text: behind a space another field of the line would begin
        text.replace(' ', "\\u{20}")
    }
}

/// A path into which somebody put a token, in the place of a name or of a header, without it.
fn without_tokens(path: &str) -> Cow<'_, str> {
    if !path.contains(PREFIX) {
        return Cow::Borrowed(path);
    }
    let mut parts = path.split(PREFIX);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_hexdigit).count();
        let secret = Some(digits).filter(|digits| *digits >= SECRET_DIGITS_MIN);
        out.push_str(PREFIX);
        out.push_str(secret.map_or("", |_| "..."));
        out.push_str(part.get(secret.unwrap_or(0)..).unwrap_or_default());
    }
    Cow::Owned(out)
}

/// What is administrated. It has its line when it is over, also where its request was given up meanwhile: a connection that is reset ends the request,
/// and not what it has begun.
pub(crate) struct Administration<'a> {
    audit: &'a Audit,
    who: &'a Principal,
    asked: Asked<'a>,
    status: u16,
}

impl Administration<'_> {
    /// It was answered so.
    pub(crate) const fn answered(&mut self, status: u16) {
        self.status = status;
    }
}

impl Drop for Administration<'_> {
    fn drop(&mut self) {
        self.audit.administrated(self.who, &self.asked, self.status);
    }
}

impl Audit {
    /// Something is administrated from here on.
    pub(crate) fn begin<'a>(&'a self, who: &'a Principal, asked: Asked<'a>) -> Administration<'a> {
        Administration { audit: self, who, asked, status: UNANSWERED }
    }

    fn administrated(&self, who: &Principal, asked: &Asked<'_>, status: u16) {
        tracing::info!(
            target: TARGET, event = "administration", who = %who.name, from = %asked.address(), method = %asked.method,
            path = %asked.path_text(), status,
        );
    }

    /// A caller was refused.
    pub(crate) fn refused(&self, who: &Principal, asked: &Asked<'_>, code: &str, why: &str) {
        let Some(left_out) = self.take_line(Instant::now()) else { return };
        tracing::warn!(
            target: TARGET, event = "refused", who = %who.name, from = %asked.address(), method = %asked.method,
            path = %asked.path_text(), code, why, left_out_before = left_out,
        );
    }

    /// Tokens or certificates were read again, or could not be. `again`: nobody asked and nothing has changed, so what was said before is not
    /// said once more.
    pub(crate) fn reloaded(&self, what: &'static str, failed: Option<String>, again: bool) {
        let mut reloads = self.reloads.lock();
        let of = reloads.entry(what).or_default();
        if again && of.failing == failed {
            return;
        }
        of.failures += u64::from(failed.is_some());
        of.failing.clone_from(&failed);
        drop(reloads);
        match failed {
            None => tracing::info!(target: TARGET, event = "reloaded", what),
            Some(why) => {
                tracing::error!(target: TARGET, event = "reload_failed", what, why, "what was read before stays in force")
            }
        }
    }

    /// How reading things again went, by what they are.
    pub(crate) fn reloads(&self) -> BTreeMap<&'static str, Reloads> {
        self.reloads.lock().clone()
    }

    /// `None`: no further line now; else how many were left out before it.
    fn take_line(&self, now: Instant) -> Option<u64> {
        let mut refused = self.refused.lock();
        if refused.began.is_none_or(|began| now.duration_since(began) >= WINDOW) {
            (refused.began, refused.lines) = (Some(now), 0);
        }
        if refused.lines >= REFUSED_MAX {
            refused.left_out += 1;
            return None;
        }
        refused.lines += 1;
        Some(std::mem::take(&mut refused.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt;
    use std::sync::Arc;
    use tracing::field::Field;
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    #[test]
    fn a_token_that_stands_in_a_path_is_not_kept() {
        let secret = "0123456789abcdef".repeat(4);
        let text = |path: &str| Asked { from: None, method: "GET", path }.path_text();
        assert_eq!(text(&format!("/v1/stores/slt_{secret}/slt_{secret}a/x")), "/v1/stores/slt_.../slt_.../x");
        assert_eq!(text(&format!("slt_{secret}")), "slt_...", "a store that a Hello names");
        for path in ["/v1/stores/calls/streams/slt_report/1", "/v1/slt_", "/v1/stores/slt_slt_cafe"] {
            assert_eq!(text(path), path);
        }
    }

    /// The lines of the audit log.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl Subscriber for Lines {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == TARGET
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            let mut line = String::new();
            event.record(&mut |field: &Field, value: &dyn fmt::Debug| line.push_str(&format!("{field}={value:?} ")));
            self.0.lock().push(line);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn what_was_begun_has_its_line_also_where_nobody_waits_for_the_answer() {
        let (lines, audit, who) = (Lines::default(), Audit::default(), Principal::nobody());
        let asked = Asked { from: None, method: "POST", path: "/admin/v1/stores/s/erase" };
        tracing::subscriber::with_default(lines.clone(), || {
            audit.begin(&who, asked).answered(200);
            drop(audit.begin(&who, asked));
        });
        let lines = lines.0.lock();
        assert_eq!(lines.len(), 2, "{lines:?}");
        for (line, status) in lines.iter().zip(["status=200", "status=499"]) {
            let words = ["administration", "method=POST", "path=/admin/v1/stores/s/erase", status];
            assert!(words.iter().all(|word| line.contains(word)), "{words:?}: {line}");
        }
    }

    #[test]
    fn a_path_is_one_field_of_its_line() {
        let path = "calls who=op\ncode=\"ok\"";
        let text = Asked { from: None, method: "Hello", path }.path_text();
        assert_eq!(text, r#"calls\u{20}who=op\ncode=\"ok\""#);
    }

    #[test]
    fn nobody_fills_the_log_with_refused_requests() {
        let (audit, now) = (Audit::default(), Instant::now());
        let lines = (0..250).filter(|_| audit.take_line(now).is_some()).count();
        assert_eq!(lines, REFUSED_MAX as usize);
        assert_eq!(audit.take_line(now + WINDOW), Some(150));
        assert_eq!(audit.take_line(now + WINDOW), Some(0));
    }
}
