// How the training stands: a small chart of each value, looked up again every two seconds.

import * as server from "./server.js";

const EVERY = 2000;
const [WIDTH, HEIGHT] = [320, 110];

export class Training {
  constructor(parts, fail) {
    this.parts = parts;
    this.fail = fail;
    this.timer = 0;
  }

  start() {
    this.stop();
    this.#look();
  }

  stop() {
    clearTimeout(this.timer);
  }

  async #look() {
    try {
      const now = await server.training();
      this.#draw(now);
      if (!now.ended) this.timer = setTimeout(() => this.#look(), EVERY);
    } catch (error) {
      this.fail(error);
      this.timer = setTimeout(() => this.#look(), 5 * EVERY);
    }
  }

  #draw({ steps, values, fraction, ended }) {
    const { state, bar, charts } = this.parts;
    const last = steps.at(-1);
    if (last === undefined) state.textContent = "Nothing logged yet.";
    else state.textContent = ended ? `Ended after ${last} steps.` : `Step ${last}, ${Math.round(100 * fraction)} %.`;
    bar.value = ended ? 1 : fraction;
    charts.replaceChildren(
      ...Object.entries(values)
        .filter(([name]) => name !== "seconds")
        .map(([name, numbers]) => chart(name, steps, numbers)),
    );
  }
}

function chart(name, steps, numbers) {
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  const known = numbers.filter((n) => n !== null);
  const value = known.length ? known.at(-1).toPrecision(4) : "–";
  const title = document.createElement("span");
  title.textContent = name.replaceAll("_", " ");
  const number = document.createElement("output");
  number.textContent = value;
  caption.append(title, number);
  const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${name}: ${value}` });
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const first = steps[0];
  const span = steps.at(-1) - first || 1;
  const place = (k) => {
    const x = ((steps[k] - first) / span) * (WIDTH - 4) + 2;
    const y = HEIGHT - 6 - ((numbers[k] - low) / (high - low || 1)) * (HEIGHT - 12);
    return `${x.toFixed(1)},${y.toFixed(1)}`;
  };
  const points = numbers.map((n, k) => (n === null ? null : place(k))).filter(Boolean).join(" ");
  svg.append(element("polyline", { points, class: "line" }));
  const scale = document.createElement("span");
  scale.className = "dim scale";
  scale.textContent = known.length ? `${low.toPrecision(3)} to ${high.toPrecision(3)}` : "";
  figure.append(caption, svg, scale);
  return figure;
}

function element(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
