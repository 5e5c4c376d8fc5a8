//! What guards the listeners: tokens and certificates, and how both are read again while the node runs: at SIGHUP, and when a file
//! has changed, which is looked at every two seconds. What could not be taken is tried again every minute: a certificate may become valid.

use crate::access::Access;
use crate::task::Tied;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use strandline_event::Micros;
use strandline_tls::Certificates;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Looks after which what failed is tried again.
const AGAIN_LOOKS: u32 = 30;

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

    /// Reads everything again; what cannot be read stays as it was, and the audit log says so. `again`: nothing has changed.
    fn reload(&self, now: Micros, again: bool) {
        if self.access.token_file().is_some() {
            let failed = self.access.reload().err().map(|error| error.to_string());
            self.access.audit.reloaded(TOKENS, failed, again);
        }
        if let Some(certificates) = &self.certificates {
            let failed = certificates.reload(now).err().map(|error| error.to_string());
            self.access.audit.reloaded(CERTIFICATES, failed, again);
        }
    }

    /// Says that a certificate has ended while it was in use, or was not valid from the start.
    fn check_time(&self, now: Micros) {
        let Some(certificates) = &self.certificates else { return };
        if self.access.audit.reloads().get(CERTIFICATES).is_some_and(|of| of.failing.is_some()) {
            return;
        }
        if let Err(error) = certificates.check_time(now) {
            self.access.audit.reloaded(CERTIFICATES, Some(error.to_string()), true);
        }
    }

    fn is_failing(&self) -> bool {
        self.access.audit.reloads().values().any(|of| of.failing.is_some())
    }
}

/// What is read again, as metrics and the audit log call it.
pub(crate) const TOKENS: &str = "tokens";
pub(crate) const CERTIFICATES: &str = "certificates";

/// Reads again what changes, until it is dropped.
pub(crate) struct Reloading {
    _task: Tied<()>,
}

impl Reloading {
    /// `None`: there is nothing that could change.
    pub(crate) fn start(security: &Security) -> io::Result<Option<Self>> {
        let files = security.files();
        if files.is_empty() {
            return Ok(None);
        }
        let mut hangup = signal(SignalKind::hangup())?;
        let (security, mut seen) = (security.clone(), stamps(&files));
        let task = tokio::spawn(async move {
            let mut looks = interval(LOOK_EVERY);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut since_tried = 0;
            loop {
                let asked = tokio::select! {
                    _ = hangup.recv() => true,
                    _ = looks.tick() => false,
                };
                since_tried = (since_tried + 1) % AGAIN_LOOKS;
                let again = since_tried == 0 && security.is_failing();
                let (security, files) = (security.clone(), files.clone());
                let before = seen.clone();
                let looked = spawn_blocking(move || {
                    let (now, found) = (strandline_workers::clock::now(), stamps(&files));
                    let changed = asked || found != before;
                    if changed || again {
                        security.reload(now, !changed);
                    }
                    security.check_time(now);
                    found
                });
                if let Ok(found) = looked.await {
                    seen = found;
                }
            }
        });
        Ok(Some(Self { _task: Tied::new(task) }))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::audit::Reloads;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use strandline_tls::{Files, dev};

    /// In 2026.
    const NOW: Micros = Micros(1_795_428_000_000_000);
    const YEAR: i64 = 366 * 86_400_000_000;

    struct Rig {
        _folder: tempfile::TempDir,
        files: Files,
        security: Security,
    }

    impl Rig {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            let files = Files { certificate: at("c.pem"), key: at("k.pem"), authorities: None };
            put(&files, None);
            let certificates = Some(Certificates::open(files.clone(), NOW).unwrap());
            Self { _folder: folder, files, security: Security { access: Access::open_to_all(), certificates } }
        }

        fn certificates(&self) -> Reloads {
            self.security.access.audit.reloads().remove(CERTIFICATES).unwrap_or_default()
        }
    }

    fn put(files: &Files, years: Option<(i32, i32)>) {
        let pair = dev::make_valid(0, &[], years).unwrap().server;
        fs::write(&files.certificate, &pair.certificate).unwrap();
        fs::write(&files.key, &pair.key).unwrap();
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn a_certificate_that_is_not_valid_yet_is_refused_until_it_is() {
        let rig = Rig::new();
        put(&rig.files, Some((2027, 2028)));
        rig.security.reload(NOW, false);
        let refused = rig.certificates();
        assert!(refused.failures == 1 && refused.failing.as_ref().unwrap().contains("2027-01-01"), "{refused:?}");
        // nothing new: it is not counted, nor said, again
        rig.security.reload(NOW, true);
        assert_eq!(rig.certificates(), refused);
        rig.security.reload(Micros(NOW.0 + YEAR), true);
        assert_eq!(rig.certificates(), Reloads { failures: 1, failing: None });
    }

    #[test]
    fn a_certificate_that_ends_while_it_is_in_use_is_told_once() {
        let rig = Rig::new();
        put(&rig.files, Some((2026, 2027)));
        rig.security.reload(NOW, false);
        rig.security.check_time(NOW);
        assert_eq!(rig.certificates(), Reloads::default());
        for _ in 0..2 {
            rig.security.check_time(Micros(NOW.0 + YEAR));
            assert_eq!(rig.certificates().failures, 1);
        }
        assert!(rig.security.is_failing());
    }
}
