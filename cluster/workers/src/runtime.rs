//! The runtime that everything runs on: an actix system over a multi-thread tokio runtime.

use std::future::Future;
use std::io;

/// Runs a future to its end on a system of its own; the calling thread becomes its main thread.
///
/// # Errors
/// When the operating system gives no threads.
pub fn run<F: Future>(future: F) -> io::Result<F::Output> {
    // built outside of the closure, which cannot fail
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("strandline").build()?;
    let system = actix::System::with_tokio_rt(move || runtime);
    Ok(system.block_on(future))
}
