"""Reads one encrypted Parquet file of a store with DuckDB, with the key that `strandline keys unwrap` printed.

Arguments: the file, a file with 64 hex digits, a JSON file with the rows that must be in it (stream_id, seq, data). Exit code 1 and a
sentence where something differs.
"""
import base64
import json
import sys

import duckdb


def fail(text):
    print("FAIL:", text)
    sys.exit(1)


path, key_file, rows_file = sys.argv[1:4]
key = bytes.fromhex(open(key_file).read().strip())


def read(key, *columns):
    base = duckdb.connect()
    base.execute("SET enable_progress_bar = false")
    base.execute(f"PRAGMA add_parquet_key('file', '{base64.b64encode(key).decode()}')")
    text = f"SELECT {', '.join(columns)} FROM read_parquet(?, encryption_config = {{footer_key: 'file'}})"
    return base.execute(text, [path]).fetchall()


try:
    duckdb.connect().execute("SELECT count(*) FROM read_parquet(?)", [path])
    fail("it is read without a key")
except duckdb.Error:
    pass
try:
    read(bytes(32), "count(*)")
    fail("it is read with another key")
except duckdb.Error:
    pass
found = sorted(read(key, "stream_id", "seq", "data"))
wanted = sorted((row["stream_id"], row["seq"], row["data"]) for row in json.load(open(rows_file)))
if found != wanted:
    fail(f"{len(found)} rows, {len(wanted)} wanted; first: {found[:1]} {wanted[:1]}")
print(f"DuckDB {duckdb.__version__}: {len(found)} rows of an encrypted file are those of the store")
