//! Requests to a node, as any HTTP client would send them.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

/// No request of the tests takes longer, unless something hangs.
const TIMEOUT: Duration = Duration::from_secs(120);
const ANSWER_BYTES_MAX: u64 = 2 << 30;

/// An answer of any status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {}: {}", self.status, self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// Every line as JSON.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let lines = self.body.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    /// Fails unless the status is the wanted one; then gives the JSON.
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// Fails unless it is this error of the contract.
    pub(crate) fn expect_error(&self, status: u16, code: &str) -> Value {
        let json = self.expect(status);
        assert_eq!(json["code"], code, "{json}");
        assert!(json["error"].as_str().is_some_and(|text| text.len() > 8), "the sentence of an error helps: {json}");
        assert!(json["details"].is_object(), "{json}");
        json
    }
}

/// A client of the store `test` of one node.
#[derive(Clone)]
pub(crate) struct Http {
    agent: ureq::Agent,
    base: String,
}

impl Http {
    pub(crate) fn new(base: &str) -> Self {
        Self::patient_for(base, TIMEOUT)
    }

    /// One that gives up a request earlier.
    pub(crate) fn patient_for(base: &str, timeout: Duration) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .allow_non_standard_methods(true)
            .timeout_global(Some(timeout))
            .build();
        Self { agent: config.into(), base: base.to_owned() }
    }

    fn url(&self, path: &str) -> String {
        if path.starts_with('/') {
            format!("{}{path}", self.base)
        } else {
            format!("{}/v1/stores/test/{path}", self.base)
        }
    }

    /// GET; a path without a slash in front is a route of the store.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.get_as(path, "application/json")
    }

    /// GET with a wanted type.
    pub(crate) fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.try_get_as(path, accept).unwrap()
    }

    /// GET that may fail.
    pub(crate) fn try_get_as(&self, path: &str, accept: &str) -> Result<Answer, ureq::Error> {
        answer(self.agent.get(self.url(path)).header("accept", accept).call()?)
    }

    /// GET of NDJSON, line by line, however long it is.
    pub(crate) fn each_line(&self, path: &str, mut line: impl FnMut(&[u8])) {
        let response = self.agent.get(self.url(path)).header("accept", "application/x-ndjson").call().unwrap();
        assert_eq!(response.status().as_u16(), 200);
        let mut reader = BufReader::with_capacity(1 << 20, response.into_body().into_reader());
        let mut text = Vec::new();
        while reader.read_until(b'\n', &mut text).unwrap() > 0 {
            line(&text);
            text.clear();
        }
    }

    /// The body of a GET of Server-Sent Events as it comes; `None`: the node is gone.
    pub(crate) fn stream_of(&self, path: &str, last_id: Option<&str>) -> Option<Box<dyn Read + Send>> {
        let request = self.agent.get(self.url(path)).header("accept", "text/event-stream");
        let request = last_id.into_iter().fold(request, |request, id| request.header("last-event-id", id));
        let mut response = request.config().timeout_global(None).build().call().ok()?;
        if response.status().as_u16() != 200 {
            panic!("{}", response.body_mut().read_to_string().unwrap());
        }
        Some(Box::new(response.into_body().into_reader()))
    }

    /// DELETE.
    pub(crate) fn delete(&self, path: &str) -> Answer {
        answer(self.agent.delete(self.url(path)).call().unwrap()).unwrap()
    }

    /// POST that may fail: the outcome is then unknown.
    pub(crate) fn try_post(&self, path: &str, kind: &str, body: &[u8]) -> Result<Answer, ureq::Error> {
        answer(self.agent.post(self.url(path)).header("content-type", kind).send(body)?)
    }

    /// POST of JSON.
    pub(crate) fn post(&self, path: &str, json: &Value) -> Answer {
        self.try_post(path, "application/json", json.to_string().as_bytes()).unwrap()
    }

    /// POST of anything.
    pub(crate) fn post_as(&self, path: &str, kind: &str, body: &[u8]) -> Answer {
        self.try_post(path, kind, body).unwrap()
    }

    /// Bulk append of NDJSON; all lines must be stored.
    pub(crate) fn bulk(&self, lines: &[Value]) -> Value {
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.post_as("events", "application/x-ndjson", body.as_bytes()).expect(201)
    }

    /// Compacts now and waits.
    pub(crate) fn compact(&self) {
        let answer = self.post_as("/admin/v1/stores/test/compaction/run?wait=true", "application/json", b"");
        assert!(matches!(answer.status, 200 | 202), "{}: {}", answer.status, answer.text());
    }

    /// A whole stream, by pages, oldest first.
    pub(crate) fn stream(&self, stream_type: &str, stream_id: &str) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        loop {
            let path = format!("streams/{stream_type}/{stream_id}?limit=10000&from_seq={}", events.len() + 1);
            let page = self.get(&path);
            if page.status == 404 {
                return events;
            }
            let page = page.expect(200);
            assert_eq!(page["verdict"]["contiguous"], true, "{}", page["verdict"]);
            let head = page["last_seq"].as_u64().unwrap();
            events.extend(page["events"].as_array().unwrap().iter().cloned());
            if events.len() as u64 >= head {
                return events;
            }
        }
    }

    /// Every event of the store, by pages of the global order.
    pub(crate) fn global(&self) -> Vec<Value> {
        let (mut events, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("events?limit=5000{after}")).expect(200);
            let page_events = page["events"].as_array().unwrap().clone();
            if page_events.is_empty() {
                return events;
            }
            events.extend(page_events);
            after = format!("&after={}", page["next"].as_str().unwrap());
        }
    }

    /// Every event of the store, in storage order.
    pub(crate) fn scan(&self) -> Vec<Value> {
        let answer = self.get_as("scan", "application/x-ndjson");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.lines()
    }
}

fn answer(mut response: ureq::http::Response<ureq::Body>) -> Result<Answer, ureq::Error> {
    let text = |v: &ureq::http::HeaderValue| String::from_utf8_lossy(v.as_bytes()).into_owned();
    let headers = response.headers().iter().map(|(k, v)| (k.to_string(), text(v))).collect();
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
    Ok(Answer { status, headers, body })
}
