// The console of a real cluster: nodes that ingest, compact and read; who is away; a node whose operators have an address of their own.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { accessible, fits, launch, open, picture, settled } from "./browser.mjs";
import { append, calls, compact, startCluster, statement, until } from "./node.mjs";

let browser;
let cluster;

before(async () => {
  cluster = await startCluster((folder) => statement(folder, "calls"), ["ingest", "ingest", "ingest", "compact", "read"]);
  const [first] = cluster.nodes;
  await append(first, "calls", calls(30, 9));
  await append(first, "calls", calls(10, 5, "Account"));
  const told = () => first.ask("/admin/v1/cluster");
  const isWhole = ({ shards, stores }) =>
    shards.length === 3 &&
    shards.every((shard) => shard.settled && shard.leader !== null && shard.voters.length === 3) &&
    stores[0].compactor === 4;
  await until(told, isWhole);
  await until(
    () => compact(first, "calls").catch(() => []),
    (jobs) => jobs.length > 0 && jobs.every((job) => job.error === null),
  );
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await cluster?.stop();
});

const cards = (page) => page.getByRole("region", { name: "Nodes", exact: true }).locator(".member");
const rows = (page, name) => page.getByRole("group", { name }).locator("tbody tr");

/** Names and values of a list of facts. */
const facts = (place) =>
  place
    .locator("dl")
    .first()
    .locator("div")
    .evaluateAll((found) => Object.fromEntries(found.map((row) => [...row.children].map((c) => c.textContent))));

test("each node shows its part, each log its leader and lag, each store who compacts it", async () => {
  const [first] = cluster.nodes;
  for (const [size, dark] of [
    ["desktop", false],
    ["desktop", true],
    ["phone", false],
    ["phone", true],
  ]) {
    const { page, close } = await open(browser, `${first.page}/admin/#/cluster`, { size, dark });
    await settled(page);
    const what = `cluster-${size}-${dark ? "dark" : "light"}`;
    await picture(page, what);
    await fits(page, what);
    await accessible(page, what);
    await close();
  }
  const { page, close } = await open(browser, `${first.page}/admin/#/cluster`);
  await settled(page);
  const told = await first.ask("/admin/v1/cluster");
  assert.equal(await cards(page).count(), 5);
  for (const member of told.members) {
    const card = cards(page).nth(member.id - 1);
    assert.match(await card.locator("h3").textContent(), new RegExp(`^Node ${member.id}( |$)`));
    assert.ok((await card.locator("p").first().textContent()).endsWith(member.roles.split(",").join(", ")));
    const shown = await facts(card);
    assert.equal(shown.Leads, `${member.leads} ${member.leads === 1 ? "log" : "logs"}`);
    assert.equal(shown.Compacts, member.id === 4 ? "calls" : "nothing");
  }
  const meta = told.shards.find((shard) => shard.store === null);
  await cards(page).nth(meta.leader - 1).getByText("leads the cluster").waitFor();
  await cards(page).nth(0).getByText("this node").waitFor();
  const summary = await facts(page.getByRole("region", { name: "Now", exact: true }));
  assert.equal(summary["Nodes that answer"], "5 of 5");
  assert.equal(summary["Leader of the cluster"], `node ${meta.leader}`);
  const logs = await rows(page, "Logs and their leaders").evaluateAll((found) =>
    found.map((row) => [...row.children].slice(0, 4).map((cell) => cell.textContent)),
  );
  const wanted = told.shards.map((shard) => [
    shard.store === null ? "members and placement" : shard.name,
    `node ${shard.leader}`,
    shard.voters.join(", "),
    shard.learners.join(", ") || "none",
  ]);
  assert.deepEqual(logs, wanted);
  assert.deepEqual(await rows(page, "Who compacts").getByRole("cell").allTextContents(), [
    "node 4",
    "it has this role alone",
    "version 1",
  ]);
  await close();
});

test("what a person has opened stays open, and keeps the focus", async () => {
  const [first] = cluster.nodes;
  const { page, close } = await open(browser, `${first.page}/admin/#/cluster`);
  await settled(page);
  const summary = cards(page).nth(1).locator("summary");
  await summary.focus();
  await page.keyboard.press("Enter");
  await settled(page);
  assert.equal(await cards(page).nth(1).locator("details").evaluate((details) => details.open), true);
  const focused = await page.evaluate(() => document.activeElement.closest(".member")?.querySelector("h3").textContent);
  assert.match(focused, /^Node 2/);
  await close();
});

