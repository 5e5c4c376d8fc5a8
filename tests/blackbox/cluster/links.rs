//! What stands between the nodes of a cluster: a proxy in front of each, which knows who speaks by the first frame of a connection (PROTOCOL.md,
//! Hello), and cuts, delays, breaks or repeats what one node says to another.

use crate::harness::Random;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A header of 32 bytes, and in the body of a Hello the id of who connects at 40.
const HELLO_BYTES: usize = 80;
const NODE_AT: usize = 72;

/// How the links are.
#[derive(Default)]
struct Weather {
    /// From, to: nothing gets through.
    cut: BTreeSet<(u64, u64)>,
    /// Each piece of bytes waits so long.
    delay: Duration,
    /// One connection in so many breaks at a piece; 0: none.
    breaks_one_in: u64,
    /// Of each new connection everything comes once more, so late, over another one.
    late: Option<Duration>,
    /// Connections that are open, with who speaks to whom.
    open: Vec<((u64, u64), TcpStream)>,
    dice: Option<Random>,
    /// Connections that broke by the dice.
    broken: u64,
    /// Pieces that came a second time.
    repeated: u64,
}

/// The links of a cluster.
pub(super) struct Links {
    ports: Vec<u16>,
    weather: Arc<Mutex<Weather>>,
}

impl Links {
    /// A link to each of these ports.
    pub(super) fn new(nodes: &[u16]) -> Self {
        let weather: Arc<Mutex<Weather>> = Arc::default();
        let mut ports = Vec::new();
        for (at, port) in nodes.iter().enumerate() {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            ports.push(listener.local_addr().unwrap().port());
            let (weather, port, to) = (Arc::clone(&weather), *port, at as u64 + 1);
            std::thread::spawn(move || {
                for from in listener.incoming().map_while(Result::ok) {
                    let weather = Arc::clone(&weather);
                    std::thread::spawn(move || connect(from, port, to, &weather));
                }
            });
        }
        Self { ports, weather }
    }

    pub(super) fn address(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.ports[node - 1])
    }

    /// From now on nothing gets from one to the other; what is open breaks.
    pub(super) fn cut(&self, from: usize, to: usize) {
        let mut weather = self.weather.lock().unwrap();
        let pair = (from as u64, to as u64);
        weather.cut.insert(pair);
        for (_, stream) in weather.open.iter().filter(|(of, _)| *of == pair) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// A node and the others do not hear each other.
    pub(super) fn isolate(&self, node: usize) {
        for other in (1..=self.ports.len()).filter(|other| *other != node) {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    /// Everything gets through again, late, and connections break now and then.
    pub(super) fn storm(&self, delay: Duration, breaks_one_in: u64, seed: u64) {
        let mut weather = self.weather.lock().unwrap();
        weather.cut.clear();
        weather.late = None;
        (weather.delay, weather.breaks_one_in, weather.dice) = (delay, breaks_one_in, Some(Random(seed)));
    }

    /// From now on each connection is there twice: what comes over the second one has come before, and what was said later too.
    pub(super) fn echo(&self, late: Duration) {
        let mut weather = self.weather.lock().unwrap();
        weather.late = Some(late);
        // those that are open have no second one
        for (_, stream) in weather.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Connections that a storm has broken.
    pub(super) fn broken(&self) -> u64 {
        self.weather.lock().unwrap().broken
    }

    /// Pieces that came a second time.
    pub(super) fn repeated(&self) -> u64 {
        self.weather.lock().unwrap().repeated
    }

    pub(super) fn heal(&self) {
        self.storm(Duration::ZERO, 0, 0);
    }
}

fn connect(mut from: TcpStream, port: u16, to: u64, weather: &Arc<Mutex<Weather>>) {
    let mut hello = [0; HELLO_BYTES];
    if from.read_exact(&mut hello).is_err() {
        return;
    }
    let node = u64::from_le_bytes(hello[NODE_AT..].try_into().unwrap());
    let Ok(mut there) = TcpStream::connect(("127.0.0.1", port)) else { return };
    let late = {
        let mut weather = weather.lock().unwrap();
        if weather.cut.contains(&(node, to)) {
            return;
        }
        weather.open.push(((node, to), from.try_clone().unwrap()));
        if weather.open.len() > 1_000 {
            weather.open.drain(..500);
        }
        weather.late
    };
    if there.write_all(&hello).is_err() {
        return;
    }
    let back = (there.try_clone().unwrap(), from.try_clone().unwrap());
    let heard = Arc::clone(weather);
    // an answer goes the other way: one who is cut off from `to` may still be answered by it, if the link was cut one way
    std::thread::spawn(move || copy(back, (node, to), &heard, None));
    let echo = late.and_then(|late| echo(port, &hello, late, Arc::clone(weather)));
    copy((from, there), (node, to), weather, echo.as_ref());
}

/// A second connection; what is given to it arrives so late. Nobody hears what is answered there.
fn echo(port: u16, hello: &[u8], late: Duration, weather: Arc<Mutex<Weather>>) -> Option<Sender<(Instant, Vec<u8>)>> {
    let mut there = TcpStream::connect(("127.0.0.1", port)).ok()?;
    there.write_all(hello).ok()?;
    let mut answers = there.try_clone().ok()?;
    std::thread::spawn(move || std::io::copy(&mut answers, &mut std::io::sink()));
    let (pieces, came) = channel::<(Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        for (at, piece) in came {
            std::thread::sleep((at + late).saturating_duration_since(Instant::now()));
            if there.write_all(&piece).is_err() {
                break;
            }
            weather.lock().unwrap().repeated += 1;
        }
        let _ = there.shutdown(Shutdown::Both);
    });
    Some(pieces)
}

fn copy(
    (mut from, mut to): (TcpStream, TcpStream),
    pair: (u64, u64),
    weather: &Mutex<Weather>,
    echo: Option<&Sender<(Instant, Vec<u8>)>>,
) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(bytes @ 1..) = from.read(&mut piece) {
        let (delay, breaks) = {
            let mut weather = weather.lock().unwrap();
            let one_in = weather.breaks_one_in;
            let breaks = weather.dice.as_mut().is_some_and(|dice| one_in > 0 && dice.below(one_in) == 0);
            weather.broken += u64::from(breaks);
            (weather.delay, breaks || weather.cut.contains(&pair))
        };
        if breaks {
            break;
        }
        std::thread::sleep(delay);
        if let Some(echo) = echo {
            // the second one may have been closed
            let _ = echo.send((Instant::now(), piece[..bytes].to_vec()));
        }
        if to.write_all(&piece[..bytes]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
