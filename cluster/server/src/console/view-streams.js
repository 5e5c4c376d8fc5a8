// One stream: looked up by its name, read page by page, each event with the tier that it came from, and the proof that none is missing.
// Stream ids and payloads are whatever clients wrote: they are shown as text, payloads byte for byte.

import { ApiError } from "./api.js";
import { facts, h, notice, section, show, when } from "./dom.js";
import { count, things } from "./format.js";
import { members } from "./raw-json.js";
import { Table } from "./tables.js";

/** @typedef {import("./types.js").Context} Context */
/** @typedef {import("./types.js").PageFacts} PageFacts */
/** @typedef {{ tier: string, fields: Map<string, string> }} Row */

/** @type {Record<string, string>} */
const TIER_NAMES = { inmemory: "memory", wal: "log", durable: "file" };
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/**
 * The events of a page with their tiers, and what stands beside them.
 *
 * @param {string} text the answer
 */
export function readPage(text) {
  const parts = new Map(members(text));
  const value = (/** @type {string} */ name) => JSON.parse(parts.get(name) ?? "null");
  const events = members(parts.get("events") ?? "[]").map(([, event]) => new Map(members(event)));
  const runs = /** @type {PageFacts["tiers"]} */ (value("tiers") ?? []);
  const tiers = runs.flatMap((run) => Array.from({ length: run.rows }, () => run.tier));
  const rows = events.map((fields, i) => /** @type {Row} */ ({ fields, tier: tiers[i] ?? "unknown" }));
  const facts = /** @type {PageFacts} */ ({
    last_seq: value("last_seq"),
    next_seq: value("next_seq"),
    warnings: value("warnings") ?? [],
    tiers: runs,
    verdict: value("verdict"),
  });
  return { rows, facts };
}

/** @param {string | undefined} raw a JSON value as text */
function plain(raw) {
  if (raw === undefined || raw === "null") return "";
  return raw.startsWith('"') ? String(JSON.parse(raw)) : raw;
}

/** @param {string} tier */
function tierMark(tier) {
  return h("span", { class: `mark ${tier}` }, TIER_NAMES[tier] ?? tier);
}

/** @param {Record<string, unknown>} config */
function eventTable(config) {
  const key = (/** @type {string} */ field) => String(config[`envelope.${field}_key`] ?? field);
  const get = (/** @type {Row} */ row, /** @type {string} */ field) => plain(row.fields.get(key(field)));
  return new Table(
    "Events of the stream",
    /** @type {import("./tables.js").Column<Row>[]} */ ([
      { head: "Seq", name: true, number: true, cell: (row) => get(row, "seq") },
      { head: "Tier", cell: (row) => tierMark(row.tier) },
      { head: "Event type", cell: (row) => get(row, "event_type") },
      { head: "Occurred", cell: (row) => when(get(row, "occurred_at")) },
      { head: "Ingested", cell: (row) => when(get(row, "ingested_at")) },
      { head: "Payload", cell: (row) => details(row, row.fields.get(key("payload")) ?? "") },
    ]),
    "There is no event in this range.",
  );
}

/**
 * @param {Row} row
 * @param {string} payload
 */
function details(row, payload) {
  const oneLine = payload.replaceAll(/\s+/g, " ");
  const head = oneLine.length > 80 ? `${oneLine.slice(0, 80)}…` : oneLine;
  const given = [...row.fields].filter(([, raw]) => raw !== "null");
  const all = given.map(
    ([name, raw]) =>
      /** @type {[string, HTMLElement]} */ ([name, h("pre", {}, raw.startsWith('"') ? plain(raw) : raw)]),
  );
  return h("details", {}, h("summary", {}, h("code", {}, head)), facts(all));
}

