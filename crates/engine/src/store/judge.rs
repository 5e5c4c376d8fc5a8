//! Judges a start before it claims the store: one that cannot succeed must not fence an owner that serves.
//!
//! ```text
//!  the newest manifest -> declaration -> logs opened, judged against it      nothing of the durable tier is written
//!                                          |
//!                                        claim: one commit right upon that manifest (moved meanwhile: judged again;
//!                                          |     without a log: upon what its owner has committed since)
//!                                          |
//!                                        the rest of the opening (see `open`)
//! ```
//!
//! The logs are this node's own (their folder is locked by the caller), so opening them takes nothing from anybody.

use super::gone;
use super::lost::{self, FoundLog, Known};
use super::marks::{Marked, Marks};
use super::open::{LogPlace, keys, wal_dir};
use super::options::{OpenError, OpenOptions};
use super::report::OpenReport;
use crate::view::frames;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use strandline_deql::StoreConfig;
use strandline_durable::objects::{Purpose, Settings, open_location};
use strandline_durable::{DurableTier, OpenError as DurableError, SharedObjects, Snapshot, sealed_places};
use strandline_event::{ErrorKind, LogKey, Micros};

/// Manifests that are judged before a start gives up: each one more means that another owner committed meanwhile.
const TRIES: u32 = 16;
/// Decoded footers and filters of data files that are kept.
const CACHE_BYTES: usize = 64 << 20;

/// A store that can be opened, as far as one can tell without becoming its owner.
pub struct Judged {
    pub(super) options: OpenOptions,
    pub(super) wal_dir: Option<PathBuf>,
    objects: (SharedObjects, SharedObjects),
    facts: Facts,
}

/// What was found, all of it against one manifest.
pub(super) struct Facts {
    /// That manifest; none: the store is new.
    snapshot: Option<Arc<Snapshot>>,
    pub(super) logs: Vec<FoundLog>,
    /// The largest ingested_at of the logs' tails.
    pub(super) tail: Micros,
    pub(super) report: OpenReport,
    /// The folder of the logs is not the last owner's, and that is accepted.
    stale: bool,
}

impl Facts {
    /// The epoch that a claim upon that manifest has.
    fn next_epoch(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.epoch()) + 1
    }
}

impl Judged {
    pub(super) fn new(
        options: OpenOptions,
        objects: Option<(SharedObjects, SharedObjects)>,
    ) -> Result<Self, OpenError> {
        let wal_dir = wal_dir(&options.config)?;
        let objects = match objects {
            Some(objects) => objects,
            None => places(&options, true)?,
        };
        let objects = sealed(&options, objects)?;
        let facts = look(&options, wal_dir.as_deref(), &objects)?;
        Ok(Self { options, wal_dir, objects, facts })
    }

