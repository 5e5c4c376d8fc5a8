//! Single appends that go as rows of one body, against the model: what is stored of them is what is stored of the same appends one after the other, and
//! all others are judged as if they had come behind those.

// helpers of a test are as blunt as the test itself; the lint's exception covers `#[test]` functions only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::{TIERS, request};
use proptest::collection::vec;
use proptest::prelude::*;
use strandline_engine::append::{Answer, AppendRequest, Expected, OnError};
use strandline_engine::compact::CompactError;
use strandline_engine::read::{Order, StreamRead};
use strandline_event::{BatchBuilder, BatchUnit, LogKey, Seq, StampedBatch};
use strandline_testkit::r#gen::{event, rule_settings, store as declared};
use strandline_testkit::local_store::LocalStore;
use strandline_testkit::model::{Append, Event, Model, Verdict};

type Single = (Event, Expected);

#[derive(Clone, Debug)]
enum Op {
    Group(Vec<Single>),
    Compact,
    Restart,
}

fn expected() -> impl Strategy<Value = Expected> {
    prop_oneof![
        3 => Just(Expected::Any),
        1 => Just(Expected::Empty),
        3 => (0_u64..8).prop_map(|seq| Expected::At(Seq(seq))),
    ]
}

/// Of one tenant, or of none; ids and seqs are not for rows.
fn group() -> impl Strategy<Value = Vec<Single>> {
    vec((event(false), expected()), 2..9).prop_map(|mut group| {
        let tenant = group[0].0.tenant_id.clone();
        for (event, _) in &mut group {
            event.event_id = None;
            event.tenant_id.clone_from(&tenant);
        }
        group
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![5 => group().prop_map(Op::Group), 1 => Just(Op::Compact), 1 => Just(Op::Restart)]
}

fn as_rows(group: &[Single]) -> AppendRequest {
    let mut builder = BatchBuilder::new("T", BatchUnit::Rows);
    group.iter().for_each(|(event, _)| builder.push(&event.input()).unwrap());
    let mut request = AppendRequest::new(builder.finish().unwrap());
    request.on_error = OnError::Skip;
    request.each = Some(group.iter().map(|(_, expected)| *expected).collect());
    request
}

fn by_itself((event, expected): &Single) -> Append {
    Append { expected: *expected, ..request("T", BatchUnit::Append, vec![event.clone()]) }
}

/// What the model stores of appends that come one after the other: their places, and their seqs.
fn stored_in_order(mut model: Model, appends: &[Append]) -> Vec<(usize, Seq)> {
    let mut all = Vec::new();
    for (place, append) in appends.iter().enumerate() {
        let verdict = model.judge(append);
        if let Verdict::Done { stored, .. } = &verdict {
            all.extend(stored.iter().map(|(_, seq)| (place, *seq)));
        }
        model.store(append, &verdict);
    }
    all
}

fn append_by_itself(real: &mut LocalStore, model: &mut Model, append: &Append) {
    let verdict = model.judge(append);
    let answer = real.append(append);
    match (&answer, &verdict) {
        (Answer::Refused(refusal), Verdict::Refused(kind, row)) => {
            assert_eq!((refusal.error.kind(), refusal.row), (*kind, *row), "{append:?}");
        }
        (Answer::Done(outcome), Verdict::Done { stored, duplicates, .. }) => {
            let known: Vec<_> = outcome.duplicates.iter().map(|d| (d.row, d.first_seq, d.count)).collect();
            assert_eq!((&known, outcome.stamped.is_some()), (duplicates, !stored.is_empty()), "{append:?}");
            if let Some(batch) = &outcome.stamped {
                let places = model.store(append, &verdict);
                model.learn(places, batch.iter());
            }
        }
        _ => panic!("{append:?}: {answer:?}, and the model says {verdict:?}"),
    }
}

fn append_group(real: &mut LocalStore, model: &mut Model, group: &[Single]) {
    let appends: Vec<Append> = group.iter().map(by_itself).collect();
    let answer = real.request(as_rows(group));
    let Answer::Done(outcome) = &answer else { panic!("{group:?}: {answer:?}") };
    let batch = outcome.stamped.as_ref();
    let rows = (0..batch.map_or(0, StampedBatch::rows)).map(|row| {
        let seq = batch.map_or(Seq::ZERO, |batch| batch.seq(row));
        (outcome.rows.request_row(row), seq)
    });
    let stored: Vec<(usize, Seq)> = rows.collect();
    assert_eq!(stored, stored_in_order(model.clone(), &appends), "{group:?}");
    for (row, (place, _)) in stored.iter().enumerate() {
        let verdict = model.judge(&appends[*place]);
        let places = model.store(&appends[*place], &verdict);
        model.learn(places, batch.unwrap().iter().skip(row).take(1));
    }
    let left = (0..appends.len()).filter(|place| stored.iter().all(|(of, _)| of != place));
    left.for_each(|place| append_by_itself(real, model, &appends[place]));
    real.time.advance_us(13);
}

fn check(real: &LocalStore, model: &Model) {
    for stream_id in ["a", "b", "ü/ ~"] {
        let (from_seq, to_seq, order) = (None, None, Some(Order::Asc));
        let read = StreamRead { stream_type: "T", stream_id, from_seq, to_seq, limit: usize::MAX, order };
        let page = real.store().read_stream(&read).unwrap();
        let wanted: Vec<_> = model.stream("T", stream_id).collect();
        assert!(
            (page.verdict.contiguous || wanted.is_empty()) && page.len() == wanted.len(),
            "{stream_id}: {} rows",
            page.len()
        );
        assert!(page.rows().zip(&wanted).all(|(event, stored)| stored.is(&event)), "{stream_id}: {wanted:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_end_where_the_same_appends_by_themselves_do(settings in rule_settings(), ops in vec(op(), 1..8)) {
        let config = declared("/durable", &format!("{TIERS}, {settings}"));
        let (mut real, mut model) = (LocalStore::on_memory(config.clone()).unwrap(), Model::new(config));
        for op in ops {
            match op {
                Op::Group(group) => append_group(&mut real, &mut model, &group),
                Op::Compact => match real.compact(&LogKey::single("T")) {
                    Ok(_) | Err(CompactError::NoLog(_)) => {}
                    Err(error) => panic!("{error}"),
                },
                Op::Restart => real.restart().unwrap(),
            }
            check(&real, &model);
        }
    }
}
