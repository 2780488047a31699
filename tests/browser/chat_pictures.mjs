// Pictures of the chat page: on a desk and on a phone, by day and by night. None may be wider than its screen.

import { check, launch, readArguments, run, same, shoot } from "./lib.mjs";
import { person, publishes, reads, write } from "./people.mjs";

const { words: [baseUrl, shots] } = readArguments("chat_pictures.mjs BASE_URL SHOT_DIR", 2);
const base = new URL(baseUrl);
const phone = { viewport: { width: 360, height: 640 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };
const views = [
  ["chat-desktop.png", "friday", {}], ["chat-desktop-dark.png", "kitchen", { colorScheme: "dark" }],
  ["chat-phone.png", "garden", phone], ["chat-phone-dark.png", "a-long-name-on-a-small-screen", { ...phone, colorScheme: "dark" }],
];

let said = 0;
function by(author, text) {
  said += 1;
  return JSON.stringify({ chat: 1, id: `said-${said}`, from: author, author, text });
}

const talk = [
  by("Ada", "Good morning! Has anybody tried the graceful restart?"),
  by("Bob", "Yes, while twenty people were writing."),
  by("Bob", "The page said “Reconnecting” for half a second and went on: https://httpd.apache.org/docs/2.4/stopping.html#graceful"),
  "deploy: build 4711 is live on web1 and web2",
  by("Ada", "Then two things are left on my list:\n  1. Rooms\n  2. Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichenverordnung"),
];

await run("chat_pictures", async (defer) => {
  const browser = await launch(defer);
  for (const [file, room, screen] of views) {
    await publishes(base, room, talk);
    const page = await person(browser, "Grace Hopper", base, { screen, room });
    await reads(page, "deploy: build 4711 is live on web1 and web2");
    await write(page, "I take the second.");
    await reads(page, "I take the second.", { state: "sent" });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    check(wide <= page.viewportSize().width, `${file}: the page is ${wide} px wide`);
    await shoot(page, shots, file);
    same(page.problems.join(" / "), "", "what went wrong on the page");
    await page.context().close();
  }
});
