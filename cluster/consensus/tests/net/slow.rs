//! Time on a connection between nodes: of which nothing comes, or the half of something, that one ends, and the other side is told why. The
//! clock is the test's.

use crate::frames::hello;
use crate::node::{CLUSTER, World, call};
use std::sync::Arc;
use std::time::Duration;
use strandline_consensus::net::limits::{CONNECT_WITHIN, IDLE, STALL, STRANGER_IDLE};
use strandline_consensus::net::{Hello, Identity, Listener, Opened, encode_call};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::Instant;

/// What is said to a connection of which no more than this comes, and after how long it has ended.
async fn left(world: &Arc<World>, sent: &[u8]) -> (String, Duration) {
    let (ours, mut theirs) = duplex(64 << 10);
    let listener = Listener::new(Identity::new(2, 2, CLUSTER, "test"), world.clone(), world.clone());
    let begun = Instant::now();
    let serving = tokio::spawn(listener.connection(Opened::plain(Box::new(ours))));
    theirs.write_all(sent).await.unwrap();
    let mut told = Vec::new();
    theirs.read_to_end(&mut told).await.unwrap();
    serving.await.unwrap();
    (String::from_utf8_lossy(&told).into_owned(), begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_which_nothing_comes_ends_in_its_time() {
    let world = Arc::new(World::default());
    world.strangers.lock().insert(9);
    let greeting = |node| Hello { cluster: CLUSTER, to: 2, node, ..hello() }.encode().into_bytes();
    let half = encode_call(1, &call(b"x")).into_bytes()[..40].to_vec();
    for (sent, limit) in [
        (Vec::new(), CONNECT_WITHIN),
        (greeting(1)[..9].to_vec(), STALL),
        (greeting(1), IDLE),
        (greeting(9), STRANGER_IDLE),
        ([greeting(1), half].concat(), STALL),
    ] {
        let (told, passed) = left(&world, &sent).await;
        let bytes = sent.len();
        assert!((limit..limit + Duration::from_secs(1)).contains(&passed), "{bytes} bytes: {passed:?}");
        assert!(told.contains(&format!("nothing was heard for {} seconds", limit.as_secs())), "{bytes} bytes: {told}");
    }
    assert!(world.seen.lock().is_empty());
}
