"""Reads every Parquet file of a store with pyarrow, DuckDB and Polars and compares with what the store itself says.

Argument: a JSON file with name, fields (default name -> store's name), rows (events as the store's scan gives them),
files (paths), root (durable.path), config. Exit code 1 and a sentence where something differs.
"""
import glob
import json
import sys
import uuid

import duckdb
import polars
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

PHYSICAL = {
    "event_id": "FIXED_LEN_BYTE_ARRAY", "stream_type": "BYTE_ARRAY", "stream_id": "BYTE_ARRAY", "seq": "INT64",
    "event_type": "BYTE_ARRAY", "event_version": "INT32", "occurred_at": "INT64", "ingested_at": "INT64",
    "data": "BYTE_ARRAY", "metadata": "BYTE_ARRAY", "command_id": "BYTE_ARRAY", "correlation_id": "BYTE_ARRAY",
    "causation_id": "BYTE_ARRAY", "tenant_id": "BYTE_ARRAY",
}
TEXTS = ["stream_type", "stream_id", "event_type", "command_id", "correlation_id", "causation_id", "tenant_id"]


def fail(text):
    print("FAIL:", text)
    sys.exit(1)


def check(condition, text):
    if not condition:
        fail(text)


def key(row, fields):
    return row[fields["event_id"]]


def micros(text):
    """RFC 3339 in UTC to microseconds, without the limits of a float."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    base = pc.strptime(pa.array([whole]), format="%Y-%m-%dT%H:%M:%S", unit="us").cast(pa.int64())[0].as_py()
    return base + int((fraction + "000000")[:6] or 0)


def wanted(rows, fields):
    """The store's rows in the form that the engines give, by event id."""
    out = {}
    for row in rows:
        one = {field: row.get(name) for field, name in fields.items()}
        for field in ("occurred_at", "ingested_at"):
            one[field] = micros(one[field])
        one["data"] = json.loads(json.dumps(one["data"]))
        check(one["event_id"] not in out, f"the store gave {one['event_id']} twice")
        out[one["event_id"]] = one
    return out


def check_schema(path, fields):
    """Physical and logical types of the contract, and sorting_columns that are there."""
    file = pq.ParquetFile(path)
    schema = file.schema
    columns = {schema.column(i).name: schema.column(i) for i in range(len(schema))}
    for field, physical in PHYSICAL.items():
        column = columns.get(fields[field])
        check(column is not None, f"{path}: no column {fields[field]}")
        check(column.physical_type == physical, f"{path}: {field} is {column.physical_type}")
        logical = str(column.logical_type).upper()
        if field == "event_id":
            check("UUID" in logical and column.length == 16, f"{path}: {field} is {logical}")
        elif field in ("occurred_at", "ingested_at"):
            check("TIMESTAMP" in logical and "MICROSECONDS" in logical, f"{path}: {field} is {logical}")
            check("ISADJUSTEDTOUTC=TRUE" in logical, f"{path}: {field} is not UTC: {logical}")
        elif field in ("data", "metadata"):
            check("JSON" in logical, f"{path}: {field} is {logical}")
        elif field in TEXTS:
            check("STRING" in logical or "UTF8" in logical, f"{path}: {field} is {logical}")
    check(len(columns) == len(PHYSICAL), f"{path}: columns {sorted(columns)}")
    for group in range(file.metadata.num_row_groups):
        check(file.metadata.row_group(group).sorting_columns, f"{path}: row group {group} has no sorting_columns")
    return file.metadata.num_rows


def same(found, expected, engine, path):
    for field, value in expected.items():
        other = found[field]
        if field in ("data", "metadata"):
            other = None if other is None else json.loads(other)
        check(other == value, f"{engine} {path}: {field} of {expected['event_id']} is {other!r}, not {value!r}")


def id_text(value):
    if isinstance(value, bytes):
        return str(uuid.UUID(bytes=value))
    return str(value)


