// Named subscriptions: how far each is, who takes its events, and what is parked, with the button that gives it again, which asks first.

import { ApiError, here } from "./api.js";
import { confirm } from "./dialogs.js";
import { facts, h, notice, section, show, when } from "./dom.js";
import { count, duration, things } from "./format.js";
import { Table } from "./tables.js";

/** @typedef {import("./types.js").Context} Context */
/** @typedef {import("./types.js").SubscriptionNumbers} SubscriptionNumbers */
/** @typedef {import("./types.js").Subscription} Subscription */
/** @typedef {import("./types.js").Parked} Parked */

/** @param {Record<string, string>} filter */
function inWords(filter) {
  const parts = Object.entries(filter).map(([field, value]) => `${field.replaceAll("_", " ")} ${value}`);
  return parts.join(", ") || "everything";
}

/** @param {number} seconds */
function lag(seconds) {
  return seconds === 0 ? "at the end" : duration(seconds * 1000);
}

function listTable() {
  return new Table(
    "Named subscriptions",
    /** @type {import("./tables.js").Column<SubscriptionNumbers>[]} */ ([
      { head: "Name", name: true, cell: (s) => s.name },
      { head: "Takes", cell: (s) => inWords(s.filter) },
      { head: "Mode", cell: (s) => s.mode },
      { head: "Behind", number: true, cell: (s) => lag(s.lag_s) },
      {
        head: "Consumers",
        number: true,
        cell: (s) => h("span", { class: s.consumers === 0 ? "warned" : "" }, count(s.consumers)),
      },
      { head: "Held", number: true, cell: (s) => count(s.in_flight) },
      { head: "To be given again", number: true, cell: (s) => count(s.waiting) },
      {
        head: "Parked",
        number: true,
        cell: (s) => h("span", { class: s.parked > 0 ? "warned" : "" }, count(s.parked)),
      },
      { head: "Position", cell: (s) => h("code", {}, s.position) },
    ]),
    "There is no named subscription: a client makes one by POST to subscriptions/NAME.",
  );
}

/**
 * What a person looks it up by, where the server says it, and its position.
 *
 * @param {Parked} parked
 */
function parkedEvent(parked) {
  const of = parked.stream_id ? `${parked.stream_id} #${parked.seq ?? "?"}, at ` : "at ";
  const id = parked.event_id ? h("span", {}, ", id ", h("code", {}, parked.event_id)) : null;
  return h("span", {}, of, h("code", {}, parked.position), id);
}

/** @param {(parked: Parked) => void} replay */
function parkedTable(replay) {
  return new Table(
    "Parked events",
    /** @type {import("./tables.js").Column<Parked>[]} */ ([
      { head: "Parked", name: true, cell: (p) => when(p.at) },
      { head: "Reason", cell: (p) => p.reason },
      { head: "Attempts", number: true, cell: (p) => count(p.attempts) },
      { head: "Event", cell: parkedEvent },
      {
        head: "Again",
        cell: (p) =>
          p.replayed
            ? "is on its way"
            : h(
                "button",
                { type: "button", "aria-label": `Replay the event at ${p.position}`, click: () => replay(p) },
                "Replay",
              ),
      },
    ]),
    "Nothing is parked.",
  );
}

/**
 * Offers the names; what was chosen stays where it still exists.
 *
 * @param {HTMLSelectElement} select
 * @param {SubscriptionNumbers[]} all
 * @param {string} wanted by the address, until a person chooses
 */
function offer(select, all, wanted) {
  const names = all.map((s) => s.name);
  if (select.dataset.names === JSON.stringify(names)) return;
  // whoever has something parked is looked for first
  const first = all.find((s) => s.parked > 0)?.name ?? names[0] ?? "";
  const before = select.value || wanted;
  show(select, ...names.map((name) => h("option", { value: name }, name)));
  select.value = names.includes(before) ? before : first;
  select.dataset.names = JSON.stringify(names);
}

