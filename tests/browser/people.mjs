// What the tests of the chat page share: people, each in a browser of their own, and a publisher who speaks the subprotocol.

import WebSocket from "ws";
import { check, same, stepMs } from "./lib.mjs";

export async function person(browser, name, url, { screen = {}, room = "lobby" } = {}) {
  const context = await browser.newContext({ viewport: { width: 1180, height: 800 }, ...screen });
  const page = await context.newPage();
  page.setDefaultTimeout(stepMs);
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(error.message));
  page.on("dialog", (dialog) => { page.problems.push(`a dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on("request", (request) => { if (new URL(request.url()).host !== url.host) page.problems.push(`asked for ${request.url()}`); });
  // A policy that the page breaks itself would be one of these; a server that is away is not the page's fault.
  page.on("console", (message) => {
    if (message.type() === "error" && !/WebSocket connection|ERR_|404/.test(message.text())) page.problems.push(message.text());
  });
  await page.goto(new URL(`chat.html#${room}`, url).href);
  await rename(page, name);
  await stateIs(page, "open");
  return page;
}

export async function rename(page, name) {
  await page.click("#user");
  await page.fill("#name", name);
  await page.press("#name", "Enter");
  await shows(page, "#user-name", name, "the name shown");
}

// Waits until the element's text is that: an event later, or a frame, the page does what it was told.
export async function shows(page, selector, text, what) {
  await page.waitForFunction(([where, wanted]) => document.querySelector(where)?.textContent === wanted, [selector, text]).catch(() => {});
  same(await page.locator(selector).textContent(), text, what);
}

// Waits until all that has reached the page is drawn.
export const drawn = (page) => page.evaluate(() => new Promise((done) => { requestAnimationFrame(() => requestAnimationFrame(done)); }));

export const logOf = (page) => page.locator(".log:not([hidden])");
export const stateIs = (page, state) => page.locator(`#state[data-state="${state}"]`).waitFor().catch(() => {
  throw new Error(`the connection is not ${state} within ${stepMs / 1000} s`);
});

export async function write(page, text) {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
}

// Waits for the text, from that author, `state` being what its sender sees; gives its entry.
export async function reads(page, text, { author = null, state = null } = {}) {
  const entry = logOf(page).locator(`.entry${state ? `[data-state="${state}"]` : ""}`)
    .filter({ has: page.getByText(text, { exact: true }) });
  await entry.first().waitFor({ state: "attached" }).catch(() => { throw new Error(`"${text}"${state ? ` (${state})` : ""} does not come`); });
  if (author) same(await entry.first().locator(".author").textContent(), author, `the author of "${text}"`);
  return entry.first();
}

export const textsOf = (page) => logOf(page).locator(".text").allTextContents();

export async function readsOnce(page, who, texts) {
  const missing = () => logOf(page).locator(".text").evaluateAll(
    (all, wanted) => wanted.find((text) => !all.some((each) => each.textContent === text)) ?? null, texts);
  const end = Date.now() + stepMs;
  while (await missing() !== null && Date.now() < end) await page.waitForTimeout(50);
  const all = await textsOf(page);
  for (const text of texts) same(all.filter((each) => each === text).length, 1, `times that ${who} reads "${text}"`);
}

// ---- Somebody else, who speaks the subprotocol

export async function publishes(base, topic, data, more = {}) {
  const socket = new WebSocket(new URL("/chat", base.href.replace(/^http/, "ws")), "topics.v1");
  await new Promise((resolve, reject) => {
    socket.on("open", resolve);
    socket.on("error", reject);
  });
  for (const each of [data].flat()) {
    const answer = new Promise((resolve) => { socket.once("message", resolve); });
    socket.send(JSON.stringify({ type: "publish", topic, data: each, ref: 1, ...more }));
    same(JSON.parse(await answer).type, "published", "the answer to a publication");
  }
  socket.close();
}
