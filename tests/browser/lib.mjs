// What the browser and peer tests share: a deadline, checks, and a browser that is always closed.
//
// A test is `run(usage, main)`: progress goes to stderr, a failure is one line there and exit status 1, wrong arguments are 2.

import { mkdirSync } from "node:fs";
import { join } from "node:path";

export const deadlineMs = 60_000;

// The longest wait for one expected thing: below the deadline, so that the failure names the thing.
export const stepMs = 15_000;

// What a client that offers compression is told by default.
export const compressed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

export const say = (text) => process.stderr.write(`${text}\n`);

export function check(condition, message) {
  if (!condition) throw new Error(message);
}

export function same(actual, expected, what) {
  check(Object.is(actual, expected), `${what}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`);
}

// The first line, without colour codes: what follows it in the browser driver's messages is its call log.
const oneLine = (error) => String(error?.message ?? error).split("\n")[0].replace(/\x1b\[[0-9;]*m/g, "");

// Splits the command line into flags (--name) and words; ends the process with the usage text when the words do not fit.
export function readArguments(usage, wordCount, flags = []) {
  const words = process.argv.slice(2).filter((word) => !word.startsWith("--"));
  const given = process.argv.slice(2).filter((word) => word.startsWith("--"));
  if (words.length !== wordCount || given.some((flag) => !flags.includes(flag))) {
    say(`usage: ${usage}`);
    process.exit(2);
  }
  return { words, flags: new Set(given) };
}

// Runs `main(defer)`; the functions given to `defer` run at the end, last first, whatever happened.
export async function run(name, main) {
  const cleanups = [];
  let timer;
  const deadline = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${deadlineMs / 1000} s`)), deadlineMs);
    process.on("unhandledRejection", reject);
  });
  let status = 0;
  try {
    await Promise.race([main((cleanup) => cleanups.push(cleanup)), deadline]);
    say(`${name}: ok`);
  } catch (error) {
    say(`${name}: FAILED: ${oneLine(error)}`);
    status = 1;
  }
  clearTimeout(timer);
  const cleaned = (async () => {
    for (const cleanup of cleanups.reverse()) await Promise.resolve(cleanup()).catch(() => {});
  })();
  await Promise.race([cleaned, new Promise((resolve) => { setTimeout(resolve, 5000); })]);
  process.exit(status);
}

export async function launch(defer) {
  const args = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"];
  if (process.getuid?.() === 0) args.push("--no-sandbox");
  const { chromium } = await import("playwright-core");
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args });
  defer(() => browser.close());
  say(`browser: ${browser.version()}`);
  return browser;
}

export async function shoot(page, folder, file) {
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, file) });
  say(`screenshot: ${file}`);
}
