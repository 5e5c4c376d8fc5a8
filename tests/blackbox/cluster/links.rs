//! What stands between the nodes of a cluster: a proxy in front of each, which knows who speaks by the first frame of a connection (PROTOCOL.md,
//! Hello), and cuts, delays or breaks what one node says to another.

use crate::harness::Random;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
    /// Connections that are open, with who speaks to whom.
    open: Vec<((u64, u64), TcpStream)>,
    dice: Option<Random>,
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
        (weather.delay, weather.breaks_one_in, weather.dice) = (delay, breaks_one_in, Some(Random(seed)));
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
    {
        let mut weather = weather.lock().unwrap();
        if weather.cut.contains(&(node, to)) {
            return;
        }
        weather.open.push(((node, to), from.try_clone().unwrap()));
        if weather.open.len() > 1_000 {
            weather.open.drain(..500);
        }
    }
    if there.write_all(&hello).is_err() {
        return;
    }
    let back = (there.try_clone().unwrap(), from.try_clone().unwrap());
    let heard = Arc::clone(weather);
    // an answer goes the other way: one who is cut off from `to` may still be answered by it, if the link was cut one way
    std::thread::spawn(move || copy(back.0, back.1, (node, to), &heard));
    copy(from, there, (node, to), weather);
}

fn copy(mut from: TcpStream, mut to: TcpStream, pair: (u64, u64), weather: &Mutex<Weather>) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(bytes @ 1..) = from.read(&mut piece) {
        let (delay, breaks) = {
            let mut weather = weather.lock().unwrap();
            let one_in = weather.breaks_one_in;
            let breaks = weather.dice.as_mut().is_some_and(|dice| one_in > 0 && dice.below(one_in) == 0);
            (weather.delay, breaks || weather.cut.contains(&pair))
        };
        if breaks {
            break;
        }
        std::thread::sleep(delay);
        if to.write_all(&piece[..bytes]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
