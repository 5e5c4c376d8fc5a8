//! What the machine itself takes in the same run: a round trip over loopback, a small and a large write with a sync.

use crate::sheet::{Figure, Sheet, median};
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Instant;
use strandline_load::client::Failure;

/// The name under which they stand in a sheet.
pub(crate) const MACHINE: &str = "machine";
const ROUND_TRIPS: usize = 5_000;
const SMALL: usize = 512;
const LARGE: usize = 1 << 20;
const SMALL_WRITES: usize = 500;
const LARGE_WRITES: usize = 64;
/// What O_DIRECT wants of addresses, as a power of two that fits every disk.
const ALIGNED: usize = 4 << 10;

/// Measures all of them on the disk of a folder.
pub(crate) fn measure(folder: &Path, sheet: &mut Sheet) -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("strandline-compare-floors-").tempdir_in(folder)?;
    let file = |name: &str| folder.path().join(name);
    sheet.add(MACHINE, Figure::RoundTrip, round_trip()?);
    let zeroed = file("zeroed");
    zero_filled(&zeroed, LARGE * LARGE_WRITES)?;
    let open = || OpenOptions::new().write(true).open(&zeroed);
    sheet.add(MACHINE, Figure::SyncSmall, synced(&open()?, SMALL, SMALL_WRITES)?);
    sheet.add(MACHINE, Figure::SyncSmallAppended, synced(&File::create(file("small"))?, SMALL, SMALL_WRITES)?);
    sheet.add(MACHINE, Figure::SyncLarge, synced(&open()?, LARGE, LARGE_WRITES)?);
    sheet.add(MACHINE, Figure::SyncLargeAppended, synced(&File::create(file("large"))?, LARGE, LARGE_WRITES)?);
    let direct = OpenOptions::new().write(true).custom_flags(OFlags::DIRECT.bits().cast_signed()).open(&zeroed);
    // some file systems have no such thing
    if let Ok(file) = direct
        && let Ok(took) = synced(&file, LARGE, LARGE_WRITES)
    {
        sheet.add(MACHINE, Figure::SyncLargeDirect, took);
    }
    Ok(())
}

/// Milliseconds, the median.
fn round_trip() -> Result<f64, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let echo = std::thread::spawn(move || -> std::io::Result<()> {
        let mut stream = listener.accept()?.0;
        stream.set_nodelay(true)?;
        let mut message = [0; 64];
        for _ in 0..ROUND_TRIPS {
            stream.read_exact(&mut message)?;
            stream.write_all(&message)?;
        }
        Ok(())
    });
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let (mut took, mut message) = (Vec::with_capacity(ROUND_TRIPS), [1; 64]);
    for _ in 0..ROUND_TRIPS {
        let began = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    echo.join().map_err(|_| "the echo ended early")??;
    median(&took).ok_or_else(|| "no round trip".into())
}

fn zero_filled(path: &Path, bytes: usize) -> Result<(), Failure> {
    let mut file = File::create(path)?;
    let zeros = vec![0; LARGE];
    for _ in 0..bytes / LARGE {
        file.write_all(&zeros)?;
    }
    Ok(file.sync_all()?)
}

/// Writes pieces one behind the other, each with its sync. Milliseconds, the median.
fn synced(file: &File, bytes: usize, writes: usize) -> Result<f64, Failure> {
    let memory = vec![7; bytes + ALIGNED];
    let aligned = memory.as_ptr().align_offset(ALIGNED);
    let piece = &memory[aligned..aligned + bytes];
    let mut took = Vec::with_capacity(writes);
    for i in 0..writes {
        let began = Instant::now();
        file.write_all_at(piece, (i * bytes) as u64)?;
        file.sync_data()?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    median(&took).ok_or_else(|| "nothing was written".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_floor_is_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut sheet = Sheet::default();
        measure(folder.path(), &mut sheet).unwrap();
        for figure in Figure::FLOORS.into_iter().filter(|figure| *figure != Figure::SyncLargeDirect) {
            assert!(sheet.median(MACHINE, figure).unwrap() > 0.0, "{figure:?}");
        }
    }
}
