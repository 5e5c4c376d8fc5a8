//! Named subscriptions: their position is kept on the server, several consumers share one by stream.

use crate::access::{Caller, Need};
use crate::encode::sse;
use crate::error::{ApiError, ApiResult};
use crate::failure;
use crate::http::call::{Call, ServedStore};
use crate::http::{answer, body};
use crate::routes::events::sensible;
use crate::routes::no_query;
use crate::routes::stores::SMALL_BODY_BYTES_MAX;
use crate::routes::subscribe::{Until, end, event_stream, position_or_end};
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value, json};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use strandline_deql::ProjectionMode;
use strandline_engine::read::Filter;
use strandline_engine::subscribe::durable::{Mode, Settings};
use strandline_event::{ErrorKind, EventRef, Field, FieldNames, Micros, Position, limits as event_limits};
use strandline_workers::subscriptions::{
    Consumed, Consumer, Delivery, Ended, NamedStatus, ParkedEvent, SubscriptionWish, limits,
};

const US_PER_S: f64 = 1e6;
/// Bounds of what a subscription may say of its attempts, and of the seconds that a consumer may hold an event.
const ATTEMPTS_MAX: u32 = 1000;
const ACK_WITHIN_S: (f64, f64) = (0.1, 86_400.0);

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Wish {
    mode: Option<String>,
    #[serde(deserialize_with = "fields_or_null")]
    filter: Option<FilterWish>,
    after: Option<String>,
    attempts_max: Option<u32>,
    ack_within_s: Option<f64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct FilterWish {
    stream_type: Option<String>,
    stream_id: Option<String>,
    event_type: Option<String>,
    tenant_id: Option<String>,
    occurred_from: Option<String>,
    occurred_to: Option<String>,
}

/// An object whose fields are each given once, or null; a list would stand for the object by its fields in turn.
fn fields_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<FilterWish>, D::Error> {
    struct Fields;

    impl<'de> Visitor<'de> for Fields {
        type Value = Option<FilterWish>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a filter: a JSON object")
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            FilterWish::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }

    deserializer.deserialize_any(Fields)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AckWish {
    position: String,
    consumer: Option<String>,
    #[serde(default)]
    only: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FailedWish {
    position: String,
    reason: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ReplayWish {
    position: Option<String>,
}

fn name_of(call: &Call) -> ApiResult<String> {
    checked_name(call.segment(4)?)
}

/// A name that a subscription can have.
pub(crate) fn checked_name(name: String) -> ApiResult<String> {
    if name.len() > limits::NAME_BYTES_MAX || name.chars().any(char::is_control) {
        let most = limits::NAME_BYTES_MAX;
        return Err(ApiError::bad_request(format!(
            "the name of a subscription has at most {most} bytes, and no control characters"
        )));
    }
    Ok(name)
}

async fn read<T: DeserializeOwned + Default>(call: Call, what: &str) -> ApiResult<T> {
    body::require_json_or_form(&call.request)?;
    let permits = call.app.node.permits();
    let body = body::read(&call.request, call.payload, permits, what, SMALL_BODY_BYTES_MAX).await?;
    body::object_or_default(&body.bytes, what)
}

/// As [`read`], of a body that must be there.
async fn required<T: DeserializeOwned>(call: Call, what: &str) -> ApiResult<T> {
    let value: Option<T> = read(call, what).await?;
    value.ok_or_else(|| ApiError::bad_request(format!("{what}: send a JSON object with `position`")))
}

fn position(text: &str) -> ApiResult<Position> {
    let shown: String = text.chars().take(80).collect();
    Position::parse(text).ok_or_else(|| {
        ApiError::bad_request(format!("`{shown}` is no position: use the `id` of an event that was given"))
    })
}

/// POST /v1/stores/{store}/subscriptions/{name}
pub(crate) async fn create(call: Call) -> ApiResult<HttpResponse> {
    let served = call.store()?;
    no_query(&call)?;
    let name = name_of(&call)?;
    let wish: Wish = read(call, "a subscription").await?;
    let wish = checked(&served, wish)?;
    let warnings = warnings(&served, &wish.settings.filter);
    let is_new =
        served.store.create_subscription(&name, wish).await.map_err(|e| failure::answer(&e, served.names()))?;
    let status = served.store.subscription(&name).await.map_err(|e| failure::answer(&e, served.names()))?;
    let code = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let mut made = subscription(&status, served.names());
    made["warnings"] = json!(warnings);
    Ok(answer::json(code, &made))
}

/// A filter may name what comes later; a name that is mistyped would be silent for ever.
fn warnings(served: &ServedStore, filter: &Filter) -> Vec<String> {
    let known = served.store.known_stream_types();
    let unknown = filter.stream_type.iter().filter(|name| known.iter().all(|one| **one != ***name));
    unknown.map(|name| format!("no stream type `{name}` is known yet: nothing comes before it has events")).collect()
}

fn checked(served: &ServedStore, wish: Wish) -> ApiResult<SubscriptionWish> {
    let mode = match wish.mode.as_deref() {
        None | Some("async") => Mode::Async,
        Some("sync") if served.store.config().projection.mode == ProjectionMode::Sync => Mode::Sync,
        Some("sync") => {
            return Err(ApiError::bad_request(
                "projection.mode is 'async' in this store, so no append would wait for it: make the subscription with mode async, \
                 or set projection.mode = 'sync'",
            ));
        }
        Some(_) => return Err(ApiError::bad_request("`mode` is \"async\" or \"sync\"")),
    };
    let attempts_max = wish.attempts_max.unwrap_or(limits::ATTEMPTS_DEFAULT);
    if !(1..=ATTEMPTS_MAX).contains(&attempts_max) {
        return Err(ApiError::bad_request(format!("`attempts_max` is 1 to {ATTEMPTS_MAX}")));
    }
    let within_s = wish.ack_within_s.unwrap_or(limits::ACK_WITHIN_S_DEFAULT);
    if !(ACK_WITHIN_S.0..=ACK_WITHIN_S.1).contains(&within_s) {
        return Err(ApiError::bad_request(format!("`ack_within_s` is {} to {}", ACK_WITHIN_S.0, ACK_WITHIN_S.1)));
    }
    let after = position_or_end(wish.after.as_deref().filter(|after| !after.is_empty()), "after")?;
    let ack_within_us = (within_s * US_PER_S) as i64;
    let filter = wish.filter.map_or_else(|| Ok(Filter::default()), filter)?;
    Ok(SubscriptionWish { settings: Settings { filter, mode, attempts_max, ack_within_us }, after })
}

/// A filter is kept for as long as its subscription: it holds no text that no event has.
fn filter(wish: FilterWish) -> ApiResult<Filter> {
    let most = event_limits::STREAM_ID_BYTES_MAX;
    for (name, text) in [
        ("stream_type", &wish.stream_type),
        ("stream_id", &wish.stream_id),
        ("event_type", &wish.event_type),
        ("tenant_id", &wish.tenant_id),
    ] {
        if text.as_ref().is_some_and(|text| text.len() > most) {
            return Err(ApiError::bad_request(format!(
                "`{name}` of the filter has more than {most} bytes: no event has"
            )));
        }
    }
    let moment = |name: &str, text: Option<String>| -> ApiResult<Option<Micros>> {
        let Some(text) = text else { return Ok(None) };
        strandline_event::time::parse_rfc3339(&text).map(Some).ok_or_else(|| {
            ApiError::bad_request(format!("`{name}` of the filter is no moment like 2026-11-23T10:00:00Z"))
        })
    };
    sensible(Filter {
        stream_type: wish.stream_type,
        stream_id: wish.stream_id,
        event_type: wish.event_type,
        tenant_id: wish.tenant_id,
        tenants: Vec::new(),
        occurred_from: moment("occurred_from", wish.occurred_from)?,
        occurred_to: moment("occurred_to", wish.occurred_to)?,
    })
}

/// A subscription with the events that it has parked.
pub(crate) async fn with_parked(served: &ServedStore, name: &str) -> ApiResult<Value> {
    let mut status = served.store.subscription(name).await.map_err(|e| failure::answer(&e, served.names()))?;
    served.store.name_parked(&mut status).await;
    Ok(subscription(&status, served.names()))
}

/// A parked event; the names of its own fields go behind those of this answer.
fn parked_event(parked: &ParkedEvent, names: &FieldNames) -> Value {
    let ParkedEvent { position, at, attempts, reason, replayed, event, unread } = parked;
    let mut row = Map::new();
    let mut put = |name: &str, value: Value| {
        row.entry(name).or_insert(value);
    };
    put("position", json!(position.to_string()));
    put("at", json!(at.to_string()));
    put("attempts", json!(attempts));
    put("reason", json!(reason));
    put("replayed", json!(replayed));
    put("unread", json!(unread));
    put(names.get(Field::EventId), json!(position.event_id.to_string()));
    let event = event.as_ref();
    put(names.get(Field::StreamType), json!(event.map(|event| &event.stream_type)));
    put(names.get(Field::StreamId), json!(event.map(|event| &event.stream_id)));
    put(names.get(Field::Seq), json!(event.map(|event| event.seq.0)));
    Value::Object(row)
}

/// A subscription as it is now.
pub(crate) fn subscription(status: &NamedStatus, names: &FieldNames) -> Value {
    let NamedStatus { name, created_at, settings, position, counts, lag_us, trouble, parked } = status;
    let last_error = trouble.as_ref().map(|trouble| {
        let answer = failure::answer(&trouble.error, names);
        json!({ "at": trouble.at.to_string(), "code": answer.code(), "error": answer.message() })
    });
    let parked: Vec<Value> = parked.iter().map(|event| parked_event(event, names)).collect();
    json!({
        "name": name,
        "mode": if settings.mode == Mode::Sync { "sync" } else { "async" },
        "filter": filter_json(&settings.filter),
        "attempts_max": settings.attempts_max,
        "ack_within_s": settings.ack_within_us as f64 / US_PER_S,
        "created_at": created_at.to_string(),
        "position": position.to_string(),
        "lag_s": *lag_us as f64 / US_PER_S,
        "consumers": counts.consumers,
        "in_flight": counts.in_flight,
        "waiting": counts.waiting,
        "last_error": last_error,
        "parked": parked,
    })
}

fn filter_json(filter: &Filter) -> Value {
    let texts = [
        ("stream_type", &filter.stream_type),
        ("stream_id", &filter.stream_id),
        ("event_type", &filter.event_type),
        ("tenant_id", &filter.tenant_id),
    ];
    let moments = [("occurred_from", filter.occurred_from), ("occurred_to", filter.occurred_to)];
    let texts = texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), json!(text.as_ref()?))));
    let moments = moments.into_iter().filter_map(|(name, at)| Some((name.to_owned(), json!(at?.to_string()))));
    Value::Object(texts.chain(moments).collect::<Map<String, Value>>())
}

