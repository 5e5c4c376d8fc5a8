use super::*;
use crate::net::tests::appends_in;
use crate::wire::append::decode_append;
use crate::wire::append_rows::decode_append_rows;
use crate::wire::frames::{FrameReader, Step};
use crate::wire::outcome::OutcomesWriter;
use crate::wire::read::encode_scan_more;
use strandline_event::{BatchBuilder, Chunk, EventInput, IdPrefix, Micros, Seq, StampsBuilder};
use tokio::sync::Semaphore;

type Answer = oneshot::Receiver<Result<Appended, ClientError>>;

fn welcome(checks_commands: bool, requests_max: u32) -> Welcome {
    Welcome {
        version: 1,
        checks_commands,
        body_max: 1 << 20,
        requests_max,
        store: String::new(),
        program: String::new(),
    }
}

/// Of a server that has taken rows of one batch before.
fn told(requests_max: u32) -> Queue {
    Queue { takes_rows: TakesRows::Yes, ..Queue::new(welcome(true, requests_max)) }
}

fn held() -> OwnedSemaphorePermit {
    Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap()
}

fn batch(unit: BatchUnit, commands: &[Option<&str>], chunk: bool) -> BatchBytes {
    let mut builder = BatchBuilder::new("T", unit);
    if chunk {
        builder.set_chunk(Chunk { digest: [1; 16], number: 1 });
    }
    for command_id in commands {
        let event = EventInput { stream_id: "s", event_type: "E", command_id: *command_id, ..EventInput::default() };
        builder.push(&event).unwrap();
    }
    builder.finish().unwrap()
}

fn single(queue: &mut Queue, command: Option<&str>) -> Answer {
    let (reply, answer) = oneshot::channel();
    let batch = batch(BatchUnit::Append, &[command], false);
    queue.push_single(Single { batch, expected: Expected::Any, reply, broken: 0, held: held() });
    answer
}

fn ping(queue: &mut Queue) -> (u64, oneshot::Receiver<Result<Heard, ClientError>>) {
    let (reply, answer) = oneshot::channel();
    let id = queue.next_id();
    let (frame, reply) = (Arc::new(encode_empty(Kind::Ping, id)), Reply::One(reply));
    queue.push_request(Request { id, frame, repeat: Repeat::Always, reply, broken: 0, held: None });
    (id, answer)
}

fn scan(queue: &mut Queue) -> (u64, mpsc::UnboundedReceiver<Result<Frame, ClientError>>) {
    let (reply, parts) = mpsc::unbounded_channel();
    let id = queue.next_id();
    let (frame, reply) = (Arc::new(encode_empty(Kind::Scan, id)), Reply::Many(reply));
    queue.push_request(Request { id, frame, repeat: Repeat::Never, reply, broken: 0, held: None });
    (id, parts)
}

/// An append with a command id that is a frame of its own.
fn alone(queue: &mut Queue, bytes: usize) -> oneshot::Receiver<Result<Heard, ClientError>> {
    let (data, command_id) = (format!("\"{}\"", "x".repeat(bytes)), Some("alone"));
    let mut builder = BatchBuilder::new("T", BatchUnit::Append);
    let event = EventInput { stream_id: "s", event_type: "E", data: &data, command_id, ..EventInput::default() };
    builder.push(&event).unwrap();
    let batch = builder.finish().unwrap();
    let (reply, answer) = oneshot::channel();
    let (id, repeat) = (queue.next_id(), Repeat::of(&batch));
    let frame = Arc::new(encode_append(id, std::iter::once((&batch, Expected::Any)), false));
    let request = Request { id, frame, repeat, reply: Reply::One(reply), broken: 0, held: Some(held()) };
    queue.push_request(request).into_iter().for_each(Untold::tell);
    answer
}

fn breaks(queue: &mut Queue) {
    queue.broke("gone").into_iter().for_each(Untold::tell);
}

fn renew(queue: &mut Queue, welcome: Welcome) {
    queue.renew(welcome).unwrap().into_iter().for_each(Untold::tell);
}

