//! A removal that takes its time holds up no commit.

use super::*;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// A disk that says when a removal begins, and removes when it is told to.
struct Slow {
    disk: CrashDisk,
    begun: Sender<PathBuf>,
    go_on: Mutex<Receiver<()>>,
}

impl Disk for Slow {
    fn create_dir_all(&self, dir: &Path) -> std::io::Result<()> {
        self.disk.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> std::io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn list_dirs(&self, dir: &Path) -> std::io::Result<Vec<String>> {
        self.disk.list_dirs(dir)
    }

    fn create(&self, path: &Path) -> std::io::Result<Arc<dyn DiskFile>> {
        self.disk.create(path)
    }

    fn open(&self, path: &Path, access: Access) -> std::io::Result<Arc<dyn DiskFile>> {
        self.disk.open(path, access)
    }

    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> std::io::Result<()> {
        if path.extension().is_some_and(|extension| extension == "wal") {
            self.begun.send(path.to_owned()).unwrap();
            self.go_on.lock().recv().unwrap();
        }
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> std::io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn space(&self, path: &Path) -> std::io::Result<DeviceSpace> {
        self.disk.space(path)
    }
}

/// Long enough for any machine; a test that hangs ends in the end.
const LONG: Duration = Duration::from_secs(60);

fn commit(io: &IoThread, writer: &mut LogWriter) {
    while let Some(group) = writer.take_group() {
        let (done, back) = channel();
        io.submit(group, Box::new(move |result| done.send(result).unwrap()));
        writer.committed(back.recv_timeout(LONG).expect("the commit waits for the removal").unwrap());
    }
}

/// Three segments that are removed, one after the other, when something is sent.
fn removing() -> (Rig, LogWriter, IoThread, Receiver<PathBuf>, Sender<()>) {
    let mut rig = Rig::new(small_config());
    let (begun, removals) = channel();
    let (release, go_on) = channel();
    let disk = Arc::new(Slow { disk: rig.disk.clone(), begun, go_on: Mutex::new(go_on) });
    let mut writer = rig.open_on(disk).unwrap().writer.unwrap();
    let io = IoThread::start(io::abort_on_fatal()).unwrap();
    for n in 0..3u8 {
        rig.push(&mut writer, &[n]);
        commit(&io, &mut writer);
        writer.seal();
    }
    rig.push(&mut writer, b"newest");
    commit(&io, &mut writer);
    let through = writer.last_pushed();
    assert_eq!(writer.trim(through, rig.now.plus_us(1), rig.now), 3);
    commit(&io, &mut writer);
    (rig, writer, io, removals, release)
}

#[test]
fn commits_go_on_while_a_trimmed_segment_is_removed() {
    let (mut rig, mut writer, io, removals, release) = removing();
    let first = removals.recv_timeout(LONG).unwrap();
    for n in 0..50u8 {
        rig.push(&mut writer, &[n]);
        commit(&io, &mut writer);
    }
    assert!(rig.disk.contents(&first).is_some(), "it was not removed yet");
    (0..3).for_each(|_| release.send(()).unwrap());
    drop(io); // joins
    assert_eq!(removals.try_iter().count(), 2);
    assert!(rig.disk.contents(&first).is_none());
    assert_eq!(rig.disk.violations(), [""; 0]);
}

#[test]
fn an_end_does_not_wait_for_ever_for_a_removal_that_hangs() {
    let (_rig, _writer, io, removals, release) = removing();
    let io = io.impatient_of_cleaner();
    removals.recv_timeout(LONG).unwrap();
    let (ended, end) = channel();
    let ending = std::thread::spawn(move || {
        drop(io);
        ended.send(()).unwrap();
    });
    let has_ended = end.recv_timeout(LONG).is_ok();
    (0..3).for_each(|_| release.send(()).unwrap());
    // whom it left behind says so here
    (0..2).for_each(|_| drop(removals.recv_timeout(LONG).unwrap()));
    assert!(has_ended, "it waits for the removal");
    ending.join().unwrap();
}
