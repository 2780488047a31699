// The status page: what clients do is what it shows, by its socket and without one; it stops and starts; nothing it shows is markup.

import WebSocket from "ws";
import { check, launch, readArguments, run, same, say } from "./lib.mjs";
import { bar, cell, chatter, client, clients, due, pointsOf, reads, stateIs, untilPoints, watch } from "./watching.mjs";

const { words: [statusUrl, echoUrl] } = readArguments("status.mjs STATUS_URL ECHO_URL", 2);
const url = new URL(statusUrl);

async function shows(page, defer) {
  const seven = await clients(7, echoUrl);
  await reads(page, cell("/echo", "open"), /^7$/);
  await reads(page, cell("/echo", "opened"), /^7$/);
  chatter(defer, seven);
  await untilPoints(page, "messages", "in", 3);
  await reads(page, cell("/echo", "received"), /^[1-9]/);
  await reads(page, cell("/echo", "bytesSent"), /^[1-9].*B\/s$/);
  await reads(page, "#messages-now", /^[1-9].*\/s$/);
  await reads(page, "#children tbody td", /^\d+$/);
  await reads(page, "#about", /^mod_websocket \d+\.\d+\.\d+ · .* · up \d/);
  for (const each of seven) each.close(3001, "done");
  await reads(page, bar("codes", "3xxx"), /^7$/);
  await reads(page, bar("causes", "client"), /^7$/);
  await reads(page, cell("/echo", "open"), /^0$/);
  await reads(page, cell("/echo", "closed"), /^7$/);
  const refused = new WebSocket(echoUrl, { origin: "https://elsewhere.example" });
  await new Promise((resolve) => { refused.on("error", resolve); });
  await reads(page, bar("refused", "origin"), /^1$/);
}

// The pointer tells of the past, in every chart.
async function pointer(page) {
  await page.hover("#open .plot");
  await due(page.waitForFunction(() => document.querySelectorAll(".cursor line").length === document.querySelectorAll(".chart svg").length),
    "a cursor in every chart");
  await page.mouse.move(0, 0);
  await page.locator(".cursor line").first().waitFor({ state: "detached" });
}

async function sorts(page) {
  const head = page.locator("#locations th", { hasText: "Opened" });
  await head.getByRole("button").click();
  same(await head.getAttribute("aria-sort"), "descending", "order after a click");
  await head.getByRole("button").press("Enter");
  same(await head.getAttribute("aria-sort"), "ascending", "order after the second");
}

async function stops(page) {
  await page.click("#stop");
  await stateIs(page, "stopped");
  const before = await pointsOf(page, "open", "plain");
  await page.click("#stop");
  await stateIs(page, "live");
  await untilPoints(page, "open", "plain", before + 2);
}

// Where no WebSocket gets through, say at a proxy.
async function polls(browser, defer) {
  const page = await watch(browser, defer, url);
  await page.routeWebSocket(/.*/, (socket) => socket.close());
  await page.goto(url.href);
  await stateIs(page, "polling");
  const one = await client(echoUrl);
  await reads(page, cell("/echo", "open"), /^1$/);
  await untilPoints(page, "open", "plain", 2);
  one.close();
  await reads(page, cell("/echo", "open"), /^0$/);
  same(page.problems.join(" / "), "", "what went wrong on the polling page");
}

async function staysStill(browser, defer) {
  const page = await watch(browser, defer, url, { reducedMotion: "reduce" });
  await page.goto(url.href);
  await stateIs(page, "live");
  same(await page.evaluate(() => document.getAnimations().length), 0, "animations where reduced motion is wanted");
}

await run("status", async (defer) => {
  const browser = await launch(defer);
  const page = await watch(browser, defer, url);
  const answer = await page.goto(url.href);
  same(answer.status(), 200, "GET");
  const { "content-security-policy": policy, "x-frame-options": frames, "x-content-type-options": sniffing } = answer.headers();
  check(policy?.startsWith("default-src 'none'") && !/unsafe/.test(policy), `Content-Security-Policy: ${policy}`);
  same(`${frames} ${sniffing}`, "DENY nosniff", "X-Frame-Options and X-Content-Type-Options");
  await stateIs(page, "live");
  for (const [name, step] of Object.entries({ shows, pointer, sorts, stops })) {
    say(`status: ${name}`);
    await step(page, defer);
  }
  check(await page.locator("#admin").isHidden(), "the list of connections is shown to everybody");
  same(page.problems.join(" / "), "", "what went wrong on the page");
  for (const [name, step] of Object.entries({ polls, staysStill })) {
    say(`status: ${name}`);
    await step(browser, defer);
  }
});
