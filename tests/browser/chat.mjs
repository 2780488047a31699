// The chat page: two people, a late comer, and a publisher who has read no manual.

import { check, launch, readArguments, run, same, say } from "./lib.mjs";
import { drawn, logOf, person, publishes, reads, rename, shows, textsOf, write } from "./people.mjs";

const { words: [baseUrl] } = readArguments("chat.mjs BASE_URL", 1);
const base = new URL(baseUrl);

async function talk(ada, bob) {
  await ada.locator("#empty").waitFor();
  check((await ada.locator("#empty").textContent()).includes("#lobby"), "the empty room does not say its name");
  await write(ada, "Has anybody tried a graceful restart yet?");
  const own = await reads(ada, "Has anybody tried a graceful restart yet?", { state: "sent" });
  check((await own.getAttribute("class")).includes("mine"), "her own message does not look like hers");
  const seen = await reads(bob, "Has anybody tried a graceful restart yet?", { author: "Ada" });
  check(!(await seen.getAttribute("class")).includes("mine"), "her message looks like his");
  await write(bob, "Yes, with the load of a Monday.");
  await write(bob, "Nobody noticed: https://httpd.apache.org/docs/2.4/stopping.html#graceful.");
  await reads(ada, "Yes, with the load of a Monday.", { author: "Bob" });
  const link = (await reads(ada, "Nobody noticed: https://httpd.apache.org/docs/2.4/stopping.html#graceful.")).locator("a");
  same(await link.getAttribute("href"), "https://httpd.apache.org/docs/2.4/stopping.html#graceful", "the link");
  same(await link.getAttribute("rel"), "noopener noreferrer nofollow", "what the link says of itself");
  await bob.fill("#text", "Two");
  await bob.press("#text", "Shift+Enter");
  await bob.locator("#text").pressSequentially("lines");
  await bob.press("#text", "Enter");
  await reads(ada, "Two\nlines");
  await ada.locator("#empty").waitFor({ state: "hidden" }).catch(() => { throw new Error("the room still looks empty"); });
  await rename(bob, "Robert");
  await write(bob, "I go by my whole name now.");
  await reads(ada, "I go by my whole name now.", { author: "Robert" });
}

async function typing(ada, bob) {
  await bob.locator("#text").pressSequentially("Wait");
  await ada.locator("#typing.on").waitFor();
  same((await ada.locator("#typing").textContent()).trim(), "Robert is typing", "the line about who types");
  same(await bob.locator("#typing").textContent(), "", "the same, for him who types");
  await bob.fill("#text", "");
}

async function hostile(ada, bob) {
  const markup = "<img src=x onerror=\"hacked=1\"><script>hacked=1</script><b>bold</b>";
  await write(bob, markup);
  await reads(ada, markup);
  await publishes(base, "lobby", [
    "plain words",
    JSON.stringify({ chat: 1, id: "evil-1", from: "evil", author: `<i>${"Eve".repeat(100)}</i>`, text: "javascript:alert(1) https://user@[evil" }),
    JSON.stringify({ chat: 1, id: "evil-1", from: "evil", author: "Eve", text: "the same id again" }),
    JSON.stringify({ chat: 1, id: { toString: 1 }, from: "x", author: null, text: ["no", "text"] }),
    JSON.stringify({ chat: 1, from: "evil", author: "Eve\u202e\u0000", typing: "yes" }),
    "{\"__proto__\":{\"chat\":1}}", "{", "null", "   ", "x".repeat(20_000), "\n".repeat(3000) + "below",
  ]);
  await publishes(base, "lobby", "AP/+", { encoding: "base64" });
  await reads(ada, "3 bytes that are not text", { author: "Published" });
  const foreign = await reads(ada, "plain words", { author: "Published" });
  same(await foreign.getAttribute("data-kind"), "foreign", "the kind of what is no message of the chat");
  await reads(ada, "below");
  const texts = await textsOf(ada);
  check(!texts.includes("the same id again"), "an id was shown twice");
  check(texts.every((text) => text.length <= 4100), "a text is longer than is to be shown");
  check((await logOf(ada).locator(".author").allTextContents()).every((name) => name.length <= 40), "a name is longer than is to be shown");
  same(await logOf(ada).locator("img, script, b, i, [onerror]").count(), 0, "elements that came out of texts");
  const links = await logOf(ada).locator("a").evaluateAll((all) => all.map((a) => a.protocol).filter((p) => !/^https?:$/.test(p)));
  same(links.join(), "", "links that are none of http's");
  same(await ada.evaluate(() => globalThis.hacked), undefined, "what a text's script has done");
  await write(ada, "still here");
  await reads(bob, "still here");
}

