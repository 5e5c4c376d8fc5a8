"""Checks every file of a store against every layout key of its statement: durable.*, partition.*, row_group.*, stats.*, bloom.*, envelope.*.

Argument: a JSON file with name, fields (default name -> store's name), files (paths), root (durable.path), keys (key -> effective value as
the node tells it). What a key means is computed here a second time, from the rows of the files alone. Prints facts about the files as one JSON line, for
the test to compare stores with each other. Exit code 1 and a sentence where something differs.
"""
import json
import re
import sys
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import unquote

import duckdb
import pyarrow.parquet as pq

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
CODECS = {"none": "UNCOMPRESSED", "snappy": "SNAPPY", "gzip": "GZIP", "lz4": "LZ4_RAW", "brotli": "BROTLI", "zstd": "ZSTD"}
# pyarrow has one name for both kinds of LZ4; DuckDB tells them apart
ARROW_CODECS = {**CODECS, "lz4": "LZ4"}
GRANULARITY = {"hour": "%Y-%m-%d-%H", "day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}
FUNCTIONS = {"HOUR": "hour", "DATE": "day", "MONTH": "month", "YEAR": "year"}
# the envelope in the order of the columns
ENVELOPE = [
    "event_id", "stream_type", "stream_id", "seq", "event_type", "event_version", "occurred_at", "ingested_at", "data", "metadata",
    "command_id", "correlation_id", "causation_id", "tenant_id",
]
# columns with few different values: what a dictionary is for
DICTIONARY = {"stream_type", "event_type", "event_version", "tenant_id", "metadata", "correlation_id", "causation_id"}
# what their values are encoded as; the others, and those above without a dictionary, are plain: readers of any age know it
ENCODINGS = {
    "seq": "DELTA_BINARY_PACKED", "occurred_at": "DELTA_BINARY_PACKED", "ingested_at": "DELTA_BINARY_PACKED",
    "stream_id": "DELTA_BYTE_ARRAY",
}
LEVELS = {"RLE", "BIT_PACKED"}
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def fail(text):
    sys.exit(f"FAIL: {text}")


def check(condition, text):
    if not condition:
        fail(text)


class Store:
    def __init__(self, given):
        self.name, self.root, self.files = given["name"], given["root"], given["files"]
        self.fields, self.keys, self.probes = given["fields"], given["keys"], given["probes"]
        self.default = {name: field for field, name in self.fields.items()}
        self.columns = [self.fields[field] for field in ENVELOPE]

    def tuple(self, key):
        value = self.keys[key]
        return value if isinstance(value, list) else [value]

    def named(self, key, switch=None):
        """The columns that a key names; none where its switch is off."""
        return self.tuple(key) if switch is None or self.keys[switch] else []


def rows_of(path):
    table = pq.ParquetFile(path).read()
    columns = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if hasattr(column, "storage"):
            column = column.storage
        if str(column.type).startswith("timestamp"):
            column = column.cast("int64")
        columns[name] = column.to_pylist()
    return columns


# ---- names ----

def moment_text(micros, granularity):
    at = EPOCH + timedelta(microseconds=micros)
    text = at.strftime(GRANULARITY[granularity])
    return text.zfill(len(text) + 4 - len(text.split("-")[0]))


def partition_value(store, column, row):
    """The value of a partition column of a row, by the statement."""
    expression = store.keys[f"partition.{column}.expr"]
    call = re.fullmatch(r"(\w+)\((\w+)\)", expression)
    if call:
        return moment_text(row[call[2]], FUNCTIONS[call[1].upper()])
    if store.default[expression] in ("occurred_at", "ingested_at"):
        return moment_text(row[expression], store.keys["partition.dt.granularity"])
    return row[expression]


def pattern_of(store):
    text = store.keys["durable.file_pattern"]
    parts = re.split(r"(\{\w+\})", text)
    out = "".join(f"(?P<{part[1:-1]}>[^/]+?)" if part.startswith("{") else re.escape(part) for part in parts)
    return re.compile(out)


def check_names(store, contents):
    pattern, seen = pattern_of(store), set()
    by = store.tuple("partition.by") if store.keys["partition.by"] else []
    values = set()
    for path in store.files:
        relative = Path(path).relative_to(store.root).as_posix()
        match = pattern.fullmatch(relative)
        check(match, f"{relative} does not follow {store.keys['durable.file_pattern']}")
        found = match.groupdict()
        check(set(found) == set(by) | {"writer", "file_seq"}, f"{relative}: placeholders {found}")
        check((found["writer"], found["file_seq"]) not in seen, f"{relative}: writer and file_seq come again")
        seen.add((found["writer"], found["file_seq"]))
        columns = contents[path]
        for i in range(len(columns[store.columns[0]])):
            row = {name: column[i] for name, column in columns.items()}
            for column in by:
                wanted = partition_value(store, column, row)
                folder = found[column]
                got = None if folder == HIVE_NULL else unquote(folder, errors="strict")
                check(got == wanted or (got is None and wanted == ""), f"{relative}: a row with {column} {wanted!r}")
                values.add((column, got))
    if by:
        # Hive readers see the same values in the folders, where there are such
        hive = [c for c in by if f"{c}={{{c}}}" in store.keys["durable.file_pattern"]]
        for column in hive:
            pattern = f"{store.root}/**/*.parquet"
            query = f"SELECT DISTINCT CAST({column} AS VARCHAR) FROM read_parquet(?, hive_partitioning=true, hive_types_autocast=false)"
            got = {value for (value,) in duckdb.execute(query, [pattern]).fetchall()}
            check(got == {value for name, value in values if name == column}, f"DuckDB sees {column} {got}")
    return sorted(f"{column}={value}" for column, value in values)


# ---- encodings ----

def check_codec(store, path, groups):
    codec = store.keys["durable.compression"]
    for group in groups:
        for column in group:
            check(column.compression == ARROW_CODECS[codec], f"{path}: {column.path_in_schema} is {column.compression}")
    duck = duckdb.execute("SELECT DISTINCT compression FROM parquet_metadata(?)", [path]).fetchall()
    check(duck == [(CODECS[codec],)], f"{path}: DuckDB sees {duck}")


def check_dictionary(store, path, groups):
    for group in groups:
        for column in group:
            field = store.default[column.path_in_schema]
            encoded = any("DICTIONARY" in encoding for encoding in column.encodings)
            wanted = store.keys["durable.dictionary.enabled"] and field in DICTIONARY
            check(column.has_dictionary_page == encoded == wanted, f"{path}: {field}: dictionary {encoded}, wanted {wanted}")
            values = set(column.encodings) - LEVELS
            allowed = {"PLAIN", "RLE_DICTIONARY"} if wanted else {ENCODINGS.get(field, "PLAIN")}
            check(values and values <= allowed, f"{path}: {field}: encodings {values}, not {allowed}")


# ---- row groups and order ----

def check_row_groups(store, path, metadata):
    rows_max, bytes_max = store.keys["row_group.max_rows"], store.keys["row_group.target_mb"] << 20
    sizes = []
    for n in range(metadata.num_row_groups):
        group = metadata.row_group(n)
        size = sum(group.column(i).total_compressed_size for i in range(group.num_columns))
        check(0 < group.num_rows <= rows_max, f"{path}: row group {n} has {group.num_rows} rows")
        check(size <= bytes_max, f"{path}: row group {n} has {size} bytes")
        sizes.append({"rows": group.num_rows, "bytes": size})
    return sizes


def comparable(value):
    """Texts by their bytes; null is the largest value."""
    if value is None:
        return (1, b"")
    return (0, value.encode() if isinstance(value, str) else value)


def check_order(store, path, metadata, columns):
    by, falling = store.tuple("row_group.sort_by"), store.keys["row_group.sort_order"] == "desc"
    nullable = {name for name in store.columns if metadata.schema.column(store.columns.index(name)).max_definition_level > 0}
    wanted = [(store.columns.index(name), falling, falling and name in nullable) for name in by]
    for n in range(metadata.num_row_groups):
        told = [(s.column_index, s.descending, s.nulls_first) for s in metadata.row_group(n).sorting_columns]
        check(told == wanted, f"{path}: sorting_columns {told}, wanted {wanted}")
    keys = [tuple(comparable(value) for value in values) for values in zip(*(columns[name] for name in by))]
    # whoever trusts sorting_columns trusts this
    check(keys == sorted(keys, reverse=falling), f"{path}: the rows are not in the order of {by} {'desc' if falling else 'asc'}")


# ---- statistics ----

def check_statistics(store, path, metadata, columns):
    wanted = set(store.named("stats.columns", "stats.enabled"))
    first = 0
    for n in range(metadata.num_row_groups):
        group = metadata.row_group(n)
        for i in range(group.num_columns):
            column = group.column(i)
            name, there = column.path_in_schema, column.path_in_schema in wanted
            statistics = column.statistics if column.is_stats_set else None
            bounds = statistics is not None and statistics.has_min_max
            values = [v for v in columns[name][first:first + group.num_rows] if v is not None]
            check(bounds == (there and bool(values)), f"{path}: {name}: min and max {bounds}, wanted {there}")
            check(column.has_column_index == there, f"{path}: {name}: column index {column.has_column_index}, wanted {there}")
            offsets = bool(wanted)
            check(column.has_offset_index == offsets, f"{path}: {name}: offset index {column.has_offset_index}, wanted {offsets}")
            if bounds:
                check_bounds(path, name, statistics, values)
                check(statistics.null_count == group.num_rows - len(values), f"{path}: {name}: {statistics.null_count} nulls")
        first += group.num_rows
    query = "SELECT DISTINCT path_in_schema FROM parquet_metadata(?) WHERE stats_min_value IS NOT NULL OR stats_max_value IS NOT NULL"
    duck = {name for (name,) in duckdb.execute(query, [path]).fetchall()}
    check(duck <= wanted, f"{path}: DuckDB sees statistics of {duck - wanted}")


def check_bounds(path, name, statistics, values):
    low, high = statistics.min, statistics.max
    if isinstance(low, datetime):
        low, high = ((v.replace(tzinfo=timezone.utc) - EPOCH) // timedelta(microseconds=1) for v in (low, high))
    as_bytes = lambda v: v.encode() if isinstance(v, str) else v
    low, high, least, most = (as_bytes(v) for v in (low, high, min(values, key=as_bytes), max(values, key=as_bytes)))
    # a long text may be cut: outwards
    exact = not isinstance(least, bytes) or len(least) <= 64 and len(most) <= 64
    check((low, high) == (least, most) if exact else low <= least and most <= high, f"{path}: {name}: {low!r} to {high!r}, not {least!r} to {most!r}")


# ---- bloom filters ----

def check_bloom(store, path, metadata, columns):
    wanted = set(store.named("bloom.columns", "bloom.enabled"))
    query = "SELECT DISTINCT path_in_schema FROM parquet_metadata(?) WHERE bloom_filter_offset IS NOT NULL"
    found = {name for (name,) in duckdb.execute(query, [path]).fetchall()}
    told = {
        metadata.row_group(n).column(i).path_in_schema
        for n in range(metadata.num_row_groups) for i in range(metadata.num_columns)
        if metadata.row_group(n).column(i).bloom_filter_offset is not None
    }
    # a column of nulls only has nothing to ask for
    holding = {name for name in wanted if any(v is not None for v in columns[name])}
    check(holding <= found <= wanted and found == told, f"{path}: bloom filters on {found} and {told}, wanted {wanted}")
    for name in found:
        values = [v for v in columns[name] if v is not None]
        for value in values[:: max(1, len(values) // 4)]:
            check(not all(excluded(path, name, store, value)), f"{path}: the filter of {name} denies {value!r}, which is there")
    return sorted(store.default[name] for name in found)


def excluded(path, name, store, value):
    """For each row group: whether DuckDB says that its filter excludes the value."""
    field = store.default[name]
    if field == "event_id":
        value, cast = str(uuid.UUID(bytes=value)), "UUID"
    elif field in ("occurred_at", "ingested_at"):
        value, cast = EPOCH + timedelta(microseconds=value), "TIMESTAMPTZ"
    else:
        cast = {"seq": "BIGINT", "event_version": "UINTEGER"}.get(field, "VARCHAR")
    literal = str(value).replace("'", "''")
    query = f"SELECT bloom_filter_excludes FROM parquet_bloom_probe(?, ?, CAST('{literal}' AS {cast}))"
    return [no for (no,) in duckdb.execute(query, [path, name]).fetchall()]


def measured_fpp(path, name, tries):
    """The share of values that are not there and that DuckDB's probe does not exclude, of a file's only row group."""
    probe = "SELECT bloom_filter_excludes AS excluded FROM parquet_bloom_probe('{}', '{}', 'absent {}')"
    path, name, let_through = path.replace("'", "''"), name.replace("'", "''"), 0
    # many probes a query: its planning is most of the time
    for begin in range(0, tries, 500):
        probes = [probe.format(path, name, n) for n in range(begin, min(begin + 500, tries))]
        query = f"SELECT count(*), count(*) FILTER (NOT excluded) FROM ({' UNION ALL '.join(probes)})"
        answers, more = duckdb.execute(query).fetchone()
        check(answers == len(probes), f"{path}: {answers} answers to {len(probes)} probes: it has not one row group")
        let_through += more
    return let_through / tries


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        store = Store(json.load(file))
    duckdb.execute("SET TimeZone = 'UTC'")
    contents = {path: rows_of(path) for path in store.files}
    facts = {"partitions": check_names(store, contents), "groups": [], "bloom": set(), "bytes": {}, "fpp": None}
    for path in store.files:
        metadata = pq.ParquetFile(path).metadata
        names = [metadata.schema.column(i).name for i in range(metadata.num_columns)]
        check(names == store.columns, f"{path}: columns {names}, wanted {store.columns}")
        groups = [[metadata.row_group(n).column(i) for i in range(metadata.num_columns)] for n in range(metadata.num_row_groups)]
        check_codec(store, path, groups)
        check_dictionary(store, path, groups)
        facts["groups"].append(check_row_groups(store, path, metadata))
        check_order(store, path, metadata, contents[path])
        check_statistics(store, path, metadata, contents[path])
        facts["bloom"] |= set(check_bloom(store, path, metadata, contents[path]))
        for group in groups:
            for column in group:
                sizes = facts["bytes"].setdefault(store.default[column.path_in_schema], [0, 0])
                sizes[0] += column.total_compressed_size
                sizes[1] += column.total_uncompressed_size
    if store.probes:
        check(len(store.files) == 1, f"{len(store.files)} files, not one")
        facts["fpp"] = measured_fpp(store.files[0], store.fields["stream_id"], store.probes)
    facts["bloom"] = sorted(facts["bloom"])
    print(json.dumps(facts))


main()
