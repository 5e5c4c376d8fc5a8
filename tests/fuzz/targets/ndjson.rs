//! Any bytes as an NDJSON body. No panic; every line is an event or is listed with a reason, and a line that is no JSON is no event.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::HashSet;
use strandline_event::FieldNames;
use strandline_server::ndjson::decode;

fuzz_target!(|input: &[u8]| {
    let names = FieldNames::default();
    let Ok(body) = decode(input, &names, true, None) else { return };
    let mut taken = HashSet::new();
    for part in &body.parts {
        assert_eq!(part.lines.len(), part.batch.view().rows(), "a row has a line");
        part.lines.iter().for_each(|line| assert!(taken.insert(*line), "a line is one event"));
    }
    let mut filled = 0;
    for (line, text) in (1..).zip(input.split(|byte| *byte == b'\n')) {
        if text.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
            continue;
        }
        filled += 1;
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok();
        assert!(is_json || !taken.contains(&line), "line {line} is no JSON");
    }
    assert_eq!(taken.len() + body.rejected.len(), filled, "no line is lost");
    // all or nothing says no where some lines are refused
    assert_eq!(decode(input, &names, false, None).is_err(), !body.rejected.is_empty());
});
