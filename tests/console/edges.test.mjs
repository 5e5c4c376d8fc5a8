// The console where things are not well, or not there yet: an empty store, a job that failed, names that are markup, a node that wants a
// token or does not answer, another node's cluster; and its buttons, by keyboard alone.

import assert from "node:assert/strict";
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { accessible, fits, launch, open, picture, settled, view } from "./browser.mjs";
import { append, calls, compact, park, startNode, statement } from "./node.mjs";
import { countedByDuckdb, datesByDuckdb } from "./numbers.mjs";
import { VIEWS } from "./views.mjs";

const HOSTILE = `<img src=x onerror="document.title='owned'"> & "quoted" 'id'`;

let browser;
let node;

before(async () => {
  const stores = (folder) =>
    statement(folder, "empty") +
    statement(folder, "failing") +
    statement(folder, "counted", ["partition.by = ('dt')"]) +
    statement(folder, "followed") +
    statement(folder, "odd", ["envelope.payload_key = 'body'", "envelope.seq_key = 'version'"]);
  node = await startNode(stores);
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await node?.stop();
});

for (const [size, dark] of [
  ["desktop", false],
  ["phone", true],
]) {
  test(`every view of an empty store, ${size}`, async () => {
    const { page, close } = await open(browser, `${node.url}/admin/#/overview?store=empty`, { size, dark });
    await settled(page);
    for (const [name, title] of VIEWS) {
      await view(page, name, title);
      await picture(page, `empty-${name}-${size}`);
      await fits(page, name);
      await accessible(page, `empty ${name} ${size}`);
    }
    await close();
  });
}

test("rates are said to be of the node, and a replaced statement is taken up by the next view", async () => {
  const { page, close } = await open(browser, `${node.url}/admin/#/overview?store=empty`);
  await settled(page);
  await page.getByText("Rates and latencies are of this node, all its stores together.").waitFor();
  await page.getByText("Refused, overloaded, in 5 minutes").waitFor();
  let answers = () => {};
  const answered = new Promise((resolve) => (answers = resolve));
  await page.route(`${node.url}/v1/stores/empty`, async (route) => {
    const answer = await (await route.fetch()).json();
    await answered;
    await route.fulfill({ json: { ...answer, config: { ...answer.config, "inmemory.max_mb": 7 } } });
  });
  await view(page, "compaction", "Compaction");
  const running = page.getByRole("heading", { name: "Running", exact: true });
  assert.equal(await running.count(), 1, "a view does not wait for the statement");
  await view(page, "overview", "Overview");
  answers();
  await page.getByText("of 7.0 MiB").first().waitFor();
  await close();
});

test("a failed job is named with its reason", async () => {
  await append(node, "failing", [{ stream_type: "Call", stream_id: "a", event_type: "Ticked", data: {} }]);
  const watched = await open(browser, `${node.url}/admin/#/compaction?store=failing`);
  await settled(watched.page);
  // what stands in the place of the folder is no folder: the job cannot write
  const durable = `${node.folder}/failing/durable`;
  renameSync(durable, `${durable}-aside`);
  writeFileSync(durable, "");
  const [job] = await compact(node, "failing");
  rmSync(durable);
  renameSync(`${durable}-aside`, durable);
  assert.ok(job.error, JSON.stringify(job));
  await watched.page.locator("#announce", { hasText: "A job of Call failed: " }).waitFor({ state: "attached" });
  await watched.close();
  for (const [size, dark] of [
    ["desktop", false],
    ["phone", true],
  ]) {
    const { page, close } = await open(browser, `${node.url}/admin/#/compaction?store=failing`, { size, dark });
    await page
      .locator("tbody .ending.failed", { hasText: job.error.slice(0, 30) })
      .first()
      .waitFor();
    assert.match(await page.locator("figure svg").getAttribute("aria-label"), /[1-9]\d* failed\./);
    assert.ok((await page.locator("g.bar.failed .cross").count()) > 0, "not by colour alone");
    await settled(page);
    const jobs = page.getByRole("group", { name: "The last jobs" });
    const [frame, ending] = [await jobs.boundingBox(), await jobs.locator(".ending.failed").first().boundingBox()];
    const right = (box) => box.x + box.width;
    assert.ok(right(ending) <= right(frame), `how it ended is in sight: ${right(ending)} of ${right(frame)}`);
    for (const [name, title] of VIEWS) {
      await view(page, name, title);
      const says = page.locator(".notice.bad", { hasText: job.error.slice(0, 30) }).first();
      if (["overview", "compaction"].includes(name)) await says.waitFor();
      await picture(page, `failed-${name}-${size}`);
      await fits(page, `failed ${name} ${size}`);
      if (["overview", "compaction"].includes(name)) await accessible(page, `failed ${name} ${size}`);
    }
    await close();
  }
});

