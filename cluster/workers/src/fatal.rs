//! A panic in log, hot or commit code ends the process: its state can no longer be trusted to write.

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
