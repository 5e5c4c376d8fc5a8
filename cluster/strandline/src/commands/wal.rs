//! `strandline wal dump`: the frames of a segment file, one line each; a damaged file too.

use crate::exit::Failure;
use crate::out;
use std::fmt;
use std::path::Path;
use strandline_wal::{RealDisk, dump};

pub(crate) fn dump(file: &Path) -> Result<(), Failure> {
    if file.is_dir() {
        return Err(Failure::Usage(format!("{} is a directory: name one of the segments in it", file.display())));
    }
    let mut stdout = Stdout { failure: None };
    let result = dump::dump_segment(&RealDisk::buffered(), file, &mut stdout);
    match (stdout.failure, result) {
        (Some(failure), _) => Err(failure),
        (None, Err(error)) => Err(Failure::file("read", file, &error)),
        (None, Ok(0)) => held(file),
        (None, Ok(bad)) => Err(Failure::No(format!("{bad} bad places in {}", file.display()))),
    }
}

/// A segment begins with frames, or with the zeros that it was made of: a file without a byte is none.
fn held(file: &Path) -> Result<(), Failure> {
    let bytes = std::fs::metadata(file).map_err(|error| Failure::file("read", file, &error))?.len();
    if bytes > 0 {
        return Ok(());
    }
    Err(Failure::No(format!("{} holds nothing: it is no segment, or what was in it is lost", file.display())))
}

/// Passes text on to stdout and keeps why that ended.
struct Stdout {
    failure: Option<Failure>,
}

impl fmt::Write for Stdout {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        out::bytes(text.as_bytes()).map_err(|failure| {
            self.failure = Some(failure);
            fmt::Error
        })
    }
}