test("what clients named and wrote is text, byte for byte", async () => {
  const data = '{"n": 12.50, "big": 12345678901234567890, "html": "<script>alert(1)</script>"}';
  const path = `/v1/stores/odd/streams/Call/${encodeURIComponent(HOSTILE)}`;
  const body = `{"events":[{"event_type":${JSON.stringify(HOSTILE)},"body":${data}}]}`;
  await node.ask(path, { method: "POST", headers: { "content-type": "application/json" }, body });
  const { page, close } = await open(browser, `${node.url}/admin/#/streams?store=odd`);
  await page.getByLabel("Stream type").fill("Call");
  await page.getByLabel("Stream id").fill(HOSTILE);
  await page.getByRole("button", { name: "Read", exact: true }).click();
  await page.getByText("Proven: nothing is missing").waitFor();
  assert.equal(await page.locator(".stream-name b").textContent(), HOSTILE);
  assert.equal(await page.locator("tbody td").nth(1).textContent(), HOSTILE);
  await page.locator("summary").click();
  const fields = await page.locator("tbody dt").allTextContents();
  assert.equal(await page.locator("tbody dd").nth(fields.indexOf("body")).textContent(), data);
  assert.equal(await page.locator("tbody th").textContent(), "1");
  assert.equal(await page.locator("main img, main script").count(), 0);
  assert.match(await page.title(), /^Streams/);
  await close();
});

test("a running job shows its phase, how far it is and about how long it takes", async () => {
  const begun = new Date(Date.now() - 60_000).toISOString();
  const job = { id: "0a", kind: "compact", bucket: 0, partition: null, trigger: "size", asked_at: begun, started_at: begun };
  const running = [
    { ...job, stream_type: "Call", phase: "writing", rows_done: 750_000, rows_total: 1_000_000, eta_s: 95.5 },
    {
      ...job,
      kind: "merge",
      partition: { dt: "2026-10-31" },
      stream_type: "Account",
      phase: "merging",
      rows_done: 0,
      rows_total: 0,
      eta_s: null,
    },
    { ...job, stream_type: "Bill", started_at: null, phase: "waiting", rows_done: 0, rows_total: 0, eta_s: null },
  ];
  const busy = (page) =>
    page.route("**/compaction", async (route) => {
      const response = await route.fetch();
      return route.fulfill({ response, json: { ...(await response.json()), running } });
    });
  const { page, close } = await open(browser, `${node.url}/admin/#/compaction?store=odd`, { route: busy });
  const row = page.getByRole("group", { name: "Running jobs" }).getByRole("row", { name: /^Call / });
  await row.getByText("75 %, 750,000 of 1,000,000").waitFor();
  const texts = await row.getByRole("cell").allTextContents();
  assert.deepEqual(texts.slice(0, 3), ["compact", "size", "writing"]);
  // the time before this phase says nothing of how fast it is: the node knows when it began
  assert.equal(texts.at(-1), "1 min 35 s");
  assert.equal(await page.getByRole("progressbar", { name: "Progress of Call" }).getAttribute("value"), "75");
  const merge = page.getByRole("group", { name: "Running jobs" }).getByRole("row", { name: /^Account / });
  await merge.getByText("merge of dt=2026-10-31").waitFor();
  assert.equal((await merge.getByRole("cell").allTextContents()).at(-1), "–", "nobody can say");
  const waits = page.getByRole("group", { name: "Running jobs" }).getByRole("row", { name: /^Bill / });
  const shown = await waits.getByRole("cell").allTextContents();
  assert.deepEqual([shown[2], ...shown.slice(-2)], ["waiting", "–", "–"], "its turn has not come");
  assert.equal(await page.getByRole("button", { name: "Cancel jobs" }).isEnabled(), true);
  await settled(page);
  await picture(page, "running-compaction");
  await accessible(page, "running");
  const sent = [];
  await page.route("**/compaction/cancel", (route) => {
    sent.push(route.request().method());
    return route.fulfill({ json: { cancelled: 2 } });
  });
  for (const keys of [["Enter"], ["Tab", "Enter"]]) {
    assert.deepEqual(sent, [], "leaving it is what Enter does");
    await page.getByRole("button", { name: "Cancel jobs", exact: true }).focus();
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").waitFor();
    for (const key of keys) await page.keyboard.press(key);
    await page.getByRole("dialog").waitFor({ state: "detached" });
  }
  await page.getByText("2 jobs cancelled.").waitFor();
  assert.deepEqual(sent, ["POST"]);
  await close();
});

