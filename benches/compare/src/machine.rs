//! The machine of a run, in words.

use std::path::Path;
use strandline_load::client::Failure;

/// What it is.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    pub(crate) file_system: String,
}

impl Machine {
    /// This one, with the file system of a folder.
    pub(crate) fn here(folder: &Path) -> Result<Self, Failure> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let folder = std::fs::canonicalize(folder)?;
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            processor: after(&read("/proc/cpuinfo"), "model name").unwrap_or("?").to_owned(),
            memory_gib: after(&read("/proc/meminfo"), "MemTotal").and_then(kib).unwrap_or(0.0) / f64::from(1 << 20),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: file_system(&read("/proc/mounts"), &folder).unwrap_or("?").to_owned(),
        })
    }
}

fn after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

fn kib(text: &str) -> Option<f64> {
    text.split(' ').next()?.parse().ok()
}

/// That of the mount with the longest path above the folder.
fn file_system<'a>(mounts: &'a str, folder: &Path) -> Option<&'a str> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    mounts.filter(|(at, _)| folder.starts_with(at)).max_by_key(|(at, _)| at.len()).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_is_that_of_the_nearest_mount() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/data xfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/tmp/data/x")), Some("xfs"));
        assert_eq!(file_system(mounts, Path::new("/tmp/database")), Some("tmpfs"));
        assert_eq!(file_system(mounts, Path::new("/home")), Some("ext4"));
    }

    #[test]
    fn facts_of_proc_are_read() {
        let text = "MemFree: 1 kB\nMemTotal:       24689012 kB\n";
        assert_eq!(after(text, "MemTotal").and_then(kib), Some(24_689_012.0));
        assert_eq!(after(text, "nothing"), None);
    }
}
