//! What the documents say is what the program does: every command of docs/ and of the README is run, what deploys a node starts
//! one, and names of metrics, options and files are there. `tests/docs` does it; here it gets the program under test.

use crate::harness::{Store, program, root};
use crate::oracles::python;
use std::path::Path;
use std::process::Command;

/// Runs a script of tests/docs with the program; fails with what it says.
fn script(name: &str, arguments: &[&Path]) {
    let mut command = Command::new(python());
    command.arg(root().join("tests/docs").join(name)).arg(program().get_program()).args(arguments);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    let output = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}:\n{said}");
    print!("{said}");
}

#[test]
fn every_command_of_the_book_does_what_its_page_shows() {
    script("pages.py", &[]);
}

#[test]
fn every_command_of_the_readme_runs() {
    script("pages.py", &[&root().join("README.md")]);
}

#[test]
fn pages_name_links_commands_and_metrics_that_are_there() {
    script("checks.py", &[]);
}

#[test]
fn deployment_files_start_a_node_and_name_what_is_there() {
    script("deploy.py", &[]);
}

#[test]
fn the_example_of_the_rust_client_prints_what_its_page_shows() {
    let store = Store::new(&[]);
    let server = store.start();
    // it was built with the tests, beside the program
    let example = Path::new(env!("CARGO_BIN_EXE_strandline")).with_file_name("examples/orders");
    let output = Command::new(&example).arg(server.native()).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}: `cargo test` builds it", example.display()));
    let (told, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}{failed}");
    let page = std::fs::read_to_string(root().join("docs/rust.md")).unwrap();
    assert!(page.contains(&format!("```text\n{told}```\n")), "docs/rust.md does not show this:\n{told}");
    server.stop();
}

#[test]
fn a_page_that_does_not_hold_is_found() {
    script("test_runner.py", &[]);
}
