// A page opened from disk (Origin: null) sends a message, gets it back, and sees the server close the connection.
//
// Prints READY on stdout once the echo has arrived and the socket is open: the caller then stops the server. Prints
// "CLOSED code wasClean" when the page has its close event, which must be 1001 and clean.

import { fileURLToPath } from "node:url";
import { check, launch, readArguments, run, same, say, shoot, stepMs } from "./lib.mjs";

const { words: [port, shots] } = readArguments("demo.mjs PORT SHOT_DIR", 2);

await run("demo", async (defer) => {
  const browser = await launch(defer);
  const page = await browser.newPage({ viewport: { width: 760, height: 420 } });
  page.setDefaultTimeout(stepMs);
  const file = new URL("./demo.html", import.meta.url);
  file.hash = port;
  say(`opening ${fileURLToPath(new URL("./demo.html", import.meta.url)).split("/").at(-1)} from disk, port ${port}`);
  await page.goto(file.href);
  same(await page.evaluate(() => origin), "null", "the page's origin");

  const settled = page.locator('[data-kind="message"], [data-kind="error"], [data-kind="close"]').first();
  await settled.waitFor();
  same(await settled.getAttribute("data-kind"), "message", "the first event after open");
  same(await settled.getAttribute("data-text"), "Hello from a file: Grüße, 世界 🌍", "the echo");
  say("echo received");

  process.stdout.write("READY\n");
  const close = page.locator('[data-kind="close"]');
  await close.waitFor({ timeout: 0 });
  const code = Number(await close.getAttribute("data-code"));
  const wasClean = await close.getAttribute("data-was-clean");
  process.stdout.write(`CLOSED ${code} ${wasClean}\n`);
  await shoot(page, shots, "demo.png");
  check(wasClean === "true" && code === 1001, `the page saw code ${code}, wasClean ${wasClean}; 1001 and true were due`);
});
