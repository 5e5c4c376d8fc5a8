//! Values that come from a closed list: the enums of the keys and their texts.
//!
//! A choice is written by the user as text; the list stands once, here, and the parser, the printer and the
//! error messages read it.

use strandline_event::IdFormat;

/// A value out of a closed list of texts.
pub trait Choice: Copy + Sized + PartialEq + 'static {
    /// Every allowed value with its text, in the order of the reference.
    const ALL: &'static [(&'static str, Self)];
    /// The texts alone.
    const TEXTS: &'static [&'static str];

    /// The value that `text` names (exact spelling).
    #[must_use]
    fn from_text(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == text).map(|(_, value)| *value)
    }

    /// The text of the value.
    #[must_use]
    fn text(self) -> &'static str {
        Self::ALL.iter().find(|(_, value)| *value == self).map_or("", |(text, _)| text)
    }
}

macro_rules! choices {
    ($($(#[$doc:meta])+ $name:ident { $($(#[$item_doc:meta])+ $item:ident = $text:literal,)+ })+) => {$(
        $(#[$doc])+
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name { $($(#[$item_doc])+ $item,)+ }

        impl Choice for $name {
            const ALL: &'static [(&'static str, Self)] = &[$(($text, Self::$item)),+];
            const TEXTS: &'static [&'static str] = &[$($text),+];
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.text())
            }
        }
    )+};
}

choices! {
    /// Where the same command id may not come again.
    CommandScope {
        /// Command ids are kept, not checked.
        None = "none",
        /// Unique in a stream.
        Stream = "stream",
        /// Unique in a stream type.
        StreamType = "stream_type",
        /// Unique in the store.
        Store = "store",
    }
    /// Format of the durable tier.
    DurableType {
        /// Apache Parquet.
        Parquet = "parquet",
    }
    /// How a durable commit becomes true.
    CommitProtocol {
        /// Write aside, then one atomic step.
        AtomicRename = "atomic_rename",
    }
    /// Codec of the column chunks.
    Compression {
        /// Not compressed.
        None = "none",
        /// Snappy.
        Snappy = "snappy",
        /// Gzip, level 0 to 9.
        Gzip = "gzip",
        /// LZ4 (raw blocks).
        Lz4 = "lz4",
        /// Brotli, level 0 to 11.
        Brotli = "brotli",
        /// Zstandard, level 1 to 22.
        Zstd = "zstd",
    }
    /// A folder level of the durable tier.
    PartitionColumn {
        /// The date part.
        Dt = "dt",
        /// The stream type.
        StreamType = "stream_type",
        /// The tenant.
        TenantId = "tenant_id",
    }
    /// How long one `dt` partition is.
    Granularity {
        /// `2026-11-23-10`
        Hour = "hour",
        /// `2026-11-23`
        Day = "day",
        /// `2026-11`
        Month = "month",
        /// `2026`
        Year = "year",
    }
    /// Direction of `row_group.sort_by`.
    SortOrder {
        /// Smallest first.
        Asc = "asc",
        /// Largest first.
        Desc = "desc",
    }
    /// What ends a log segment.
    Rollover {
        /// Before it exceeds `wal.rollover_mb`.
        Size = "size",
        /// When the finest time field of `wal.segment_pattern` changes.
        Time = "time",
    }
    /// Checksum of a frame's payload in the log.
    Checksum {
        /// CRC-32C (Castagnoli).
        Crc32c = "crc32c",
        /// None on the payload; the header keeps its own.
        None = "none",
    }
    /// What starts a compaction job.
    CompactionTrigger {
        /// A stream type's log reaches `compaction.min_segment_mb`.
        SizeMb = "size_mb",
        /// A tick of `compaction.schedule`.
        Time = "time",
    }
    /// A tier that a read consults.
    Tier {
        /// Memory.
        Inmemory = "inmemory",
        /// The log.
        Wal = "wal",
        /// The Parquet files.
        Durable = "durable",
    }
    /// How a read joins the tiers.
    MergeStrategy {
        /// Union, one row per dedupe key, sorted.
        UnionDedupeSort = "union_dedupe_sort",
    }
    /// What a read does at a hole in a stream.
    MissingSeqPolicy {
        /// It fails and names the range.
        Error = "error",
        /// Rows, and a warning in the answer.
        Warn = "warn",
        /// Rows.
        Ignore = "ignore",
    }
    /// What retention does to a data file.
    DeleteMode {
        /// Marked in the manifest, deleted after a grace period.
        Tombstone = "tombstone",
        /// Deleted with the commit.
        Hard = "hard",
    }
    /// Who wraps the data keys.
    KmsProvider {
        /// AWS Key Management Service.
        AwsKms = "aws_kms",
        /// A key file on this machine, for development.
        Local = "local",
    }
    /// When an append is answered relative to projections.
    ProjectionMode {
        /// Projections follow.
        Async = "async",
        /// The answer waits for the registered sync projections.
        Sync = "sync",
    }
}

impl Choice for IdFormat {
    const ALL: &'static [(&'static str, Self)] = &[("uuidv7", Self::V7), ("uuidv4", Self::V4)];
    const TEXTS: &'static [&'static str] = &["uuidv7", "uuidv4"];
}

impl Compression {
    /// Allowed levels of the codec; `None`: it has no level.
    #[must_use]
    pub const fn levels(self) -> Option<(u32, u32)> {
        match self {
            Self::Gzip => Some((0, 9)),
            Self::Brotli => Some((0, 11)),
            Self::Zstd => Some((1, 22)),
            Self::None | Self::Snappy | Self::Lz4 => None,
        }
    }

    /// The level that is used where the store names none.
    #[must_use]
    pub const fn default_level(self) -> Option<u32> {
        match self {
            Self::Gzip => Some(6),
            Self::Brotli => Some(5),
            Self::Zstd => Some(3),
            Self::None | Self::Snappy | Self::Lz4 => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_round_trip() {
        for (text, value) in Compression::ALL {
            assert_eq!(Compression::from_text(text), Some(*value));
            assert_eq!(value.text(), *text);
        }
        assert_eq!(Compression::from_text("ZSTD"), None);
        assert_eq!(IdFormat::TEXTS, ["uuidv7", "uuidv4"]);
    }
}
