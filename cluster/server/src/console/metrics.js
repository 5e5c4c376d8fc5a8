// The Prometheus text of /metrics, read: names with labels to numbers, and what two readings say of the time between them.

/** @typedef {Map<string, number>} Reading */

/**
 * @param {string} text
 * @returns {Reading}
 */
export function parse(text) {
  const reading = new Map();
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const space = line.lastIndexOf(" ");
    reading.set(line.slice(0, space), Number(line.slice(space + 1)));
  }
  return reading;
}

/**
 * How much a counter grew; one that fell was begun anew by a restart.
 *
 * @param {Reading} before
 * @param {Reading} now
 * @param {string} name
 */
export function growth(before, now, name) {
  const [was, is] = [before.get(name) ?? 0, now.get(name) ?? 0];
  return is >= was ? is - was : is;
}

/**
 * What a histogram took in between two readings, over all stores: bounds, rising, with how many did not exceed each.
 *
 * @param {Reading} before
 * @param {Reading} now
 * @param {string} name
 */
function buckets(before, now, name) {
  const start = `${name}_bucket{`;
  /** @type {Map<number, number>} */
  const counts = new Map();
  for (const key of now.keys()) {
    if (!key.startsWith(start)) continue;
    const le = /le="([^"]+)"/.exec(key)?.[1];
    const bound = le === "+Inf" ? Infinity : Number(le);
    counts.set(bound, (counts.get(bound) ?? 0) + growth(before, now, key));
  }
  return [...counts].sort(([a], [b]) => a - b).map(([bound, count]) => ({ bound, count }));
}

/**
 * A quantile of what a histogram took in between two readings: the bound that is not exceeded, interpolated within its bucket; above
 * the last bound, that bound. Null: nothing was taken in.
 *
 * @param {Reading} before
 * @param {Reading} now
 * @param {string} name
 * @param {number} quantile
 */
export function quantile(before, now, name, quantile) {
  const rows = buckets(before, now, name);
  const all = rows.at(-1)?.count ?? 0;
  if (all === 0) return null;
  let [low, below] = [0, 0];
  for (const { bound, count } of rows.filter((row) => Number.isFinite(row.bound))) {
    if (count >= quantile * all) {
      return count === below ? bound : low + ((bound - low) * (quantile * all - below)) / (count - below);
    }
    [low, below] = [bound, count];
  }
  return low;
}
