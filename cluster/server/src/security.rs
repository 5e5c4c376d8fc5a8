//! What guards the listeners: tokens and certificates, and how both are read again while the node runs: at SIGHUP, and when a file
//! has changed, which is looked at every two seconds.

use crate::access::Access;
use crate::access::audit::Audit;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use strandline_tls::Certificates;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Tokens and certificates of a node.
#[derive(Clone, Debug)]
pub struct Security {
    /// Who may do what.
    pub access: Arc<Access>,
    /// What the listeners show; `None`: they speak plain text.
    pub certificates: Option<Arc<Certificates>>,
}

impl Default for Security {
    fn default() -> Self {
        Self { access: Access::open_to_all(), certificates: None }
    }
}

impl Security {
    /// Whether addresses may be served that others reach.
    #[must_use]
    pub fn admits_others(&self) -> bool {
        self.access.token_file().is_some()
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = self.access.token_file().map(Path::to_owned).into_iter().collect();
        if let Some(certificates) = &self.certificates {
            let of = certificates.files();
            files.extend([of.certificate.clone(), of.key.clone()]);
            files.extend(of.authorities.clone());
        }
        files
    }

    /// Reads everything again; what cannot be read stays as it was, and the audit log says so.
    fn reload(&self) {
        if self.access.token_file().is_some() {
            let failed = self.access.reload().err().map(|error| error.to_string());
            Audit::reloaded("tokens", failed.as_deref());
        }
        if let Some(certificates) = &self.certificates {
            let failed = certificates.reload().err().map(|error| error.to_string());
            Audit::reloaded("certificates", failed.as_deref());
        }
    }
}

/// Reads again what changes, until it is dropped.
pub(crate) struct Reloading(JoinHandle<()>);

impl Reloading {
    /// `None`: there is nothing that could change.
    pub(crate) fn start(security: &Security) -> io::Result<Option<Self>> {
        let files = security.files();
        if files.is_empty() {
            return Ok(None);
        }
        let mut hangup = signal(SignalKind::hangup())?;
        let (security, mut seen) = (security.clone(), stamps(&files));
        Ok(Some(Self(tokio::spawn(async move {
            let mut looks = interval(LOOK_EVERY);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                let asked = tokio::select! {
                    _ = hangup.recv() => true,
                    _ = looks.tick() => false,
                };
                let (security, files) = (security.clone(), files.clone());
                let before = seen.clone();
                let looked = spawn_blocking(move || {
                    let now = stamps(&files);
                    if asked || now != before {
                        security.reload();
                    }
                    now
                });
                if let Ok(now) = looked.await {
                    seen = now;
                }
            }
        }))))
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What tells one content of a file from another, without reading it.
#[derive(Clone, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    mode: u32,
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |path: &PathBuf| {
        let facts = std::fs::metadata(path).ok()?;
        let modified = (facts.mtime(), facts.mtime_nsec());
        Some(Stamp { inode: facts.ino(), bytes: facts.size(), modified, mode: facts.mode() })
    };
    files.iter().map(stamp).collect()
}
