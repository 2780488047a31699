// The status page while the server restarts, dies and comes back. What the server is to go through is asked for on standard output, a
// word a line ("restart", "kill", "start"); it is done when a line comes back.

import { createInterface } from "node:readline";
import { check, launch, readArguments, run, same } from "./lib.mjs";
import { cell, client, pointsOf, reads, stateIs, untilPoints, watch } from "./watching.mjs";

const { words: [statusUrl, echoUrl] } = readArguments("status_outages.mjs STATUS_URL ECHO_URL", 2);
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function server(word) {
  process.stdout.write(`${word}\n`);
  check(!(await answers.next()).done, `nobody did "${word}"`);
}

const liveAgain = async (page, opened) => {
  const one = await client(echoUrl);
  await stateIs(page, "live");
  await reads(page, cell("/echo", "opened"), opened);
  one.close();
  await untilPoints(page, "open", "plain", await pointsOf(page, "open", "plain") + 2);
};

await run("status_outages", async (defer) => {
  const browser = await launch(defer);
  const page = await watch(browser, defer, new URL(statusUrl));
  await page.goto(statusUrl);
  await liveAgain(page, /^1$/);
  await server("restart");
  await liveAgain(page, /^2$/);

  await server("kill");
  await stateIs(page, "waiting");
  await reads(page, "#state-more", /^in \d+ s$/);
  await page.click("#retry");
  await stateIs(page, "waiting");
  await server("start");
  await liveAgain(page, /^1$/); // A new life, counted from nothing.
  same(page.problems.join(" / "), "", "what went wrong on the page");
});
