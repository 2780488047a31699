// An echo with the npm package ws, of which the browser tests have a copy: node ws.mjs PORT
import { createRequire } from "node:module";

const { WebSocketServer } = createRequire(new URL("../../tests/", import.meta.url))("ws");

const server = new WebSocketServer({
  host: "127.0.0.1", port: Number(process.argv[2]), backlog: 4096, perMessageDeflate: false,
});
server.on("connection", (socket) => {
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  socket.on("error", () => socket.terminate());
});
