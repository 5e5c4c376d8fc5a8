//! A panic in a worker that owns state ends the process: that state can no longer be trusted to write, and a node
//! without the worker would look well and do nothing.

/// Stands on the stack while such code runs.
#[derive(Debug)]
pub(crate) struct EndOnPanic(pub(crate) &'static str);

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            strandline_event::invariant::broken(self.0);
        }
    }
}
