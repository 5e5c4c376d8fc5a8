// Chromium as the system has it, driven by playwright-core: pages at two widths, light and dark, that fail a test which leaves an error in
// the console of the browser, breaks the policy of the page, or makes the page wider than the screen.

import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { ROOT } from "./node.mjs";

const SHOTS = join(ROOT, "target/console");
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PLACES = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-headless-shell",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
];

export const SIZES = { desktop: { width: 1280, height: 900 }, phone: { width: 375, height: 780 } };

/** Where the browser is: what `STRANDLINE_TEST_CHROMIUM` names, or where Debian puts it. */
function executable() {
  const found = [process.env.STRANDLINE_TEST_CHROMIUM, ...PLACES].find((path) => path && existsSync(path));
  if (!found)
    throw new Error("there is no Chromium: sudo apt-get install chromium, or name one by STRANDLINE_TEST_CHROMIUM");
  return found;
}

export async function launch() {
  mkdirSync(SHOTS, { recursive: true });
  // a container's root has no namespaces to build the sandbox from; only our own pages are opened
  return chromium.launch({ executablePath: executable(), args: ["--no-sandbox", "--disable-gpu"] });
}

/** A page that collects what went wrong in it. `expected`: messages that the test provokes. */
export async function open(browser, url, { size = "desktop", dark = false, expected = [], route } = {}) {
  const context = await browser.newContext({
    viewport: SIZES[size],
    colorScheme: dark ? "dark" : "light",
    reducedMotion: "reduce",
    timezoneId: "Europe/Berlin",
    locale: "de-DE",
  });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const wrong = [];
  // the browser notes each answer that is a no, too
  const note = (text) => expected.some((part) => text.includes(part)) || wrong.push(text);
  page.on("pageerror", (error) => note(String(error)));
  page.on(
    "console",
    (message) => ["error", "warning"].includes(message.type()) && note(`${message.text()} ${message.location().url}`),
  );
  page.on(
    "request",
    (request) => new URL(request.url()).origin === new URL(url).origin || note(`foreign: ${request.url()}`),
  );
  if (route) await route(page);
  await page.goto(url);
  return {
    page,
    close: async () => {
      // what still answers in the node's place has nobody to answer any more
      await page.unrouteAll({ behavior: "ignoreErrors" });
      await context.close();
      assert.deepEqual(wrong, []);
    },
  };
}

/** Goes to a view and waits until it shows the node's numbers. */
export async function view(page, name, title) {
  await page.getByRole("navigation", { name: "Views" }).getByRole("link", { name: title, exact: true }).click();
  await page.waitForURL(new RegExp(`#/${name}`));
  await settled(page);
}

/** Waits for a whole round from now on; the page asks at once when it comes into sight. */
export async function settled(page) {
  await page.locator("#view section").first().waitFor();
  await page.evaluate(() => {
    document.querySelector("#state").dataset.round = "";
    document.dispatchEvent(new Event("visibilitychange"));
  });
  await page.waitForFunction(() => document.querySelector("#state").dataset.round !== "");
}

/** A picture under target/console, for people to look at. */
export async function picture(page, name) {
  await page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage: true });
}

/** Nothing is cut off or hangs over the edge. */
export async function fits(page, what) {
  const [wide, screen] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(wide <= screen, `${what}: ${wide} pixels wide on a screen of ${screen}`);
}

/** No finding of axe: roles, names, contrast, structure. */
export async function accessible(page, what) {
  if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(AXE);
  const findings = await page.evaluate(async () => {
    const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
    const { violations } = await globalThis.axe.run(document, { runOnly: { type: "tag", values: tags } });
    return violations.map(
      (v) =>
        `${v.id}: ${v.help}: ${v.nodes
          .slice(0, 3)
          .map((n) => `${n.target} ${n.failureSummary}`)
          .join("; ")}`,
    );
  });
  assert.deepEqual(findings, [], what);
}
