use super::*;
use strandline_client::wire::read::HeadOf;
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

#[test]
fn a_frame_that_comes_slowly_is_read_and_one_that_does_not_go_on_ends_the_connection() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (socket, mut client) = tokio::io::duplex(1 << 10);
        let (_stop, stopped) = watch::channel(false);
        let (stall, frames) = (Duration::from_secs(1), FrameReader::new(1 << 20));
        let patience = Patience { stall, ..Patience::default() };
        let mut incoming = Incoming {
            socket,
            frames,
            stopped,
            greeted: Arc::new(AtomicBool::new(true)),
            patience,
            pace: Pace::begin(Instant::now(), patience),
            account: None,
            permit: BytePermit::default(),
        };
        let frame = HeadOf { stream_type: "T".to_owned(), stream_id: "s".to_owned() }.encode(1).into_bytes();
        let slowly = async {
            // all of it takes longer than a byte may
            for part in frame.chunks(frame.len().div_ceil(12)) {
                client.write_all(part).await.unwrap();
                sleep(stall / 8).await;
            }
        };
        let (_, read) = tokio::join!(slowly, async {
            assert!(matches!(incoming.step().await, Ok(Step::Head(_))));
            incoming.step().await
        });
        assert!(matches!(read, Ok(Step::Frame(_))));
        incoming.patience.stall = Duration::from_millis(10);
        client.write_all(&frame[..9]).await.unwrap();
        assert!(matches!(incoming.step().await, Err(End::Slow)), "also in the middle of a header");
    });
}