test("a node that is lost stands above everything, and another one compacts", async () => {
  const [first] = cluster.nodes;
  await cluster.nodes[3].end("SIGKILL");
  await until(
    () => first.ask("/admin/v1/cluster"),
    ({ members, stores }) => members[3].away_since !== null && ![null, 4].includes(stores[0].compactor),
  );
  for (const size of ["desktop", "phone"]) {
    const { page, close } = await open(browser, `${first.page}/admin/#/cluster`, { size });
    await settled(page);
    await page.locator(".notice.bad", { hasText: "Node 4 has not answered since" }).waitFor();
    const card = cards(page).nth(3);
    assert.match(await card.locator("p").first().textContent(), /^away for .+ · compact$/);
    const cells = await rows(page, "Who compacts").getByRole("cell").allTextContents();
    assert.equal(cells[1], "it stands in: no node with the role compact answers");
    const summary = await facts(page.getByRole("region", { name: "Now", exact: true }));
    assert.equal(summary["Nodes that answer"], "4 of 5");
    await picture(page, `cluster-away-${size}`);
    await fits(page, size);
    await accessible(page, "a node is away");
    await close();
  }
});

test("what is wrong with logs, and what moves, is said in words", async () => {
  const [first] = cluster.nodes;
  const told = await first.ask("/admin/v1/cluster");
  const [, log] = told.shards;
  const troubled = {
    ...told,
    shards: [
      { ...told.shards[0] },
      { ...log, leader: null, lag: null, term: null, applied: null },
      {
        ...log,
        name: "calls/Moved",
        leader: 1,
        shall_lead: 3,
        settled: false,
        leaving: [2],
        waits_for: { node: 3, why: "it has not caught up" },
      },
      { ...log, name: "calls/Behind", lag: { 1: 0, 2: 12_345, 3: 4 } },
    ],
    members: [...told.members.slice(0, 2), { ...told.members[2], state: "draining" }, { ...told.members[4], state: "removed" }],
    stores: [{ name: "calls", version: 2, compactor: null, compacts_as: null }],
  };
  const route = (page) => page.route("**/admin/v1/cluster", (answer) => answer.fulfill({ json: troubled }));
  for (const [size, dark] of [
    ["desktop", false],
    ["phone", true],
  ]) {
    const { page, close } = await open(browser, `${first.page}/admin/#/cluster`, { size, dark, route });
    await settled(page);
    const notices = page.getByRole("region", { name: "Now", exact: true }).locator(".notice");
    const texts = await notices.allTextContents();
    assert.ok(texts[0].includes("this node sees no leader"), texts[0]);
    assert.ok(texts[1].startsWith("Nobody compacts calls"), texts[1]);
    assert.equal(texts[2], "calls/Moved moves, and waits for node 3: it has not caught up");
    await page.getByText("Removed for ever: 5").waitFor();
    await cards(page).nth(2).getByText("draining").waitFor();
    const moved = await rows(page, "Logs and their leaders").nth(2).textContent();
    assert.ok(moved.includes("moves, 2 leaves, node 3 shall lead"), moved);
    const most = await rows(page, "Logs and their leaders").locator("td.number").allTextContents();
    assert.ok(most.includes("12,345, node 2"), String(most));
    assert.equal((await facts(cards(page).nth(1))).Behind, "12,345 entries");
    await picture(page, `cluster-troubled-${size}`);
    await fits(page, size);
    await accessible(page, "a cluster with troubles");
    await close();
  }
});

test("where operators have addresses of their own, a node shows all but what another one tells", async () => {
  const apart = await startCluster((folder) => statement(folder, "calls"), ["ingest", "compact"], ["--admin", "127.0.0.1:0"]);
  try {
    const [first, second] = apart.nodes;
    await append(first, "calls", calls(5, 5));
    await until(
      () => second.ask("/admin/v1/cluster"),
      ({ stores }) => stores[0]?.compactor === 2,
    );
    const expected = ["503 (Service Unavailable)", "404 (Not Found)"];
    const { page, close } = await open(browser, `${first.page}/admin/#/overview`, { expected });
    await settled(page);
    await page.locator(".tier.wal .events", { hasText: "events" }).waitFor();
    await page.getByText("Of compaction: node 2 compacts this store").waitFor();
    await page.goto(`${first.page}/admin/#/compaction`);
    await settled(page);
    await page.locator(".notice", { hasText: "node 2 compacts this store" }).waitFor();
    assert.equal(await page.getByRole("button", { name: "Run now" }).isVisible(), false);
    await picture(page, "compaction-elsewhere");
    await page.goto(`${first.page}/admin/#/files`);
    await settled(page);
    await page.getByRole("region", { name: "Manifest" }).getByText("node 2 compacts this store").waitFor();
    assert.equal(await page.locator("#state.live").count(), 1, "the page is not stale for that");
    await close();
    const other = await open(browser, `${second.page}/admin/#/compaction`, { expected });
    await settled(other.page);
    assert.equal(await other.page.getByRole("button", { name: "Run now" }).isVisible(), true);
    const keeps = "node 1 leads the cluster, keeps its named subscriptions";
    await other.page.goto(`${second.page}/admin/#/subscriptions`);
    await other.page.locator(".notice", { hasText: keeps }).waitFor();
    await settled(other.page);
    assert.equal(await other.page.locator("#state.live").count(), 1, "the page is not stale for that");
    await picture(other.page, "subscriptions-elsewhere");
    await other.close();
  } finally {
    await apart.stop();
  }
});