/// What goes to the socket, as the frames that the server would see.
fn sent(queue: &mut Queue) -> Vec<Frame> {
    let mut taken = queue.take();
    taken.encode();
    queue.on_its_way(&mut taken);
    taken.frames.iter().map(|frame| cut(Encoded::clone(frame))).collect()
}

fn cut(frame: Encoded) -> Frame {
    let (bytes, mut reader) = (frame.into_bytes(), FrameReader::new(1 << 20));
    let mut rest = &bytes[..];
    loop {
        match reader.step().unwrap() {
            Step::Frame(frame) => return frame,
            Step::Head(_) | Step::Skipped(_) => {}
            Step::More => {
                let space = reader.space();
                let count = space.len().min(rest.len());
                space[..count].copy_from_slice(&rest[..count]);
                reader.filled(count);
                rest = &rest[count..];
            }
        }
    }
}

/// The server's answer: each append is stored, but for those that it refuses.
fn appended(frame: &Frame, refuse: &[usize]) -> Frame {
    let count = appends_in(frame);
    let mut out = OutcomesWriter::new(Kind::Appended, frame.header.request, count);
    for at in 0..count {
        let mut stamps = StampsBuilder::new(Micros(1), IdPrefix::v7(Micros(1), 1), 1);
        stamps.push(Seq(at as u64 + 1), Micros(1));
        match refuse.contains(&at) {
            true => out.refused(&Refused::new(ErrorKind::WrongExpectedSeq, "elsewhere")),
            false => out.appended(&Appended::Stored(stamps.finish())),
        }
    }
    cut(out.finish())
}

#[test]
fn appends_that_wait_together_go_together_and_are_answered_each() {
    let mut queue = told(256);
    let mut first = single(&mut queue, None);
    let one = sent(&mut queue);
    let mut others: Vec<Answer> = (0..5).map(|_| single(&mut queue, None)).collect();
    let two = sent(&mut queue);
    let _more = single(&mut queue, None);
    let three = sent(&mut queue);
    let mut last = single(&mut queue, None);
    assert!(sent(&mut queue).is_empty(), "three are on their way: what comes then waits for company");
    assert_eq!((one.len(), two.len(), three.len()), (1, 1, 1));
    // answers in any order
    queue.answered(&two[0]).unwrap().deliver(appended(&two[0], &[1])).unwrap();
    let told: Vec<_> = others.iter_mut().map(|answer| answer.try_recv().unwrap().map(|a| a.first_seq().0)).collect();
    assert!(matches!(&told[..], [Ok(1), Err(ClientError::Refused(_)), Ok(3), Ok(4), Ok(5)]), "{told:?}");
    assert!(first.try_recv().is_err());
    assert_eq!(sent(&mut queue).len(), 1);
    queue.answered(&one[0]).unwrap().deliver(appended(&one[0], &[])).unwrap();
    assert!(first.try_recv().unwrap().is_ok() && last.try_recv().is_err());
    assert!(queue.answered(&one[0]).is_none(), "answered once");
}

#[test]
fn callers_are_spread_over_the_frames_that_may_be_on_their_way() {
    let waiting =
        |queue: &mut Queue, count: usize| -> Vec<Answer> { (0..count).map(|_| single(queue, None)).collect() };
    let next = |queue: &mut Queue| -> (Frame, usize) {
        let frame = sent(queue).remove(0);
        let count = appends_in(&frame);
        (frame, count)
    };
    let mut queue = told(256);
    let _answers = waiting(&mut queue, 64);
    let (frames, counts): (Vec<Frame>, Vec<usize>) = (0..3).map(|_| next(&mut queue)).unzip();
    assert_eq!(counts, [22, 22, 20]);
    // who is answered together does not go together from then on
    for frame in &frames[1..] {
        queue.answered(frame).unwrap().deliver(appended(frame, &[])).unwrap();
    }
    let _more = waiting(&mut queue, 42);
    assert_eq!([next(&mut queue).1, next(&mut queue).1], [22, 20]);
    assert!(sent(&mut queue).is_empty());
    // a connection that broke owes nothing any more
    breaks(&mut queue);
    let _few = waiting(&mut queue, GATHERED_MIN);
    assert_eq!(next(&mut queue).1, GATHERED_MIN);
    // of a server that takes one request at a time nothing is left waiting
    let mut queue = told(1);
    let _all = waiting(&mut queue, 64);
    assert_eq!(next(&mut queue).1, 64);
}

