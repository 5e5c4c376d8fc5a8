//! Why TLS cannot be had: which file, and what to do. Never a byte of a key.

use std::path::PathBuf;

/// What is wrong with certificates, keys or authorities.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: {error}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {what}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        what: String,
    },
    /// Others than its owner may read the key.
    #[error("{path}: others may read this key (mode {mode:04o}): chmod 600 it", path = path.display())]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// They do not fit together.
    #[error("{0}")]
    Unusable(String),
}
