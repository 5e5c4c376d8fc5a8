//! A proxy before an HTTP server that loses answers, invents them, hangs, and lets requests arrive late.
//!
//! One request a connection. Rules are asked in order; the first that fits and has times left acts.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Act {
    /// It is served, and the connection is cut before the answer.
    LoseAnswer,
    /// The connection is cut; it is never served.
    Cut,
    /// It is answered so, and never served.
    Answer(u16),
    /// It is answered so, with an error that repeats its head, as AWS does where a signature is wrong; it is never served.
    Repeat(u16),
    /// It is served, and answered so all the same.
    ServeAndAnswer(u16),
    /// No answer comes; it is never served.
    Hang,
    /// The connection is cut; it is served when [`Proxy::release`] is called.
    Late,
}

struct Rule {
    method: &'static str,
    /// Part of the target.
    part: String,
    /// Requests that fit and pass first.
    skip: usize,
    times: usize,
    act: Act,
}

#[derive(Default)]
struct State {
    rules: Mutex<Vec<Rule>>,
    /// `METHOD target` of everything that came.
    seen: Mutex<Vec<String>>,
    last_head: Mutex<String>,
    late: Mutex<Vec<Vec<u8>>>,
    strip_conditions: AtomicBool,
    down: AtomicBool,
}

/// A running proxy; its threads end with the process.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    upstream: u16,
    state: Arc<State>,
}

impl Proxy {
    /// Listens on a free port of this machine.
    pub(crate) fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, upstream, &state));
            }
        });
        Self { port, upstream, state }
    }

    /// Its address for clients.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on `times` requests of this method, whose target holds `part`, are treated so, after `skip` that pass.
    pub(crate) fn rule(&self, method: &'static str, part: &str, skip: usize, times: usize, act: Act) {
        self.state.rules.lock().unwrap().push(Rule { method, part: part.to_owned(), skip, times, act });
    }

    /// No rule holds any more.
    pub(crate) fn clear(&self) {
        self.state.rules.lock().unwrap().clear();
    }

    /// `If-None-Match` does not reach the server: it overwrites.
    pub(crate) fn strip_conditions(&self) {
        self.state.strip_conditions.store(true, Ordering::SeqCst);
    }

    /// Every connection hangs from now on (or no longer does).
    pub(crate) fn hang(&self, down: bool) {
        self.state.down.store(down, Ordering::SeqCst);
    }

    /// What was late is served now, in order; the statuses.
    pub(crate) fn release(&self) -> Vec<u16> {
        let late = std::mem::take(&mut *self.state.late.lock().unwrap());
        let statuses = late.iter().map(|request| {
            let answer = forward(self.upstream, request).unwrap();
            String::from_utf8_lossy(&answer).split_whitespace().nth(1).unwrap().parse().unwrap()
        });
        statuses.collect()
    }

    /// The head of the last request.
    pub(crate) fn last_head(&self) -> String {
        self.state.last_head.lock().unwrap().clone()
    }

    /// Everything that came since the last call, as `METHOD target`.
    pub(crate) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.state.seen.lock().unwrap())
    }
}

fn serve(mut stream: TcpStream, upstream: u16, state: &State) {
    let Some((head, body)) = read_request(&mut stream) else { return };
    let mut words = head.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    state.seen.lock().unwrap().push(format!("{method} {target}"));
    state.last_head.lock().unwrap().clone_from(&head);
    let mut request = rewritten(&head, state.strip_conditions.load(Ordering::SeqCst));
    request.extend_from_slice(&body);
    let act = if state.down.load(Ordering::SeqCst) { Some(Act::Hang) } else { act(state, method, target) };
    let answer = match act {
        None => forward(upstream, &request),
        Some(Act::LoseAnswer) => forward(upstream, &request).and(None),
        Some(Act::Cut) => None,
        Some(Act::Answer(status)) => Some(invented(status)),
        Some(Act::Repeat(status)) => Some(repeating(status, &head)),
        Some(Act::ServeAndAnswer(status)) => forward(upstream, &request).map(|_| invented(status)),
        Some(Act::Late) => {
            state.late.lock().unwrap().push(request);
            None
        }
        Some(Act::Hang) => {
            // until the client gives up
            let _ = stream.set_read_timeout(Some(Duration::from_secs(600)));
            let _ = stream.read(&mut [0]);
            None
        }
    };
    if let Some(answer) = answer {
        let _ = stream.write_all(&answer);
    }
    let _ = stream.shutdown(Shutdown::Both);
}

fn act(state: &State, method: &str, target: &str) -> Option<Act> {
    for rule in state.rules.lock().unwrap().iter_mut() {
        let fits = (rule.method == method || rule.method == "*") && target.contains(&rule.part) && rule.times > 0;
        if !fits {
            continue;
        }
        if rule.skip > 0 {
            rule.skip -= 1;
            return None;
        }
        rule.times -= 1;
        return Some(rule.act);
    }
    None
}

fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 64 << 10];
    loop {
        let n = stream.read(&mut buffer).ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&buffer[..n]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let length: usize = header(&head, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut body = bytes.split_off(end + 4);
        while body.len() < length {
            let n = stream.read(&mut buffer).ok().filter(|n| *n > 0)?;
            body.extend_from_slice(&buffer[..n]);
        }
        return Some((head, body));
    }
}

fn header<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
}

/// The head with one request a connection, and without conditions where the server shall not know them.
fn rewritten(head: &str, strip_conditions: bool) -> Vec<u8> {
    let dropped = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default();
        name.eq_ignore_ascii_case("connection") || strip_conditions && name.eq_ignore_ascii_case("if-none-match")
    };
    let kept = head.lines().enumerate().filter(|(i, line)| *i == 0 || !dropped(line)).map(|(_, line)| line);
    let mut out: String = kept.map(|line| format!("{line}\r\n")).collect();
    out.push_str("Connection: close\r\n\r\n");
    out.into_bytes()
}

fn forward(upstream: u16, request: &[u8]) -> Option<Vec<u8>> {
    let mut server = TcpStream::connect(("127.0.0.1", upstream)).ok()?;
    server.write_all(request).ok()?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).ok()?;
    Some(answer)
}

fn invented(status: u16) -> Vec<u8> {
    let code = match status {
        403 => "AccessDenied",
        409 => "ConditionalRequestConflict",
        412 => "PreconditionFailed",
        501 => "NotImplemented",
        503 => "SlowDown",
        _ => "InternalError",
    };
    let body = format!(
        "<Error><Code>{code}</Code><Message>invented by the test</Message><Token>the-session-token</Token></Error>"
    );
    answer(status, &body)
}

/// As S3 and KMS do it: in an element of its own, and behind the first line of the message.
fn repeating(status: u16, head: &str) -> Vec<u8> {
    if header(head, "x-amz-target").is_none() {
        return answer(
            status,
            &format!(
                "<Error><Code>SignatureDoesNotMatch</Code><Message>the signature differs</Message>\
                 <CanonicalRequest>{head}</CanonicalRequest></Error>"
            ),
        );
    }
    let escaped = head.replace('\\', "\\\\").replace('"', "\\\"").replace('\r', "").replace('\n', "\\n");
    let message = format!("the signature differs\\n\\nThe Canonical String should have been\\n'{escaped}'");
    answer(status, &format!("{{\"__type\": \"x#InvalidSignatureException\", \"message\": \"{message}\"}}"))
}

fn answer(status: u16, body: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} Invented\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body.as_bytes()].concat()
}
