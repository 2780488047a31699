// The console page in a browser, served by the server under test: connect, text, files, backpressure, close, keyboard, failure.

import { createHash } from "node:crypto";
import { createServer } from "node:net";
import { check, compressed, launch, readArguments, run, same, say, shoot, stepMs } from "./lib.mjs";

const { words: [baseUrl, shots] } = readArguments("console.mjs BASE_URL SHOT_DIR", 2);
const base = new URL(baseUrl);
const socketUrl = `${base.protocol === "https:" ? "wss:" : "ws:"}//${base.host}/echo`;

// ---- Reading the page

// The rows of the log, oldest first, each with its data-* facts as strings.
const rowsOf = (page) => page.locator("#log .entry").evaluateAll((rows) => rows.map((row) => ({ ...row.dataset })));

const valueOf = async (page, id) => page.locator(`#${id}`).getAttribute("data-value");
const textOf = async (page, id) => (await page.locator(`#${id}`).textContent()).trim();

async function due(promise, what) {
  try {
    return await promise;
  } catch (error) {
    if (error.name === "TimeoutError") throw new Error(`${what}: nothing within ${stepMs / 1000} s`);
    throw error;
  }
}

const stateIs = (page, state) => due(page.waitForFunction(
  (name) => document.getElementById("ready-state").textContent === name, state), `readyState ${state}`);

const valueIs = (page, id, value) => due(page.waitForFunction(
  ([name, text]) => document.getElementById(name).dataset.value === text, [id, String(value)]), `#${id} at ${value}`);

// Waits for a row of the kind among those of the connection (default: any) and gives the last such row.
async function rowOf(page, kind, connection = null) {
  const of = connection === null ? "" : `[data-connection="${connection}"]`;
  const rows = page.locator(`#log .entry[data-kind="${kind}"]${of}`);
  await due(rows.last().waitFor({ state: "attached" }), `a log row "${kind}"${of}`);
  return rows.last().evaluate((row) => ({ ...row.dataset, detail: row.querySelector(".detail").textContent }));
}

async function problemIs(page, area, pattern) {
  const text = await textOf(page, `${area}-error`);
  check(pattern.test(text), `#${area}-error: expected ${pattern}, got "${text}"`);
  check(await page.locator(`#${area}-error`).isVisible(), `#${area}-error is not visible`);
}

// ---- What the page must not do

// Collects every console error, page exception and request to another origin.
function watchPage(page) {
  const seen = { errors: [], foreign: [] };
  page.on("console", (message) => { if (message.type() === "error") seen.errors.push(message.text()); });
  page.on("pageerror", (error) => seen.errors.push(error.message));
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (origin !== base.origin && protocol !== "data:" && protocol !== "blob:") seen.foreign.push(request.url());
  });
  page.on("response", (response) => {
    if (response.status() >= 400) seen.errors.push(`${response.status()} ${response.url()}`);
  });
  return seen;
}

function checkQuiet(seen) {
  same(seen.errors.join(" / "), "", "console errors");
  same(seen.foreign.join(" "), "", "requests to other origins");
}

// ---- The steps