/// GET /v1/stores/{store}/subscriptions
pub(crate) async fn list(call: Call) -> ApiResult<HttpResponse> {
    let served = call.store()?;
    no_query(&call)?;
    let all = served.store.subscriptions().await.map_err(|e| failure::answer(&e, served.names()))?;
    let all: Vec<Value> = all.iter().map(|status| subscription(status, served.names())).collect();
    Ok(answer::ok(&json!({ "subscriptions": all })))
}

/// GET /v1/stores/{store}/subscriptions/{name}
pub(crate) async fn one(call: Call) -> ApiResult<HttpResponse> {
    let served = call.store()?;
    no_query(&call)?;
    Ok(answer::ok(&with_parked(&served, &name_of(&call)?).await?))
}

/// DELETE /v1/stores/{store}/subscriptions/{name}
pub(crate) async fn delete(call: Call) -> ApiResult<HttpResponse> {
    let served = call.store()?;
    no_query(&call)?;
    let name = name_of(&call)?;
    served.store.delete_subscription(&name).await.map_err(|e| failure::answer(&e, served.names()))?;
    Ok(answer::ok(&json!({ "deleted": name })))
}

/// POST /v1/stores/{store}/subscriptions/{name}/ack
pub(crate) async fn ack(call: Call) -> ApiResult<HttpResponse> {
    let served = call.store()?;
    no_query(&call)?;
    let name = name_of(&call)?;
    let wish: AckWish = required(call, "an acknowledgement").await?;
    let at = position(&wish.position)?;
    let consumer = wish.consumer.as_deref().map(|text| {
        text.parse::<u64>()
            .map_err(|_| ApiError::bad_request("`consumer` is the text that the stream of events began with"))
    });
    let acked = served.store.ack(&name, at, consumer.transpose()?, wish.only).await;
    let acked = acked.map_err(|e| failure::answer(&e, served.names()))?;
    let position = served.store.subscription_position(&name).map_err(|e| failure::answer(&e, served.names()))?;
    Ok(answer::ok(&json!({ "acknowledged": acked, "position": position.to_string() })))
}

