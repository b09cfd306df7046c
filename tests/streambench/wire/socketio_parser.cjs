// The official parser, asked about lists of messages: reads JSON from standard input, answers with JSON.
// Input: [[message, …], …], a message being text or {b64: bytes}. Output, for each list:
// {error} or {packets, again}, where `again` are the messages that the official encoder writes for the packets.
const modules = process.argv[2];
const { Decoder, Encoder } = require("module").createRequire(modules + "/")("socket.io-parser");

const fromWire = (message) => (typeof message === "string" ? message : Buffer.from(message.b64, "base64"));
const toWire = (message) => (typeof message === "string" ? message : { b64: Buffer.from(message).toString("base64") });
const plain = (value) => {
  if (Buffer.isBuffer(value)) return { b64: value.toString("base64") };
  if (Array.isArray(value)) return value.map(plain);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, plain(v)]));
  return value;
};

const read = (messages) => {
  const decoder = new Decoder({ maxAttachments: 64 });
  const packets = [];
  const again = [];
  decoder.on("decoded", (packet) => packets.push(packet));
  try {
    for (const message of messages) decoder.add(fromWire(message));
  } catch (error) {
    return { error: error.message };
  }
  const shown = packets.map(({ type, nsp, id, data }) => ({ type, nsp, id: id ?? null, data: plain(data) ?? null }));
  for (const { type, nsp, id, data } of packets) again.push(...new Encoder().encode({ type, nsp, id, data }).map(toWire));
  return { packets: shown, again };
};

const chunks = [];
process.stdin.on("data", (chunk) => chunks.push(chunk));
process.stdin.on("end", () => {
  process.stdout.write(JSON.stringify(JSON.parse(Buffer.concat(chunks).toString()).map(read)));
});
