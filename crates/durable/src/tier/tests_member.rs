//! Nodes that share a store: one commits, the others follow; a claim fences whoever had it before.

use super::super::*;
use super::*;
use crate::testing::*;
use strandline_event::LogIndex;

fn member(root: &std::path::Path) -> (DurableTier, StoreConfig) {
    let config = config("");
    let (data, manifests) = folders(root);
    (DurableTier::open_member(data, manifests, &config, &options(7)).unwrap(), config)
}

fn is_now(followed: FollowedOthers, version: u64) -> bool {
    matches!(followed, FollowedOthers::Now(snapshot) if snapshot.version() == version)
}

#[test]
fn one_member_commits_and_the_others_follow_when_they_are_ready() {
    let dir = tempfile::tempdir().unwrap();
    let ((one, config), (two, _)) = (member(dir.path()), member(dir.path()));
    assert_eq!(one.pin().store_id(), two.pin().store_id(), "one birth");
    let events = history(100);
    let (job, part) = (job(1, 0, 10), events.clone());
    let files = write(&one, &job, &part).unwrap();
    assert!(
        matches!(one.commit(&commit(&job, files.clone(), &part)), Err(CommitError::ReadOnly)),
        "nothing is claimed"
    );
    let epoch = one.claim("n1", &config, 1, Micros(1)).unwrap();
    assert_eq!(one.epoch(), Some(epoch));
    let version = one.commit(&commit(&job, files, &part)).unwrap().version();
    assert!(matches!(two.follow_others(&|_| false).unwrap(), FollowedOthers::NotReady));
    assert_eq!(two.pin().rows(), 0, "not shown before this node is ready");
    assert!(is_now(two.follow_others(&|_| true).unwrap(), version));
    assert_eq!((two.pin().rows(), two.pin().watermark(&log())), (100, LogIndex(10)));
    assert!(matches!(two.follow_others(&|_| true).unwrap(), FollowedOthers::Newest));
}

#[test]
fn a_member_that_was_fenced_commits_nothing_and_shows_nothing_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let ((one, config), (two, _)) = (member(dir.path()), member(dir.path()));
    one.claim("n1", &config, 1, Micros(1)).unwrap();
    let events = history(200);
    let (first, second) = events.split_at(100);
    let files = write(&one, &job(1, 0, 10), &first.to_vec()).unwrap();
    assert!(
        matches!(two.claim("n2", &config, 2, Micros(2)), Err(FollowError::Moved)),
        "not upon what it does not know"
    );
    two.follow_others(&|_| true).unwrap();
    two.claim("n2", &config, 3, Micros(2)).unwrap();
    // the one before was at it all the time
    let before = one.pin().version();
    let late = one.commit(&commit(&job(1, 0, 10), files, first));
    assert!(matches!(late, Err(CommitError::StaleEpoch { .. })));
    assert_eq!(one.pin().version(), before);
    for (id, from, part) in [(4, 0, first), (5, 10, second)] {
        commit_job(&two, &job(id, from, from + 10), part);
    }
    // and back again
    one.give_up_claim();
    assert!(one.claim("n1", &config, 6, Micros(3)).is_err());
    one.follow_others(&|_| true).unwrap();
    assert_eq!(one.pin().rows(), 200);
    one.claim("n1", &config, 7, Micros(3)).unwrap();
    assert!(one.epoch() > two.epoch());
    let mut rows = 0;
    for batch in one.pin().scan(&crate::RowFilter::default()) {
        rows += batch.unwrap().rows();
    }
    assert_eq!(rows, 200);
}

#[test]
fn a_member_does_not_follow_another_store_that_stands_where_its_own_was() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let (one, config) = member(&root);
    let (id, version) = (one.pin().store_id(), one.pin().version());
    std::fs::remove_dir_all(&root).unwrap();
    let (data, manifests) = folders(&root);
    let other = DurableTier::open_member(data, manifests, &config, &options(8)).unwrap();
    other.claim("n2", &config, 1, Micros(1)).unwrap();
    assert!(other.pin().version() > version);
    let Err(refused) = one.follow_others(&|_| true) else { panic!("it followed another store") };
    assert!(refused.to_string().contains("another store's"), "{refused}");
    assert_eq!((one.pin().store_id(), one.pin().version()), (id, version));
}

/// Nothing that a manifest publishes of a birth, the job's id least of all, says the key of the digests: that has bits of its own.
#[test]
fn the_key_of_digests_comes_from_nothing_that_is_published() {
    let key_of = |secret| {
        let dir = tempfile::tempdir().unwrap();
        let (data, manifests) = folders(dir.path());
        let options = OpenOptions { secret, ..options(7) };
        let tier = DurableTier::open_member(data, manifests, &config(""), &options).unwrap();
        let born = tier.history(1).unwrap().remove(0);
        (born.job_id, tier.pin().store_id(), tier.pin().digest_key())
    };
    let (one, other) = (key_of(1 << 64 | 2), key_of(9));
    assert_eq!((one.0, one.1), (other.0, other.1), "what is published is the same");
    assert_eq!((one.2, other.2), ((1, 2), (0, 9)));
}

/// What is redacted waits for no log: it is hidden at once, but the version that says so is not current here yet.
#[test]
fn a_member_hides_what_is_redacted_before_the_version_that_says_so_is_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let ((one, config), (two, _)) = (member(dir.path()), member(dir.path()));
    one.claim("n1", &config, 1, Micros(1)).unwrap();
    let events = history(20);
    let job = job(1, 0, 10);
    let files = write(&one, &job, &events).unwrap();
    one.commit(&commit(&job, files, &events)).unwrap();
    let (id, stream_type) = (events[3].event_id, log().stream_type.to_string());
    let stream = (&*stream_type, &*events[3].stream_id);
    let redaction = crate::Redaction {
        event_id: id,
        stream_type: stream_type.clone(),
        stream_id: events[3].stream_id.clone(),
        seq: strandline_event::Seq(events[3].seq),
        at: Micros(5),
        who: "ops".to_owned(),
        reason: None,
    };
    one.redact(&Redact { job_id: 2, events: vec![redaction] }).unwrap();
    assert!(one.pin().is_redacted(id, stream));
    assert!(matches!(two.follow_others(&|_| false).unwrap(), FollowedOthers::NotReady));
    assert!(two.veil().hides(id, stream) && !two.pin().is_redacted(id, stream));
    two.follow_others(&|_| true).unwrap();
    assert!(two.pin().is_redacted(id, stream) && !two.pin().is_redacted(id, ("Other", stream.1)));
}
