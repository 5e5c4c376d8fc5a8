//! Why a tier is not opened, and what that means to who asked for it.

use crate::layout::LayoutError;
use crate::manifest::ManifestError;
use crate::objects::ObjectError;
use crate::tier::CommitError;
use crate::tier::in_place::FilesAway;
use strandline_event::ErrorKind;
use strandline_keys::KeyError;

/// Why the tier cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A manifest is missing or damaged.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The disk or the object store.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The keys of an encrypted store.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Another store lives there.
    #[error("the folder belongs to the store `{found}`, not to `{name}`")]
    OtherStore {
        /// The store that is to be opened.
        name: String,
        /// The one that is there.
        found: String,
    },
    /// There is another newest version than the one that was judged.
    #[error("the store was committed to by another owner just now: it was version {}, it is version {}", text(.judged), text(.found))]
    Moved {
        /// The version that was judged; none: there was no store.
        judged: Option<u64>,
        /// The newest one.
        found: Option<u64>,
    },
    /// Manifests are missing: a new store would give the numbers of what is there again, and sweep it away.
    #[error(
        "there is no manifest in {manifests}, but {files} holds `{found}`: a store was here, and what it knows of its files is \
         gone. Put the manifests back as they were (durable.commit.manifest_path; is its disk mounted?), or give the store \
         another durable.path and wal.path"
    )]
    ManifestsGone {
        /// Where they must be.
        manifests: String,
        /// Where the files are.
        files: String,
        /// One of these.
        found: String,
    },
    /// The manifests are there, and the files are not.
    #[error(transparent)]
    FilesAway(#[from] FilesAway),
    /// The newest manifests are missing.
    #[error(
        "the newest manifest in {manifests} is version {newest}, but the Delta log in {files} shows version {shown}: manifests \
         were lost or rolled back. Put them back as they were; if they were rolled back on purpose, remove \
         `{}` there (it is made anew): files that only the newer versions name are swept then",
        crate::delta::names::FOLDER
    )]
    ManifestsBehind {
        /// Where they are.
        manifests: String,
        /// Where the files are.
        files: String,
        /// The newest that is there.
        newest: u64,
        /// A newer one.
        shown: u64,
    },
    /// The next version can neither be made nor seen.
    #[error(
        "something that is no manifest stands in the place of manifest version {version}, perhaps a folder: restore the \
         manifest from a copy, or move away what stands there if there never was such a version"
    )]
    Obstructed {
        /// The version that is to be made.
        version: u64,
    },
    /// Others claim faster.
    #[error("the store is being claimed by others again and again; another owner runs on it")]
    Contended,
    /// The claim failed.
    #[error(transparent)]
    Claim(#[from] CommitError),
}

impl OpenError {
    /// What it means to the one who called.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Layout(_) => ErrorKind::BadRequest,
            Self::Manifest(error) => error.kind(),
            Self::Objects(error) => error.kind(),
            Self::Keys(error) => error.kind(),
            Self::OtherStore { .. } => ErrorKind::BadRequest,
            Self::Obstructed { .. }
            | Self::ManifestsGone { .. }
            | Self::FilesAway(_)
            | Self::ManifestsBehind { .. } => ErrorKind::Integrity,
            Self::Moved { .. } | Self::Contended => ErrorKind::Unavailable,
            Self::Claim(error) => error.kind(),
        }
    }
}

fn text(version: &Option<u64>) -> String {
    version.map_or_else(|| "none".to_owned(), |version| version.to_string())
}
