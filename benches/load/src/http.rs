//! A client over HTTP/1.1: one connection that is kept, one request at a time, two buffers that are reused.
//!
//! It refuses to be an HTTP library: it speaks to one server on a loopback address and reads what that server sends. A client of
//! this workspace with more abilities would cost the machine more than the server that is measured.

use crate::client::{Client, Failure};
use crate::records::{Batch, EVENT_TYPE, Record, STREAM_TYPE, decimal};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const READ_BYTES: usize = 256 << 10;
/// Before an append that was refused for load is sent again.
const OVERLOAD_WAIT: Duration = Duration::from_millis(20);

/// One connection to a store.
#[derive(Debug)]
pub struct Http {
    stream: TcpStream,
    address: String,
    store: String,
    body: Vec<u8>,
    request: Vec<u8>,
    answer: Vec<u8>,
    overloads: u64,
}

impl Http {
    /// Connects to a node (`127.0.0.1:7070`) for one of its stores.
    ///
    /// # Errors
    /// Nobody listens there.
    pub async fn connect(address: &str, store: &str) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (address, store) = (address.to_owned(), store.to_owned());
        let [body, request, answer] = [const { Vec::new() }; 3];
        Ok(Self { stream, address, store, body, request, answer, overloads: 0 })
    }

    /// Asks for a path of the server without a body, or with an empty one. The answer's body, whatever its status, as text.
    ///
    /// # Errors
    /// The connection breaks.
    pub async fn ask(&mut self, method: &str, path: &str) -> Result<(u16, String), Failure> {
        self.body.clear();
        let mut text = Vec::new();
        let status = self.send(method, path, "", &mut |bytes| text.extend_from_slice(bytes)).await?;
        Ok((status, String::from_utf8_lossy(&text).into_owned()))
    }

    /// Sends what stands in `self.body` and hands the answer's body on as it comes.
    async fn send(
        &mut self,
        method: &str,
        path: &str,
        media: &str,
        take: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<u16, Failure> {
        let request = &mut self.request;
        request.clear();
        for part in [method, " ", path, " HTTP/1.1\r\nhost: ", &self.address, "\r\ncontent-length: "] {
            request.extend_from_slice(part.as_bytes());
        }
        decimal(request, self.body.len() as u64);
        if !media.is_empty() {
            request.extend_from_slice(b"\r\ncontent-type: ");
            request.extend_from_slice(media.as_bytes());
        }
        request.extend_from_slice(b"\r\naccept: application/x-ndjson, application/json;q=0.5\r\n\r\n");
        if self.body.len() <= 4 << 10 {
            request.extend_from_slice(&self.body);
            self.stream.write_all(request).await?;
        } else {
            self.stream.write_all(request).await?;
            self.stream.write_all(&self.body).await?;
        }
        self.receive(take).await
    }

    async fn receive(&mut self, take: &mut (dyn FnMut(&[u8]) + Send)) -> Result<u16, Failure> {
        self.answer.clear();
        let (head_bytes, head) = loop {
            self.more().await?;
            if let Some(end) = memchr::memmem::find(&self.answer, b"\r\n\r\n") {
                break (end + 4, Head::read(&self.answer[..end])?);
            }
        };
        let mut framing = head.framing;
        let mut begin = head_bytes;
        loop {
            begin += framing.take(&self.answer[begin..], take)?;
            if framing == Framing::Over {
                return Ok(head.status);
            }
            self.answer.drain(..begin);
            begin = 0;
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), Failure> {
        self.answer.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.answer).await? {
            0 => Err("the server closed the connection before its answer was whole".into()),
            _ => Ok(()),
        }
    }

    /// Sends an append until it is not refused for load. `whole` stands in the answer to one of which every event is new.
    async fn append_body(&mut self, path: &str, media: &str, whole: &[u8]) -> Result<(), Failure> {
        loop {
            let mut text = Vec::new();
            let status = self.send("POST", path, media, &mut |bytes| text.extend_from_slice(bytes)).await?;
            match status {
                201 if memchr::memmem::find(&text, whole).is_some() => return Ok(()),
                429 => {
                    self.overloads += 1;
                    tokio::time::sleep(OVERLOAD_WAIT).await;
                }
                _ => return Err(format!("append: {status} {}", String::from_utf8_lossy(&text)).into()),
            }
        }
    }
}

impl Client for Http {
    async fn append(&mut self, record: Record<'_>) -> Result<(), Failure> {
        let path = format!("/v1/stores/{}/streams/{STREAM_TYPE}/{}", self.store, record.stream_id);
        let body = &mut self.body;
        body.clear();
        body.extend_from_slice(b"{\"events\":[{\"event_type\":\"");
        body.extend_from_slice(EVENT_TYPE.as_bytes());
        body.extend_from_slice(b"\",\"event_version\":1,");
        // the moment and the payload as they stand in the line
        let from = record.line.find("\"occurred_at\"").unwrap_or(0);
        body.extend_from_slice(&record.line.as_bytes()[from..]);
        body.extend_from_slice(b"],\"expected_seq\":");
        match record.seq {
            1 => body.extend_from_slice(b"\"empty\""),
            seq => decimal(body, seq - 1),
        }
        if let Some(command_id) = record.command_id {
            body.extend_from_slice(b",\"command_id\":\"");
            body.extend_from_slice(command_id.as_bytes());
            body.push(b'"');
        }
        body.push(b'}');
        self.append_body(&path, "application/json", b"\"duplicate\":false").await
    }

