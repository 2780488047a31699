// A room: the log of one topic, its messages in the order of their ids, and the user's own that wait to be published.

import { cleanText, dayText, decode, encodeMessage, hueOf, initialsOf, sameDay, textNodes, timeText, wholeTime } from "./message.js";

const maxEntries = 500;
const maxTypists = 50;
const typingMs = 5000;
const groupMs = 5 * 60_000;
const newest = Infinity; // the id of what is not published yet

const part = (element, name) => element.querySelector(`.${name}`);
const timeOf = (id) => Math.floor(id / 1000); // ids are microseconds

export class Room {
  // `send(text)` publishes to the topic and gives a promise, as TopicsClient does. `changed(room, what)` is called after each change,
  // with {fresh: true} where a message of somebody else's is new.
  constructor(name, { user, send, changed }) {
    this.name = name;
    this.user = user;
    this.send = send;
    this.changed = changed;
    this.unread = 0;
    this.stands = false; // the subscription, now
    this.stood = false; // ever
    this.problem = "";
    this.entries = new Map(); // by the sender's id
    this.outbox = new Set(); // entries to publish
    this.typists = new Map(); // by browser: {author, until}
    this.element = document.getElementById("log-template").content.firstElementChild.cloneNode(true);
    this.element.setAttribute("aria-label", `Messages in ${name}`);
    this.element.dataset.room = name;
  }

  get empty() {
    return this.element.childElementCount === 0;
  }

  // ---- From the server

  receive({ id, data }) {
    const message = decode(data);
    if (!message) return;
    if (message.kind === "typing") {
      this.typing(message);
      return;
    }
    this.typists.delete(message.from);
    const known = this.entries.get(message.id);
    if (known) this.confirm(known, id);
    else this.add(this.entryOf(message, timeOf(id)), id);
    const fresh = !known && this.stood && message.from !== this.user.id;
    this.changed(this, { fresh });
  }

  subscribed() {
    this.stands = true;
    this.stood = true;
    this.problem = "";
    this.element.setAttribute("aria-busy", "false");
    for (const entry of this.outbox) this.publish(entry);
    this.changed(this, {});
  }

  gap() {
    const last = Array.from(this.element.children).findLast((entry) => entry.sortId !== newest);
    if (last?.dataset.kind === "gap") return;
    const entry = document.getElementById("gap-template").content.firstElementChild.cloneNode(true);
    entry.at = last?.at ?? 0;
    this.add(entry, last?.sortId ?? 0);
    this.changed(this, {});
  }

  refused({ message }) {
    this.problem = `This room cannot be joined: ${message}`;
    this.changed(this, {});
  }

  lost() {
    this.stands = false;
    this.typists.clear();
    this.changed(this, {});
  }

  typing({ from, author }) {
    if (!this.stands || from === this.user.id) return;
    if (!this.typists.has(from) && this.typists.size >= maxTypists) return;
    this.typists.set(from, { author, until: Date.now() + typingMs });
    this.changed(this, {});
  }

  // ---- From the user

  post(text) {
    const message = { id: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`, from: this.user.id, author: this.user.name, text };
    const entry = this.entryOf({ kind: "message", ...message, text: cleanText(text) }, Date.now());
    entry.payload = encodeMessage(message);
    this.add(entry, newest);
    this.publish(entry);
    this.changed(this, {});
  }

  // Publishes it, now or as soon as the subscription stands: what was published before the connection was lost has come back by then.
  async publish(entry) {
    this.outbox.add(entry);
    this.mark(entry, "pending", this.stands ? "Sending…" : "Waiting for the connection");
    if (!this.stands || entry.underway) return;
    entry.underway = true;
    try {
      const { id } = await this.send(entry.payload);
      this.confirm(entry, id);
    } catch (error) {
      if (!this.outbox.has(entry)) return;
      if (error.code === "lost" || error.code === "disconnected") {
        this.mark(entry, "pending", "Waiting for the connection");
      } else {
        this.outbox.delete(entry);
        this.mark(entry, "failed", `Not sent: ${error.message}`);
      }
    } finally {
      entry.underway = false;
      this.changed(this, {});
    }
  }

  // ---- Entries

  confirm(entry, id) {
    if (entry.sortId !== newest) return;
    this.outbox.delete(entry);
    entry.at = timeOf(id);
    this.place(entry, id);
    this.mark(entry, "sent", "");
  }

  mark(entry, state, note) {
    entry.dataset.state = state;
    part(entry, "note-text").textContent = note;
    part(entry, "again").hidden = state !== "failed";
  }

  entryOf(message, at) {
    const mine = message.from === this.user.id;
    const entry = document.getElementById("entry-template").content.firstElementChild.cloneNode(true);
    entry.at = at;
    entry.dataset.kind = message.kind;
    entry.dataset.from = message.kind === "foreign" ? "" : `${message.from} ${message.author}`;
    part(entry, "text").append(...textNodes(message.text));
    if (message.kind === "message") {
      entry.messageId = message.id;
      this.entries.set(message.id, entry);
      entry.classList.toggle("mine", mine);
      entry.style.setProperty("--hue", hueOf(message.author));
      part(entry, "author").textContent = message.author;
      part(entry, "avatar").textContent = initialsOf(message.author);
    } else {
      part(entry, "author").textContent = "Published";
      part(entry, "avatar").replaceChildren(document.getElementById("foreign-icon").content.cloneNode(true));
    }
    part(entry, "again").addEventListener("click", () => this.publish(entry));
    return entry;
  }

  add(entry, id) {
    this.place(entry, id);
    if (this.element.childElementCount <= maxEntries) return;
    const oldest = this.element.firstElementChild;
    if (oldest.sortId === newest) return;
    this.entries.delete(oldest.messageId);
    oldest.remove();
    this.regroup(this.element.firstElementChild);
  }

  // Where its id belongs. An element that stands there already is not moved, lest it be read out again.
  place(entry, id) {
    entry.sortId = id;
    let before = this.element.lastElementChild;
    while (before && (before === entry || before.sortId > id)) before = before.previousElementSibling;
    const next = before ? before.nextElementSibling : this.element.firstElementChild;
    if (next !== entry) {
      const followed = entry.nextElementSibling;
      this.element.insertBefore(entry, next);
      if (followed) this.regroup(followed);
    }
    this.regroup(entry);
    if (entry.nextElementSibling) this.regroup(entry.nextElementSibling);
  }

  // What an entry shows depends on the one before it: the day, and the author where it is another or some time has passed.
  regroup(entry) {
    const previous = entry.previousElementSibling;
    const day = part(entry, "day");
    if (!day) return;
    const begins = !previous || !sameDay(previous.at, entry.at);
    day.hidden = !begins;
    entry.classList.toggle("continued", !begins && previous.dataset.kind === entry.dataset.kind
      && previous.dataset.from === entry.dataset.from && entry.at - previous.at < groupMs);
    this.retime(entry, Date.now());
  }

  retime(entry, now) {
    const time = part(entry, "time");
    if (!time) return;
    time.dateTime = new Date(entry.at).toISOString();
    time.title = wholeTime(entry.at);
    time.textContent = timeText(entry.at, now);
    part(entry, "bubble").title = entry.classList.contains("continued") ? time.title : "";
    part(entry, "day").textContent = dayText(entry.at, now);
  }

  // Time has passed. True if somebody no longer types.
  tick(now) {
    let stopped = false;
    for (const [from, { until }] of this.typists) if (until <= now) stopped = this.typists.delete(from);
    return stopped;
  }

  retimeAll() {
    const now = Date.now();
    for (const entry of this.element.children) this.retime(entry, now);
  }
}
