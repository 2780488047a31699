// The npm client `ws`, a peer written elsewhere, against an echo server: every exchange once without and once with the offer of
// compression, then what a connection's end may look like. The server's limit is taken to be 1 MiB per message.

import { once } from "node:events";
import WebSocket from "ws";
import { check, readArguments, run, same, say, stepMs } from "./lib.mjs";

const { words: [url], flags } = readArguments("ws_peer.mjs URL [--insecure]", 1, ["--insecure"]);
const limitBytes = 1024 * 1024;
const sizes = [0, 1, 125, 126, 65535, 65536, limitBytes];

// Waits for the emitter's event; an error or the time limit is a failure that names what was due.
async function due(emitter, event, what) {
  try {
    return await once(emitter, event, { signal: AbortSignal.timeout(stepMs) });
  } catch (error) {
    throw new Error(`${what}: ${error.name === "AbortError" ? `nothing within ${stepMs / 1000} s` : error.message}`);
  }
}

function open(protocols = [], options = {}) {
  return new WebSocket(url, protocols, { perMessageDeflate: false, rejectUnauthorized: !flags.has("--insecure"), ...options });
}

async function opened(protocols, options) {
  const ws = open(protocols, options);
  await due(ws, "open", `open of ${url}`);
  return ws;
}

async function closed(ws, what) {
  const [code, reason] = await due(ws, "close", what);
  return { code, reason: reason.toString() };
}

async function leave(ws) {
  ws.close(1000);
  same((await closed(ws, "close")).code, 1000, "close code");
}

async function echo(ws, sent, what, options = {}) {
  const reply = due(ws, "message", `echo of ${what}`);
  ws.send(sent, options);
  sameMessage(await reply, sent, what);
}

function sameMessage([data, isBinary], sent, what) {
  same(isBinary, typeof sent !== "string", `${what}: binary?`);
  same(data.length, Buffer.byteLength(sent), `${what}: bytes echoed`);
  check(data.equals(Buffer.from(sent)), `${what}: the echo has other bytes`);
}

const pattern = (size) => Buffer.from(Uint8Array.from({ length: size }, (_, i) => (i * 31 + (i >> 8) * 7) & 255));

async function exchanges(options, extensions) {
  const ws = await opened([], options);
  same(ws.extensions, extensions, "extensions");
  for (const text of ["", "Hello", "Grüße, 世界 🌍", "x".repeat(70000)]) {
    await echo(ws, text, `text of ${Buffer.byteLength(text)} bytes`);
  }
  for (const size of sizes) await echo(ws, pattern(size), `binary of ${size} bytes`);

  const inTurn = Array.from({ length: 200 }, (_, i) => `message ${i}`);
  const got = [];
  const all = new Promise((resolve) => {
    ws.on("message", (data) => { if (got.push(data.toString()) === inTurn.length) resolve(); });
  });
  for (const text of inTurn) ws.send(text);
  await Promise.race([all, due(ws, "close", "200 messages in a row").then(() => { throw new Error("closed in the row"); })]);
  same(got.join(), inTurn.join(), "200 messages in a row, in order");
  await leave(ws);
}

async function fragments() {
  const ws = await opened();
  const parts = ["Grü", "", "ße, ", "世界", " 🌍"];
  const whole = due(ws, "message", "echo of a fragmented text");
  const pong = due(ws, "pong", "pong between fragments");
  parts.forEach((part, i) => {
    ws.send(part, { fin: i === parts.length - 1 });
    if (i === 2) ws.ping("between");
  });
  same((await pong)[0].toString(), "between", "pong payload between fragments");
  sameMessage(await whole, parts.join(""), "fragmented text");

  const bytes = pattern(200000);
  const binary = due(ws, "message", "echo of a fragmented binary");
  for (let at = 0; at < bytes.length; at += 50000) {
    ws.send(bytes.subarray(at, at + 50000), { fin: at + 50000 >= bytes.length, binary: true });
  }
  sameMessage(await binary, bytes, "fragmented binary");
  await leave(ws);
}

async function pings() {
  const ws = await opened();
  for (const payload of ["", "x", "p".repeat(125)]) {
    const pong = due(ws, "pong", `pong of ${payload.length} bytes`);
    ws.ping(payload);
    same((await pong)[0].toString(), payload, "pong payload");
  }
  ws.pong("unasked");
  await echo(ws, "still here", "text after an unasked pong");
  await leave(ws);
}

async function subprotocols() {
  for (const [offer, answer] of [[[], ""], [["echo"], "echo"], [["nobody-speaks-this", "echo"], "echo"]]) {
    const ws = await opened(offer);
    same(ws.protocol, answer, `subprotocol for the offer [${offer}]`);
    await leave(ws);
  }
}

async function closes() {
  for (const [code, reason] of [[1000, "normal"], [3000, "registered"], [4999, "Grüße"], [4000, ""], [1000, "r".repeat(123)]]) {
    const ws = await opened();
    ws.close(code, reason);
    const end = await closed(ws, `close ${code}`);
    same(end.code, code, "close code echoed");
    same(end.reason, reason, `close reason echoed for ${code}`);
  }
  const ws = await opened();
  ws.close();
  const { code } = await closed(ws, "close without a code");
  check(code === 1005 || code === 1000, `close without a code: expected 1005 or 1000, got ${code}`);
}

async function tooBig() {
  for (const options of [{}, { fin: false }]) {
    const ws = await opened();
    ws.on("error", (error) => say(`too big: the client saw ${error.code ?? error.message}`));
    const end = new Promise((resolve) => { ws.on("close", (code) => resolve(code)); });
    if (options.fin === false) ws.send(pattern(limitBytes), { fin: false, binary: true });
    ws.send(pattern(options.fin === false ? 1 : limitBytes + 1), { binary: true });
    const timer = setTimeout(() => ws.terminate(), stepMs);
    same(await end, 1009, `close code for a message over ${limitBytes} bytes${options.fin === false ? " in fragments" : ""}`);
    clearTimeout(timer);
  }
}

async function vanishings() {
  for (const how of ["terminate", "terminate while echoing", "reset"]) {
    const ws = open();
    ws.on("error", () => {});
    const socket = due(ws, "upgrade", `handshake before ${how}`).then(([response]) => response.socket);
    await due(ws, "open", `open before ${how}`);
    if (how === "terminate while echoing") for (let i = 0; i < 8; i += 1) ws.send(pattern(limitBytes));
    if (how === "reset" && !(await socket).encrypted) (await socket).resetAndDestroy();
    else ws.terminate();
    same((await closed(ws, how)).code, 1006, `the client's own code after ${how}`);
    const next = await opened();
    await echo(next, "still serving", `text after ${how}`);
    await leave(next);
  }
}

const steps = [
  ["without the offer of compression", () => exchanges({}, "")],
  ["with the offer of compression", () => exchanges({ perMessageDeflate: true }, "permessage-deflate")],
  ["fragments", fragments], ["pings", pings], ["subprotocols", subprotocols],
  ["closes", closes], ["too big", tooBig], ["vanishings", vanishings],
];

await run("ws_peer", async () => {
  for (const [name, step] of steps) {
    say(`ws_peer: ${name}`);
    await step();
  }
});
