// Tables: a caption for those who hear it, a frame that scrolls by itself at phone width and shows that it does, and more rows by a button
// where there are many.

import { h, show } from "./dom.js";
import { count } from "./format.js";

/**
 * @template R
 * @typedef {{ head: string, cell: (row: R) => import("./dom.js").Child, number?: boolean, name?: boolean }} Column
 *   `number`: right-aligned; `name`: the cell names its row
 */

const ROWS_AT_ONCE = 100;

/**
 * Shades the right edge of a frame as long as more stands beyond it: where a system hides its scroll bars, nothing else says so.
 *
 * @param {HTMLElement} frame
 * @param {HTMLElement} content
 */
function showCut(frame, content) {
  const look = () => frame.classList.toggle("cut", frame.scrollLeft + frame.clientWidth < frame.scrollWidth - 1);
  frame.addEventListener("scroll", look);
  const sizes = new ResizeObserver(look);
  for (const element of [frame, content]) sizes.observe(element);
}

/** @template R */
export class Table {
  #columns;
  #body;
  #empty;
  #more;
  #frame;
  /** @type {R[]} */
  #rows = [];
  #shown = ROWS_AT_ONCE;

  /**
   * @param {string} caption
   * @param {Column<R>[]} columns
   * @param {string} empty what is said where there is no row
   */
  constructor(caption, columns, empty) {
    this.#columns = columns;
    const heads = columns.map((c) => h("th", { scope: "col", class: c.number ? "number" : null }, c.head));
    this.#body = h("tbody");
    const table = h(
      "table",
      {},
      h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, ...heads)),
      this.#body,
    );
    this.#frame = h("div", { class: "scroll", role: "group", "aria-label": caption, tabindex: 0 }, table);
    showCut(this.#frame, table);
    this.#empty = h("p", { class: "empty" }, empty);
    this.#more = h("button", { type: "button", class: "more", click: () => this.#showMore() });
    this.element = h("div", { class: "table" }, this.#frame, this.#empty, this.#more);
  }

  /** @param {R[]} rows */
  set(rows) {
    this.#rows = rows;
    this.#draw();
  }

  #showMore() {
    this.#shown += ROWS_AT_ONCE * 5;
    this.#draw();
    this.#frame.focus();
  }

  #draw() {
    const rows = this.#rows.slice(0, this.#shown);
    const cell = (/** @type {R} */ row) => (/** @type {Column<R>} */ column) =>
      h(
        column.name ? "th" : "td",
        { scope: column.name ? "row" : null, class: column.number ? "number" : null },
        column.cell(row),
      );
    show(this.#body, ...rows.map((row) => h("tr", {}, ...this.#columns.map(cell(row)))));
    const left = this.#rows.length - rows.length;
    this.#frame.hidden = rows.length === 0;
    this.#empty.hidden = rows.length > 0;
    this.#more.hidden = left === 0;
    this.#more.textContent = `Show more: ${count(left)} of ${count(this.#rows.length)} rows are not shown`;
  }
}
