//! Ports of nodes that are theirs as long as a test runs, whichever other tests run beside it.

use super::Random;
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::TcpListener;
use std::ops::Range;
use std::sync::Mutex;

/// Ports that Linux gives to nobody who asks for any (`net.ipv4.ip_local_port_range` begins behind them).
const FIXED_PORTS: Range<u16> = 10_240..32_768;

/// Locked files of the ports that this process has taken; they go with it.
static TAKEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// Ports of a node: cluster, HTTP, native. They stay the same when it starts again.
#[derive(Clone, Copy)]
pub(crate) struct Ports(pub(crate) [u16; 3]);

impl Ports {
    /// From below the range that the system gives out by itself: while a node is away, its ports are nobody's.
    pub(crate) fn free() -> Self {
        let mut random = Random(RandomState::new().build_hasher().finish());
        let mut port = || loop {
            let port = FIXED_PORTS.start + random.below(FIXED_PORTS.len() as u64) as u16;
            if take(port) {
                return port;
            }
        };
        Self([port(), port(), port()])
    }
}

/// Takes a port for this process: a test that runs beside it may have chosen the same one, and nobody may listen yet.
fn take(port: u16) -> bool {
    let folder = std::env::temp_dir().join("strandline-test-ports");
    std::fs::create_dir_all(&folder).unwrap();
    let lock = File::create(folder.join(port.to_string())).unwrap();
    let free = lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok();
    if free {
        TAKEN.lock().unwrap().push(lock);
    }
    free
}

#[test]
fn ports_are_given_to_one_test_at_a_time() {
    let Ports(ports) = Ports::free();
    assert!(ports.iter().all(|port| !take(*port)), "{ports:?}");
}
