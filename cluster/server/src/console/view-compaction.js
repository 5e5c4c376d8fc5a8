// Compaction: when it runs next, what waits, what runs, how the last jobs ended; and the buttons that steer it, each asked for twice.

import { ApiError, here } from "./api.js";
import { JobBars, failing, outcome } from "./chart-bars.js";
import { confirm } from "./dialogs.js";
import { facts, h, notice, section, show, when } from "./dom.js";
import { ago, bytes, count, duration, partition, percent, things } from "./format.js";
import { Table } from "./tables.js";

/** @typedef {import("./types.js").Context} Context */
/** @typedef {import("./types.js").Compaction} Compaction */
/** @typedef {import("./types.js").Job} Job */

/** @type {Record<"run" | "pause" | "resume" | "cancel", { title: string, text: string, verb: string, did: (answer: any) => string }>} */
const ACTIONS = {
  run: {
    title: "Run compaction now?",
    text: "The log of every stream type is sealed, and what waits is written into Parquet files.",
    verb: "Run now",
    did: (answer) =>
      answer.jobs.length === 0 ? "Nothing waits: no job was begun." : `${things(answer.jobs.length, "job")} asked for.`,
  },
  pause: {
    title: "Pause compaction?",
    text: "No job begins by schedule or size, and retention takes nothing, until you resume, also after a restart; jobs that run go on. The log grows meanwhile. Runs by hand are still possible.",
    verb: "Pause",
    did: () => "Compaction is paused.",
  },
  resume: {
    title: "Resume compaction?",
    text: "Jobs begin again by schedule and by size.",
    verb: "Resume",
    did: () => "Compaction goes on.",
  },
  cancel: {
    title: "Cancel the running jobs?",
    text: "Each ends before its commit, and what it has written is thrown away. Nothing is lost: the events stay in the log for the next job.",
    verb: "Cancel jobs",
    did: (answer) => `${things(answer.cancelled, "job")} cancelled.`,
  },
};

function runningTable() {
  return new Table(
    "Running jobs",
    /** @type {import("./tables.js").Column<Job>[]} */ ([
      { head: "Stream type", name: true, cell: (job) => job.stream_type },
      { head: "Job", cell: (job) => (job.partition ? `merge of ${partition(job.partition)}` : job.kind) },
      { head: "Begun by", cell: (job) => job.trigger },
      { head: "Phase", cell: (job) => job.phase },
      { head: "Progress", cell: progress },
      { head: "For", number: true, cell: since },
      { head: "About left", number: true, cell: left },
    ]),
    "No job runs.",
  );
}

/** For how long it works; one that waits for its turn does not. */
function since(/** @type {Job} */ job) {
  return job.started_at ? duration(Date.now() - Date.parse(job.started_at)) : "–";
}

/** @param {Job} job */
function progress(job) {
  const done = percent(job.rows_done, job.rows_total);
  const text =
    job.rows_total > 0
      ? `${done} %, ${count(job.rows_done)} of ${count(job.rows_total)}`
      : `${count(job.rows_done)} rows`;
  return h(
    "span",
    { class: "progress" },
    h("progress", { max: 100, value: done, "aria-label": `Progress of ${job.stream_type}` }),
    " ",
    text,
  );
}

/** What the node says of the phase that the job is in: the commit at the end is not in it. */
function left(/** @type {Job} */ job) {
  return typeof job.eta_s === "number" ? duration(job.eta_s * 1000) : "–";
}

function waitingTable() {
  return new Table(
    "What waits, by stream type",
    /** @type {import("./tables.js").Column<import("./types.js").Waiting>[]} */ ([
      {
        head: "Stream type",
        name: true,
        cell: (w) => (w.bucket === 0 ? w.stream_type : `${w.stream_type} / ${w.bucket}`),
      },
      { head: "Events", number: true, cell: (w) => count(w.events_waiting) },
      { head: "Bytes", number: true, cell: (w) => bytes(w.bytes_waiting) },
      { head: "Segments", number: true, cell: (w) => count(w.segments_waiting) },
      { head: "Oldest", number: true, cell: (w) => ago(w.oldest_waiting) },
      { head: "In files through", number: true, cell: (w) => count(w.watermark) },
    ]),
    "There is no stream type yet: the first append makes one.",
  );
}

