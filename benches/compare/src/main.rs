//! Strandline beside Redis, PostgreSQL, NATS JetStream and UmaDB: the same workloads, each acknowledgement after a sync, in turn on one
//! machine. `scripts/bench` installs what is missing and calls it; [README](../../README.md) says what is measured.
//!
//! It refuses to tune: settings stand in `engines/`, one file an engine, and in the results.

mod engines;
mod floors;
mod machine;
mod names;
mod options;
mod ours;
mod plot;
mod report;
mod rounds;
mod server;
mod sheet;
mod targets;
mod trial;

use clap::Parser;
use options::Options;
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = Options::parse();
    let results = match rounds::run(&options) {
        Ok(results) => results,
        Err(failure) => {
            eprintln!("compare: {failure}");
            return ExitCode::FAILURE;
        }
    };
    let written = std::fs::write(options.out.join("RESULTS.md"), results.markdown())
        .and_then(|()| std::fs::write(options.out.join("results.svg"), plot::svg(&results.sheet)));
    if let Err(error) = written {
        eprintln!("compare: the results cannot be written to {}: {error}", options.out.display());
        return ExitCode::FAILURE;
    }
    println!("{}", results.markdown());
    ExitCode::SUCCESS
}
