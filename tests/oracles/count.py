"""DuckDB counts rows, streams and seqs: arguments are the folder, the events and the streams that must be there, and `gaps`
where retention has taken some out of streams."""
import sys

import duckdb

folder, events, streams = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
query = """
    SELECT count(*), count(DISTINCT (stream_type, stream_id)), count(DISTINCT (stream_type, stream_id, seq)),
           (SELECT count(*) FROM (SELECT max(seq) AS last, count(*) AS n FROM files GROUP BY stream_type, stream_id) WHERE last <> n)
    FROM files
"""
duckdb.execute(f"CREATE VIEW files AS SELECT * FROM read_parquet('{folder}/**/*.parquet', hive_partitioning=true)")
found = duckdb.execute(query).fetchone()
gaps = found[3] if sys.argv[4:] == ["gaps"] else 0
wanted = (events, streams, events, gaps)
print(f"DuckDB: {found[0]} events, {found[1]} streams, {found[2]} different seqs, {found[3]} streams with a hole")
sys.exit(0 if found == wanted else f"wanted {wanted}")
