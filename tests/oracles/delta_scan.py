"""DuckDB's own Delta reader over a table; run with the DuckDB of .venv/delta-scan. Argument: the table.

Prints JSON: rows, different events, the sums that any other reader can compare with, and the hits of a filter that uses statistics.
"""
import json
import sys
from pathlib import Path

import duckdb

extension = next((Path(duckdb.__file__).parent.parent / "duckdb_ext").rglob("delta.duckdb_extension"))
connection = duckdb.connect()
connection.execute(f"LOAD '{extension}'")
request = json.loads(sys.argv[1])
names = {field: '"' + name.replace('"', '""') + '"' for field, name in request["fields"].items()}
table = "delta_scan('" + request["root"].replace("'", "''") + "')"
query = f"""
    SELECT count(*), count(DISTINCT {names['event_id']}), sum({names['seq']})::BIGINT,
           coalesce(sum({names['event_version']}), 0)::BIGINT, sum(epoch_us({names['occurred_at']}))::VARCHAR,
           sum(length({names['data']}))::BIGINT, count({names['tenant_id']}),
           (SELECT count(*) FROM {table} WHERE {names['stream_id']} = ?),
           (SELECT count(*) FROM {table} WHERE {names['occurred_at']} >= to_timestamp(?))
    FROM {table}
"""
found = connection.execute(query, [request["stream_id"], request["since"]]).fetchone()
print(json.dumps(list(found)))
