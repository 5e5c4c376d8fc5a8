// Partitions by date: a heat map of a year and the table of its dates. The list of files may be long, so it is asked for once, and
// again by the button.

import { Heat } from "./chart-heat.js";
import { byDate, fullestYear } from "./days.js";
import { h, section, show } from "./dom.js";
import { bytes, clock, count, things } from "./format.js";
import { Table } from "./tables.js";

/** @typedef {import("./days.js").Day} Day */
/** @typedef {import("./types.js").DataFile} DataFile */

/** @type {Record<string, import("./chart-heat.js").Measure>} */
const MEASURES = {
  bytes: { name: "Size", of: (day) => day.bytes, format: bytes },
  files: { name: "Files", of: (day) => day.files, format: count },
  rows: { name: "Events", of: (day) => day.rows, format: count },
};

function dayTable() {
  return new Table(
    "Dates with data files",
    /** @type {import("./tables.js").Column<Day>[]} */ ([
      { head: "Date", name: true, cell: (day) => day.day },
      { head: "Size", number: true, cell: (day) => bytes(day.bytes) },
      { head: "Files", number: true, cell: (day) => count(day.files) },
      { head: "Events", number: true, cell: (day) => count(day.rows) },
      { head: "Bytes a file", number: true, cell: (day) => bytes(day.bytes / day.files) },
      { head: "Stream types", cell: (day) => [...day.types].map(([name, files]) => `${name} (${files})`).join(", ") },
    ]),
    "There is no data file of this choice.",
  );
}

/**
 * @param {string} id
 * @param {string} label
 * @param {() => void} changed
 */
function choice(id, label, changed) {
  const select = h("select", { id, change: changed });
  return { select, element: h("div", { class: "field" }, h("label", { for: id }, label), select) };
}

/**
 * Offers these values; what was chosen stays where it still exists.
 *
 * @param {HTMLSelectElement} select
 * @param {[string, string][]} options value, text
 */
function offer(select, options) {
  const before = select.value;
  show(select, ...options.map(([value, text]) => h("option", { value }, text)));
  select.value = options.some(([value]) => value === before) ? before : (options[0]?.[0] ?? "");
}

/** @type {import("./types.js").ViewKind} */
export const partitions = {
  name: "partitions",
  title: "Partitions",
  mount(host, context) {
    /** @type {DataFile[] | null} */
    let files = null;
    // somebody has chosen a year
    let picked = false;
    const occurredAt = String(context.config["envelope.occurred_at_key"] ?? "occurred_at");
    const heat = new Heat();
    const table = dayTable();
    const said = h("p", { class: "hint" });
    const draw = () => {
      const all = files ?? [];
      offer(type.select, [
        ["", "all"],
        ...[...new Set(all.map((file) => file.stream_type))]
          .sort()
          .map((name) => /** @type {[string, string]} */ ([name, name])),
      ]);
      const chosen = type.select.value === "" ? all : all.filter((file) => file.stream_type === type.select.value);
      const { days, byPartition } = byDate(chosen, occurredAt);
      offer(
        year.select,
        [...new Set(days.map((day) => day.day.slice(0, 4)))].reverse().map((name) => [name, name]),
      );
      // an event of today must not hide the years that were loaded
      if (!picked) year.select.value = fullestYear(days);
      const ofYear = days.filter((day) => day.day.startsWith(year.select.value));
      heat.element.hidden = ofYear.length === 0;
      if (ofYear.length > 0) heat.draw(ofYear, year.select.value, MEASURES[measure.select.value]);
      table.set(ofYear.toReversed());
      const sum = all.reduce((bytes, file) => bytes + file.bytes, 0);
      const how =
        byPartition || all.length === 0
          ? ""
          : ` This store is not partitioned by date: a file stands under the day of its oldest ${occurredAt}.`;
      show(
        said,
        `${things(all.length, "file")}, ${bytes(sum)} in all, as of ${clock(new Date().toISOString())}.${how}`,
      );
    };
    const [measure, type, year] = [
      choice("heat-measure", "Colour", draw),
      choice("heat-type", "Stream type", draw),
      choice("heat-year", "Year", () => {
        picked = true;
        draw();
      }),
    ];
    offer(
      measure.select,
      Object.entries(MEASURES).map(([key, { name }]) => [key, name]),
    );
    const load = async () => {
      const answer = await context.api.get(context.admin("files"));
      files = /** @type {DataFile[]} */ (answer.files);
      draw();
    };
    const again = h(
      "button",
      {
        type: "button",
        click: () => context.attempt(() => load().then(() => context.say("The list of files is new."))),
      },
      "Ask again",
    );
    show(
      host,
      section(
        "By date",
        said,
        h("div", { class: "fields" }, measure.element, type.element, year.element, again),
        heat.element,
      ),
      section("Dates", table.element),
    );
    return { refresh: async () => (files === null ? load() : undefined) };
  },
};
