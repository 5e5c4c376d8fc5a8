"""Reads a store's files from an S3 endpoint with pyarrow's S3FileSystem, and queries them with DuckDB and Polars over it; then by its Delta
log, with deltalake and Polars, each of which has a client of its own.

Arguments: a JSON file with endpoint (host:port), root (s3://...), urls (s3://...), fingerprints (event id -> [stream, seq, data as text]).
"""
import json
import os
import sys
import uuid

# deltalake and Polars ask a proxy of the environment, if there is one
os.environ["NO_PROXY"] = "127.0.0.1"

import deltalake
import duckdb
import polars
import pyarrow.dataset as ds
import pyarrow.fs as fs

COLUMNS = ["event_id", "stream_id", "seq", "data"]


def same(rows, expected, reader):
    """Every event once, and each as it was sent."""
    seen = set()
    for row in rows:
        event_id = row["event_id"]
        event_id = str(uuid.UUID(bytes=event_id)) if isinstance(event_id, bytes) else str(event_id)
        if event_id in seen:
            sys.exit(f"{reader}: {event_id} twice")
        seen.add(event_id)
        stream, seq, data = expected[event_id]
        if (row["stream_id"], row["seq"]) != (stream, seq) or json.loads(row["data"]) != data:
            sys.exit(f"{reader}: {event_id}: {row}, wanted {expected[event_id]}")
    if len(seen) != len(expected):
        sys.exit(f"{reader}: {len(seen)} events, wanted {len(expected)}")


def by_the_delta_log(given):
    """The live files, and their rows, as readers of the Delta log find them on the object store."""
    options = {
        "AWS_ENDPOINT_URL": f"http://{given['endpoint']}", "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
    }
    table = deltalake.DeltaTable(given["root"], storage_options=options)
    name = lambda url: url.rsplit("/", 1)[-1]
    live, wanted = {name(url) for url in table.file_uris()}, {name(url) for url in given["urls"]}
    if live != wanted:
        sys.exit(f"the Delta log shows other files: {sorted(live ^ wanted)[:3]}")
    same(table.to_pyarrow_table(columns=COLUMNS).to_pylist(), given["fingerprints"], "deltalake")
    lazy = polars.scan_delta(given["root"], storage_options=options, credential_provider=None)
    same(lazy.select(COLUMNS).collect().to_dicts(), given["fingerprints"], "Polars scan_delta")


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        given = json.load(file)
    s3 = fs.S3FileSystem(
        access_key="x", secret_key="x", region="us-east-1", scheme="http", endpoint_override=given["endpoint"]
    )
    paths = [url.removeprefix("s3://") for url in given["urls"]]
    dataset = ds.dataset(paths, filesystem=s3, format="parquet")
    table = dataset.to_table(columns=COLUMNS)
    expected = given["fingerprints"]
    same(table.to_pylist(), expected, "pyarrow")
    # a glob over the bucket gives the same here: no job is running and nothing was swept too late
    listed = fs.FileSelector(given["root"].removeprefix("s3://"), recursive=True)
    found = {f.path for f in s3.get_file_info(listed) if f.path.endswith(".parquet")}
    if found != set(paths):
        sys.exit(f"other files in the bucket: {sorted(found ^ set(paths))[:3]}")
    # DuckDB's own httpfs cannot be fetched offline: it reads through pyarrow's file system
    connection = duckdb.connect()
    connection.register("files", dataset)
    rows, streams = connection.execute("SELECT count(*), count(DISTINCT stream_id) FROM files").fetchone()
    frame = polars.from_arrow(table.select(["stream_id", "seq"]))
    holes = frame.group_by("stream_id").agg(polars.len().alias("n"), polars.max("seq").alias("last"))
    holes = holes.filter(polars.col("n") != polars.col("last")).height
    if (rows, holes) != (len(expected), 0):
        sys.exit(f"DuckDB counts {rows} rows, Polars finds {holes} streams with a hole")
    by_the_delta_log(given)
    print(f"s3: {len(paths)} files, {rows} rows, {streams} streams: pyarrow, DuckDB, Polars and readers of the Delta log agree")


main()
# all is said; threads of the engines that still run at the interpreter's end may abort it
sys.stdout.flush()
os._exit(0)
