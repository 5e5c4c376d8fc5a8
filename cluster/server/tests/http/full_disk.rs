//! A node whose disk is full for some stream types: what was not done is never told as refused lines.

use crate::common::{Running, start_with};
use serde_json::json;
use std::io;
use std::path::Path;
use std::sync::Arc;
use strandline_wal::{Access, DeviceSpace, Disk, DiskFile, RealDisk};
use strandline_workers::{NodeDisk, NodeOptions};

/// No file can be made in the log of a stream type whose name begins with "Full".
struct FullFor(RealDisk);

impl Disk for FullFor {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }

    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list_dirs(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let log = path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or("");
        if log.contains("Full") { Err(io::ErrorKind::StorageFull.into()) } else { self.0.create(path) }
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        self.0.open(path, access)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }

    fn space(&self, path: &Path) -> io::Result<DeviceSpace> {
        self.0.space(path)
    }
}

fn start(dir: &Path) -> Running {
    start_with(dir, "", |options| NodeOptions { disk: NodeDisk(Arc::new(FullFor(RealDisk::new()))), ..options })
}

fn line(stream_type: &str) -> String {
    format!("{{\"stream_type\":\"{stream_type}\",\"stream_id\":\"s\",\"event_type\":\"E\"}}\n")
}

#[test]
fn what_no_owner_could_store_is_never_201() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    let send = |on_error: &str, body: &str| {
        server.post_as(&format!("events?on_error={on_error}"), "application/x-ndjson", body.as_bytes())
    };
    for on_error in ["skip", "abort"] {
        send(on_error, &line("Full")).error(507, "disk_full");
        let part = send(on_error, &format!("{}{}", line("Full"), line("Good"))).ok(207);
        assert_eq!((&part["appended"], &part["streams"][0]["stored"]), (&json!(1), &json!(false)), "{part}");
        assert_eq!(part["streams"][0]["code"], "disk_full");
        assert_eq!(part["rejected"], json!([]));
    }
    // a line that is wrong by itself does not make the rest look done
    send("skip", &format!("oops\n{}", line("Full"))).error(507, "disk_full");
    server.append("c", "{\"event_type\":\"E\"}").ok(201);
    server.post("streams/Full/s", "{\"events\":[{\"event_type\":\"E\"}]}").error(507, "disk_full");
}