async function refusals(page) {
  same(await textOf(page, "ready-state"), "no socket", "readyState before Connect");
  await page.click("#send-text");
  await problemIs(page, "send", /no socket/);
  await page.click("#close-button");
  await problemIs(page, "close", /no socket/);
  for (const [url, pattern] of [["", /Enter a URL/], ["http://x/", /ws:\/\/ or wss:\/\//], ["ws://[", /not a valid URL/],
    ["ws://x/#part", /fragment/]]) {
    await page.fill("#url", url);
    await page.click("#connect-button");
    await problemIs(page, "connect", pattern);
  }
  await page.fill("#url", socketUrl);
  for (const [names, pattern] of [["a b", /not a subprotocol name/], ["a, a", /twice/]]) {
    await page.fill("#protocols", names);
    await page.click("#connect-button");
    await problemIs(page, "connect", pattern);
  }
  await page.fill("#protocols", "");
  same((await rowsOf(page)).length, 0, "log rows after refusals");
}

async function connects(page) {
  same(await page.inputValue("#url"), socketUrl, "default URL");
  await page.fill("#protocols", "echo");
  await page.click("#connect-button");
  const connect = await rowOf(page, "connect");
  same(connect.state, "CONNECTING", "state in the connect row");
  const open = await rowOf(page, "open");
  same(open.state, "OPEN", "state in the open row");
  await stateIs(page, "OPEN");
  same(await valueOf(page, "states-seen"), "CONNECTING OPEN", "states seen");
  same(await valueOf(page, "protocol"), "echo", "protocol");
  same(await valueOf(page, "binary-type"), "arraybuffer", "binaryType");
  same(await valueOf(page, "extensions"), compressed, "extensions");
  say(`open after ${open.ms} ms`);
}

async function textEcho(page) {
  const text = "Grüße, 世界 🌍 – <b>not markup</b>";
  const bytes = String(Buffer.byteLength(text));
  await page.fill("#text", text);
  await page.click("#send-text");
  const message = await rowOf(page, "message");
  same(message.detail, text, "text echoed");
  same(message.type, "text", "type of the echo");
  same(message.bytes, bytes, "bytes of the echo");
  check(Number(message.roundTripMs) >= 0, "the echo has no round trip");
  await valueIs(page, "messages-in", 1);
  same(await valueOf(page, "bytes-out"), bytes, "bytes sent");
}

const fnv = (bytes) => bytes.reduce((hash, byte) => Math.imul(hash ^ byte, 0x01000193), 0x811c9dc5) >>> 0;

async function binaryEcho(page, bytes, how) {
  const before = Number(await valueOf(page, "messages-in"));
  await page.click("#send-file");
  await valueIs(page, "messages-in", before + 1);
  await due(page.waitForFunction((n) => document.querySelectorAll('#log [data-kind="message"]').length === n, before + 1), how);
  const message = await rowOf(page, "message");
  same(message.type, "binary", `${how}: type of the echo`);
  same(message.bytes, String(bytes.length), `${how}: bytes of the echo`);
  same(message.digest, fnv(bytes).toString(16).padStart(8, "0"), `${how}: digest of the echo`);
  const hex = bytes.subarray(0, 24).toString("hex").replace(/..(?=.)/g, "$& ");
  same(message.detail, bytes.length > 24 ? `${hex} …` : hex, `${how}: hex preview`);
}

async function files(page) {
  const chosen = createHash("shake256", { outputLength: 100_000 }).update("chosen").digest();
  await page.setInputFiles("#file", { name: "chosen.bin", mimeType: "application/octet-stream", buffer: chosen });
  await binaryEcho(page, chosen, "chosen file");

  const dropped = Buffer.from([0x00, 0xff, 0x80, 0x0a, 0x0d, 0x7f, 0xc3, 0x28]);
  const transfer = await page.evaluateHandle((content) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(content)], "dropped.bin"));
    return data;
  }, [...dropped]);
  await page.dispatchEvent("#drop-zone", "dragover", { dataTransfer: transfer });
  await page.dispatchEvent("#drop-zone", "drop", { dataTransfer: transfer });
  await binaryEcho(page, dropped, "dropped file");
}

