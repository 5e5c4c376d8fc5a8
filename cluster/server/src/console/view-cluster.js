// The cluster as the node that is asked knows it: what is wrong first, then each node with its part, who compacts each store, and each log
// with its leader, voters and lag. A node that runs alone says so, and what that means.

import { facts, h, notice, section, show, when } from "./dom.js";
import { ago, count, things } from "./format.js";
import { Table } from "./tables.js";

/** @typedef {import("./types.js").Cluster} Cluster */
/** @typedef {import("./types.js").Member} Member */
/** @typedef {import("./types.js").Shard} Shard */
/** @typedef {import("./types.js").ClusterStore} ClusterStore */

/** What makes a node compact a store. */
const COMPACTS_AS = {
  compactor: "it has this role alone",
  member: "a node with several roles",
  "stand-in": "it stands in: no node with the role compact answers",
};

/** @param {number | null | undefined} node */
function nodeName(node) {
  return node === null || node === undefined || node === 0 ? "nobody" : `node ${node}`;
}

/** @param {string} name */
function logName(name) {
  return name === "meta" ? "members and placement" : name;
}

/**
 * What an operator must see before anything else.
 *
 * @param {Cluster} cluster
 */
function troubles(cluster) {
  const away = cluster.members.filter((member) => member.away_since);
  const leaderless = cluster.shards.filter((shard) => shard.here && shard.leader === null);
  const idle = cluster.stores.filter((store) => store.compactor === null);
  const waiting = cluster.shards.filter((shard) => shard.waits_for);
  return [
    ...away.map((member) =>
      notice("bad", `Node ${member.id} has not answered since `, when(member.away_since), `, ${ago(member.away_since)}.`),
    ),
    ...leaderless.map((shard) =>
      notice("warn", `${logName(shard.name)}: this node sees no leader, so it takes no appends by it. More than half of its voters must run and see each other.`),
    ),
    ...idle.map((store) =>
      notice("warn", `Nobody compacts ${store.name}: its log grows. Start a node with the role compact, or one that ingests.`),
    ),
    ...waiting.map((shard) =>
      notice("plain", `${logName(shard.name)} moves, and waits for node ${shard.waits_for?.node}: ${shard.waits_for?.why}`),
    ),
  ];
}

/** @param {Cluster} cluster */
function summary(cluster) {
  const members = cluster.members.filter((member) => member.state !== "removed");
  const answer = members.filter((member) => !member.away_since).length;
  const meta = cluster.shards.find((shard) => shard.store === null);
  const settled = cluster.shards.filter((shard) => shard.settled).length;
  return facts([
    ["Nodes that answer", h("span", { class: answer < members.length ? "warned" : "" }, `${answer} of ${members.length}`)],
    ["Leader of the cluster", nodeName(meta?.leader)],
    ["Replicas that vote", cluster.replication === null ? "–" : count(cluster.replication)],
    ["Logs", settled === cluster.shards.length ? count(settled) : `${settled} of ${cluster.shards.length} settled`],
    ["Asked", nodeName(cluster.node)],
    ["Cluster", h("code", { title: cluster.cluster }, cluster.cluster.slice(0, 8))],
  ]);
}

/**
 * How many entries a node lacks at most, of the logs whose leader tells it here; null: nobody here knows.
 *
 * @param {Cluster} cluster
 * @param {number} node
 */
function behind(cluster, node) {
  const known = cluster.shards.map((shard) => shard.lag?.[String(node)]).filter((lag) => lag !== undefined);
  return known.length === 0 ? null : Math.max(...known);
}

/**
 * A node as a card: what it is, whether it answers, what it does.
 *
 * @param {Cluster} cluster
 * @param {Member} member
 */
function card(cluster, member) {
  const leads = cluster.shards.some((shard) => shard.store === null && shard.leader === member.id);
  const compacts = cluster.stores.filter((store) => store.compactor === member.id).map((store) => store.name);
  const lag = behind(cluster, member.id);
  const state = member.away_since
    ? h("span", { class: "ending failed" }, `away for ${ago(member.away_since).replace(/ ago$/, "")}`)
    : member.state === "member"
      ? h("span", { class: "answers" }, "answers")
      : h("span", { class: "warned" }, member.state);
  const marks = [
    member.id === cluster.node && h("span", { class: "mark" }, "this node"),
    leads && h("span", { class: "mark leads" }, "leads the cluster"),
  ];
  return h(
    "li",
    { class: member.away_since ? "member away" : "member" },
    h("h3", {}, `Node ${member.id}`, " ", ...marks.flatMap((mark) => [mark, " "])),
    h("p", {}, state, " · ", member.roles.split(",").join(", ")),
    facts([
      ["Leads", things(member.leads, "log")],
      ["Votes in", things(member.votes_in, "log")],
      ["Follows", things(member.follows, "log")],
      ["Behind", lag === null ? "–" : lag === 0 ? "nothing" : things(lag, "entry", "entries")],
      ["Compacts", compacts.join(", ") || "nothing"],
    ]),
    h(
      "details",
      {},
      h("summary", {}, "Addresses"),
      facts([
        ["Cluster", h("code", {}, member.address)],
        ["HTTP", h("code", {}, member.http)],
        ["Native protocol", member.native ? h("code", {}, member.native) : "not served"],
      ]),
    ),
  );
}

