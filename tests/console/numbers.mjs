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

/** Events and files below a folder. */
export function countedByDuckdb(folder) {
  const python = process.env.STRANDLINE_TEST_PYTHON ?? join(ROOT, ".venv/bin/python");
  if (!existsSync(python)) throw new Error(`${python} is not there: run scripts/prepare, it sets up DuckDB`);
  const [events, files] = execFileSync(python, ["-c", COUNT, folder], { encoding: "utf8" })
    .trim()
    .split(" ")
    .map(Number);
  return { events, files };
}