    async fn append_batch(&mut self, batch: &Batch) -> Result<(), Failure> {
        let path = format!("/v1/stores/{}/events", self.store);
        let body = &mut self.body;
        body.clear();
        for record in batch.records() {
            body.extend_from_slice(&record.line.as_bytes()[..record.line.len() - 1]);
            body.extend_from_slice(b",\"seq\":");
            decimal(body, record.seq);
            if let Some(command_id) = record.command_id {
                body.extend_from_slice(b",\"command_id\":\"");
                body.extend_from_slice(command_id.as_bytes());
                body.push(b'"');
            }
            body.extend_from_slice(b"}\n");
        }
        self.append_body(&path, "application/x-ndjson", b"\"duplicates\":0,\"rejected\":[]").await
    }

    async fn read_stream(&mut self, stream_id: &str) -> Result<u64, Failure> {
        let path = format!("/v1/stores/{}/streams/{STREAM_TYPE}/{stream_id}", self.store);
        self.count_lines(&path).await
    }

    async fn scan(&mut self, _expected: u64) -> Result<u64, Failure> {
        let path = format!("/v1/stores/{}/scan", self.store);
        self.count_lines(&path).await
    }

    fn take_overloads(&mut self) -> u64 {
        std::mem::take(&mut self.overloads)
    }
}

impl Http {
    async fn count_lines(&mut self, path: &str) -> Result<u64, Failure> {
        self.body.clear();
        let mut lines = 0;
        let mut count = |bytes: &[u8]| lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
        let status = self.send("GET", path, "", &mut count).await?;
        if status == 200 { Ok(lines) } else { Err(format!("GET {path}: {status}").into()) }
    }
}

/// What the head of an answer says.
#[derive(Debug)]
struct Head {
    status: u16,
    framing: Framing,
}

impl Head {
    fn read(head: &[u8]) -> Result<Self, Failure> {
        let text = std::str::from_utf8(head)?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let status = status.ok_or("the answer has no status")?;
        let mut framing = Framing::Bytes(0);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                framing = Framing::Bytes(value.trim().parse()?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                framing = Framing::Size(0);
            }
        }
        Ok(Self { status, framing })
    }
}

/// Where in a body the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// A body of a known length, this much of it left.
    Bytes(u64),
    /// In the line with a chunk's size, so far this.
    Size(u64),
    /// In a chunk, this much of it left.
    Chunk(u64),
    /// In the line end behind a chunk.
    ChunkEnd,
    /// In the line end behind the last chunk.
    LastEnd,
    /// The body is whole.
    Over,
}

impl Framing {
    /// Takes what it can of `bytes` and says how much that was; it takes all while the body is not over.
    fn take(&mut self, bytes: &[u8], take: &mut (dyn FnMut(&[u8]) + Send)) -> Result<usize, Failure> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            if let Self::Bytes(left) | Self::Chunk(left) = self
                && *left > 0
            {
                let now = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                if now == 0 {
                    return Ok(at);
                }
                take(&rest[..now]);
                (*left, at) = (*left - now as u64, at + now);
                continue;
            }
            if matches!(self, Self::Bytes(_) | Self::Over) {
                *self = Self::Over;
                return Ok(at);
            }
            if *self == Self::Chunk(0) {
                *self = Self::ChunkEnd;
            }
            let Some(byte) = rest.first() else { return Ok(at) };
            at += 1;
            *self = self.step(*byte)?;
        }
    }

    /// One byte between the chunks.
    fn step(self, byte: u8) -> Result<Self, Failure> {
        Ok(match (self, byte) {
            (Self::Size(0), b'\n') => Self::LastEnd,
            (Self::Size(size), b'\n') => Self::Chunk(size),
            (Self::Size(size), _) if byte.is_ascii_hexdigit() => {
                Self::Size(size * 16 + u64::from((byte as char).to_digit(16).unwrap_or(0)))
            }
            (Self::ChunkEnd, b'\n') => Self::Size(0),
            (Self::LastEnd, b'\n') => Self::Over,
            (state, b'\r') => state,
            (state, byte) => return Err(format!("byte {byte} in the framing of an answer ({state:?})").into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str, body: &[u8], step: usize) -> Result<(Vec<u8>, usize), Failure> {
        let (mut framing, mut text, mut taken) = (Head::read(head.as_bytes())?.framing, Vec::new(), 0);
        for part in body.chunks(step) {
            taken += framing.take(part, &mut |bytes| text.extend_from_slice(bytes))?;
            if framing == Framing::Over {
                return Ok((text, taken));
            }
        }
        framing.take(&[], &mut |_| ())?;
        if framing == Framing::Over { Ok((text, taken)) } else { Err("not whole".into()) }
    }

    #[test]
    fn bodies_are_whole_however_they_are_cut() {
        let chunked = b"5\r\nhello\r\n1a\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n";
        for step in 1..=chunked.len() {
            let (text, taken) = read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", chunked, step).unwrap();
            assert_eq!((text.as_slice(), taken), (&b"helloabcdefghijklmnopqrstuvwxyz"[..], chunked.len()), "by {step}");
            let (text, taken) = read("HTTP/1.1 201 Created\r\ncontent-length: 5", b"hello", step).unwrap();
            assert_eq!((text.as_slice(), taken), (&b"hello"[..], 5), "by {step}");
        }
    }

    #[test]
    fn an_empty_body_needs_no_byte() {
        assert_eq!(read("HTTP/1.1 202 Accepted\r\ncontent-length: 0", b"", 1).unwrap().1, 0);
    }

    #[test]
    fn what_is_cut_or_no_framing_is_refused() {
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked";
        assert!(read(chunked, b"5\r\nhel", 3).is_err());
        assert!(read(chunked, b"zz\r\n", 4).is_err());
        assert!(read("HTTP/1.1 200 OK\r\ncontent-length: 9", b"hello", 2).is_err());
    }

    #[test]
    fn the_status_is_read() {
        assert_eq!(Head::read(b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1").unwrap().status, 429);
        assert!(Head::read(b"nonsense").is_err());
    }
}
