/** Two lines over the last minutes: what is queued, and what runs. */

import { number } from "./words.js";

const SPAN_SECONDS = 300;
const WIDTH = 300;
const HEIGHT = 100;

export class Chart {
  #points = []; // {at, queued, running}: seconds, numbers or null
  #nodes;

  /** `nodes`: {plot, queued, running, most} */
  constructor(nodes) {
    this.#nodes = nodes;
  }

  /** Adds what is so now; null where it is not known, which leaves a gap. */
  add(at, queued, running) {
    this.#points = [...this.#points.filter((point) => point.at > at - SPAN_SECONDS && point.at < at), { at, queued, running }];
    this.#draw(at);
  }

  clear() {
    this.#points = [];
    this.#draw(0);
  }

  #draw(now) {
    const { plot, queued, running, most } = this.#nodes;
    const highest = niceAbove(Math.max(1, ...this.#points.flatMap((point) => [point.queued ?? 0, point.running ?? 0])));
    queued.setAttribute("d", this.#path("queued", now, highest));
    running.setAttribute("d", this.#path("running", now, highest));
    most.textContent = number(highest);
    const last = this.#points.at(-1);
    const peak = (name) => Math.max(...this.#points.map((point) => point[name] ?? 0));
    const words = last && `Queued ${last.queued ?? "unknown"}, at most ${peak("queued")}; running ${last.running ?? "unknown"}, at most ${peak("running")}`;
    plot.setAttribute("aria-label", words ?? "No figures yet");
  }

  #path(name, now, highest) {
    let path = "";
    let pen = "M";
    for (const point of this.#points) {
      if (point[name] == null) {
        pen = "M";
        continue;
      }
      const x = WIDTH * (1 - (now - point.at) / SPAN_SECONDS);
      const y = HEIGHT - 0.5 - (HEIGHT - 1) * (point[name] / highest);
      path += `${pen}${x.toFixed(1)} ${y.toFixed(1)}${pen === "M" ? "h0" : ""}`; // a point alone is a dot
      pen = "L";
    }
    return path;
  }
}

/** The next of 2, 5, 10, 20, 50, … from `value` on. */
function niceAbove(value) {
  for (let unit = 1; ; unit *= 10) {
    const found = [2, 5, 10].find((each) => each * unit >= value);
    if (found) return found * unit;
  }
}
