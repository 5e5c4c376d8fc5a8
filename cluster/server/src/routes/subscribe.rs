//! Following a store as Server-Sent Events: history, then live, for as long as the client stays.
//!
//! One piece is made when the connection asks for it and none ahead: a slow client holds its place and nothing else.

use crate::access::{Caller, Need};
use crate::encode::sse;
use crate::error::{ApiError, ApiResult};
use crate::failure;
use crate::http::call::{Call, ServedStore};
use crate::http::query::Query;
use crate::routes::events::{filter, sensible};
use crate::routes::{confirm_order, confirms};
use actix_web::HttpResponse;
use bytes::Bytes;
use futures_util::stream::unfold;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use strandline_engine::read::Filter;
use strandline_event::Position;
use strandline_workers::NodeError;
use strandline_workers::subscriptions::{Followed, Follower};

/// A client that is given nothing is told so often that it is not forgotten.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The longest `idle_s`.
const IDLE_S_MAX: u64 = 3600;

/// When a stream of events ends by itself.
#[derive(Clone, Copy)]
pub(crate) struct Until {
    /// After so many events.
    limit: Option<u64>,
    /// After so long without one.
    idle: Option<Duration>,
}

impl Until {
    /// `limit` and `idle_s` of a query.
    pub(crate) fn of(query: &Query) -> ApiResult<Self> {
        let limit = query.number::<u64>("limit")?;
        if limit == Some(0) {
            return Err(ApiError::bad_request("`limit=0`: it is at least 1; leave it out to follow without an end"));
        }
        let idle_s = query.number::<u64>("idle_s")?;
        if idle_s.is_some_and(|idle| idle > IDLE_S_MAX) {
            return Err(ApiError::bad_request(format!(
                "`idle_s` is at most {IDLE_S_MAX}: leave it out to follow without an end"
            )));
        }
        Ok(Self { limit, idle: idle_s.map(Duration::from_secs) })
    }

    /// How long to wait for the next event.
    pub(crate) fn patience(&self) -> Duration {
        self.idle.unwrap_or(KEEP_ALIVE).min(KEEP_ALIVE)
    }

    /// So many events were given; `true`: those were all.
    pub(crate) fn gave(&mut self, events: usize) -> bool {
        let Some(limit) = &mut self.limit else { return false };
        *limit = limit.saturating_sub(events as u64);
        *limit == 0
    }

    /// How many may still be given.
    pub(crate) fn room(&self, events: usize) -> usize {
        self.limit.map_or(events, |limit| events.min(usize::try_from(limit).unwrap_or(usize::MAX)))
    }

    /// Nothing came for so long in a row; `true`: that is the end.
    pub(crate) fn was_quiet(&self, quiet: Duration) -> bool {
        self.idle.is_some_and(|idle| quiet >= idle)
    }
}

/// GET /v1/stores/{store}/subscribe
pub(crate) async fn subscribe(call: Call) -> ApiResult<HttpResponse> {
    let served = call.store()?;
    let query = call.query()?;
    let filter = sensible(Filter { stream_id: query.given("stream_id").map(str::to_owned), ..filter(&query)? })?;
    let until = Until::of(&query)?;
    let after = query.text("after").map(str::to_owned);
    let confirms = confirms(&query)?;
    query.finish()?;
    // a client that comes again says where it was
    let after = call.header("last-event-id").filter(|id| !id.is_empty()).map(str::to_owned).or(after);
    let after = position_or_end(after.as_deref(), "after")?;
    confirm_order(&served, confirms, filter.stream_type.as_deref()).await?;
    let follower = served.store.follow_here(filter, after).map_err(|e| failure::answer(&e, served.names()))?;
    let told = after;
    let caller = call.caller();
    let state = Following { served, caller, follower, until, told, quiet: Duration::ZERO };
    Ok(event_stream(state, |mut state| async move {
        let (bytes, goes_on) = state.piece().await;
        (bytes, goes_on.then_some(state))
    }))
}

/// Left out: the beginning. `end`: behind what is there now (`None`).
pub(crate) fn position_or_end(text: Option<&str>, name: &str) -> ApiResult<Option<Position>> {
    match text {
        None => Ok(Some(Position::START)),
        Some("end") => Ok(None),
        Some(text) => Position::parse(text).map(Some).ok_or_else(|| {
            let shown: String = text.chars().take(80).collect();
            ApiError::bad_request(format!(
                "`{name}={shown}` is no position: use `next` of a page, an event's `position`, or `end`"
            ))
        }),
    }
}

