// The node's counters over the last five minutes: what every chart of rates is drawn from. Readings come at their own times; a rate is
// over the time that really passed.

import { growth, parse, quantile } from "./metrics.js";

const KEPT_MS = 5 * 60_000;
/** A rate over less time says more of the clock than of the node. */
const BETWEEN_MIN_MS = 500;

/**
 * @typedef {{ at: number, eventsPerS: number, appendsPerS: number, bytesPerS: number, readsPerS: number, refused: number,
 *   p50Ms: number | null, p99Ms: number | null, syncP99Ms: number | null, inFlightBytes: number,
 *   tiers: Record<string, number> }} Sample
 */

export class Sampler {
  /** @type {Sample[]} */
  samples = [];
  /** @type {{ at: number, reading: import("./metrics.js").Reading } | null} */
  #last = null;

  /**
   * @param {string} text of /metrics
   * @param {string} store whose tiers are meant
   * @param {number} at
   */
  take(text, store, at) {
    const reading = parse(text);
    const before = this.#last;
    if (before && at - before.at < BETWEEN_MIN_MS) return;
    this.#last = { at, reading };
    if (!before) return;
    const perS = (/** @type {string} */ name) => (growth(before.reading, reading, name) * 1000) / (at - before.at);
    const ms = (/** @type {string} */ name, /** @type {number} */ q) => {
      const s = quantile(before.reading, reading, name, q);
      return s === null ? null : s * 1000;
    };
    const tier = (/** @type {string} */ name) =>
      reading.get(`strandline_tier_bytes{store="${store}",tier="${name}"}`) ?? 0;
    this.samples.push({
      at,
      eventsPerS: perS("strandline_events_total"),
      appendsPerS: perS("strandline_appends_total"),
      bytesPerS: perS("strandline_event_bytes_total"),
      readsPerS: perS("strandline_reads_total"),
      refused: growth(before.reading, reading, "strandline_overloaded_total"),
      p50Ms: ms("strandline_append_seconds", 0.5),
      p99Ms: ms("strandline_append_seconds", 0.99),
      syncP99Ms: ms("strandline_group_seconds", 0.99),
      inFlightBytes: reading.get("strandline_in_flight_bytes") ?? 0,
      tiers: { inmemory: tier("inmemory"), wal: tier("wal"), durable: tier("durable") },
    });
    while (this.samples.length > 0 && at - this.samples[0].at > KEPT_MS) this.samples.shift();
  }

  /** The tiers are another store's from now on; the node's rates go on. */
  forgetTiers() {
    for (const sample of this.samples) sample.tiers = {};
  }

  /** @returns {Sample | undefined} */
  get newest() {
    return this.samples.at(-1);
  }
}
