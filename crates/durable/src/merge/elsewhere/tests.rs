//! Merges that one process does for another: nothing is true before who ordered it commits, and nothing is taken that was not ordered.

use super::*;
use crate::testing::*;
use crate::tier::tests::all;
use crate::write::WriteError;
use crate::{CommitError, FollowedOthers, Redact, Redaction, Replacement, StreamQuery};
use std::path::Path;
use strandline_event::{Micros, Seq};

const EVER: Micros = Micros(i64::MAX);

fn member(root: &Path) -> DurableTier {
    let (data, manifests) = folders(root);
    DurableTier::open_member(data, manifests, &config(""), &options(7)).unwrap()
}

fn follow(tier: &DurableTier) {
    assert!(matches!(tier.follow_others(&|_| true).unwrap(), FollowedOthers::Now(_)));
}

/// One that commits and has committed three files of 100 events, and one that has not heard of them.
fn members(root: &Path) -> (DurableTier, DurableTier, Vec<Owned>) {
    let (one, two) = (member(root), member(root));
    one.claim("n1", &config(""), 1, Micros(1)).unwrap();
    let events = commit_parts(&one, 3);
    (one, two, events)
}

/// All files of the newest version.
fn order(tier: &DurableTier, job_id: u128) -> (MergeOrder, Vec<Arc<FileEntry>>) {
    let snapshot = tier.pin();
    let inputs = snapshot.files().to_vec();
    let order = MergeOrder {
        job_id,
        version: snapshot.version(),
        stream_type: log().stream_type.to_string(),
        bucket: 0,
        inputs: inputs.iter().map(|file| file.path.clone()).collect(),
        enough_bytes: u64::MAX,
    };
    (order, inputs)
}

fn done(tier: &DurableTier, order: &MergeOrder) -> Result<MergeReport, HelpError> {
    tier.merge_for_another(order, &mut |_| ControlFlow::Continue(()))
}

fn replacement(job_id: u128, merged: Merged) -> Replacement {
    let Merged { files, taken, doubles, .. } = merged;
    Replacement { job_id, at: Micros(START_US + 9), log: log(), remove: taken, add: files, doubles }
}

fn is_ordered_otherwise<T: std::fmt::Debug>(outcome: Result<T, HelpError>, says: &str) {
    let error = outcome.unwrap_err();
    assert!(matches!(&error, HelpError::Ordered(why) if why.contains(says)), "{error}");
}

#[test]
fn what_one_member_merges_another_one_commits() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two, events) = members(dir.path());
    follow(&two);
    let (order, inputs) = order(&one, 50);
    let expected = one.expect_files(50);
    let report = done(&two, &order).unwrap();
    assert_eq!((one.pin().files().len(), two.pin().files().len()), (3, 3), "nothing is true yet");
    // over the wire
    let said = HelpAnswer::decode(&HelpAnswer::Done(report.clone()).encode().unwrap()).unwrap();
    assert_eq!(said, HelpAnswer::Done(report.clone()));
    let merged = one.take_merged(50, &inputs, report).unwrap();
    one.replace(&replacement(50, merged)).unwrap();
    drop(expected);
    assert_eq!((one.pin().files().len(), all(&one.pin()) == events), (1, true));
    assert!(one.pin().files().iter().all(|file| crate::verify_file(&one, file).is_empty()));
    assert_eq!(crate::verify_manifests(&one), []);
    let live = one.pin().files()[0].path.clone();
    assert!(one.sweep(EVER).unwrap().iter().all(|gone| !gone.starts_with(&live)));
    follow(&two);
    assert_eq!((two.pin().files().len(), all(&two.pin()) == events), (1, true));
}

#[test]
fn a_sweep_spares_what_is_expected_and_takes_what_nobody_expects_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two, _) = members(dir.path());
    follow(&two);
    let (order, inputs) = order(&one, 50);
    let expected = one.expect_files(50);
    let report = done(&two, &order).unwrap();
    let path = report.files[0].path.clone();
    let is_swept = |tier: &DurableTier| tier.sweep(EVER).unwrap().iter().any(|gone| gone.starts_with(&path));
    assert!(!is_swept(&one), "it is about to be committed");
    drop(expected);
    assert!(is_swept(&one), "its job was given up");
    assert!(one.take_merged(50, &inputs, report).is_err(), "what is gone is not committed");
    assert_eq!(one.pin().files().len(), 3);
}

