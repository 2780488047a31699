// The connections of the server: listed, filtered, closed. Only where the server lets this user: else the section stays hidden.

const { ageText, bytesText, countText, exactText, make, plural, setText } = await import(new URL("?asset=figures.js", import.meta.url));

const listed = 500;
const againMs = 5000;
const maxReasonBytes = 123; // RFC 6455 §5.5: a control frame carries 125 bytes, two of them the code.
const wholeNumbers = new Set(["child", "min_age", "min_buffered"]);

const filterText = {
  min_age: (value) => ["older than", `${value} s`], min_buffered: (value) => ["buffered from", `${value} bytes`],
};

const byId = (id) => document.getElementById(id);
const utf8Bytes = (text) => new TextEncoder().encode(text).length;

// Throws an Error with what the server says.
async function ask(search, options = {}) {
  const url = new URL(location.href);
  url.hash = "";
  url.search = search;
  const answer = await fetch(url, { cache: "no-store", ...options });
  if (answer.ok) return answer.json();
  const error = new Error(`The server answers ${answer.status} ${answer.statusText}`.trim());
  error.status = answer.status;
  const said = answer.headers.get("Content-Type")?.startsWith("text/html") ? "" : (await answer.text()).split("\n")[0].slice(0, 200);
  if (said) error.message += `: ${said}`;
  throw error;
}

export class Admin {
  constructor(section, Table) {
    this.section = section;
    this.total = 0;
    this.token = "";
    this.awake = false;
    const number = (key, label, title, text) => ({ key, label, title, number: true, text: (row) => text(row[key]) });
    this.table = new Table(byId("connections"), [
      { key: "address", label: "Address", text: (row) => row.address }, { key: "user", label: "User", text: (row) => row.user ?? "–" },
      { key: "location", label: "Location", wide: true, text: (row) => row.location }, { key: "server", label: "Server", text: (row) => row.server },
      number("age_seconds", "Age", undefined, ageText),
      number("received", "Msg in", "Messages received", countText), number("sent", "Msg out", "Messages sent", countText),
      number("bytesReceived", "In", "Bytes received", bytesText), number("bytesSent", "Out", "Bytes sent", bytesText),
      number("buffered_bytes", "Buffered", undefined, bytesText), { key: "mooring", label: "Mooring", text: (row) => row.mooring },
      number("child", "Child", undefined, String), { key: "id", label: "Id", text: (row) => row.id },
    ], { caption: "Connections", sort: "age_seconds", down: true, empty: "No connection matches.", action: (row) => this.button(row) });
    this.listen();
  }

  listen() {
    const form = byId("filter");
    form.addEventListener("submit", (event) => { event.preventDefault(); this.refresh(); });
    form.addEventListener("input", () => this.after(250));
    form.addEventListener("reset", () => this.after(0));
    byId("admin-refresh").addEventListener("click", () => this.refresh());
    byId("close-all").addEventListener("click", () => this.ask(this.filter()));
    byId("close-cancel").addEventListener("click", () => byId("close-dialog").close());
    byId("close-reason").addEventListener("input", () => setText(byId("reason-bytes"), String(utf8Bytes(byId("close-reason").value))));
    byId("close-form").addEventListener("submit", (event) => { event.preventDefault(); this.close(); });
    document.addEventListener("visibilitychange", () => this.after(0));
  }

  button(row) {
    const button = make("button", { type: "button", class: "quiet danger" }, "Close…");
    button.addEventListener("click", () => {
      const { id, address, user, location } = row();
      this.ask({ id }, `${address}${user ? `, ${user}` : ""}, at ${location}`);
    });
    return button;
  }

  // The fields that say something, by name.
  filter() {
    const filter = {};
    for (const [name, value] of new FormData(byId("filter"))) {
      if (value.trim() !== "") filter[name] = wholeNumbers.has(name) ? Number(value) : value.trim();
    }
    return filter;
  }

  locations(names) {
    const wanted = [...new Set(names)];
    const list = byId("location-names");
    if (list.childElementCount !== wanted.length) list.replaceChildren(...wanted.map((value) => make("option", { value })));
  }

  // While the server is there.
  look() {
    this.awake = true;
    this.refresh();
  }

