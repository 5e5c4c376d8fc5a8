//! One request over one connection to another node, HTTP/1.1: bytes through, nothing kept.
//!
//! It speaks to nodes of this program alone. It refuses heads over a bound and answers that are no HTTP, and gives up a node that stands still.

use super::still::{Owes, Patience};
use crate::outgoing::{NO_PLACE, Outgoing, Place};
use crate::task::Tied;
use crate::trace;
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::unfold;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use strandline_consensus::NodeId;
use strandline_tls::{Certificates, node};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Connecting takes longer only where nobody is.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// The head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Bytes of a body that are held at once.
const PIECE_BYTES: usize = 64 << 10;
/// Headers that belong to one connection, or that say which page asks (this node has judged that).
const OF_A_CONNECTION: [&str; 12] = [
    "origin",
    "sec-fetch-site",
    "host",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    "proxy-authorization",
    "x-strandline-hops",
];

/// The node that a request is sent to.
pub(super) struct To<'a> {
    pub(super) node: NodeId,
    pub(super) address: &'a str,
    /// It must show a certificate that speaks for the node; `None`: plain text.
    pub(super) certificates: Option<Arc<Certificates>>,
}

/// A connection: plain, or TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Reading = ReadHalf<Box<dyn Stream>>;
type Writing = WriteHalf<Box<dyn Stream>>;

/// The task that sends the request. It keeps its half of the connection open until the answer has gone through, and ends with it.
type Sending = Tied<io::Result<()>>;

