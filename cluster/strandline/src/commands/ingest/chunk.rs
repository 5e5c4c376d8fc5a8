//! Lines cut into chunks, the same way each time: what makes a second run recognise what the first one stored.
//!
//! A chunk ends before the line that would take it over 4 MiB or 10,000 lines. Its number counts from 1. The digest of
//! the whole input is a chain of keyed hashes over the chunks, so other cuts would be another digest. Line numbers
//! inside a chunk stay true: a line that is too long leaves an empty line behind.

use std::io::{self, BufRead};
use strandline_event::hash::keyed_hash;

/// Bytes of a chunk.
const CHUNK_BYTES_MAX: usize = 4 << 20;
/// Lines of a chunk.
const CHUNK_LINES_MAX: u64 = 10_000;
/// A line that is longer can be no event (1 MiB of data and metadata, and the envelope around it).
pub(super) const LINE_BYTES_MAX: usize = 2 << 20;

/// Some lines in a row.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// From 1.
    pub(super) number: u64,
    /// Number in the input of its first line.
    pub(super) first_line: u64,
    /// Lines in it.
    pub(super) lines: u64,
    /// The lines with their line breaks.
    pub(super) body: Vec<u8>,
    /// Lines that are too long, by number in the input; empty lines stand in the body for them.
    pub(super) too_long: Vec<u64>,
}

/// What one pass over the input tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// Chain over the chunks.
    pub(super) digest: u128,
    /// Lines in all.
    pub(super) lines: u64,
    /// Bytes of all chunks.
    pub(super) bytes: u64,
    /// Lines that are too long.
    pub(super) too_long: Vec<u64>,
}

/// Reads all chunks once.
pub(super) fn survey(chunks: impl Iterator<Item = io::Result<Chunk>>) -> io::Result<Survey> {
    let mut survey = Survey::default();
    for chunk in chunks {
        let chunk = chunk?;
        survey.digest = keyed_hash(survey.digest as u64, (survey.digest >> 64) as u64, &[&chunk.body]);
        survey.lines += chunk.lines;
        survey.bytes += chunk.body.len() as u64;
        survey.too_long.extend(chunk.too_long);
    }
    Ok(survey)
}

/// The chunks of an input.
#[derive(Debug)]
pub(super) struct Chunks<R> {
    input: R,
    /// The line that did not fit into the last chunk.
    carried: Option<Line>,
    skip: u64,
    next_line: u64,
    next_number: u64,
    failed: bool,
}

#[derive(Debug)]
struct Line {
    bytes: Vec<u8>,
    too_long: bool,
}

impl<R: BufRead> Chunks<R> {
    /// The chunks from a line (counted from 1) on.
    pub(super) fn new(input: R, from_line: u64) -> Self {
        Self { input, carried: None, skip: from_line.saturating_sub(1), next_line: 1, next_number: 1, failed: false }
    }

    fn read(&mut self) -> io::Result<Option<Chunk>> {
        while self.skip > 0 {
            self.skip -= 1;
            self.next_line += 1;
            if read_line(&mut self.input)?.is_none() {
                return Ok(None);
            }
        }
        let mut chunk = Chunk { number: self.next_number, first_line: self.next_line, ..Chunk::default() };
        while chunk.lines < CHUNK_LINES_MAX {
            let Some(line) = self.carried.take().map_or_else(|| read_line(&mut self.input), |line| Ok(Some(line)))?
            else {
                break;
            };
            if chunk.lines > 0 && chunk.body.len() + line.bytes.len() > CHUNK_BYTES_MAX {
                self.carried = Some(line);
                break;
            }
            if line.too_long {
                chunk.too_long.push(self.next_line);
            }
            chunk.body.extend_from_slice(&line.bytes);
            chunk.lines += 1;
            self.next_line += 1;
        }
        self.next_number += 1;
        Ok((chunk.lines > 0).then_some(chunk))
    }
}

impl<R: BufRead> Iterator for Chunks<R> {
    type Item = io::Result<Chunk>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let chunk = self.read().transpose();
        self.failed = matches!(chunk, Some(Err(_)));
        chunk
    }
}

/// The next line with its line break (added to a last line without one); never holds more than the limit.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<Line>> {
    let mut line = Line { bytes: Vec::new(), too_long: false };
    let mut anything = false;
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            break;
        }
        anything = true;
        let (part, ended) = match buffer.iter().position(|b| *b == b'\n') {
            Some(end) => (end + 1, true),
            None => (buffer.len(), false),
        };
        line.too_long |= line.bytes.len() + part > LINE_BYTES_MAX;
        if line.too_long {
            line.bytes.clear();
        } else {
            line.bytes.extend_from_slice(&buffer[..part]);
        }
        input.consume(part);
        if ended {
            break;
        }
    }
    if line.too_long {
        line.bytes = vec![b'\n'];
    } else if anything && line.bytes.last() != Some(&b'\n') {
        line.bytes.push(b'\n');
    }
    Ok(anything.then_some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &[u8], from: u64) -> Vec<Chunk> {
        Chunks::new(text, from).map(Result::unwrap).collect()
    }

    #[test]
    fn all_lines_are_in_some_chunk_in_order() {
        let text: String = (0..25_001).map(|n| format!("{{\"n\":{n}}}\n")).collect();
        let chunks = cut(text.trim_end().as_bytes(), 1);
        assert_eq!(
            chunks.iter().map(|c| (c.number, c.first_line, c.lines)).collect::<Vec<_>>(),
            [(1, 1, 10_000), (2, 10_001, 10_000), (3, 20_001, 5_001)]
        );
        assert_eq!(chunks.concat_bodies(), text.as_bytes());
        let later = cut(text.as_bytes(), 20_001);
        assert_eq!((later[0].number, later[0].first_line), (1, 20_001));
        assert!(cut(text.as_bytes(), 25_002).is_empty());
        assert!(cut(b"", 1).is_empty());
    }

    #[test]
    fn bytes_bound_a_chunk_and_a_large_line_stands_alone() {
        let line = |n: usize| vec![b'x'; n].into_iter().chain(*b"\n").collect::<Vec<u8>>();
        let text = [line(1 << 20), line(2_000_000), line(2_000_000), line(3)].concat();
        let chunks = cut(&text, 1);
        assert_eq!(chunks.iter().map(|c| c.lines).collect::<Vec<_>>(), [2, 2]);
        assert!(chunks.iter().all(|c| c.body.len() <= CHUNK_BYTES_MAX));
        assert_eq!(chunks.concat_bodies(), text);
    }

    #[test]
    fn a_line_that_is_too_long_leaves_an_empty_one() {
        let text = [b"{}\n".to_vec(), vec![b'y'; 5 << 20], b"\n{}\n".to_vec()].concat();
        let chunks = cut(&text, 1);
        assert_eq!(chunks[0].body, b"{}\n\n{}\n");
        assert_eq!(chunks[0].too_long, [2]);
    }

    #[test]
    fn the_digest_tells_inputs_apart() {
        let digest = |text: &str| survey(Chunks::new(text.as_bytes(), 1)).unwrap().digest;
        assert_eq!(digest("a\nb\n"), digest("a\nb"));
        assert_ne!(digest("a\nb\n"), digest("b\na\n"));
    }

    trait Bodies {
        fn concat_bodies(&self) -> Vec<u8>;
    }

    impl Bodies for Vec<Chunk> {
        fn concat_bodies(&self) -> Vec<u8> {
            self.iter().flat_map(|c| c.body.clone()).collect()
        }
    }
}
