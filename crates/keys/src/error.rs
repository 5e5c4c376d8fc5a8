//! Why a key cannot be had. No text holds a bit of one.

use crate::secret_file::TooOpen;
use std::io;
use std::path::PathBuf;
use strandline_event::ErrorKind;

/// Why keys cannot be read, made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Nobody was named who wraps keys.
    #[error(
        "the store is encrypted, and there is no provider of keys: set security.kms.provider and security.kms.key_id"
    )]
    NoProvider,
    /// There is no keyring where one must be.
    #[error(
        "the store is declared encrypted (security.encrypt.at_rest), and there is a store without a keyring: it was made without encryption, which \
         cannot be changed, or its keyring is gone: put it back"
    )]
    NoRing,
    /// There is no key file.
    #[error(
        "there is no key file {}: put the one back that the store was made with (security.kms.key_id); for a new store make one \
         with `strandline keys init --file {}`", .0.display(), .0.display()
    )]
    NoFile(PathBuf),
    /// There is one already.
    #[error("{} exists already: a key file is never overwritten; `strandline keys rotate` adds a key to it", .0.display())]
    FileExists(PathBuf),
    /// The folder that a key file is to be made in.
    #[error("there is no folder {}: make it first, for the user that the node runs as, or name another file", .0.display())]
    NoFolder(PathBuf),
    /// Somebody adds a key to it.
    #[error("another rotation of the key file {} is under way: wait until it has ended, then rotate again", .0.display())]
    FileInUse(PathBuf),
    /// Others may read or change it.
    #[error("the key file {}: {why}", .path.display())]
    FileOpen {
        /// The file.
        path: PathBuf,
        /// Who.
        why: TooOpen,
    },
    /// It is not what was written.
    #[error("the key file {} is damaged ({what}): put it back from a copy", .path.display())]
    FileDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// The operating system does not give it.
    #[error(
        "the key file {} cannot be read ({error}): let the user that the node runs as read it and pass its folders, and see the disk that it \
         lies on", .path.display()
    )]
    FileUnreadable {
        /// The file.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// The file system, where a key file is written.
    #[error("{}: {error}", .path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// The keyring is not what was written.
    #[error("the keyring `{name}` is damaged ({what}): put it back from a copy")]
    RingDamaged {
        /// Its name.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
    /// The provider's key does not open what it should have wrapped.
    #[error(
        "{key} does not open key {wanted}: it is not the key that wrapped it. Put the right one back (security.kms.key_id)"
    )]
    WrongKey {
        /// The provider's key.
        key: String,
        /// What was to be opened.
        wanted: String,
    },
    /// The provider has lost a version of its key.
    #[error(
        "{key} has no version {version}, which wrapped key {wanted}: put the version back, it is needed for what it wrapped"
    )]
    NoVersion {
        /// The provider's key.
        key: String,
        /// The version.
        version: String,
        /// What was to be opened.
        wanted: String,
    },
    /// Another provider wrapped it.
    #[error(
        "key {wanted} was wrapped by `{found}`, and security.kms.provider is `{provider}`: declare the provider that it was made with"
    )]
    OtherProvider {
        /// What was to be opened.
        wanted: String,
        /// Who wrapped it.
        found: String,
        /// Who was asked.
        provider: &'static str,
    },
    /// A key that the keyring does not hold.
    #[error("the keyring has no key {0}: it is an older copy, or another store's; put the right one back")]
    NoKey(u64),
    /// The provider does not answer.
    #[error("{key} cannot be asked ({said}): what is open goes on, and it is asked again; {advice}")]
    Unreachable {
        /// The provider's key.
        key: String,
        /// What happened.
        said: String,
        /// What to do next.
        advice: &'static str,
    },
    /// The provider said no.
    #[error("{key} refuses ({said}): {advice}")]
    Refused {
        /// The provider's key.
        key: String,
        /// What it said.
        said: String,
        /// What to do next.
        advice: &'static str,
    },
    /// A provider that this build does not serve.
    #[error("security.kms.provider = '{0}' is not served by this build: use 'local', or a build with that provider")]
    NotSupported(&'static str),
}

impl KeyError {
    /// What it means to the one who called.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::NoProvider
            | Self::NoFile(_)
            | Self::FileExists(_)
            | Self::NoFolder(_)
            | Self::FileInUse(_)
            | Self::FileOpen { .. }
            | Self::OtherProvider { .. } => ErrorKind::BadRequest,
            Self::NotSupported(_) => ErrorKind::NotSupported,
            Self::FileDamaged { .. }
            | Self::RingDamaged { .. }
            | Self::WrongKey { .. }
            | Self::NoRing
            | Self::NoVersion { .. }
            | Self::NoKey(_) => ErrorKind::Integrity,
            Self::FileUnreadable { .. } | Self::Io { .. } => ErrorKind::Io,
            Self::Unreachable { .. } | Self::Refused { .. } => ErrorKind::Unavailable,
        }
    }

    /// Whether the provider's key is not to be had, which says nothing against what it wrapped, nor against what is sealed under that. A key
    /// that was tried and does not open it is another matter, and so is a keyring that is not what it was.
    #[must_use]
    pub const fn is_away(&self) -> bool {
        match self {
            Self::NoProvider
            | Self::NoFile(_)
            | Self::FileOpen { .. }
            | Self::FileDamaged { .. }
            | Self::FileUnreadable { .. }
            | Self::NoVersion { .. }
            | Self::OtherProvider { .. }
            | Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::NotSupported(_) => true,
            Self::NoRing
            | Self::FileExists(_)
            | Self::NoFolder(_)
            | Self::FileInUse(_)
            | Self::Io { .. }
            | Self::RingDamaged { .. }
            | Self::WrongKey { .. }
            | Self::NoKey(_) => false,
        }
    }
}
