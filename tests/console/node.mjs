// A node of the real program in a temporary folder, as the tests of the console need it: started, fed, broken, ended.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** The program under test: what `STRANDLINE_TEST_PROGRAM` names, or the one that was built with the tests. */
function program() {
  const given =
    process.env.STRANDLINE_TEST_PROGRAM ??
    join(process.env.CARGO_TARGET_DIR ?? join(ROOT, "target"), "debug/strandline");
  if (!existsSync(given))
    throw new Error(`${given} is not there: run scripts/test, or name a program by STRANDLINE_TEST_PROGRAM`);
  return given;
}

/** The statement of a store below `folder`; compaction by hand only. */
export function statement(folder, name, more = []) {
  const keys = [
    "durable.type = 'parquet'",
    `durable.path = '${folder}/${name}/durable'`,
    "wal.enabled = true",
    `wal.path = '${folder}/${name}/wal'`,
    "inmemory.enabled = true",
    "compaction.schedule = '0 0 1 1 *'",
    ...more,
  ];
  return `CREATE EVENTSTORE ${name} WITH (${keys.join(", ")});\n`;
}

/** Starts a node with stores; `stores` gets the folder and gives the statements. */
export async function startNode(stores) {
  const folder = mkdtempSync(join(tmpdir(), "strandline-console-"));
  writeFileSync(join(folder, "stores.deql"), stores(folder));
  const settings = Object.entries(process.env).filter(
    ([name]) => !name.startsWith("STRANDLINE_") && !name.startsWith("AWS_"),
  );
  const options = ["serve", "--config", join(folder, "stores.deql"), "--data-dir", join(folder, "node")];
  const child = spawn(program(), [...options, "--http", "127.0.0.1:0", "--native", "127.0.0.1:0"], {
    env: Object.fromEntries(settings),
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  child.stderr.on("data", (bytes) => (said += bytes));
  const ended = new Promise((resolve) => child.on("exit", resolve));
  const url = await readyUrl(child, ended).catch((error) => {
    throw new Error(`${error.message}\n${said}`);
  });
  const stop = async () => {
    child.kill("SIGTERM");
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
  return { url, folder, stop, ask: (path, init) => ask(`${url}${path}`, init) };
}

async function readyUrl(child, ended) {
  const lines = createInterface({ input: child.stdout });
  const line = await Promise.race([new Promise((resolve) => lines.once("line", resolve)), ended.then(() => "")]);
  const address = /http=(\S+)/.exec(line)?.[1];
  if (!address) throw new Error("the node did not start");
  return `http://${address}`;
}

async function ask(url, init) {
  const answer = await fetch(url, init);
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${text}`);
  return answer.headers.get("content-type")?.includes("json") ? JSON.parse(text) : text;
}

/** Appends events of many streams at once. */
export function append(node, store, events) {
  const body = events.map((event) => JSON.stringify(event)).join("\n");
  return node.ask(`/v1/stores/${store}/events`, {
    method: "POST",
    headers: { "content-type": "application/x-ndjson" },
    body,
  });
}

/** Calls of `days` days up to a fixed one, more on some days than on others; the same each time. */
export function calls(days, aDay, streamType = "Call") {
  const last = Date.UTC(2026, 9, 31);
  return Array.from({ length: days }, (_, day) => {
    const many = 1 + ((day * 7) % aDay);
    return Array.from({ length: many }, (_, i) => ({
      stream_type: streamType,
      stream_id: `subscriber-${(day * 13 + i) % 40}`,
      event_type: i % 3 === 0 ? "CallEnded" : "CallStarted",
      occurred_at: new Date(last - day * 86_400_000 + i * 1000).toISOString(),
      data: { cell: i, seconds: (day + i) % 900, to: `+49 30 ${100_000 + i}` },
    }));
  }).flat();
}

/** Compacts and waits; gives the ended jobs. */
export async function compact(node, store) {
  return (await node.ask(`/admin/v1/stores/${store}/compaction/run?wait=true`, { method: "POST" })).ended;
}

/** Makes a named subscription, lets a consumer take `limit` events and go away, and parks them; what else it held waits. */
export async function park(node, store, name, wish, limit) {
  const path = `/v1/stores/${store}/subscriptions/${encodeURIComponent(name)}`;
  const post = (to, body) => {
    const headers = { "content-type": "application/json" };
    return node.ask(to, { method: "POST", headers, body: JSON.stringify(body) });
  };
  await post(path, wish);
  const given = await node.ask(`${path}/events?limit=${limit}`);
  const positions = [...given.matchAll(/^id: (\S+)$/gm)].map(([, position]) => position);
  for (const position of positions) await post(`${path}/park`, { position, reason: "the printer is out of paper" });
  // the node has noticed that the consumer is gone
  while ((await node.ask(path)).consumers > 0) await new Promise((resolve) => setTimeout(resolve, 20));
  return positions;
}
