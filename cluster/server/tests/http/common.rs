//! A real server on a free port of loopback, over a node in a temporary folder.

use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use strandline_server::access::Access;
use strandline_server::{Bound, Patience, Security, ServeOptions, Server};
use strandline_workers::{Node, NodeOptions, runtime};
use ureq::Agent;
use ureq::http::Response;

pub(crate) struct Running {
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
    /// Of the native protocol.
    pub(crate) native: SocketAddr,
    /// Of operators, where they have one of their own.
    pub(crate) admin: Option<SocketAddr>,
    /// Its tokens.
    pub(crate) access: Arc<Access>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    agent: Agent,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    /// Asserts status and code of an error, and its exact shape; gives the body.
    pub(crate) fn error(&self, status: u16, code: &str) -> Value {
        let json = self.json();
        assert_eq!((self.status, json["code"].as_str().unwrap()), (status, code), "{json}");
        let mut keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        assert_eq!(keys, ["code", "details", "error"]);
        assert!(json["details"].is_object() && !json["error"].as_str().unwrap().is_empty());
        json
    }

    pub(crate) fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }
}

pub(crate) fn start(dir: &Path, more: &str) -> Running {
    start_with(dir, more, |options| options)
}

pub(crate) fn start_with(
    dir: &Path,
    more: &str,
    change: impl FnOnce(NodeOptions) -> NodeOptions + Send + 'static,
) -> Running {
    start_from(dir, &format!(", inmemory.enabled = true {more}"), Security::default(), change, |options| options)
}

/// A server whose listeners are other than by default.
pub(crate) fn start_serving(
    dir: &Path,
    change: impl FnOnce(NodeOptions) -> NodeOptions + Send + 'static,
    serve: impl FnOnce(ServeOptions) -> ServeOptions + Send + 'static,
) -> Running {
    start_from(dir, ", inmemory.enabled = true", Security::default(), change, serve)
}

/// A server that asks for the tokens of a file; its store checks commands by stream type.
pub(crate) fn start_guarded(dir: &Path, tokens: &Path) -> Running {
    let security = Security { access: Access::by_file(tokens).unwrap(), ..Security::default() };
    let more = ", inmemory.enabled = true, strict.immutable_events = false, id.command_id.unique_scope = 'stream_type'";
    start_from(dir, more, security, |options| options, |options| options)
}

/// A store without a memory tier.
pub(crate) fn start_without_memory(dir: &Path, more: &str) -> Running {
    start_from(dir, more, Security::default(), |options| options, |options| options)
}

fn start_from(
    dir: &Path,
    more: &str,
    security: Security,
    change: impl FnOnce(NodeOptions) -> NodeOptions + Send + 'static,
    serve: impl FnOnce(ServeOptions) -> ServeOptions + Send + 'static,
) -> Running {
    let shown = dir.display();
    let text = format!(
        "CREATE EVENTSTORE s WITH (durable.type = 'parquet', durable.path = '{shown}/durable',
         wal.enabled = true, wal.path = '{shown}/wal' {more}); CREATE AGGREGATE Declared;"
    );
    let declarations = match strandline_deql::parse_file("test.deql", &text) {
        Ok(declarations) => declarations,
        Err(errors) => panic!("{errors}"),
    };
    let (ready, bound) = mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let options = change(NodeOptions::new(dir.join("node")));
    let access = Arc::clone(&security.access);
    let thread = std::thread::spawn(move || {
        runtime::run(async move {
            let node = Node::start(declarations, options).await.unwrap();
            let http = "127.0.0.1:0".parse().unwrap();
            let patience = Patience::default();
            let options = ServeOptions { http, admin: None, native: Some(http), forward: true, security, patience };
            let server = Server::start(node, Bound::new(serve(options)).unwrap()).unwrap();
            ready.send((server.http(), server.native().unwrap(), server.admin())).unwrap();
            let _ = stopped.await;
            server.shutdown().await.unwrap();
        })
        .unwrap();
    });
    let (address, native, admin) = bound.recv().unwrap();
    let agent = Agent::config_builder().http_status_as_error(false).build().into();
    let url = format!("http://{address}");
    Running { url, address, native, admin, access, stop: Some(stop), thread: Some(thread), agent }
}

impl Running {
    fn url(&self, path: &str) -> String {
        if path.starts_with("/v1/")
            || path.starts_with("/admin/")
            || path.starts_with("/api/")
            || path.starts_with("//")
        {
            format!("{}{path}", self.url)
        } else if let Some(admin) = path.strip_prefix("admin:") {
            format!("{}/admin/v1/stores/s/{admin}", self.url)
        } else if path.starts_with('/') {
            format!("{}{path}", self.url)
        } else {
            format!("{}/v1/stores/s/{path}", self.url)
        }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        answer(self.agent.get(self.url(path)).call().unwrap())
    }

    pub(crate) fn head(&self, path: &str) -> Answer {
        answer(self.agent.head(self.url(path)).call().unwrap())
    }

    pub(crate) fn head_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.agent.head(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.call().unwrap())
    }

    pub(crate) fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.agent.get(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.call().unwrap())
    }

    pub(crate) fn get_as(&self, path: &str, accept: &str) -> Answer {
        answer(self.agent.get(self.url(path)).header("accept", accept).call().unwrap())
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        self.post_as(path, "application/json", body.as_bytes())
    }

    pub(crate) fn post_as(&self, path: &str, content_type: &str, body: &[u8]) -> Answer {
        answer(self.agent.post(self.url(path)).header("content-type", content_type).send(body).unwrap())
    }

    pub(crate) fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = self.agent.post(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.send(body).unwrap())
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        answer(self.agent.delete(self.url(path)).call().unwrap())
    }

    pub(crate) fn delete_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.agent.delete(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.call().unwrap())
    }

    /// Appends events (JSON objects) to `streams/Call/{stream}`.
    pub(crate) fn append(&self, stream: &str, events: &str) -> Answer {
        self.post(&format!("streams/Call/{stream}"), &format!("{{\"events\":[{events}]}}"))
    }

    pub(crate) fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.halt();
    }
}

fn answer(mut response: Response<ureq::Body>) -> Answer {
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let body = response.body_mut().with_config().limit(1 << 30).read_to_vec().unwrap();
    Answer { status, headers, body }
}