function historyTable() {
  return new Table(
    "The last jobs",
    /** @type {import("./tables.js").Column<Job>[]} */ ([
      { head: "Begun", name: true, cell: (job) => when(job.started_at) },
      // in sight on a phone too
      { head: "Ended", cell: ending },
      { head: "Stream type", cell: (job) => job.stream_type },
      { head: "Job", cell: (job) => (job.partition ? `merge of ${partition(job.partition)}` : job.kind) },
      { head: "By", cell: (job) => job.trigger },
      { head: "Took", number: true, cell: (job) => duration(job.duration_ms ?? 0) },
      { head: "Events", number: true, cell: (job) => count(job.rows ?? 0) },
      { head: "Read", number: true, cell: (job) => bytes(job.input_bytes ?? 0) },
      { head: "Written", number: true, cell: (job) => bytes(job.output_bytes ?? 0) },
      {
        head: "Files",
        number: true,
        cell: (job) => (job.kind === "merge" ? `${job.inputs} → ${job.files}` : count(job.files ?? 0)),
      },
    ]),
    "No job has run since the node was started.",
  );
}

/** @param {Job} job */
function ending(job) {
  const [how, where] = [outcome(job), job.ended_in ? `while ${job.ended_in}` : null];
  const why = job.error ?? where;
  return h("span", { class: `ending ${how}` }, how, why ? h("span", { class: "why" }, why) : null);
}

/** @type {import("./types.js").ViewKind} */
export const compaction = {
  name: "compaction",
  title: "Compaction",
  mount(host, context) {
    const [running, waiting, history, bars] = [runningTable(), waitingTable(), historyTable(), new JobBars()];
    const status = h("div", { class: "numbers" });
    const told = h("div", { role: "status" });
    const [plan, failed] = [h("div", { id: "plan" }), h("div", { class: "notices" })];
    const button = (/** @type {keyof typeof ACTIONS} */ action, /** @type {string} */ name, kind = "") =>
      h("button", { type: "button", class: kind, click: () => void act(context, action, told, refresh) }, name);
    const [run, pause, resume, cancel] = [
      button("run", "Run now", "primary"),
      button("pause", "Pause"),
      button("resume", "Resume"),
      button("cancel", "Cancel jobs"),
    ];
    const ask = h(
      "button",
      { type: "button", "aria-controls": "plan", click: () => void showPlan(context, plan) },
      "Show the plan",
    );
    const buttons = h("div", { class: "buttons" }, run, pause, resume, cancel, ask);
    const rest = [
      section("Running", running.element),
      section("Waiting", waiting.element),
      section("History", bars.element, history.element),
    ];
    show(host, section("Now", failed, status, buttons, told, plan), ...rest);
    /** @type {Set<string> | null} */
    let known = null;
    const refresh = async () => {
      const answer = /** @type {Promise<Compaction>} */ (context.api.get(context.admin("compaction")));
      const [now, elsewhere] = await here(answer);
      for (const part of [buttons, ...rest]) part.hidden = !now;
      if (!now) {
        show(status);
        return show(failed, notice("plain", `${elsewhere}.`));
      }
      show(failed, ...failing(now.jobs).map((text) => notice("bad", text)));
      show(status, statusFacts(now));
      [run.disabled, pause.hidden, resume.hidden, cancel.disabled] = [
        !now.enabled,
        now.paused,
        !now.paused,
        now.running.length === 0,
      ];
      running.set(now.running);
      waiting.set(now.stream_types);
      history.set(now.jobs);
      bars.draw(now.jobs);
      if (known)
        tell(
          context,
          now.jobs.filter((job) => !known?.has(job.id)),
        );
      known = new Set(now.jobs.map((job) => job.id));
    };
    return { refresh };
  },
};