/// A connection to a node, and its place among them.
pub(super) struct Reached {
    stream: Box<dyn Stream>,
    place: Place,
    owes: Owes,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotReached {
    /// There are as many as there may be.
    #[error("{}", NO_PLACE)]
    NoPlace,
    /// The node, or the network.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

/// A connection to a node. Nothing is sent.
pub(super) async fn reach(to: &To<'_>, outgoing: &Outgoing) -> Result<Reached, NotReached> {
    let place = outgoing.enter().ok_or(NotReached::NoPlace)?;
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let stream = timeout(CONNECT_WITHIN, connect(to)).await.map_err(late).and_then(|connected| connected)?;
    Ok(Reached { stream, place, owes: Owes::new(to, outgoing, Patience::USUAL) })
}

/// Sends a request over a connection to the node at `address` and gives its answer. An error: it may have been done.
pub(super) async fn relay(
    Reached { stream, place, owes }: Reached,
    request: &HttpRequest,
    payload: Payload,
    address: &str,
    hops: u32,
) -> io::Result<HttpResponse> {
    let (reader, writer) = tokio::io::split(stream);
    let sized = request.headers().contains_key("content-length");
    let head = head_of(request, address, hops, sized);
    // the other node may answer before it has read everything
    let sending = Sending::new(actix_web::rt::spawn(send((writer, place), head, payload, sized)));
    owes.or_still(owes.patience.head, read_answer(reader, sending, owes.clone())).await
}

pub(super) async fn connect(to: &To<'_>) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect(to.address).await?;
    stream.set_nodelay(true)?;
    let Some(certificates) = &to.certificates else { return Ok(Box::new(stream)) };
    let (Some(config), Some(name)) = (certificates.node_client(), node::server_name(to.node)) else {
        return Err(io::Error::other("there are no authorities of other nodes"));
    };
    Ok(Box::new(TlsConnector::from(config).connect(name, stream).await?))
}

fn head_of(request: &HttpRequest, address: &str, hops: u32, sized: bool) -> Vec<u8> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let mut head = format!(
        "{} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nx-strandline-hops: {hops}\r\n",
        request.method()
    )
    .into_bytes();
    let of_the_trace = trace::headers();
    for (name, value) in &of_the_trace {
        head.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    let stays =
        |name: &str| OF_A_CONNECTION.contains(&name) || (!of_the_trace.is_empty() && trace::HEADERS.contains(&name));
    for (name, value) in request.headers().iter().filter(|(name, _)| !stays(name.as_str())) {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    if !sized {
        head.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

async fn send(
    (mut writer, _place): (Writing, Place),
    head: Vec<u8>,
    mut payload: Payload,
    sized: bool,
) -> io::Result<()> {
    writer.write_all(&head).await?;
    while let Some(piece) = payload.next().await {
        let piece = piece.map_err(io::Error::other)?;
        if piece.is_empty() {
            continue;
        }
        if sized {
            writer.write_all(&piece).await?;
        } else {
            writer.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
            writer.write_all(&piece).await?;
            writer.write_all(b"\r\n").await?;
        }
    }
    if !sized {
        writer.write_all(b"0\r\n\r\n").await?;
    }
    // the connection stays open for the answer
    writer.flush().await?;
    std::future::pending::<()>().await;
    Ok(())
}

async fn read_answer(reader: Reading, sending: Sending, owes: Owes) -> io::Result<HttpResponse> {
    let mut reader = BufReader::with_capacity(PIECE_BYTES, reader);
    let status = status_of(&line(&mut reader, HEAD_BYTES_MAX).await?)?;
    let mut answer = HttpResponseBuilder::new(status);
    let (mut length, mut chunked, mut left) = (None, false, HEAD_BYTES_MAX);
    loop {
        let text = line(&mut reader, left).await?;
        left = left.saturating_sub(text.len());
        if text.is_empty() {
            break;
        }
        let (name, value) = text.split_once(':').ok_or_else(bad)?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        match name.as_str() {
            "content-length" => length = Some(value.parse::<u64>().map_err(|_| bad())?),
            "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
            name if OF_A_CONNECTION.contains(&name) || name == "date" => {}
            name => {
                let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
                answer.append_header((name, HeaderValue::from_str(value).map_err(|_| bad())?));
            }
        }
    }
    if length == Some(0) || status == StatusCode::NO_CONTENT {
        return Ok(answer.finish());
    }
    let body = if chunked { Body::Chunks } else { length.map_or(Body::ToTheEnd, Body::Left) };
    if let Some(length) = length.filter(|_| !chunked) {
        answer.no_chunking(length);
    }
    Ok(answer.streaming(unfold(Some((reader, body, sending, owes)), |state| async move {
        let (mut reader, mut body, sending, owes) = state?;
        let came = owes.or_still(owes.patience.body, body.piece(&mut reader)).await;
        match came {
            Ok(Some(piece)) => Some((Ok(piece), Some((reader, body, sending, owes)))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })))
}

/// What is left of a body.
enum Body {
    Left(u64),
    Chunks,
    ToTheEnd,
}

impl Body {
    /// Some more of it; `None`: that was all.
    async fn piece(&mut self, reader: &mut BufReader<Reading>) -> io::Result<Option<Bytes>> {
        match self {
            Self::Left(0) => Ok(None),
            Self::Left(left) => {
                let piece = some(reader, *left).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
                *left -= piece.len() as u64;
                Ok(Some(piece))
            }
            Self::ToTheEnd => some(reader, u64::MAX).await,
            Self::Chunks => {
                let size = line(reader, HEAD_BYTES_MAX).await?;
                let size = u64::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16);
                let size = size.map_err(|_| bad())?;
                let mut piece = Vec::new();
                reader.take(size).read_to_end(&mut piece).await?;
                if piece.len() as u64 != size || !line(reader, HEAD_BYTES_MAX).await?.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok((size > 0).then(|| Bytes::from(piece)))
            }
        }
    }
}

async fn some(reader: &mut BufReader<Reading>, most: u64) -> io::Result<Option<Bytes>> {
    let there = reader.fill_buf().await?;
    let take = there.len().min(usize::try_from(most).unwrap_or(usize::MAX));
    let piece = Bytes::copy_from_slice(there.get(..take).unwrap_or_default());
    reader.consume(take);
    Ok((take > 0).then_some(piece))
}

/// A line of a head, without its end.
async fn line(reader: &mut BufReader<Reading>, most: usize) -> io::Result<String> {
    let mut text = Vec::new();
    reader.take(most as u64).read_until(b'\n', &mut text).await?;
    if text.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if text.last() == Some(&b'\r') {
        text.pop();
    }
    String::from_utf8(text).map_err(|_| bad())
}

fn status_of(line: &str) -> io::Result<StatusCode> {
    let code = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).ok_or_else(bad)?;
    StatusCode::from_bytes(code.as_bytes()).map_err(|_| bad())
}

fn bad() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use strandline_event::Micros;
    use strandline_tls::{Files, dev};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    /// In 2026.
    const NOW: Micros = Micros(1_795_428_000_000_000);

    /// A pair as files, and the authorities that its owner trusts.
    fn certificates(folder: &Path, name: &str, pair: &dev::Pair, authorities: &str) -> Arc<Certificates> {
        let at = |ending: &str| folder.join(format!("{name}.{ending}"));
        let files = Files { certificate: at("pem"), key: at("key"), authorities: Some(at("ca")) };
        for (path, text) in [(at("pem"), &*pair.certificate), (at("key"), &*pair.key), (at("ca"), authorities)] {
            fs::write(path, text).unwrap();
        }
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
        Certificates::open(files, NOW).unwrap()
    }

    /// Requests that are sent on carry the token of who asked.
    #[tokio::test]
    async fn nothing_is_sent_to_who_shows_no_certificate_of_the_node_that_is_meant() {
        let folder = tempfile::tempdir().unwrap();
        let of_nodes = dev::make(3, &[]).unwrap();
        let of_all = dev::make(0, &["*.strandline.internal".to_owned()]).unwrap();
        let trusted = format!("{}{}", of_nodes.authority.certificate, of_all.authority.certificate);
        let of = |name: &str, pair: &dev::Pair| certificates(folder.path(), name, pair, &trusted);
        let asks = of("node-1", &of_nodes.nodes[0]);
        for (name, shown, is_meant) in [
            ("node-2", &of_nodes.nodes[1], true),
            ("node-3", &of_nodes.nodes[2], false),
            ("server", &of_nodes.server, false),
            ("every-node", &of_all.server, false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let listens = TlsAcceptor::from(Arc::new(of(name, shown).server_config().unwrap()));
            tokio::spawn(async move { drop(listens.accept(listener.accept().await.unwrap().0).await) });
            let to = To { node: 2, address: &address, certificates: Some(Arc::clone(&asks)) };
            let reached = reach(&to, &Outgoing::new(1)).await;
            assert_eq!(reached.is_ok(), is_meant, "{name}: {:?}", reached.err());
        }
    }

    #[tokio::test]
    async fn a_node_that_stands_still_within_its_answer_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (to, outgoing) = (To { node: 2, address: &address, certificates: None }, Outgoing::new(1));
        let mut reached = reach(&to, &outgoing).await.unwrap();
        let short = Duration::from_millis(20);
        reached.owes.patience = Patience { head: short, body: short, word: short };
        let (mut other, _) = listener.accept().await.unwrap();
        let (reader, _writer) = tokio::io::split(reached.stream);
        let sending = Sending::new(tokio::spawn(std::future::pending()));
        other.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab").await.unwrap();
        let answer = read_answer(reader, sending, reached.owes).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(actix_web::body::to_bytes(answer.into_body()).await.is_err(), "three bytes are missing");
    }

    #[tokio::test]
    async fn one_connection_too_many_is_told_so_and_the_next_after_an_end_is_made() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (to, outgoing) = (To { node: 2, address: &address, certificates: None }, Outgoing::new(1));
        let first = reach(&to, &outgoing).await.unwrap();
        let refused = reach(&to, &outgoing).await.err().unwrap();
        assert!(matches!(refused, NotReached::NoPlace) && refused.to_string().contains("nothing was done"));
        drop(first);
        drop(reach(&to, &outgoing).await.unwrap());
        // one that is not reached keeps no place
        drop(listener);
        assert!(matches!(reach(&to, &outgoing).await, Err(NotReached::Failed(_))));
        assert!(outgoing.enter().is_some());
    }
}
