// The same numbers from elsewhere: what DuckDB counts in the files of a store.

import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./node.mjs";

const COUNT = `
import duckdb, sys
rows = duckdb.sql(f"SELECT count(*), count(DISTINCT filename) FROM read_parquet('{sys.argv[1]}/**/*.parquet', filename=true)")
print(*rows.fetchall()[0])
`;

const BY_DATE = `
import duckdb, json, os, sys
files = duckdb.sql(f"SELECT CAST(dt AS VARCHAR), filename, count(*) FROM read_parquet('{sys.argv[1]}/**/*.parquet', filename=true, hive_partitioning=true) GROUP BY ALL").fetchall()
days = {}
for day, name, events in files:
    one = days.setdefault(day, [0, 0, 0])
    one[0] += 1
    one[1] += events
    one[2] += os.path.getsize(name)
print(json.dumps(sorted([day, *numbers] for day, numbers in days.items())))
`;

/** Files, events and bytes of each date of a folder that is partitioned by it, rising. */
export function datesByDuckdb(folder) {
  return JSON.parse(python(BY_DATE, folder));
}

/** Events and files below a folder. */
export function countedByDuckdb(folder) {
  const [events, files] = python(COUNT, folder).trim().split(" ").map(Number);
  return { events, files };
}

function python(code, folder) {
  const program = process.env.STRANDLINE_TEST_PYTHON ?? join(ROOT, ".venv/bin/python");
  if (!existsSync(program)) throw new Error(`${program} is not there: run scripts/prepare, it sets up DuckDB`);
  return execFileSync(program, ["-c", code, folder], { encoding: "utf8" });
}