  rest() {
    this.awake = false;
    clearTimeout(this.timer);
  }

  after(ms) {
    clearTimeout(this.timer);
    if (this.awake && !document.hidden) this.timer = setTimeout(() => this.refresh(), ms);
  }

  list(filter, limit) {
    return ask(`?connections&${new URLSearchParams({ ...filter, limit })}`);
  }

  async refresh() {
    clearTimeout(this.timer);
    const asked = this.asked = Symbol("the last one asked");
    try {
      const answer = await this.list(this.filter(), listed);
      if (asked !== this.asked) return;
      this.show(answer);
      setText(byId("admin-error"), "");
    } catch (error) {
      if (asked !== this.asked) return;
      if ([401, 403, 404].includes(error.status)) {
        this.section.hidden = true;
        return;
      }
      setText(byId("admin-error"), `The connections cannot be listed. ${error.message}`);
    }
    this.after(againMs);
  }

  show({ connections, total, token }) {
    this.section.hidden = false;
    this.total = total;
    this.token = token;
    this.table.show(connections.map((each) => ({
      ...each, key: each.id, received: each.messages.received, sent: each.messages.sent, bytesReceived: each.bytes.received, bytesSent: each.bytes.sent,
    })));
    const filtered = Object.keys(this.filter()).length > 0;
    const matched = plural(total, filtered ? "match" : "connection", filtered ? "match" : "connections");
    setText(byId("admin-count"), connections.length < total ? `${matched}, ${exactText(connections.length)} of them listed` : matched);
    setText(byId("close-all"), filtered ? "Close all that match…" : "Close all…");
    byId("close-all").disabled = total === 0;
  }

  // Opens the dialog that asks whether to close what matches the filter. `one`: what to call the single connection that it means.
  async ask(filter, one = "") {
    byId("close-all").disabled = true;
    setText(byId("admin-done"), "");
    try {
      const { total, token } = await this.list(filter, 1);
      this.token = token;
      this.open(filter, total, one);
    } catch (error) {
      setText(byId("admin-error"), error.message);
    }
    byId("close-all").disabled = this.total === 0;
  }

  open(filter, total, one) {
    const entries = Object.entries(filter);
    const what = one ? "this connection" : entries.length === 0 ? `all ${plural(total, "connection")}` : plural(total, "connection");
    this.closing = filter;
    setText(byId("close-title"), `Close ${what}?`);
    setText(byId("close-what"), one || (entries.length === 0 ? "Every client of this server loses its connection." : "Those that match all of this:"));
    const chips = one ? [] : entries.map(([name, value]) => {
      const [words, text] = filterText[name]?.(value) ?? [name, value];
      return make("li", {}, make("span", {}, words), ` ${text}`);
    });
    byId("close-filter").replaceChildren(...chips);
    setText(byId("close-confirm"), one ? "Close it" : `Close ${plural(total, "connection")}`);
    byId("close-confirm").disabled = total === 0;
    setText(byId("close-error"), total === 0 ? "It is gone already." : "");
    byId("close-dialog").showModal();
    byId("close-code").focus();
  }

  readClose() {
    const code = Number(byId("close-code").value);
    const reason = byId("close-reason").value;
    const allowed = Number.isInteger(code) && ((code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code)) || (code >= 3000 && code <= 4999));
    if (!allowed) throw new Error("The code must be 1000 to 1003, 1007 to 1014, or 3000 to 4999.");
    if (utf8Bytes(reason) > maxReasonBytes) throw new Error(`The reason may have ${maxReasonBytes} bytes; it has ${utf8Bytes(reason)}.`);
    return { code, reason };
  }

  async close() {
    const button = byId("close-confirm");
    try {
      const { code, reason } = this.readClose();
      button.disabled = true;
      const all = Object.keys(this.closing).length === 0;
      const { closed } = await ask("?close", {
        method: "POST", headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ token: this.token, filter: this.closing, code, reason, ...(all && { all }) }),
      });
      byId("close-dialog").close();
      setText(byId("admin-done"), `${plural(closed, "connection")} closed with ${code}${reason ? ` “${reason}”` : ""}.`);
      this.refresh();
    } catch (error) {
      setText(byId("close-error"), error.message);
    }
    button.disabled = false;
  }
}
