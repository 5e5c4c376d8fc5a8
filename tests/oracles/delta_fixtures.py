"""Every Delta reader opens the tables that are kept for ever: a checkpoint as JSON (local), one in Parquet (object stores), and a version behind it.

Argument: the folder of the tables. Each holds 30 events of the seqs 1 in 30 streams.
"""
import json
import os
import subprocess
import sys
from pathlib import Path

import deltalake
import polars
import pyarrow.compute as pc

for root in sorted(Path(sys.argv[1]).iterdir()):
    table = deltalake.DeltaTable(root)
    rows = table.to_pyarrow_table()
    counts = {
        "deltalake": (rows.num_rows, pc.count_distinct(rows["event_id"]).as_py()),
        "Polars": polars.scan_delta(str(root)).select(polars.len(), polars.col("event_id").n_unique()).collect().row(0),
    }
    fields = ["event_id", "seq", "event_version", "occurred_at", "data", "tenant_id", "stream_id"]
    request = {"root": str(root), "fields": {f: f for f in fields}, "stream_id": "stream-007", "since": 0}
    environment = {**os.environ, "PYTHONPATH": str(Path(sys.executable).parent.parent / "delta-scan")}
    script = Path(__file__).parent / "delta_scan.py"
    done = subprocess.run([sys.executable, script, json.dumps(request)], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"FAIL: {root.name}: {done.stderr}")
    found = json.loads(done.stdout)
    counts["DuckDB delta_scan"] = (found[0], found[1])
    if found[7] != 1:
        sys.exit(f"FAIL: {root.name}: delta_scan finds {found[7]} events of a stream with one")
    if table.version() != 3 or set(counts.values()) != {(30, 30)}:
        sys.exit(f"FAIL: {root.name}: version {table.version()}, {counts}")
    print(f"{root.name}: version 3 behind a checkpoint: {', '.join(counts)} agree")