test("the buttons ask first, and a keyboard is enough", async () => {
  await append(node, "odd", [{ stream_type: "Call", stream_id: "b", event_type: "Ticked", body: {} }]);
  const { page, close } = await open(browser, `${node.url}/admin/#/compaction?store=odd`);
  const steering = () => node.ask("/admin/v1/stores/odd/compaction");
  const press = async (name, ...keys) => {
    await page.getByRole("button", { name, exact: true }).focus();
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").waitFor();
    if (name === "Pause") await picture(page, "confirm");
    if (name === "Pause") await accessible(page, "a question");
    for (const key of keys) await page.keyboard.press(key);
    await page.getByRole("dialog").waitFor({ state: "detached" });
  };
  await press("Pause", "Escape");
  await press("Pause", "Enter");
  assert.equal((await steering()).paused, false, "leaving it is what Escape and Enter do");
  await press("Pause", "Tab", "Enter");
  await page.getByText("Compaction is paused.").waitFor();
  assert.equal((await steering()).paused, true);
  await page.getByText("none while it is paused").waitFor();
  await press("Resume", "Tab", "Enter");
  await page.getByText("Compaction goes on.").waitFor();
  assert.equal((await steering()).paused, false);
  await page.getByRole("button", { name: "Show the plan" }).click();
  await page.getByRole("group", { name: "What a run would do now" }).getByText("compact", { exact: true }).waitFor();
  await press("Run now", "Tab", "Enter");
  await page.getByText(/job asked for/).waitFor();
  await page.locator("tbody .ending.compacted").first().waitFor();
  await append(node, "odd", [{ stream_type: "Call", stream_id: "b", event_type: "Ticked", body: {} }]);
  await page.getByRole("button", { name: "Show the plan" }).click();
  const plan = page.getByRole("group", { name: "What a run would do now" });
  await plan.getByText("merge, where the job writes beside it").first().waitFor();
  await close();
});

test("what a subscription has parked is given again, by one or all, after a question", async () => {
  const events = (many) =>
    Array.from({ length: many }, (_, i) => ({ stream_type: "Call", stream_id: `s${i}`, event_type: "Ended", data: {} }));
  await append(node, "followed", events(6));
  // all six are given to the one consumer, which takes four
  const positions = await park(node, "followed", HOSTILE, { filter: { stream_type: "Call" } }, 4);
  const path = `/v1/stores/followed/subscriptions/${encodeURIComponent(HOSTILE)}`;
  const replayed = async () => (await node.ask(path)).parked.filter((event) => event.replayed).map((e) => e.position);
  const { page, close } = await open(browser, `${node.url}/admin/#/subscriptions?store=followed`);
  await settled(page);
  const row = page.getByRole("group", { name: "Named subscriptions" }).locator("tbody tr");
  assert.equal(await row.getByRole("rowheader").textContent(), HOSTILE);
  const cells = await row.getByRole("cell").allTextContents();
  assert.deepEqual([...cells.slice(0, 2), ...cells.slice(3, 7)], ["stream type Call", "async", "0", "0", "2", "4"]);
  const parked = page.getByRole("group", { name: "Parked events" }).locator("tbody tr");
  assert.equal(await parked.count(), positions.length);
  assert.equal(await parked.getByText("the printer is out of paper").count(), positions.length);
  const press = async (button, ...keys) => {
    await button.focus();
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").waitFor();
    for (const key of keys) await page.keyboard.press(key);
    await page.getByRole("dialog").waitFor({ state: "detached" });
  };
  const first = page.getByRole("button", { name: `Replay the event at ${positions[0]}` });
  await press(first, "Enter");
  assert.deepEqual(await replayed(), [], "leaving it is what Enter does");
  await press(first, "Tab", "Enter");
  await page.getByText("1 event will be given again.").waitFor();
  assert.deepEqual(await replayed(), [positions[0]]);
  await parked.filter({ hasText: "is on its way" }).waitFor();
  await picture(page, "parked");
  await accessible(page, "parked events");
  await press(page.getByRole("button", { name: "Replay all" }), "Tab", "Enter");
  await page.getByText("3 events will be given again.").waitFor();
  assert.deepEqual((await replayed()).sort(), [...positions].sort());
  await settled(page);
  assert.equal(await page.getByRole("button", { name: "Replay all" }).isDisabled(), true);
  await close();
});

