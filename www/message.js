// What the chat publishes, and what it makes of what others publish: anybody may write anything to a topic.
//
// A message of the chat is a text that holds JSON:
//   {"chat":1,"id":ID,"from":WHO,"author":NAME,"text":TEXT}    ID is the sender's and unique; WHO is the sender's browser, NAME its user
//   {"chat":1,"from":WHO,"author":NAME,"typing":true}          transient

export const maxText = 2000; // characters, of what may be sent
export const maxName = 32;
export const maxRoom = 40;
const maxShown = 4000;
const maxLines = 60;
const maxId = 64;

// Without what is not to be seen: control characters, and those that turn the direction of what stands around them.
const unseen = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g;

export function cleanText(text) {
  const lines = text.replace(/\r\n?/g, "\n").replace(unseen, "").replace(/\n{3,}/g, "\n\n").trim();
  return cut(lines, maxShown).split("\n", maxLines + 1).map((line, i) => (i < maxLines ? line : "…")).join("\n");
}

export const cleanName = (name) => cut(name.replace(unseen, "").replace(/\s+/g, " ").trim(), maxName);

export function cleanRoom(name) {
  const room = name.replace(unseen, "").trim().replace(/^#+/, "").trim().replace(/\s+/g, "-").toLowerCase();
  return Array.from(room).slice(0, maxRoom).join("");
}

// By whole characters, so that no half of a pair is left.
function cut(text, length) {
  if (text.length <= length) return text;
  return `${Array.from(text.slice(0, length)).slice(0, -1).join("")}…`;
}

export const encodeMessage = ({ id, from, author, text }) => JSON.stringify({ chat: 1, id, from, author, text });
export const encodeTyping = ({ from, author }) => JSON.stringify({ chat: 1, from, author, typing: true });

// {kind: "message", id, from, author, text}, {kind: "typing", from, author}, {kind: "foreign", text}, or null if there is nothing to show.
export function decode(data) {
  if (data instanceof Uint8Array) return { kind: "foreign", text: `${data.length} bytes that are not text` };
  const object = typeof data === "string" ? objectIn(data) : data;
  const message = object === null || typeof object !== "object" ? null : ours(object);
  if (message) return message;
  const text = cleanText(typeof data === "string" ? data : JSON.stringify(data) ?? "");
  return text ? { kind: "foreign", text } : null;
}

function objectIn(text) {
  if (!text.startsWith("{")) return null;
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function ours({ chat, id, from, author, text, typing }) {
  if (chat !== 1 || !isId(from) || typeof author !== "string") return null;
  const name = cleanName(author) || "nameless";
  if (typing === true) return { kind: "typing", from, author: name };
  if (!isId(id) || typeof text !== "string") return null;
  const shown = cleanText(text);
  return shown ? { kind: "message", id, from, author: name, text: shown } : null;
}

const isId = (value) => typeof value === "string" && value !== "" && value.length <= maxId;

// ---- Showing it. Text reaches the page through text nodes only.

const address = /https?:\/\/[^\s<>"'`]+/gi;

// The text as nodes, with its http addresses as links.
export function textNodes(text) {
  const nodes = [];
  let end = 0;
  for (const { 0: match, index } of text.matchAll(address)) {
    const link = linkTo(trimmed(match));
    if (!link) continue;
    nodes.push(text.slice(end, index), link);
    end = index + link.textContent.length;
  }
  nodes.push(text.slice(end));
  return nodes;
}

// A sentence's end, or a bracket around the address, is not part of it: brackets are cut off as long
// as more are closed than opened.
function trimmed(match) {
  const count = (chars) => match.split("").filter((char) => chars.includes(char)).length;
  let open = count("([{") - count(")]}");
  let end = match.length;
  for (; end; end--) {
    const last = match[end - 1];
    if (")]}".includes(last) && open < 0) open++;
    else if (!".,;:!?\u2026".includes(last)) break;
  }
  return match.slice(0, end);
}

function linkTo(text) {
  try {
    const url = new URL(text);
    if (url.protocol !== "http:" && url.protocol !== "https:") return null;
    const link = document.createElement("a");
    link.href = url.href;
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
    link.textContent = text;
    return link;
  } catch {
    return null;
  }
}

// A colour's angle on the wheel, the same for the same name wherever it is shown.
export function hueOf(name) {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i += 1) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return ((hash ^ (hash >>> 15)) >>> 0) % 360;
}

export function initialsOf(name) {
  const words = name.split(/[\s._-]+/).filter(Boolean);
  const firsts = words.length > 1 ? [words[0], words.at(-1)] : words;
  return firsts.map((word) => Array.from(word)[0].toUpperCase()).join("") || "?";
}

// ---- Times

const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit" });
const date = new Intl.DateTimeFormat([], { weekday: "long", day: "numeric", month: "long" });
const dateAndYear = new Intl.DateTimeFormat([], { day: "numeric", month: "long", year: "numeric" });
const whole = new Intl.DateTimeFormat([], { dateStyle: "full", timeStyle: "medium" });

export const wholeTime = (at) => whole.format(at);

const midnight = (at) => new Date(at).setHours(0, 0, 0, 0);
const sameDay = (a, b) => midnight(a) === midnight(b);

export function timeText(at, now) {
  const minutes = Math.floor((now - at) / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min ago`;
  return clock.format(at);
}

export function dayText(at, now) {
  if (sameDay(at, now)) return "Today";
  if (sameDay(at, midnight(now) - 1)) return "Yesterday";
  return new Date(at).getFullYear() === new Date(now).getFullYear() ? date.format(at) : dateAndYear.format(at);
}

export { sameDay };
