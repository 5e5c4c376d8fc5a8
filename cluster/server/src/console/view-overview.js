// What the three tiers hold, as they fill and empty, and what comes in: rates and latencies of the last minutes.

import { here } from "./api.js";
import { Lines } from "./chart-lines.js";
import { failing } from "./chart-bars.js";
import { facts, h, notice, s, section, setText, show } from "./dom.js";
import { ago, bytes, count, duration, rate, short, things } from "./format.js";

/** @typedef {import("./types.js").Context} Context */
/** @typedef {import("./types.js").Tier} Tier */
/** @typedef {import("./sampler.js").Sample} Sample */
/** @typedef {Record<"element" | "size" | "events" | "fill" | "trend" | "ages", HTMLElement>} Card */

const SPAN_MS = 5 * 60_000;
const MIB = 1 << 20;

/** @type {{ key: "inmemory" | "wal" | "durable", name: string, note: string }[]} */
const TIERS = [
  { key: "inmemory", name: "Memory", note: "a copy of what is new" },
  { key: "wal", name: "Log", note: "each append, on disk before its answer" },
  { key: "durable", name: "Parquet files", note: "sorted, for every engine" },
];

/**
 * A tier as a card: its size, how full it is where that means something, and its last minutes.
 *
 * @param {(typeof TIERS)[number]} tier
 * @returns {Card}
 */
function card(tier) {
  const size = h("p", { class: "size" }, "–");
  const events = h("p", { class: "events" });
  const fill = h("div", { class: "fill" });
  const trend = h("div", { class: "trend", "aria-hidden": "true" });
  const ages = h("p", { class: "ages" });
  const element = h(
    "li",
    { class: `tier ${tier.key}` },
    h("h3", {}, tier.name),
    h("p", { class: "hint" }, tier.note),
    size,
    events,
    fill,
    trend,
    ages,
  );
  return { element, size, events, fill, trend, ages };
}

/**
 * @param {string} text
 * @param {number} part
 * @param {number} whole
 */
function meter(text, part, whole) {
  const value = whole > 0 ? Math.min(1, part / whole) : 0;
  return [h("meter", { min: 0, max: 1, value: value.toFixed(4), "aria-label": text }), h("p", { class: "hint" }, text)];
}

/** @param {number[]} values */
function spark(values) {
  if (values.length < 2) return null;
  const top = Math.max(...values, 1);
  const at = (/** @type {number} */ v, /** @type {number} */ i) =>
    `${((i / (values.length - 1)) * 100).toFixed(2)} ${(29 - (v / top) * 28).toFixed(2)}`;
  const line = values.map(at).join("L");
  return s(
    "svg",
    { viewBox: "0 0 100 30", preserveAspectRatio: "none" },
    s("path", { class: "area", d: `M0 30L${line}L100 30Z` }),
    s("path", { class: "edge", d: `M${line}` }),
  );
}

/** @type {import("./types.js").ViewKind} */
export const overview = {
  name: "overview",
  title: "Overview",
  mount(host, context) {
    const cards = TIERS.map((tier) => ({ key: tier.key, card: card(tier) }));
    const numbers = h("div", { class: "numbers" });
    const events = new Lines({ title: "Events stored a second", spanMs: SPAN_MS, format: short });
    const latency = new Lines({
      title: "Append latency, at the owner of the log",
      spanMs: SPAN_MS,
      format: (ms) => duration(ms),
    });
    const [recent, failed] = [h("p", { class: "hint" }), h("div")];
    show(
      host,
      section("Tiers", h("ol", { class: "tiers" }, ...cards.map(({ card }) => card.element)), recent, failed),
      section(
        "Coming in",
        h("p", { class: "hint" }, "Rates and latencies are of this node, all its stores together."),
        numbers,
        h("div", { class: "charts" }, events.element, latency.element),
      ),
    );
    const refresh = async () => {
      const [tiers, [compaction, elsewhere]] = await Promise.all([
        /** @type {Promise<import("./types.js").Tiers>} */ (context.api.get(context.admin("tiers"))),
        here(/** @type {Promise<import("./types.js").Compaction>} */ (context.api.get(context.admin("compaction")))),
      ]);
      const waiting = (compaction?.stream_types ?? []).reduce(
        (sum, w) => ({ bytes: sum.bytes + w.bytes_waiting, events: sum.events + w.events_waiting }),
        { bytes: 0, events: 0 },
      );
      for (const { key, card } of cards) drawTier(context, key, card, tiers[key], waiting);
      setText(recent, compaction ? said(compaction, waiting, tiers.durable) : `Of compaction: ${elsewhere}.`);
      show(failed, ...failing(compaction?.jobs ?? []).map((text) => notice("bad", text)));
      const { samples, newest } = context.sampler;
      show(numbers, incoming(samples, newest));
      const now = Date.now();
      const points = (/** @type {(sample: Sample) => number | null} */ of) =>
        samples.map((sample) => ({ at: sample.at, value: of(sample) }));
      events.draw([{ name: "events/s", style: "one", points: points((x) => x.eventsPerS) }], now);
      latency.draw(
        [
          { name: "median", style: "one", points: points((x) => x.p50Ms) },
          { name: "p99", style: "two", points: points((x) => x.p99Ms) },
        ],
        now,
      );
    };
    return { refresh };
  },
};

