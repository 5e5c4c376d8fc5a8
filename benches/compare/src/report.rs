//! `RESULTS.md`: machine, versions, settings, medians with their ratio to Redis, targets, every round.

use crate::engines::About;
use crate::floors::MACHINE;
use crate::machine::Machine;
use crate::names::REDIS;
use crate::sheet::{Figure, Sheet};
use crate::targets;
use std::fmt::Write as _;

/// All that the results say.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) date: String,
    pub(crate) revision: String,
    pub(crate) machine: Machine,
    pub(crate) sheet: Sheet,
    pub(crate) engines: Vec<(&'static str, About)>,
    /// Engines that are absent or failed, with the reason.
    pub(crate) notes: Vec<String>,
    /// Rounds, seconds, events: what was asked for.
    pub(crate) plan: String,
    /// Events of the batches of Strandline.
    pub(crate) events: u64,
}

impl Results {
    /// As Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut out = String::from(
            "# Results\n\nWritten by `scripts/bench`; what each workload does stands in [README.md](README.md).\n\n",
        );
        let m = &self.machine;
        // writing to a String cannot fail, here and below
        let _ = writeln!(
            out,
            "{}, revision {}. Machine: {} cores ({}), {:.0} GiB of memory, Linux {}, {}. Client and server share it. {}\n",
            self.date, self.revision, m.cores, m.processor, m.memory_gib, m.kernel, m.file_system, self.plan,
        );
        for note in &self.notes {
            let _ = writeln!(out, "- {note}");
        }
        self.workloads(&mut out);
        self.targets(&mut out);
        self.only_ours(&mut out);
        self.floors(&mut out);
        self.settings(&mut out);
        self.rounds(&mut out);
        out
    }

    /// Engines that have a figure of the main table.
    fn shown(&self) -> Vec<&'static str> {
        let has = |engine: &&str| Figure::TABLE.iter().any(|figure| self.sheet.median(engine, *figure).is_some());
        self.sheet.engines().iter().copied().filter(has).collect()
    }

    fn workloads(&self, out: &mut String) {
        out.push_str("\n## Workloads\n\nMedians of the rounds; in parentheses the ratio to Redis.\n\n![The same as bars](results.svg)\n\n");
        let engines = self.shown();
        head(out, "", &engines);
        for figure in Figure::TABLE {
            let cells = engines.iter().map(|engine| self.cell(engine, figure));
            row(out, figure.title(), cells);
        }
    }

    fn cell(&self, engine: &str, figure: Figure) -> String {
        let Some(value) = self.sheet.median(engine, figure) else { return "-".to_owned() };
        let text = figure.unit().text(value);
        match self.sheet.ratio(engine, figure, REDIS) {
            Some(ratio) if engine != REDIS => format!("{text} ({ratio:.2})"),
            _ => text,
        }
    }

    fn targets(&self, out: &mut String) {
        out.push_str("\n## Targets\n\n");
        head(out, "workload", &["at least", "measured", ""]);
        for target in targets::all(&self.sheet, self.events) {
            row(out, target.workload, [target.wanted, target.found, target.verdict.text().to_owned()].into_iter());
        }
    }

    fn only_ours(&self, out: &mut String) {
        let has = |engine: &&str| Figure::OURS.iter().any(|figure| self.sheet.median(engine, *figure).is_some());
        let engines: Vec<&str> = self.sheet.engines().iter().copied().filter(has).collect();
        if engines.is_empty() {
            return;
        }
        out.push_str("\n## Only Strandline\n\nWhat batches keep of their rate while compacting is told, no target is held against it.\n\n");
        head(out, "", &engines);
        for figure in Figure::OURS {
            let values = engines.iter().map(|engine| self.sheet.median(engine, figure));
            if values.clone().any(|value| value.is_some()) {
                row(out, figure.title(), values.map(|v| v.map_or("-".to_owned(), |v| figure.unit().text(v))));
            }
        }
    }

    fn floors(&self, out: &mut String) {
        out.push_str("\n## What the machine takes\n\nMeasured at the beginning of each round.\n\n");
        head(out, "", &["median", "of a second"]);
        for figure in Figure::FLOORS {
            let Some(ms) = self.sheet.median(MACHINE, figure) else { continue };
            let large = matches!(figure, Figure::SyncLarge | Figure::SyncLargeAppended | Figure::SyncLargeDirect);
            let rate = if large { format!("{:.2} GB", 1.048_576 / ms) } else { format!("{:.0}", 1e3 / ms) };
            row(out, figure.title(), [figure.unit().text(ms), rate].into_iter());
        }
    }

    fn settings(&self, out: &mut String) {
        out.push_str("\n## Versions and settings\n\n");
        head(out, "", &["server", "client", "settings and how it is used"]);
        for (name, about) in &self.engines {
            row(out, name, [about.version.clone(), about.client.clone(), about.settings.clone()].into_iter());
        }
    }

    fn rounds(&self, out: &mut String) {
        out.push_str("\n## Every round\n\n");
        head(out, "", &["figure", "rounds"]);
        for engine in self.sheet.engines() {
            for figure in Figure::TABLE.into_iter().chain(Figure::OURS).chain(Figure::FLOORS) {
                let values = self.sheet.rounds(engine, figure);
                if !values.is_empty() {
                    let values: Vec<String> = values.iter().map(|value| figure.unit().text(*value)).collect();
                    row(out, engine, [figure.title().to_owned(), values.join(", ")].into_iter());
                }
            }
        }
    }
}

