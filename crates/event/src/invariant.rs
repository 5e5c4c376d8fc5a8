//! The end of a process whose state can no longer be trusted to write.

/// Ends the process at once: a broken invariant in log or commit code must not reach the disk.
///
/// The one place of the workspace that aborts. `what` says which invariant, for the person who reads the log.
#[cold]
#[allow(clippy::print_stderr)]
pub fn broken(what: &str) -> ! {
    eprintln!("strandline: broken invariant, the process ends before it can write: {what}");
    std::process::abort()
}
