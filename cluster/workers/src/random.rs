//! Random bits of ids, jobs and stores: the only place that asks the operating system for them.

use strandline_event::invariant::broken;

/// 128 random bits.
#[must_use]
pub fn bits() -> u128 {
    let mut bytes = [0; 16];
    if let Err(e) = getrandom::fill(&mut bytes) {
        broken(&format!("the operating system gives no random bits: {e}"));
    }
    u128::from_le_bytes(bytes)
}

/// Fills bytes with random ones.
pub fn fill(bytes: &mut [u8]) {
    if let Err(e) = getrandom::fill(bytes) {
        broken(&format!("the operating system gives no random bits: {e}"));
    }
}

/// 64 random bits, never zero.
#[must_use]
pub fn nonzero_u64() -> u64 {
    (bits() as u64).max(1)
}
