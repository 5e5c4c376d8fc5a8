// The cluster as the node tells it: single values as facts, lists as tables, under the names that the route uses. A node that runs alone
// says so, and what that means.

import { ApiError } from "./api.js";
import { facts, h, notice, section, show } from "./dom.js";
import { time } from "./format.js";
import { Table } from "./tables.js";

const MOMENT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}/;

/** @typedef {Record<string, unknown>} Fields */

/** @param {unknown} value */
function inWords(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "string") return MOMENT.test(value) ? time(value) : value;
  if (Array.isArray(value) && value.every((item) => typeof item !== "object")) return value.join(", ") || "none";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** @param {string} name */
function title(name) {
  return name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");
}

/** @param {unknown} value */
function isRows(value) {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((item) => typeof item === "object" && item !== null && !Array.isArray(item))
  );
}

/**
 * @param {string} name
 * @param {Fields[]} rows
 */
function rowsTable(name, rows) {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const column = (/** @type {string} */ key, /** @type {number} */ i) => ({
    head: title(key),
    name: i === 0,
    number: i > 0 && rows.every((row) => typeof row[key] === "number"),
    cell: (/** @type {Fields} */ row) => inWords(row[key]),
  });
  const table = new Table(title(name), names.map(column), "none");
  table.set(rows);
  return section(title(name), table.element);
}

/** @param {Fields} answer */
export function told(answer) {
  const entries = Object.entries(answer);
  const single = entries
    .filter(([, value]) => !isRows(value))
    .map(([name, value]) => /** @type {[string, string]} */ ([title(name), inWords(value)]));
  const lists = entries.filter(([, value]) => isRows(value));
  return [
    single.length > 0 && section("Cluster", facts(single)),
    ...lists.map(([name, rows]) => rowsTable(name, /** @type {Fields[]} */ (rows))),
  ];
}

/** @type {import("./types.js").ViewKind} */
export const cluster = {
  name: "cluster",
  title: "Cluster",
  mount(host, context) {
    const place = h("div");
    const node = h("div", { class: "node" });
    show(host, place, section("This node", node));
    const refresh = async () => {
      const info = await context.api.get("info");
      const ran =
        info.recovery.length > 0 &&
        h("ul", {}, ...info.recovery.map((/** @type {string} */ line) => h("li", {}, line)));
      show(
        node,
        facts([
          ["Version", info.version],
          ["Started", time(info.started_at)],
          ["Stores", info.stores.join(", ")],
          ["Native protocol", info.native ?? "not served"],
        ]),
        ran && h("h3", {}, "At its start"),
        ran,
      );
      try {
        show(place, ...told(await context.api.get("admin/v1/cluster")));
      } catch (error) {
        if (!(error instanceof ApiError) || error.code !== "not_supported") throw error;
        show(
          place,
          notice(
            "plain",
            "This node runs alone. It owns every log and every job; there are no other members, no leaders to follow, and no lag.",
          ),
        );
      }
    };
    return { refresh };
  },
};
