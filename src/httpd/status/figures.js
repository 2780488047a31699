// How the page words numbers, and how it makes elements: text only, never markup.

const grouped = new Intl.NumberFormat("en-US");
const none = "–";

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Three digits: 0, 0.25, 7.5, 42, 999, 1.25k, 12.5k, 3.1M.
function short(n, base, units) {
  let value = n;
  let unit = 0;
  while (value >= base * 0.9995 && unit < units.length - 1) {
    value /= base;
    unit += 1;
  }
  const digits = value >= 99.95 || (unit === 0 && Number.isInteger(value)) ? 0 : value >= 9.995 ? 1 : 2;
  const text = value.toFixed(digits);
  return (digits > 0 ? text.replace(/\.?0+$/, "") : text) + units[unit];
}

export const countText = (n) => (n === null ? none : n < 100000 ? grouped.format(n) : short(n, 1000, ["", "k", "M", "G", "T"]));
export const exactText = (n) => grouped.format(n);
export const rateText = (n) => (n === null ? none : short(n < 10 ? Math.round(10 * n) / 10 : Math.round(n), 1000, ["", "k", "M", "G"]));
export const bytesText = (n) => (n === null ? none : short(Math.round(n), 1024, [" B", " KiB", " MiB", " GiB", " TiB"]));
export const byteRateText = (n) => (n === null ? none : `${bytesText(n)}/s`);

export function secondsText(s) {
  if (s === null) return none;
  if (s < 0.0009995) return `${short(s * 1e6, Infinity, [""])} µs`;
  if (s < 0.9995) return `${short(s * 1e3, Infinity, [""])} ms`;
  return `${short(s, Infinity, [""])} s`;
}

// 12s, 34m, 5h 6m, 7d 8h.
export function ageText(s) {
  const units = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];
  const at = units.findIndex(([seconds]) => s >= seconds);
  if (at < 0) return "0s";
  const [seconds, name] = units[at];
  const whole = `${Math.floor(s / seconds)}${name}`;
  if (at >= 2) return whole;
  const [smaller, smallName] = units[at + 1];
  return `${whole} ${Math.floor((s % seconds) / smaller)}${smallName}`;
}

export const clockText = (unixSeconds) => new Date(unixSeconds * 1000).toLocaleTimeString("en-GB");
export const plural = (n, one, many = `${one}s`) => `${exactText(n)} ${n === 1 ? one : many}`;

const codeNames = {
  1000: "normal closure", 1001: "going away", 1002: "protocol error", 1003: "unsupported data", 1005: "no code sent",
  1006: "connection lost", 1007: "invalid payload", 1008: "policy violation", 1009: "message too big", 1010: "extension missing",
  1011: "internal error", 1012: "service restart", 1013: "try again later", 1014: "bad gateway",
  "3xxx": "registered", "4xxx": "private use",
};
const causeNames = {
  client: "the client left", handler: "by the handler", protocol: "protocol violated", message_size: "message too long",
  fragments: "too many fragments", lost: "connection lost", drain: "graceful restart or stop", stop: "restart or stop",
  ping: "no pong in time", idle: "idle for too long", lifetime: "lifetime over", rate: "messages too fast",
  control_rate: "control frames too fast", slow: "read too slowly", memory: "memory for buffers", admin: "closed by hand", died: "process died",
};
const refusalNames = {
  request: "no correct handshake", origin: "origin not allowed", handler: "by the handler", connections: "too many connections",
  resident: "too many resident", location: "too many at the location", address: "too many of one address",
  handshake_rate: "handshakes too fast", descriptors: "out of descriptors", resources: "out of memory or threads",
};
const named = (names) => (key) => names[key] ?? key.replaceAll("_", " ");
export const causeName = named(causeNames);
export const refusalName = named(refusalNames);
export const codeName = (key) => (codeNames[key] ? `${key} ${codeNames[key]}` : key);
