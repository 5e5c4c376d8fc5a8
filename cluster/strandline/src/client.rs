//! The HTTP client of the commands: blocking, one connection pool, errors that say what to do next.
//!
//! It refuses to guess: a time-out or a broken connection is an unknown outcome and is retried only by callers
//! whose request may be repeated ([`Client::send_patiently`]).

use crate::cli::OnStore;
use crate::exit::Failure;
use crate::{out, value};
use serde_json::Value;
use std::cell::OnceCell;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use ureq::Timeout;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// The largest answer that is read into memory.
const ANSWER_BYTES_MAX: u64 = 1 << 30;
/// How long 429 is answered with waiting before it is an error.
const OVERLOADED_PATIENCE: Duration = Duration::from_secs(60);
/// Connecting takes longer only where nobody listens.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence of a server after which a request that only asks is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// What is said of an answer that no node gives.
pub(crate) const NOT_A_NODE: &str = "not as a node does: is --url the address of one? (http=... of its `ready` line)";

/// An answer, whatever its status.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// Seconds of Retry-After, where it is there.
    pub(crate) retry_after: Option<u64>,
    /// Header `x-strandline-tiers`, where it is there.
    pub(crate) tiers: Option<String>,
    /// Header `x-strandline-next-seq`: where the next page of a stream begins, if anything is left.
    pub(crate) next_seq: Option<u64>,
    /// The body.
    pub(crate) body: Vec<u8>,
    /// What to do next, where the answer itself cannot say it.
    pub(crate) advice: Option<String>,
    /// It was asked behind a path where no node is: it says nothing of what was meant.
    pub(crate) is_behind_path: bool,
}

impl Answer {
    /// The body as JSON; null where it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The sentence of an error answer.
    pub(crate) fn error_text(&self) -> String {
        let json = self.json();
        match (json["error"].as_str(), json["code"].as_str()) {
            (Some(text), Some(code)) => {
                let advice = self.advice.as_ref().map(|advice| format!(": {advice}")).unwrap_or_default();
                format!("{}{advice} ({code})", out::escaped(text))
            }
            _ => format!("the server answered with status {}, and {NOT_A_NODE}", self.status),
        }
    }

    /// The listener of the node that serves what this one does not: its name in `/info`.
    fn other_listener(&self) -> Option<String> {
        if self.status != 404 {
            return None;
        }
        self.json()["details"]["listener"].as_str().map(str::to_owned)
    }

    /// A node that knows no such route, not even at its other listener: it says nothing of a store.
    fn is_no_route(&self) -> bool {
        self.status == 404 && self.json()["details"]["path"].is_string()
    }

    /// The answer if it is a 2xx, else the failure with its exit code.
    pub(crate) fn ok(self) -> Result<Self, Failure> {
        if (200..300).contains(&self.status) { Ok(self) } else { Err(self.failure()) }
    }

    fn failure(&self) -> Failure {
        let text = self.error_text();
        match self.status {
            // it says nothing of what was asked
            _ if !self.json()["code"].is_string() => Failure::Server(text),
            _ if self.is_behind_path || self.is_no_route() => Failure::Usage(text),
            404 | 409 | 413 | 422 => Failure::No(text),
            400..=428 | 501 => Failure::Usage(text),
            _ => Failure::Server(text),
        }
    }
}

/// By whom a server's certificate must be signed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trust<'a> {
    /// Nobody was named: no TLS is spoken.
    Nobody,
    /// The authorities in this file.
    Authorities(&'a Path),
    /// Whoever: only for a question that holds no secret, and whose answer is none.
    Anybody,
}

/// A connection to one server and one store.
#[derive(Debug)]
pub(crate) struct Client {
    agent: ureq::Agent,
    url: String,
    token: Option<String>,
    named: Option<String>,
    store: OnceCell<String>,
}

/// One request, as data, so that it can be sent again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request<'a> {
    /// Path and query, from the first slash.
    pub(crate) path: String,
    /// Body of a POST; `None`: GET, or DELETE.
    pub(crate) body: Option<&'a [u8]>,
    /// DELETE; it has no body.
    pub(crate) is_delete: bool,
    /// Content type of the body.
    pub(crate) content_type: &'a str,
    /// Wanted type of the answer.
    pub(crate) accept: Option<&'a str>,
    /// Further headers.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// How long the server may be silent before the answer; `None`: as long as it takes (a run of compaction).
    pub(crate) answer_within: Option<Duration>,
}