async function limits(ada) {
  await ada.fill("#text", "x".repeat(2001));
  await ada.press("#text", "Enter");
  same(await ada.locator("#room-left").textContent(), "1 too many", "what a message that is too long is told");
  same((await ada.inputValue("#text")).length, 2001, "its length, not sent");
  await ada.fill("#text", "");
}

async function rooms(ada, bob) {
  await bob.click("#join");
  await bob.fill("#room", " #Gardening Club ");
  await bob.press("#room", "Enter");
  await bob.waitForURL(/#gardening-club$/);
  await shows(bob, "#room-title", "#gardening-club", "the room's title");
  await bob.locator("#empty").waitFor();
  await write(bob, "Anybody for tomatoes?");
  await reads(bob, "Anybody for tomatoes?", { state: "sent" });
  check(!(await textsOf(ada)).includes("Anybody for tomatoes?"), "the lobby has what was said in another room");
  await write(ada, "Where is he?");
  await bob.locator("#rooms .badge:not([hidden])").waitFor();
  same(await bob.locator("#rooms .badge:not([hidden])").textContent(), "1", "unread messages of the lobby");
  await bob.waitForFunction(() => document.title.startsWith("(1) "));
  await ada.goto(ada.url().replace(/#.*/, "#gardening-club"));
  await reads(ada, "Anybody for tomatoes?", { author: "Robert" });
  await bob.click("#rooms a[href='#lobby']");
  await reads(bob, "Where is he?");
  await ada.click("#leave");
  await ada.waitForURL(/#lobby$/);
  await shows(ada, "#room-title", "#lobby", "the room's title after leaving the other");
  await drawn(ada);
  same(await ada.locator("#rooms a").count(), 1, "rooms after leaving one");
}

async function reading(ada, bob) {
  for (let i = 0; i < 12; i += 1) await write(bob, `filling ${i}`);
  await reads(ada, "filling 11");
  const gap = () => ada.locator("#scroll").evaluate((s) => Math.round(s.scrollHeight - s.scrollTop - s.clientHeight));
  const atBottom = () => ada.waitForFunction(() => { const s = document.getElementById("scroll"); return s.scrollHeight - s.scrollTop - s.clientHeight < 2; })
    .catch(() => { throw new Error("the log does not follow what is new"); });
  await atBottom();
  await ada.locator("#scroll").evaluate((s) => { s.scrollTop = 0; });
  await ada.locator("#down").waitFor();
  await write(bob, "below what she reads");
  await ada.getByText("1 new message", { exact: true }).waitFor();
  check(await gap() > 100, "the log has scrolled away from its reader");
  await ada.click("#down");
  await ada.locator("#down").waitFor({ state: "hidden" });
  await atBottom();
}

async function lateComer(browser, defer) {
  await publishes(base, "history", Array.from({ length: 60 }, (_, i) => `line ${i}`));
  const cy = await person(browser, "Cy", base, { room: "history" });
  defer(() => cy.close());
  await reads(cy, "line 59");
  same((await textsOf(cy)).join(), Array.from({ length: 50 }, (_, i) => `line ${i + 10}`).join(), "the history, on entering");
  await drawn(cy);
  same(await cy.title(), "#history – Chat", "the title: history is not unread");
  await cy.close();
}

await run("chat", async (defer) => {
  const browser = await launch(defer);
  const ada = await person(browser, "Ada", base);
  const bob = await person(browser, "Bob", base);
  const steps = { talk, typing, hostile, limits, rooms, reading };
  for (const [name, step] of Object.entries(steps)) {
    say(`chat: ${name}`);
    await step(ada, bob);
  }
  await lateComer(browser, defer);
  await ada.reload();
  same(await ada.locator("#user-name").textContent(), "Ada", "the name, after a reload");
  same([...ada.problems, ...bob.problems].join(" / "), "", "what went wrong on the pages");
});
