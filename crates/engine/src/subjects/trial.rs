//! A batch sealed to be judged, not to be stored: a judgement needs it as it would be, and a refusal must not leave keys behind.
//!
//! Subjects that have a key are sealed with it, so that a retry is equal to what was stored; the others with one that nobody keeps. Invariant: a trial
//! writes nothing, and what it says of erased subjects is for whoever the judgement lets through.

use super::{Entry, Keeping, KeysThere, Random, SealError, SubjectKeys, erased, sealed_with, subjects_of};
use std::collections::HashMap;
use std::sync::Arc;
use strandline_event::BatchBytes;
use strandline_keys::Secret;
use strandline_keys::subject::SubjectKey;
use strandline_keys::subject::record::{Subject, SubjectKind};

/// What a batch would be.
pub struct Trial {
    /// Sealed; it is to be stored only if `is_final`.
    pub batch: BatchBytes,
    /// Every subject has a key: it is sealed as [`SubjectKeys::seal`] would.
    pub is_final: bool,
    /// A subject was erased: the batch is not to be stored, whatever a judgement says.
    pub erased: Option<SealError>,
}

impl SubjectKeys {
    /// Seals a batch for a judgement; `None`: its stream type is not erasable. Waits for a write of the file: it blocks.
    ///
    /// # Errors
    /// [`SealError`], but for `Erased`, which is in the trial.
    pub fn try_seal(&self, store: &str, batch: &BatchBytes, random: Random<'_>) -> Result<Option<Trial>, SealError> {
        let view = batch.view();
        let Some(kind) = self.kind_of(store, view.stream_type()) else { return Ok(None) };
        let subjects = subjects_of(store, view, kind)?;
        let (keys, of_erased) = self.keys_there(kind, subjects.iter())?;
        let is_final = keys.iter().all(Option::is_some);
        let batch = sealed_with(view, &or_fresh(&subjects, keys, random))?;
        Ok(Some(Trial { batch, is_final, erased: of_erased }))
    }

    /// As [`seal`](SubjectKeys::seal), but that only rows of these places get keys for their subjects: the others must be ones that are never stored,
    /// whoever decides meanwhile. Those are sealed with a key that is there, or one that nobody keeps.
    ///
    /// # Errors
    /// As there, and of such rows nothing is told.
    pub fn seal_rows(
        &self,
        store: &str,
        batch: &BatchBytes,
        random: Random<'_>,
        is_stored: &dyn Fn(usize) -> bool,
    ) -> Result<BatchBytes, SealError> {
        let view = batch.view();
        let Some(kind) = self.kind_of(store, view.stream_type()) else { return Ok(batch.clone()) };
        let subjects = subjects_of(store, view, kind)?;
        let (stored, others): (Vec<usize>, Vec<usize>) = (0..subjects.len()).partition(|row| is_stored(*row));
        if others.is_empty() {
            return sealed_with(view, &self.keys(kind, &subjects, random)?);
        }
        let of = |rows: &[usize]| rows.iter().filter_map(|row| subjects.get(*row)).cloned().collect::<Vec<_>>();
        let mut keys = vec![None; subjects.len()];
        for (row, key) in stored.iter().zip(self.keys(kind, &of(&stored), random)?) {
            keys[*row] = Some(key);
        }
        for (row, key) in others.iter().zip(self.keys_there(kind, of(&others).iter())?.0) {
            keys[*row] = key;
        }
        sealed_with(view, &or_fresh(&subjects, keys, random))
    }

    /// Those of these rows whose subject was erased, and what is said of it. It blocks.
    ///
    /// # Errors
    /// [`SealError`]: a folder that cannot be read.
    pub fn erased_rows(
        &self,
        store: &str,
        batch: &BatchBytes,
        rows: &[u32],
    ) -> Result<Vec<(u32, SealError)>, SealError> {
        let view = batch.view();
        let Some(kind) = self.kind_of(store, view.stream_type()) else { return Ok(Vec::new()) };
        let (subjects, mut found) = (subjects_of(store, view, kind)?, Vec::new());
        for row in rows {
            let subject = subjects.get(*row as usize);
            let (_, of_erased) = self.keys_there(kind, subject.into_iter())?;
            found.extend(of_erased.map(|error| (*row, error)));
        }
        Ok(found)
    }

    /// The keys that subjects have, and of the first that was erased that it was.
    fn keys_there<'s>(
        &self,
        kind: SubjectKind,
        subjects: impl Iterator<Item = &'s Subject>,
    ) -> Result<KeysThere, SealError> {
        let mut of_erased = None;
        let written = match &self.keeping {
            Keeping::File(written) => written.lock(),
            Keeping::Folder(shared) => return self.shared_keys_there(shared, kind, subjects),
        };
        let slots = self.slots.read();
        let key = |subject: &Subject| match written.subjects.get(subject)? {
            Entry { tombstone: Some(tombstone), .. } => {
                of_erased.get_or_insert_with(|| erased(kind, subject, tombstone));
                None
            }
            entry => slots.get(&entry.id)?.key(),
        };
        let keys = subjects.map(key).collect();
        Ok((keys, of_erased))
    }
}

/// A key for each: the one that is there, or for the rows of one subject one that nobody keeps.
fn or_fresh(subjects: &[Subject], keys: Vec<Option<Arc<SubjectKey>>>, random: Random<'_>) -> Vec<Arc<SubjectKey>> {
    let mut made: HashMap<&Subject, Arc<SubjectKey>> = HashMap::new();
    let key = |(subject, key): (_, Option<Arc<SubjectKey>>)| {
        key.unwrap_or_else(|| Arc::clone(made.entry(subject).or_insert_with(|| fresh(random))))
    };
    subjects.iter().zip(keys).map(key).collect()
}

fn fresh(random: Random<'_>) -> Arc<SubjectKey> {
    let (mut id, mut secret) = ([0; 16], [0; Secret::BYTES]);
    random(&mut id);
    random(&mut secret);
    Arc::new(SubjectKey::new(id, &Secret::new(secret)))
}
