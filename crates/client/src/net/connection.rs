//! One connection: the first frames, then reading and writing side by side until it breaks.

use crate::net::error::ClientError;
use crate::net::options::Options;
use crate::net::shared::Shared;
use crate::wire::error::WireError;
use crate::wire::fields::{Encoded, Reader};
use crate::wire::frames::{Frame, FrameReader, Step};
use crate::wire::header::{Kind, VERSION};
use crate::wire::hello::{Hello, Welcome};
use crate::wire::read::encode_empty;
use crate::wire::refused::Refused;
use std::io::{self, IoSlice};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;

/// A frame of less than this is copied behind the frames before it, and written with them.
const COPY_BYTES_MAX: usize = 4 << 10;
/// The request that says what stays. Its answer, a Pong or that the server does not know the word, is nobody's: one that does not know it sends
/// nothing on.
const STAY: u64 = u64::MAX;

/// A connection on which both sides have said their first word.
pub(super) struct Open {
    stream: Stream,
    frames: FrameReader,
    pub(super) welcome: Welcome,
}

impl Open {
    /// Connects and says Hello.
    pub(super) async fn new(options: &Options) -> Result<Self, ClientError> {
        let unreachable = |why: String| ClientError::Unreachable { address: options.address.clone(), why };
        match timeout(options.connect_within, Self::try_new(options)).await {
            Ok(Ok(open)) => Ok(open),
            Ok(Err(Refusal::Io(error))) => Err(unreachable(why(&error))),
            Ok(Err(Refusal::Other(error))) => Err(error),
            Err(_) => Err(unreachable("no answer in time".to_owned())),
        }
    }

    async fn try_new(options: &Options) -> Result<Self, Refusal> {
        let socket = TcpStream::connect(&options.address).await?;
        socket.set_nodelay(true)?;
        match &options.tls {
            None => Self::greet(options, socket, Stream::Plain).await,
            Some(tls) => {
                let secured = tls.connect(&options.address, socket).await?;
                Self::greet(options, secured, |stream| Stream::Tls(Box::new(stream))).await
            }
        }
    }

    async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
        options: &Options,
        mut stream: S,
        opened: impl FnOnce(S) -> Stream,
    ) -> Result<Self, Refusal> {
        let hello = Hello {
            version_min: VERSION,
            version_max: VERSION,
            body_max: options.answer_bytes_max,
            store: options.store.clone(),
            token: options.token.clone(),
            program: options.program.clone(),
        };
        stream.write_all(&hello.encode(1).into_bytes()).await?;
        stream.flush().await?;
        let mut frames = FrameReader::new(options.answer_bytes_max as usize);
        let frame = loop {
            match frames.step().map_err(ClientError::from)? {
                Step::Frame(frame) => break frame,
                Step::More => {
                    let read = stream.read(frames.space()).await?;
                    if read == 0 {
                        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                    }
                    frames.filled(read);
                }
                Step::Head(_) | Step::Skipped(_) => {}
            }
        };
        let welcome = match Kind::from_u8(frame.header.kind) {
            Some(Kind::Welcome) => Welcome::decode(&frame.body).map_err(ClientError::from)?,
            Some(Kind::Error) => return Err(refused(&frame).into()),
            _ => return Err(ClientError::Protocol(WireError::Unexpected(frame.header.kind)).into()),
        };
        if welcome.version != VERSION {
            return Err(ClientError::Protocol(WireError::Version(welcome.version)).into());
        }
        if options.stay.is_said() {
            stream.write_all(&options.stay.encode(STAY).into_bytes()).await?;
            stream.flush().await?;
        }
        Ok(Self { stream: opened(stream), frames, welcome })
    }
}

/// What a connection goes over.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Its writing half.
enum Writing {
    /// Callers write to it too.
    Plain(Arc<OwnedWriteHalf>),
    Tls(WriteHalf<Box<TlsStream<TcpStream>>>),
}

/// Why there is no connection, and what to do where the certificate that is shown is not taken.
fn why(error: &io::Error) -> String {
    let said = error.to_string();
    if !said.contains("invalid peer certificate") {
        return said;
    }
    format!(
        "{said}; nothing was sent: trust the authority that signed the node's certificate, and name the node as its certificate does"
    )
}