    /// Whether there is no store yet: opening makes it.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.facts.snapshot.is_none()
    }

    /// It is opened now, and not when it was judged: its claim is of this moment.
    #[must_use]
    pub fn at(mut self, now: Micros) -> Self {
        self.options.now = now;
        self
    }

    /// Logs on disk that it has.
    #[must_use]
    pub fn logs(&self) -> usize {
        if self.wal_dir.is_some() { self.facts.logs.len() } else { 0 }
    }

    /// The logs that it has.
    #[must_use]
    pub fn log_keys(&self) -> Vec<LogKey> {
        self.facts.logs.iter().map(|log| log.key.clone()).collect()
    }

    /// Its stream types of more than one bucket, and how many each has.
    #[must_use]
    pub fn buckets(&self) -> BTreeMap<String, u32> {
        self.facts.snapshot.as_ref().map_or_else(BTreeMap::new, |snapshot| snapshot.manifest().buckets.clone())
    }

    /// Becomes the owner, upon the manifest that was judged, or a later one of a store without a log.
    pub(super) fn claim(self) -> Result<(OpenOptions, Option<PathBuf>, DurableTier, Facts), OpenError> {
        let Self { options, wal_dir, objects, mut facts } = self;
        let marks = Marks::of(&LogPlace::of(&options, wal_dir.as_deref(), objects.0.keys())?);
        for _ in 0..TRIES {
            let epoch = facts.next_epoch();
            if let Some(marks) = marks.as_ref().filter(|_| !facts.stale) {
                marks.claim(epoch)?;
            }
            let claim = strandline_durable::OpenOptions {
                writer: lost::owner_name(options.node),
                config_text: strandline_deql::print(&options.config),
                entropy: options.entropy,
                secret: options.secret,
                now: options.now,
                cache_bytes: CACHE_BYTES,
                scratch: options.scratch.clone(),
            };
            let (files, manifests) = (Arc::clone(&objects.0), Arc::clone(&objects.1));
            let opened = match facts.snapshot.clone() {
                // without a log the declaration is all that is judged, and its owner may commit faster than this is done
                Some(judged) if wal_dir.is_none() => {
                    DurableTier::open_since(files, manifests, &options.config, claim, judged)
                }
                judged => DurableTier::open_judged(files, manifests, &options.config, claim, judged),
            };
            match opened {
                Ok(durable) => {
                    if wal_dir.is_none() {
                        facts = judge_upon(&options, None, &objects, Some(durable.pin()))?;
                    }
                    return Ok((options, wal_dir, durable, facts));
                }
                Err(DurableError::Moved { .. }) => {
                    if let Some(marks) = marks.as_ref().filter(|_| !facts.stale) {
                        marks.withdraw(epoch)?;
                    }
                    // two writers of one log must never be open
                    drop(facts);
                    facts = look(&options, wal_dir.as_deref(), &objects)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(DurableError::Contended.into())
    }
}

/// Where its files and manifests are. `makes`: their folders are made; else they are only looked at.
pub(super) fn places(options: &OpenOptions, makes: bool) -> Result<(SharedObjects, SharedObjects), OpenError> {
    let (durable, settings) = (&options.config.durable, Settings::from_env());
    let open = |location, scratch| {
        let purpose = if makes { Purpose::Own { scratch } } else { Purpose::Read };
        open_location(location, purpose, &settings)
    };
    let both = open(&durable.path, options.scratch.as_deref())
        .and_then(|files| Ok((files, open(&durable.manifest_path, None)?)));
    both.map_err(|error| DurableError::from(error).into())
}

/// The places as an encrypted store has them: a new one gets its keyring here, before it is anybody's. One whose files are away gets none.
pub(super) fn sealed(
    options: &OpenOptions,
    places: (SharedObjects, SharedObjects),
) -> Result<(SharedObjects, SharedObjects), OpenError> {
    let (config, keys) = (&options.config, &options.keys);
    let found = sealed_places(places, config, keys.clone(), false)?;
    if !config.security.encrypt_at_rest || found.0.keys().is_some() {
        return Ok(found);
    }
    gone::refuse_gone(options, &found)?;
    Ok(sealed_places(found, config, keys.clone(), true)?)
}

fn look(
    options: &OpenOptions,
    wal_dir: Option<&Path>,
    objects: &(SharedObjects, SharedObjects),
) -> Result<Facts, OpenError> {
    let config = &options.config;
    let (files, manifests) = (Arc::clone(&objects.0), Arc::clone(&objects.1));
    let snapshot = match DurableTier::open_read_only_with(files, manifests, config) {
        Ok(tier) => {
            tier.refuse_files_away(config)?;
            tier.refuse_behind_delta_log(config)?;
            Some(tier.pin())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    judge_upon(options, wal_dir, objects, snapshot)
}

/// What can be told against this manifest.
fn judge_upon(
    options: &OpenOptions,
    wal_dir: Option<&Path>,
    objects: &(SharedObjects, SharedObjects),
    snapshot: Option<Arc<Snapshot>>,
) -> Result<Facts, OpenError> {
    if let Some(snapshot) = &snapshot {
        check_declaration(&options.config, snapshot)?;
    }
    let place = LogPlace::of(options, wal_dir, objects.0.keys())?;
    let marked = Marks::of(&place).map_or_else(|| Ok(Marked::default()), |marks| marks.read())?;
    if snapshot.is_none() {
        gone::refuse_new_beside(&options.config, wal_dir, &marked, options.served.as_deref())?;
    }
    let (accept_lost, newest, mut report) = (options.accept_lost_log, snapshot.as_deref(), OpenReport::default());
    let stale = lost::judge_folder(&place, &marked, newest, accept_lost, &mut report)?;
    let keys: Vec<LogKey> = keys(&place, &marked, newest)?.into_iter().collect();
    let judged = two_at_a_time(&keys, |key| -> Result<_, OpenError> {
        let (known, mut said) = (Known::of(newest, &marked, key).of_stale(stale), OpenReport::default());
        let log = lost::judge(&place, known, key.clone(), accept_lost, &mut said)?;
        let moment = last_moment(&log, known);
        Ok((log, moment, said))
    });
    let (mut logs, mut tail) = (Vec::new(), Micros::MIN);
    for judged in judged {
        let (log, moment, said) = judged?;
        report.add(said);
        tail = tail.max(moment);
        logs.push(log);
    }
    Ok(Facts { snapshot, logs, tail, report, stale })
}

/// Tries the same with each, two at a time: one waits for the disk, or is checked, beside the other. What came of them, in their order; where
/// one fails, no further one is begun.
fn two_at_a_time<T: Sync, R: Send, E: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Vec<Result<R, E>> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let some = || {
        let mut done = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { break };
            let outcome = work(item);
            failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
            done.push((at, outcome));
        }
        done
    };
    let mut done = match items.len() {
        0 | 1 => some(),
        _ => std::thread::scope(|scope| {
            let other = scope.spawn(some);
            let mut done = some();
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            done
        }),
    };
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

/// The largest ingested_at above the watermark, as far as the log can be read: opening it names what cannot.
fn last_moment(log: &FoundLog, known: Known) -> Micros {
    let view = log.view.load();
    let low = known.watermark.max(view.first_index().prev());
    let found = frames::last_moment(&log.key, &view, low, view.last_index());
    found.ok().flatten().map_or(Micros::MIN, |(_, moment)| moment)
}

pub(super) fn check_declaration(config: &StoreConfig, snapshot: &Snapshot) -> Result<(), OpenError> {
    if snapshot.store_name() != config.name {
        return Err(OpenError::OtherStore { wanted: config.name.clone(), found: snapshot.store_name().to_owned() });
    }
    let unreadable =
        |why: String| OpenError::DeclarationUnreadable { store: config.name.clone(), version: snapshot.version(), why };
    let old = strandline_deql::parse_file("manifest", snapshot.config_text()).map_err(|e| unreadable(e.to_string()))?;
    let old = old.stores.first().ok_or_else(|| unreadable("it declares no store".to_owned()))?;
    strandline_deql::replaceable_changes(&old.config, config).map_err(|keys| {
        let rows = strandline_deql::check_rows(&old.config);
        let changed = rows.iter().filter(|row| keys.contains(&row.key));
        let was = changed.map(|row| format!("{} = {}", row.key, row.value_text())).collect();
        OpenError::ConfigChanged { store: config.name.clone(), was }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_two_at_a_time_comes_in_order_and_ends_with_a_failure() {
        let numbers: Vec<u32> = (0..1_000).collect();
        for few in [0, 1, 2, 1_000] {
            let doubled = two_at_a_time(&numbers[..few], |n| Ok::<_, ()>(2 * n));
            assert!(doubled.into_iter().eq((0..few as u32).map(|n| Ok(2 * n))), "{few}");
        }
        let begun = AtomicUsize::new(0);
        let tried = two_at_a_time(&numbers, |n| {
            begun.fetch_add(1, Ordering::Relaxed);
            if *n < 3 { Ok(*n) } else { Err(*n) }
        });
        // the other thread may have begun with one more
        assert!((4..6).contains(&tried.len()) && begun.into_inner() == tried.len(), "{tried:?}");
        assert_eq!(tried[..4], [Ok(0), Ok(1), Ok(2), Err(3)]);
    }
}
