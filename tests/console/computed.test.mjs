// What the page computes by itself, at its edges: readings of /metrics and the rates between them, dates, charts, words.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, open } from "./browser.mjs";
import { startNode, statement } from "./node.mjs";

let browser;
let node;

before(async () => {
  node = await startNode((folder) => statement(folder, "empty"));
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await node?.stop();
});

test("what is computed in the page is right at its edges", async () => {
  const { page, close } = await open(browser, `${node.url}/admin/`);
  const found = await page.evaluate(async () => {
    const load = (name) => import(new URL(name, document.baseURI).href);
    const names = ["raw-json.js", "metrics.js", "days.js", "chart-lines.js", "chart-heat.js", "format.js", "sampler.js"];
    const [{ members }, { parse, quantile, growth }, { byDate, fullestYear }, lines, { steps }, format, { Sampler }] =
      await Promise.all(names.map(load));
    const sampler = new Sampler();
    const take = (at, events, refused) => {
      const metrics = `strandline_events_total ${events}\nstrandline_overloaded_total ${refused}\n`;
      sampler.take(`${metrics}strandline_tier_bytes{store="a",tier="wal"} ${events * 9}\n`, "a", at);
      return sampler.samples.map((sample) => [sample.at, sample.eventsPerS, sample.refused, sample.tiers.wal, sample.p99Ms]);
    };
    // the second of these comes too soon after the first to say anything; the node is begun anew before the last but one
    const rates = [take(0, 5, 0), take(400, 6, 0), take(2000, 25, 3), take(4000, 8, 0), take(302_001, 8, 0)];
    const reading = (a, b, all) =>
      parse(`# HELP x\nh_bucket{le="0.25"} ${a}\nh_bucket{le="0.5"} ${b}\nh_bucket{le="+Inf"} ${all}\nc 5\n`);
    const file = (partition, oldest) => ({
      partition,
      stream_type: "A",
      bytes: 1,
      rows: 1,
      min: { at: oldest },
      max: {},
    });
    const days = byDate(
      [file({ dt: "2026-01-02-13" }), file({ dt: "2026-01-02" }), file({ dt: null }, "2025-12-31T23:00:00Z")],
      "at",
    );
    return {
      members: members('{ "a\\"" : "}]\\\\" , "1":[1,{"x":"]"}],"n":12.50 , "n": null}'),
      empty: [members("{}"), members("[ ]")],
      p50: quantile(reading(0, 0, 0), reading(10, 20, 20), "h", 0.5),
      p75: quantile(reading(0, 0, 0), reading(10, 20, 20), "h", 0.75),
      beyond: quantile(reading(0, 0, 0), reading(0, 0, 4), "h", 0.5),
      none: quantile(reading(1, 1, 1), reading(1, 1, 1), "h", 0.5),
      stores: quantile(
        parse(""),
        parse(
          'h_bucket{store="a",le="0.25"} 0\nh_bucket{store="a",le="0.5"} 3\nh_bucket{store="a",le="+Inf"} 3\n' +
            'h_bucket{store="b",le="0.25"} 1\nh_bucket{store="b",le="0.5"} 1\nh_bucket{store="b",le="+Inf"} 1\n',
        ),
        "h",
        0.5,
      ),
      restarted: growth(new Map([["c", 9]]), new Map([["c", 5]]), "c"),
      days: days.days.map((day) => [day.day, day.files]),
      years: [
        fullestYear(days.days),
        fullestYear(["2013-01-01", "2013-02-01", "2026-11-27"].map((day) => ({ day, rows: 1 }))),
        fullestYear(["2013-01-01", "2026-11-27"].map((day) => ({ day, rows: 1 }))),
        fullestYear([]),
      ],
      tops: [0, 7, 24, 41, 1000].map(lines.roundUp),
      marks: [1, 6].map((top) => lines.gridLines(top, 0, 9, (v) => v, format.count).map((line) => line.textContent)),
      steps: [1, 2, 3].map(steps([1, 2, 3])),
      rates,
      words: [format.bytes(1536), format.duration(61_000), format.count(12345), format.things(1, "event")],
    };
  });
  assert.deepEqual(found, {
    members: [
      ['a"', '"}]\\\\"'],
      ["1", '[1,{"x":"]"}]'],
      ["n", "12.50"],
      ["n", "null"],
    ],
    empty: [[], []],
    p50: 0.25,
    p75: 0.375,
    beyond: 0.5,
    none: null,
    // one of four below a quarter, the other three between it and a half
    stores: 0.25 + 0.25 / 3,
    restarted: 5,
    days: [
      ["2025-12-31", 1],
      ["2026-01-02", 2],
    ],
    years: ["2026", "2013", "2026", ""],
    tops: [1, 8, 40, 60, 1000],
    // whole things have no half
    marks: [
      ["0", "1"],
      ["0", "3", "6"],
    ],
    steps: [0, 2, 4],
    rates: [
      [],
      [],
      [[2000, 10, 3, 225, null]],
      [
        [2000, 10, 3, 225, null],
        [4000, 4, 0, 72, null],
      ],
      // five minutes are kept
      [
        [4000, 4, 0, 72, null],
        [302_001, 0, 0, 72, null],
      ],
    ],
    words: ["1.5 KiB", "1 min 1 s", "12,345", "1 event"],
  });
  await close();
});
