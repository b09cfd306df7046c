// As much of a Socket.IO client as the page needs, and whoever tries room-chat from the browser's console: `io(url)`.
// Engine.IO packets: 0 open, 2 ping, 3 pong, 4 message; inside of messages: 0 connect, 2 event, 4 connect error.

export default function io(url = location.origin, { auth = {}, query = "" } = {}) {
  const endpoint = new URL(`/socket.io/?EIO=4&transport=websocket&${query}`, url);
  endpoint.protocol = endpoint.protocol.replace("http", "ws");
  const websocket = new WebSocket(endpoint);
  const listeners = {};
  const waiting = [];
  let connected = false;

  const tell = (event, ...data) => (listeners[event] ?? []).forEach((listener) => listener(...data));
  const send = (packet) => (connected ? websocket.send(packet) : waiting.push(packet));
  websocket.onclose = () => tell("disconnect");
  websocket.onmessage = ({ data: packet }) => {
    if (packet.startsWith("0")) websocket.send(`40${JSON.stringify(auth)}`);
    if (packet === "2") websocket.send("3");
    if (packet.startsWith("44")) tell("connect_error", new Error(JSON.parse(packet.slice(2)).message));
    if (packet.startsWith("42")) tell(...JSON.parse(packet.slice(2)));
    if (packet.startsWith("40")) {
      connected = true;
      waiting.splice(0).forEach((early) => websocket.send(early));
      tell("connect");
    }
  };
  const socket = {
    on(event, listener) {
      (listeners[event] ??= []).push(listener);
      return socket;
    },
    emit: (event, ...data) => send(`42${JSON.stringify([event, ...data])}`),
    close: () => websocket.close(),
  };
  return socket;
}