/// POST /v1/stores/{store}/subscriptions/{name}/retry
pub(crate) async fn retry(call: Call) -> ApiResult<HttpResponse> {
    let (served, name, at, reason) = failed(call).await?;
    let held = served.store.retry(&name, at, &reason).await.map_err(|e| failure::answer(&e, served.names()))?;
    if held { Ok(answer::ok(&json!({ "retried": 1 }))) } else { Err(not_held(at)) }
}

/// POST /v1/stores/{store}/subscriptions/{name}/park
pub(crate) async fn park(call: Call) -> ApiResult<HttpResponse> {
    let (served, name, at, reason) = failed(call).await?;
    let parked = served.store.park(&name, at, &reason).await.map_err(|e| failure::answer(&e, served.names()))?;
    if parked { Ok(answer::ok(&json!({ "parked": 1 }))) } else { Err(not_held(at)) }
}

async fn failed(call: Call) -> ApiResult<(Arc<ServedStore>, String, Position, String)> {
    let served = call.store()?;
    no_query(&call)?;
    let name = name_of(&call)?;
    let wish: FailedWish = required(call, "an event that failed").await?;
    let reason = wish.reason.unwrap_or_else(|| "no reason was given".to_owned());
    if reason.len() > limits::REASON_BYTES_MAX {
        let most = limits::REASON_BYTES_MAX;
        return Err(ApiError::bad_request(format!("`reason` has at most {most} bytes")));
    }
    Ok((served, name, position(&wish.position)?, reason))
}