impl Client {
    /// A client for what the options name.
    pub(crate) fn new(on: &OnStore) -> Result<Self, Failure> {
        if on.store.as_deref() == Some("") {
            return Err(Failure::Usage("--store (or STRANDLINE_STORE) is empty: name one, or leave it out".to_owned()));
        }
        let trust = on.tls_ca.as_deref().map_or(Trust::Nobody, Trust::Authorities);
        Ok(Self { token: token(on)?, named: on.store.clone(), ..Self::without_token(&on.url, trust)? })
    }

    /// A client that shows no token.
    pub(crate) fn without_token(url: &str, trust: Trust<'_>) -> Result<Self, Failure> {
        if let Some(fault) = value::url_fault(url) {
            return Err(Failure::Usage(format!("--url {}: {fault}", value::shown_url(url))));
        }
        let url = url.trim_end_matches('/').to_owned();
        let tls = match (url.split_once("://").map(|(scheme, _)| scheme), trust) {
            (Some("https"), Trust::Authorities(authorities)) => Some(tls("--tls-ca", authorities)?),
            (Some("https"), Trust::Anybody) => {
                let provider = strandline_tls::provider();
                let config = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
                Some(config.disable_verification(true).build())
            }
            (Some("https"), Trust::Nobody) => {
                let text =
                    format!("--url {url}: name the authority that signed the server's certificate with --tls-ca FILE");
                return Err(Failure::Usage(text));
            }
            (_, Trust::Authorities(_)) => {
                let text = format!(
                    "--url {url}: no TLS is spoken there, and --tls-ca (or STRANDLINE_TLS_CA) names who signed a certificate: give https://, or leave it out"
                );
                return Err(Failure::Usage(text));
            }
            (_, Trust::Nobody | Trust::Anybody) => None,
        };
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // a proxy for the internet must not come between us and a server on this machine
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .user_agent(concat!("strandline/", env!("CARGO_PKG_VERSION")));
        let config = match tls {
            Some(tls) => config.tls_config(tls).build(),
            None => config.build(),
        };
        Ok(Self { agent: config.into(), url, token: None, named: None, store: OnceCell::new() })
    }

    /// Address of the server.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The store's name: the given one, or the only one of the server.
    pub(crate) fn store(&self) -> Result<&str, Failure> {
        if let Some(name) = self.named.as_deref().or(self.store.get().map(String::as_str)) {
            return Ok(name);
        }
        // every listener of a node serves this route
        let answer = self.get("/info")?.json();
        let Some(stores) = answer["stores"].as_array() else {
            return Err(Failure::Server(format!("{} answers, and {NOT_A_NODE}", self.url)));
        };
        let names: Vec<&str> = stores.iter().filter_map(Value::as_str).collect();
        match names.as_slice() {
            [name] => Ok(self.store.get_or_init(|| (*name).to_owned())),
            [] => Err(Failure::No(format!("{} has no store for this token: ask its operator", self.url))),
            many => Err(Failure::Usage(format!("name one with --store: {} has {}", self.url, many.join(", ")))),
        }
    }

    /// Path of a route of the store: `/v1/stores/<store>` and the segments, percent-encoded.
    pub(crate) fn store_path(&self, segments: &[&str]) -> Result<String, Failure> {
        self.path_under("/v1/stores", segments)
    }

    /// Path of an admin route of the store.
    pub(crate) fn admin_path(&self, segments: &[&str]) -> Result<String, Failure> {
        self.path_under("/admin/v1/stores", segments)
    }

    fn path_under(&self, root: &str, segments: &[&str]) -> Result<String, Failure> {
        if segments.contains(&"") {
            let text = "an empty name: --stream-type, --stream-id, --durable and --name take one that is not";
            return Err(Failure::Usage(text.to_owned()));
        }
        let store = encode(self.store()?);
        let parts: Vec<String> = std::iter::once(store).chain(segments.iter().map(|s| encode(s))).collect();
        Ok(format!("{root}/{}", parts.join("/")))
    }

