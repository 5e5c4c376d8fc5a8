"""DuckDB counts rows, streams and seqs, and pyarrow rows as docs/files.md says it: arguments are the folder, the events and the
streams that must be there, and `gaps` where retention has taken some out of streams."""
import re
import sys
from pathlib import Path

import duckdb

PAGE = Path(__file__).resolve().parent.parent.parent / "docs/files.md"
# the folder that the page names
SHOWN = "/var/lib/strandline/flights/files"


def rows_of_pyarrow(folder):
    """The block of the page, word for word, but for the folder."""
    block = re.search(r"^## pyarrow$.*?^```python$(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    if block is None or SHOWN not in block[1]:
        sys.exit(f"{PAGE} has no block of pyarrow that names {SHOWN}")
    names = {}
    exec(compile(block[1].replace(SHOWN, folder), str(PAGE), "exec"), names)
    return names["files"].count_rows()


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
if found != wanted:
    sys.exit(f"wanted {wanted}")
rows = rows_of_pyarrow(folder)
sys.exit(0 if rows == events else f"pyarrow finds {rows} rows, not {events}, by the recipe of docs/files.md")
