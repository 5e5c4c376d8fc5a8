"""Reads a store's files from an S3 endpoint with pyarrow's S3FileSystem, and queries them with DuckDB and Polars over it.

Arguments: a JSON file with endpoint (host:port), urls (s3://...), fingerprints (event id -> [stream, seq, data as text]).
"""
import json
import sys
import uuid

import duckdb
import polars
import pyarrow.dataset as ds
import pyarrow.fs as fs


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        given = json.load(file)
    s3 = fs.S3FileSystem(
        access_key="x", secret_key="x", region="us-east-1", scheme="http", endpoint_override=given["endpoint"]
    )
    paths = [url.removeprefix("s3://") for url in given["urls"]]
    dataset = ds.dataset(paths, filesystem=s3, format="parquet")
    table = dataset.to_table(columns=["event_id", "stream_id", "seq", "data"])
    expected = given["fingerprints"]
    seen = set()
    for row in table.to_pylist():
        event_id = row["event_id"]
        event_id = str(uuid.UUID(bytes=event_id)) if isinstance(event_id, bytes) else str(event_id)
        if event_id in seen:
            sys.exit(f"{event_id} twice")
        seen.add(event_id)
        stream, seq, data = expected[event_id]
        if (row["stream_id"], row["seq"]) != (stream, seq) or json.loads(row["data"]) != data:
            sys.exit(f"{event_id}: {row}, wanted {expected[event_id]}")
    if len(seen) != len(expected):
        sys.exit(f"{len(seen)} events, wanted {len(expected)}")
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
    print(f"s3: {len(paths)} files, {rows} rows, {streams} streams: pyarrow, DuckDB and Polars agree")


main()
