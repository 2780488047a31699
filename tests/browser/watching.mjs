// What the tests of the status page share: somebody who looks at it, and clients of /echo for it to show.

import WebSocket from "ws";
import { check, same, shoot, stepMs } from "./lib.mjs";

// `options`: of the browser's context. What goes wrong on the page is in its `problems`; `server` tells of a server that is away
// or refuses, which browsers call an error.
export async function watch(browser, defer, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 1000 }, ...options });
  defer(() => context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(stepMs);
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(error.message));
  page.on("request", (request) => { if (new URL(request.url()).host !== url.host) page.problems.push(`asked for ${request.url()}`); });
  page.on("console", (message) => {
    if (message.type() === "error" && !/WebSocket connection|ERR_|status of 403/.test(message.text())) page.problems.push(message.text());
  });
  return page;
}

export async function due(promise, what) {
  try {
    return await promise;
  } catch (error) {
    if (error.name === "TimeoutError") throw new Error(`${what}: not within ${stepMs / 1000} s`);
    throw error;
  }
}

export const stateIs = (page, state) => due(page.locator(`#state[data-state="${state}"]`).waitFor(), `state ${state}`);

// Waits for the text of the first element that the selector finds.
export const reads = (page, selector, pattern) => due(page.waitForFunction(
  ([where, source]) => new RegExp(source).test(document.querySelector(where)?.textContent ?? ""), [selector, pattern.source]),
`${selector} as ${pattern}`);

export const cell = (location, column) => `#locations tr[data-key$=" ${location}"] td[data-column="${column}"]`;
export const bar = (list, key) => `#${list} li[data-key="${key}"] .number`;

// The number of points that the chart has drawn of a series.
export const pointsOf = (page, chart, tone) => page.locator(`#${chart} path.line.${tone}`).evaluateAll(
  ([path]) => path?.getAttribute("d").match(/[ML]/g).length ?? 0);

export const untilPoints = (page, chart, tone, least) => due(page.waitForFunction(([id, name, count]) => {
  const path = document.querySelector(`#${id} path.line.${name}`);
  return path && path.getAttribute("d").match(/[ML]/g).length >= count;
}, [chart, tone, least]), `${least} points of ${tone} in #${chart}`);

export async function client(url, options = {}) {
  const socket = new WebSocket(url, options);
  await new Promise((resolve, reject) => {
    socket.on("open", resolve);
    socket.on("error", reject);
  });
  socket.ended = new Promise((resolve) => { socket.on("close", (code, reason) => resolve(`${code} ${reason}`.trim())); });
  return socket;
}

export const clients = (count, url, options) => Promise.all(Array.from({ length: count }, () => client(url, options)));

// Sends texts on, of about so many bytes and some of them at once, until the end of the test.
export function chatter(defer, sockets, { everyMs = 100, bytes = 200 } = {}) {
  let turn = 0;
  const timer = setInterval(() => {
    turn += 1;
    for (const [i, socket] of sockets.entries()) {
      const count = 1 + Math.round(2 + 2 * Math.sin(turn / 9 + i));
      for (let n = 0; n < count && socket.readyState === WebSocket.OPEN; n += 1) socket.send("x".repeat(bytes));
    }
  }, everyMs);
  defer(() => clearInterval(timer));
}

async function fits(page, what) {
  const [wide, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  check(wide <= window, `${what}: the page is ${wide} px wide, the window ${window}`);
}

export const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };

// What is written with too little contrast against the cards (WCAG 2.2, 1.4.3 and 1.4.11: 4.5 for text, 3 for lines).
const faint = (page) => page.evaluate(() => {
  const luminance = (color) => {
    const [r, g, b] = color.match(/[\d.]+/g).map((n) => n / 255).map((n) => (n <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const card = luminance(getComputedStyle(document.querySelector(".card")).backgroundColor);
  const contrast = (color) => (Math.max(luminance(color), card) + 0.05) / (Math.min(luminance(color), card) + 0.05);
  const texts = [...document.querySelectorAll(".card :is(h2, dt, dd, td, p, .number, .recent, .label, th button)")]
    .filter((each) => each.checkVisibility()).map((each) => [each.textContent, contrast(getComputedStyle(each).color), 4.5]);
  const lines = [...document.querySelectorAll(".line")].map((each) => [each.getAttribute("class"), contrast(getComputedStyle(each).stroke), 3]);
  return [...texts, ...lines].filter(([, has, least]) => has < least).map(([what, has]) => `${what} (${has.toFixed(1)})`);
});

// A picture of a page that is as wide as its screen, can be read, and has had no problem.
export async function picture(page, folder, file) {
  await fits(page, file);
  same((await faint(page)).join(", "), "", `${file}: with too little contrast`);
  await shoot(page, folder, file);
  same(page.problems.join(" / "), "", `what went wrong on the page of ${file}`);
}
