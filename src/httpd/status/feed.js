// Where the snapshots come from: a WebSocket on the page's own path, or, where that cannot be had, ?format=json again and again.
//
// States: connecting, live (by the socket), polling, waiting (for the next attempt, at `retryAt` of Date.now()), stopped.

const protocol = "websocket-status.v1";
const pollMs = 2000;
const silentMs = 10_000; // The server speaks every second.
const socketAgainMs = 30_000; // While polling.
const firstDelayMs = 500;
const longestDelayMs = 15_000;

function pageUrl(search) {
  const url = new URL(location.href);
  url.search = search;
  url.hash = "";
  return url;
}

function socketUrl() {
  const url = pageUrl("");
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url;
}

export class Feed {
  // `onSnapshot(snapshot)` for each; `onState(name, { retryAt, why })` when the state changes.
  constructor(onSnapshot, onState) {
    this.onSnapshot = onSnapshot;
    this.onState = onState;
    this.attempt = 0; // What began before the last start or stop is not heard any more.
  }

  start() {
    this.end();
    this.delayMs = firstDelayMs;
    this.show("connecting");
    this.connect();
  }

  stop(why = "") {
    this.end();
    this.show("stopped", { why });
  }

  // For somebody who does not want to wait.
  retry() {
    if (this.state !== "waiting") return;
    this.end();
    this.connect();
  }

  end() {
    this.attempt += 1;
    clearTimeout(this.timer);
    const { socket } = this;
    this.socket = null;
    if (socket) socket.close();
  }

  show(state, more = {}) {
    if (state === this.state && !more.retryAt && !more.why) return;
    this.state = state;
    this.onState(state, more);
  }

  after(ms, action) {
    clearTimeout(this.timer);
    this.timer = setTimeout(action, ms);
  }

  connect() {
    this.end();
    this.socketAgainAt = Date.now() + socketAgainMs;
    let socket;
    try {
      socket = new WebSocket(socketUrl(), protocol);
    } catch {
      this.poll();
      return;
    }
    this.socket = socket;
    let heard = false;
    this.after(silentMs, () => this.lost(socket, heard));
    socket.addEventListener("message", ({ data }) => {
      if (this.socket !== socket || !this.take(() => JSON.parse(data))) return;
      heard = true;
      this.after(silentMs, () => this.lost(socket, heard));
      this.show("live");
    });
    socket.addEventListener("close", () => this.lost(socket, heard));
  }

  lost(socket, heard) {
    if (this.socket !== socket) return;
    this.end();
    if (heard) this.wait();
    else this.poll();
  }

  // Whether it was a snapshot.
  take(read) {
    let snapshot;
    try {
      snapshot = read();
      if (!snapshot.total || !snapshot.locations) return false;
    } catch {
      return false;
    }
    this.delayMs = firstDelayMs;
    this.onSnapshot(snapshot);
    return true;
  }

  async poll() {
    const { attempt } = this;
    let status = 0;
    let snapshot = null;
    try {
      const answer = await fetch(pageUrl("?format=json"), { cache: "no-store", signal: AbortSignal.timeout(silentMs) });
      status = answer.status;
      if (answer.ok) snapshot = await answer.json();
    } catch {
      // The server is away, or what it sends is no JSON.
    }
    if (attempt !== this.attempt) return;
    if (snapshot && this.take(() => snapshot)) {
      this.show("polling");
      this.after(pollMs, () => (Date.now() >= this.socketAgainAt ? this.connect() : this.poll()));
    } else if (status >= 400 && status < 500) {
      this.stop(`The server answers ${status}.`);
    } else {
      this.wait();
    }
  }

  wait() {
    const delay = this.delayMs * (0.75 + Math.random() / 2);
    this.delayMs = Math.min(2 * this.delayMs, longestDelayMs);
    this.show("waiting", { retryAt: Date.now() + delay });
    this.after(delay, () => this.connect());
  }
}
