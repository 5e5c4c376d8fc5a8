// The manifest and its history, the data files that it makes true, the segments of the log, and what retention would take. Long lists:
// asked for once, and again by the button.

import { here } from "./api.js";
import { facts, h, notice, section, show, when } from "./dom.js";
import { ago, bytes, count, partition, things } from "./format.js";
import { Table } from "./tables.js";

/** @typedef {import("./types.js").Context} Context */
/** @typedef {import("./types.js").DataFile} DataFile */
/** @typedef {import("./types.js").Manifest} Manifest */
/** @typedef {import("./types.js").Log} Log */
/** @typedef {import("./types.js").Retention} Retention */
/** @typedef {import("./types.js").Segment & { type: string }} SegmentRow */

function historyTable() {
  return new Table(
    "Versions of the manifest",
    /** @type {import("./tables.js").Column<import("./types.js").Version>[]} */ ([
      { head: "Version", name: true, cell: (v) => count(v.version) },
      { head: "Committed", cell: (v) => when(v.committed_at) },
      { head: "Files", number: true, cell: (v) => count(v.files) },
      { head: "Events", number: true, cell: (v) => count(v.rows) },
      { head: "Size", number: true, cell: (v) => bytes(v.bytes) },
      { head: "Epoch", number: true, cell: (v) => count(v.epoch) },
      { head: "Job", cell: (v) => h("code", {}, v.job_id.slice(0, 12)) },
    ]),
    "There is no version yet.",
  );
}

/** @param {Record<string, unknown>} config */
function fileTable(config) {
  const key = (/** @type {string} */ field) => String(config[`envelope.${field}_key`] ?? field);
  const range = (
    /** @type {DataFile} */ file,
    /** @type {string} */ field,
    /** @type {(value: string) => string} */ shown,
  ) => {
    const [low, high] = [shown(String(file.min[key(field)] ?? "–")), shown(String(file.max[key(field)] ?? "–"))];
    return low === high ? low : `${low} … ${high}`;
  };
  const same = (/** @type {string} */ text) => text;
  return new Table(
    "Data files",
    /** @type {import("./tables.js").Column<DataFile>[]} */ ([
      { head: "File", name: true, cell: (file) => h("code", { title: file.path }, file.path.split("/").at(-1)) },
      { head: "Stream type", cell: (file) => file.stream_type },
      { head: "Partition", cell: (file) => partition(file.partition) },
      { head: "Events", number: true, cell: (file) => count(file.rows) },
      { head: "Size", number: true, cell: (file) => bytes(file.bytes) },
      { head: "Groups", number: true, cell: (file) => count(file.row_groups) },
      { head: "Stream ids", cell: (file) => range(file, "stream_id", same) },
      {
        head: "Occurred",
        cell: (file) =>
          h(
            "span",
            { class: "range" },
            range(file, "occurred_at", (text) => text.slice(0, 10)),
          ),
      },
    ]),
    "There is no such file.",
  );
}

function segmentTable() {
  return new Table(
    "Segments of the log",
    /** @type {import("./tables.js").Column<SegmentRow>[]} */ ([
      { head: "Segment", name: true, cell: (segment) => h("code", {}, segment.name) },
      { head: "Stream type", cell: (segment) => segment.type },
      { head: "Size", number: true, cell: (segment) => bytes(segment.bytes) },
      {
        head: "Index",
        number: true,
        cell: (segment) =>
          segment.last_index === null ? "empty" : `${count(segment.first_index)} to ${count(segment.last_index)}`,
      },
      { head: "State", cell: (segment) => (segment.sealed ? "sealed" : "is written") },
      { head: "Newest", number: true, cell: (segment) => ago(segment.newest) },
    ]),
    "There is no segment: no log has begun, or the store does without one.",
  );
}

/** @param {Manifest} m */
function current(m) {
  return facts([
    ["Version", count(m.version)],
    ["Committed", h("span", {}, when(m.committed_at), `, ${ago(m.committed_at)}`)],
    ["Files", count(m.files)],
    ["Events", count(m.rows)],
    ["Size", bytes(m.bytes)],
    ["Epoch of the owner", count(m.epoch)],
    ["Replaced, still on disk", `${things(m.replaced.files, "file")}, ${bytes(m.replaced.bytes)}`],
  ]);
}

/** @param {Retention} r */
function retention(r) {
  const sum = (/** @type {DataFile[]} */ files) =>
    `${things(files.length, "file")}, ${bytes(files.reduce((all, file) => all + file.bytes, 0))}`;
  return facts([
    ["Retention", r.enabled ? `${count(r.durable_days)} days, ${r.delete_mode}` : "off: nothing goes"],
    ["Would go now", sum(r.candidates)],
    ["Can be brought back", sum(r.tombstones)],
  ]);
}

/** @type {import("./types.js").ViewKind} */
export const files = {
  name: "files",
  title: "Manifests and files",
  mount(host, context) {
    const [history, table, segments] = [historyTable(), fileTable(context.config), segmentTable()];
    const [manifestPlace, retentionPlace, logPlace] = [h("div"), h("div"), h("div")];
    /** @type {DataFile[]} */
    let all = [];
    const filter = h("input", {
      id: "file-filter",
      type: "search",
      autocomplete: "off",
      spellcheck: "false",
      input: () => table.set(matching(all, filter.value)),
    });
    let done = false;
    const load = async () => {
      const ask = (/** @type {string} */ name) => context.api.get(context.admin(name));
      const [manifest, listed, logs, [kept, elsewhere]] = await Promise.all([
        ask("manifest"),
        ask("files"),
        ask("wal"),
        here(ask("retention")),
      ]);
      done = true;
      all = listed.files;
      show(manifestPlace, current(manifest));
      history.set(manifest.history);
      table.set(matching(all, filter.value));
      segments.set(
        logs.logs.flatMap((/** @type {Log} */ log) =>
          log.segments.map((segment) => ({ ...segment, type: log.stream_type })),
        ),
      );
      show(
        logPlace,
        ...logs.logs
          .filter((/** @type {Log} */ log) => log.refuses_writes)
          .map((/** @type {Log} */ log) => notice("bad", `${log.stream_type} takes no appends: ${log.refuses_writes}`)),
      );
      show(retentionPlace, kept ? retention(kept) : facts([["Retention", elsewhere]]));
    };
    const again = h(
      "button",
      { type: "button", click: () => context.attempt(() => load().then(() => context.say("The lists are new."))) },
      "Ask again",
    );
    show(
      host,
      section("Manifest", manifestPlace, retentionPlace, h("div", { class: "buttons" }, again)),
      section(
        "Data files",
        h(
          "div",
          { class: "fields" },
          h(
            "div",
            { class: "field" },
            h("label", { for: "file-filter" }, "Path, stream type or partition holds"),
            filter,
          ),
        ),
        table.element,
      ),
      section("Versions", history.element),
      section("Log", logPlace, segments.element),
    );
    return { refresh: async () => (done ? undefined : load()) };
  },
};

/**
 * @param {DataFile[]} files
 * @param {string} text
 */
function matching(files, text) {
  const wanted = text.trim().toLowerCase();
  return wanted === ""
    ? files
    : files.filter((file) =>
        `${file.path} ${file.stream_type} ${partition(file.partition)}`.toLowerCase().includes(wanted),
      );
}
