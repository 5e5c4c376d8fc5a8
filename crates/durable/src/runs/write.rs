//! Writes a run: records by key, the filter behind them, the trailer last (so that one pass is enough).

use super::record::Record;
use super::{RunRef, filter};
use crate::objects::{ObjectError, Objects};

/// First bytes of the trailer.
pub(crate) const MAGIC: [u8; 4] = *b"SLRN";
/// Version of the format.
pub(crate) const VERSION: u16 = 1;
/// Length of the trailer.
pub(crate) const TRAILER_BYTES: usize = 36;
const BUFFER_BYTES: usize = 1 << 20;

/// Writes a run under a new name. `records` come by rising key, each key once; `count_max` is at least their number.
pub(crate) fn write_run<R: Record>(
    objects: &dyn Objects,
    path: &str,
    records: impl Iterator<Item = R>,
    count_max: u64,
    job_id: u128,
) -> Result<RunRef, ObjectError> {
    let wrap = |e| ObjectError::from_io(path, e);
    let mut out = objects.create(path)?;
    let mut filter = vec![0; usize::try_from(filter::filter_bytes(count_max)).unwrap_or(filter::BLOCK_BYTES)];
    let mut buffer = Vec::with_capacity(BUFFER_BYTES + R::BYTES);
    let (mut crc, mut count, mut bytes) = (0, 0_u64, 0_u64);
    for record in records {
        filter::insert(&mut filter, record.key());
        record.encode(&mut buffer);
        count += 1;
        if buffer.len() >= BUFFER_BYTES {
            crc = crc32c::crc32c_append(crc, &buffer);
            bytes += buffer.len() as u64;
            out.write_all(&buffer).map_err(wrap)?;
            buffer.clear();
        }
    }
    buffer.extend_from_slice(&filter);
    crc = crc32c::crc32c_append(crc, &buffer);
    buffer.extend_from_slice(&trailer::<R>(count, filter.len() as u64, crc));
    bytes += buffer.len() as u64;
    out.write_all(&buffer).map_err(wrap)?;
    out.finish()?;
    Ok(RunRef { path: path.to_owned(), bytes, records: count, crc32c: crc, job_id })
}

fn trailer<R: Record>(count: u64, filter_bytes: u64, crc: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(TRAILER_BYTES);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&R::KIND.to_u16().to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&filter_bytes.to_le_bytes());
    out.extend_from_slice(&(R::BYTES as u32).to_le_bytes());
    out.extend_from_slice(&crc.to_le_bytes());
    let own = crc32c::crc32c(&out);
    out.extend_from_slice(&own.to_le_bytes());
    out
}
