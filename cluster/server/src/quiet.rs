//! Panics of a reader of foreign bytes: caught where they are expected, and kept out of the log.
//!
//! Only the thread that asks for it is quiet, and only while it does; every other panic is reported as before.

use std::cell::Cell;
use std::panic::{UnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; `None`: it panicked.
pub(crate) fn quietly<T>(work: impl FnOnce() -> T + UnwindSafe) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let reported = take_hook();
        set_hook(Box::new(move |info| {
            if !QUIET.get() {
                reported(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = catch_unwind(work).ok();
    QUIET.set(before);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_and_the_thread_is_loud_again() {
        assert_eq!(quietly(|| 7), Some(7));
        assert_eq!(
            quietly(|| if QUIET.get() {
                panic!("not to be seen")
            }),
            None
        );
        assert!(!QUIET.get());
    }
}
