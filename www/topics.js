// A client of the subprotocol topics.v1, which the handler `topics` speaks: many topics over one WebSocket. A connection that is lost is
// opened again, and every subscription resumes behind the last message that it has had. This file needs no other.
//
//   import { TopicsClient } from "./topics.js";
//
//   const client = new TopicsClient("wss://example.org/chat", { onState: ({ state }) => console.log(state) });
//   const news = client.subscribe("news", { last: 20, onMessage: ({ data, id }) => console.log(id, data) });
//   const { id } = await client.publish("news", "Hello");
//   news.unsubscribe();
//   client.close();
//
// new TopicsClient(url, options) connects at once. Throws what `new WebSocket` throws. Options, all of them optional:
//   onState({ state, retryAt, attempts, reached })
//                             after each change. `state` is "connecting", "open", "waiting" (until `retryAt`, by Date.now()) or "closed",
//                             which is for good; `attempts` counts those that failed since a connection stood for some seconds;
//                             `reached` is whether there was a connection ever
//   onError({ code, message, topic })  the server's error that answers neither a publication nor a subscription
//   firstRetryMs, longestRetryMs       the wait before the second attempt, which doubles with each; half of it is random
//   connectMs, answerMs       when a connection that does not open, or leaves a publication without an answer, is taken for lost
//
// subscribe(topic, options) gives a subscription with `topic`, `id` and unsubscribe(). It lasts until that is called, over all
// connections. Throws if there is one to the topic. Options:
//   last: N                   begin with the last N messages of the topic's history, or
//   since: ID                 with all after that one; without either, with what is published from then on
//   onMessage({ topic, id, data })     `data` is a string, or a Uint8Array where it is binary. No id is handed out twice over reconnections
//   onSubscribed({ topic, id, resumed })  it stands, and what was kept of its history has been handed out; again after each reconnection
//   onGap({ topic })          some messages between the last one and the next one are not kept any more
//   onError({ code, message, topic })  the server refuses it; it is tried again with the next connection
//
// publish(topic, data, { transient }) sends a string, or a Uint8Array as binary. The promise is fulfilled with
// { id, local } once it is published, or rejected with a TopicsError whose `code` is the server's, or
//   "disconnected"            nothing was sent: there is no connection; publish again when onSubscribed or onState says so
//   "lost"                    the connection went before the answer came: it may be published or not
// Something transient reaches those who listen now and is kept nowhere; there is no answer to it, only "disconnected".
//
// retry() ends a wait. close() closes the connection and all subscriptions, for good.

const protocol = "topics.v1";
const standsAfterMs = 5000; // a connection that lasted as long lets the waits begin anew

export class TopicsError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "TopicsError";
    this.code = code;
  }
}

const defaults = {
  firstRetryMs: 500, longestRetryMs: 20_000, connectMs: 10_000, answerMs: 15_000,
  onState: () => {}, onError: () => {},
};

export class TopicsClient {
  #url;
  #options;
  #socket = null;
  #open = false;
  #openedAt = 0;
  #attempts = 0;
  #reached = false;
  #timer = 0; // of the wait, or of the attempt
  #subscriptions = new Map(); // by topic
  #answers = new Map(); // by ref: the publications that wait for one
  #lastRef = 0;
  #listening = new AbortController();