// 8 MiB at once: the browser must queue, show it, and drain.
async function backpressure(page) {
  const size = 512 * 1024;
  const count = 16;
  const messages = Number(await valueOf(page, "messages-in"));
  const bytes = Number(await valueOf(page, "bytes-in"));
  await page.evaluate(() => {
    const target = document.getElementById("buffered-amount");
    window.bufferedSeen = [];
    new MutationObserver(() => window.bufferedSeen.push(Number(target.dataset.value)))
      .observe(target, { attributes: true, attributeFilter: ["data-value"] });
  });
  await page.fill("#random-size", String(size));
  await page.fill("#random-count", String(count));
  await page.click("#send-random");
  await valueIs(page, "messages-in", messages + count);
  same(Number(await valueOf(page, "bytes-in")), bytes + size * count, "bytes echoed");
  await valueIs(page, "buffered-amount", 0);
  const seen = await page.evaluate(() => window.bufferedSeen);
  const peak = Number(await valueOf(page, "buffered-peak"));
  check(peak > 0 && seen.some((amount) => amount > 0),
    `bufferedAmount never rose above 0 (seen ${seen.join(" ")}, peak ${peak})`);
  same(seen.at(-1), 0, "bufferedAmount at last");
  say(`bufferedAmount: peak ${peak}, seen ${seen.length} values`);
  const large = `#log [data-kind="message"][data-bytes="${size}"]`;
  await due(page.locator(large).nth(count - 1).waitFor({ state: "attached" }), `${count} rows of large echoes`);
  const echoes = (await rowsOf(page)).filter((row) => row.kind === "message" && row.bytes === String(size));
  same(echoes.length, count, "rows of the large echoes");
  check(echoes.every((row) => row.roundTripMs !== undefined), "a large echo differs from what was sent");
}

async function closes(page) {
  for (const [code, reason, pattern] of [["1001", "", /1000 or with 3000 to 4999/], ["abc", "", /3000 to 4999/],
    ["", "why", /needs a code/], ["3001", "ü".repeat(62), /124 bytes/]]) {
    await page.fill("#close-code", code);
    await page.fill("#close-reason", reason);
    await page.click("#close-button");
    await problemIs(page, "close", pattern);
  }
  same(await textOf(page, "ready-state"), "OPEN", "readyState after refused closes");
  await page.fill("#close-code", "3001");
  await page.fill("#close-reason", "done");
  await page.click("#close-button");
  same((await rowOf(page, "close-call")).state, "CLOSING", "state in the close() row");
  const close = await rowOf(page, "close");
  same(`${close.code} ${close.reason} ${close.wasClean} ${close.state}`, "3001 done true CLOSED", "close event");
  await stateIs(page, "CLOSED");
  same(await valueOf(page, "states-seen"), "CONNECTING OPEN CLOSING CLOSED", "states seen");
  same(await textOf(page, "close-error"), "", "close problem");
  await page.click("#send-text");
  await problemIs(page, "send", /CLOSED, not OPEN/);
}

// Tab and typing alone: the page starts with nothing focused.
async function keyboard(page) {
  await page.reload();
  const focused = () => page.evaluate(() => document.activeElement.id);
  const tabTo = async (id) => {
    for (let i = 0; i < 20; i += 1) {
      if (await focused() === id) return;
      await page.keyboard.press("Tab");
    }
    throw new Error(`Tab does not reach #${id}`);
  };
  await tabTo("protocols");
  await page.keyboard.type("chat, echo");
  await page.keyboard.press("Tab");
  same(await focused(), "connect-button", "focus after the subprotocols");
  await page.keyboard.press("Enter");
  await stateIs(page, "OPEN");
  same(await valueOf(page, "protocol"), "echo", "protocol");
  await tabTo("text");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("typed by hand");
  await page.keyboard.press("Control+Enter");
  same((await rowOf(page, "message")).detail, "typed by hand", "echo of typed text");
  await page.keyboard.press("Meta+Enter");
  await valueIs(page, "messages-in", 2);
  await tabTo("close-button");
  await page.keyboard.press("Space");
  const close = await rowOf(page, "close");
  same(close.wasClean, "true", "wasClean of a close without a code");
}

// A port that was free a moment ago and listens no more.
async function closedPort() {
  const server = createServer();
  await new Promise((resolve) => { server.listen(0, "127.0.0.1", resolve); });
  const { port } = server.address();
  await new Promise((resolve) => { server.close(resolve); });
  return port;
}

