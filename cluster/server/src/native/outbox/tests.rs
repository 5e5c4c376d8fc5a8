use super::*;
use std::time::Duration;
use strandline_client::wire::fields::{Reader, Writer};
use strandline_client::wire::frames::{Frame, FrameReader, Step};

fn frame(kind: Kind, body_bytes: usize) -> Vec<u8> {
    let mut out = Writer::new(kind, 7);
    out.zeros(body_bytes);
    out.finish().into_bytes()
}

fn cut(bytes: &[u8]) -> Frame {
    let (mut frames, mut rest) = (FrameReader::new(1 << 20), bytes);
    loop {
        match frames.step().unwrap() {
            Step::Frame(frame) => return frame,
            Step::Head(_) | Step::Skipped(_) => {}
            Step::More => {
                let space = frames.space();
                let count = space.len().min(rest.len());
                space[..count].copy_from_slice(&rest[..count]);
                frames.filled(count);
                rest = &rest[count..];
            }
        }
    }
}

#[test]
fn an_answer_that_the_client_does_not_take_calls_no_append_refused() {
    let outbox = Outbox::new(1000, Patience::default());
    outbox.set_body_max(100);
    for (kind, code) in [
        (Kind::Appended, OUTCOME_UNKNOWN),
        (Kind::BulkAppended, OUTCOME_UNKNOWN),
        (Kind::StreamPage, "too_large"),
        (Kind::ScanPart, "too_large"),
    ] {
        assert!(outbox.answer(7, frame(kind, 96), BytePermit::default(), BytePermit::default()), "it is taken");
        assert!(!outbox.answer(7, frame(kind, 101), BytePermit::default(), BytePermit::default()));
        let mut waiting = outbox.waiting.lock();
        let told = cut(&waiting.frames.pop_back().unwrap().0);
        assert_eq!((told.header.kind, told.header.request), (Kind::Error.to_u8(), 7));
        assert_eq!(Refused::read(&mut Reader::new(&told.body)).unwrap().code, code, "{kind:?}");
    }
}

#[test]
fn who_takes_nothing_ends_and_what_waited_is_given_back() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let node = BytePermits::new(4000);
        let patience = Patience { stall: Duration::from_millis(20), ..Patience::default() };
        let outbox = Outbox::new(1000, patience);
        let (ours, _silent) = tokio::io::duplex(64);
        for _ in 0..2 {
            let room = outbox.reserve(500).await;
            assert!(outbox.answer(7, frame(Kind::StreamPage, 300), room, node.take(300).unwrap()));
        }
        // what is reserved is what is made, and no more than the connection's own part of the node's account
        assert_eq!((outbox.account.in_flight_bytes(), node.in_flight_bytes()), (2 * 336, 600));
        let third = outbox.reserve(500);
        tokio::pin!(third);
        assert!(futures_util::poll!(third.as_mut()).is_pending(), "no further answer is begun");
        outbox.write_to(ours).await;
        third.await;
        assert!(!outbox.has_room().await, "the connection is over");
        assert_eq!(node.in_flight_bytes(), 0);
    });
}

#[test]
fn an_answer_is_written_where_it_is_made_and_what_is_cut_goes_on_in_order() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let outbox = Outbox::new(1 << 20, Patience::default());
        let took = std::sync::Arc::new(Mutex::new((Vec::new(), 150_usize)));
        let socket = std::sync::Arc::clone(&took);
        // takes 150 bytes, then nothing
        outbox.set_direct(Box::new(move |bytes| {
            let (taken, room) = &mut *socket.lock();
            let count = bytes.len().min(*room);
            *room -= count;
            taken.extend_from_slice(&bytes[..count]);
            if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
        }));
        let frames: Vec<Vec<u8>> = (0..3_u8).map(|byte| vec![byte; 100]).collect();
        frames.iter().for_each(|frame| outbox.push(frame.clone()));
        assert_eq!(took.lock().0.len(), 150, "nothing passes the frame that was cut");
        outbox.close();
        let mut rest = Vec::new();
        outbox.write_to(std::io::Cursor::new(&mut rest)).await;
        let all: Vec<u8> = took.lock().0.iter().chain(&rest).copied().collect();
        assert_eq!(all, frames.concat());
    });
}
