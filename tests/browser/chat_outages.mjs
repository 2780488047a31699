// The chat page while connections are lost, the server restarts, and dies. What the server is to go through is asked for on standard output,
// a word a line ("restart", "kill", "start"); it is done when a line comes back.
//
// Ada's connections lead through a relay, which can be cut without the server or the others noticing.

import { connect, createServer } from "node:net";
import { createInterface } from "node:readline";
import { check, launch, readArguments, run, same, say, shoot } from "./lib.mjs";
import { logOf, person, publishes, reads, readsOnce, stateIs, write } from "./people.mjs";

const { words: [baseUrl, shots] } = readArguments("chat_outages.mjs BASE_URL SHOT_DIR", 2);
const base = new URL(baseUrl);
const many = Array.from({ length: 60 }, (_, i) => `meanwhile ${i}`);
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function server(word) {
  process.stdout.write(`${word}\n`);
  check(!(await answers.next()).done, `nobody did "${word}"`);
}

async function relay(defer) {
  const open = new Set();
  let whole = true;
  const listener = createServer((client) => {
    if (!whole) {
      client.destroy();
      return;
    }
    const upstream = connect(Number(base.port), base.hostname);
    for (const [one, other] of [[client, upstream], [upstream, client]]) {
      open.add(one);
      one.on("error", () => {});
      one.on("close", () => { open.delete(one); other.destroy(); });
      one.pipe(other);
    }
  });
  await new Promise((resolve) => { listener.listen(0, "127.0.0.1", resolve); });
  const cut = () => {
    whole = false;
    for (const each of open) each.destroy();
  };
  defer(() => { cut(); listener.close(); });
  return { url: new URL(`http://127.0.0.1:${listener.address().port}/`), cut, mend: () => { whole = true; } };
}

async function interruptions(ada, bob, wire) {
  wire.cut();
  await stateIs(ada, "waiting");
  await write(ada, "Ada, cut off");
  await reads(ada, "Ada, cut off", { state: "pending" });
  await write(bob, "Bob, before the restart");
  await publishes(base, "lobby", many); // more than are asked for on entering
  await server("restart");
  await write(bob, "Bob, after the restart");
  await reads(bob, "Bob, after the restart", { state: "sent" });
  wire.mend();
  await readsOnce(ada, "Ada", [...many, "Bob, before the restart", "Bob, after the restart", "Ada, cut off", "Before it all"]);
  await readsOnce(bob, "Bob", ["Bob, before the restart", "Bob, after the restart", "Ada, cut off", "Before it all"]);
  same(await logOf(ada).locator(".gap").count(), 0, "gaps after a graceful restart");
  say("resumed after a graceful restart");

  await server("kill");
  await stateIs(ada, "waiting");
  await stateIs(bob, "waiting");
  await write(ada, "Ada, without a server");
  await write(bob, "Bob, without a server");
  await reads(bob, "Bob, without a server", { state: "pending" });
  await ada.locator("#retry").waitFor();
  await ada.getByText("Waiting for the connection", { exact: true }).waitFor();
  await shoot(ada, shots, "chat-offline.png");
  await server("start");
  for (const [page, who] of [[ada, "Ada"], [bob, "Bob"]]) {
    await stateIs(page, "open");
    await readsOnce(page, who, ["Ada, without a server", "Bob, without a server", "Ada, cut off"]);
    await page.locator("[data-state='pending']").waitFor({ state: "detached" });
    await shoot(page, shots, `chat-${who.toLowerCase()}-after.png`);
  }
  say("resumed after the server was killed");
}

await run("chat_outages", async (defer) => {
  const wire = await relay(defer);
  const browser = await launch(defer);
  const ada = await person(browser, "Ada", wire.url);
  const bob = await person(browser, "Bob", base);
  await write(bob, "Before it all");
  await reads(ada, "Before it all");
  await interruptions(ada, bob, wire);
  same([...ada.problems, ...bob.problems].join(" / "), "", "what went wrong on the pages");
});
