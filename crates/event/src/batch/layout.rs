//! Reads archives by `FORMAT.md` and nothing else, as a program in another language would.

use crate::batch::{BatchUnit, COLUMNS, EventBatch};
use crate::id::EventId;
use crate::num::{Micros, Seq};
use crate::{BatchBuilder, BatchBytes, EventInput};

const ROOT_BYTES: usize = 216;

/// An archive's bytes.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn number<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0[at..at + N].try_into().unwrap()
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.number(at))
    }

    /// Where an i32 points that stands at `offset_at` of a field at `field`.
    fn pointed(&self, field: usize, offset_at: usize) -> usize {
        field.checked_add_signed(i32::from_le_bytes(self.number(offset_at)) as isize).unwrap()
    }

    fn vector<const N: usize>(&self, field: usize) -> Vec<[u8; N]> {
        let count = self.u32(field + 4) as usize;
        (0..count).map(|n| self.number(self.pointed(field, field) + n * N)).collect()
    }

    fn string(&self, field: usize) -> &'a str {
        let bytes = if self.0[field] & 0xc0 == 0x80 {
            let n = self.u32(field);
            let (begin, len) = (self.pointed(field, field + 4), (n & 0x3f) | ((n & 0xffff_ff00) >> 2));
            &self.0[begin..begin + len as usize]
        } else {
            let here = &self.0[field..field + 8];
            &here[..here.iter().position(|byte| *byte == 0xff).unwrap_or(8)]
        };
        std::str::from_utf8(bytes).unwrap()
    }

    fn texts(&self, field: usize) -> Vec<&'a str> {
        let (ends, heap) = (self.vector::<4>(field), self.string(field + 8));
        let ends = ends.into_iter().map(|end| u32::from_le_bytes(end) as usize);
        let begins = std::iter::once(0).chain(ends.clone());
        begins.zip(ends).map(|(begin, end)| &heap[begin..end]).collect()
    }
}

fn full(n: u8) -> EventInput<'static> {
    EventInput {
        stream_id: if n.is_multiple_of(2) { "short" } else { "a longer name of a stream" },
        event_type: "Placed",
        event_id: Some(EventId([n; 16])),
        seq: Some(Seq(7 + u64::from(n))),
        event_version: Some(3),
        occurred_at: Some(Micros(-5)),
        data: "{\"text\":\"ä\"}",
        metadata: Some("{}"),
        command_id: Some("command"),
        correlation_id: Some("correlation"),
        causation_id: Some("causation"),
        tenant_id: Some("tenant"),
    }
}

#[test]
fn an_archive_is_read_by_its_documentation() {
    let mut builder = BatchBuilder::new("Order", BatchUnit::Rows);
    (0..3).for_each(|n| builder.push(&full(n)).unwrap());
    let archive = builder.finish().unwrap();
    let bytes = Bytes(archive.bytes());
    let root = bytes.0.len() - ROOT_BYTES;
    assert_eq!((bytes.0[root], bytes.0[root + 1..root + 32].iter().all(|byte| *byte == 0)), (0, true));
    assert_eq!(bytes.string(root + 32), "Order");
    assert_eq!(bytes.texts(root + 40), ["short", "a longer name of a stream"]);
    assert_eq!(bytes.vector::<4>(root + 56), [0_u32, 1, 0].map(u32::to_le_bytes));
    assert_eq!(bytes.vector::<2>(root + 64), [511_u16.to_le_bytes(); 3]);
    assert_eq!(bytes.vector::<16>(root + 72), [[0; 16], [1; 16], [2; 16]]);
    assert_eq!(bytes.vector::<8>(root + 80), [7_u64, 8, 9].map(u64::to_le_bytes));
    assert_eq!(bytes.vector::<8>(root + 88), [(-5_i64).to_le_bytes(); 3]);
    assert_eq!(bytes.vector::<4>(root + 96), [3_u32.to_le_bytes(); 3]);
    let texts = [
        (104, "Placed"),
        (120, "{\"text\":\"ä\"}"),
        (136, "{}"),
        (152, "command"),
        (168, "correlation"),
        (184, "causation"),
        (200, "tenant"),
    ];
    for (at, text) in texts {
        assert_eq!(bytes.texts(root + at), [text; 3], "at {at}");
    }
}

#[test]
fn what_no_row_has_is_wholly_empty() {
    let mut builder = BatchBuilder::new("A type with a long name", BatchUnit::Append);
    builder.push(&EventInput { stream_id: "s", event_type: "T", data: "1", ..EventInput::default() }).unwrap();
    let archive = builder.finish().unwrap();
    let bytes = Bytes(archive.bytes());
    let root = bytes.0.len() - ROOT_BYTES;
    assert_eq!((bytes.0[root], bytes.string(root + 32)), (1, "A type with a long name"));
    assert_eq!((bytes.vector::<16>(root + 72).len(), bytes.vector::<8>(root + 80).len()), (0, 0));
    assert!([136, 152, 168, 184, 200].iter().all(|at| bytes.texts(root + at).is_empty()));
}

#[test]
fn the_room_that_is_made_for_an_archive_is_enough_and_little_more() {
    for rows in [1_u8, 2, 7, 200] {
        let (mut bare, mut given) = (EventBatch::default(), EventBatch::default());
        for batch in [&mut bare, &mut given] {
            batch.stream_type = "a longer name of a stream type".to_owned();
            batch.streams.push("s");
            for n in 0..rows {
                batch.stream_of.push(0);
                batch.event_types.push("Placed");
                batch.data.push(&"x".repeat(usize::from(n)));
            }
            batch.flags = vec![0; usize::from(rows)];
        }
        given.event_ids = vec![[1; 16]; usize::from(rows)];
        given.seqs = vec![1; usize::from(rows)];
        given.event_versions = vec![1; usize::from(rows)];
        (0..rows).for_each(|_| given.metadata.push("{}"));
        for batch in [bare, given] {
            let (bytes, most) = (BatchBytes::archive(&batch).unwrap().bytes().len(), batch.archive_bytes_max());
            assert!(bytes <= most && most <= bytes + 8 * COLUMNS + 8 * 9, "{bytes} of at most {most}");
        }
    }
}
