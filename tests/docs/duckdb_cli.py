"""`duckdb -c SQL` for pages that call DuckDB's own program: the same engine, from Python."""

import sys

import duckdb

if len(sys.argv) != 3 or sys.argv[1] != "-c":
    sys.exit("the test's duckdb knows `duckdb -c SQL` only")
table = duckdb.sql(sys.argv[2])
if table is not None:
    print(str(table).rstrip("\n"))
