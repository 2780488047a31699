// The chat page: rooms, each a topic, over one connection; the room that the address names behind # is shown.

import { cleanName, cleanRoom, encodeTyping, hueOf, initialsOf, maxText } from "./message.js";
import { Room } from "./room.js";
import { TopicsClient } from "./topics.js";

const byId = (id) => document.getElementById(id);
const lobby = "lobby";
const history = 50;
const maxRooms = 12;
const maxWaiting = 50;
const typingEveryMs = 2500;

// ---- What the browser keeps

const kept = {
  get(key, otherwise) {
    try {
      return JSON.parse(localStorage.getItem(`mod_websocket.chat.${key}`)) ?? otherwise;
    } catch {
      return otherwise;
    }
  },
  set(key, value) {
    try {
      localStorage.setItem(`mod_websocket.chat.${key}`, JSON.stringify(value));
    } catch { /* then it lasts as long as the page */ }
  },
};

const pick = (words) => words[Math.floor(Math.random() * words.length)];

function inventedName() {
  return `${pick(["Amber", "Bold", "Calm", "Clever", "Gentle", "Lucky", "Merry", "Quiet", "Swift", "Witty"])} ${
    pick(["Badger", "Crane", "Finch", "Fox", "Hare", "Heron", "Lynx", "Otter", "Raven", "Robin"])}`;
}

