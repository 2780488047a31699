// The console page: one WebSocket at a time, driven by hand and watched closely.
//
// Every fact shown has an element with a stable id, its exact value in `data-value`; every event is a row of #log with the facts
// in `data-*`.

import { Connection } from "./connection.js";
import { bytesText, msText, numberText, utf8Bytes } from "./format.js";
import { log } from "./log.js";

const maxReasonBytes = 123; // RFC 6455 §5.5: a control frame carries 125 bytes, two of them the code.
const maxRandomMessages = 10000;
const maxRandomBytes = 256 * 1024 * 1024;

const byId = (id) => document.getElementById(id);
let current = null;

// ---- The state panel

function show(id, text, value) {
  const target = byId(id);
  if (target.dataset.value !== String(value)) target.dataset.value = value;
  if (target.textContent !== text) target.textContent = text;
}

function showStatus(connection) {
  const { socket, state, seen, peak, roundTrip, sent, received } = connection;
  const ready = byId("ready-state");
  if (ready.dataset.state !== state) {
    ready.dataset.state = state;
    ready.textContent = state;
    document.title = `${state} – WebSocket console`;
  }
  for (const step of byId("track").children) {
    step.classList.toggle("here", step.dataset.step === state);
    step.classList.toggle("passed", step.dataset.step !== state && seen.includes(step.dataset.step));
  }
  show("states-seen", seen.join(" → "), seen.join(" "));
  show("buffered-amount", bytesText(socket.bufferedAmount), socket.bufferedAmount);
  show("buffered-peak", bytesText(peak), peak);
  byId("buffered-meter").value = peak > 0 ? socket.bufferedAmount / peak : 0;
  show("protocol", socket.protocol || "none", socket.protocol);
  show("extensions", socket.extensions || "none", socket.extensions);
  show("binary-type", socket.binaryType, socket.binaryType);
  show("messages-out", numberText(sent.messages), sent.messages);
  show("bytes-out", bytesText(sent.bytes), sent.bytes);
  show("messages-in", numberText(received.messages), received.messages);
  show("bytes-in", bytesText(received.bytes), received.bytes);
  show("round-trip", roundTrip === null ? "–" : msText(roundTrip), roundTrip === null ? "" : roundTrip.toFixed(3));
}

// Many rows in one frame show the status once; the frame's end shows the rest. A change of state is shown at once.
let shownThisFrame = false;

function changed(connection) {
  if (connection !== current || (shownThisFrame && byId("ready-state").dataset.state === connection.state)) return;
  shownThisFrame = true;
  showStatus(connection);
}

function watch(connection) {
  if (connection !== current) return;
  shownThisFrame = false;
  connection.tick();
  showStatus(connection);
  if (connection.state !== "CLOSED") requestAnimationFrame(() => watch(connection));
}

// ---- Errors a person can mend

class Mistake extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

function clearProblem(area) {
  byId(`${area}-error`).textContent = "";
  for (const field of document.querySelectorAll(`[aria-describedby="${area}-error"]`)) field.removeAttribute("aria-invalid");
}

function showProblem(area, error) {
  byId(`${area}-error`).textContent = error.message;
  if (error.field) {
    byId(error.field).setAttribute("aria-invalid", "true");
    byId(error.field).focus();
  }
}

// Runs an action of the area ("connect", "send", "close"); whatever it throws is shown there.
async function attempt(area, action) {
  clearProblem(area);
  try {
    await action();
  } catch (error) {
    showProblem(area, error);
  }
}

function onSubmit(formId, area, action) {
  byId(formId).addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(area, action);
  });
}

// ---- Connect

