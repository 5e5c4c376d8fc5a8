//! What goes on on a terminal, where a person watches until it is enough, and what a shell offers who types.

use crate::harness::{Server, Store, program, root, run_command};
use crate::oracles::python;
use serde_json::json;
use std::process::Command;

/// Runs a command on a terminal (of so many lines and columns, where SIZE says them) until it has cleared the screen twice, then presses
/// Ctrl-C; prints what was shown.
const TWO_SCREENS: &str = r"
import fcntl, os, pty, signal, struct, sys, termios
pid, fd = pty.fork()
if pid == 0:
    size = os.environ.get('SIZE')
    if size:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', *map(int, size.split()), 0, 0))
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

/// Runs a command on a terminal to its end; prints what was shown, and ends as it.
const TO_ITS_END: &str = r"
import fcntl, os, pty, struct, sys, termios
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 120, 0, 0))
    os.execv(sys.argv[1], sys.argv[1:])
seen, part = b'', b' '
while part:
    try:
        part = os.read(fd, 65536)
    except OSError:
        part = b''
    seen += part
sys.stdout.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";

/// What bash offers for the last of these words, with the completions that the program prints.
const OFFERED: &str = r#"
source <("$1" completions bash)
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_strandline strandline "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

#[test]
fn a_shell_offers_commands_options_and_values() {
    let offered = |words: &[&str]| {
        let mut command = Command::new("bash");
        command.args(["-c", OFFERED, "bash"]).arg(program().get_program()).args(words);
        let shown = run_command(command, b"");
        assert_eq!(shown.code, 0, "{shown:?}");
        shown.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(offered(&["strandline", "stat"]), ["status"]);
    assert_eq!(offered(&["strandline", "cluster", "mo"]), ["move"]);
    assert_eq!(offered(&["strandline", "status", "--wa"]), ["--watch"]);
    assert_eq!(offered(&["strandline", "read", "--format", ""]), ["table", "ndjson", "json"]);
}

#[test]
fn status_is_a_table_that_lives_until_ctrl_c() {
    let store = Store::new(&[]);
    let server = store.start();
    server.http().post("streams/Meter/s", &json!({ "events": [{ "event_type": "E" }] })).expect(201);
    let shown = watched(&server, &[("NO_COLOR", "1")]);
    assert!(shown.starts_with("store test at http://") && shown.contains(", seen at 20"), "{shown:?}");
    for told in ["inmemory", "durable", "Meter", "schedule"] {
        assert!(shown.contains(told), "{told} is not in {shown}");
    }
    server.stop();
}

#[test]
fn a_small_terminal_holds_what_is_watched_and_no_color_is_minded() {
    let store = Store::new(&[]);
    let server = store.start();
    for n in 0..30 {
        let path = format!("streams/Meter{n}/s");
        server.http().post(&path, &json!({ "events": [{ "event_type": "E" }] })).expect(201);
    }
    for (no_color, is_coloured) in [("1", false), ("", true)] {
        let shown = watched(&server, &[("NO_COLOR", no_color), ("SIZE", "24 80")]);
        assert_eq!(shown.contains('\u{1b}'), is_coloured, "{shown:?}");
        let plain = ["\u{1b}[1m", "\u{1b}[0m", "\u{1b}[31m", "\u{1b}[33m"];
        let plain = plain.iter().fold(shown, |text, code| text.replace(code, ""));
        assert!(plain.lines().count() < 24, "{plain}");
        assert!(plain.lines().all(|line| line.chars().count() <= 80), "{plain}");
        for told in ["durable", "schedule", "Meter", "more: --all shows them"] {
            assert!(plain.contains(told), "{told} is not in {plain}");
        }
    }
    server.stop();
}

/// Where nobody watches a log of it would be full of bars.
#[test]
fn a_load_shows_how_far_it_is_to_who_watches_alone() {
    let store = Store::new(&[]);
    let server = store.start();
    let sample = root().join("samples/flights-sample.ndjson.zst").to_string_lossy().into_owned();
    let mut command = Command::new(python());
    command.args(["-c", TO_ITS_END]).arg(program().get_program()).env("TERM", "xterm");
    command.args(["ingest", &sample, "--url", server.url()]);
    let watched = run_command(command, b"");
    assert!(watched.code == 0 && watched.stdout.contains("appended 11210, already there 0"), "{watched:?}");
    let shown = watched.stdout.split('\r').any(|line| line.contains("% ") && line.contains("11210 events"));
    assert!(shown, "{watched:?}");
    let unwatched = server.client(&["ingest", &sample]);
    let told = format!("{}{}", unwatched.stdout, unwatched.stderr);
    assert!(unwatched.code == 0 && told.contains("appended 0, already there 11210"), "{unwatched:?}");
    assert!(!told.contains(['\r', '\u{1b}', '%']), "{told:?}");
    server.stop();
}

/// The first screen of `status --watch`.
fn watched(server: &Server, environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(python());
    command.args(["-c", TWO_SCREENS]).arg(program().get_program()).envs(environment.iter().copied());
    command.args(["status", "--watch", "--url", server.url()]);
    let shown = run_command(command, b"");
    assert_eq!(shown.code, 0, "{shown:?}");
    let screens: Vec<&str> = shown.stdout.split("\u{1b}[2J\u{1b}[H").collect();
    assert!(screens.len() >= 3 && screens[0].is_empty(), "{shown:?}");
    screens[1].to_owned()
}