#[test]
fn what_is_gathered_fits_into_the_servers_limit() {
    let one = BYTES_BEFORE + bytes_in_frame(&batch(BatchUnit::Append, &[None], false));
    let mut queue = Queue::new(Welcome { body_max: 3 * one as u32, ..welcome(true, 256) });
    let _answers: Vec<Answer> = (0..9).map(|_| single(&mut queue, None)).collect();
    let frame = sent(&mut queue).remove(0);
    assert!(frame.body.len() <= 3 * one && appends_in(&frame) >= 3);
}

/// An event of a stream type, and of more than one event where that is asked for.
fn events(queue: &mut Queue, stream_type: &str, (tenant_id, seq): (Option<&str>, Option<Seq>), count: usize) -> Answer {
    let (reply, answer) = oneshot::channel();
    let mut builder = BatchBuilder::new(stream_type, BatchUnit::Append);
    for _ in 0..count {
        let event = EventInput { stream_id: "s", event_type: "E", tenant_id, seq, ..EventInput::default() };
        builder.push(&event).unwrap();
    }
    let batch = builder.finish().unwrap();
    queue.push_single(Single { batch, expected: Expected::At(Seq(7)), reply, broken: 0, held: held() });
    answer
}

#[test]
fn single_events_of_one_stream_type_and_tenant_go_as_rows_and_others_do_not() {
    let plain = ("T", (None, None), 1);
    for (other, are_rows) in [
        (plain, true),
        (("U", (None, None), 1), false),
        (("T", (Some("a"), None), 1), false),
        (("T", (None, Some(Seq(8))), 1), false),
        (("T", (None, None), 2), false),
    ] {
        let mut queue = Queue::new(welcome(true, 256));
        let _answers = [plain, other].map(|(stream_type, facts, count)| events(&mut queue, stream_type, facts, count));
        let frame = sent(&mut queue).remove(0);
        assert_eq!(frame.header.kind == Kind::AppendRows.to_u8(), are_rows, "{other:?}");
        if are_rows {
            let rows = decode_append_rows(&frame.body).unwrap();
            assert_eq!(rows.expected, [Expected::At(Seq(7)); 2]);
            assert_eq!(rows.batch.view().unit(), BatchUnit::Rows);
        } else {
            assert_eq!(decode_append(&frame.body).unwrap().appends.len(), 2);
        }
    }
}

/// Two hundred events of three kilobytes, of these stream types in turn.
fn two_hundred(queue: &mut Queue, stream_types: &[&str]) -> Vec<Answer> {
    let data = format!("\"{}\"", "x".repeat(3000));
    let one = |stream_type: &str| {
        let (reply, answer) = oneshot::channel();
        let mut builder = BatchBuilder::new(stream_type, BatchUnit::Append);
        builder.push(&EventInput { stream_id: "s", event_type: "E", data: &data, ..EventInput::default() }).unwrap();
        let batch = builder.finish().unwrap();
        queue.push_single(Single { batch, expected: Expected::Any, reply, broken: 0, held: held() });
        answer
    };
    stream_types.iter().copied().cycle().take(200).map(one).collect()
}

#[test]
fn what_cannot_go_as_rows_is_as_large_as_other_frames_whoever_the_server_is() {
    let mut queue = Queue::new(welcome(true, 256));
    let _answers = two_hundred(&mut queue, &["T", "U"]);
    // none of them waits for a word of the server about rows
    for _ in 0..GATHERED_IN_FLIGHT {
        let frame = sent(&mut queue).remove(0);
        assert_eq!(Kind::from_u8(frame.header.kind), Some(Kind::Append));
        assert!(frame.body.len() > NO_EVENTS_BODY_MAX, "{}", frame.body.len());
    }
}

