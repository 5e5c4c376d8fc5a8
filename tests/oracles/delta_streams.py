"""DuckDB's own Delta reader over a table that changes; run with the DuckDB of .venv/delta-scan.

Argument: JSON with root, names (of event_id, stream_type, stream_id, seq) and old_every, as `delta_follow.py` knows it (null: nothing may be
retired). Prints JSON: rows, and how many streams have a hole or a double. One scan, so one snapshot.
"""
import json
import sys
from pathlib import Path

import duckdb

extension = next((Path(duckdb.__file__).parent.parent / "duckdb_ext").rglob("delta.duckdb_extension"))
connection = duckdb.connect()
connection.execute(f"LOAD '{extension}'")
request = json.loads(sys.argv[1])
event_id, stream_type, stream_id, seq = ('"' + name.replace('"', '""') + '"' for name in request["names"])
table = "delta_scan('" + request["root"].replace("'", "''") + "')"
every = request["old_every"]
stays = f"{seq} % {every} <> 0" if every else "true"
retired = f"newest // {every}" if every else "0"
query = f"""
    WITH streams AS (
        SELECT count(*) AS events, count(DISTINCT {event_id}) AS ids, count(DISTINCT {seq}) AS seqs, max({seq}) AS newest,
               count(*) FILTER (WHERE {stays}) AS stay
        FROM {table} GROUP BY {stream_type}, {stream_id}
    )
    SELECT coalesce(sum(events), 0)::BIGINT,
           count(*) FILTER (WHERE events <> ids OR events <> seqs OR stay <> newest - {retired})
    FROM streams
"""
rows, bad = connection.execute(query).fetchone()
print(json.dumps({"rows": rows, "bad": bad}))
