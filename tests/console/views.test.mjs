// Every view of a node under load, at two widths, light and dark: it shows what it should, fits, and axe finds nothing.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { accessible, fits, launch, open, picture, settled, view } from "./browser.mjs";
import { append, calls, compact, park, startNode, statement } from "./node.mjs";
import { VIEWS } from "./views.mjs";

let browser;
let node;
let load;

before(async () => {
  node = await startNode(
    (folder) => statement(folder, "calls", ["partition.by = ('dt', 'stream_type')"]) + statement(folder, "orders"),
  );
  await append(node, "calls", calls(120, 9));
  await append(node, "calls", calls(30, 5, "Account"));
  await compact(node, "calls");
  await append(node, "calls", calls(20, 9));
  await compact(node, "calls");
  await park(node, "calls", "bills", { filter: { stream_type: "Call", event_type: "CallEnded" } }, 5);
  await park(node, "calls", "a projection with a long name that says what it is for", {}, 2);
  load = feed();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await load?.end();
  await node?.stop();
});

/** Appends all the time, in batches of growing size. */
function feed() {
  let on = true;
  const events = calls(40, 9).map((event) => ({ ...event, occurred_at: undefined }));
  const loop = async () => {
    for (let i = 0; on; i += 1) {
      await append(node, "calls", events.slice(0, 20 + ((i * 37) % events.length)));
      await new Promise((resolve) => setTimeout(resolve, 60));
    }
  };
  const ended = loop();
  return { end: () => ((on = false), ended) };
}

for (const size of ["desktop", "phone"]) {
  for (const dark of [false, true]) {
    const how = `${size}-${dark ? "dark" : "light"}`;
    test(`every view under load, ${how}`, async () => {
      const { page, close } = await open(browser, `${node.url}/admin/`, { size, dark });
      await settled(page);
      // a rate needs two readings
      await page.getByText("Events/s", { exact: true }).waitFor();
      for (const [name, title] of VIEWS) {
        await view(page, name, title);
        assert.equal(await page.locator("h1").textContent(), title);
        if (name === "streams") await lookUp(page);
        await picture(page, `load-${name}-${how}`);
        await fits(page, `${name} ${how}`);
        // each theme and each width once: together they meet every rule
        if ((size === "desktop") === dark) await accessible(page, `${name} ${how}`);
      }
      await close();
    });
  }
}

async function lookUp(page) {
  await page.getByLabel("Stream type").fill("Call");
  await page.getByLabel("Stream id").fill("subscriber-13");
  await page.getByRole("button", { name: "Read", exact: true }).click();
  await page.getByText("Proven: nothing is missing").waitFor();
  await page.locator("summary").first().click();
}

test("the overview moves with the store", async () => {
  const { page, close } = await open(browser, `${node.url}/admin/`);
  const number = async (tier) =>
    Number((await page.locator(`.tier.${tier} .events`).textContent()).replaceAll(/\D/g, ""));
  await settled(page);
  const first = await number("wal");
  await page.waitForFunction(
    (seen) => Number(document.querySelector(".tier.wal .events").textContent.replaceAll(/\D/g, "")) > seen,
    first,
  );
  await page.getByText("Events/s", { exact: true }).waitFor();
  assert.match(
    await page.locator("figure svg").first().getAttribute("aria-label"),
    /^Events stored a second, last 1 min\. events\/s: now /,
  );
  await page.getByRole("button", { name: "Hold still" }).click();
  const still = await page.locator("#state").textContent();
  assert.match(still, /^still since /);
  await page.getByRole("button", { name: "Hold still" }).click();
  await page.locator("#state.live").waitFor();
  await close();
});

test("another store is one choice away", async () => {
  const { page, close } = await open(browser, `${node.url}/admin/#/files?store=orders`);
  await page.getByText("There is no such file.").waitFor();
  await page.getByLabel("Store").selectOption("calls");
  await page.waitForURL(/store=calls/);
  await page.locator("tbody code", { hasText: "part-" }).first().waitFor();
  await close();
});

test("the heat map and its table choose by type, year and measure", async () => {
  const { page, close } = await open(browser, `${node.url}/admin/#/partitions`);
  await page.locator("rect.heat.h4").first().waitFor();
  const rows = () => page.locator("tbody tr").count();
  await page.getByLabel("Stream type").selectOption("Account");
  assert.equal(await rows(), 30);
  await page.getByLabel("Colour").selectOption("Files");
  assert.match(await page.locator("figure svg").getAttribute("aria-label"), /^Files by date in 2026: 30 dates/);
  await close();
});

test("a read names the tier of each event, and goes on page by page", async () => {
  const { page, close } = await open(browser, `${node.url}/admin/#/streams?type=Call&id=subscriber-7&limit=25`, {
    expected: ["404 (Not Found)"],
  });
  await page.getByText("Proven: nothing is missing from seq 1 to 25.").waitFor();
  assert.equal(
    (await page.locator("td .mark.durable").count()) +
      (await page.locator("td .mark.inmemory").count()) +
      (await page.locator("td .mark.wal").count()),
    25,
  );
  // memory may still hold the whole stream, also what is in files
  await page.getByRole("button", { name: "Next page, from seq 26" }).click();
  await page.getByText("Proven: nothing is missing from seq 26").waitFor();
  const id = await page.locator("tbody details dd").first().textContent();
  await page.getByLabel("Or an event by its id").fill(id);
  await page.getByRole("button", { name: "Find" }).click();
  await page.getByRole("button", { name: "Read its stream from here" }).click();
  await page.getByText("Proven: nothing is missing from seq 26").waitFor();
  await page.getByLabel("Stream id").fill("nobody");
  await page.getByRole("button", { name: "Read", exact: true }).click();
  await page.locator(".notice", { hasText: "there is no stream 'nobody'" }).waitFor();
  assert.match(await page.locator("#announce").textContent(), /^there is no stream 'nobody'/, "it is said as well");
  await close();
});
