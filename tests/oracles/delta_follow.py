"""Reads the Delta log of a running store again and again: each snapshot must be one state of the store.

Arguments: the table, its columns as JSON (default name -> store's name), and a file; it ends when that file exists. A number n behind them:
retention may have taken events whose seq is a multiple of n, and no other. Prints one JSON line a snapshot: the Delta version, the
manifest version that it names, its rows. In every snapshot no event stands twice and every stream is whole from its first event on
(streams are appended to in order, and a job moves what came first), but for what retention may take. Snapshots are read again later:
what was merged or retired since must still be there. DuckDB's own reader takes its turn too: it finds the newest version by itself.
"""
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import deltalake
import duckdb
import polars

root, fields, stop = sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3])
old_every = int(sys.argv[4]) if len(sys.argv) > 4 else None
names = [fields[field] for field in ("event_id", "stream_type", "stream_id", "seq")]
AGAIN_AFTER = 8


def of_pyarrow(table):
    return polars.from_arrow(table.to_pyarrow_table(columns=names))


def of_polars(table):
    return polars.scan_delta(root, version=table.version()).select(names).collect()


def of_duckdb(table):
    dataset = table.to_pyarrow_dataset()
    connection = duckdb.connect()
    connection.register("dataset", dataset)
    columns = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
    return polars.from_arrow(connection.sql(f"SELECT {columns} FROM dataset").to_arrow_table())


READERS = [of_pyarrow, of_polars, of_duckdb]


def whole(rows, where):
    event_id, stream_type, stream_id, seq = names
    if rows[event_id].n_unique() != rows.height:
        sys.exit(f"FAIL: {where}: an event stands twice")
    streams = rows.group_by(stream_type, stream_id).agg(
        polars.col(seq).max().alias("last"), polars.col(seq).n_unique().alias("different"), polars.len().alias("rows"),
        stays(polars.col(seq)).sum().alias("stay"),
    )
    # of 1 to the last one, those that nobody may take
    due = polars.col("last") - (polars.col("last") // old_every if old_every else 0)
    bad = streams.filter((polars.col("stay") != due) | (polars.col("different") != polars.col("rows")))
    if bad.height:
        sys.exit(f"FAIL: {where}: streams with a hole or a double: {bad}")


def stays(seq):
    return seq % old_every != 0 if old_every else seq > 0


def delta_scan(table, height):
    """What DuckDB's own reader finds, in a process of the DuckDB that it is made for: this snapshot, or one that came since."""
    request = {"root": root, "names": names, "old_every": old_every}
    environment = {**os.environ, "PYTHONPATH": str(Path(sys.executable).parent.parent / "delta-scan")}
    script = Path(__file__).parent / "delta_streams.py"
    done = subprocess.run([sys.executable, script, json.dumps(request)], env=environment, capture_output=True, text=True)
    where = f"delta_scan at version {table.version()} or behind it"
    if done.returncode:
        sys.exit(f"FAIL: {where}: {done.stderr}")
    found = json.loads(done.stdout)
    if found["bad"]:
        sys.exit(f"FAIL: {where}: {found['bad']} streams with a hole or a double")
    if deltalake.DeltaTable(root).version() == table.version() and found["rows"] != height:
        sys.exit(f"FAIL: {where}: {found['rows']} rows, not {height}")


def application(table):
    """The manifest version: the only application of the table is the store."""
    return table.transaction_version(str(table.metadata().id))


def main():
    held, last, n = [], -1, 0
    while True:
        ends = stop.exists()
        table = deltalake.DeltaTable(root)
        version = table.version()
        if version < last:
            sys.exit(f"FAIL: version {version} after {last}")
        if version > last or ends:
            reader = READERS[n % len(READERS)]
            rows = reader(table)
            whole(rows, f"version {version} by {reader.__name__}")
            print(json.dumps({"version": version, "manifest": application(table), "rows": rows.height}), flush=True)
            # a process each time: not for every snapshot, but for the last one, behind which nothing comes
            if ends or n % len(READERS) == 0:
                delta_scan(table, rows.height)
            held.append((table, rows.height))
            n, last = n + 1, version
        if len(held) > AGAIN_AFTER:
            table, height = held.pop(0)
            again = of_pyarrow(table)
            if again.height != height:
                sys.exit(f"FAIL: version {table.version()} had {height} rows, later {again.height}")
        if ends:
            return
        time.sleep(0.01)


main()
# all is said; threads of the engines that still run at the interpreter's end may abort it
sys.stdout.flush()
os._exit(0)
