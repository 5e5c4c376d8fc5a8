//! What goes on on a terminal, where a person watches until it is enough.

use crate::harness::{Store, program, run_command};
use crate::oracles::python;
use serde_json::json;
use std::process::Command;

/// Runs a command on a terminal until it has cleared the screen twice, then presses Ctrl-C; prints what was shown.
const TWO_SCREENS: &str = r"
import os, pty, signal, sys
pid, fd = pty.fork()
if pid == 0:
    # what runs in the background of a shell ignores it, and hands that on
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
seen = b''
while seen.count(b'\x1b[2J\x1b[H') < 2:
    seen += os.read(fd, 65536)
os.write(fd, b'\x03')
os.waitpid(pid, 0)
sys.stdout.buffer.write(seen)
";

#[test]
fn status_is_a_table_that_lives_until_ctrl_c() {
    let store = Store::new(&[]);
    let server = store.start();
    server.http().post("streams/Meter/s", &json!({ "events": [{ "event_type": "E" }] })).expect(201);
    let mut command = Command::new(python());
    command.args(["-c", TWO_SCREENS]).arg(program().get_program());
    command.args(["status", "--watch", "--url", server.url()]);
    let shown = run_command(command, b"");
    assert_eq!(shown.code, 0, "{shown:?}");
    let screens: Vec<&str> = shown.stdout.split("\u{1b}[2J\u{1b}[H").collect();
    assert!(screens.len() >= 3 && screens[0].is_empty(), "{shown:?}");
    assert!(screens[1].starts_with("store test at http://") && screens[1].contains(", seen at 20"), "{shown:?}");
    for told in ["inmemory", "durable", "Meter", "schedule"] {
        assert!(screens[1].contains(told), "{told} is not in {}", screens[1]);
    }
    server.stop();
}
