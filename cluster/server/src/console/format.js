// Numbers and moments as people read them. Moments are UTC everywhere: they are compared with files and logs.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const WHOLE = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });

/** @param {number} value */
export function bytes(value) {
  let unit = 0;
  let rest = value;
  while (rest >= 1024 && unit < UNITS.length - 1) {
    rest /= 1024;
    unit += 1;
  }
  return `${unit === 0 || rest >= 100 ? Math.round(rest) : rest.toFixed(1)} ${UNITS[unit]}`;
}

/** @param {number} value */
export function count(value) {
  return WHOLE.format(value);
}

/**
 * Short, for axes: 1.2k, 35M.
 *
 * @param {number} value
 */
export function short(value) {
  const steps = /** @type {[number, string][]} */ ([
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ]);
  for (const [size, name] of steps) {
    if (value >= size) return `${Number((value / size).toPrecision(3))}${name}`;
  }
  return value >= 10 || Number.isInteger(value) ? String(Math.round(value)) : value.toPrecision(2);
}

/** @param {number} value a number of things a second */
export function rate(value) {
  return value >= 10 || value === 0 ? count(value) : value.toFixed(1);
}

/** @param {number} ms */
export function duration(ms) {
  if (ms === 0) return "0";
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 60) return `${s < 10 ? s.toFixed(1) : Math.round(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/** @param {string | null | undefined} moment */
export function time(moment) {
  return moment ? `${moment.slice(0, 10)} ${moment.slice(11, 19)}` : "–";
}

/** @param {string | null | undefined} moment */
export function clock(moment) {
  return moment ? moment.slice(11, 19) : "–";
}

/**
 * @param {string | null | undefined} moment
 * @param {number} [now]
 */
export function ago(moment, now = Date.now()) {
  if (!moment) return "–";
  const ms = now - Date.parse(moment);
  if (Math.abs(ms) < 1000) return "just now";
  return ms < 0 ? `in ${duration(-ms)}` : `${duration(ms)} ago`;
}

/**
 * @param {number} part
 * @param {number} whole
 */
export function percent(part, whole) {
  return whole > 0 ? Math.min(100, Math.floor((part / whole) * 100)) : 0;
}

/** @param {Record<string, string | null> | null | undefined} partition */
export function partition(partition) {
  const parts = Object.entries(partition ?? {}).map(([column, value]) => `${column}=${value ?? "null"}`);
  return parts.length > 0 ? parts.join(" / ") : "–";
}

/**
 * One thing or many.
 *
 * @param {number} number
 * @param {string} one
 * @param {string} [many]
 */
export function things(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}
