//! Why TLS cannot be had: which file, and what to do. Never a byte of a key.

use std::path::PathBuf;
use strandline_event::Micros;
use strandline_keys::secret_file::TooOpen;

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
    /// Others may read or change the key.
    #[error("the private key {path}: {why}", path = path.display())]
    Readable {
        /// The file.
        path: PathBuf,
        /// Who.
        why: TooOpen,
    },
    /// A certificate is not valid now.
    #[error(
        "{path}: the certificate is valid from {from} to {until}, which is not now: put one there that is valid (and look at the machine's clock)",
        path = path.display()
    )]
    NotNow {
        /// The file.
        path: PathBuf,
        /// The first moment.
        from: Micros,
        /// The last one.
        until: Micros,
    },
    /// They do not fit together.
    #[error("{0}")]
    Unusable(String),
}