def to_micros(value):
    """Timestamps came as microseconds, as numbers, so that no library's time zone comes between."""
    return int(value)


def rows_of_pyarrow(path, fields):
    # the file itself, not the dataset: hive folders must not add columns here
    table = pq.ParquetFile(path).read()
    columns = {}
    for field, name in fields.items():
        column = table.column(name)
        if field in ("occurred_at", "ingested_at"):
            column = column.cast(pa.int64())
        columns[field] = [v.as_py() for v in column.combine_chunks()] if not isinstance(column.type, pa.ExtensionType) else \
            [v.as_py() for v in column.combine_chunks().storage]
    return columns


def rows_of_duckdb(path, fields):
    parts = []
    for field, name in fields.items():
        quoted = '"' + name.replace('"', '""') + '"'
        if field in ("occurred_at", "ingested_at"):
            quoted = f"epoch_us({quoted})"
        elif field == "event_id":
            quoted = f"CAST({quoted} AS VARCHAR)"
        parts.append(f"{quoted} AS {field}_")
    query = f"SELECT {', '.join(parts)} FROM read_parquet(?, hive_partitioning=false)"
    values = duckdb.execute(query, [path]).fetchall()
    return {field: [row[i] for row in values] for i, field in enumerate(fields)}


def rows_of_polars(path, fields):
    frame = polars.read_parquet(path, hive_partitioning=False)
    columns = {}
    for field, name in fields.items():
        series = frame[name]
        if field in ("occurred_at", "ingested_at"):
            series = series.dt.epoch("us")
        columns[field] = series.to_list()
    return columns


ENGINES = {"pyarrow": rows_of_pyarrow, "duckdb": rows_of_duckdb, "polars": rows_of_polars}


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        given = json.load(file)
    fields, files = given["fields"], given["files"]
    expected = wanted(given["rows"], fields)
    check(files, "no file")
    on_disk = {path for path in glob.glob(given["root"] + "/**/*.parquet", recursive=True)}
    check(on_disk == set(files), f"a glob gives other files: {sorted(on_disk ^ set(files))[:3]}")
    counted = sum(check_schema(path, fields) for path in files)
    check(counted == len(expected), f"{counted} rows in the files, {len(expected)} in the store")
    for engine, read in ENGINES.items():
        seen = set()
        for path in files:
            columns = read(path, fields)
            for i in range(len(columns["seq"])):
                row = {field: columns[field][i] for field in fields}
                row["event_id"] = id_text(row["event_id"])
                for field in ("occurred_at", "ingested_at"):
                    row[field] = to_micros(row[field])
                check(row["event_id"] in expected, f"{engine} {path}: {row['event_id']} is not in the store")
                check(row["event_id"] not in seen, f"{engine} {path}: {row['event_id']} twice")
                seen.add(row["event_id"])
                same(row, expected[row["event_id"]], engine, path)
        check(len(seen) == len(expected), f"{engine}: {len(seen)} rows of {len(expected)}")
    pattern = given["root"] + "/**/*.parquet"
    total = duckdb.execute("SELECT count(*) FROM read_parquet(?, hive_partitioning=true)", [pattern]).fetchone()[0]
    check(total == len(expected), f"duckdb with hive_partitioning counts {total}")
    one = next(iter(expected.values()))
    name = '"' + fields["stream_id"] + '"'
    hits = duckdb.execute(f"SELECT count(*) FROM read_parquet(?, hive_partitioning=true) WHERE {name} = ?", [pattern, one["stream_id"]]).fetchone()[0]
    wanted_hits = sum(1 for row in expected.values() if row["stream_id"] == one["stream_id"])
    check(hits == wanted_hits, f"duckdb finds {hits} rows of a stream, not {wanted_hits}: bloom filter or statistics are wrong")
    print(f"{given['name']}: {len(files)} files, {len(expected)} rows: pyarrow, DuckDB and Polars agree")


main()