enum Refusal {
    Io(io::Error),
    Other(ClientError),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ClientError> for Refusal {
    fn from(error: ClientError) -> Self {
        Self::Other(error)
    }
}

/// What an Error frame says.
pub(super) fn refused(frame: &Frame) -> ClientError {
    match Refused::read(&mut Reader::new(&frame.body)) {
        Ok(refused) => refused.into(),
        Err(error) => ClientError::Protocol(error),
    }
}

/// Serves requests until the connection breaks or the client is closed; says what happened.
pub(super) async fn serve(shared: &Shared, open: Open) -> String {
    let why = match open.stream {
        Stream::Plain(stream) => {
            let (reading, writing) = stream.into_split();
            let writing = Arc::new(writing);
            shared.line.open(Arc::clone(&writing));
            tokio::select! {
                why = read(shared, reading, open.frames) => why,
                why = write(shared, Writing::Plain(writing)) => why,
            }
        }
        // the line stays closed: only the task writes
        Stream::Tls(stream) => {
            let (reading, writing) = tokio::io::split(stream);
            tokio::select! {
                why = read(shared, reading, open.frames) => why,
                why = write(shared, Writing::Tls(writing)) => why,
            }
        }
    };
    shared.line.close();
    match why {
        Ok(()) => "the client was closed".to_owned(),
        Err(Refusal::Io(error)) => format!("the connection to {} broke: {error}", shared.options.address),
        Err(Refusal::Other(error)) => format!("the connection to {} ended: {error}", shared.options.address),
    }
}

async fn read(shared: &Shared, mut socket: impl AsyncRead + Unpin, mut frames: FrameReader) -> Result<(), Refusal> {
    let silence_max = shared.options.silence_max;
    let mut heard = Instant::now();
    let mut asked = false;
    loop {
        loop {
            match frames.step().map_err(ClientError::from)? {
                Step::More => break,
                Step::Head(_) | Step::Skipped(_) => {}
                Step::Frame(frame) if frame.header.request == 0 => return Err(refused(&frame).into()),
                Step::Frame(frame) => shared.answer(frame)?,
            }
        }
        match timeout(silence_max, socket.read(frames.space())).await {
            Ok(read) => {
                let read = read?;
                if read == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                frames.filled(read);
                (heard, asked) = (Instant::now(), false);
            }
            Err(_) => {
                frames.filled(0);
                if !shared.is_owed() {
                    continue;
                }
                if asked && heard.elapsed() >= 2 * silence_max {
                    let error = io::Error::new(io::ErrorKind::TimedOut, "the server has been silent for too long");
                    return Err(error.into());
                }
                asked = true;
                shared.ping();
            }
        }
    }
}

async fn write(shared: &Shared, mut socket: Writing) -> Result<(), Refusal> {
    let mut buffer = Vec::with_capacity(64 << 10);
    loop {
        let mut frames = Vec::new();
        buffer.clear();
        let begun = shared.line.begin(&mut buffer, || {
            frames = shared.take();
            !frames.is_empty()
        });
        if !begun {
            if shared.is_closed() {
                return Ok(());
            }
            shared.wake.notified().await;
            // callers that were woken together come with their next appends together
            tokio::task::yield_now().await;
            continue;
        }
        for frame in frames {
            socket.put(&mut buffer, &frame).await?;
        }
        socket.all([buffer.as_slice()]).await?;
    }
}

impl Writing {
    /// Small frames go into the buffer; a larger one goes straight into the socket, in one call with what stands before it: a header by itself
    /// would wake the server, which can do nothing yet.
    async fn put(&mut self, buffer: &mut Vec<u8>, frame: &Encoded) -> io::Result<()> {
        if frame.len() < COPY_BYTES_MAX {
            frame.put(buffer);
            return Ok(());
        }
        let tail = frame.tail.as_deref().unwrap_or_default();
        self.all([buffer.as_slice(), &frame.head, tail, frame.pad()]).await?;
        buffer.clear();
        Ok(())
    }

    /// Writes parts one behind another.
    async fn all<const N: usize>(&mut self, parts: [&[u8]; N]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => write_all(socket, parts).await,
            Self::Tls(socket) => {
                for part in parts {
                    socket.write_all(part).await?;
                }
                socket.flush().await
            }
        }
    }
}

async fn write_all<const N: usize>(socket: &OwnedWriteHalf, parts: [&[u8]; N]) -> io::Result<()> {
    let mut slices = parts.map(IoSlice::new);
    let mut left = &mut slices[..];
    // parts without a byte are over
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match socket.try_write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.writable().await?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The question whether the server lives.
pub(super) fn ping(id: u64) -> Encoded {
    encode_empty(Kind::Ping, id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn parts_come_whole_and_in_order_however_much_the_socket_takes_at_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut theirs, _) = listener.accept().await.unwrap();
            let (_reading, writing) = ours.into_split();
            // more than a socket takes
            let large: Vec<u8> = (0..32_u32 << 20).map(|n| (n ^ n >> 8 ^ n >> 16) as u8).collect();
            let cases: [[&[u8]; 3]; 4] =
                [[b"head", &large, b"pad"], [b"", &large, b""], [b"head", b"", b"pad"], [b"", b"", b""]];
            for parts in cases {
                let whole = parts.concat();
                let reading = async {
                    let mut read = vec![0; whole.len()];
                    theirs.read_exact(&mut read).await.map(|_| read)
                };
                let (written, read) = tokio::join!(write_all(&writing, parts), reading);
                written.unwrap();
                assert!(read.unwrap() == whole, "{} bytes came otherwise", whole.len());
            }
        });
    }
}
