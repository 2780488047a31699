// The list of connections on the status page: filtered, sorted, one closed, then all that match. What clients call themselves stays text.
//
// The page is the server's; the list of connections, and what is asked of them, is answered here.

import { check, launch, readArguments, run, same, say } from "./lib.mjs";
import { due, phone, picture, reads, stateIs, watch } from "./watching.mjs";

const { words: [adminUrl, shots] } = readArguments("status_admin.mjs ADMIN_URL SHOT_DIR", 2);
const hostile = "<img src=x onerror=alert(1)>";

const token = "0123456789abcdef";

// ---- The server's part

const open = new Set();

function clients(count, location, user = null) {
  return Array.from({ length: count }, () => {
    const client = { facts: { child: 4711, server: "www.example.org:443", location, address: "127.0.0.1", user, mooring: "plain", opened: 1, age_seconds: 5000,
      messages: { received: 12, sent: 34567 }, bytes: { received: 1234, sent: 7654321 }, buffered_bytes: 0 } };
    client.facts.id = (0xfedc - 7 * open.size).toString(16).padStart(16, "0");
    client.ended = new Promise((resolve) => { client.tell = resolve; });
    open.add(client);
    return client;
  });
}

const matching = (filter) => [...open].filter(({ facts }) => Object.entries(filter).every(([name, value]) => String(facts[name]) === String(value)));

function list(route) {
  const { connections, limit, ...filter } = Object.fromEntries(new URL(route.request().url()).searchParams);
  const found = matching(filter);
  return route.fulfill({ json: { connections: found.slice(0, limit).map(({ facts }) => facts), total: found.length, token } });
}

function close(route) {
  const request = route.request();
  const { filter, code, reason, all = false, token: shown } = request.postDataJSON();
  const right = request.method() === "POST" && request.headers()["content-type"] === "application/json" && shown === token;
  if (!right || all !== (Object.keys(filter).length === 0)) return route.fulfill({ status: 403, contentType: "text/plain", body: "no" });
  const found = matching(filter);
  for (const each of found) {
    open.delete(each);
    each.tell(`${code} ${reason}`.trim());
  }
  return route.fulfill({ json: { closed: found.length } });
}

// ---- The page's

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
}

async function closesAll(page) {
  await page.click("#filter-clear");
  await rowsAre(page, 2);
  await page.click("#close-all");
  await reads(page, "#close-title", /^Close all 2 connections\?$/);
  await page.click("#close-confirm");
  await rowsAre(page, 0);
  await reads(page, "#admin-done", /^2 connections closed with 1012/);
  check(await page.locator("#close-all").isDisabled(), "there is nothing to close, and the button says otherwise");
}

await run("status_admin", async (defer) => {
  const adas = clients(2, "/chat", "ada");
  const [eve] = clients(1, "/chat", hostile);
  const echoes = clients(4, "/echo");
  const browser = await launch(defer);
  const page = await watch(browser, defer, new URL(adminUrl), { httpCredentials: { username: "ada", password: "word" } });
  page.on("dialog", (dialog) => { page.problems.push(`a dialog: ${dialog.message()}`); dialog.dismiss(); });
  await page.route(/\?connections/, list);
  await page.route(/\?close$/, close);
  await page.goto(adminUrl);
  await stateIs(page, "live");
  await reads(page, "#admin-count", /^7 connections$/);
  const steps = { pictures: () => pictures(page), lists: () => lists(page), closesOne: () => closesOne(page, adas),
    closesAllThatMatch: () => closesAllThatMatch(page, echoes) };
  for (const [name, step] of Object.entries(steps)) {
    say(`status_admin: ${name}`);
    await step();
  }
  check(open.has(eve), "a client that no filter matched is closed");
  await closesAll(page);
  same(page.problems.join(" / "), "", "what went wrong on the page");
});
