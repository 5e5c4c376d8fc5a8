// Jobs as bars, the oldest left: how long each took or how much it moved, and how it ended. What a bar says in colour it says by its
// shape too: failed bars have a cross above them, cancelled ones are hollow. The table below holds the same in words.

import { drawing, h, s, show } from "./dom.js";
import { ago, bytes, count, duration, time } from "./format.js";
import { gridLines, roundUp } from "./chart-lines.js";

const HEIGHT = 170;
const LEFT = 60;
const BOTTOM = 20;
const TOP = 16;

/** @typedef {import("./types.js").Job} Job */

/** @type {Record<string, { name: string, of: (job: Job) => number, format: (value: number) => string }>} */
export const MEASURES = {
  duration: { name: "Duration", of: (job) => job.duration_ms ?? 0, format: duration },
  rows: { name: "Events moved", of: (job) => job.rows ?? 0, format: count },
  bytes: { name: "Bytes written", of: (job) => job.output_bytes ?? 0, format: bytes },
};

/** @param {Job} job */
export function outcome(job) {
  if (job.error) return "failed";
  if (job.cancelled) return "cancelled";
  return job.kind === "merge" ? "merged" : "compacted";
}

/**
 * A sentence for each stream type whose last job failed.
 *
 * @param {Job[]} jobs the newest first
 */
export function failing(jobs) {
  const newest = new Map(jobs.toReversed().map((job) => [`${job.stream_type}/${job.bucket}/${job.kind}`, job]));
  const failed = [...newest.values()].filter((job) => job.error);
  return failed.map(
    (job) =>
      `The last ${job.kind === "merge" ? "merge" : "compaction"} of ${job.stream_type} failed ${ago(job.ended_at)}: ${job.error}`,
  );
}

export class JobBars {
  #host = h("div", { class: "plot" });
  #measure = "duration";
  /** @type {Job[]} */
  #jobs = [];

  constructor() {
    const options = Object.entries(MEASURES).map(([key, { name }]) => h("option", { value: key }, name));
    const select = h("select", { id: "history-measure" }, ...options);
    select.addEventListener("change", () => {
      this.#measure = select.value;
      this.draw(this.#jobs);
    });
    const legend = ["compacted", "merged", "cancelled", "failed"].map((name) =>
      h("li", {}, h("span", { class: `key bar ${name}`, "aria-hidden": "true" }), name),
    );
    this.element = h(
      "figure",
      { class: "chart" },
      h("figcaption", {}, h("label", { for: "history-measure" }, "Height of a bar "), select),
      h("ul", { class: "legend" }, ...legend),
      this.#host,
    );
  }

  /** @param {Job[]} jobs the newest first */
  draw(jobs) {
    this.#jobs = jobs;
    this.element.hidden = jobs.length === 0;
    if (jobs.length === 0) return;
    const { name, of, format } = MEASURES[this.#measure];
    const rising = jobs.toReversed();
    const top = roundUp(Math.max(...rising.map(of)));
    const width = Math.max(240, this.#host.clientWidth || 480);
    const step = Math.min(26, (width - LEFT - 4) / rising.length);
    const floor = HEIGHT - BOTTOM;
    const y = (/** @type {number} */ value) => TOP + (1 - value / top) * (floor - TOP);
    const grid = gridLines(top, LEFT, width - 4, y, format);
    const bars = rising.map((job, i) => {
      const x = LEFT + i * step + step * 0.15;
      const wide = Math.max(1.5, step * 0.7);
      const how = outcome(job);
      // a job that moved nothing is still to be seen
      const high = Math.max(2, floor - y(of(job)));
      const said = `${time(job.started_at ?? job.asked_at)} ${job.stream_type}: ${how}, ${format(of(job))}${job.error ? `. ${job.error}` : ""}`;
      const box = s("rect", { x, y: floor - high, width: wide, height: high });
      const middle = x + wide / 2;
      const above = floor - high - 7;
      const cross = how === "failed" && s("path", { class: "cross", d: `M${middle - 3} ${above - 3}l6 6m0 -6l-6 6` });
      return s("g", { class: `bar ${how}` }, s("title", {}, said), box, cross);
    });
    const failed = jobs.filter((job) => job.error).length;
    const label = `${name} of the last ${jobs.length} jobs, the oldest first; ${failed} failed. The table below lists them.`;
    const picture = drawing(width, HEIGHT, label);
    const times = [
      rising.length > 1 && s("text", { x: LEFT, y: HEIGHT - 4 }, "oldest"),
      rising.length > 1 &&
        s(
          "text",
          { x: Math.max(LEFT + 80, LEFT + rising.length * step), y: HEIGHT - 4, "text-anchor": "end" },
          "newest",
        ),
    ];
    picture.append(...grid, ...bars, s("g", { class: "times" }, ...times));
    show(this.#host, picture);
  }
}