test("a subscription whose name a browser cannot ask for shows nothing of another one", async () => {
  const facts = { mode: "async", filter: {}, attempts_max: 10, ack_within_s: 30, created_at: "2026-11-23T10:00:00Z" };
  const numbers = { position: "0", lag_s: 0, consumers: 1, in_flight: 0, waiting: 0, parked: 3 };
  const dots = { subscriptions: [{ name: "..", ...facts, ...numbers }], followers: 1 };
  const route = (page) => page.route("**/subscriptions", (answer) => answer.fulfill({ json: dots }));
  const { page, close } = await open(browser, `${node.url}/admin/#/subscriptions?store=odd`, { route });
  await page.locator(".notice", { hasText: "A browser cannot ask for a name that is only dots" }).waitFor();
  assert.equal(await page.getByRole("button", { name: "Replay all" }).isDisabled(), true);
  await page.getByText("Nothing is parked.").waitFor();
  await close();
});

test("the numbers of subscriptions are those of /metrics", async () => {
  await append(node, "followed", calls(2, 3));
  await park(node, "followed", "counted", { filter: { stream_type: "Call" } }, 2);
  const { page, close } = await open(browser, `${node.url}/admin/#/subscriptions?store=followed&name=counted`);
  await settled(page);
  const metrics = await node.ask("/metrics");
  const told = (what) => {
    const line = new RegExp(`^strandline_subscription_${what}{store="followed",subscription="counted"} (\\S+)$`, "m");
    return line.exec(metrics)[1];
  };
  const row = page.getByRole("group", { name: "Named subscriptions" }).getByRole("row", { name: /^counted / });
  const cells = await row.getByRole("cell").allTextContents();
  assert.deepEqual(cells.slice(3, 7), ["consumers", "in_flight", "waiting", "parked"].map(told));
  assert.equal(told("parked"), "2");
  assert.equal(await page.getByLabel("Subscription", { exact: true }).inputValue(), "counted", "the address says which one");
  assert.equal(await page.getByRole("group", { name: "Parked events" }).locator("tbody tr").count(), 2);
  await close();
});

test("the way through the page by keyboard begins with its content", async () => {
  const { page, close } = await open(browser, `${node.url}/admin/`);
  await settled(page);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
  await view(page, "files", "Manifests and files");
  assert.equal(await page.evaluate(() => document.activeElement.id), "title", "the focus follows to the heading");
  await close();
});

