// A year as a heat map: a column a week, a row a weekday (Monday first); where partitions are months, a cell a month. Five steps of one
// colour by the rank among the cells, so that one huge day does not make all others pale. The table beside it holds the numbers.

import { drawing, h, s, show } from "./dom.js";

const CELL_MIN = 13;
const CELL_MAX = 19;
const GAP = 3;
const LEFT = 34;
const TOP = 18;
const STEPS = 5;
const DAY_MS = 86_400_000;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** @typedef {import("./days.js").Day} Day */
/** @typedef {{ name: string, of: (day: Day) => number, format: (value: number) => string }} Measure */

/**
 * The step of each value: 0 for the smallest fifth.
 *
 * @param {number[]} values
 * @returns {(value: number) => number}
 */
export function steps(values) {
  const sorted = [...new Set(values)].sort((a, b) => a - b);
  return (value) =>
    sorted.length < 2 ? STEPS - 1 : Math.round((sorted.indexOf(value) / (sorted.length - 1)) * (STEPS - 1));
}

/** @param {Date} date */
function weekday(date) {
  return (date.getUTCDay() + 6) % 7;
}

/**
 * Places of days in the year.
 *
 * @param {string} year
 */
function calendar(year) {
  const first = Date.UTC(Number(year), 0, 1);
  const shift = weekday(new Date(first));
  const place = (/** @type {string} */ day) => {
    const date = new Date(`${day.length === 4 ? `${day}-01-01` : day.length === 7 ? `${day}-01` : day}T00:00:00Z`);
    const index = Math.round((date.getTime() - first) / DAY_MS) + shift;
    return { column: Math.floor(index / 7), row: weekday(date) };
  };
  const last = place(`${year}-12-31`);
  const months = MONTHS.map((name, i) => ({
    name,
    column: place(`${year}-${String(i + 1).padStart(2, "0")}-01`).column,
  }));
  return { place, columns: last.column + 1, months };
}

/** A place for each month, or for the year: coarser partitions have no days. */
const COARSE = {
  place: (/** @type {string} */ date) => ({ column: date.length === 4 ? 0 : Number(date.slice(5, 7)) - 1, row: 0 }),
  columns: 12,
  months: MONTHS.map((name, i) => ({ name, column: i })),
};

export class Heat {
  #host = h("div", { class: "scroll heat-frame", role: "group", "aria-label": "Heat map", tabindex: 0 });
  #legend = h("p", { class: "steps" });

  constructor() {
    this.element = h("figure", { class: "chart" }, this.#host, this.#legend);
  }

  /**
   * @param {Day[]} days of one year
   * @param {string} year
   * @param {Measure} measure
   */
  draw(days, year, measure) {
    const daily = days.some((day) => day.day.length === 10);
    const { place, columns, months } = daily ? calendar(year) : COARSE;
    const fitting = Math.floor(((this.#host.clientWidth || 600) - LEFT) / columns) - GAP;
    const size = Math.max(CELL_MIN, Math.min(daily ? CELL_MAX : CELL_MAX * 2, fitting));
    const pitch = size + GAP;
    const rows = daily ? 7 : 1;
    const step = steps(days.map(measure.of));
    const width = LEFT + columns * pitch;
    const height = TOP + rows * pitch;
    const of = new Map(days.map((day) => [day.day, day]));
    const cells = days.map((day) => {
      const { column, row } = place(day.day);
      const box = { x: LEFT + column * pitch, y: TOP + row * pitch, width: size, height: size, rx: 2 };
      const title = `${day.day}: ${measure.format(measure.of(day))}, ${day.files} files`;
      return s("rect", { ...box, class: `heat h${step(measure.of(day))}` }, s("title", {}, title));
    });
    const empty = daily ? emptyDays(year, of).map((day) => place(day)) : [];
    const blank = empty.map(({ column, row }) =>
      s("rect", {
        x: LEFT + column * pitch,
        y: TOP + row * pitch,
        width: size,
        height: size,
        rx: 2,
        class: "heat none",
      }),
    );
    const names = months.map(({ name, column }) => s("text", { x: LEFT + column * pitch, y: 12 }, name));
    const weekdays = daily
      ? ["Mon", "Wed", "Fri"].map((name, i) => s("text", { x: 0, y: TOP + i * 2 * pitch + size - 2 }, name))
      : [];
    const label = inWords(days, year, measure);
    const picture = drawing(width, height, label);
    picture.append(s("g", { class: "times" }, ...names, ...weekdays), ...blank, ...cells);
    show(this.#host, picture);
    // where the year is wider than the screen, its newest date is in sight
    const last = place(days.reduce((a, b) => (a.day > b.day ? a : b)).day).column;
    this.#host.scrollLeft = Math.max(0, LEFT + (last + 2) * pitch - this.#host.clientWidth);
    const keys = Array.from({ length: STEPS }, (_, i) =>
      h("span", { class: `key heat-key h${i}`, "aria-hidden": "true" }),
    );
    show(this.#legend, `${measure.name}: less `, ...keys, " more; hollow: none");
  }
}

/**
 * @param {string} year
 * @param {Map<string, Day>} known
 */
function emptyDays(year, known) {
  const found = [];
  for (let at = Date.UTC(Number(year), 0, 1); at < Date.UTC(Number(year) + 1, 0, 1); at += DAY_MS) {
    const day = new Date(at).toISOString().slice(0, 10);
    if (!known.has(day)) found.push(day);
  }
  return found;
}

/**
 * @param {Day[]} days
 * @param {string} year
 * @param {Measure} measure
 */
function inWords(days, year, measure) {
  const most = days.reduce((a, b) => (measure.of(b) > measure.of(a) ? b : a));
  return `${measure.name} by date in ${year}: ${days.length} dates with data, most on ${most.day} with ${measure.format(measure.of(most))}. The table below lists them.`;
}
