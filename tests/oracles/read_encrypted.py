"""Reads one encrypted Parquet file of a store with pyarrow, with the key that `strandline keys unwrap` printed.

Arguments: the file, a file with 64 hex digits, a JSON file with the rows that must be in it (stream_id, seq, data). Exit code 1 and a
sentence where something differs.
"""
import json
import sys

import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe


def fail(text):
    print("FAIL:", text)
    sys.exit(1)


path, key_file, rows_file = sys.argv[1:4]
key = bytes.fromhex(open(key_file).read().strip())
try:
    pq.read_table(path)
    fail("it is read without a key")
except (OSError, ValueError):
    pass
try:
    pq.ParquetFile(path, decryption_properties=pe.create_decryption_properties(footer_key=bytes(32))).read()
    fail("it is read with another key")
except (OSError, ValueError):
    pass
file = pq.ParquetFile(path, decryption_properties=pe.create_decryption_properties(footer_key=key))
table = file.read()
found = sorted(zip(table["stream_id"].to_pylist(), table["seq"].to_pylist(), table["data"].to_pylist()))
wanted = sorted((row["stream_id"], row["seq"], row["data"]) for row in json.load(open(rows_file)))
if found != wanted:
    fail(f"{len(found)} rows, {len(wanted)} wanted; first: {found[:1]} {wanted[:1]}")
for group in range(file.metadata.num_row_groups):
    for column in range(file.metadata.num_columns):
        if getattr(file.metadata.row_group(group).column(column), "bloom_filter_offset", None) is not None:
            fail("a bloom filter stands in clear")
print(f"{len(found)} rows of an encrypted file are those of the store")