async function fails(page, url, connection) {
  await page.fill("#url", url);
  await page.click("#connect-button");
  await rowOf(page, "connect", connection);
  await rowOf(page, "error", connection);
  await stateIs(page, "CLOSED");
  const end = page.locator("#connect-error", { hasText: "Content-Security-Policy" })
    .or(page.locator(`#log .entry[data-kind="close"][data-connection="${connection}"]`));
  await due(end.first().waitFor({ state: "attached" }), `the end of the failed ${url}`);
  if (/Content-Security-Policy/.test(await textOf(page, "connect-error"))) {
    say(`the page's policy forbids ${url}`);
    check(new URL(url).host !== base.host, "the page's policy forbids its own host");
    return;
  }
  const close = await rowOf(page, "close", connection);
  same(`${close.code} ${close.wasClean} ${close.state}`, "1006 false CLOSED", `close event of the failed ${url}`);
}

// Browsers report a failed connection as a console error: those are due here, and only those.
async function failures(page, seen) {
  const before = seen.errors.length;
  await fails(page, socketUrl.replace(/echo$/, "no-such-endpoint"), 2);
  await fails(page, `ws://127.0.0.1:${await closedPort()}/echo`, 3);
  const unexpected = seen.errors.slice(before).filter((text) => !/WebSocket|Content Security Policy/i.test(text));
  same(unexpected.join(" / "), "", "console errors of failed connections");
  seen.errors.length = before;
  await page.click("#clear-log");
  same((await rowsOf(page)).length, 0, "log rows after Clear");
}

// ---- The pictures

async function picture(browser, defer, file, options) {
  const context = await browser.newContext(options);
  defer(() => context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(stepMs);
  await page.goto(baseUrl);
  await page.fill("#protocols", "echo");
  await page.click("#connect-button");
  await stateIs(page, "OPEN");
  await page.click("#send-text");
  await valueIs(page, "messages-in", 1);
  await page.click("#send-random");
  await valueIs(page, "messages-in", 2);
  await page.fill("#text", "Grüße aus Köln: 2 × 3 = 6, ½ €");
  await page.click("#send-text");
  await valueIs(page, "messages-in", 3);
  await page.fill("#text", "Hello, WebSocket");
  await page.fill("#close-code", "3001");
  await page.fill("#close-reason", "done");
  await page.locator("#log .entry").nth(7).waitFor({ state: "attached" });
  await page.evaluate(() => {
    document.activeElement.blur();
    scrollTo(0, 0);
  });
  await page.mouse.move(0, 0);
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  check(width <= options.viewport.width, `${file}: the page is ${width} px wide, the window ${options.viewport.width}`);
  await shoot(page, shots, file);
}

await run("console", async (defer) => {
  const browser = await launch(defer);
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, ignoreHTTPSErrors: base.protocol === "https:" });
  page.setDefaultTimeout(stepMs);
  const seen = watchPage(page);
  const step = async (name, action) => {
    say(`console: ${name}`);
    try {
      await action();
    } catch (error) {
      await shoot(page, shots, "console-failed.png").catch(() => {});
      throw new Error(`${name}: ${error.message}`);
    }
  };
  const response = await page.goto(baseUrl);
  same(response.status(), 200, `GET ${base.pathname}`);
  const steps = { refusals, connects, textEcho, files, backpressure, closes, keyboard };
  for (const [name, action] of Object.entries(steps)) await step(name, () => action(page));
  await step("quiet page", () => checkQuiet(seen));
  await step("failures", () => failures(page, seen));
  await step("quiet page", () => checkQuiet(seen));
  const shared = { ignoreHTTPSErrors: base.protocol === "https:" };
  const desk = { width: 1280, height: 900 };
  await step("pictures", async () => {
    await picture(browser, defer, "console-light.png", { ...shared, viewport: desk, colorScheme: "light" });
    await picture(browser, defer, "console-dark.png", { ...shared, viewport: desk, colorScheme: "dark" });
    const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
    await picture(browser, defer, "console-phone.png", { ...shared, ...phone, colorScheme: "light" });
  });
});
