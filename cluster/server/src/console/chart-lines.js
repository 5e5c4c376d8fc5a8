// Lines over time, drawn at the width that there is, so that their texts stay readable on a phone. The picture is one image to a
// screen reader, with its numbers in words.

import { drawing, h, s, show } from "./dom.js";

const HEIGHT = 150;
const LEFT = 52;
const BOTTOM = 20;
const TOP = 8;
/** A line of two readings is no wider than this part of a minute. */
const SPAN_MIN_MS = 60_000;

/**
 * @typedef {{ name: string, style: string, points: { at: number, value: number | null }[] }} Line
 * @typedef {{ title: string, spanMs: number, format: (value: number) => string }} LinesSpec
 */

/**
 * The next round number, for the top of an axis; its half is one as well.
 *
 * @param {number} value
 */
export function roundUp(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 4, 6, 8, 10].find((n) => n * power >= value) ?? 10;
  return step * power;
}

/**
 * Lines across at nothing, the half and the top of an axis, with their values left of them.
 *
 * @param {number} top
 * @param {number} left
 * @param {number} right
 * @param {(value: number) => number} y
 * @param {(value: number) => string} format
 */
export function gridLines(top, left, right, y, format) {
  // a half of one whole thing has no text of its own
  const half = format(top / 2) === format(top) ? [] : [top / 2];
  return [0, ...half, top].map((value) =>
    s(
      "g",
      { class: "grid" },
      s("line", { x1: left, x2: right, y1: y(value), y2: y(value) }),
      s("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, format(value)),
    ),
  );
}

export class Lines {
  #spec;
  #host = h("div", { class: "plot" });
  #legend = h("ul", { class: "legend" });

  /** @param {LinesSpec} spec */
  constructor(spec) {
    this.#spec = spec;
    this.element = h("figure", { class: "chart" }, h("figcaption", {}, spec.title), this.#legend, this.#host);
  }

  /**
   * @param {Line[]} lines
   * @param {number} now the right end
   */
  draw(lines, now) {
    const { format } = this.#spec;
    const oldest = Math.min(now, ...lines.flatMap((line) => line.points.map((p) => p.at)));
    const spanMs = Math.min(this.#spec.spanMs, Math.max(SPAN_MIN_MS, now - oldest));
    const from = now - spanMs;
    const seen = lines.map((line) => line.points.filter((p) => p.at >= from));
    // the axis grows and shrinks by round steps only
    const top = roundUp(Math.max(0, ...seen.flat().map((p) => p.value ?? 0)));
    const width = Math.max(240, this.#host.clientWidth || 480);
    const x = (/** @type {number} */ at) => LEFT + ((at - from) / spanMs) * (width - LEFT - 4);
    const y = (/** @type {number} */ value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
    const grid = gridLines(top, LEFT, width - 4, y, format);
    const span = `${Math.round(spanMs / 6000) / 10} min`;
    const times = [
      s("text", { x: LEFT, y: HEIGHT - 4 }, `${span} ago`),
      s("text", { x: width - 4, y: HEIGHT - 4, "text-anchor": "end" }, "now"),
    ];
    const paths = lines.map((line, i) => s("path", { class: `line ${line.style}`, d: path(seen[i], x, y) }));
    const label = `${this.#spec.title}, last ${span}. ${lines.map((l, i) => inWords(l.name, seen[i], format)).join(" ")}`;
    const picture = drawing(width, HEIGHT, label);
    picture.append(...grid, s("g", { class: "times" }, ...times), ...paths);
    show(this.#host, picture);
    const newest = (/** @type {Line["points"]} */ points) => points.findLast((p) => p.value !== null)?.value;
    const entry = (/** @type {Line} */ line, /** @type {number} */ i) => {
      const value = newest(seen[i]);
      const text = value === undefined || value === null ? "none yet" : format(value);
      return h(
        "li",
        {},
        h("span", { class: `key ${line.style}`, "aria-hidden": "true" }),
        `${line.name} `,
        h("b", {}, text),
      );
    };
    show(this.#legend, ...lines.map(entry));
  }
}

/**
 * A line breaks where nothing was measured.
 *
 * @param {{ at: number, value: number | null }[]} points
 * @param {(at: number) => number} x
 * @param {(value: number) => number} y
 */
function path(points, x, y) {
  let d = "";
  let pen = "M";
  for (const { at, value } of points) {
    if (value === null) {
      pen = "M";
      continue;
    }
    // one point alone is a dot: its line has round ends
    d += `${pen}${x(at).toFixed(1)} ${y(value).toFixed(1)}${pen === "M" ? "h0" : ""}`;
    pen = "L";
  }
  return d;
}

/**
 * @param {string} name
 * @param {{ value: number | null }[]} points
 * @param {(value: number) => string} format
 */
function inWords(name, points, format) {
  const values = points.map((p) => p.value).filter((v) => v !== null);
  if (values.length === 0) return `${name}: nothing measured.`;
  const newest = /** @type {number} */ (values.at(-1));
  return `${name}: now ${format(newest)}, lowest ${format(Math.min(...values))}, highest ${format(Math.max(...values))}.`;
}
