// The page: what a snapshot says, drawn; and the state of the feed.

const asset = (name) => import(new URL(`?asset=${name}`, import.meta.url));
const [{ Feed }, { History, quantile }, { ChartGroup }, { Bars, Table }, { Admin }, figures] = await Promise.all(
  ["feed.js", "history.js", "chart.js", "lists.js", "admin.js", "figures.js"].map(asset));
const { ageText, byteRateText, bytesText, causeName, codeName, countText, exactText, make, plural, rateText, refusalName, secondsText, setText } = figures;

const byId = (id) => document.getElementById(id);
const history = new History();

// ---- Charts

const charts = new ChartGroup(byId("charts"));
const count = (n) => (n === null ? "–" : countText(n));
const perSecond = (n) => (n === null ? "–" : `${rateText(n)}/s`);
const both = (a, b, text) => (point) => (point[a] === null ? "–" : text(point[a] + point[b]));
const flow = (a, b) => [{ key: a, label: "received", tone: "in" }, { key: b, label: "sent", tone: "out" }];
const halves = (a, b) => [{ key: b, label: "99 %", tone: "most" }, { key: a, label: "median", tone: "half" }];

charts.add("open", "Open connections", [{ key: "plain", label: "plain", tone: "plain" }, { key: "tls", label: "TLS", tone: "tls" },
  { key: "resident", label: "resident", tone: "resident" }], count,
{ stacked: true, least: 2, total: (point) => countText(point.plain + point.tls + point.resident) });
charts.add("messages", "Messages", flow("received", "sent"), perSecond, { total: both("received", "sent", perSecond) });
charts.add("bytes", "Payload", flow("bytesReceived", "bytesSent"), byteRateText,
  { base: 1024, least: 64, total: both("bytesReceived", "bytesSent", byteRateText) });
charts.add("changes", "Handshakes and closes", [{ key: "opened", label: "opened", tone: "opened" }, { key: "closed", label: "closed", tone: "closed" },
  { key: "refused", label: "refused", tone: "refused" }], perSecond, { total: (point) => perSecond(point.opened) });
charts.add("lag", "Loop lag", halves("turn50", "turn99"), secondsText,
  { decades: true, empty: "No event loop has had anything to do." });
charts.add("trips", "Round trips", halves("trip50", "trip99"), secondsText,
  { decades: true, empty: "No ping was answered in the last minute." });

// ---- Lists

const counted = (label, empty) => ({ label: ({ key }) => label(key), text: (row) => exactText(row.count), size: (row) => row.count, empty });
const bars = {
  slowest: new Bars(byId("slowest"), { label: (row) => row.location, text: (row) => secondsText(row.handler99), size: (row) => row.handler99,
    empty: "No message was timed in the last minute." }),
  codes: new Bars(byId("codes"), counted(codeName, "No connection has ended yet.")),
  causes: new Bars(byId("causes"), counted(causeName, "No connection has ended yet.")),
  refused: new Bars(byId("refused"), counted(refusalName, "No handshake was refused.")),
};

const number = (key, label, title, word) => ({ key, label, title, number: true, text: (row) => word(row[key]) });
const locations = new Table(byId("locations"), [
  { key: "location", label: "Location", wide: true, text: (row) => row.location }, { key: "server", label: "Server", text: (row) => row.server },
  number("open", "Open", "Open now", countText),
  number("received", "Msg/s in", "Messages received per second", rateText), number("sent", "Msg/s out", "Messages sent per second", rateText),
  number("bytesReceived", "In", "Bytes received per second", byteRateText), number("bytesSent", "Out", "Bytes sent per second", byteRateText),
  number("opened", "Opened", "Opened since the start", countText), number("closed", "Closed", "Closed since the start", countText),
  number("refused", "Refused", "Refused since the start", countText),
  number("handler99", "Handler 99 %", "Time in the handler, 99th percentile", secondsText),
  number("buffered", "Buffered", "Bytes that wait for clients", bytesText), number("dropped", "Dropped", "Messages dropped for slow clients", countText),
  number("paused", "Paused", "Times that reading was paused", countText),
], { caption: "Locations", sort: "open", down: true, empty: "No location has had a WebSocket yet." });

