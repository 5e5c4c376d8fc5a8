//! The command line.

use crate::names;
use clap::Parser;
use std::path::PathBuf;

/// Runs the same workloads against Strandline and its peers in turn and writes RESULTS.md and results.svg.
#[derive(Parser, Debug)]
#[command(name = "compare", version)]
pub(crate) struct Options {
    /// The release program.
    #[arg(long)]
    pub(crate) strandline: PathBuf,
    /// A folder with programs of the peers, looked at before PATH; may be given several times.
    #[arg(long)]
    pub(crate) programs: Vec<PathBuf>,
    /// A folder on the disk that is measured; servers get new folders in it, which are removed.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    pub(crate) dir: PathBuf,
    /// Where RESULTS.md and results.svg go.
    #[arg(long, default_value = ".")]
    pub(crate) out: PathBuf,
    /// Rounds; in each, every engine has its turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Seconds of each workload that has no end of its own.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Events of the batches of Strandline by the native protocol, with and without command ids.
    #[arg(long, default_value_t = 20_000_000)]
    pub(crate) events: u64,
    /// Events of the batches of everybody else, and of Strandline by HTTP.
    #[arg(long, default_value_t = 4_000_000)]
    pub(crate) peer_events: u64,
    /// Streams that are written.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(64..))]
    pub(crate) streams: u32,
    /// A setting of PostgreSQL beside those of its durability, e.g. shared_buffers=1GB; may be given several times.
    #[arg(long)]
    pub(crate) postgres_setting: Vec<String>,
    /// Only this engine, by its name in the results or the part behind "Strandline", whatever the case; a word that is no name means all whose
    /// names begin so. May be given several times.
    #[arg(long, value_parser = names::known)]
    pub(crate) only: Vec<String>,
    /// The day of the run, for the results.
    #[arg(long, default_value = "no date")]
    pub(crate) date: String,
    /// The revision that is measured, for the results.
    #[arg(long, default_value = "unknown")]
    pub(crate) revision: String,
}

impl Options {
    /// Whether an engine takes part.
    pub(crate) fn takes(&self, engine: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|word| names::meant(word).contains(&engine))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_chosen_by_their_names() {
        let parse = |more: &[&str]| Options::try_parse_from([&["compare", "--strandline", "s"], more].concat());
        let all = parse(&[]).unwrap();
        assert!(names::ALL.into_iter().all(|engine| all.takes(engine)));
        let some = parse(&["--only", "redis", "--only", "native", "--only", "Strandline HTTP"]).unwrap();
        let taken: Vec<&str> = names::ALL.into_iter().filter(|engine| some.takes(engine)).collect();
        assert_eq!(taken, [names::REDIS, names::NATIVE, names::HTTP], "not the native one with command ids");
        assert!(parse(&["--only", "oracle"]).unwrap_err().to_string().contains("there is no such engine"));
    }
}
