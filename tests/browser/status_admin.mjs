// The list of connections on the status page: filtered, sorted, one closed, then all that match. What clients call themselves stays text.

import { check, launch, readArguments, run, same, say } from "./lib.mjs";
import { clients, due, phone, picture, reads, stateIs, watch } from "./watching.mjs";

const { words: [adminUrl, echoUrl, shots] } = readArguments("status_admin.mjs ADMIN_URL ECHO_URL SHOT_DIR", 3);
const hostile = "<img src=x onerror=alert(1)>";
const chatUrl = echoUrl.replace("echo", "chat");

const rows = (page) => page.locator("#connections tbody tr");
const rowsAre = (page, count) => due(page.waitForFunction(
  (n) => document.querySelectorAll("#connections tbody tr").length === n, count), `${count} connections listed`);

async function lists(page) {
  await page.selectOption("#filter-mooring", "plain");
  await page.fill("#filter-location", "/chat");
  await rowsAre(page, 3);
  same((await rows(page).locator('[data-column="user"]').allTextContents()).sort().join(" "), `${hostile} ada ada`, "users");
  same(await page.locator("#connections img").count(), 0, "elements that a user's name has become");
  await page.fill("#filter-user", "ada");
  await rowsAre(page, 2);
  await page.locator('#connections [data-sort="id"]').click();
  const ids = await rows(page).locator('[data-column="id"]').allTextContents();
  check(ids.length === 2 && ids[0] < ids[1], `ids in order: ${ids}`);
}

async function pictures(page) {
  await page.locator("#admin").evaluate((section) => section.scrollIntoView());
  await picture(page, shots, "status-admin.png");
  const { viewport } = phone;
  const desk = page.viewportSize();
  await page.setViewportSize(viewport);
  await page.locator("#admin").evaluate((section) => section.scrollIntoView());
  await picture(page, shots, "status-admin-phone.png");
  await page.setViewportSize(desk);
}

async function closesOne(page, [one, other]) {
  await rows(page).first().getByRole("button", { name: "Close" }).click();
  await page.fill("#close-code", "1005");
  await page.click("#close-confirm");
  await reads(page, "#close-error", /code must be/);
  await page.fill("#close-code", "3003");
  await page.fill("#close-reason", "you, Ada");
  await page.click("#close-confirm");
  same(await Promise.race([one.ended, other.ended]), "3003 you, Ada", "what one client is told");
  await rowsAre(page, 1);
  await reads(page, "#admin-done", /^1 connection closed with 3003 “you, Ada”\.$/);
}

async function closesAllThatMatch(page, echoes) {
  await page.click("#filter-clear");
  await page.fill("#filter-location", "/echo");
  await rowsAre(page, echoes.length);
  await page.click("#close-all");
  await reads(page, "#close-title", /^Close 4 connections\?$/);
  await reads(page, "#close-filter", /^location \/echo$/);
  await page.keyboard.press("Escape");
  await rowsAre(page, echoes.length);
  await page.click("#close-all");
  await page.fill("#close-code", "1012");
  await page.click("#close-confirm");
  for (const each of echoes) same(await each.ended, "1012 you, Ada", "what each client is told");
  await rowsAre(page, 0);
  await reads(page, "#causes li[data-key='admin'] .number", /^5$/);
}

await run("status_admin", async (defer) => {
  const adas = await clients(2, chatUrl, { auth: "ada:word" });
  const [eve] = await clients(1, chatUrl, { auth: `${hostile}:word` });
  const echoes = await clients(4, echoUrl);
  const browser = await launch(defer);
  const page = await watch(browser, defer, new URL(adminUrl), { httpCredentials: { username: "ada", password: "word" } });
  page.on("dialog", (dialog) => { page.problems.push(`a dialog: ${dialog.message()}`); dialog.dismiss(); });
  await page.goto(adminUrl);
  await stateIs(page, "live");
  await reads(page, "#admin-count", /^\d+ connections$/);
  const steps = { pictures: () => pictures(page), lists: () => lists(page), closesOne: () => closesOne(page, adas), closesAllThatMatch: () => closesAllThatMatch(page, echoes) };
  for (const [name, step] of Object.entries(steps)) {
    say(`status_admin: ${name}`);
    await step();
  }
  same(eve.readyState, eve.OPEN, "state of the client that no filter matched");
  same(page.problems.join(" / "), "", "what went wrong on the page");
});
