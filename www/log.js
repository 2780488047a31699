// The event log: rows of #log, the last `maxRows` of them. Text from the network reaches the page through textContent only.

import { clockText, msText, numberText } from "./format.js";

const maxRows = 500;
const byId = (id) => document.getElementById(id);

// A row is {when, ms, label, detail, notes, mono, entered, data}; `data` becomes its data-* attributes, `entered` names the
// readyState that it is the first to show, or is "".
//
// Rows wait for the next frame, and only those that fit are ever built: a flood of messages costs a bounded amount of layout.
export const log = {
  waiting: [],
  dropped: 0,
  scheduled: false,

  add(row) {
    this.waiting.push(row);
    if (this.waiting.length > maxRows) {
      this.waiting.shift();
      this.dropped += 1;
    }
    if (!this.scheduled) {
      this.scheduled = true;
      requestAnimationFrame(() => this.flush());
    }
  },

  flush() {
    this.scheduled = false;
    const list = byId("log");
    const scroll = byId("log-scroll");
    const follow = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 48;
    list.append(...this.waiting.map(rowElement));
    this.waiting = [];
    while (list.childElementCount > maxRows) {
      list.firstElementChild.remove();
      this.dropped += 1;
    }
    if (follow) scroll.scrollTop = scroll.scrollHeight;
    this.note();
  },

  note() {
    byId("log-empty").hidden = byId("log").childElementCount > 0;
    byId("log-note").textContent = this.dropped > 0
      ? `last ${maxRows} kept, ${numberText(this.dropped)} older dropped` : "";
  },

  clear() {
    this.waiting = [];
    this.dropped = 0;
    byId("log").replaceChildren();
    this.note();
  },

  text() {
    const parts = "time, .since, .kind, .detail, .note, .chip";
    return Array.from(byId("log").children,
      (row) => Array.from(row.querySelectorAll(parts), (part) => part.textContent).join("  ")).join("\n");
  },
};

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function rowElement(row) {
  const made = element("div", "entry", "");
  Object.assign(made.dataset, row.data);
  const time = element("time", "", clockText(row.when));
  time.dateTime = row.when.toISOString();
  const told = element("div", "told", "");
  told.append(element("p", row.mono ? "detail mono" : "detail", row.detail));
  if (row.notes.length > 0) told.append(element("p", "note", row.notes.join(" · ")));
  const when = element("div", "when", "");
  when.append(time, element("span", "since", `#${row.data.connection} +${msText(row.ms)}`));
  made.append(when, element("span", "kind", row.label), told);
  if (row.entered) {
    const chip = element("span", "chip", row.entered);
    chip.dataset.state = row.entered;
    made.append(chip);
  }
  return made;
}
