"""Runs the Python and SQL blocks of one page, in one process as a reader would: names live on from block to block.

Reads one JSON object a line ({"kind", "code", "where"}), answers one a line ({"output", "error"}).
"""

import contextlib
import io
import json
import sys
import traceback

import duckdb


def main() -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    database = duckdb.connect()
    answers = sys.stdout
    for request in sys.stdin:
        wanted = json.loads(request)
        printed, error = io.StringIO(), None
        with contextlib.redirect_stdout(printed):
            try:
                if wanted["kind"] == "python":
                    exec(compile(wanted["code"], wanted["where"], "exec"), names)
                else:
                    table = database.sql(wanted["code"])
                    # a statement that gives no table, such as CREATE VIEW
                    print("" if table is None else str(table).rstrip("\n"))
            except BaseException:
                error = traceback.format_exc()
        answers.write(json.dumps({"output": printed.getvalue(), "error": error}) + "\n")
        answers.flush()


main()