function keptUser() {
  const id = kept.get("id", null);
  const name = kept.get("name", null);
  const user = {
    id: typeof id === "string" && id ? id : crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`,
    name: (typeof name === "string" && cleanName(name)) || inventedName(),
  };
  kept.set("id", user.id);
  kept.set("name", user.name);
  return user;
}

function showUser() {
  byId("user-name").textContent = user.name;
  byId("user-avatar").textContent = initialsOf(user.name);
  byId("user-avatar").style.setProperty("--hue", hueOf(user.name));
}

// ---- Rooms

const user = keptUser();
const rooms = new Map(); // by name
let current = null;
let connection = { state: "connecting", retryAt: null, attempts: 0, reached: false };
let client = null;

function enter(name) {
  if (rooms.has(name)) return rooms.get(name);
  if (rooms.size >= maxRooms) leave([...rooms.keys()].find((each) => each !== lobby && each !== current?.name));
  const room = new Room(name, { user, send: (text) => client.publish(name, text), changed });
  rooms.set(name, room);
  room.element.hidden = true;
  byId("scroll").append(room.element);
  room.subscription = client.subscribe(name, {
    last: history,
    onMessage: (message) => room.receive(message),
    onSubscribed: () => room.subscribed(),
    onGap: () => room.gap(),
    onError: (error) => room.refused(error),
  });
  keepRooms();
  return room;
}

function leave(name) {
  const room = rooms.get(name);
  room.subscription.unsubscribe();
  room.element.remove();
  rooms.delete(name);
  keepRooms();
}

const keepRooms = () => kept.set("rooms", [...rooms.keys()]);

function roomInAddress() {
  try {
    return cleanRoom(decodeURIComponent(location.hash)) || lobby;
  } catch {
    return lobby;
  }
}

const addressOf = (name) => `#${encodeURIComponent(name)}`;

function show(room) {
  if (current) current.element.hidden = true;
  current = room;
  room.element.hidden = false;
  room.unread = document.hidden ? room.unread : 0;
  byId("room-title").textContent = `#${room.name}`;
  byId("empty-room").textContent = `#${room.name}`;
  byId("leave").hidden = room.name === lobby;
  byId("text").setAttribute("placeholder", `Message #${room.name}`);
  room.retimeAll();
  stick(true);
  follow();
  update(room);
}

function showRooms() {
  const items = [...rooms.values()].map((room) => {
    const item = byId("room-template").content.firstElementChild.cloneNode(true);
    const link = item.firstElementChild;
    link.href = addressOf(room.name);
    if (room === current) link.setAttribute("aria-current", "page");
    item.querySelector(".room-name").textContent = room.name;
    const badge = item.querySelector(".badge");
    badge.hidden = room.unread === 0;
    badge.textContent = room.unread > 99 ? "99+" : room.unread;
    badge.setAttribute("aria-label", `${room.unread} unread`);
    return item;
  });
  const focused = document.activeElement?.closest("#rooms a")?.getAttribute("href");
  byId("rooms").replaceChildren(...items);
  if (focused) byId("rooms").querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  byId("rooms").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

// ---- Following the room

let stuck = true; // to the bottom, while the reader has not scrolled up
let seenTop = 0; // where the log was scrolled to when last seen
let below = 0; // messages that have come since

function stick(on) {
  stuck = on;
  byId("scroll").classList.toggle("stuck", on);
  if (on) below = 0;
  byId("down").hidden = on;
  byId("down-text").textContent = below === 0 ? "To the newest" : `${below} new ${below === 1 ? "message" : "messages"}`;
}

function follow() {
  const box = byId("scroll");
  if (stuck) box.scrollTop = box.scrollHeight;
  seenTop = box.scrollTop;
}

// Only who scrolls up leaves the bottom: it moves away by itself with each message, until that is followed.
function scrolled() {
  const { scrollHeight, scrollTop, clientHeight } = byId("scroll");
  const atBottom = scrollHeight - scrollTop - clientHeight < 40;
  if (atBottom ? !stuck : stuck && scrollTop < seenTop) stick(atBottom);
  seenTop = scrollTop;
}

function changed(room, { fresh = false }) {
  if (fresh && (document.hidden || room !== current)) room.unread += 1;
  if (fresh && room === current && !stuck) {
    below += 1;
    stick(false);
  }
  update(room);
}

// What a change of a room shows beside its log; once a frame for many changes, and soon where no frames are drawn.
const toUpdate = new Set();
function update(room) {
  if (toUpdate.size === 0) {
    if (document.hidden) setTimeout(updateNow, 50);
    else requestAnimationFrame(updateNow);
  }
  toUpdate.add(room);
}

function updateNow() {
  toUpdate.clear();
  showRooms();
  byId("empty").hidden = !current.empty || !current.stood;
  const problem = current.problem || noServer();
  if (byId("problem").textContent !== problem) byId("problem").textContent = problem;
  byId("problem").hidden = problem === "";
  showTypists([...current.typists.values()].map(({ author }) => author));
  const unread = [...rooms.values()].reduce((sum, room) => sum + room.unread, 0);
  document.title = `${unread > 0 ? `(${unread}) ` : ""}#${current.name} – Chat`;
  follow();
}

function showTypists(names) {
  const line = byId("typing");
  const bold = (name) => Object.assign(document.createElement("bdi"), { textContent: name });
  if (names.length === 0) line.replaceChildren();
  else if (names.length === 1) line.replaceChildren(bold(names[0]), " is typing");
  else if (names.length === 2) line.replaceChildren(bold(names[0]), " and ", bold(names[1]), " are typing");
  else line.replaceChildren(`${names.length} are typing`);
  line.classList.toggle("on", names.length > 0);
}

// ---- The connection

function socketUrl() {
  const path = new URLSearchParams(location.search).get("path") || "/chat";
  return `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}${path.startsWith("/") ? "" : "/"}${path}`;
}

function connectionChanged(now) {
  connection = now;
  if (now.state === "waiting") for (const room of rooms.values()) room.lost();
  if (current) update(current);
  showConnection();
}

function showConnection() {
  const { state, retryAt, attempts, reached } = connection;
  const seconds = Math.max(1, Math.ceil((retryAt - Date.now()) / 1000));
  byId("state").dataset.state = state;
  const words = {
    connecting: reached ? "Reconnecting" : "Connecting", open: "Connected",
    // The first attempt follows at once: no reason to count.
    waiting: attempts <= 2 ? "Reconnecting" : `Offline, next try in ${seconds} s`, closed: "Closed",
  };
  if (byId("state-text").textContent !== words[state]) byId("state-text").textContent = words[state];
  byId("retry").hidden = state !== "waiting" || attempts <= 2;
}

function noServer() {
  const { attempts, reached } = connection;
  return reached || attempts < 3 ? "" : `Nothing at ${socketUrl()} has answered so far. The chat needs the handler “topics” there.`;
}

// ---- Writing

let typedAt = 0;

function tellTyping() {
  if (byId("text").value.trim() === "" || !current.stands || Date.now() - typedAt < typingEveryMs) return;
  typedAt = Date.now();
  client.publish(current.name, encodeTyping({ from: user.id, author: user.name }), { transient: true }).catch(() => {});
}

function measure() {
  const text = byId("text");
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight + text.offsetHeight - text.clientHeight}px`;
  const left = maxText - text.value.trim().length;
  byId("room-left").textContent = left < 0 ? `${-left} too many` : left <= 200 ? `${left} left` : "";
  text.setAttribute("aria-invalid", String(left < 0));
  follow();
}

function send() {
  const text = byId("text").value.trim();
  if (text === "" || text.length > maxText) return;
  if (current.outbox.size >= maxWaiting) {
    byId("room-left").textContent = "Too many messages wait for the connection";
    return;
  }
  current.post(text);
  typedAt = 0;
  byId("text").value = "";
  measure();
  stick(true);
  follow();
}

// ---- Dialogs

function ask(name, { value, done }) {
  const dialog = byId(`${name}-dialog`);
  const input = dialog.querySelector("input");
  input.value = value;
  dialog.returnValue = "";
  dialog.onclose = () => { if (dialog.returnValue === "ok") done(input.value); };
  dialog.showModal();
  input.select();
}

function rename(text) {
  const name = cleanName(text);
  if (!name) return;
  user.name = name;
  kept.set("name", name);
  showUser();
}

// ---- Starting up

function start() {
  showUser();
  byId("address").textContent = socketUrl();
  client = new TopicsClient(socketUrl(), { onState: connectionChanged });
  const remembered = kept.get("rooms", []);
  const names = (Array.isArray(remembered) ? remembered : []).filter((name) => typeof name === "string").map(cleanRoom).filter(Boolean);
  for (const name of [lobby, ...names].slice(0, maxRooms)) enter(name);
  show(enter(roomInAddress()));
  listen();
  measure();
  if (matchMedia("(hover: hover)").matches) byId("text").focus();
}

function listen() {
  const on = (id, event, call) => byId(id).addEventListener(event, call);
  addEventListener("hashchange", () => show(enter(roomInAddress())));
  on("user", "click", () => ask("name", { value: user.name, done: rename }));
  on("join", "click", () => ask("join", { value: "", done: (text) => { if (cleanRoom(text)) location.hash = addressOf(cleanRoom(text)); } }));
  for (const cancel of document.querySelectorAll("dialog .cancel")) cancel.addEventListener("click", () => cancel.closest("dialog").close());
  on("leave", "click", () => {
    leave(current.name);
    location.hash = addressOf(lobby);
  });
  on("retry", "click", () => client.retry());
  on("down", "click", () => {
    stick(true);
    follow();
    byId("text").focus();
  });
  on("scroll", "scroll", scrolled);
  on("compose", "submit", (event) => {
    event.preventDefault();
    send();
  });
  on("text", "input", () => {
    measure();
    tellTyping();
  });
  on("text", "keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  if (navigator.clipboard) {
    byId("copy-link").hidden = false;
    on("copy-link", "click", () => navigator.clipboard.writeText(new URL(addressOf(current.name), location.href).href)
      .then(() => { byId("copy-link").textContent = "Copied"; }, () => {}));
  }
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    current.unread = 0;
    current.retimeAll();
    client.retry();
    update(current);
  });
  // A keyboard on a phone takes from the height: what was at the bottom stays there.
  new ResizeObserver(follow).observe(byId("scroll"));
  setInterval(tick, 1000);
  setInterval(() => current.retimeAll(), 20_000);
}

function tick() {
  if (current.tick(Date.now())) update(current);
  for (const room of rooms.values()) room.tick(Date.now());
  showConnection();
}

start();
