//! One data file: checksum, footer, rows, order, bounds, statistics, filters, partition.

use super::Finding;
use super::claims::Claims;
use crate::delta::names::link;
use crate::entry::{Bounds, FileEntry};
use crate::layout::Layout;
use crate::objects::checksum;
use crate::partition::Partitioner;
use crate::read::{Counters, DataFile, ReadError, RowBatch, open_entry};
use crate::sort::compare;
use crate::tier::DurableTier;
use std::sync::Arc;
use strandline_event::{EventRef, Field};

/// Findings of one file after which the rest is left out.
const FINDINGS_MAX: usize = 20;

/// Checks a data file of the current version. Empty: everything holds.
#[must_use]
pub fn verify_file(tier: &DurableTier, entry: &Arc<FileEntry>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(error) = check(tier, entry, &mut findings) {
        findings.push(Finding::new(&entry.path, error.to_string()));
    }
    findings.truncate(FINDINGS_MAX);
    findings
}

fn check(tier: &DurableTier, entry: &Arc<FileEntry>, findings: &mut Vec<Finding>) -> Result<(), ReadError> {
    let link = tier.local_path(entry).filter(|path| path.ends_with(link(&entry.path)));
    if let Some(link) = link {
        let what =
            format!("it has lost its name and is there as `{}` only; the next start names it again", link.display());
        findings.push(Finding::new(&entry.path, what));
    }
    let crc = whole_crc32c(tier, entry)?;
    if crc != entry.crc32c {
        findings.push(Finding::new(&entry.path, "the checksum of the whole file differs from the manifest's"));
    }
    let layout = tier.layout();
    let counters = Arc::new(Counters::default());
    let file = DataFile::open(tier.shared(), entry, &counters)?;
    if file.groups() != entry.row_groups as usize {
        findings.push(Finding::new(&entry.path, "its footer and the manifest name different numbers of row groups"));
    }
    let mut rows = RowCheck::new(&layout, entry, &file, findings);
    for batch in tier.pin().scan_file(entry) {
        rows.batch(&batch?)?;
        if rows.findings.len() >= FINDINGS_MAX {
            return Ok(());
        }
    }
    rows.end();
    Ok(())
}

fn whole_crc32c(tier: &DurableTier, entry: &FileEntry) -> Result<u32, ReadError> {
    let object = open_entry(tier.shared(), entry)?;
    Ok(checksum(&*object, &entry.path, 0)?)
}

struct RowCheck<'a> {
    layout: &'a Layout,
    entry: &'a FileEntry,
    file: &'a DataFile,
    findings: &'a mut Vec<Finding>,
    /// The order that the file says it has (the layout may have changed since).
    order: Vec<(Field, bool)>,
    partitioner: Partitioner<'a>,
    bounds: Option<Bounds>,
    last: Option<RowBatch>,
    group: usize,
    group_end: u64,
    claims: Vec<Claims>,
    row: u64,
}

impl<'a> RowCheck<'a> {
    fn new(layout: &'a Layout, entry: &'a FileEntry, file: &'a DataFile, findings: &'a mut Vec<Finding>) -> Self {
        let groups = file.meta.parquet().row_groups();
        let sorting = groups.first().and_then(|g| g.sorting_columns());
        if groups.iter().any(|group| group.sorting_columns().is_none() || group.sorting_columns() != sorting) {
            findings.push(Finding::new(&entry.path, "its row groups do not say the one order of their rows"));
        }
        let order = sorting.into_iter().flatten().filter_map(|column| {
            let field = Field::ALL.get(usize::try_from(column.column_idx).ok()?)?;
            Some((*field, column.descending))
        });
        Self {
            layout,
            entry,
            file,
            findings,
            order: order.collect(),
            partitioner: Partitioner::new(layout),
            bounds: None,
            last: None,
            group: 0,
            group_end: 0,
            claims: Vec::new(),
            row: 0,
        }
    }

    fn find(&mut self, what: String) {
        self.findings.push(Finding::new(&format!("{} row {}", self.entry.path, self.row), what));
    }

    fn batch(&mut self, batch: &RowBatch) -> Result<(), ReadError> {
        let last = self.last.take();
        let mut before = last.as_ref().map(|b| b.row(b.rows() - 1));
        for event in batch.iter() {
            if self.row >= self.group_end {
                self.next_group()?;
            }
            self.check_row(&event, before.as_ref());
            self.check_claims(&event);
            match &mut self.bounds {
                Some(bounds) => bounds.add(&event),
                none => *none = Some(Bounds::of(&event)),
            }
            before = Some(event);
            self.row += 1;
        }
        self.last = (batch.rows() > 0).then(|| batch.clone());
        Ok(())
    }

    fn next_group(&mut self) -> Result<(), ReadError> {
        self.end_group();
        self.group_end = self.file.group_rows(self.group).end;
        self.claims = Claims::of_group(self.file, self.group)?;
        self.group += 1;
        Ok(())
    }

    fn end_group(&mut self) {
        let (path, group) = (&self.entry.path, self.group.saturating_sub(1));
        let wrong = self.claims.iter().filter_map(Claims::end);
        self.findings.extend(wrong.map(|what| Finding::new(&format!("{path} row group {group}"), what)));
    }

    fn check_row(&mut self, event: &EventRef<'_>, before: Option<&EventRef<'_>>) {
        if event.stream_type != self.entry.stream_type {
            self.find(format!(
                "its stream type is `{}`, the manifest says `{}`",
                event.stream_type, self.entry.stream_type
            ));
        }
        if self.partitioner.advance(event, 0) {
            let here = self.layout.named_partition(&self.partitioner.key());
            if here != self.entry.partition {
                self.find(format!("it belongs to partition {here:?}, the file to {:?}", self.entry.partition));
            }
        }
        let order = before.and_then(|before| {
            self.order
                .iter()
                .map(|(field, falling)| {
                    let order = compare(&[*field], before, event);
                    if *falling { order.reverse() } else { order }
                })
                .find(|order| order.is_ne())
        });
        if order == Some(std::cmp::Ordering::Greater) {
            self.find("it stands behind a row that comes after it".to_owned());
        }
    }

    fn check_claims(&mut self, event: &EventRef<'_>) {
        let wrong: Vec<String> = self.claims.iter_mut().flat_map(|claims| claims.check(event)).collect();
        wrong.into_iter().for_each(|what| self.find(what));
    }

    fn end(mut self) {
        self.end_group();
        if self.row != self.entry.rows {
            let what = format!("it holds {} rows, the manifest says {}", self.row, self.entry.rows);
            self.findings.push(Finding::new(&self.entry.path, what));
        }
        if self.bounds.is_some_and(|bounds| bounds != self.entry.bounds) {
            self.findings
                .push(Finding::new(&self.entry.path, "the manifest's smallest and largest values are not its own"));
        }
    }
}
