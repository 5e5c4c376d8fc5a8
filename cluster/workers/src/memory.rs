//! Memory of the process.

/// Takes memory in small pages only. The allocator asks for huge ones (2 MiB), which the kernel has to find and clear whole; once the
/// page cache has filled the machine it stops the asking thread to move other pages together. Measured with 5 million appends that carry
/// command ids: the last tenth ran at 0.4 of the first one's rate with huge pages, at 0.9 without.
///
/// A refusal leaves things as they were: slower, not wrong.
pub fn take_small_pages() {
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_process_takes_no_huge_pages() {
        super::take_small_pages();
        assert!(rustix::thread::transparent_huge_pages_are_disabled().unwrap());
    }
}