#[test]
fn what_goes_as_rows_is_no_larger_than_a_server_takes_that_does_not_know_them() {
    let mut queue = Queue::new(welcome(true, 256));
    let _answers = two_hundred(&mut queue, &["T"]);
    let frame = sent(&mut queue).remove(0);
    assert_eq!(Kind::from_u8(frame.header.kind), Some(Kind::AppendRows));
    assert!(frame.body.len() <= NO_EVENTS_BODY_MAX && appends_in(&frame) >= 15, "{}", frame.body.len());
    // once one is answered the server knows them, and they are as large as other frames of events
    let answer = appended(&frame, &[]);
    queue.answered(&answer).unwrap().deliver(answer).unwrap();
    let frame = sent(&mut queue).remove(0);
    assert_eq!(Kind::from_u8(frame.header.kind), Some(Kind::AppendRows));
    assert!(frame.body.len() > NO_EVENTS_BODY_MAX && appends_in(&frame) >= 50, "{}", frame.body.len());
}

#[test]
fn a_server_that_does_not_know_rows_is_given_appends_in_their_order() {
    let mut queue = Queue::new(welcome(true, 256));
    let mut answers = ["a", "b", "c"].map(|command| single(&mut queue, Some(command)));
    let rows = sent(&mut queue).remove(0);
    assert_eq!(Kind::from_u8(rows.header.kind), Some(Kind::AppendRows));
    // what comes meanwhile goes behind them
    let _behind = ["d", "e"].map(|command| single(&mut queue, Some(command)));
    assert!(sent(&mut queue).is_empty(), "whether the server knows rows is not told yet");
    let unknown = Refused::new(ErrorKind::NotSupported, "frames of kind 32 are not served by this version");
    assert!(queue.answered(&cut(unknown.encode(rows.header.request))).is_none());
    assert!(queue.has_waiting() && answers.iter_mut().all(|answer| answer.try_recv().is_err()));
    let frame = sent(&mut queue).remove(0);
    let appends = decode_append(&frame.body).unwrap().appends;
    let commands: Vec<_> = appends.iter().map(|append| append.batch.view().command_id(0)).collect();
    assert_eq!(commands, ["a", "b", "c", "d", "e"].map(Some));
    queue.answered(&frame).unwrap().deliver(appended(&frame, &[1])).unwrap();
    let told = answers.map(|mut answer| answer.try_recv().unwrap().is_ok());
    assert_eq!(told, [true, false, true]);
    // from then on nothing is tried that is not known, until there is another server
    let _more = [single(&mut queue, None), single(&mut queue, None)];
    assert_eq!(Kind::from_u8(sent(&mut queue)[0].header.kind), Some(Kind::Append));
    renew(&mut queue, welcome(true, 256));
    let _most = [single(&mut queue, None), single(&mut queue, None)];
    assert_eq!(Kind::from_u8(sent(&mut queue)[0].header.kind), Some(Kind::AppendRows));
}

#[test]
fn no_more_requests_are_on_their_way_than_the_server_takes() {
    let mut queue = Queue::new(welcome(true, 2));
    let (first, _keep) = ping(&mut queue);
    let more: Vec<_> = (0..3).map(|_| ping(&mut queue)).collect();
    let _waiting = single(&mut queue, None);
    assert_eq!(sent(&mut queue).len(), 2);
    assert!(sent(&mut queue).is_empty());
    queue.answered(&cut(encode_empty(Kind::Pong, first))).unwrap();
    assert_eq!(sent(&mut queue)[0].header.request, more[1].0);
}

#[test]
fn only_what_the_store_knows_again_is_sent_again() {
    for checks_commands in [true, false] {
        let mut queue = Queue::new(welcome(checks_commands, 256));
        let (mut with, mut without) = (single(&mut queue, Some("c")), single(&mut queue, None));
        let (id, mut pong) = ping(&mut queue);
        let before = sent(&mut queue);
        // not on its way yet: nothing of it can have arrived
        let (mut waiting, mut more) = (single(&mut queue, None), single(&mut queue, None));
        queue.broke("gone").into_iter().for_each(Untold::tell);
        assert!(matches!(without.try_recv().unwrap(), Err(ClientError::OutcomeUnknown { .. })));
        assert_eq!(with.try_recv().is_ok(), !checks_commands, "without the check it is unknown too");
        assert!([&mut waiting, &mut more].into_iter().all(|answer| answer.try_recv().is_err()));
        let again = sent(&mut queue);
        assert_eq!((before.len(), again.len(), again[0].header.request), (2, 2, id));
        let gathered = appends_in(&again[1]);
        assert_eq!(gathered, if checks_commands { 3 } else { 2 });
        queue.answered(&again[1]).unwrap().deliver(appended(&again[1], &[])).unwrap();
        assert!(waiting.try_recv().unwrap().is_ok());
        assert!(pong.try_recv().is_err());
    }
}

