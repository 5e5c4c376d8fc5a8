//! The Python package (clients/python) passes its own tests: against the program under test, its types, its style, its wheel.

use crate::harness::{program, root};
use crate::oracles::python;
use std::process::Command;

#[test]
fn the_package_passes_its_tests() {
    let mut command = Command::new(python());
    command.args(["-m", "pytest"]).current_dir(root().join("clients/python"));
    command.env("STRANDLINE_TEST_PROGRAM", program().get_program()).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    print!("{said}");
}