#[test]
fn an_order_is_done_by_who_knows_its_version_and_taken_as_it_was_ordered() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two, events) = members(dir.path());
    let (order, inputs) = order(&one, 50);
    is_ordered_otherwise(done(&two, &order), "is not known here yet");
    follow(&two);
    let strange = MergeOrder { inputs: vec!["strange.parquet".to_owned()], ..order.clone() };
    is_ordered_otherwise(done(&two, &strange), "is live no more");
    let cancelled = two.merge_for_another(&order, &mut |_| ControlFlow::Break(()));
    assert!(matches!(cancelled, Err(HelpError::Merge(MergeError::Write(WriteError::Cancelled)))));
    let _expected = one.expect_files(50);
    let report = done(&two, &order).unwrap();
    is_ordered_otherwise(one.take_merged(51, &inputs, report.clone()), "is not of this merge");
    is_ordered_otherwise(one.take_merged(50, &inputs[1..], report.clone()), "was not to be merged");
    let mut cut = report.clone();
    cut.files[0].bytes += 1;
    is_ordered_otherwise(one.take_merged(50, &inputs, cut), "bytes here instead of");
    let wrong: [&dyn Fn(&mut FileEntry); 2] = [&|file| file.rows += 1, &|file| {
        file.tail_crc32c ^= 1;
        file.tail.iter_mut().for_each(|parts| parts.footer_crc32c ^= 1);
    }];
    for wrong in wrong {
        let mut changed = report.clone();
        wrong(&mut changed.files[0]);
        let refused = one.take_merged(50, &inputs, changed);
        assert!(matches!(refused, Err(HelpError::Read(_))), "{refused:?}");
    }
    let mut fewer = report.clone();
    fewer.taken.pop();
    let merged = one.take_merged(50, &inputs, fewer).unwrap();
    let refused = one.replace(&replacement(50, merged)).err().unwrap();
    assert!(matches!(refused, CommitError::RowsDiffer { removed: 200, added: 300, doubles: 0 }), "{refused}");
    assert_eq!((one.pin().files().len(), all(&one.pin()) == events), (3, true));
}

#[test]
fn an_owner_that_was_replaced_commits_no_merge_that_others_did_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two, events) = members(dir.path());
    follow(&two);
    let (order, inputs) = order(&one, 50);
    let _expected = one.expect_files(50);
    let report = done(&two, &order).unwrap();
    two.claim("n2", &config(""), 2, Micros(2)).unwrap();
    let merged = one.take_merged(50, &inputs, report).unwrap();
    let late = one.replace(&replacement(50, merged)).err().unwrap();
    assert!(matches!(late, CommitError::StaleEpoch { .. }), "{late}");
    assert_eq!((two.pin().files().len(), all(&two.pin()) == events), (3, true));
}

#[test]
fn who_helps_knows_every_redaction_that_the_order_knew() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two, events) = members(dir.path());
    follow(&two);
    let (stream_type, hidden) = (log().stream_type.to_string(), &events[3]);
    let redaction = Redaction {
        event_id: hidden.event_id,
        stream_type: stream_type.clone(),
        stream_id: hidden.stream_id.clone(),
        seq: Seq(hidden.seq),
        at: Micros(5),
        who: "ops".to_owned(),
        reason: None,
    };
    one.redact(&Redact { job_id: 40, events: vec![redaction] }).unwrap();
    let (order, inputs) = order(&one, 50);
    is_ordered_otherwise(done(&two, &order), "is not known here yet");
    follow(&two);
    let _expected = one.expect_files(50);
    let report = done(&two, &order).unwrap();
    let merged = one.take_merged(50, &inputs, report).unwrap();
    one.replace(&replacement(50, merged)).unwrap();
    let (stream_id, from_seq, to_seq) = (hidden.stream_id.as_str(), Seq(hidden.seq), Seq(hidden.seq));
    let query =
        StreamQuery { stream_type: &stream_type, stream_id, from_seq, to_seq, descending: false, limit: usize::MAX };
    let rows = one.pin().stream(&query).unwrap();
    assert!(rows.len() == 1 && rows.row(0).says_nothing(), "the text is in no file");
}

#[test]
fn what_is_asked_and_answered_stands_in_json() {
    let inputs = vec!["a.parquet".to_owned()];
    let (stream_type, bucket) = ("Call".to_owned(), 0);
    let order = MergeOrder { job_id: 0xab, version: 7, stream_type, bucket, inputs, enough_bytes: 9 };
    let begin = r#"{"begin":{"job_id":"000000000000000000000000000000ab","version":7,"stream_type":"Call","bucket":0,"inputs":["a.parquet"],"enough_bytes":9}}"#;
    let go_on = r#"{"go_on":{"job_id":"000000000000000000000000000000ab"}}"#;
    for (ask, json) in [(HelpAsk::Begin(order), begin), (HelpAsk::GoOn { job_id: 0xab }, go_on)] {
        assert_eq!(String::from_utf8(ask.encode().unwrap()).unwrap(), json);
        assert_eq!(HelpAsk::decode(json.as_bytes()).unwrap(), ask);
    }
    let report = MergeReport { files: Vec::new(), taken: vec!["a".to_owned()], left_alone: Vec::new(), doubles: 2 };
    let answers = [
        (HelpAnswer::Working { rows: 5 }, r#"{"working":{"rows":5}}"#),
        (HelpAnswer::Done(report), r#"{"done":{"files":[],"taken":["a"],"left_alone":[],"doubles":2}}"#),
        (HelpAnswer::Failed { why: "no room".to_owned() }, r#"{"failed":{"why":"no room"}}"#),
    ];
    for (answer, json) in answers {
        assert_eq!(String::from_utf8(answer.encode().unwrap()).unwrap(), json);
        assert_eq!(HelpAnswer::decode(json.as_bytes()).unwrap(), answer);
    }
    assert!(HelpAsk::decode(b"{}").is_err() && HelpAnswer::decode(&begin.as_bytes()[1..]).is_err());
}
