// A connection: one WebSocket, what the page has counted of it, and its rows in the log.

import { digest, exactBytes, hexPreview, msText, textPreview, utf8Bytes } from "./format.js";
import { log } from "./log.js";

const stateNames = ["CONNECTING", "OPEN", "CLOSING", "CLOSED"];
const maxUnanswered = 10000;

const codeNames = new Map([
  [1000, "normal closure"], [1001, "going away"], [1002, "protocol error"], [1003, "unsupported data"],
  [1005, "no code received"], [1006, "no close frame received"], [1007, "invalid payload"], [1008, "policy violation"],
  [1009, "message too big"], [1010, "extension missing"], [1011, "internal error"], [1012, "service restart"],
  [1013, "try again later"], [1014, "bad gateway"], [1015, "TLS handshake failed"],
]);

let made = 0;

export class Connection {
  // Throws what `new WebSocket` throws. `changed` is called with the connection after each row.
  constructor(url, protocols, changed) {
    this.changed = changed;
    this.started = performance.now();
    this.socket = new WebSocket(url, protocols);
    this.socket.binaryType = "arraybuffer";
    made += 1;
    this.number = made;
    this.seen = [];
    this.peak = 0;
    this.roundTrip = null; // of the last echo, in milliseconds
    this.sent = { messages: 0, bytes: 0 };
    this.received = { messages: 0, bytes: 0 };
    this.unanswered = [];
    this.socket.addEventListener("open", () => this.opened());
    this.socket.addEventListener("message", (event) => this.message(event));
    this.socket.addEventListener("error", () => this.failed());
    this.socket.addEventListener("close", (event) => this.closed(event));
    this.row("connect", "connect", url, { notes: protocols.length > 0 ? [`offers ${protocols.join(", ")}`] : [] });
  }

  get state() {
    return stateNames[this.socket.readyState];
  }

  row(kind, label, detail, { notes = [], data = {}, mono = false, now = performance.now() } = {}) {
    const { state } = this;
    const ms = now - this.started;
    const entered = state === this.seen.at(-1) ? "" : state;
    if (entered) this.seen.push(entered);
    log.add({
      when: new Date(), ms, label, detail, notes, mono, entered,
      data: { kind, connection: this.number, state, ms: ms.toFixed(3), ...data },
    });
    this.peak = Math.max(this.peak, this.socket.bufferedAmount);
    this.changed(this);
  }

  // A state can change between events: the server's close frame arrives before the close event does.
  tick() {
    if (this.state !== this.seen.at(-1)) this.row("state", "state", "changed before an event told it");
  }

  send(payload) {
    const bytes = typeof payload === "string" ? utf8Bytes(payload) : payload;
    const sum = digest(bytes);
    const now = performance.now();
    this.socket.send(payload);
    this.unanswered.push({ type: typeof payload, bytes: bytes.length, sum, now });
    if (this.unanswered.length > maxUnanswered) this.unanswered.shift();
    this.sent.messages += 1;
    this.sent.bytes += bytes.length;
    this.payloadRow("send", "↑ send", payload, bytes, now, { digest: sum }, []);
  }

  opened() {
    const { protocol, extensions } = this.socket;
    this.row("open", "open", protocol ? `subprotocol ${protocol}` : "no subprotocol",
      { notes: extensions ? [extensions] : [], data: { protocol, extensions } });
  }

  message(event) {
    const now = performance.now();
    const payload = typeof event.data === "string" ? event.data : new Uint8Array(event.data);
    const bytes = typeof payload === "string" ? utf8Bytes(payload) : payload;
    this.received.messages += 1;
    this.received.bytes += bytes.length;
    const data = {};
    const notes = [];
    if (this.unanswered.length > 0) {
      data.digest = digest(bytes);
      const roundTrip = this.answer(typeof payload, bytes.length, data.digest, now);
      if (roundTrip !== null) {
        this.roundTrip = roundTrip;
        data.roundTripMs = roundTrip.toFixed(3);
        notes.push(`echo after ${msText(roundTrip)}`);
      }
    }
    this.payloadRow("message", "↓ message", payload, bytes, now, data, notes);
  }

  // The round trip of the oldest unanswered send that this message repeats, null if it repeats none.
  answer(type, bytes, sum, now) {
    const at = this.unanswered.findIndex((one) => one.type === type && one.bytes === bytes && one.sum === sum);
    if (at < 0) return null;
    const [first] = this.unanswered.splice(0, at + 1).slice(-1);
    return now - first.now;
  }

  payloadRow(kind, label, payload, bytes, now, data, notes) {
    const text = typeof payload === "string";
    this.row(kind, label, text ? textPreview(payload) : hexPreview(bytes), {
      now,
      mono: !text,
      notes: [`${text ? "text" : "binary"}, ${exactBytes(bytes.length)}`, ...notes],
      data: { type: text ? "text" : "binary", bytes: bytes.length, ...data },
    });
  }

  failed() {
    this.row("error", "error", "The connection failed. Browsers tell a page no more than this.");
  }

  close(code, reason) {
    if (code === null) this.socket.close();
    else this.socket.close(code, reason);
    this.row("close-call", "close()", code === null ? "no code" : `code ${code}${reason ? `, reason “${reason}”` : ""}`);
  }

  closed({ code, reason, wasClean }) {
    const name = codeNames.get(code);
    this.row("close", "close", `code ${code}${name ? ` (${name})` : ""}, ${reason ? `reason “${reason}”` : "no reason"}`,
      { notes: [`wasClean ${wasClean}`], data: { code, reason, wasClean } });
  }
}
