"""Writes Arrow streams whose texts unpack to much more than they are: arrow_unpacks.py FOLDER.

`bomb.arrow` has two batches of 150 rows over one text of 1 MB; `small.arrow` has 100 rows over one of 10 kB, and `lz4.arrow` and `zstd.arrow`
are the same with compressed buffers.
"""

import sys
from pathlib import Path

import pyarrow as pa


def stream(batches: int, rows: int, text_bytes: int, compression: str | None = None) -> bytes:
    text = '{"x":"' + "a" * text_bytes + '"}'
    columns = {
        "stream_type": pa.array(["T"] * rows),
        "stream_id": pa.array(["s"] * rows),
        "event_type": pa.array(["E"] * rows),
        "data": pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), [text]),
    }
    batch = pa.record_batch(columns)
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        for _ in range(batches):
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


folder = Path(sys.argv[1])
(folder / "bomb.arrow").write_bytes(stream(2, 150, 1_000_000))
(folder / "small.arrow").write_bytes(stream(1, 100, 10_000))
for codec in ("lz4", "zstd"):
    (folder / f"{codec}.arrow").write_bytes(stream(1, 100, 10_000, codec))