/** @param {string} moment */
function soon(moment) {
  return h("span", {}, when(moment), ", ", h("span", { class: "range" }, ago(moment)));
}

/** @param {Compaction} now */
function statusFacts(now) {
  const state = !now.enabled
    ? "off (compaction.enabled is false)"
    : now.paused
      ? "paused"
      : now.running.length > 0
        ? "at work"
        : "waits for the next tick";
  return facts([
    ["State", h("span", { class: now.paused || !now.enabled ? "warned" : "" }, state)],
    ["Schedule", h("code", {}, now.schedule)],
    ["Also by", now.trigger.join(", ") || "–"],
    ["Next tick", now.paused ? "none while it is paused" : now.next_tick ? soon(now.next_tick) : "–"],
    ["Last run", ago(now.last_run)],
    ["Share of a thread's time", `${now.share_percent} %`],
  ]);
}

/**
 * @param {Context} context
 * @param {Job[]} ended since the last look
 */
function tell(context, ended) {
  const failed = ended.find((job) => job.error);
  if (failed) context.say(`A job of ${failed.stream_type} failed: ${failed.error}`);
  else if (ended.length > 0) context.say(`${things(ended.length, "job")} ended.`);
}

/**
 * @param {Context} context
 * @param {keyof typeof ACTIONS} action
 * @param {HTMLElement} told
 * @param {() => Promise<void>} refresh
 */
async function act(context, action, told, refresh) {
  const { title, text, verb, did } = ACTIONS[action];
  if (!(await confirm(title, text, verb))) return;
  try {
    show(told, notice("good", did(await context.api.post(context.admin(`compaction/${action}`)))));
    await refresh();
  } catch (error) {
    show(told, notice("bad", error instanceof ApiError ? error.message : String(error)));
  }
}

/**
 * A row of the plan. The merges that follow are known by the files that are there now.
 *
 * @param {string} what
 * @returns {(merge: import("./types.js").PlannedMerge) => { what: string, type: string, of: string, events: number, bytes: number }}
 */
function planned(what) {
  return (merge) => ({
    what,
    type: merge.stream_type,
    of: `${things(merge.files.length, "file")} of ${partition(merge.partition)}`,
    events: merge.events,
    bytes: merge.bytes,
  });
}

/**
 * @param {Context} context
 * @param {HTMLElement} place
 */
async function showPlan(context, place) {
  try {
    const plan = /** @type {import("./types.js").Plan} */ (await context.api.get(context.admin("compaction/plan")));
    const rows = [
      ...plan.jobs.map((job) => ({
        what: "compact",
        type: job.stream_type,
        of: `${things(job.segments, "segment")} of the log`,
        events: job.events,
        bytes: job.bytes,
      })),
      ...plan.merges.map(planned("merge")),
      ...plan.following.map(planned("merge, where the job writes beside it")),
    ];
    const table = new Table(
      "What a run would do now",
      /** @type {import("./tables.js").Column<(typeof rows)[number]>[]} */ ([
        { head: "Stream type", name: true, cell: (row) => row.type },
        { head: "Job", cell: (row) => row.what },
        { head: "Takes", cell: (row) => row.of },
        { head: "Events", number: true, cell: (row) => count(row.events) },
        { head: "Bytes", number: true, cell: (row) => bytes(row.bytes) },
      ]),
      "A run now would find nothing to do.",
    );
    table.set(rows);
    show(place, h("h3", {}, `Plan of ${new Date().toISOString().slice(11, 19)}`), table.element);
  } catch (error) {
    show(place, notice("bad", error instanceof ApiError ? error.message : String(error)));
  }
}