#[test]
fn who_gives_up_does_not_call_undone_what_may_have_arrived() {
    let mut queue = Queue::new(welcome(true, 256));
    let mut sent_once = single(&mut queue, Some("c"));
    sent(&mut queue);
    queue.broke("gone").into_iter().for_each(Untold::tell);
    let mut never_sent = single(&mut queue, Some("d"));
    let error = ClientError::Unreachable { address: "a".to_owned(), why: "w".to_owned() };
    queue.give_up(&error).into_iter().for_each(Untold::tell);
    assert!(matches!(sent_once.try_recv().unwrap(), Err(ClientError::OutcomeUnknown { .. })));
    assert_eq!(never_sent.try_recv().unwrap().unwrap_err(), error);
    assert!(queue.is_idle());
}

#[test]
fn what_breaks_every_connection_is_not_sent_for_ever() {
    let mut queue = Queue::new(welcome(true, 256));
    let mut answer = single(&mut queue, Some("c"));
    let (_, mut pong) = ping(&mut queue);
    for _ in 1..BROKEN_MAX {
        assert_eq!(sent(&mut queue).len(), 2);
        queue.broke("gone").into_iter().for_each(Untold::tell);
        assert!(answer.try_recv().is_err() && pong.try_recv().is_err());
    }
    assert_eq!(sent(&mut queue).len(), 2);
    queue.broke("gone").into_iter().for_each(Untold::tell);
    assert!(matches!(answer.try_recv().unwrap(), Err(ClientError::OutcomeUnknown { .. })));
    assert!(pong.try_recv().unwrap().is_err() && queue.is_idle());
}

#[test]
fn a_scan_that_broke_is_not_begun_again() {
    let mut queue = Queue::new(welcome(true, 256));
    let (id, mut parts) = scan(&mut queue);
    sent(&mut queue);
    for is_last in [false, true] {
        let part = cut(crate::wire::read::begin_scan_part(id, is_last, 0).finish());
        queue.answered(&part).unwrap().deliver(part).unwrap();
        assert!(parts.try_recv().unwrap().is_ok());
        assert_eq!(queue.is_owed(), !is_last);
    }
    let (_, mut parts) = scan(&mut queue);
    sent(&mut queue);
    queue.broke("gone").into_iter().for_each(Untold::tell);
    assert!(matches!(parts.try_recv().unwrap(), Err(ClientError::Broken { .. })));
    assert!(queue.is_idle());
}

#[test]
fn a_scan_that_is_given_up_leaves_its_place() {
    let mut queue = Queue::new(welcome(true, 1));
    let (first, _parts) = scan(&mut queue);
    sent(&mut queue);
    // one that was not sent yet is not begun, and not cancelled
    let (second, _parts) = scan(&mut queue);
    queue.cancel(second);
    let (_, mut pong) = ping(&mut queue);
    assert!(sent(&mut queue).is_empty(), "the one place is taken");
    queue.cancel(first);
    let frames: Vec<_> = sent(&mut queue).iter().map(|frame| (frame.header.kind, frame.header.request)).collect();
    assert_eq!(frames, [(Kind::ScanCancel.to_u8(), first), (Kind::Ping.to_u8(), second + 1)]);
    let late = cut(crate::wire::read::begin_scan_part(first, true, 0).finish());
    assert!(queue.answered(&late).is_none());
    let answer = cut(encode_empty(Kind::Pong, second + 1));
    queue.answered(&answer).unwrap().deliver(answer).unwrap();
    assert!(pong.try_recv().unwrap().is_ok());
    queue.cancel(first);
    assert!(queue.is_idle(), "what is over is not cancelled again");
}