  constructor(url, options = {}) {
    this.#url = url;
    this.#options = { ...defaults, ...options };
    // A network that comes back ends the wait.
    globalThis.addEventListener?.("online", () => this.retry(), { signal: this.#listening.signal });
    this.#connect();
  }

  subscribe(topic, options = {}) {
    if (this.#subscriptions.has(topic)) throw new Error(`There is a subscription to ${topic} already.`);
    const subscription = {
      topic,
      id: options.since ?? 0,
      unsubscribe: () => {
        if (this.#subscriptions.get(topic) !== subscription) return;
        this.#subscriptions.delete(topic);
        if (this.#open) this.#send({ type: "unsubscribe", topic });
      },
    };
    this.#subscriptions.set(topic, { handle: subscription, options, stands: false, stood: false });
    if (this.#open) this.#ask(this.#subscriptions.get(topic));
    return subscription;
  }

  async publish(topic, data, { transient = false } = {}) {
    if (!this.#open) throw new TopicsError("disconnected", "There is no connection.");
    const binary = data instanceof Uint8Array;
    const message = { type: "publish", topic, data: binary ? toBase64(data) : data };
    if (binary) message.encoding = "base64";
    if (transient) {
      this.#send({ ...message, transient });
      return undefined;
    }
    this.#lastRef += 1;
    const ref = this.#lastRef;
    const socket = this.#socket;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#lost(socket), this.#options.answerMs);
      this.#answers.set(ref, { resolve, reject, timer });
      this.#send({ ...message, ref });
    });
  }

  retry() {
    if (!this.#socket && !this.#listening.signal.aborted) this.#connect();
  }

  close() {
    if (this.#listening.signal.aborted) return;
    this.#listening.abort();
    this.#subscriptions.clear();
    this.#drop();
    this.#tell("closed");
  }

  // ---- The connection

  #connect() {
    clearTimeout(this.#timer);
    const socket = new WebSocket(this.#url, protocol);
    this.#socket = socket;
    // What comes from a socket that was given up is nobody's.
    const mine = (call) => (event) => { if (this.#socket === socket) call(event); };
    socket.addEventListener("open", mine(() => this.#opened()));
    socket.addEventListener("message", mine((event) => this.#receive(event.data)));
    socket.addEventListener("close", mine(() => this.#lost(socket)));
    this.#timer = setTimeout(() => this.#lost(socket), this.#options.connectMs);
    this.#tell("connecting");
  }

  #opened() {
    clearTimeout(this.#timer);
    this.#open = true;
    this.#openedAt = Date.now();
    this.#reached = true;
    this.#tell("open");
    for (const each of this.#subscriptions.values()) this.#ask(each);
  }

  #lost(socket) {
    if (this.#socket !== socket) return;
    if (this.#open && Date.now() - this.#openedAt > standsAfterMs) this.#attempts = 0;
    this.#drop();
    const { firstRetryMs, longestRetryMs } = this.#options;
    const wait = Math.min(longestRetryMs, firstRetryMs * 2 ** Math.min(this.#attempts, 30)) * (0.5 + Math.random() / 2);
    this.#attempts += 1;
    this.#timer = setTimeout(() => this.#connect(), wait);
    this.#tell("waiting", Date.now() + wait);
  }

  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    this.#open = false;
    clearTimeout(this.#timer);
    socket?.close();
    for (const each of this.#subscriptions.values()) each.stands = false;
    const waiting = [...this.#answers.values()];
    this.#answers.clear();
    for (const { reject, timer } of waiting) {
      clearTimeout(timer);
      reject(new TopicsError("lost", "The connection was lost before the answer came."));
    }
  }

  #tell(state, retryAt = null) {
    this.#options.onState({ state, retryAt, attempts: this.#attempts, reached: this.#reached });
  }

  // ---- The protocol

  #send(message) {
    this.#socket.send(JSON.stringify(message));
  }

  #ask({ handle: { topic, id }, options: { last } }) {
    if (id > 0) this.#send({ type: "subscribe", topic, since: id });
    else if (last > 0) this.#send({ type: "subscribe", topic, last });
    else this.#send({ type: "subscribe", topic });
  }

  #receive(text) {
    const message = parsed(text);
    if (!message) return;
    const subscription = this.#subscriptions.get(message.topic);
    switch (message.type) {
      case "message": if (subscription) hand(subscription, message); break;
      case "subscribed": if (subscription) stand(subscription, message); break;
      case "gap": subscription?.options.onGap?.({ topic: message.topic }); break;
      case "published": this.#answer(message.ref)?.resolve({ id: message.id, local: message.local === true }); break;
      case "error": this.#refused(message, subscription); break;
      default: // of a later server
    }
  }

  #answer(ref) {
    const answer = this.#answers.get(ref);
    this.#answers.delete(ref);
    clearTimeout(answer?.timer);
    return answer;
  }

  #refused({ code, message, topic, ref }, subscription) {
    const answer = this.#answer(ref);
    if (answer) answer.reject(new TopicsError(code, message));
    else if (subscription && !subscription.stands) subscription.options.onError?.({ code, message, topic });
    else this.#options.onError({ code, message, topic });
  }
}

// Until the subscription stands, what comes is history, which may hold what was handed out before. From then on ids are the server's
// to order: they may begin lower where its clock was set back.
function hand({ handle, options, stands }, { topic, id, data, encoding }) {
  if (!stands && id <= handle.id) return;
  handle.id = id;
  options.onMessage?.({ topic, id, data: encoding === "base64" ? fromBase64(data) : data });
}

function stand(subscription, { topic, id }) {
  const { handle, options } = subscription;
  const resumed = subscription.stood;
  subscription.stands = true;
  subscription.stood = true;
  if (id > handle.id) handle.id = id;
  options.onSubscribed?.({ topic, id: handle.id, resumed });
}

function parsed(text) {
  try {
    const message = JSON.parse(text);
    return message !== null && typeof message === "object" ? message : null;
  } catch {
    return null;
  }
}

function toBase64(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

const fromBase64 = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
