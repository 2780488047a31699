// Pictures of the status page while clients come, talk and go: by day and by night, on a desk and on a phone.

import { check, launch, readArguments, run } from "./lib.mjs";
import { chatter, clients, phone, picture, stateIs, untilPoints, watch } from "./watching.mjs";

const { words: [statusUrl, echoUrl, shots] } = readArguments("status_pictures.mjs STATUS_URL ECHO_URL SHOT_DIR", 3);
const views = [["status-light.png", { colorScheme: "light" }], ["status-dark.png", { colorScheme: "dark" }], ["status-phone.png", phone],
  ["status-phone-dark.png", { ...phone, colorScheme: "dark" }]];

await run("status_pictures", async (defer) => {
  const browser = await launch(defer);
  const sockets = [...await clients(30, echoUrl), ...await clients(12, echoUrl.replace("echo", "chat"), { auth: "ada:word" })];
  chatter(defer, sockets);
  const pages = await Promise.all(views.map(async ([file, options]) => {
    const page = await watch(browser, defer, new URL(statusUrl), options);
    await page.goto(statusUrl);
    await stateIs(page, "live");
    return [file, page];
  }));
  for (const [i, socket] of sockets.entries()) if (i % 5 === 4) socket.close([1000, 3001, 4001][i % 3]);
  for (const [file, page] of pages) {
    await page.bringToFront();
    await untilPoints(page, "messages", "in", 10);
    await picture(page, shots, file);
  }
  const colours = await Promise.all(pages.map(([, page]) => page.evaluate(() => getComputedStyle(document.body).backgroundColor)));
  check(colours[0] !== colours[1], `by day and by night the page is ${colours[0]}`);
});