test("a token is asked for, kept in memory, and forgotten by a reload", async () => {
  const asked = [];
  const guard = async (page) => {
    await page.route(/\/(info|metrics|ready)$|\/v1\//, async (route) => {
      const token = route.request().headers().authorization;
      asked.push(token);
      if (token === "Bearer right") return route.continue();
      const body = JSON.stringify({ error: "send a bearer token", code: "unauthenticated", details: {} });
      return route.fulfill({ status: 401, contentType: "application/json", body });
    });
  };
  const { page, close } = await open(browser, `${node.url}/admin/`, { route: guard, expected: ["401"] });
  const give = async (token) => {
    await page.getByLabel("Bearer token").fill(token);
    await page.keyboard.press("Enter");
  };
  await page.getByRole("heading", { name: "The node asks for a token" }).waitFor();
  await accessible(page, "the token");
  await picture(page, "token");
  await give("wrong");
  await page.getByRole("button", { name: "Ask now" }).click();
  await page.getByRole("heading", { name: "The node refused this token" }).waitFor();
  await give("right");
  await settled(page);
  const kept = await page.evaluate(() => [
    localStorage.length,
    sessionStorage.length,
    document.cookie,
    location.href.includes("right"),
  ]);
  assert.deepEqual(kept, [0, 0, "", false]);
  await page.reload();
  await page.getByRole("heading", { name: "The node asks for a token" }).waitFor();
  assert.ok(asked.includes("Bearer wrong") && asked.includes("Bearer right"));
  await close();
});

test("a node that does not answer leaves the last numbers and says so", async () => {
  const { page, close } = await open(browser, `${node.url}/admin/`, { expected: ["ERR_FAILED", "Failed to load"] });
  await settled(page);
  await page.route("**/metrics", (route) => route.abort());
  await page.getByText("The numbers below are not new").waitFor();
  assert.match(await page.locator("#state").textContent(), /^last answer \d\d:\d\d:\d\d$/);
  await picture(page, "unreachable");
  await page.unroute("**/metrics");
  await page.getByRole("button", { name: "Ask now" }).click();
  await page.locator("#state.live").waitFor();
  await page.getByText("The numbers below are not new").waitFor({ state: "detached" });
  await close();
});

test("a table that goes on beyond the edge of a phone shows it until its end is in sight", async () => {
  const { page, close } = await open(browser, `${node.url}/admin/#/files?store=empty`, { size: "phone" });
  await settled(page);
  const frame = page.getByRole("group", { name: "Versions of the manifest" });
  const cut = page.locator(".scroll.cut", { hasText: "Committed" });
  await cut.waitFor();
  await frame.evaluate((element) => (element.scrollLeft = element.scrollWidth));
  await cut.waitFor({ state: "detached" });
  await close();
});

test("a node alone says so in the view of the cluster", async () => {
  const { page, close } = await open(browser, `${node.url}/admin/#/cluster`);
  await page.getByText("This node runs alone.").waitFor();
  await settled(page);
  assert.equal(await page.getByRole("heading", { name: "Nodes", exact: true }).isVisible(), false);
  await page.getByRole("region", { name: "This node" }).getByText("Native protocol").waitFor();
  await close();
});

test("who may not hear what a start found sees the rest of its node", async () => {
  // as a node answers a token that is limited to some stores
  const limited = (page) =>
    page.route("**/info", async (route) => {
      const answer = await (await route.fetch()).json();
      await route.fulfill({ json: { ...answer, recovery: null } });
    });
  const { page, close } = await open(browser, `${node.url}/admin/#/cluster`, { route: limited });
  await settled(page);
  assert.equal(await page.locator("#state.live").count(), 1);
  await close();
});

test("what a node says of itself when it is asked whether it is ready stands above every view", async () => {
  const told = {
    status: "ready",
    degraded: [{ store: "odd", error: "the object store gives no answer" }],
    leaderless: ["odd/Call"],
    not_reloaded: [{ what: "certificates", error: "the certificate has ended" }],
  };
  const route = (page) => page.route("**/ready", (answer) => answer.fulfill({ json: told }));
  const { page, close } = await open(browser, `${node.url}/admin/#/files?store=odd`, { route });
  await settled(page);
  const texts = await page.locator("#trouble .notice").allTextContents();
  assert.deepEqual(texts, [
    "odd: the object store gives no answer",
    "odd/Call has no leader: it takes no appends.",
    "The certificates could not be read again: the certificate has ended",
  ]);
  await close();
});