#[test]
fn a_grant_passes_what_waits_for_a_place() {
    let mut queue = Queue::new(welcome(true, 1));
    let (id, mut parts) = scan(&mut queue);
    sent(&mut queue);
    let (waiting, _pong) = ping(&mut queue);
    let _single = single(&mut queue, None);
    queue.push_word(id, encode_scan_more(id, 9));
    let frames: Vec<_> = sent(&mut queue).iter().map(|frame| (frame.header.kind, frame.header.request)).collect();
    assert_eq!(frames, [(Kind::ScanMore.to_u8(), id)], "the scan, which has the one place, would never end");
    assert!(sent(&mut queue).is_empty(), "once, and nothing else goes");
    let part = cut(crate::wire::read::begin_scan_part(id, true, 0).finish());
    queue.answered(&part).unwrap().deliver(part).unwrap();
    assert!(parts.try_recv().unwrap().is_ok());
    assert_eq!(sent(&mut queue)[0].header.request, waiting);
    // of a connection that is gone nothing is granted on the next
    queue.push_word(id, encode_scan_more(id, 9));
    breaks(&mut queue);
    let kinds: Vec<_> = sent(&mut queue).iter().map(|frame| frame.header.kind).collect();
    assert_eq!(kinds, [Kind::Ping.to_u8()]);
}

#[test]
fn what_waits_is_judged_by_the_welcome_of_the_next_connection() {
    let mut queue = Queue::new(welcome(true, 256));
    let mut sent_once = single(&mut queue, Some("c"));
    let (_, mut pong) = ping(&mut queue);
    assert_eq!(sent(&mut queue).len(), 2);
    breaks(&mut queue);
    let (mut never_sent, mut large) = (single(&mut queue, None), alone(&mut queue, 20 << 10));
    assert!(sent_once.try_recv().is_err(), "it waits for the next connection");
    renew(&mut queue, welcome(false, 256));
    let told = sent_once.try_recv().unwrap().unwrap_err();
    assert!(matches!(&told, ClientError::OutcomeUnknown { why } if why.contains("command ids")), "{told}");
    assert!(pong.try_recv().is_err() && never_sent.try_recv().is_err() && large.try_recv().is_err());
    // what was never sent is not done
    renew(&mut queue, Welcome { body_max: 8 << 10, ..welcome(true, 256) });
    assert_eq!(large.try_recv().unwrap().unwrap_err().kind(), Some(ErrorKind::TooLarge));
    // nor is what was made while the last limit held
    let mut late = alone(&mut queue, 20 << 10);
    assert_eq!(late.try_recv().unwrap().unwrap_err().kind(), Some(ErrorKind::TooLarge));
    let kinds: Vec<_> = sent(&mut queue).iter().map(|frame| frame.header.kind).collect();
    assert_eq!(kinds, [Kind::Ping, Kind::Append].map(Kind::to_u8));
}

#[test]
fn what_may_have_arrived_and_fits_no_longer_is_not_called_undone() {
    let mut queue = Queue::new(welcome(true, 256));
    let (mut large, mut small) = (alone(&mut queue, 20 << 10), single(&mut queue, Some("c")));
    assert_eq!(sent(&mut queue).len(), 2);
    breaks(&mut queue);
    renew(&mut queue, Welcome { body_max: 8 << 10, ..welcome(true, 256) });
    let told = large.try_recv().unwrap().unwrap_err();
    assert!(matches!(&told, ClientError::OutcomeUnknown { why } if why.contains("limit of 8192")), "{told}");
    let again = sent(&mut queue);
    assert_eq!(again.len(), 1);
    queue.answered(&again[0]).unwrap().deliver(appended(&again[0], &[])).unwrap();
    assert!(small.try_recv().unwrap().is_ok());
}

