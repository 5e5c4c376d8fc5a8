//! An Arrow IPC file whose bytes are all here: its footer names blocks, and each must lie within the bytes.
//!
//! It refuses to allocate by what the footer claims: every block is a slice of what is there.

use super::IpcError;
use super::decode::Batches;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{FileDecoder, read_footer_length};
use arrow::ipc::{Block, root_as_footer};
use std::sync::Arc;

/// Footer length and magic.
const TRAILER_BYTES: usize = 10;

fn broken(what: &str) -> ArrowError {
    ArrowError::ParseError(format!("the Arrow IPC file {what}"))
}

/// The schema and the batches of a file.
pub(super) fn batches(file: Buffer) -> Result<(SchemaRef, Batches), IpcError> {
    let trailer_at = file.len().checked_sub(TRAILER_BYTES).ok_or_else(|| broken("is cut off"))?;
    let trailer =
        file.as_slice().get(trailer_at..).and_then(|t| t.try_into().ok()).ok_or_else(|| broken("is cut off"))?;
    let footer_at = trailer_at.checked_sub(read_footer_length(trailer)?).ok_or_else(|| broken("has no such footer"))?;
    let footer = file.as_slice().get(footer_at..trailer_at).unwrap_or(&[]);
    let footer = root_as_footer(footer).map_err(|e| broken(&format!("has a broken footer: {e}")))?;
    let schema = footer.schema().ok_or(IpcError::NoSchema)?;
    let schema = Arc::new(fb_to_schema(schema));
    let mut decoder = FileDecoder::new(Arc::clone(&schema), footer.version());
    for block in footer.dictionaries().iter().flatten() {
        decoder.read_dictionary(block, &slice(&file, block)?)?;
    }
    let blocks: Vec<Block> = footer.recordBatches().iter().flatten().copied().collect();
    let read = move |block: Block| decoder.read_record_batch(&block, &slice(&file, &block)?);
    Ok((schema, Box::new(blocks.into_iter().filter_map(move |block| read(block).transpose()))))
}

/// The bytes of a block.
fn slice(file: &Buffer, block: &Block) -> Result<Buffer, ArrowError> {
    let number = |n: i64| usize::try_from(n).map_err(|_| broken("names a block that is not there"));
    let (at, head) = (number(block.offset())?, number(block.metaDataLength().into())?);
    let len = head.checked_add(number(block.bodyLength())?);
    let end = len.and_then(|len| at.checked_add(len)).filter(|end| *end <= file.len());
    match (end, len) {
        (Some(_), Some(len)) => Ok(file.slice_with_length(at, len)),
        _ => Err(broken("names a block that is not there")),
    }
}
