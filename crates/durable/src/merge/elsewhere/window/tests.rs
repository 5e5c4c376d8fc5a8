//! Files of a window that one process writes for another: they are the same, nothing is true before who ordered them commits, and nothing is
//! taken that was not ordered.

use super::*;
use crate::testing::*;
use crate::tier::tests::all;
use crate::{CommitError, FollowedOthers, HelpAnswer, HelpAsk, sort_rows};
use std::path::Path;
use strandline_event::Micros;

const EVER: Micros = Micros(i64::MAX);

fn member(root: &Path, keys: &str) -> DurableTier {
    let (data, manifests) = folders(root);
    DurableTier::open_member(data, manifests, &config(keys), &options(7)).unwrap()
}

fn follow(tier: &DurableTier) {
    assert!(matches!(tier.follow_others(&|_| true).unwrap(), FollowedOthers::Now(_)));
}

/// One that commits, and one that knows as much.
fn members(root: &Path, keys: &str) -> (DurableTier, DurableTier) {
    let (one, two) = (member(root, keys), member(root, keys));
    one.claim("n1", &config(keys), 1, Micros(1)).unwrap();
    follow(&two);
    (one, two)
}

/// The window of the first ten entries.
fn order(tier: &DurableTier, job_id: u128) -> WindowOrder {
    WindowOrder {
        job_id,
        version: tier.pin().version(),
        stream_type: log().stream_type.to_string(),
        bucket: 0,
        from_exclusive: LogIndex(0),
        through: LogIndex(10),
        events: 300,
        rows_max: 1000,
        bytes_max: 1 << 30,
        settings: tier.layout().settings(),
    }
}

/// As who helps writes it.
fn written(tier: &DurableTier, order: &WindowOrder, events: &Vec<Owned>) -> WindowReport {
    let (layout, batches) = (tier.layout(), [events]);
    tier.may_write(order, &layout).unwrap();
    let rows = sort_rows(&layout, &batches);
    let job = job(order.job_id, order.from_exclusive.0, order.through.0);
    let files =
        tier.write_files_for_another(&layout, &job, &batches, &rows, &mut |_| ControlFlow::Continue(())).unwrap();
    WindowReport { files, through: order.through }
}

fn is_ordered_otherwise<T: std::fmt::Debug>(outcome: Result<T, HelpError>, says: &str) {
    let error = outcome.unwrap_err();
    assert!(matches!(&error, HelpError::Ordered(why) if why.contains(says)), "{error}");
}

#[test]
fn what_another_one_writes_is_what_would_have_been_written_here() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = members(dir.path(), ", partition.by = 'dt'");
    let events = history(300);
    let order = order(&one, 50);
    let expected = one.expect_files(50);
    let report = written(&two, &order, &events);
    let own = write(&one, &job(51, 0, 10), &events).unwrap();
    let told = |files: &[FileEntry]| -> Vec<_> {
        files.iter().map(|f| (f.partition.clone(), f.rows, f.bytes, f.crc32c, f.bounds.clone())).collect()
    };
    assert_eq!(told(&report.files), told(&own), "byte for byte");
    assert!(report.files.len() > 1, "of several days");
    one.discard(&own);
    // over the wire
    let said = HelpAnswer::decode(&HelpAnswer::Wrote(report.clone()).encode().unwrap()).unwrap();
    assert_eq!(said, HelpAnswer::Wrote(report.clone()));
    let gone = one.sweep(EVER).unwrap();
    assert!(report.files.iter().all(|file| gone.iter().all(|gone| !gone.starts_with(&file.path))), "they are expected");
    assert!(one.pin().files().is_empty() && two.pin().files().is_empty(), "nothing is true yet");
    let files = one.take_written(&order, report).unwrap();
    one.commit(&commit(&job(50, 0, 10), files, &events)).unwrap();
    drop(expected);
    one.sweep(EVER).unwrap();
    assert!(one.pin().files().iter().all(|file| crate::verify_file(&one, file).is_empty()));
    assert_eq!(crate::verify_manifests(&one), []);
    follow(&two);
    assert!(all(&one.pin()) == events && all(&two.pin()) == events);
    // the window is over
    is_ordered_otherwise(two.may_write(&order, &two.layout()), "and the watermark here is 10");
}

