//! Asks a bloom filter one question without reading the filter.
//!
//! A split-block filter keeps all bits of a value in one block of 32 bytes, so a cold lookup reads the one checked block of the file
//! that these bits stand in: the filter of a million ids has megabytes. The arithmetic is that of
//! [the Parquet format](https://github.com/apache/parquet-format/blob/master/BloomFilter.md).

use bytes::Bytes;
use parquet::bloom_filter::Sbbf;
use parquet::errors::ParquetError;
use twox_hash::XxHash64;

/// Length of a block of a filter.
const BLOCK_BYTES: usize = 32;
/// The format's seed of the hash.
const SEED: u64 = 0;

/// Where in a filter (header and bits) of this length the bits of a value stand.
///
/// The bits have a power of two of bytes, and the header in front of them is shorter than a block.
pub(crate) fn place(filter_bytes: usize, value: &[u8]) -> Option<usize> {
    let bits = 1_usize.checked_shl(filter_bytes.checked_ilog2()?)?;
    let blocks = (bits / BLOCK_BYTES) as u64;
    let block = ((XxHash64::oneshot(SEED, value) >> 32) * blocks) >> 32;
    let header = filter_bytes.checked_sub(bits).filter(|header| *header < BLOCK_BYTES && blocks > 0)?;
    Some(header + usize::try_from(block).ok()? * BLOCK_BYTES)
}

/// Whether a value may be in a filter, by the block that `read` gets: (place in the filter, length).
pub(crate) fn probe(
    filter_bytes: usize,
    value: &[u8],
    read: impl FnOnce(usize, usize) -> Result<Bytes, ParquetError>,
) -> Result<bool, ParquetError> {
    let no_filter = || ParquetError::General("a bloom filter has an impossible length".to_owned());
    let at = place(filter_bytes, value).ok_or_else(no_filter)?;
    let block = read(at, BLOCK_BYTES)?;
    if block.len() != BLOCK_BYTES {
        return Err(no_filter());
    }
    // a filter of one block puts every value into it
    Ok(Sbbf::new(&block).check(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_block_answers_as_the_whole_filter_does() {
        for (values, fpp) in [(1, 0.01), (10, 0.5), (300, 0.1), (5000, 0.01), (50_000, 0.001)] {
            let mut filter = Sbbf::new_with_ndv_fpp(values, fpp).unwrap();
            for n in 0..values {
                filter.insert(format!("value {n}").as_bytes());
            }
            let mut bytes = Vec::new();
            filter.write(&mut bytes).unwrap();
            let bytes = Bytes::from(bytes);
            let asked = |value: &[u8]| probe(bytes.len(), value, |at, n| Ok(bytes.slice(at..at + n))).unwrap();
            let mut no = 0;
            for n in 0..values * 2 {
                let value = format!("value {n}");
                assert_eq!(asked(value.as_bytes()), filter.check(value.as_bytes()), "{n} of {values}");
                no += u32::from(!asked(value.as_bytes()));
            }
            assert!(no > 0 || values < 20, "{values}");
        }
    }

    #[test]
    fn what_is_no_filter_is_an_error() {
        for length in [0, 1, 31, 100] {
            assert!(probe(length, b"x", |_, n| Ok(vec![0; n].into())).is_err(), "{length}");
        }
    }
}
