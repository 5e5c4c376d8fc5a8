//! Cases: runs, the log, the Delta log.

use super::cases::{Case, Wanted, case, line, name_of};
use super::plant::frames;
use super::prepare::Copy;

/// Runs: what lookups of the append side stand on.
pub(super) const RUNS: &[Case] = &[
    case("a byte of a run of heads", |copy| broken(copy, "heads")),
    case("a byte of a run of commands", |copy| broken(copy, "commands")),
    case("a byte of a run of chunks", |copy| broken(copy, "chunk_runs")),
    case("a byte of a run of retired ranges", |copy| broken(copy, "retired")),
    case("a run that is gone", |copy| {
        let (name, path) = copy.run("heads");
        std::fs::remove_file(path).unwrap();
        line(&[&name, "heads of `Call`"])
    }),
    case("a run that was cut", |copy| {
        let (name, path) = copy.run("commands");
        copy.cut(&path, 300);
        line(&[&name, "commands of `Call`"])
    }),
    case("a head that is too low", |copy| {
        copy.reseal_run("heads", |body, _| body[16..24].copy_from_slice(&1_u64.to_le_bytes()));
        line(&["stream `stream-", "its head says seq 1,"])
    }),
    case("heads in the wrong order", |copy| {
        let name = copy.reseal_run("heads", |body, _| {
            let (a, b) = body[..80].split_at_mut(40);
            a.swap_with_slice(b);
        });
        line(&[&name, "order"])
    }),
    case("heads that their filter does not show", |copy| {
        let name = copy.reseal_run("heads", |body, records| body[records..].fill(0));
        line(&[&name, "filter"])
    }),
    case("a command that is of another place", |copy| {
        copy.reseal_run("commands", |body, _| body[32..40].copy_from_slice(&9999_u64.to_le_bytes()));
        line(&["commands of `Call`", "command-"])
    }),
    case("a retired range that is too short", |copy| {
        copy.reseal_run("retired", |body, _| {
            let last = u64::from_le_bytes(body[24..32].try_into().unwrap());
            body[24..32].copy_from_slice(&(last - 1).to_le_bytes());
        });
        line(&["stream `stream-", "is missing"])
    }),
    case("a retired range that is too long", |copy| {
        copy.reseal_run("retired", |body, _| {
            let last = u64::from_le_bytes(body[24..32].try_into().unwrap());
            body[24..32].copy_from_slice(&(last + 1).to_le_bytes());
        });
        line(&["stream `stream-", "is retired, but stands in a live file"])
    }),
];

fn broken(copy: &Copy, kind: &str) -> Wanted {
    let (name, path) = copy.run(kind);
    copy.flip(&path, 9);
    line(&[&name, "of `Call`", "checksum"])
}

/// The log.
pub(super) const LOG: &[Case] = &[
    case("a byte of a payload in a sealed segment", |copy| {
        let segments = copy.segments("Big");
        let bytes = std::fs::read(&segments[1]).unwrap();
        let (start, length) = frames(&bytes)[1];
        copy.flip(&segments[1], start + length / 2);
        line(&["log of `Big`", "segment 2 at offset"])
    }),
    case("a byte of a header in a sealed segment", |copy| {
        let segments = copy.segments("Big");
        let (start, _) = frames(&std::fs::read(&segments[2]).unwrap())[1];
        copy.flip(&segments[2], start + 66);
        line(&["log of `Big`", "segment 3 at offset"])
    }),
    case("a byte in the middle of the last segment", |copy| {
        let segments = copy.segments("Call");
        let last = segments.last().unwrap();
        let frames = frames(&std::fs::read(last).unwrap());
        let (start, length) = frames[frames.len() / 2];
        copy.flip(last, start + length / 2);
        line(&["log of `Call`", "at offset"])
    }),
    case("a sealed segment that was cut", |copy| {
        let segments = copy.segments("Big");
        copy.cut(&segments[1], 200_000);
        line(&["log of `Big`", "segment 2"])
    }),
    case("a segment that is gone", |copy| {
        std::fs::remove_file(&copy.segments("Big")[2]).unwrap();
        line(&["log of `Big`", "segment"])
    }),
    case("the last segment that is gone", |copy| {
        std::fs::remove_file(copy.segments("Big").last().unwrap()).unwrap();
        line(&["log of `Big`", "had reached"])
    }),
    case("two segments that were swapped", |copy| {
        let segments = copy.segments("Big");
        copy.swap(&segments[1], &segments[2]);
        line(&["log of `Big`", "segment 3 at offset 0"])
    }),
    case("a log that is gone", |copy| {
        std::fs::remove_dir_all(copy.store.log().join("Big")).unwrap();
        line(&["log of `Big`", "had reached"])
    }),
    case("a segment of another log", |copy| {
        let (other, own) = (copy.segments("Call"), copy.segments("Big"));
        copy.write(&own[1], &std::fs::read(&other[1]).unwrap());
        line(&["log of `Big`", "segment 2"])
    }),
];

