//! Many subscribers and append clients at once, as `scripts/subscribers` plays them for minutes; here for seconds, so that it does not rot.

use crate::harness::{program, root};
use crate::oracles::python;
use std::process::Command;

#[test]
fn a_crowd_misses_nothing_and_its_numbers_are_told() {
    let mut command = Command::new(python());
    command.arg(root().join("scripts/subscribers")).arg("--program").arg(program().get_program());
    command.args(["--subscribers", "50", "--appenders", "10", "--seconds", "3", "--rate", "40", "--players", "2"]);
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(said.contains("missed: 0; out of order or double: 0 []; failed appends: []"), "{said}");
    for told in ["MB at most", "appends: p50 ", "from an append to each subscriber: p50 ", "players: "] {
        assert!(said.contains(told), "{told} is not in\n{said}");
    }
    print!("{said}");
}