    /// GET; a status that is no 2xx is a failure.
    pub(crate) fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.send(&Request { path: path.to_owned(), answer_within: Some(ANSWER_TIMEOUT), ..Request::default() })?.ok()
    }

    /// POST with an empty body; a status that is no 2xx is a failure.
    pub(crate) fn post_empty(&self, path: &str) -> Result<Answer, Failure> {
        self.send(&Request { path: path.to_owned(), body: Some(b""), ..Request::default() })?.ok()
    }

    /// Sends once; waits and sends again only where the server said that it did nothing (429).
    pub(crate) fn send(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let began = Instant::now();
        loop {
            let answer = self.send_now(request)?;
            if answer.status != 429 || began.elapsed() > OVERLOADED_PATIENCE {
                return Ok(answer);
            }
            std::thread::sleep(Duration::from_secs(answer.retry_after.unwrap_or(1).clamp(1, 30)));
        }
    }

    /// Sends once and gives every answer, 429 too.
    pub(crate) fn send_now(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let answer = self.send_once(request, request.answer_within).map_err(|error| self.unreachable(&error))?;
        Ok(self.advised(answer))
    }

    /// An answer that says that another listener of the node serves this, with its address.
    fn advised(&self, answer: Answer) -> Answer {
        let Some(listener) = answer.other_listener() else { return self.placed(answer) };
        // who may not hear the address is told the sentence alone
        let info = self.info();
        let advice = info[listener.as_str()].as_str().map(|address| {
            let scheme = if self.url.starts_with("https://") { "https" } else { "http" };
            format!("--url {scheme}://{}", reached(address, &self.url))
        });
        Answer { advice, ..answer }
    }

    /// What is not there, because the path in the address leads to no node: the route that each one has is not there either.
    fn placed(&self, answer: Answer) -> Answer {
        let node = value::without_path(&self.url).filter(|_| answer.status == 404);
        let Some(node) = node.filter(|_| !self.info()["version"].is_string()) else { return answer };
        let advice = Some(format!("is the path in --url right? A node itself is asked with --url {node}"));
        Answer { advice, is_behind_path: true, ..answer }
    }

    /// What every listener of a node says of it; null where it does not.
    fn info(&self) -> Value {
        let request = Request { path: "/info".to_owned(), answer_within: Some(ANSWER_TIMEOUT), ..Request::default() };
        self.send_once(&request, request.answer_within).map(|info| info.json()).unwrap_or_default()
    }

    /// Sends again and again while the server cannot be reached, is overloaded, starts or drains. Only for requests
    /// that may arrive twice.
    pub(crate) fn send_patiently(&self, request: &Request<'_>, patience: Duration) -> Result<Answer, Failure> {
        let mut silent_since: Option<Instant> = None;
        let mut pause = Duration::from_millis(100);
        loop {
            let last = match self.send_once(request, Some(patience)) {
                Ok(answer) if answer.status == 429 => {
                    // it lives and will take it later: that is no silence
                    silent_since = None;
                    std::thread::sleep(Duration::from_secs(answer.retry_after.unwrap_or(1).clamp(1, 30)));
                    continue;
                }
                Ok(answer) if !matches!(answer.status, 500 | 502 | 503 | 504 | 507) => return Ok(self.advised(answer)),
                Ok(answer) => Failure::Server(answer.error_text()),
                Err(error) => self.unreachable(&error),
            };
            let since = *silent_since.get_or_insert_with(|| {
                out::note("strandline: no answer from the server yet; trying again");
                Instant::now()
            });
            if since.elapsed() >= patience {
                return Err(last);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// Begins to read an answer that may never end; a status that is no 2xx is a failure. The outer error: nobody answers.
    pub(crate) fn open(&self, request: &Request<'_>) -> Result<Result<impl std::io::Read + use<>, Failure>, Failure> {
        let mut response = self.start(request, request.answer_within).map_err(|error| self.unreachable(&error))?;
        let status = response.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(Ok(response.into_body().into_reader()));
        }
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| self.unreachable(&error))?;
        let answer = Answer { status, body, ..Answer::default() };
        Ok(Err(self.advised(answer).failure()))
    }

    fn send_once(&self, request: &Request<'_>, answer_within: Option<Duration>) -> Result<Answer, ureq::Error> {
        let mut response = self.start(request, answer_within)?;
        let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let (retry_after, tiers) = (header("retry-after").and_then(|v| v.parse().ok()), header("x-strandline-tiers"));
        let next_seq = header("x-strandline-next-seq").and_then(|v| v.parse().ok());
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok(Answer { status, retry_after, tiers, next_seq, body, ..Answer::default() })
    }

    /// `answer_within`: until the answer begins; `None`: as long as it takes.
    fn start(
        &self,
        request: &Request<'_>,
        answer_within: Option<Duration>,
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let url = format!("{}{}", self.url, request.path);
        let mut headers: Vec<(&str, String)> = request.headers.clone();
        headers.extend(self.token.iter().map(|token| ("authorization", format!("Bearer {token}"))));
        headers.extend(request.accept.iter().map(|accept| ("accept", (*accept).to_owned())));
        match request.body {
            None => headers
                .into_iter()
                .fold(bare(&self.agent, request.is_delete, url), |r, (k, v)| r.header(k, v))
                .config()
                .timeout_recv_response(answer_within)
                .build()
                .call(),
            Some(body) => {
                if !request.content_type.is_empty() {
                    headers.push(("content-type", request.content_type.to_owned()));
                }
                headers
                    .into_iter()
                    .fold(self.agent.post(url), |r, (k, v)| r.header(k, v))
                    .config()
                    .timeout_recv_response(answer_within)
                    .build()
                    .send(body)
            }
        }
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        let hint = match error {
            ureq::Error::BadUri(_) => return Failure::Usage(format!("--url {}: {error}", self.url)),
            ureq::Error::Io(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
                "nobody listens there: start a node with `strandline serve`, or name another one with --url"
            }
            ureq::Error::HostNotFound => "nothing was sent: no such host is known; check the name in --url",
            ureq::Error::ConnectionFailed | ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
                "nothing was sent: check the address in --url, and what stands between here and there"
            }
            _ if error.to_string().contains("lookup address") => {
                "nothing was sent: no such host is known; check the name in --url"
            }
            _ if error.to_string().contains("InvalidContentType") => {
                "nothing was sent: what answers there speaks no TLS; a node without certificates is asked with --url http://..."
            }
            ureq::Error::Protocol(_) if self.url.starts_with("http://") => {
                "what answers there speaks no plain HTTP: a node with certificates is asked with --url https://... and --tls-ca, and the port \
                 of the native protocol is no address for --url"
            }
            _ if error.to_string().contains("certificate") => about_certificate(&error.to_string()),
            _ => "whether the request arrived is unknown; an append with the same --command-id may be repeated",
        };
        Failure::Server(format!("cannot reach {}: {error}; {hint}", self.url))
    }
}

