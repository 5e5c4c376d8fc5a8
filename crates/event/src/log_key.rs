//! Which log: one stream type, one bucket; and which bucket a stream is in.

use crate::hash::stream_hash;
use std::fmt;
use std::sync::Arc;

/// Name of a log and of its owner. Cloning is one reference count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LogKey {
    /// The stream type.
    pub stream_type: Arc<str>,
    /// Part of the stream type, from 0; a type that was not registered otherwise has one.
    pub bucket: u32,
}

impl LogKey {
    /// The log of a stream type that has one bucket.
    #[must_use]
    pub fn single(stream_type: &str) -> Self {
        Self { stream_type: Arc::from(stream_type), bucket: 0 }
    }

    /// The log of a stream, in a stream type of so many buckets.
    #[must_use]
    pub fn of_stream(stream_type: &str, stream_id: &str, buckets: u32) -> Self {
        Self { stream_type: Arc::from(stream_type), bucket: bucket_of_stream(stream_id, buckets) }
    }
}

/// The bucket of a stream, by the [hash](stream_hash) of its id, in a stream type of so many buckets: the two halves of the hash, one
/// xor the other, modulo the number. Logs, files and groups lie where it says: it never changes. Neither half alone is fixed within a
/// bucket: tables and runs, which go by one of them, stay evenly filled.
#[must_use]
pub const fn bucket_of(stream: u128, buckets: u32) -> u32 {
    if buckets < 2 {
        return 0;
    }
    let folded = (stream >> 64) as u64 ^ stream as u64;
    (folded % buckets as u64) as u32
}

/// The bucket of a stream by its id, in a stream type of so many buckets.
#[must_use]
pub fn bucket_of_stream(stream_id: &str, buckets: u32) -> u32 {
    // of the many types with one bucket no name is hashed
    if buckets > 1 { bucket_of(stream_hash(stream_id), buckets) } else { 0 }
}

impl fmt::Display for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bucket == 0 {
            f.write_str(&self.stream_type)
        } else {
            write!(f, "{}~{}", self.stream_type, self.bucket)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_of_a_stream_is_fixed_for_ever() {
        let buckets = [1, 2, 3, 4, 7, 16, 100, 255, 256];
        let found = buckets.map(|of| LogKey::of_stream("Call", "strandline", of).bucket);
        assert_eq!(found, [0, 0, 1, 0, 1, 4, 92, 52, 148]);
        assert_eq!(buckets.map(|of| bucket_of(stream_hash("strandline"), of)), found);
        assert_eq!(buckets.map(|of| bucket_of_stream("strandline", of)), found);
        assert_eq!(bucket_of(u128::MAX, 0), 0);
    }

    #[test]
    fn streams_spread_over_all_buckets() {
        for buckets in [2, 3, 64, 256] {
            let mut streams = vec![0_u32; buckets as usize];
            for n in 0..buckets * 200 {
                streams[bucket_of(stream_hash(&format!("stream-{n}")), buckets) as usize] += 1;
            }
            // 200 each, about: six times the deviation that chance gives
            assert!(streams.iter().all(|count| (115..=285).contains(count)), "{buckets}: {streams:?}");
        }
    }

    #[test]
    fn a_log_is_named_by_its_bucket_where_it_is_not_the_first() {
        let named = |bucket| LogKey { stream_type: Arc::from("Call"), bucket }.to_string();
        assert_eq!((named(0), named(3)), ("Call".to_owned(), "Call~3".to_owned()));
    }
}
