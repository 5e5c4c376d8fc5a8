// The frame around the views: which one is shown (by the part of the address behind #), for which store, and the beat by which the
// shown one asks the node anew. One request round at a time; a node that does not answer is asked more slowly, and the page says since when.

import { Api, ApiError } from "./api.js";
import { askToken } from "./dialogs.js";
import { byId, h, notice, setText, show } from "./dom.js";
import { clock } from "./format.js";
import { Sampler } from "./sampler.js";
import { cluster } from "./view-cluster.js";
import { compaction } from "./view-compaction.js";
import { files } from "./view-files.js";
import { overview } from "./view-overview.js";
import { partitions } from "./view-partitions.js";
import { streams } from "./view-streams.js";
import { subscriptions } from "./view-subscriptions.js";

const BEAT_MS = 2000;
const BEAT_MAX_MS = 30_000;
const VIEWS = [overview, compaction, partitions, streams, subscriptions, files, cluster];

const api = new Api(askToken);
const sampler = new Sampler();
/** @type {Map<string, Record<string, unknown>>} */
const configs = new Map();
/** @type {string[]} */
let stores = [];
/** @type {import("./types.js").View | null} */
let view = null;
let store = "";
let still = false;
let failures = 0;
let lastGood = "";
/** @type {number | undefined} */
let timer;
/** A round that began before the view was changed must not draw into the next one. */
let round = 0;

/** The view and its parameters, from the address. */
function wanted() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const parameters = new URLSearchParams(query ?? "");
  return { kind: VIEWS.find((kind) => kind.name === path) ?? overview, parameters };
}

/**
 * @param {string} name
 * @param {Record<string, string>} parameters
 */
function address(name, parameters = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "");
  const query = new URLSearchParams({
    ...Object.fromEntries(given),
    ...(stores.length > 1 ? { store } : {}),
  }).toString();
  return `#/${name}${query === "" ? "" : `?${query}`}`;
}

/** @param {string} text for those who listen */
function say(text) {
  setText(byId("announce"), text);
}