/// The Delta log.
pub(super) const DELTA: &[Case] = &[
    case("a version of the Delta log that is no JSON", |copy| {
        let path = delta(copy, 1);
        copy.flip(&path, 1);
        line(&["_delta_log", name_of(&path)])
    }),
    case("a version of the Delta log that is gone", |copy| {
        let path = delta(copy, 1);
        std::fs::remove_file(&path).unwrap();
        line(&["_delta_log", name_of(&path), "missing"])
    }),
    case("a version of the Delta log that was emptied", |copy| {
        let path = delta_with(copy, "\"add\":");
        copy.write(&path, b"");
        line(&["_delta_log", name_of(&path), "emptied"])
    }),
    case("a version of the Delta log that was cut behind a line", |copy| {
        let path = delta_with(copy, "\"add\":");
        let said = std::fs::read_to_string(&path).unwrap();
        copy.cut(&path, said.find("{\"add\":").unwrap());
        line(&["_delta_log", name_of(&path), "does not lead"])
    }),
    case("a size in the Delta log", |copy| changed(copy, "\"size\":", "\"size\":1")),
    case("statistics in the Delta log", |copy| changed(copy, "\\\"numRecords\\\":", "\\\"numRecords\\\":1")),
    case("a path in the Delta log", |copy| changed(copy, ".parquet.link", ".porquet.link")),
    case("a version of the Delta log that shows another manifest", |copy| {
        changed(copy, "\"manifestVersion\":\"", "\"manifestVersion\":\"1")
    }),
    case("a link of the Delta log that is gone", |copy| {
        let (name, _) = copy.file("Call");
        std::fs::remove_file(copy.durable().join(format!("_delta/{name}.link"))).unwrap();
        line(&["_delta_log", &name, "not there"])
    }),
    case("a link of the Delta log that is another file", |copy| {
        let ((name, _), (_, other)) = (copy.file("Call"), copy.file("Big"));
        put_link(copy, &name, &std::fs::read(other).unwrap());
        line(&["_delta_log", &name, "holds other bytes"])
    }),
    case("a byte of a link that is a file of its own", |copy| {
        let (name, path) = copy.file("Call");
        let mut bytes = std::fs::read(path).unwrap();
        bytes[40] ^= 1;
        put_link(copy, &name, &bytes);
        line(&["_delta_log", &name, "holds other bytes"])
    }),
];

fn put_link(copy: &Copy, name: &str, bytes: &[u8]) {
    let link = copy.durable().join(format!("_delta/{name}.link"));
    std::fs::remove_file(&link).unwrap();
    std::fs::write(link, bytes).unwrap();
}

fn delta(copy: &Copy, version: u64) -> std::path::PathBuf {
    copy.durable().join(format!("_delta_log/{version:020}.json"))
}

/// The first version that has a text.
fn delta_with(copy: &Copy, text: &str) -> std::path::PathBuf {
    let mut versions = (0..).map(|version| delta(copy, version));
    versions.find(|path| std::fs::read_to_string(path).unwrap().contains(text)).unwrap()
}

/// Changes the first place of a text in the first version that has it.
fn changed(copy: &Copy, from: &str, to: &str) -> Wanted {
    let path = delta_with(copy, from);
    let said = std::fs::read_to_string(&path).unwrap();
    copy.write(&path, said.replacen(from, to, 1).as_bytes());
    line(&["_delta_log", name_of(&path)])
}
