//! A collector of OTLP over HTTP on loopback: takes spans, answers with 200, and keeps what the tests look at.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// No span takes longer to come, unless it never does.
const PATIENCE: Duration = Duration::from_secs(60);

/// A span as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty: it begins the trace.
    pub(crate) parent: String,
    pub(crate) name: String,
    /// 2: a server's, 3: a client's.
    pub(crate) kind: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) attributes: BTreeMap<String, String>,
}

pub(crate) struct Collector {
    url: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    /// Listens on a free port, for as long as the test's process lives.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let spans: Arc<Mutex<Vec<Span>>> = Arc::default();
        let taken = Arc::clone(&spans);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let taken = Arc::clone(&taken);
                // a client that goes away ends its thread
                std::thread::spawn(move || while take(&socket, &taken).is_some() {});
            }
        });
        Self { url, spans }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }

    /// Waits for a span.
    pub(crate) fn span(&self, what: &str, wanted: impl Fn(&Span) -> bool) -> Span {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self.spans().into_iter().find(|span| wanted(span)) {
                return found;
            }
            assert!(Instant::now() < end, "no span {what} among {:#?}", self.spans());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the child of a span that has this name.
    pub(crate) fn child(&self, parent: &Span, name: &str) -> Span {
        let child = self.span(name, |span| span.parent == parent.id && span.name == name);
        assert_eq!(child.trace, parent.trace, "{name}");
        assert!(parent.start <= child.start && child.end <= parent.end, "{child:?} is not within {parent:?}");
        child
    }
}

/// One request of a connection.
fn take(socket: &TcpStream, spans: &Mutex<Vec<Span>>) -> Option<()> {
    let mut reader = BufReader::new(socket);
    let (mut line, mut length, mut path) = (String::new(), 0, String::new());
    while reader.read_line(&mut line).ok()? > 0 {
        let text = line.trim().to_ascii_lowercase();
        if text.is_empty() {
            break;
        }
        if let Some(rest) = text.strip_prefix("post ") {
            path = rest.split(' ').next()?.to_owned();
        }
        if let Some(value) = text.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        line.clear();
    }
    if path.is_empty() {
        return None;
    }
    assert_eq!(path, "/v1/traces");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut found = Vec::new();
    // ExportTraceServiceRequest: resource_spans, scope_spans, spans
    for resource in messages(&body, 1) {
        for scope in messages(resource, 2) {
            found.extend(messages(scope, 2).map(span));
        }
    }
    spans.lock().unwrap().extend(found);
    let mut writer = socket;
    writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n").ok()
}

/// A field's value: a number of any width, or bytes.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a protobuf message, in order.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let value = match key & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => Field::Number(u64::from_le_bytes(split(&mut bytes, 8).try_into().unwrap())),
            2 => {
                let length = varint(&mut bytes);
                Field::Bytes(split(&mut bytes, usize::try_from(length).unwrap()))
            }
            5 => Field::Number(u32::from_le_bytes(split(&mut bytes, 4).try_into().unwrap()).into()),
            other => panic!("wire type {other}"),
        };
        found.push((key >> 3, value));
    }
    found
}

fn split<'a>(bytes: &mut &'a [u8], at: usize) -> &'a [u8] {
    let (head, rest) = bytes.split_at(at);
    *bytes = rest;
    head
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = split(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

fn messages(bytes: &[u8], wanted: u64) -> impl Iterator<Item = &[u8]> {
    fields(bytes).into_iter().filter_map(move |(field, value)| match value {
        Field::Bytes(bytes) if field == wanted => Some(bytes),
        _ => None,
    })
}

fn span(bytes: &[u8]) -> Span {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut span = Span::default();
    for (field, value) in fields(bytes) {
        match (field, value) {
            (1, Field::Bytes(id)) => span.trace = hex(id),
            (2, Field::Bytes(id)) => span.id = hex(id),
            (4, Field::Bytes(id)) => span.parent = hex(id),
            (5, Field::Bytes(name)) => span.name = text(name),
            (6, Field::Number(kind)) => span.kind = kind,
            (7, Field::Number(at)) => span.start = at,
            (8, Field::Number(at)) => span.end = at,
            (9, Field::Bytes(pair)) => {
                let key = messages(pair, 1).next().map(text).unwrap_or_default();
                let value = messages(pair, 2).next().map(any_value).unwrap_or_default();
                span.attributes.insert(key, value);
            }
            _ => {}
        }
    }
    span
}

/// Texts and whole numbers, as text.
fn any_value(bytes: &[u8]) -> String {
    match fields(bytes).into_iter().next() {
        Some((1, Field::Bytes(text))) => String::from_utf8(text.to_vec()).unwrap(),
        Some((_, Field::Number(number))) => number.to_string(),
        _ => String::new(),
    }
}
