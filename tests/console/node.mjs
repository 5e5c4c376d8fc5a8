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

/** A new folder with a file of statements; `stores` gets the folder and gives them. */
function newFolder(stores) {
  const folder = mkdtempSync(join(tmpdir(), "strandline-console-"));
  writeFileSync(join(folder, "stores.deql"), stores(folder));
  return folder;
}

/** Starts a node with stores. `more`: further options; with `--admin` the node is asked there by `admin`. */
export async function startNode(stores, more = []) {
  const folder = newFolder(stores);
  const node = await serve(["--config", join(folder, "stores.deql"), "--data-dir", join(folder, "node"), ...more]);
  const stop = async () => {
    await node.end("SIGTERM");
    rmSync(folder, { recursive: true, force: true });
  };
  return { ...node, folder, stop };
}

/** Starts a cluster: one node for each entry of `roles`, numbered from 1, with files below one folder. */
export async function startCluster(stores, roles, more = []) {
  const folder = newFolder(stores);
  const options = (id) => [
    ...["--data-dir", join(folder, `n${id}`), "--node-id", String(id), "--cluster", "127.0.0.1:0"],
    ...["--roles", roles[id - 1], ...more],
  ];
  const first = await serve([...options(1), "--config", join(folder, "stores.deql")]);
  const [{ address }] = (await first.ask("/admin/v1/cluster")).members;
  const nodes = [first];
  for (let id = 2; id <= roles.length; id += 1) nodes.push(await serve([...options(id), "--join", address]));
  const stop = async () => {
    await Promise.all(nodes.map((node) => node.end("SIGTERM")));
    rmSync(folder, { recursive: true, force: true });
  };
  return { nodes, folder, stop };
}

/** A node that runs, once it serves. */
async function serve(options) {
  const settings = Object.entries(process.env).filter(
    ([name]) => !name.startsWith("STRANDLINE_") && !name.startsWith("AWS_"),
  );
  const child = spawn(program(), ["serve", ...options, "--http", "127.0.0.1:0", "--native", "127.0.0.1:0"], {
    env: Object.fromEntries(settings),
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  child.stderr.on("data", (bytes) => (said += bytes));
  const ended = new Promise((resolve) => child.on("exit", resolve));
  const { url, admin } = await readyUrls(child, ended).catch((error) => {
    throw new Error(`${error.message}\n${said}`);
  });
  const end = async (how) => {
    child.kill(how);
    await ended;
  };
  // the console is where operators are served
  const page = admin ?? url;
  const to = (path) => (path.startsWith("/admin/") ? page : url) + path;
  return { url, page, end, ask: (path, init) => ask(to(path), init) };
}

async function readyUrls(child, ended) {
  const lines = createInterface({ input: child.stdout });
  const line = await Promise.race([new Promise((resolve) => lines.once("line", resolve)), ended.then(() => "")]);
  const [url, admin] = [/http=(\S+)/, /admin=(\S+)/].map((pattern) => pattern.exec(line)?.[1]);
  if (!url) throw new Error("the node did not start");
  return { url: `http://${url}`, admin: admin && `http://${admin}` };
}

/** Asks again until what comes is as wanted. */
export async function until(ask, holds) {
  for (;;) {
    const answer = await ask();
    if (holds(answer)) return answer;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
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