/** @param {Subscription} one */
function detail(one) {
  return facts([
    ["Takes", inWords(one.filter)],
    ["Behind", lag(one.lag_s)],
    ["Made", when(one.created_at)],
    ["Attempts before an event is parked", count(one.attempts_max)],
    ["A consumer has", duration(one.ack_within_s * 1000)],
  ]);
}

/** @type {import("./types.js").ViewKind} */
export const subscriptions = {
  name: "subscriptions",
  title: "Subscriptions",
  mount(host, context) {
    const list = listTable();
    const [followers, told, about] = [h("div", { class: "numbers" }), h("div", { role: "status" }), h("div")];
    const away = h("div", { class: "notices" });
    const select = h("select", { id: "subscription", change: () => context.attempt(showOne) });
    const path = (/** @type {string} */ name, /** @type {string} */ rest = "") =>
      context.admin(`subscriptions/${encodeURIComponent(name)}${rest}`);
    const parked = parkedTable((event) => void replay([event], event.position));
    /** @type {Parked[]} */
    let waiting = [];
    const all = h(
      "button",
      { type: "button", class: "primary", click: () => void replay(waiting, null) },
      "Replay all",
    );
    const choice = h("div", { class: "field" }, h("label", { for: "subscription" }, "Subscription"), select);
    const field = h("div", { class: "fields" }, choice);
    const one = section("Parked events", field, about, h("div", { class: "buttons" }, all), told, parked.element);
    show(host, section("Now", away, followers, list.element), one);
    let drawn = "";

    /**
     * @param {Parked[]} events
     * @param {string | null} position null: all of them
     */
    const replay = async (events, position) => {
      const name = select.value;
      const title = position === null ? `Replay all parked events of ${name}?` : `Replay one parked event of ${name}?`;
      const text = `${things(events.length, "event")} will be given to its consumers again, later than what came after them in their streams. First mend what they failed at: "${events[0]?.reason ?? ""}".`;
      if (!(await confirm(title, text, "Replay"))) return;
      try {
        const answer = await context.api.post(path(name, "/replay"), position === null ? {} : { position });
        show(told, notice("good", `${things(answer.replayed, "event")} will be given again.`));
        await refresh();
      } catch (error) {
        show(told, notice("bad", error instanceof ApiError ? error.message : String(error)));
      }
    };

    const showOne = async () => {
      if (select.value === "") return;
      if (/^\.{1,2}$/.test(select.value)) {
        show(about, notice("warn", "A browser cannot ask for a name that is only dots: use another client for it."));
        return draw([]);
      }
      const name = select.value;
      const now = /** @type {Subscription} */ (await context.api.get(path(name)));
      // another one was chosen meanwhile
      if (name !== select.value) return;
      const failing = now.last_error ? notice("bad", `Its events cannot be read: ${now.last_error.error}`) : null;
      show(about, failing, detail(now));
      draw(now.parked);
    };

    /** @param {Parked[]} events */
    const draw = (events) => {
      waiting = events.filter((event) => !event.replayed);
      all.disabled = waiting.length === 0;
      const rows = JSON.stringify([select.value, events]);
      // rows with buttons are left alone while they say the same: the focus stays
      if (rows !== drawn) parked.set(events);
      drawn = rows;
    };

    const refresh = async () => {
      const answer = /** @type {Promise<{ subscriptions: SubscriptionNumbers[], followers: number }>} */ (
        context.api.get(context.admin("subscriptions"))
      );
      const [now, elsewhere] = await here(answer);
      show(away, now ? null : notice("plain", `${elsewhere}.`));
      list.element.hidden = !now;
      if (!now) {
        one.hidden = true;
        return show(followers);
      }
      show(
        followers,
        facts([
          ["Named subscriptions", count(now.subscriptions.length)],
          ["Parked events", count(now.subscriptions.reduce((sum, s) => sum + s.parked, 0))],
          ["Follow this node now", count(now.followers)],
        ]),
      );
      list.set(now.subscriptions);
      offer(select, now.subscriptions, context.parameters.get("name") ?? "");
      one.hidden = now.subscriptions.length === 0;
      await showOne();
    };
    return { refresh };
  },
};
