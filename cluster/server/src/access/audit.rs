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

impl Audit {
    /// Something was administrated, or it was tried.
    pub(crate) fn administrated(&self, who: &Principal, asked: &Asked<'_>, status: u16) {
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