const children = new Table(byId("children"), [
  { key: "pid", label: "Process", text: (row) => String(row.pid) },
  { key: "generation", label: "Generation", number: true, text: (row) => String(row.generation) }, { key: "state", label: "State", text: (row) => row.state },
  number("open", "Open", undefined, countText), number("buffered_bytes", "Buffered", undefined, bytesText),
], { caption: "Child processes", sort: "pid", empty: "No child has a WebSocket yet." });

// ---- Facts

const facts = new Map();

function fact(name, text, more = "") {
  let parts = facts.get(name);
  if (!parts) {
    parts = [make("span"), make("span", { class: "more" })];
    facts.set(name, parts);
    byId("facts").append(make("div", {}, make("dt", {}, name), make("dd", {}, ...parts)));
  }
  setText(parts[0], text);
  setText(parts[1], more);
}

const saved = ({ raw_bytes: raw, wire_bytes: wire }) => (raw > 0 ? `${Math.round(100 * (1 - wire / raw))} % saved` : "–");

function showFacts({ total, log_lines_lost: lost }) {
  const { received, sent } = total.deflate;
  fact("Buffered", bytesText(total.buffered_bytes), "waits for clients");
  fact("Slow clients", `${countText(total.slow_pauses)} pauses`, plural(total.dropped, "message dropped", "messages dropped"));
  fact("Too fast", `${countText(total.rate_pauses)} pauses`, "by rate limits");
  fact("Pings", `${countText(total.pings_sent)} sent`, `${countText(total.pongs_received)} answered`);
  const slow = quantile(total.handler_seconds, 0.99);
  fact("Handlers", secondsText(quantile(total.handler_seconds, 0.5)), slow === null ? "no message timed" : `${secondsText(slow)} for 99 %`);
  fact("Inflating", saved(received), `${secondsText(received.seconds)} of CPU`);
  fact("Deflating", saved(sent), `${secondsText(sent.seconds)} of CPU`);
  fact("Log lines lost", countText(lost), "of WebSocketLog");
}

// ---- A snapshot

function show(snapshot) {
  history.add(snapshot);
  const { version, time, started, total } = history.now;
  setText(byId("about"), `mod_websocket ${version} · ${location.host} · up ${ageText(time - started)}`);
  charts.show(history.points);
  const rows = history.locations();
  bars.slowest.show(rows.filter(({ handler99 }) => handler99 !== null));
  bars.codes.show(history.counts((of) => of.closed.codes));
  bars.causes.show(history.counts((of) => of.closed.causes));
  bars.refused.show(history.counts((of) => of.refused));
  locations.show(rows);
  children.show(history.now.children.map((each) => ({ key: String(each.pid), ...each })));
  showFacts(history.now);
  for (const each of document.querySelectorAll(".span")) setText(each, history.span < 90 ? "minute" : `${Math.min(5, Math.ceil(history.span / 60))} min`);
  const open = total.open.plain + total.open.tls + total.open.resident;
  document.title = `${countText(open)} open – WebSockets`;
  admin.locations(rows.map((row) => row.location));
}

// ---- The feed

const stateNames = { connecting: "Connecting", live: "Live", polling: "Polling", waiting: "Reconnecting", stopped: "Stopped" };
let countdown;

function showState(state, { retryAt, why = "" }) {
  clearInterval(countdown);
  byId("state").dataset.state = state;
  document.body.dataset.feed = state;
  setText(byId("state-name"), stateNames[state]);
  const more = () => (retryAt ? `in ${Math.max(1, Math.ceil((retryAt - Date.now()) / 1000))} s` : why || (state === "polling" ? "each 2 s" : ""));
  setText(byId("state-more"), more());
  if (retryAt) countdown = setInterval(() => setText(byId("state-more"), more()), 250);
  byId("retry").hidden = state !== "waiting";
  setText(byId("stop"), state === "stopped" ? "Start" : "Stop");
  if (state === "live" || state === "polling") admin.look();
  else admin.rest();
}

const admin = new Admin(byId("admin"), Table);
const feed = new Feed(show, showState);
byId("retry").addEventListener("click", () => feed.retry());
byId("stop").addEventListener("click", () => (feed.state === "stopped" ? feed.start() : feed.stop()));
addEventListener("online", () => feed.retry());
document.addEventListener("visibilitychange", () => { if (!document.hidden) feed.retry(); });
feed.start();
