// Questions to the person: whether to do something, and the bearer token. Each is a modal dialog of the browser, which keeps the focus
// inside and gives it back.

import { h } from "./dom.js";

/**
 * @template T
 * @param {T} otherwise what an Escape answers
 * @param {(answer: (value: T) => void) => HTMLElement[]} content
 * @param {string} title
 * @returns {Promise<T>}
 */
function ask(title, otherwise, content) {
  return new Promise((resolve) => {
    let given = otherwise;
    const id = "dialog-title";
    const dialog = h("dialog", { "aria-labelledby": id });
    const answer = (/** @type {T} */ value) => {
      given = value;
      dialog.close();
    };
    dialog.append(h("h2", { id }, title), ...content(answer));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(given);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/**
 * Whether to do it. The focus is on the way back: Enter alone does nothing.
 *
 * @param {string} title
 * @param {string} text what will happen
 * @param {string} verb of the button that does it
 * @returns {Promise<boolean>}
 */
export function confirm(title, text, verb) {
  return ask(title, false, (answer) => [
    h("p", {}, text),
    h(
      "div",
      { class: "buttons" },
      h("button", { type: "button", autofocus: true, click: () => answer(false) }, "Leave it"),
      h("button", { type: "button", class: "primary", click: () => answer(true) }, verb),
    ),
  ]);
}

/**
 * @param {boolean} wrong the one before was refused
 * @returns {Promise<string | null>}
 */
export function askToken(wrong) {
  return ask(
    wrong ? "The node refused this token" : "The node asks for a token",
    /** @type {string | null} */ (null),
    (answer) => {
      const field = h("input", {
        type: "password",
        id: "token",
        autocomplete: "off",
        spellcheck: "false",
        required: true,
      });
      const submit = (/** @type {Event} */ event) => {
        event.preventDefault();
        const token = field.value.trim();
        if (token !== "") answer(token);
      };
      return [
        h(
          "form",
          { submit },
          h("label", { for: "token" }, "Bearer token"),
          field,
          h(
            "p",
            { class: "hint" },
            "It stays in this tab's memory: a reload asks again. What it may do is decided by its role.",
          ),
          h(
            "div",
            { class: "buttons" },
            h("button", { type: "button", click: () => answer(null) }, "Go on without"),
            h("button", { type: "submit", class: "primary" }, "Use it"),
          ),
        ),
      ];
    },
  );
}