function drawViews() {
  const { kind } = wanted();
  const link = (/** @type {import("./types.js").ViewKind} */ k) =>
    h("a", { href: address(k.name), "aria-current": k === kind ? "page" : null }, k.title);
  show(byId("views"), ...VIEWS.map(link));
  document.querySelector("#views [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function drawStores() {
  byId("store-choice").hidden = stores.length < 2;
  show(byId("store"), ...stores.map((name) => h("option", { value: name, selected: name === store }, name)));
}

/** @param {string} name */
async function configOf(name) {
  const known = configs.get(name);
  if (known) return known;
  try {
    return await newestConfig(name);
  } catch (error) {
    // an address for operators only does not tell it: names are the default ones then
    if (error instanceof ApiError && error.answered) return {};
    throw error;
  }
}

/** @param {string} name */
async function newestConfig(name) {
  const config = (await api.get(`v1/stores/${encodeURIComponent(name)}`)).config;
  configs.set(name, config);
  return config;
}

/**
 * The statement may have been replaced since it was read: the view, which is there at once, takes that up with one of its next rounds. A node
 * that does not answer is taken at its last word.
 *
 * @param {{ store: string, config: Record<string, unknown> }} context
 */
async function takeUp(context) {
  const config = await newestConfig(context.store).catch(() => null);
  if (config) context.config = config;
}

/** @param {boolean} byPerson the focus follows what a person asked for */
async function mount(byPerson) {
  const { kind, parameters } = wanted();
  const asked = parameters.get("store") ?? stores[0] ?? "";
  if (asked !== store) sampler.forgetTiers();
  store = asked;
  drawViews();
  drawStores();
  setText(byId("title"), kind.title);
  document.title = `${kind.title} – ${store} – Strandline`;
  const encoded = encodeURIComponent(store);
  const isKnown = configs.has(store);
  const context = {
    api,
    sampler,
    store,
    config: await configOf(store),
    parameters,
    say,
    attempt: (/** @type {() => Promise<void>} */ action) => void action().then(good, bad),
    go: (/** @type {string} */ name, /** @type {Record<string, string>} */ given) => {
      const next = address(name, given);
      if (location.hash === next) void mount(true).then(beat);
      else location.hash = next;
    },
    admin: (/** @type {string} */ rest) => `admin/v1/stores/${encoded}/${rest}`,
    data: (/** @type {string} */ rest) => `v1/stores/${encoded}/${rest}`,
  };
  view = kind.mount(byId("view"), context);
  if (isKnown) void takeUp(context);
  if (byPerson) byId("title").focus();
}

async function start() {
  const info = await api.get("info");
  stores = info.stores;
  setText(byId("about"), `Strandline ${info.version}. All times are UTC.`);
  await mount(false);
}

/** One round: the counters, then what the view shows. */
async function beat() {
  clearTimeout(timer);
  round += 1;
  const mine = round;
  try {
    if (!view) await start();
    sampler.take(await api.text("metrics"), store, Date.now());
    await trouble();
    await view?.refresh();
    good();
    // the newest round has ended: what the tests wait for
    if (mine === round) byId("state").dataset.round = String(mine);
  } catch (error) {
    bad(error);
  }
  if (mine === round && !still && !document.hidden)
    timer = setTimeout(beat, Math.min(BEAT_MAX_MS, BEAT_MS * 2 ** failures));
}

function good() {
  if (failures > 0) say("The node answers again.");
  failures = 0;
  lastGood = clock(new Date().toISOString());
  document.body.classList.remove("stale");
  state(still ? "still" : "live", still ? `still since ${lastGood}` : `live, ${lastGood}`);
}

/** @param {unknown} error */
function bad(error) {
  const text = error instanceof Error ? error.message : String(error);
  if (failures === 0) say(`The numbers are not new: ${text}`);
  failures = Math.min(failures + 1, 4);
  document.body.classList.add("stale");
  state("lost", lastGood === "" ? "no answer" : `last answer ${lastGood}`);
  const heading =
    error instanceof ApiError && error.status === 401 ? "The node wants a token" : "The numbers below are not new";
  show(
    byId("trouble"),
    notice(
      "bad",
      h("b", {}, `${heading}: `),
      `${text}. It is asked again by itself; now: `,
      h("button", { type: "button", click: () => void beat() }, "Ask now"),
    ),
  );
}

/**
 * @param {string} kind
 * @param {string} text
 */
function state(kind, text) {
  byId("state").className = `state ${kind}`;
  setText(byId("state"), text);
}

/** What the node says it cannot do: stands above every view. */
async function trouble() {
  const ready = await api.get("ready").catch((error) => {
    if (error instanceof ApiError && error.status === 503) return { error: error.message };
    throw error;
  });
  const rows = /** @type {{ store: string, stream_type?: string, error: string }[]} */ ([
    ...(ready.damaged ?? []),
    ...(ready.degraded ?? []),
  ]);
  const texts = [
    ready.error,
    ...rows.map((row) => `${row.store}${row.stream_type ? ` / ${row.stream_type}` : ""}: ${row.error}`),
    ...(ready.leaderless ?? []).map((/** @type {string} */ log) => `${log} has no leader: it takes no appends.`),
    ...(ready.not_reloaded ?? []).map(
      (/** @type {{ what: string, error: string }} */ row) => `The ${row.what} could not be read again: ${row.error}`,
    ),
  ].filter(Boolean);
  const place = byId("trouble");
  // the same words are left alone: who reads them is not thrown out
  if (place.textContent !== texts.join("")) show(place, ...texts.map((text) => notice("bad", text)));
}

byId("pause").addEventListener("click", () => {
  still = !still;
  byId("pause").setAttribute("aria-pressed", String(still));
  if (still) state("still", `still since ${lastGood || "the start"}`);
  void (still ? clearTimeout(timer) : beat());
});
byId("store").addEventListener("change", (event) => {
  store = /** @type {HTMLSelectElement} */ (event.target).value;
  location.hash = address(wanted().kind.name);
});
addEventListener("hashchange", () => void mount(true).then(beat, bad));
document.addEventListener("visibilitychange", () => void (document.hidden || still ? clearTimeout(timer) : beat()));
void beat();
