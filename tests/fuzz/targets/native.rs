//! Any bytes into the cutter of frames, and any body into the decoder of its kind; what it gives is read as its receiver reads it. No panic, no
//! frame without a right checksum.
//!
//! The first byte of an input says how it is used:
//! even, the bytes are a stream; odd, the second byte is a kind and the rest a body whose checksums are right.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strandline_client::wire::events::Events;
use strandline_client::wire::fields::Reader;
use strandline_client::wire::frames::{Frame, FrameReader, Step};
use strandline_client::wire::header::{Header, Kind};
use strandline_client::wire::{append, append_rows, hello, outcome, read, refused, stay, subscribe};
use strandline_event::BatchBytes;
use strandline_event::foreign::check_foreign;

fuzz_target!(|input: &[u8]| {
    match input {
        [how, kind, body @ ..] if how % 2 == 1 => {
            let crc = crc32c(body);
            let header = Header { kind: *kind, request: 1, body_bytes: body.len() as u32, body_crc: crc };
            let mut bytes = header.encode().to_vec();
            bytes.extend_from_slice(body);
            bytes.resize(bytes.len().next_multiple_of(16), 0);
            assert_eq!(frames(&bytes), 1, "a frame with right checksums is one");
        }
        [_, stream @ ..] => drop(frames(stream)),
        [] => {}
    }
});

fn frames(mut bytes: &[u8]) -> usize {
    let (mut reader, mut count) = (FrameReader::new(1 << 20), 0);
    loop {
        match reader.step() {
            Err(_) => return count,
            Ok(Step::Frame(frame)) => {
                count += 1;
                decode(&frame);
            }
            Ok(Step::Head(_) | Step::Skipped(_)) => {}
            Ok(Step::More) if bytes.is_empty() => return count,
            Ok(Step::More) => {
                let space = reader.space();
                let taken = space.len().min(bytes.len());
                space[..taken].copy_from_slice(&bytes[..taken]);
                reader.filled(taken);
                bytes = &bytes[taken..];
            }
        }
    }
}

fn decode(frame: &Frame) {
    let body = &frame.body;
    match Kind::from_u8(frame.header.kind) {
        Some(Kind::Hello) => drop(hello::Hello::decode(body)),
        Some(Kind::Welcome) => drop(hello::Welcome::decode(body)),
        Some(Kind::Error) => drop(refused::Refused::read(&mut Reader::new(body))),
        Some(Kind::Append) => {
            if let Ok(decoded) = append::decode_append(body) {
                decoded.appends.iter().for_each(|append| judge(&append.batch));
            }
        }
        Some(Kind::AppendBulk) => {
            if let Ok((batches, _)) = append::decode_bulk(body) {
                batches.iter().for_each(judge);
            }
        }
        Some(Kind::AppendRows) => {
            if let Ok(rows) = append_rows::decode_append_rows(body) {
                judge(&rows.batch);
            }
        }
        Some(Kind::Appended) => drop(outcome::decode_appended(body)),
        Some(Kind::BulkAppended) => drop(outcome::decode_bulk_appended(body)),
        Some(Kind::Head) => drop(read::HeadOf::decode(body)),
        Some(Kind::HeadIs) => drop(read::HeadIs::decode(body)),
        Some(Kind::ReadStream) => drop(read::StreamWanted::decode(body)),
        Some(Kind::StreamPage) => {
            if let Ok((_, events)) = read::PageFacts::decode(body) {
                walk(&events);
            }
        }
        Some(Kind::ReadAll) => drop(read::AllWanted::decode(body)),
        Some(Kind::GlobalPage) => {
            if let Ok((_, _, events)) = read::decode_global_page(body) {
                walk(&events);
            }
        }
        Some(Kind::Scan) => drop(read::ScanWanted::decode(body)),
        Some(Kind::ScanPart) => {
            if let Ok((_, events)) = read::decode_scan_part(body) {
                walk(&events);
            }
        }
        Some(Kind::ScanMore) => drop(read::decode_scan_more(body)),
        Some(Kind::Stay) => drop(stay::Stay::decode(body)),
        Some(Kind::Subscribe) => drop(subscribe::SubscribeWanted::decode(body)),
        Some(Kind::SubscribePart) => {
            if let Ok((_, events)) = subscribe::PartFacts::decode(body) {
                walk(&events);
            }
        }
        Some(Kind::Ping | Kind::Pong | Kind::ScanCancel) | None => {}
    }
}

/// An archive that was validated, as a server looks at it: all fields of its rows.
fn judge(batch: &BatchBytes) {
    let view = batch.view();
    // right or wrong: it must be told without a panic
    let _ = check_foreign(view);
    for row in 0..view.rows() {
        let _ = view.input(row);
    }
}

/// Events of an answer, as a client reads them.
fn walk(events: &Events) {
    assert_eq!(events.iter().count(), events.len());
}

/// Castagnoli, bit by bit: the target does not believe the crate that the frames use.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}