fn head(out: &mut String, first: &str, columns: &[&str]) {
    row(out, first, columns.iter().map(|column| (*column).to_owned()));
    row(out, "---", columns.iter().map(|_| "---".to_owned()));
}

fn row(out: &mut String, first: &str, cells: impl Iterator<Item = String>) {
    let _ = write!(out, "| {first} |");
    for cell in cells {
        let _ = write!(out, " {} |", cell.replace('|', "\\|").replace('\n', " "));
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::NATIVE;

    fn results() -> Results {
        let mut sheet = Sheet::default();
        for (redis, ours) in [(57_000.0, 150_000.0), (56_000.0, 149_000.0), (58_000.0, 90_000.0)] {
            sheet.add(MACHINE, Figure::SyncLarge, 0.5);
            sheet.add(REDIS, Figure::Many, redis);
            sheet.add(NATIVE, Figure::Many, ours);
        }
        let (processor, kernel) = ("a processor".to_owned(), "6.1".to_owned());
        let machine = Machine { cores: 2, processor, memory_gib: 24.0, kernel, file_system: "ext4".to_owned() };
        let about = About { settings: "a|b\nc".to_owned(), ..About::default() };
        Results {
            date: "2026-11-25".to_owned(),
            revision: "abc".to_owned(),
            machine,
            sheet,
            engines: vec![(REDIS, about)],
            notes: vec!["UmaDB is absent".to_owned()],
            plan: "3 rounds".to_owned(),
            events: 1,
        }
    }

    #[test]
    fn cells_have_the_median_and_its_ratio() {
        let text = results().markdown();
        assert!(text.contains("| 64 clients, a connection each, one event | 57,000/s | 149,000/s (2.61) |"), "{text}");
        assert!(text.contains("- UmaDB is absent") && text.contains("2.10 GB") && text.contains("a\\|b c"), "{text}");
        assert!(text.contains("57,000/s, 56,000/s, 58,000/s"), "{text}");
    }

    #[test]
    fn batches_beside_a_compaction_stand_among_what_only_strandline_is_asked_for() {
        let mut results = results();
        for (quiet, beside) in [(1_000_000.0, 800_000.0), (2_000_000.0, 500_000.0), (1_100_000.0, 770_000.0)] {
            results.sheet.add(NATIVE, Figure::BatchesQuiet, quiet);
            results.sheet.add(NATIVE, Figure::BatchesCompacting, beside);
            results.sheet.add(NATIVE, Figure::BatchesKept, beside / quiet);
        }
        let text = results.markdown();
        let table = text.split("## Only Strandline").nth(1).unwrap().split("\n## ").next().unwrap();
        for (figure, value) in [
            (Figure::BatchesQuiet, "1.10 M/s"),
            (Figure::BatchesCompacting, "770,000/s"),
            (Figure::BatchesKept, "0.70"),
        ] {
            assert!(table.contains(&format!("| {} | {value} |\n", figure.title())), "{table}");
        }
        assert!(text.contains("0.80, 0.25, 0.70"), "of every round: {text}");
    }

    #[test]
    fn tables_have_as_many_cells_in_each_row() {
        let text = results().markdown();
        for table in text.split("\n\n").filter(|part| part.starts_with('|')) {
            let cells: Vec<usize> = table.lines().map(|line| line.replace("\\|", "").matches('|').count()).collect();
            assert!(cells.windows(2).all(|two| two[0] == two[1]), "{table}");
        }
    }
}
