//! `strandline completions` and `strandline man`: what a package installs beside the program, made from the command line itself.

use crate::cli;
use crate::exit::Failure;
use crate::out;
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use std::io;
use std::path::{Path, PathBuf};

/// The name that a shell knows the program by.
const PROGRAM: &str = "strandline";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Options of `completions`.
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// The shell; its script goes to stdout
    #[arg(value_enum)]
    shell: Shell,
}

/// Options of `man`.
#[derive(Args, Debug)]
pub(crate) struct Manual {
    /// Write one page a command into this folder (without: the program's page goes to stdout)
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn completions(options: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut cli::command(), PROGRAM, &mut script);
    out::bytes(&script)
}

pub(crate) fn manual(options: &Manual) -> Result<(), Failure> {
    let Some(dir) = &options.dir else {
        let mut page = Vec::new();
        // writing to memory cannot fail
        let _ = Man::new(cli::command()).render(&mut page);
        return out::bytes(&page);
    };
    let mut command = with_ending(cli::command().disable_help_subcommand(true));
    command.build();
    std::fs::create_dir_all(dir)
        .and_then(|()| pages(&command, dir))
        .map_err(|e| Failure::Usage(format!("cannot write manual pages to {}: {e}", dir.display())))
}

/// A page of a command, and of all below it.
fn pages(command: &Command, dir: &Path) -> io::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        pages(below, dir)?;
    }
    Man::new(command.clone()).source(format!("{PROGRAM} {VERSION}")).generate_to(dir).map(drop)
}

/// The commands, each with the version and the exit codes of the program: a page is read alone.
fn with_ending(command: Command) -> Command {
    let ending = |below: Command| below.version(VERSION).disable_version_flag(true).after_help(cli::AFTER);
    command.mut_subcommands(|below| with_ending(ending(below)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_shell_completes_every_command() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut cli::command(), PROGRAM, &mut script);
            let script = String::from_utf8(script).unwrap();
            for command in cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
                assert!(script.contains(command.get_name()), "{shell} does not know `{}`", command.get_name());
            }
        }
    }

    #[test]
    fn a_folder_of_pages_has_one_a_command() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("man1");
        manual(&Manual { dir: Some(dir.clone()) }).unwrap();
        for name in ["strandline", "strandline-serve", "strandline-manifest-show"] {
            let page = std::fs::read_to_string(dir.join(format!("{name}.1"))).unwrap();
            assert!(page.starts_with(".ie") && page.contains(".SH OPTIONS"), "{page}");
            assert!(page.contains(&format!("v{VERSION}")), "which version it is of: {page}");
            assert!(page.contains("Exit codes: 0 done"), "{page}");
            // only the program itself takes it
            assert_eq!(page.contains("Print version"), name == "strandline", "{page}");
        }
        for command in cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = format!("{PROGRAM}-{}.1", command.get_name());
            assert!(dir.join(&name).is_file(), "no page {name}");
        }
        let taken = folder.path().join("file");
        std::fs::write(&taken, "").unwrap();
        assert!(manual(&Manual { dir: Some(taken) }).is_err());
    }
}
