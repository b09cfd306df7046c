// Two panes a system: the same question at the same time, in two streaming modes.

import io from "/page/socket_io.js";
import SYSTEMS from "/page/systems.js";

globalThis.io = io; // for the browser's console: io("http://localhost:4000").emit("stream-chat", {messages: [...]})

const MODES = [
  "real", "paced", "rapid", "sentence", "hold-2", "hold-5", "hold-10", "slide-1", "slide-4", "slide-10",
  "blocking-typed", "blocking-at-once",
];
const byId = (id) => document.getElementById(id);
const part = (root, name) => root.querySelector(`.${name}`);

class Pane {
  constructor(system, mode) {
    this.system = system;
    this.mode = mode;
    this.root = byId("pane").content.firstElementChild.cloneNode(true);
    part(this.root, "stop").onclick = () => this.stop();
    part(this.root, "retry").onclick = () => this.ask(this.prompt);
    this.show("idle");
  }

  // idle, waiting (nothing came yet), streaming, complete, stopped, error
  show(state) {
    this.root.dataset.state = state;
    const busy = state === "waiting" || state === "streaming";
    part(this.root, "mode").textContent = this.mode();
    part(this.root, "typing").hidden = state !== "waiting";
    part(this.root, "cursor").hidden = state !== "streaming";
    part(this.root, "stop").hidden = !busy;
    part(this.root, "error").hidden = state !== "error";
    if (!busy) part(this.root, "figures").textContent += state === "stopped" ? " · stopped" : "";
  }

  stop() {
    this.leave?.abort();
  }

  async ask(prompt) {
    this.stop();
    const leave = (this.leave = new AbortController());
    this.prompt = prompt;
    this.arrivals = [];
    this.started = performance.now();
    part(this.root, "text").textContent = part(this.root, "figures").textContent = "";
    this.show("waiting");
    this.draw();
    try {
      for await (const piece of this.system.ask(prompt, this.mode(), byId("user").value, leave.signal)) {
        if (piece) this.add(piece);
      }
      this.show("complete");
    } catch (error) {
      if (this.leave !== leave) return; // asked again in the meantime
      // What has come stays where it is: the reader may want it, and may try again.
      part(this.root, "error").firstElementChild.textContent = error.message;
      this.show(leave.signal.aborted ? "stopped" : "error");
    }
  }

  add(piece) {
    if (!this.arrivals.length) this.show("streaming");
    this.arrivals.push({ at: performance.now() - this.started, size: piece.length });
    const reply = part(this.root, "reply");
    const atEnd = reply.scrollHeight - reply.scrollTop - reply.clientHeight < 8;
    part(this.root, "text").append(piece);
    if (atEnd) reply.scrollTop = reply.scrollHeight; // unless somebody scrolled up to read
    const first = this.arrivals[0].at;
    const last = this.arrivals.at(-1).at;
    const count = this.arrivals.length;
    part(this.root, "figures").textContent =
      `first text ${Math.round(first)} ms · all ${(last / 1000).toFixed(1)} s · ${count} chunk${count > 1 ? "s" : ""}`;
    scheduleDraw();
  }

  // Each arrival as a line on a time axis that all panes share.
  draw() {
    const canvas = part(this.root, "arrivals");
    const scale = devicePixelRatio;
    canvas.width = canvas.clientWidth * scale;
    canvas.height = canvas.clientHeight * scale;
    part(this.root, "end").textContent = `${(span() / 1000).toFixed(1)} s`;
    const pen = canvas.getContext("2d");
    pen.fillStyle = getComputedStyle(canvas).getPropertyValue("color");
    for (const { at, size } of this.arrivals ?? []) {
      const height = Math.min(1, 0.35 + size / 60) * canvas.height;
      pen.fillRect((at / span()) * canvas.width, canvas.height - height, Math.max(1, scale), height);
    }
  }
}

const panes = SYSTEMS.flatMap((system) => {
  const row = byId("system").content.firstElementChild.cloneNode(true);
  row.id = system.name;
  row.querySelector("h2").textContent = system.name;
  row.querySelector("p").textContent = system.about;
  const pair = ["simulated", "real"].map((side) => new Pane(system, () => byId(side).value));
  row.querySelector(".ask").onclick = () => askIn(pair);
  row.append(...pair.map((pane) => pane.root));
  byId("systems").append(row);
  return pair;
});

function askIn(some) {
  const prompt = byId("prompt").value.trim();
  if (prompt) for (const pane of some) pane.ask(prompt);
}

const span = () => Math.max(1000, ...panes.map((pane) => (pane.arrivals?.at(-1)?.at ?? 0) * 1.02));
let drawing = false;
function scheduleDraw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    for (const pane of panes) pane.draw();
  });
}

for (const side of ["simulated", "real"]) {
  byId(side).append(...MODES.map((mode) => new Option(mode)));
  byId(side).onchange = () => panes.forEach((pane) => pane.root.dataset.state === "idle" && pane.show("idle"));
}
byId("simulated").value = "paced";
byId("real").value = "real";
for (const pane of panes) pane.show("idle");
byId("ask").onsubmit = (event) => {
  event.preventDefault();
  askIn(panes);
};
addEventListener("resize", scheduleDraw);