/**
 * @param {Context} context
 * @param {"inmemory" | "wal" | "durable"} key
 * @param {Card} card
 * @param {Tier | null} tier
 * @param {{ bytes: number, events: number }} waiting
 */
function drawTier(context, key, card, tier, waiting) {
  if (!tier) {
    setText(card.size, "off");
    setText(card.events, "this store does without it");
    return;
  }
  setText(card.size, bytes(tier.bytes));
  setText(card.events, things(tier.events, "event"));
  setText(card.ages, tier.newest ? `${ago(tier.oldest)} to ${ago(tier.newest)}` : "empty");
  if (key === "inmemory") {
    const max = Number(context.config["inmemory.max_mb"]) * MIB;
    if (max > 0) show(card.fill, ...meter(`${bytes(tier.bytes)} of ${bytes(max)}`, tier.bytes, max));
  } else if (key === "wal") {
    show(
      card.fill,
      ...meter(`${bytes(waiting.bytes)} not in files yet`, waiting.bytes, Math.max(tier.bytes, waiting.bytes)),
    );
  } else {
    const per = tier.events > 0 ? `${(tier.bytes / tier.events).toFixed(1)} bytes an event` : "nothing compacted yet";
    show(card.fill, h("p", { class: "hint" }, per));
  }
  show(card.trend, spark(context.sampler.samples.map((sample) => sample.tiers[key] ?? 0)));
}

/**
 * @param {import("./types.js").Compaction} compaction
 * @param {{ events: number }} waiting
 * @param {Tier} durable
 */
function said(compaction, waiting, durable) {
  const left =
    waiting.events === 0
      ? durable.events === 0
        ? "The store is empty."
        : "Everything is in files."
      : `${things(waiting.events, "event")} ${waiting.events === 1 ? "waits" : "wait"} for compaction.`;
  if (!compaction.enabled) return `${left} This store does not compact (compaction.enabled is false).`;
  if (compaction.paused) return `${left} Compaction is paused.`;
  if (compaction.running.length > 0) return `${left} ${things(compaction.running.length, "job")} at work.`;
  return compaction.next_tick ? `${left} The next tick is ${ago(compaction.next_tick)}.` : left;
}

/**
 * @param {Sample[]} samples
 * @param {Sample | undefined} sample the newest
 */
function incoming(samples, sample) {
  if (!sample) return facts([["Rates", "measured from the second reading on"]]);
  const ms = (/** @type {number | null} */ value) => (value === null ? "–" : duration(value));
  return facts([
    ["Events/s", rate(sample.eventsPerS)],
    ["Appends/s", rate(sample.appendsPerS)],
    ["Bytes/s", bytes(sample.bytesPerS)],
    ["Append median", ms(sample.p50Ms)],
    ["Append p99", ms(sample.p99Ms)],
    ["Write and sync p99", ms(sample.syncP99Ms)],
    ["Pages read/s", rate(sample.readsPerS)],
    ["In flight", bytes(sample.inFlightBytes)],
    ["Refused, overloaded, in 5 minutes", count(samples.reduce((sum, one) => sum + one.refused, 0))],
  ]);
}