fn not_held(at: Position) -> ApiError {
    ApiError::not_found(format!(
        "no consumer holds the event at {at}: it is acknowledged or parked, or waits to be given again"
    ))
}

/// POST /v1/stores/{store}/subscriptions/{name}/replay
pub(crate) async fn replay(call: Call) -> ApiResult<HttpResponse> {
    let served = call.store()?;
    let name = name_of(&call)?;
    replay_of(call, &served, &name).await
}

/// Gives parked events again: the one that the body names, or all.
pub(crate) async fn replay_of(call: Call, served: &ServedStore, name: &str) -> ApiResult<HttpResponse> {
    no_query(&call)?;
    let wish: ReplayWish = read(call, "a replay").await?;
    let only = wish.position.as_deref().map(position).transpose()?;
    let replayed = served.store.replay(name, only).await.map_err(|e| failure::answer(&e, served.names()))?;
    Ok(answer::ok(&json!({ "replayed": replayed })))
}

/// GET /v1/stores/{store}/subscriptions/{name}/events
pub(crate) async fn events(call: Call) -> ApiResult<HttpResponse> {
    let served = call.store()?;
    let name = name_of(&call)?;
    let query = call.query()?;
    let until = Until::of(&query)?;
    query.finish()?;
    let writer = served.writer.clone();
    let encode = Arc::new(move |out: &mut Vec<u8>, event: &EventRef<'_>| sse::event(&writer, out, event));
    let consumer = served.store.consume(&name, encode).map_err(|e| failure::answer(&e, served.names()))?;
    let caller = call.caller();
    let state = Consuming { served, caller, consumer, until, quiet: Duration::ZERO, has_begun: false };
    Ok(event_stream(state, |mut state| async move {
        let (bytes, goes_on) = state.piece().await;
        (bytes, goes_on.then_some(state))
    }))
}

struct Consuming {
    served: Arc<ServedStore>,
    caller: Caller,
    consumer: Consumer,
    until: Until,
    quiet: Duration,
    has_begun: bool,
}

impl Consuming {
    async fn piece(&mut self) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        if !std::mem::replace(&mut self.has_begun, true) {
            sse::message(&mut out, "consumer", &json!({ "consumer": self.consumer.number().to_string() }));
            return (out, true);
        }
        let patience = self.until.patience();
        let came = self.consumer.next(patience).await;
        if let Err(refused) = self.caller.may(Need::ReadStore) {
            end(&mut out, refused.code(), refused.message());
            return (out, false);
        }
        match came {
            Consumed::Events(mut events) => {
                self.quiet = Duration::ZERO;
                let rest = events.split_off(self.until.room(events.len()));
                events.iter().for_each(|event| delivered(&mut out, event));
                self.consumer.give_back(rest);
                if self.until.gave(events.len()) {
                    end(
                        &mut out,
                        "limit",
                        "these are as many events as were asked for; those that are not acknowledged come again",
                    );
                    return (out, false);
                }
            }
            Consumed::Inspected(batch) => {
                let filter = self.consumer.filter();
                for event in batch.iter().filter(|event| filter.matches(event)) {
                    sse::inspected(&self.served.writer, &mut out, &event);
                }
            }
            Consumed::Quiet { at_end } => {
                self.quiet = if at_end { self.quiet + patience } else { Duration::ZERO };
                sse::alive(&mut out, None);
                if at_end && self.until.was_quiet(self.quiet) {
                    end(&mut out, "idle", "no event came for as long as was asked for");
                    return (out, false);
                }
            }
            Consumed::End(why) => {
                match why {
                    Ended::Deleted => {
                        end(&mut out, "deleted", "the subscription was deleted, and its position with it");
                    }
                    Ended::Interrupted(sentence) => end(&mut out, ErrorKind::Unavailable.code(), sentence),
                    Ended::Failed(error) => {
                        let answer = failure::answer(&error, self.served.names());
                        end(&mut out, answer.code(), answer.message());
                    }
                }
                return (out, false);
            }
        }
        (out, true)
    }
}

/// The attempt stands in a field of its own: the fields of an event belong to the store.
fn delivered(out: &mut Vec<u8>, event: &Delivery) {
    out.extend_from_slice(format!("attempt: {}\n", event.attempt).as_bytes());
    out.extend_from_slice(&event.text);
}
