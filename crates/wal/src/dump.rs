//! The text of a segment file, frame by frame, for people who debug. Reads damaged files too: after a bad place it goes on
//! at the next good header.

use crate::disk::{Access, Disk};
use crate::frame::{
    FLAG_GOES_ON, FLAG_LAST, FLAG_NO_CHECKSUM, FLAG_NO_FSYNC, FLAG_SEALED, FrameHeader, FrameKind, HEADER_BYTES,
    HeaderFault, block_up,
};
use crate::scan::{Chunks, next_header};
use crate::state::{State, decode_vote};
use std::fmt::Write;
use std::io;
use std::path::Path;

/// Writes one line for each frame of `file`, and one for each place where a frame should be and is not. Gives the number of
/// bad places.
///
/// # Errors
/// What the file system says; `Other` if `out` refuses.
pub fn dump_segment(disk: &dyn Disk, file: &Path, out: &mut dyn Write) -> io::Result<u64> {
    let file = disk.open(file, Access::Read)?;
    let mut chunks = Chunks::new(&*file)?;
    let mut offset = 0;
    let mut bad = 0;
    loop {
        let found = FrameHeader::decode(chunks.get(offset, HEADER_BYTES)?);
        if let Ok(header) = found {
            let payload = chunks.get(offset + HEADER_BYTES as u64, header.payload_len as usize)?;
            bad += u64::from(!header.payload_is_good(payload));
            line(out, offset, &header, payload).map_err(io::Error::other)?;
            offset += header.frame_bytes() as u64;
            if header.has(FLAG_LAST) {
                offset = block_up(offset);
            }
            continue;
        }
        let next = next_header(&mut chunks, offset)?;
        if let (Err(fault), true) = (found, next.is_some() || found != Err(HeaderFault::Nothing)) {
            bad += 1;
            writeln!(out, "{offset:>12}  BAD: {fault}").map_err(io::Error::other)?;
        }
        match next {
            Some((at, _)) => offset = at,
            None => {
                writeln!(out, "{offset:>12}  end of frames").map_err(io::Error::other)?;
                return Ok(bad);
            }
        }
    }
}

fn line(out: &mut dyn Write, offset: u64, header: &FrameHeader, payload: &[u8]) -> std::fmt::Result {
    let name = format!("{:?}", header.kind);
    write!(
        out,
        "{offset:>12}  {name:<10} index {:<8} group {}.{} synced<{} term {} node {} {} {} bytes, {} events, schema {}",
        header.index,
        header.group,
        header.ordinal,
        header.synced_below,
        header.leader.term,
        header.leader.node,
        header.time,
        header.payload_len,
        header.count,
        header.schema
    )?;
    let texts = [
        (FLAG_LAST, " last"),
        (FLAG_NO_CHECKSUM, " no-checksum"),
        (FLAG_NO_FSYNC, " no-fsync"),
        (FLAG_GOES_ON, " goes-on"),
        (FLAG_SEALED, " sealed"),
    ];
    for (flag, text) in texts {
        if header.has(flag) {
            out.write_str(text)?;
        }
    }
    if header.is_tagged() {
        out.write_str(" tagged")?;
    }
    if !header.payload_is_good(payload) {
        out.write_str("  BAD: payload checksum differs")?;
    }
    match header.kind {
        FrameKind::State => {
            if let Some(state) = State::decode(header.body(payload), header.version) {
                write!(out, "\n{:>14}{state:?}", "")?;
            }
        }
        FrameKind::Vote => {
            if let Some(vote) = decode_vote(header.body(payload)) {
                write!(out, "  {vote:?}")?;
            }
        }
        _ => {}
    }
    out.write_char('\n')
}