#[test]
fn a_refusal_of_what_was_sent_again_is_told_as_one_only_where_the_store_has_judged_it() {
    let kinds = [(ErrorKind::Overloaded, false), (ErrorKind::NotLeader, false), (ErrorKind::WrongExpectedSeq, true)];
    for ((kind, is_judged), again) in kinds.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        // an outcome of its own, or the refusal of the frame
        for is_whole in [false, true] {
            let mut queue = Queue::new(welcome(true, 256));
            let mut answer = single(&mut queue, Some("c"));
            let mut frame = sent(&mut queue).remove(0);
            if again {
                breaks(&mut queue);
                frame = sent(&mut queue).remove(0);
            }
            let (request, refused) = (frame.header.request, Refused::new(kind, "no"));
            let mut out = OutcomesWriter::new(Kind::Appended, request, 1);
            out.refused(&refused);
            let refused = cut(if is_whole { refused.encode(request) } else { out.finish() });
            queue.answered(&refused).unwrap().deliver(refused).unwrap();
            let told = answer.try_recv().unwrap().unwrap_err();
            let is_refused = matches!(told, ClientError::Refused(_));
            assert_eq!(is_refused, is_judged || !again, "{kind:?} {again} {is_whole}: {told}");
        }
    }
}

#[test]
fn nothing_goes_to_another_store() {
    let mut queue = Queue::new(welcome(true, 256));
    let mut waiting = single(&mut queue, None);
    let error = queue.renew(Welcome { store: "other".to_owned(), ..welcome(true, 256) }).err().unwrap();
    assert_eq!(error.kind(), Some(ErrorKind::NotFound));
    queue.give_up(&error).into_iter().for_each(Untold::tell);
    assert_eq!(waiting.try_recv().unwrap().unwrap_err(), error);
    assert!(queue.is_idle());
}

#[test]
fn an_answer_to_another_number_of_appends_ends_the_connection() {
    let mut queue = Queue::new(welcome(true, 256));
    let mut answers: Vec<Answer> = (0..2).map(|_| single(&mut queue, None)).collect();
    let frames = sent(&mut queue);
    let mut out = OutcomesWriter::new(Kind::Appended, frames[0].header.request, 1);
    out.refused(&Refused::new(ErrorKind::Io, "x"));
    assert!(queue.answered(&frames[0]).unwrap().deliver(cut(out.finish())).is_err());
    assert!(answers.iter_mut().all(|a| matches!(a.try_recv().unwrap(), Err(ClientError::OutcomeUnknown { .. }))));
    // a refusal of the whole frame is everybody's, and no reason to end
    let mut answers: Vec<Answer> = (0..2).map(|_| single(&mut queue, None)).collect();
    let frames = sent(&mut queue);
    let refused = cut(Refused::new(ErrorKind::Overloaded, "full").encode(frames[0].header.request));
    queue.answered(&frames[0]).unwrap().deliver(refused).unwrap();
    let overloaded =
        |answer: &mut Answer| answer.try_recv().unwrap().unwrap_err().kind() == Some(ErrorKind::Overloaded);
    assert!(answers.iter_mut().all(overloaded));
    // nor is an answer that was too large for this client: the appends may be stored, and the connection is good
    let mut answers: Vec<Answer> = (0..2).map(|_| single(&mut queue, None)).collect();
    let frames = sent(&mut queue);
    let unknown = Refused { code: crate::wire::refused::OUTCOME_UNKNOWN.to_owned(), ..Refused::default() };
    let unknown = cut(unknown.encode(frames[0].header.request));
    queue.answered(&frames[0]).unwrap().deliver(unknown).unwrap();
    assert!(answers.iter_mut().all(|a| matches!(a.try_recv().unwrap(), Err(ClientError::OutcomeUnknown { .. }))));
}

#[test]
fn what_may_be_repeated() {
    use BatchUnit::{Append, Rows};
    let (with, without) = (Some("c"), None);
    for (unit, commands, chunk, wanted) in [
        (Append, &[with, with][..], false, Repeat::IfCommandsAreChecked),
        (Append, &[without], false, Repeat::Never),
        (Rows, &[with, with], false, Repeat::IfCommandsAreChecked),
        (Rows, &[with, without], false, Repeat::Never),
        (Rows, &[without], true, Repeat::Always),
    ] {
        assert_eq!(Repeat::of(&batch(unit, commands, chunk)), wanted);
    }
    let all = [batch(Rows, &[with], true), batch(Rows, &[with], false)];
    assert_eq!(Repeat::of_all(&all), Repeat::IfCommandsAreChecked);
}
