// The list of cases: a page of it at a time, as the server sorts and filters it.

import { windowed } from "./drawing.js";
import { percent, scoreText } from "./rounding.js";
import * as server from "./server.js";

export const PAGE = 100;
const DROPPED = "dropped"; // in place of the place and number of a file that was dropped

export class Worklist {
  /** parts: the elements by name. room: what the server says. open: called with a case. fail: with an Error. */
  constructor(parts, room, open, fail) {
    this.parts = parts;
    this.room = room;
    this.open = open;
    this.fail = fail;
    this.cases = [];
    this.total = 0;
    this.offset = 0;
    this.chosen = null;
    this.dropped = null; // the file that was scored last; it has no number, and is not kept
    this.points = room.points;
    this.start = this.points.findLastIndex((point) => point.rate <= room.rate + 1e-9);
    this.at = Math.max(this.start, 0);
    let timer = 0;
    const soon = (milliseconds) => {
      clearTimeout(timer);
      timer = setTimeout(() => this.load(0), milliseconds);
    };
    parts.search.addEventListener("input", () => soon(150));
    parts.show.addEventListener("change", () => this.load(0));
    parts.sort.addEventListener("change", () => this.load(0));
    parts.slider.addEventListener("input", () => {
      this.at = Number(parts.slider.value);
      this.#sayPoint();
      soon(120);
    });
    parts.earlier.addEventListener("click", () => this.turn(-1));
    parts.later.addEventListener("click", () => this.turn(1));
    parts.list.addEventListener("click", (event) => {
      const row = event.target.closest("li");
      if (row) this.choose(row.dataset.place === DROPPED ? DROPPED : Number(row.dataset.place));
    });
    parts.point.hidden = !this.points.length;
    parts.noPoint.hidden = this.points.length > 0 || !room.cases;
    parts.slider.max = this.points.length - 1;
    parts.slider.value = this.at;
    for (const value of this.points.length ? [] : ["flagged", "unflagged", "changed"]) {
      parts.show.querySelector(`[value=${value}]`).remove();
    }
    this.#sayPoint();
  }

  get rate() {
    return this.points[this.at]?.rate ?? this.room.rate;
  }

  /** Load a page; where cases move, the chosen one stays chosen. */
  async load(offset = this.offset) {
    this.loading?.abort();
    this.loading = new AbortController();
    const { search, show, sort } = this.parts;
    const query = { offset, limit: PAGE, q: search.value, show: show.value, sort: sort.value, rate: this.rate };
    try {
      const found = await server.cases(query, this.loading.signal);
      Object.assign(this, { cases: found.cases, total: found.total, offset });
      this.#fill();
    } catch (error) {
      if (error.name !== "AbortError") this.fail(error);
    }
  }

  async turn(pages) {
    const offset = this.offset + pages * PAGE;
    if (offset < 0 || offset >= this.total) return false;
    await this.load(offset);
    this.parts.list.scrollTop = 0;
    return true;
  }

  /** Put a dropped file above the others, and choose it. */
  drop(found) {
    this.dropped = found;
    this.#fill();
    this.choose(DROPPED);
  }

  /** Whether a case is flagged where the slider is, by its own score or its patient's, and the threshold there. */
  flagText(p, score) {
    const { threshold } = this.points[this.at] ?? {};
    if (threshold == null) return "not flagged (no score is)";
    const flagged = p <= this.rate + 1e-9;
    const flag = !flagged ? "not flagged" : score > threshold ? "flagged" : "flagged by another image of the patient";
    return `${flag} (threshold ${scoreText(threshold)} at ${percent(this.#shownRate())})`;
  }

  /** Choose the case at a place of this page. */
  choose(place) {
    const found = place === DROPPED ? this.dropped : this.cases[place];
    if (!found) return;
    this.chosen = found.number ?? DROPPED;
    this.#mark();
    this.open(found);
  }

  async step(by) {
    const place = this.cases.findIndex((found) => found.number === this.chosen) + by;
    if (this.chosen === DROPPED) this.choose(0);
    else if (place >= 0 && place < this.cases.length) this.choose(place);
    else if (this.chosen === null) this.choose(0);
    else if (await this.turn(by)) this.choose(by > 0 ? 0 : this.cases.length - 1);
  }

  movePoint(by) {
    const { slider } = this.parts;
    slider.value = Number(slider.value) + by;
    slider.dispatchEvent(new Event("input"));
  }

