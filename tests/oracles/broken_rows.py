"""Writes four rows, of which the second and the third are no events, as Parquet and as an Arrow IPC file: broken_rows.py FOLDER."""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

rows = pa.table(
    {
        "stream_type": ["T"] * 4,
        "stream_id": ["s"] * 4,
        "event_type": ["E"] * 4,
        "occurred_at": ["2013-01-01T05:15:00Z", None, "yesterday", "2013-01-01T05:16:00Z"],
        "data": ['{"n": 1}', '{"n": NaN}', '{"n": 3}', '{"n": 4}'],
    }
)
folder = Path(sys.argv[1])
pq.write_table(rows, folder / "rows.parquet")
with pa.ipc.new_file(folder / "rows.arrow", rows.schema) as writer:
    writer.write_table(rows)