/** @param {PageFacts} page */
function verdict(page) {
  const ranges = (/** @type {import("./types.js").SeqRange[]} */ list) =>
    list.map((r) => (r.from_seq === r.to_seq ? `${r.from_seq}` : `${r.from_seq} to ${r.to_seq}`)).join(", ");
  const { verdict } = page;
  const from = page.tiers
    .map((run) => `${count(run.rows)} from ${run.tier === "durable" ? "files" : (TIER_NAMES[run.tier] ?? run.tier)}`)
    .join(", ");
  const proof = verdict.contiguous
    ? notice("good", `Proven: nothing is missing from seq ${verdict.from_seq} to ${verdict.to_seq}.`)
    : notice("bad", `Not whole: seq ${ranges(verdict.missing)} is missing.`);
  const retired = verdict.retired.length > 0 && notice("warn", `Retention took seq ${ranges(verdict.retired)}.`);
  const numbers = facts([
    ["Last seq", count(page.last_seq)],
    ["This page", from || "no events"],
  ]);
  return [proof, retired, ...page.warnings.map((text) => notice("warn", text)), numbers];
}

/**
 * @param {string} id
 * @param {string} label
 * @param {HTMLElement} input
 */
function field(id, label, input) {
  return h("div", { class: "field" }, h("label", { for: id }, label), input);
}

/** @type {import("./types.js").ViewKind} */
export const streams = {
  name: "streams",
  title: "Streams",
  mount(host, context) {
    const { parameters } = context;
    const given = (/** @type {string} */ name, otherwise = "") => parameters.get(name) ?? otherwise;
    const known = h("datalist", { id: "known-types" });
    const type = h("input", {
      id: "stream-type",
      list: "known-types",
      required: true,
      value: given("type"),
      autocomplete: "off",
      spellcheck: "false",
    });
    const id = h("input", {
      id: "stream-id",
      required: true,
      value: given("id"),
      autocomplete: "off",
      spellcheck: "false",
    });
    const from = h("input", { id: "from-seq", type: "number", min: 1, value: given("from") });
    // where a page begins says nothing of another stream
    for (const input of [type, id]) input.addEventListener("input", () => (from.value = ""));
    const order = h(
      "select",
      { id: "order" },
      h("option", { value: "asc" }, "oldest first"),
      h("option", { value: "desc" }, "newest first"),
    );
    order.value = given("order", "asc") === "desc" ? "desc" : "asc";
    const limit = h("select", { id: "limit" }, ...["25", "100", "1000"].map((n) => h("option", { value: n }, n)));
    limit.value = ["25", "100", "1000"].includes(given("limit")) ? given("limit") : "25";
    const submit = (/** @type {Event} */ event) => {
      event.preventDefault();
      context.go("streams", {
        type: type.value,
        id: id.value,
        from: from.value,
        order: order.value,
        limit: limit.value,
      });
    };
    const form = h(
      "form",
      { submit, class: "fields", "aria-label": "Look up a stream" },
      field("stream-type", "Stream type", type),
      field("stream-id", "Stream id", id),
      field("from-seq", "From seq", from),
      field("order", "Order", order),
      field("limit", "Events a page", limit),
      h("button", { type: "submit", class: "primary" }, "Read"),
    );
    const found = h("div");
    show(host, section("Look one up", form, known, eventForm(context)), found);
    const wanted = { type: given("type"), id: given("id"), event: given("event") };
    let done = false;
    const refresh = async () => {
      if (done) return;
      done = true;
      await offerTypes(context, known);
      if (wanted.event !== "") await showEvent(context, found, wanted.event);
      else if (wanted.type !== "" && wanted.id !== "") await showStream(context, found, wanted.type, wanted.id);
    };
    return { refresh };
  },
};

/** @param {Context} context */
function eventForm(context) {
  const input = h("input", {
    id: "event-id",
    required: true,
    value: context.parameters.get("event"),
    placeholder: "UUID",
    autocomplete: "off",
    spellcheck: "false",
  });
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    context.go("streams", { event: input.value.trim() });
  };
  return h(
    "form",
    { submit, class: "fields", "aria-label": "Find an event by its id" },
    field("event-id", "Or an event by its id", input),
    h("button", { type: "submit" }, "Find"),
  );
}