  /** Put a changed case in the place of the old one. */
  replace(changed) {
    const place = this.cases.findIndex((found) => found.number === changed.number);
    if (place < 0) return;
    const { flagged, changed: side } = this.cases[place];
    this.cases[place] = { ...changed, flagged, changed: side };
    const old = this.parts.list.querySelector(`[data-place="${place}"]`);
    old.replaceWith(this.#row(this.cases[place], place));
    this.#mark();
  }

  #sayPoint() {
    const point = this.points[this.at];
    if (!point) return;
    const rate = percent(this.#shownRate());
    this.parts.rate.textContent = point.rate ? `at most ${rate}` : "none";
    const limit = point.threshold === null ? "No score is flagged." : `Score above ${scoreText(point.threshold)}.`;
    const moved = Math.abs(point.flagged - (this.points[this.start]?.flagged ?? 0));
    const sides = moved ? `, ${moved} changed side` : "";
    const worst = point.rate
      ? ` With this calibration up to ${percent(point.worst)} of the healthy (95\u00a0% confidence).`
      : "";
    this.parts.text.textContent = `${limit} ${point.flagged} of ${this.room.cases} cases flagged${sides}.${worst}`;
    this.parts.slider.setAttribute("aria-valuetext", `${rate} of healthy patients flagged`);
  }

  /** The rate of the slider's place; where it starts, as it was asked for. */
  #shownRate() {
    return this.at === this.start ? this.room.rate : this.points[this.at].rate;
  }

  #fill() {
    const { list, range, earlier, later } = this.parts;
    const rows = this.cases.map((found, place) => this.#row(found, place));
    list.replaceChildren(...(this.dropped ? [this.#row(this.dropped, DROPPED)] : []), ...rows);
    const last = this.offset + this.cases.length;
    range.textContent = this.total ? `${this.offset + 1}–${last} of ${this.total}` : this.#nothing();
    earlier.disabled = this.offset === 0;
    later.disabled = last >= this.total;
    this.#mark();
  }

  #nothing() {
    return this.room.cases ? "No case matches" : "No cases yet: the run has no checkpoint";
  }

  #mark() {
    const { list } = this.parts;
    list.removeAttribute("aria-activedescendant");
    for (const row of list.children) {
      const chosen = row.dataset.number === String(this.chosen);
      row.setAttribute("aria-selected", chosen);
      if (chosen) {
        list.setAttribute("aria-activedescendant", row.id);
        row.scrollIntoView({ block: "nearest" });
      }
    }
  }

  #thumbnail({ picture: { planes } }) {
    const { size, channels } = this.room.pictures;
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = size;
    const picture = windowed(planes, 0, channels, size, { centre: 0.5, width: 1 }, false);
    canvas.getContext("2d").putImageData(picture, 0, 0);
    return canvas;
  }

  #row(found, place) {
    const row = document.createElement("li");
    const number = found.number ?? DROPPED;
    row.id = `case-${number}`;
    row.dataset.place = place;
    row.dataset.number = number;
    row.setAttribute("role", "option");
    row.classList.toggle("flagged", Boolean(found.flagged));
    const drawn = place === DROPPED ? this.#thumbnail(found) : null;
    const picture = drawn ?? document.createElement(found.score === null ? "span" : "img");
    picture.className = "thumbnail";
    if (!drawn && found.score !== null) {
      picture.loading = "lazy";
      picture.alt = "";
      picture.src = `api/cases/${found.number}/thumbnail`;
    }
    const name = text("span", "name", found.name.split("/").pop());
    name.title = found.name;
    const where = place === DROPPED ? "dropped here, not kept" : `${number + 1}`;
    const under = text("span", "dim under", [where, found.patient, found.slice].filter(Boolean).join(" · "));
    const score = text("span", "score", found.score === null ? found.error : scoreText(found.score));
    const bar = document.createElement("span");
    bar.className = "bar";
    if (found.score !== null) {
      const { lowest_score: low, highest_score: high } = this.room;
      const share = (value) => 100 * Math.min(Math.max((value - low) / (high - low || 1), 0), 1);
      const fill = document.createElement("span");
      fill.style.width = `${share(found.score)}%`;
      bar.append(fill);
      const limit = this.points[this.at]?.threshold;
      if (limit != null) {
        const tick = document.createElement("i");
        tick.style.left = `${share(limit)}%`;
        bar.append(tick);
      }
    }
    const marks = document.createElement("span");
    marks.className = "marks";
    if (found.changed) marks.append(text("span", "mark changed", found.flagged ? "now flagged" : "now clear"));
    else if (found.flagged) marks.append(text("span", "mark flag", "flagged"));
    if (found.answer) marks.append(text("span", `mark ${found.answer}`, found.answer));
    else if (found.note) marks.append(text("span", "mark", "note"));
    row.append(picture, name, score, under, bar, marks);
    return row;
  }
}

function text(tag, name, content) {
  const element = document.createElement(tag);
  element.className = name;
  element.textContent = content;
  return element;
}
