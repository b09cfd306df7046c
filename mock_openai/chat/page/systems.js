// One function a chat system: ask(prompt, mode, user, signal) yields the pieces of a reply, and throws an Error with
// a text for the reader when it fails. Aborting `signal` hangs up, which stops the model too.

import io from "/page/socket_io.js";

const SYSTEMS = [
  { name: "chat-stream", about: "One POST, server-sent events", ask: chatStream },
  { name: "assistant-ws", about: "WebSocket, shared by a project", ask: assistantWs },
  { name: "thread-events", about: "Server-sent events in a typed envelope", ask: threadEvents },
  { name: "room-chat", about: "Socket.IO, rooms", ask: roomChat },
  { name: "conversation-stream", about: "Server-sent events, two providers", ask: conversationStream },
];
export default SYSTEMS;

const token = (user) => `${user}-token`;
const STREAM_ENDED = "The connection was lost before the reply was complete.";

async function* chatStream(prompt, mode, user, signal) {
  for await (const { data } of post(`/api/chat/stream?streaming=${mode}`, { message: prompt }, user, signal)) {
    if (data.error) throw new Error(data.error);
    if (data.done) return;
    yield data.content;
  }
  throw new Error(STREAM_ENDED);
}

async function* threadEvents(prompt, mode, user, signal) {
  const { thread } = await (await request("/chat/threads", { title: "From the page" }, user, signal)).json();
  const path = `/chat/threads/${thread.id}/messages/stream?streaming=${mode}`;
  for await (const { data: event } of post(path, { content: prompt }, user, signal)) {
    if (event.type === "error") throw new Error(event.data.error);
    if (event.type === "ai_response") yield event.data.content;
    if (event.type === "done") return;
  }
  throw new Error(STREAM_ENDED);
}

async function* conversationStream(prompt, mode, user, signal) {
  const path = `/api/conversation-stream/${user}?streaming=${mode}`;
  for await (const { data } of post(path, { message: prompt }, user, signal)) {
    if (data.type === "error") throw new Error(data.error);
    if (data.type === "chunk") yield data.content;
    if (data.type === "complete") return;
  }
  throw new Error(STREAM_ENDED);
}

async function* assistantWs(prompt, mode, user, signal) {
  // A project of its own, so that no other pane sees this reply.
  const query = new URLSearchParams({ project: `page-${crypto.randomUUID()}`, token: token(user), streaming: mode });
  const send = (socket, type, data) => socket.send(JSON.stringify({ type, data }));
  for await (const { socket, text } of messages(`/ws/chat?${query}`, signal)) {
    const { type, data } = JSON.parse(text);
    if (type === "project_joined") send(socket, "create_conversation", { title: "From the page" });
    if (type === "conversation_created") {
      send(socket, "user_message", { conversation_id: data.conversation.id, content: prompt });
    }
    if (type === "error") throw new Error(data.message);
    if (type === "assistant_response") {
      yield data.content;
      if (data.done) return;
    }
  }
  throw new Error(STREAM_ENDED);
}

async function* roomChat(prompt, mode, user, signal) {
  const question = { messages: [{ role: "user", content: prompt }], streaming: mode };
  const events = ["connected", "connect_error", "stream-chunk", "stream-error", "stream-complete"];
  const listen = (push) => {
    const socket = io(location.origin, { auth: { token: token(user) } });
    events.forEach((event) => socket.on(event, (data) => push({ socket, event, data })));
    socket.on("disconnect", () => push(null));
    return socket;
  };
  for await (const { socket, event, data } of inbox(listen, signal)) {
    if (event === "connected") socket.emit("stream-chat", question);
    if (event === "connect_error") throw data;
    if (event === "stream-chunk") yield data.content;
    if (event === "stream-error") throw new Error(data.error);
    if (event === "stream-complete") return;
  }
  throw new Error(STREAM_ENDED);
}

async function request(path, body, user, signal) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${token(user)}` },
    body: JSON.stringify(body),
    signal,
  });
  if (!response.ok) {
    const { error } = await response.json().catch(() => ({}));
    const wait = response.headers.get("retry-after");
    throw new Error((error ?? `The server answered ${response.status}.`) + (wait ? ` (again in ${wait} s)` : ""));
  }
  return response;
}

async function* post(path, body, user, signal) {
  yield* events((await request(path, body, user, signal)).body);
}

// Server-sent events with JSON data. An event that is not closed by a blank line does not count.
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n").filter((line) => line.startsWith("data:"));
      if (lines.length) yield { data: JSON.parse(lines.map((line) => line.slice(5)).join("\n")) };
    }
  }
}

// The text messages of a WebSocket until it closes; leaving the loop closes it.
function messages(path, signal) {
  const listen = (push) => {
    const socket = new WebSocket(path.replace(/^/, location.origin.replace(/^http/, "ws")));
    socket.onmessage = ({ data }) => push({ socket, text: data });
    socket.onclose = () => push(null);
    return socket;
  };
  return inbox(listen, signal);
}

// What a socket pushes until it pushes null; leaving the loop closes the socket.
async function* inbox(listen, signal) {
  const items = [];
  let wake = () => {};
  const push = (item) => {
    items.push(item);
    wake();
  };
  const socket = listen(push);
  signal.addEventListener("abort", () => push(null));
  try {
    for (;;) {
      if (!items.length) await new Promise((resolve) => (wake = resolve));
      const item = items.shift();
      signal.throwIfAborted();
      if (item === null) return;
      yield item;
    }
  } finally {
    socket.close();
  }
}