function storeTable() {
  return new Table(
    "Who compacts",
    /** @type {import("./tables.js").Column<ClusterStore>[]} */ ([
      { head: "Store", name: true, cell: (store) => store.name },
      {
        head: "Compacted by",
        cell: (store) => (store.compactor === null ? h("span", { class: "warned" }, "nobody") : nodeName(store.compactor)),
      },
      {
        head: "As",
        cell: (store) => (store.compacts_as ? h("span", { class: "words" }, COMPACTS_AS[store.compacts_as]) : "–"),
      },
      { head: "Statement", number: true, cell: (store) => `version ${store.version}` },
    ]),
    "The cluster has no store.",
  );
}

/** @param {Shard} shard */
function place(shard) {
  const led = shard.shall_lead === null || shard.shall_lead === shard.leader;
  const lead = led ? "" : `, node ${shard.shall_lead} shall lead`;
  if (shard.settled) return `settled${lead}`;
  const leaving = shard.leaving.length > 0 ? `, ${shard.leaving.join(", ")} leaves` : "";
  return h("span", {}, h("span", { class: "warned range" }, `moves${leaving}`), lead);
}

/** @param {Shard} shard */
function lagOf(shard) {
  const lags = Object.entries(shard.lag ?? {});
  if (lags.length === 0) return "–";
  const [node, most] = lags.reduce((a, b) => (b[1] > a[1] ? b : a));
  return most === 0 ? "0" : `${count(most)}, node ${node}`;
}

function shardTable() {
  return new Table(
    "Logs and their leaders",
    /** @type {import("./tables.js").Column<Shard>[]} */ ([
      { head: "Log", name: true, cell: (shard) => logName(shard.name) },
      {
        head: "Leader",
        cell: (shard) =>
          h("span", { class: shard.leader === null ? "warned range" : "range" }, nodeName(shard.leader)),
      },
      { head: "Voters", cell: (shard) => h("span", { class: "range" }, shard.voters.join(", ")) },
      { head: "Followers", cell: (shard) => shard.learners.join(", ") || "none" },
      { head: "State", cell: place },
      { head: "Most behind", number: true, cell: lagOf },
      { head: "Applied", number: true, cell: (shard) => (shard.applied === null ? "–" : count(shard.applied)) },
      { head: "Term", number: true, cell: (shard) => (shard.term === null ? "–" : count(shard.term)) },
    ]),
    "There is no log yet: the first append makes one.",
  );
}

/** @typedef {{ version: string, started_at: string, stores: string[], native: string | null, recovery: string[] | null, in_cluster: boolean }} Info */

/** @param {Info} info */
function own(info) {
  const ran = info.recovery ?? [];
  return [
    facts([
      ["Version", info.version],
      ["Started", h("span", {}, when(info.started_at), `, ${ago(info.started_at)}`)],
      ["Stores", info.stores.join(", ")],
      ["Native protocol", info.native ?? "not served"],
    ]),
    ran.length > 0 && h("h3", {}, "At its start"),
    ran.length > 0 && h("ul", {}, ...ran.map((line) => h("li", {}, line))),
  ];
}

/** @type {import("./types.js").ViewKind} */
export const cluster = {
  name: "cluster",
  title: "Cluster",
  mount(host, context) {
    const wrong = h("div", { class: "notices" });
    const [alone, state, node] = [h("div"), h("div"), h("div", { class: "node" })];
    const cards = h("ol", { class: "members" });
    const removed = h("p", { class: "hint" });
    const [stores, shards] = [storeTable(), shardTable()];
    const hint = h(
      "p",
      { class: "hint" },
      "How far its followers are behind, only a log's leader knows: of logs that another node leads it stands in that node's console.",
    );
    const sections = [
      section("Now", wrong, state),
      section("Nodes", cards, removed),
      section("Who compacts", stores.element),
      section("Logs", hint, shards.element),
    ];
    // stands there once the node has said that it is a member
    const shown = h("div");
    show(host, alone, shown, section("This node", node));
    const draw = (/** @type {Cluster} */ told) => {
      show(alone);
      if (shown.childElementCount === 0) show(shown, ...sections);
      show(wrong, ...troubles(told));
      show(state, summary(told));
      const gone = told.members.filter((member) => member.state === "removed").map((member) => member.id);
      removed.hidden = gone.length === 0;
      removed.textContent = `Removed for ever: ${gone.join(", ")}`;
      const members = told.members.filter((member) => member.state !== "removed");
      keepOpen(cards, () => show(cards, ...members.map((member) => card(told, member))));
      stores.set(told.stores);
      shards.set(told.shards);
    };
    const refresh = async () => {
      const info = /** @type {Info} */ (await context.api.get("info"));
      show(node, ...own(info));
      if (info.in_cluster) {
        draw(/** @type {Cluster} */ (await context.api.get("admin/v1/cluster")));
      } else {
        show(shown);
        const text =
          "This node runs alone. It owns every log and every job; there are no other members, no leaders to follow, and no lag.";
        show(alone, notice("plain", text));
      }
    };
    return { refresh };
  },
};

/**
 * Draws anew, and leaves open what a person has opened, with the focus where it was.
 *
 * @param {HTMLElement} list
 * @param {() => void} draw
 */
function keepOpen(list, draw) {
  const open = [...list.children].map((item) => item.querySelector("details")?.open ?? false);
  const focused = [...list.children].findIndex((item) => item.contains(document.activeElement));
  draw();
  open.forEach((was, i) => {
    const details = list.children[i]?.querySelector("details");
    if (details) details.open = was;
  });
  if (focused >= 0) list.children[focused]?.querySelector("summary")?.focus();
}