/**
 * What could be offered is a help, no condition: the form works without it.
 *
 * @param {Context} context
 * @param {HTMLElement} list
 */
async function offerTypes(context, list) {
  try {
    const answer = await context.api.get(context.data("stream-types"));
    show(
      list,
      ...answer.stream_types.map((/** @type {{ name: string }} */ entry) => h("option", { value: entry.name })),
    );
  } catch {
    show(list);
  }
}

/**
 * Shows why there is nothing to see, and says it.
 *
 * @param {Context} context
 * @param {HTMLElement} place
 * @param {HTMLElement} why
 */
function refuse(context, place, why) {
  show(place, why);
  context.say(why.textContent ?? "");
}

/**
 * @param {unknown} error
 * @param {string} what
 */
function refusal(error, what) {
  if (!(error instanceof ApiError)) return notice("bad", String(error));
  const operatorsOnly = error.code === "not_found" && error.message.startsWith("there is no route");
  if (operatorsOnly)
    return notice(
      "warn",
      "This address serves operators only (serve --admin). Events are read at the address for clients: strandline read.",
    );
  return notice(
    error.status === 404 ? "warn" : "bad",
    error.status === 404 ? error.message : `${what}: ${error.message}`,
  );
}

/**
 * @param {Context} context
 * @param {HTMLElement} place
 * @param {string} type
 * @param {string} id
 */
async function showStream(context, place, type, id) {
  if ([type, id].some((name) => name === "." || name === ".."))
    return refuse(
      context,
      place,
      notice(
        "warn",
        "A browser cannot ask for a name that is only dots, it takes them for folders: use strandline read.",
      ),
    );
  const { parameters } = context;
  const order = parameters.get("order") === "desc" ? "desc" : "asc";
  const query = new URLSearchParams({ order, limit: parameters.get("limit") || "25" });
  const from = parameters.get("from");
  if (from) query.set(order === "asc" ? "from_seq" : "to_seq", from);
  try {
    const text = await context.api.text(
      context.data(`streams/${encodeURIComponent(type)}/${encodeURIComponent(id)}?${query}`),
    );
    const page = readPage(text);
    const table = eventTable(context.config);
    table.set(page.rows);
    const { next_seq: next } = page.facts;
    const onward =
      next !== null &&
      h(
        "button",
        {
          type: "button",
          click: () => context.go("streams", { ...Object.fromEntries(parameters), from: String(next) }),
        },
        `Next page, from seq ${next}`,
      );
    show(
      place,
      section(
        "Stream",
        h("p", { class: "stream-name" }, h("b", {}, id), ` of ${type}`),
        ...verdict(page.facts),
        table.element,
        onward,
      ),
    );
    return context.say(`${things(page.rows.length, "event")} read.`);
  } catch (error) {
    return refuse(context, place, refusal(error, "The stream cannot be read"));
  }
}

/**
 * @param {Context} context
 * @param {HTMLElement} place
 * @param {string} id
 */
async function showEvent(context, place, id) {
  if (!UUID.test(id))
    return refuse(
      context,
      place,
      notice("warn", "An event id is a UUID, such as 01a215c6-6ba9-79a7-8819-618c000004b9."),
    );
  try {
    const parts = new Map(members(await context.api.text(context.data(`events/${encodeURIComponent(id)}`))));
    const fields = members(parts.get("event") ?? "{}");
    const get = (/** @type {string} */ field) =>
      plain(new Map(fields).get(String(context.config[`envelope.${field}_key`] ?? field)));
    const open = h(
      "button",
      {
        type: "button",
        click: () => context.go("streams", { type: get("stream_type"), id: get("stream_id"), from: get("seq") }),
      },
      "Read its stream from here",
    );
    const shown = fields.map(
      ([name, raw]) =>
        /** @type {[string, HTMLElement]} */ ([name, h("pre", {}, raw.startsWith('"') ? plain(raw) : raw)]),
    );
    return show(place, section("Event", facts(shown), open));
  } catch (error) {
    return refuse(context, place, refusal(error, "The event cannot be read"));
  }
}
