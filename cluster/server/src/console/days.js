// Data files by the day of what they hold: by the date column of the partition where there is one, else by the day of the file's
// oldest event. Pure: from the list of files to sums.

/** @typedef {import("./types.js").DataFile} DataFile */
/** @typedef {{ day: string, bytes: number, files: number, rows: number, types: Map<string, number> }} Day */

const DATE = /^\d{4}(-\d{2}(-\d{2})?)?/;

/**
 * The date that a file stands under, as far as it is known: a day, a month or a year. An hour counts for its day.
 *
 * @param {DataFile} file
 * @param {string} occurredAt the name of that field
 * @returns {{ date: string, byPartition: boolean } | null}
 */
export function dateOf(file, occurredAt) {
  const entries = Object.entries(file.partition);
  const column =
    entries.find(([name]) => name === "dt") ?? entries.find(([, value]) => /^\d{4}-\d{2}-\d{2}/.test(value ?? ""));
  const date = DATE.exec(column?.[1] ?? "")?.[0];
  if (date) return { date, byPartition: true };
  const oldest = DATE.exec(String(file.min[occurredAt] ?? ""))?.[0];
  return oldest ? { date: oldest, byPartition: false } : null;
}

/**
 * The year that holds most events, the newer one of two that hold as many; "" where there is none.
 *
 * @param {Day[]} days rising
 */
export function fullestYear(days) {
  /** @type {Map<string, number>} */
  const rows = new Map();
  for (const day of days) {
    const year = day.day.slice(0, 4);
    rows.set(year, (rows.get(year) ?? 0) + day.rows);
  }
  let fullest = "";
  for (const [year, sum] of rows) {
    if (sum >= (rows.get(fullest) ?? 0)) fullest = year;
  }
  return fullest;
}

/**
 * Sums a day, or what the partitions are cut to; rising.
 *
 * @param {DataFile[]} files
 * @param {string} occurredAt
 */
export function byDate(files, occurredAt) {
  /** @type {Map<string, Day>} */
  const days = new Map();
  let byPartition = 0;
  for (const file of files) {
    const found = dateOf(file, occurredAt);
    if (!found) continue;
    byPartition += Number(found.byPartition);
    const day = days.get(found.date) ?? { day: found.date, bytes: 0, files: 0, rows: 0, types: new Map() };
    days.set(found.date, day);
    day.bytes += file.bytes;
    day.files += 1;
    day.rows += file.rows;
    day.types.set(file.stream_type, (day.types.get(file.stream_type) ?? 0) + 1);
  }
  const sorted = [...days.values()].sort((a, b) => (a.day < b.day ? -1 : 1));
  return { days: sorted, byPartition: byPartition > 0 };
}