/// An answer that goes on as long as `next` gives a state.
pub(crate) fn event_stream<S: 'static, F>(state: S, next: impl Fn(S) -> F + 'static) -> HttpResponse
where
    F: Future<Output = (Vec<u8>, Option<S>)> + 'static,
{
    let begin = (Some(state), next, true);
    let pieces = unfold(begin, |(state, next, is_first)| async move {
        let state = state?;
        if is_first {
            return Some((Ok::<_, Infallible>(Bytes::from_static(sse::BEGIN)), (Some(state), next, false)));
        }
        let (bytes, state) = next(state).await;
        Some((Ok(Bytes::from(bytes)), (state, next, false)))
    });
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header(("cache-control", "no-store"))
        .streaming(Box::pin(pieces))
}

/// The last message of a stream that the server ends.
pub(crate) fn end(out: &mut Vec<u8>, code: &str, sentence: &str) {
    sse::message(out, "end", &serde_json::json!({ "code": code, "error": sentence }));
}

struct Following {
    served: Arc<ServedStore>,
    caller: Caller,
    follower: Follower,
    until: Until,
    /// The last place that the client was told of; none yet where it began at the end.
    told: Option<Position>,
    quiet: Duration,
}

impl Following {
    /// The next bytes, and whether there will be more.
    async fn piece(&mut self) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        if let (None, at @ Some(_)) = (self.told, self.follower.position()) {
            // kept before anything comes: its connection may break at any time
            sse::alive(&mut out, at);
            self.told = at;
            return (out, true);
        }
        let patience = self.until.patience();
        let came = self.follower.next(patience).await;
        if let Err(refused) = self.caller.may(Need::Read) {
            end(&mut out, refused.code(), refused.message());
            return (out, false);
        }
        if !matches!(came, Ok(Followed::Quiet { at_end: true })) {
            self.quiet = Duration::ZERO;
        }
        match came {
            Ok(Followed::Events(slice)) => {
                let count = slice.events().len();
                let room = self.until.room(count);
                let writer = &self.served.writer;
                slice.texts(&mut out, room, |out, event| sse::event(writer, out, event));
                self.told = slice.events().take(room).last().map(|event| event.position()).or(self.told);
                if self.until.gave(count) {
                    end(&mut out, "limit", "these are as many events as were asked for");
                    return (out, false);
                }
            }
            Ok(Followed::Inspected(batch)) => {
                for event in batch.iter().filter(|event| self.follower.filter().matches(event)) {
                    sse::inspected(&self.served.writer, &mut out, &event);
                }
            }
            Ok(Followed::Quiet { at_end }) => {
                self.quiet += patience;
                let at = self.follower.position();
                sse::alive(&mut out, at.filter(|_| at > self.told));
                self.told = self.told.max(at);
                if at_end && self.until.was_quiet(self.quiet) {
                    end(&mut out, "idle", "no event came for as long as was asked for");
                    return (out, false);
                }
            }
            Ok(Followed::End) => {
                end(&mut out, "unavailable", "the node stops: come again with the last id");
                return (out, false);
            }
            Err(error) => {
                self.failed(&mut out, &error);
                return (out, false);
            }
        }
        (out, true)
    }

    fn failed(&self, out: &mut Vec<u8>, error: &NodeError) {
        let answer = failure::answer(error, self.served.names());
        tracing::warn!(store = self.served.store.name(), "a follower ends: {error}");
        let told = if self.served.store.is_limited() { answer.for_tenants() } else { answer };
        end(out, told.code(), told.message());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_is_given_nothing_is_told_often_enough() {
        // proxies and load balancers cut what is silent for a minute, some for half of one
        assert!(KEEP_ALIVE < Duration::from_secs(30));
        let patience = |idle| Until { limit: None, idle }.patience();
        assert_eq!((patience(None), patience(Some(Duration::from_secs(600)))), (KEEP_ALIVE, KEEP_ALIVE));
        assert_eq!(patience(Some(Duration::from_secs(2))), Duration::from_secs(2));
    }
}
