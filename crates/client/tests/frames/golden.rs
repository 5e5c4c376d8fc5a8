//! Fixtures of version 1: what was written once is read for ever, and is written the same.

use crate::samples;
use std::path::{Path, PathBuf};
use strandline_client::BatchUnit;
use strandline_client::wire::append::{decode_append, decode_bulk};
use strandline_client::wire::header::{HEADER_BYTES, Header, Kind};
use strandline_client::wire::read::{decode_global_page, decode_scan_part};
use strandline_event::batch::flags;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/v1").join(format!("{name}.frame"))
}

#[test]
fn frames_of_version_1_are_these_bytes() {
    for (name, frame) in samples::all() {
        if std::env::var_os("STRANDLINE_WRITE_FIXTURES").is_some() {
            std::fs::write(fixture(name), &frame).unwrap();
        }
        let golden = std::fs::read(fixture(name)).unwrap();
        assert_eq!(frame, golden, "{name}: the layout has changed; a new one is a new version");
        let frames = samples::cut(&golden, usize::MAX).unwrap();
        assert!(frames.len() == 1 && samples::decode(&frames[0]), "{name}");
    }
}

#[test]
fn no_field_of_an_event_is_left_out_of_the_fixtures() {
    let body = |name: &str| samples::cut(&std::fs::read(fixture(name)).unwrap(), usize::MAX).unwrap().remove(0).body;
    let append = decode_append(&body("append_whole")).unwrap().appends.remove(0).batch;
    let bulk = decode_bulk(&body("append_bulk_whole")).unwrap().0.remove(0);
    for (batch, unit) in [(append, BatchUnit::Append), (bulk, BatchUnit::Rows)] {
        let view = batch.view();
        assert_eq!((view.unit(), view.rows(), view.chunk()), (unit, 3, samples::whole_chunk(unit)));
        assert_eq!((view.flags(0), view.flags(1), view.flags(2)), (flags::ALL, 0, flags::ALL));
        for row in 0..3 {
            let wanted = format!("{:?}", samples::whole_row(unit, row));
            assert_eq!(format!("{:?}", view.input(usize::from(row))), wanted);
        }
    }
    let stored = samples::whole_stamped();
    let (_, tiers, page) = decode_global_page(&body("global_page_whole")).unwrap();
    assert!(tiers == 6 && page.iter().eq(stored.iter()));
    let (is_last, part) = decode_scan_part(&body("scan_part_whole")).unwrap();
    assert!(!is_last && part.iter().eq(stored.iter().chain(stored.iter())));
}

#[test]
fn every_kind_has_a_fixture() {
    let kinds: Vec<u8> = samples::all().iter().map(|(_, frame)| frame[5]).collect();
    for kind in Kind::ALL {
        assert!(kinds.contains(&kind.to_u8()), "{kind:?}");
        assert_eq!(Kind::from_u8(kind.to_u8()), Some(*kind));
    }
}

#[test]
fn the_kinds_are_those_of_the_document() {
    let document = include_str!("../../PROTOCOL.md");
    let section = document.split("\n## ").find(|part| part.starts_with("2. Kinds")).unwrap();
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let number = cells.next()?.parse::<u8>().ok()?;
        Some((number, cells.next()?.split(',').next()?.to_owned()))
    };
    let described: Vec<(u8, String)> = section.lines().filter_map(row).collect();
    let there: Vec<(u8, String)> = Kind::ALL.iter().map(|kind| (kind.to_u8(), format!("{kind:?}"))).collect();
    assert_eq!(described, there);
}

#[test]
fn a_ping_is_what_the_document_says() {
    let ping = std::fs::read(fixture("ping")).unwrap();
    let mut wanted = [0; HEADER_BYTES];
    wanted[..4].copy_from_slice(b"SLNP");
    (wanted[4], wanted[5], wanted[8]) = (1, 4, 3);
    assert_eq!(ping[..28], wanted[..28]);
    assert_eq!(Header::decode(ping.first_chunk().unwrap()).unwrap().request, 3);
}