test("the numbers are those of /metrics and of DuckDB over the files", async () => {
  for (const days of [12, 5]) {
    await append(node, "counted", calls(days, 9));
    await append(node, "counted", calls(days, 4, "Account"));
    await compact(node, "counted");
  }
  await append(node, "counted", calls(3, 9));
  const { events, files } = countedByDuckdb(`${node.folder}/counted/durable`);
  const metrics = await node.ask("/metrics");
  const told = (tier) =>
    Number(new RegExp(`^strandline_tier_events{store="counted",tier="${tier}"} (\\d+)$`, "m").exec(metrics)[1]);
  const { page, close } = await open(browser, `${node.url}/admin/#/overview?store=counted`);
  await settled(page);
  const shown = async (selector) => Number((await page.locator(selector).textContent()).replaceAll(/\D/g, ""));
  assert.equal(await shown(".tier.durable .events"), events);
  for (const tier of ["inmemory", "wal", "durable"])
    assert.equal(await shown(`.tier.${tier} .events`), told(tier), tier);
  await view(page, "files", "Manifests and files");
  const facts = Object.fromEntries(
    await page
      .locator("dl")
      .first()
      .locator("div")
      .evaluateAll((rows) => rows.map((row) => [...row.children].map((c) => c.textContent))),
  );
  assert.deepEqual([Number(facts.Events), Number(facts.Files)], [events, files]);
  // date by date, what the heat map and its table are drawn from
  const dates = datesByDuckdb(`${node.folder}/counted/durable`);
  assert.equal(dates.length, 12);
  assert.equal(
    dates.reduce((sum, [, , rows]) => sum + rows, 0),
    events,
  );
  await view(page, "partitions", "Partitions");
  const table = await page
    .getByRole("group", { name: "Dates with data files" })
    .locator("tbody tr")
    .evaluateAll((rows) => rows.map((row) => [...row.children].slice(0, 4).map((cell) => cell.textContent)));
  const sizes = await page.evaluate(
    async (all) => {
      const { bytes } = await import(new URL("format.js", document.baseURI).href);
      return all.map(bytes);
    },
    dates.map(([, , , size]) => size),
  );
  const wanted = dates.map(([date, many, rows], i) => [date, sizes[i], String(many), String(rows)]);
  assert.deepEqual(table, wanted.toReversed());
  // what waits is what the log has and the files have not
  await view(page, "compaction", "Compaction");
  const waits = await page.getByRole("group", { name: "What waits, by stream type" }).locator("tbody tr").evaluateAll(
    (rows) => rows.reduce((sum, row) => sum + Number(row.children[1].textContent.replaceAll(/\D/g, "")), 0),
  );
  assert.equal(waits, told("wal"));
  assert.equal(waits, calls(3, 9).length);
  // what a run moves leaves the log and comes to the files while somebody looks
  await view(page, "overview", "Overview");
  assert.equal(await shown(".tier.wal .events"), waits);
  await compact(node, "counted");
  await page.waitForFunction(
    (wanted) =>
      ["wal", "durable"]
        .map((tier) => document.querySelector(`.tier.${tier} .events`).textContent.replaceAll(/\D/g, ""))
        .join() === wanted,
    `0,${events + waits}`,
  );
  assert.equal(countedByDuckdb(`${node.folder}/counted/durable`).events, events + waits);
  await close();
});

test("at an address for operators only the console shows all but events", async () => {
  // as a node answers there (serve --admin): it has no routes of clients
  const operators = (page) =>
    page.route(/\/v1\/stores(?!.*compaction)/, (route) => {
      if (new URL(route.request().url()).pathname.startsWith("/admin/")) return route.continue();
      return route.fulfill({
        status: 404,
        json: { error: "there is no route GET /v1", code: "not_found", details: {} },
      });
    });
  const options = { route: operators, expected: ["404 (Not Found)"] };
  const { page, close } = await open(browser, `${node.url}/admin/#/overview?store=odd`, options);
  await settled(page);
  await page.locator(".tier.durable .events", { hasText: "event" }).waitFor();
  await view(page, "streams", "Streams");
  await page.getByLabel("Stream type").fill("Call");
  await page.getByLabel("Stream id").fill("b");
  await page.getByRole("button", { name: "Read", exact: true }).click();
  await page.locator(".notice", { hasText: "This address serves operators only" }).waitFor();
  await page.getByLabel("Stream id").fill("..");
  await page.getByRole("button", { name: "Read", exact: true }).click();
  await page.locator(".notice", { hasText: "A browser cannot ask for a name that is only dots" }).waitFor();
  await close();
});
