//! Traces: a program that was built for them sends the spans of a request and of a job to a collector; one that was not refuses.
//!
//! The tests of the first kind are there with the feature `otel` only: `scripts/otel` builds and runs them.

#[cfg(feature = "otel")]
pub(crate) mod collector;
#[cfg(feature = "otel")]
mod sent;

#[cfg(not(feature = "otel"))]
#[test]
fn a_program_without_traces_refuses_to_be_asked_for_them() {
    let store = crate::harness::Store::new(&[]);
    let mut command = store.program();
    command.args(store.serve_arguments()).args(["--traces", "http://127.0.0.1:4318"]);
    let ended = crate::harness::run_command(command, b"");
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("--features otel") && ended.stdout.is_empty(), "{ended:?}");
}
