//! The runtime that everything runs on: an actix system over a multi-thread tokio runtime.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Builder;

/// Blocking work that is still under way at the end has so long: what hangs, on a disk that gives no answer, ends with the process.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// Runs a future to its end on a system of its own; the calling thread becomes its main thread.
///
/// # Errors
/// When the operating system gives no threads.
pub fn run<F: Future>(future: F) -> io::Result<F::Output> {
    run_with(END_PATIENCE, future)
}

fn run_with<F: Future>(end_patience: Duration, future: F) -> io::Result<F::Output> {
    // built outside of the closure, which cannot fail
    let runtime = Arc::new(Builder::new_multi_thread().enable_all().thread_name("strandline").build()?);
    let shared = Arc::clone(&runtime);
    let system = actix::System::with_tokio_rt(move || shared);
    let output = system.block_on(future);
    drop(system);
    if let Some(runtime) = Arc::into_inner(runtime) {
        runtime.shutdown_timeout(end_patience);
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn an_end_does_not_wait_for_ever_for_work_that_hangs() {
        let ((begun, begins), (go_on, held)) = (channel(), channel::<()>());
        let (ended, end) = channel();
        let running = std::thread::spawn(move || {
            let hangs = async move {
                drop(tokio::task::spawn_blocking(move || {
                    begun.send(()).unwrap();
                    held.recv()
                }));
                begins.recv().unwrap();
            };
            run_with(Duration::ZERO, hangs).unwrap();
            ended.send(()).unwrap();
        });
        let has_ended = end.recv_timeout(Duration::from_secs(60)).is_ok();
        go_on.send(()).unwrap();
        assert!(has_ended, "it waits for what does not come back");
        running.join().unwrap();
    }
}