/// A request without a body.
fn bare(agent: &ureq::Agent, is_delete: bool, url: String) -> ureq::RequestBuilder<ureq::typestate::WithoutBody> {
    if is_delete { agent.delete(url) } else { agent.get(url) }
}

/// What to do where the certificate of a server is not taken.
fn about_certificate(said: &str) -> &'static str {
    let is = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if is(&["UnknownIssuer", "BadSignature"]) {
        "nothing was sent: another authority than that of --tls-ca has signed the certificate which is shown there; name the file of the one that did \
         (each run of `strandline certs dev` makes another one), or find out who answers at this address"
    } else if is(&["not valid for name", "NotValidForName"]) {
        "nothing was sent: name the node in --url by a name or an address that stands in its certificate"
    } else if is(&["expired", "Expired", "not valid yet", "NotValidYet"]) {
        "nothing was sent: renew the certificate, which a node takes without a restart, or set the clock of this machine"
    } else {
        "nothing was sent: name the file of the authority that signed its certificate with --tls-ca, and the node by a name in it"
    }
}

/// The token to show; an empty one, of a variable that is set to nothing, is none.
fn token(on: &OnStore) -> Result<Option<String>, Failure> {
    let given = on.token.as_ref().filter(|token| !token.is_empty());
    match given.filter(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
        None => Ok(given.cloned()),
        Some(_) => Err(Failure::Usage(
            "--token (or STRANDLINE_TOKEN) is no token: it holds a blank, a line break or a letter that none has; give the line that \
             `strandline token new` printed"
                .to_owned(),
        )),
    }
}

/// Trusts the authorities in the file that an option names, and nobody else.
pub(crate) fn tls(option: &str, authorities: &Path) -> Result<TlsConfig, Failure> {
    let usage = |error: &dyn std::fmt::Display| Failure::Usage(format!("{option}: {error}"));
    let chain = strandline_tls::authorities(authorities).map_err(|error| usage(&error))?;
    let certificates: Vec<Certificate<'static>> =
        chain.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&certificates))
        .unversioned_rustls_crypto_provider(strandline_tls::provider())
        .build())
}

