//! A disk that becomes full while a job writes is told as such, whatever the encoder was about to write: pages, filters, the list, the tail.

use super::*;
use crate::objects::{Aside, Objects, Wrapped};
use crate::testing::*;
use std::io::{self, Write};
use std::sync::atomic::AtomicI64;
use strandline_event::ErrorKind;

/// Objects on a disk with room for so many bytes more.
struct Nearly {
    inner: SharedObjects,
    room: Arc<AtomicI64>,
}

struct File {
    inner: Box<dyn Aside>,
    room: Arc<AtomicI64>,
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room.fetch_sub(bytes.len() as i64, Ordering::SeqCst) < bytes.len() as i64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Aside for File {
    fn finish(self: Box<Self>) -> Result<(), ObjectError> {
        self.inner.finish()
    }
}

impl Wrapped for Nearly {
    fn inner(&self) -> &dyn Objects {
        &*self.inner
    }

    fn on_create(&self, path: &str) -> Result<Box<dyn Aside>, ObjectError> {
        Ok(Box::new(File { inner: self.inner.create(path)?, room: Arc::clone(&self.room) }))
    }
}

#[test]
fn a_disk_that_is_full_at_any_byte_of_a_file_is_told_as_full() {
    let dir = tempfile::tempdir().unwrap();
    let (data, manifests) = folders(dir.path());
    let room = Arc::new(AtomicI64::new(i64::MAX));
    let nearly = Nearly { inner: data, room: Arc::clone(&room) };
    // filters of many bytes between small pages, and more than one row group
    let keys =
        ", row_group.max_rows = 400, bloom.fpp = 0.0001, bloom.columns = ('stream_id', 'event_id', 'command_id')";
    let tier = DurableTier::open_with(Arc::new(nearly), manifests, &config(keys), options(1)).unwrap();
    let (events, job) = (history(1000), job(1, 0, 9));
    let files = write(&tier, &job, &events).unwrap();
    let whole = files[0].bytes as i64;
    tier.discard(&files);
    for bytes in (0..whole).step_by(61) {
        room.store(bytes, Ordering::SeqCst);
        let error = write(&tier, &job, &events).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::DiskFull, "with room for {bytes} of {whole} bytes: {error}");
    }
    room.store(i64::MAX, Ordering::SeqCst);
    let files = write(&tier, &job, &events).unwrap();
    tier.commit(&commit(&job, files, &events)).unwrap();
    assert_eq!(super::tests::all(&tier.pin()), events);
}
