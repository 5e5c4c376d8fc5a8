//! A log that is made anew while the store runs, and what cuts that short.

use super::*;

/// A version whose answer is lost, and the one before it that cannot be read then: the log is made anew at the manifest version that it
/// shows already, which fails at one of its operations, from 1. Gives what the version before was, too.
fn made_anew(objects: &Both, fails_at: u64) -> (DurableTier, bytes::Bytes) {
    // the last changing operation of a commit is its Delta version
    let operations = {
        let (data, manifests) = memory();
        let flaky = FlakyObjects::new(data, 0, Fault::FailOnce);
        append(&open_on(&(Arc::new(flaky.clone()), manifests)), 1);
        flaky.operations()
    };
    let lost = FlakyObjects::new(Arc::clone(&objects.0), operations, Fault::LostAnswer);
    let flaky = FlakyObjects::new(Arc::new(lost), operations + fails_at, Fault::FailOnce);
    let tier = open_on(&(Arc::new(flaky), Arc::clone(&objects.1)));
    append(&tier, 1);
    let whole = objects.0.get(&names::commit(0)).unwrap();
    objects.0.replace(&names::commit(0), b"{\"add\":{\"path\"").unwrap();
    tier.sweep(Micros::MIN).unwrap();
    assert_eq!(tier.delta_numbers().unwrap().failures, 2);
    (tier, whole)
}

#[test]
fn a_log_that_is_made_anew_at_the_manifest_version_that_it_shows_is_no_finding() {
    let objects = memory();
    // its checkpoint is not written, and what could not be read is there again
    let (tier, whole) = made_anew(&objects, 2);
    objects.0.replace(&names::commit(0), &whole).unwrap();
    let shown = replay(&*objects.0).unwrap();
    assert_eq!((shown.version, shown.checkpoint), (2, None));
    assert_eq!(shown.applications[&app_id(&tier)], tier.pin().version().cast_signed());
    assert_eq!(verify_delta_log(&tier), []);
    drop(tier);
    let tier = open_on(&objects);
    append(&tier, 2);
    assert_eq!((verify_delta_log(&tier), replay(&*objects.0).unwrap().version), (vec![], 3));
}

#[test]
fn what_stood_before_a_log_that_was_made_anew_goes_with_the_next_open() {
    let objects = memory();
    // it ends before anything is removed
    let (tier, _) = made_anew(&objects, 4);
    assert_eq!(replay(&*objects.0).unwrap().checkpoint, Some(2));
    assert!(!verify_delta_log(&tier).is_empty());
    drop(tier);
    let tier = open_on(&objects);
    assert_eq!(verify_delta_log(&tier), []);
    assert!(list(&*objects.0).unwrap().iter().all(|(file, _)| file.version() >= 2));
}