function readUrl() {
  const text = byId("url").value.trim();
  if (text === "") throw new Mistake("url", "Enter a URL, for example ws://localhost:8080/echo.");
  if (!/^wss?:\/\//i.test(text)) throw new Mistake("url", "The URL must begin with ws:// or wss://.");
  if (text.includes("#")) throw new Mistake("url", "A WebSocket URL cannot have a fragment (#…).");
  try {
    return new URL(text).href;
  } catch {
    throw new Mistake("url", "This is not a valid URL.");
  }
}

function readProtocols() {
  const names = byId("protocols").value.split(",").map((name) => name.trim()).filter((name) => name !== "");
  for (const [at, name] of names.entries()) {
    if (!/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(name)) {
      throw new Mistake("protocols", `“${name}” is not a subprotocol name: letters, digits and !#$%&'*+-.^_\`|~ only.`);
    }
    if (names.indexOf(name) !== at) throw new Mistake("protocols", `The subprotocol “${name}” is named twice.`);
  }
  return names;
}

function connect() {
  const url = readUrl();
  const protocols = readProtocols();
  const former = current;
  let connection;
  try {
    connection = new Connection(url, protocols, changed);
  } catch (error) {
    throw new Mistake("url", `The browser refuses this connection: ${error.message}`);
  }
  current = connection;
  if (former && former.socket.readyState < WebSocket.CLOSING) former.close(1000, "");
  clearProblem("send");
  clearProblem("close");
  watch(connection);
}

// ---- Send

function openConnection() {
  if (!current) throw new Error("Nothing sent: there is no socket. Connect first.");
  if (current.state !== "OPEN") throw new Error(`Nothing sent: the socket is ${current.state}, not OPEN.`);
  return current;
}

function sendText() {
  openConnection().send(byId("text").value);
}

async function sendFiles() {
  const { files } = byId("file");
  if (files.length === 0) throw new Mistake("file", "Choose a file first.");
  const connection = openConnection();
  for (const file of files) {
    let content;
    try {
      content = await file.arrayBuffer();
    } catch (error) {
      throw new Mistake("file", `${file.name} cannot be read: ${error.message}`);
    }
    if (openConnection() !== connection) throw new Error(`${file.name} not sent: its connection is gone.`);
    connection.send(new Uint8Array(content));
  }
}

function readCount(id, least, what) {
  const text = byId(id).value.trim();
  if (!/^\d+$/.test(text) || Number(text) < least) throw new Mistake(id, `${what} must be a whole number from ${least} up.`);
  return Number(text);
}

function sendRandom() {
  const size = readCount("random-size", 0, "The number of bytes");
  const count = readCount("random-count", 1, "The number of messages");
  if (count > maxRandomMessages || size * count > maxRandomBytes) {
    throw new Mistake("random-size",
      `At once at most ${numberText(maxRandomMessages)} messages and ${bytesText(maxRandomBytes)} in all.`);
  }
  const connection = openConnection();
  for (let n = 0; n < count; n += 1) {
    const bytes = new Uint8Array(size);
    for (let at = 0; at < size; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
    connection.send(bytes);
  }
}

// ---- Close

function closeSocket() {
  const codeText = byId("close-code").value.trim();
  const reason = byId("close-reason").value;
  const code = codeText === "" ? null : Number(codeText);
  if (code !== null && !(/^\d+$/.test(codeText) && (code === 1000 || (code >= 3000 && code <= 4999)))) {
    throw new Mistake("close-code", `A page may close with 1000 or with 3000 to 4999, not with “${codeText}”.`);
  }
  if (code === null && reason !== "") throw new Mistake("close-code", "A reason needs a code: 1000 or 3000 to 4999.");
  const length = utf8Bytes(reason).length;
  if (length > maxReasonBytes) {
    throw new Mistake("close-reason", `The reason is ${length} bytes long; a close frame has room for ${maxReasonBytes}.`);
  }
  if (!current) throw new Error("Nothing to close: there is no socket.");
  if (current.socket.readyState >= WebSocket.CLOSING) throw new Error(`Nothing to close: the socket is ${current.state}.`);
  current.close(code, reason);
}

// ---- Starting up

function defaultUrl() {
  if (!location.host) return "ws://localhost/echo";
  return `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}/echo`;
}

function acceptDrops() {
  const zone = byId("drop-zone");
  const hover = (on) => zone.classList.toggle("over", on);
  // A drop beside the zone counts too: the browser's own answer would be to leave the page.
  document.addEventListener("dragover", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    hover(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) hover(false);
  });
  document.addEventListener("drop", (event) => {
    hover(false);
    if (event.dataTransfer.files.length === 0) return;
    event.preventDefault();
    byId("file").files = event.dataTransfer.files;
    byId("send-file").focus();
  });
}

function start() {
  const query = new URLSearchParams(location.search);
  byId("url").value = query.get("url") || defaultUrl();
  byId("protocols").value = query.get("protocols") || "";
  onSubmit("connect-form", "connect", connect);
  onSubmit("text-form", "send", sendText);
  onSubmit("file-form", "send", sendFiles);
  onSubmit("random-form", "send", sendRandom);
  onSubmit("close-form", "close", closeSocket);
  byId("text").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
    event.preventDefault();
    attempt("send", sendText);
  });
  byId("close-reason").addEventListener("input", () => {
    byId("reason-bytes").textContent = utf8Bytes(byId("close-reason").value).length;
  });
  byId("clear-log").addEventListener("click", () => log.clear());
  if (navigator.clipboard) {
    byId("copy-log").hidden = false;
    byId("copy-log").addEventListener("click", () => navigator.clipboard.writeText(log.text())
      .catch((error) => { byId("log-note").textContent = `not copied: ${error.message}`; }));
  }
  acceptDrops();
  // Such a socket may see no close event at all: without this the page would not say why.
  document.addEventListener("securitypolicyviolation", (event) => {
    if (event.effectiveDirective !== "connect-src") return;
    const why = "The policy of this page (Content-Security-Policy: connect-src) forbids this URL.";
    showProblem("connect", new Mistake("url", why));
  });
}

start();
