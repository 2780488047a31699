// A page served over HTTP/2 and its WebSockets, in a browser: echo, close codes of either side, several at once, reload. That they came
// over the page's own connection is for the caller to see, in the server's log.

import { compressed, launch, readArguments, run, same, say, stepMs } from "./lib.mjs";

const { words: [base] } = readArguments("h2.mjs BASE_URL", 1);

// Runs in the page.
function sockets(path) {
  const url = new URL(path, location.href.replace(/^http/, "ws"));
  const opened = (socket) => new Promise((resolve, reject) => {
    socket.onopen = () => resolve(socket);
    socket.onclose = (event) => reject(new Error(`closed with ${event.code} before it opened`));
  });
  const next = (socket, kind) => new Promise((resolve) => { socket.addEventListener(kind, resolve, { once: true }); });
  return {
    async open(query = "", protocols = []) {
      url.search = query;
      const socket = new WebSocket(url, protocols);
      socket.binaryType = "arraybuffer";
      return opened(socket);
    },
    async exchange(socket, data) {
      const message = next(socket, "message");
      socket.send(data);
      return (await message).data;
    },
    async closed(socket, how) {
      const close = next(socket, "close");
      how();
      const { code, reason, wasClean } = await close;
      return `${code} ${reason} ${wasClean}`;
    },
  };
}

const visit = async (page) => {
  same(await page.evaluate(() => performance.getEntriesByType("navigation")[0].nextHopProtocol), "h2", "the page's protocol");
  await page.evaluate(`globalThis.sockets = ${sockets}`);
  const told = await page.evaluate(async () => {
    const { open, exchange, closed } = sockets("/echo");
    const client = await open("", ["other", "echo"]);
    const big = new Uint8Array(300_000).map((_, i) => i);
    const back = new Uint8Array(await exchange(client, big));
    return [client.protocol, client.extensions, await exchange(client, "Grüße, 世界"), back.length === big.length && back.every((byte, i) => byte === big[i]),
      await closed(client, () => client.close(3001, "done"))];
  });
  same(told.join(" | "), `echo | ${compressed} | Grüße, 世界 | true | 3001 done true`, "what one socket saw");
  const reported = await page.evaluate(async () => {
    const { open, closed } = sockets("/report");
    const client = await open("browser");
    return closed(client, () => client.send("close 4002 bye"));
  });
  same(reported, "4002 bye true", "the server's close");
  const echoes = await page.evaluate(async () => {
    const { open, exchange } = sockets("/echo");
    globalThis.kept = await Promise.all([1, 2, 3, 4].map(() => open()));
    return Promise.all(kept.map((client, i) => exchange(client, `message ${i}`)));
  });
  same(echoes.join(), "message 0,message 1,message 2,message 3", "four at once");
};

await run("h2", async (defer) => {
  const browser = await launch(defer);
  const page = await browser.newPage({ ignoreHTTPSErrors: true });
  page.setDefaultTimeout(stepMs);
  await page.goto(base);
  await visit(page);
  say("reloading with four sockets open");
  await page.reload();
  await visit(page);
});
