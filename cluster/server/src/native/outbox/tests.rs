use super::*;
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
    let outbox = Outbox::new();
    outbox.set_body_max(100);
    for (kind, code) in [
        (Kind::Appended, OUTCOME_UNKNOWN),
        (Kind::BulkAppended, OUTCOME_UNKNOWN),
        (Kind::StreamPage, "too_large"),
        (Kind::ScanPart, "too_large"),
    ] {
        assert!(outbox.answer(7, frame(kind, 96), None), "it is taken");
        assert!(!outbox.answer(7, frame(kind, 101), None));
        let mut waiting = outbox.waiting.lock();
        let told = cut(&waiting.frames.pop_back().unwrap().0);
        assert_eq!((told.header.kind, told.header.request), (Kind::Error.to_u8(), 7));
        assert_eq!(Refused::read(&mut Reader::new(&told.body)).unwrap().code, code, "{kind:?}");
    }
}
