// The official client against the reference server: node room_chat_client.mjs URL MARK TRANSPORT...
// Two users meet in a room, one asks; prints what each of them got as one JSON line.
import { createRequire } from "node:module";

const require = createRequire(new URL("../../node/package.json", import.meta.url));
const { io } = require("socket.io-client");

const [url, mark, ...transports] = process.argv.slice(2);

function client(token) {
  const socket = io(url, { auth: { token }, transports, forceNew: true, reconnection: false });
  const events = [];
  socket.onAny((event, data) => events.push({ event, ...data }));
  const until = (event) =>
    new Promise((resolve, reject) => {
      socket.on(event, resolve);
      socket.on("connect_error", reject);
    });
  return { socket, events, until };
}

const alice = client("alice-token");
await alice.until("connected");
const bob = client("bob-token");
await bob.until("connected");
const joined = await alice.socket.emitWithAck("join-room", { roomName: "den", participantName: "Alice" });
const arrived = alice.until("participant-joined");
bob.socket.emit("join-room", { roomName: "den" });
await arrived;
const seen = bob.until("stream-complete");
const done = alice.until("stream-complete");
alice.socket.emit("stream-chat", { messages: [{ role: "user", content: `hello ${mark}` }] });
await Promise.all([done, seen]);
const left = bob.until("participant-left");
alice.socket.disconnect();
await left;
const transport = bob.socket.io.engine.transport.name;
bob.socket.disconnect();

const refused = client("wrong");
const reason = await new Promise((resolve) => refused.socket.on("connect_error", (error) => resolve(error.message)));
refused.socket.disconnect();
console.log(JSON.stringify({ joined, alice: alice.events, bob: bob.events, transport, reason }));