#[test]
fn who_would_write_other_files_declines() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = members(dir.path(), "");
    let (order, layout) = (order(&one, 50), two.layout());
    two.may_write(&order, &layout).unwrap();
    let newer = WindowOrder { version: order.version + 1, ..order.clone() };
    is_ordered_otherwise(two.may_write(&newer, &layout), "is not known here yet");
    let later = WindowOrder { from_exclusive: LogIndex(3), ..order.clone() };
    is_ordered_otherwise(two.may_write(&later, &layout), "the window begins after 3");
    let other = Layout::new(&config(", durable.dictionary.enabled = false")).unwrap();
    is_ordered_otherwise(two.may_write(&order, &other), "by other settings");
}

#[test]
fn what_was_not_ordered_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = members(dir.path(), "");
    let (events, order) = (history(300), order(&one, 50));
    let _expected = one.expect_files(50);
    let report = written(&two, &order, &events);
    let changed = |change: &dyn Fn(&mut FileEntry)| {
        let mut changed = report.clone();
        change(&mut changed.files[0]);
        one.take_written(&order, changed)
    };
    let rows = changed(&|file| file.rows += 1);
    assert!(matches!(rows, Err(HelpError::Read(_))), "{rows:?}");
    let footer = changed(&|file| {
        file.tail_crc32c ^= 1;
        file.tail.iter_mut().for_each(|parts| parts.footer_crc32c ^= 1);
    });
    assert!(matches!(footer, Err(HelpError::Read(_))), "{footer:?}");
    is_ordered_otherwise(changed(&|file| file.bytes += 1), "bytes here instead of");
    let others: [&dyn Fn(&mut FileEntry); 6] = [
        &|file| file.job_id = 51,
        &|file| file.bucket = 1,
        &|file| file.stream_type.push('s'),
        &|file| file.from_exclusive = LogIndex(1),
        &|file| file.through = LogIndex(9),
        &|file| file.path = file.path.replace("m0", "n0"),
    ];
    for other in others {
        is_ordered_otherwise(changed(other), "is not of this window");
    }
    let mut twice = report.clone();
    twice.files.extend(report.files.clone());
    is_ordered_otherwise(one.take_written(&order, twice), "named twice");
    // another one owns the store by now
    two.claim("n2", &config(""), 2, Micros(2)).unwrap();
    let files = one.take_written(&order, report.clone()).unwrap();
    let late = one.commit(&commit(&job(50, 0, 10), files.clone(), &events)).err().unwrap();
    assert!(matches!(late, CommitError::StaleEpoch { .. }), "{late}");
    one.discard(&files);
    assert!(one.take_written(&order, report).is_err(), "what is gone is not taken");
    assert!(two.pin().files().is_empty());
}

#[test]
fn what_is_asked_and_answered_of_a_window_stands_in_json() {
    let order = WindowOrder {
        job_id: 0xab,
        version: 7,
        stream_type: "Call".to_owned(),
        bucket: 2,
        from_exclusive: LogIndex(3),
        through: LogIndex(9),
        events: 5,
        rows_max: 4,
        bytes_max: 6,
        settings: 0xcd,
    };
    let ask = r#"{"begin_window":{"job_id":"000000000000000000000000000000ab","version":7,"stream_type":"Call","bucket":2,"from_exclusive":3,"through":9,"events":5,"rows_max":4,"bytes_max":6,"settings":"000000000000000000000000000000cd"}}"#;
    let asked = HelpAsk::BeginWindow(order);
    assert_eq!(String::from_utf8(asked.encode().unwrap()).unwrap(), ask);
    assert_eq!(HelpAsk::decode(ask.as_bytes()).unwrap(), asked);
    let answer = r#"{"wrote":{"files":[],"through":9}}"#;
    let wrote = HelpAnswer::Wrote(WindowReport { files: Vec::new(), through: LogIndex(9) });
    assert_eq!(String::from_utf8(wrote.encode().unwrap()).unwrap(), answer);
    assert_eq!(HelpAnswer::decode(answer.as_bytes()).unwrap(), wrote);
}
