// The chat server of test_socketio.py on the official Node `socket.io`; prints its port when it listens.
// Usage: node socketio_server.cjs <folder of node_modules> <path> <transports> <pingInterval>
const [modules, path, transports, pingInterval] = process.argv.slice(2);
const { createServer } = require("http");
const { Server } = require("module").createRequire(modules + "/")("socket.io");

const TEXT = "grüß Gott, Welt 😀";
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const http = createServer();
const io = new Server(http, {
  path,
  transports: transports.split(","),
  pingInterval: Number(pingInterval),
  pingTimeout: 5000,
  maxHttpBufferSize: 1e6,
});

const replies = {
  async plain(socket) {
    socket.emit("delta", { text: TEXT });
    socket.emit("done", {});
  },
  async words(socket) {
    for (const text of ["grüß ", "Gott, ", "Welt ", "😀"]) {
      socket.emit("delta", { text });
      await sleep(1);
    }
    socket.emit("done", {});
  },
  async slow(socket) {
    for (const text of ["grüß ", "Gott, ", "Welt ", "😀"]) {
      socket.emit("delta", { text });
      await sleep(60);
    }
    socket.emit("done", {});
  },
  async binary(socket) {
    socket.emit("delta", { text: TEXT, blobs: [Buffer.from([0, 1, 255]), { more: Buffer.alloc(0) }] });
    socket.emit("done", {});
  },
  async acked(socket) {
    await socket.timeout(10000).emitWithAck("delta", { text: TEXT });
    socket.emit("done", {});
  },
  async failing(socket) {
    socket.emit("delta", { text: "half" });
    socket.emit("error_event", { message: "out of tokens" });
  },
  async disconnecting(socket) {
    socket.emit("delta", { text: "half" });
    socket.disconnect();
  },
  async closing(socket) {
    socket.emit("delta", { text: "half" });
    await sleep(50);
    socket.conn.close();
  },
  async large(socket) {
    socket.emit("delta", { text: "x".repeat(100000) });
  },
  async silent(socket) {
    socket.emit("delta", { text: "half" });
  },
};

for (const namespace of [io.of("/"), io.of("/admin")]) {
  namespace.use((socket, next) => next(socket.handshake.auth.token === "wrong" ? new Error("who are you") : undefined));
  namespace.on("connection", (socket) => {
    socket.emit("welcome", {
      id: socket.id,
      auth: socket.handshake.auth,
      namespace: socket.nsp.name,
      transport: socket.conn.transport.name,
      authorization: socket.handshake.headers.authorization || "",
      cookie: socket.handshake.headers.cookie || "",
      query: socket.handshake.query.key || "",
    });
    socket.on("hello", (fields) => socket.emit("session", { id: fields.name + "'s" }));
    socket.on("ask", (fields) => replies[fields.text.split(" ")[0]](socket));
  });
}

http.listen(0, "127.0.0.1", () => console.log(http.address().port));