/// One segment of a path or one value of a query, percent-encoded.
pub(crate) fn encode(text: &str) -> String {
    strandline_event::encode_path_text(text)
}

/// Where a listener of a server is reached: of one that listens on all addresses, at the host of its URL.
pub(crate) fn reached(address: &str, url: &str) -> String {
    let listens: Option<SocketAddr> = address.parse().ok();
    let Some(listens) = listens.filter(|listens| listens.ip().is_unspecified()) else { return address.to_owned() };
    let after = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = after.split('/').next().unwrap_or(after);
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => authority,
    };
    format!("{host}:{}", listens.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: body.as_bytes().to_vec(), ..Answer::default() }
    }

    #[test]
    fn a_certificate_that_is_not_taken_says_why() {
        let told = |said| about_certificate(&format!("io: invalid peer certificate: {said}"));
        assert!(told("UnknownIssuer").contains("another authority than that of --tls-ca"));
        assert!(told("certificate not valid for name \"a\"; certificate is only valid for b").contains("in --url"));
        assert!(told("certificate expired: verification time 7 (UNIX)").contains("renew"));
        assert!(told("BadEncoding").contains("--tls-ca"));
    }

    #[test]
    fn statuses_become_exit_codes() {
        let body = r#"{"error":"e","code":"c","details":{}}"#;
        assert_eq!(answer(409, body).ok().unwrap_err(), Failure::No("e (c)".to_owned()));
        assert_eq!(answer(400, body).ok().unwrap_err(), Failure::Usage("e (c)".to_owned()));
        assert_eq!(answer(503, body).ok().unwrap_err(), Failure::Server("e (c)".to_owned()));
        assert!(
            answer(500, "<html>").error_text().starts_with("the server answered with status 500, and not as a node")
        );
        assert_eq!(answer(207, "").ok().unwrap().status, 207);
        assert_eq!(answer(404, body).ok().unwrap_err(), Failure::No("e (c)".to_owned()));
        let no_route = r#"{"error":"e","code":"not_found","details":{"path":"/x"}}"#;
        for misplaced in [Answer { is_behind_path: true, ..answer(404, body) }, answer(404, no_route)] {
            assert!(matches!(misplaced.ok(), Err(Failure::Usage(_))));
        }
        assert!(matches!(answer(404, "<html>").ok(), Err(Failure::Server(_))), "no node says that it does not exist");
    }

    #[test]
    fn a_token_is_one_line_without_blanks() {
        let on = |token: Option<&str>| OnStore {
            url: "http://127.0.0.1:7070".to_owned(),
            store: None,
            token: token.map(str::to_owned),
            tls_ca: None,
        };
        assert_eq!(token(&on(Some("slt_a"))).unwrap(), Some("slt_a".to_owned()));
        assert_eq!((token(&on(None)).unwrap(), token(&on(Some(""))).unwrap()), (None, None));
        for wrong in ["slt_a\n", "Bearer slt_a", "slt_ä"] {
            assert!(matches!(token(&on(Some(wrong))), Err(Failure::Usage(_))), "{wrong:?}");
        }
    }

    #[test]
    fn a_server_that_never_answers_is_given_up() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let on = OnStore {
            url: format!("http://{}", silent.local_addr().unwrap()),
            store: Some("s".to_owned()),
            token: None,
            tls_ca: None,
        };
        let client = Client::new(&on).unwrap();
        let patience = Duration::from_millis(200);
        let request = Request { path: "/health".to_owned(), answer_within: Some(patience), ..Request::default() };
        assert!(matches!(client.send_now(&request), Err(Failure::Server(_))));
        let request = Request { answer_within: None, ..request };
        assert!(matches!(client.send_patiently(&request, patience), Err(Failure::Server(_))));
    }

    #[test]
    fn a_server_on_all_addresses_is_reached_where_its_url_is() {
        for (address, url, at) in [
            ("127.0.0.1:7071", "http://localhost:7070", "127.0.0.1:7071"),
            ("0.0.0.0:7071", "https://db.example:7070", "db.example:7071"),
            ("[::]:7071", "https://[2001:db8::1]:7070", "[2001:db8::1]:7071"),
            ("0.0.0.0:7071", "https://db.example", "db.example:7071"),
        ] {
            assert_eq!(reached(address, url), at);
        }
    }
}
