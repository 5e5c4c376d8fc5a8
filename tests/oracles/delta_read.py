"""Reads the Delta log of a store that stands still with every Delta reader and compares with what the store itself says.

Argument: a JSON file with name, fields (default name -> store's name), rows (events as the store's scan gives them), root.
"""
import datetime
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import deltalake
import duckdb
import polars
import pyarrow as pa
import pyarrow.compute as pc

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def check(condition, text):
    if not condition:
        sys.exit(f"FAIL: {text}")


def micros(value):
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
    return (value - EPOCH) // datetime.timedelta(microseconds=1)


def event_id(value):
    return str(uuid.UUID(bytes=value)) if isinstance(value, bytes) else value


def normal(row, fields):
    """A row of any reader, by default names, with plain values."""
    out = {}
    for field, name in fields.items():
        value = row.get(name)
        if field in ("occurred_at", "ingested_at"):
            value = micros(value)
        elif field == "event_id":
            value = event_id(value)
        elif field in ("data", "metadata") and isinstance(value, str):
            value = json.loads(value)
        out[field] = value
    return out


def by_id(rows, fields, reader):
    out = {}
    for row in rows:
        one = normal(row, fields)
        check(one["event_id"] not in out, f"{reader} gives {one['event_id']} twice")
        out[one["event_id"]] = one
    return out


def same(found, expected, reader):
    check(found.keys() == expected.keys(), f"{reader}: {len(found)} events, not {len(expected)}")
    for key, row in expected.items():
        check(found[key] == row, f"{reader}: {found[key]} is not {row}")


def readers(root):
    table = deltalake.DeltaTable(root)
    dataset = table.to_pyarrow_dataset()
    # DuckDB reads the dataset's batches; the 16 bytes of an id come as a blob
    connection = duckdb.connect()
    connection.register("dataset", dataset)
    connection.execute("SET TimeZone = 'UTC'")
    query = deltalake.QueryBuilder().register("events", table).execute("SELECT * FROM events")
    return {
        "deltalake (pyarrow)": dataset.to_table().to_pylist(),
        "deltalake (DataFusion)": pa.table(query.read_all()).to_pylist(),
        "Polars read_delta": polars.read_delta(root).to_dicts(),
        "Polars scan_delta": polars.scan_delta(root).collect().to_dicts(),
        "DuckDB over the dataset": connection.sql("SELECT * FROM dataset").to_arrow_table().to_pylist(),
    }


def filtered(root, fields, expected):
    """Filters that readers answer by the statistics of the log."""
    table = deltalake.DeltaTable(root)
    probes = list(expected.values())[:: max(1, len(expected) // 5)]
    for row in probes:
        stream, at = row["stream_id"], EPOCH + datetime.timedelta(microseconds=row["occurred_at"])
        wanted = sum(1 for other in expected.values() if other["stream_id"] == stream)
        later = sum(1 for other in expected.values() if other["occurred_at"] >= row["occurred_at"])
        exact = sum(1 for other in expected.values() if other["occurred_at"] == row["occurred_at"])
        name, moment = fields["stream_id"], fields["occurred_at"]
        hits = table.to_pyarrow_table(filters=[(name, "=", stream)]).num_rows
        check(hits == wanted, f"deltalake finds {hits} of {wanted} rows of {stream}")
        hits = table.to_pyarrow_table(filters=pc.field(moment) >= at).num_rows
        check(hits == later, f"deltalake finds {hits} of {later} rows since {at}")
        hits = table.to_pyarrow_table(filters=pc.field(moment) == at).num_rows
        check(hits == exact, f"deltalake finds {hits} of {exact} rows at {at}")
        lazy = polars.scan_delta(root)
        hits = lazy.filter(polars.col(name) == stream).collect().height
        check(hits == wanted, f"Polars finds {hits} of {wanted} rows of {stream}")
        hits = lazy.filter(polars.col(moment) >= at).collect().height
        check(hits == later, f"Polars finds {hits} of {later} rows since {at}")
        tenant = row["tenant_id"]
        column = polars.col(fields["tenant_id"])
        hits = lazy.filter(column.is_null() if tenant is None else column == tenant).collect().height
        wanted = sum(1 for other in expected.values() if other["tenant_id"] == tenant)
        check(hits == wanted, f"Polars finds {hits} of {wanted} rows of tenant {tenant!r}")


def duckdb_delta(root, fields, expected):
    rows = list(expected.values())
    since = rows[len(rows) // 2]["occurred_at"]
    request = {"root": root, "fields": fields, "stream_id": rows[0]["stream_id"], "since": since / 1e6}
    beside = Path(sys.executable).parent.parent / "delta-scan"
    script = Path(__file__).parent / "delta_scan.py"
    # isolated: the older DuckDB must not meet the newer one
    environment = {**os.environ, "PYTHONPATH": str(beside)}
    done = subprocess.run([sys.executable, script, json.dumps(request)], env=environment, capture_output=True, text=True)
    check(done.returncode == 0, f"DuckDB delta_scan: {done.stderr}")
    wanted = [
        len(rows), len(rows), sum(r["seq"] for r in rows), sum(r["event_version"] or 0 for r in rows),
        str(sum(r["occurred_at"] for r in rows)), None, sum(r["tenant_id"] is not None for r in rows),
        sum(r["stream_id"] == request["stream_id"] for r in rows), sum(r["occurred_at"] >= since for r in rows),
    ]
    found = json.loads(done.stdout)
    # the texts as stored are known to the store only
    wanted[5] = found[5]
    check(found == wanted and found[5] > 0, f"DuckDB delta_scan: {found}, not {wanted}")


def nobody_else_writes(root):
    """Other engines refuse to write: the writer feature is the store's alone. A vacuum, which delta-rs does not refuse, takes nothing."""
    table = deltalake.DeltaTable(root)
    before = sorted(str(path) for path in Path(root).rglob("*"))
    rows = table.to_pyarrow_table().slice(0, 1)
    check(table.vacuum(dry_run=True) == [], "a vacuum would take files away")
    attempts = {
        "append": lambda: deltalake.write_deltalake(table, rows, mode="append"),
        "optimize": lambda: table.optimize.compact(),
        "delete": lambda: table.delete(),
    }
    for name, attempt in attempts.items():
        try:
            attempt()
        except Exception as error:  # noqa: BLE001: whatever it says
            check("strandlineOwned" in str(error), f"{name}: refused for another reason: {error}")
        else:
            check(False, f"{name} was not refused")
    # what a refused append had written before it asked is garbage of its own; nothing of ours is gone
    after = {str(path) for path in Path(root).rglob("*")}
    check(not set(before) - after, f"gone: {set(before) - after}")


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        given = json.load(file)
    fields, root = given["fields"], given["root"]
    expected = by_id(given["rows"], fields, "the store")
    names = deltalake.DeltaTable(root).schema().to_json()
    check({f["name"] for f in json.loads(names)["fields"]} == set(fields.values()), f"columns: {names}")
    for reader, rows in readers(root).items():
        same(by_id(rows, fields, reader), expected, reader)
    filtered(root, fields, expected)
    duckdb_delta(root, fields, expected)
    nobody_else_writes(root)
    files = len(deltalake.DeltaTable(root).file_uris())
    print(f"{given['name']}: {files} files, {len(expected)} rows: deltalake, DataFusion, Polars, DuckDB and its delta_scan agree")


main()
# all is said; threads of the engines that still run at the interpreter's end may abort it
sys.stdout.flush()
os._exit(0)
