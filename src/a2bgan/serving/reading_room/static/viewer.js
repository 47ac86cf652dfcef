// The panes: the film, its healthy twin and the map over it, with one window, zoom and place for all.

import { coloured, filmValues, valueAt, windowed, windowedFilm } from "./drawing.js";
import { percent } from "./rounding.js";

const START = { centre: 0.5, width: 1 };
const LARGEST_PIXEL = 16; // a film's pixel on the screen, in the screen's pixels
const MOST_ZOOM = 32; // of films so small that their pixels are large already
const MAP_NAME = "Anomaly map";
const LEGEND = "12px system-ui, sans-serif";

export class Viewer {
  /**
   * root: element for the panes. room: what the server says of its pictures.
   * changed: called when a setting changes, to show it.
   */
  constructor(root, room, changed) {
    this.room = room;
    this.pictures = room.pictures;
    this.changed = changed;
    this.picture = null;
    this.window = { ...START };
    this.view = { zoom: 1, x: 0.5, y: 0.5 };
    this.blend = 0;
    this.opacity = 0;
    this.threshold = 0;
    this.invert = false;
    this.wipe = false;
    this.contour = false;
    this.tool = "window";
    this.pointer = null;
    this.pending = false;
    this.stale = false;
    const { channels, twin, map } = this.pictures;
    const kinds = [["input", "Input"]];
    if (twin) kinds.push(["twin", "Healthy twin"]);
    if (map) kinds.push(["map", MAP_NAME]);
    this.twinPlane = channels;
    this.mapPlane = channels * (twin ? 2 : 1);
    this.layers = { input: surface(), twin: surface(), map: surface() };
    root.replaceChildren();
    this.root = root;
    this.panes = kinds.map(([kind, name]) => this.#pane(kind, name));
    this.layout = "all";
    new ResizeObserver(() => this.draw()).observe(root);
  }

  /** Show a picture of the server, in the window and at the place of the one before. */
  show(picture) {
    this.picture = picture;
    const { size, enlarged } = picture.film;
    const { size: side } = this.pictures;
    const levels = this.room.levels ? `, ${this.room.levels}` : "";
    for (const { kind, name, caption } of this.panes) {
      const own = `${side} × ${side}${enlarged ? " enlarged" : ""}`;
      const note = { input: size, twin: own + levels, map: own }[kind];
      caption.replaceChildren(name, text("small", note));
    }
    this.#renew();
    this.changed();
  }

  clear() {
    this.picture = null;
    delete this.root.dataset.shown;
    for (const { name, caption } of this.panes) caption.textContent = name;
    this.draw();
    this.changed();
  }

  set(name, value) {
    this[name] = value;
    if (["invert", "threshold", "window"].includes(name)) this.#renew();
    this.draw();
    this.changed();
  }

  arrange(layout) {
    if (layout !== "all" && !this.panes.some((pane) => pane.kind === layout)) return;
    this.layout = layout;
    for (const pane of this.panes) pane.figure.hidden = layout !== "all" && pane.kind !== layout;
    this.root.dataset.count = layout === "all" ? this.panes.length : 1;
    this.draw();
    this.changed();
  }

  reset() {
    this.view = { zoom: 1, x: 0.5, y: 0.5 };
    this.set("window", { ...START });
  }

  moveWindow(width, centre) {
    const { window: now } = this;
    this.set("window", {
      width: clamp(now.width + width, 0.01, 4),
      centre: clamp(now.centre + centre, -1.5, 2.5),
    });
  }

  /** Zoom by a factor about a place of the film, in shares of its sides. */
  zoomBy(factor, x = this.view.x, y = this.view.y) {
    const whole = this.#scaleAt(1);
    const most = Math.max(MOST_ZOOM, LARGEST_PIXEL / whole);
    const zoom = clamp(this.view.zoom * factor, Math.min(1, 1 / whole), most);
    const kept = this.view.zoom / zoom;
    this.view = { zoom, x: x + (this.view.x - x) * kept, y: y + (this.view.y - y) * kept };
    this.#keepInside();
  }

  /** Show each pixel of the film by one of the screen. */
  zoomToPixels() {
    this.zoomBy(1 / this.#scaleAt(this.view.zoom));
  }

  /** Pan by shares of the film's sides. */
  pan(x, y) {
    this.view = { ...this.view, x: this.view.x + x, y: this.view.y + y };
    this.#keepInside();
  }

  draw() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      if (this.stale) this.#fillLayers();
      for (const pane of this.panes) if (!pane.figure.hidden) this.#paint(pane);
    });
  }

  /** Window and level in the file's values and how large its pixels are, as a text. */
  get status() {
    if (!this.picture) return "";
    const [black, white] = this.picture.film.window;
    const range = white - black;
    const shown = (value) => (Math.abs(range) >= 20 ? value.toFixed(0) : value.toFixed(2));
    const { centre, width } = this.window;
    const scale = percent(this.#scaleAt(this.view.zoom));
    return `W ${shown(width * range)}  L ${shown(black + centre * range)}  ${scale}`;
  }

  #keepInside() {
    const half = Math.min(0.5 / this.view.zoom, 0.5);
    this.view.x = clamp(this.view.x, half, 1 - half);
    this.view.y = clamp(this.view.y, half, 1 - half);
    this.draw();
    this.changed();
  }

  #renew() {
    this.stale = true;
    this.draw();
  }

  #fillLayers() {
    this.stale = false;
    if (!this.picture) return;
    const { film, planes, peak } = this.picture;
    const { size, channels, twin, map, map_scale: scale } = this.pictures;
    const put = (layer, data) => {
      layer.width = data.width;
      layer.height = data.height;
      layer.getContext("2d").putImageData(data, 0, 0);
    };
    put(this.layers.input, windowedFilm(film, this.window, this.invert));
    if (twin) {
      put(this.layers.twin, windowed(planes, this.twinPlane, channels, size, this.window, this.invert));
    }
    if (map) {
      const { colours, opaque_from: opaqueFrom } = this.room;
      put(this.layers.map, coloured(planes, this.mapPlane, size, peak, scale, this.threshold, colours, opaqueFrom));
    }
  }

  #pane(kind, name) {
    const figure = document.createElement("figure");
    const canvas = document.createElement("canvas");
    const caption = document.createElement("figcaption");
    const readout = document.createElement("output");
    caption.textContent = name;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", name);
    canvas.dataset.kind = kind;
    figure.append(canvas, caption, readout);
    this.root.append(figure);
    const pane = { kind, name, figure, canvas, caption, readout };
    this.#listen(pane);
    return pane;
  }

  /** Screen pixels for a pixel of the film in the first pane that is shown, at a zoom. */
  #scaleAt(zoom) {
    const pane = this.panes.find(({ figure }) => !figure.hidden);
    const { film } = this.picture ?? {};
    const { clientWidth: width, clientHeight: height } = pane.canvas;
    if (!film || !width || !height) return 1;
    return Math.min(width / film.width, height / film.height) * zoom * (window.devicePixelRatio || 1);
  }

  /** Where the film lies in a pane, in CSS pixels; scale: of a pixel of the film. */
  #place(pane) {
    const { clientWidth: width, clientHeight: height } = pane.canvas;
    const film = this.picture?.film ?? { width: 1, height: 1 };
    const scale = Math.min(width / film.width, height / film.height) * this.view.zoom;
    const [across, down] = [film.width * scale, film.height * scale];
    const ratio = window.devicePixelRatio || 1;
    // From 1:1 on pixels are squares, and those of the film begin where the screen's do.
    const squares = scale * ratio > 0.999;
    const snapped = (value) => (squares ? Math.round(value * ratio) / ratio : value);
    return {
      width, height, scale, across, down, squares,
      left: snapped(width / 2 - this.view.x * across),
      top: snapped(height / 2 - this.view.y * down),
    };
  }

  #paint(pane) {
    const { canvas } = pane;
    const ratio = window.devicePixelRatio || 1;
    const place = this.#place(pane);
    const { width, height, scale, left, top, across, down, squares } = place;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.imageSmoothingQuality = "high";
    pane.readout.textContent = "";
    if (!this.picture) return;
    const { box, content } = this.#boxes();
    const putFilm = () => {
      context.imageSmoothingEnabled = !squares;
      context.drawImage(this.layers.input, left, top, across, down);
    };
    const putLayer = (layer, alpha = 1) => {
      context.imageSmoothingEnabled = !squares || this.picture.film.enlarged;
      context.globalAlpha = alpha;
      context.drawImage(
        layer, ...content, left + box[0] * scale, top + box[1] * scale, box[2] * scale, box[3] * scale,
      );
      context.globalAlpha = 1;
    };
    if (pane.kind === "twin") {
      putLayer(this.layers.twin);
    } else {
      putFilm();
      if (pane.kind === "map") putLayer(this.layers.map);
      else this.#paintOverInput(context, putLayer, place);
    }
    if (this.contour) this.#paintContours(context, place);
    if (this.contour && pane.kind === "input") this.#paintLegend(context, pane);
    if (pane.kind === "map") this.#paintScale(context, width, height);
    if (this.pointer) this.#paintPointer(context, pane, place);
  }

  /** Left, top, width and height of what the network saw: in the film, and in its own pictures. */
  #boxes() {
    const [box, content] = this.picture.film.place.map(([x0, y0, x1, y1]) => [x0, y0, x1 - x0, y1 - y0]);
    return { box, content };
  }

  #paintOverInput(context, putLayer, { left, across, width, height }) {
    if (this.pictures.twin) {
      if (this.wipe && this.pointer) {
        // Left of the pointer the input, right of it the twin.
        const edge = left + this.pointer.x * across;
        context.save();
        context.beginPath();
        context.rect(edge, 0, width - edge, height);
        context.clip();
        putLayer(this.layers.twin);
        context.restore();
        context.fillStyle = "#5fb3c6";
        context.fillRect(edge - 0.5, 0, 1, height);
      } else if (this.blend) {
        putLayer(this.layers.twin, this.blend);
      }
    }
    if (this.pictures.map && this.opacity) putLayer(this.layers.map, this.opacity);
  }

  #paintContours(context, { left, top, scale }) {
    context.strokeStyle = this.room.contour.colour;
    context.lineWidth = 1.5;
    context.beginPath();
    for (const line of this.picture.contours) {
      line.forEach(([x, y], k) => context[k ? "lineTo" : "moveTo"](left + x * scale, top + y * scale));
    }
    context.stroke();
  }

  /** A piece of line, and what it stands for: not the edge of a lesion. */
  #paintLegend(context, pane) {
    const { colour, rate } = this.room.contour;
    const found = this.picture.contours.length ? "contour," : "no contour here;";
    const words = [`${found} in at most ${percent(rate)} of the healthy`];
    if (this.picture.contours.length) words.push("map above its threshold, not a lesion's edge");
    const top = pane.caption.offsetTop + pane.caption.offsetHeight + 4;
    context.font = LEGEND;
    context.fillStyle = "rgba(0, 0, 0, .78)";
    const widths = words.map((line) => context.measureText(line).width);
    context.fillRect(6, top, Math.max(...widths) + 34, 4 + 16 * words.length);
    context.fillStyle = colour;
    context.fillRect(12, top + 9, 16, 2);
    context.fillStyle = "#d6dce1";
    words.forEach((line, k) => context.fillText(line, 34, top + 14 + 16 * k));
  }

  #paintScale(context, width, height) {
    const { colours } = this.room;
    const tall = Math.min(96, height / 3);
    const [x, bottom] = [width - 18, height - 12];
    const most = `≥ ${this.pictures.map_scale.toPrecision(2)}`;
    context.font = LEGEND;
    const room = context.measureText(most).width + 8;
    context.fillStyle = "rgba(0, 0, 0, .78)";
    context.fillRect(x - 4 - room, bottom - tall - 6, room + 16, tall + 12);
    colours.forEach((colour, k) => {
      context.fillStyle = `rgb(${colour.join()})`;
      const part = tall / colours.length;
      context.fillRect(x, bottom - (k + 1) * part, 8, part + 0.5);
    });
    context.textAlign = "right";
    context.fillStyle = "#d6dce1";
    context.fillText("0", x - 5, bottom);
    context.fillText(most, x - 5, bottom - tall + 9);
  }

  #paintPointer(context, pane, { left, top, across, down }) {
    const { x, y } = this.pointer;
    if (pane !== this.pointer.pane) {
      const [px, py] = [left + x * across, top + y * down];
      context.fillStyle = "rgba(95, 179, 198, .9)";
      for (const sign of [-1, 1]) {
        context.fillRect(px - 0.5, py + sign * 4, 1, sign * 7);
        context.fillRect(px + sign * 4, py - 0.5, sign * 7, 1);
      }
    }
    if (x < 0 || y < 0 || x >= 1 || y >= 1) return;
    pane.readout.textContent = this.#read(pane.kind, x, y);
  }

  /** The value under the pointer: of the file, of the twin on the same scale, or of the map. */
  #read(kind, x, y) {
    const { film, planes, peak } = this.picture;
    const [column, row] = [Math.floor(x * film.width), Math.floor(y * film.height)];
    const [black, white] = film.window;
    const shown = (value) => (Math.abs(white - black) >= 20 ? value.toFixed(0) : value.toFixed(3));
    const where = `x ${column}  y ${row}  `;
    if (kind === "input") return where + filmValues(film, column, row).map(shown).join(" ");
    const { size } = this.pictures;
    const { box, content } = this.#boxes();
    const across = (column + 0.5 - box[0]) / box[2];
    const down = (row + 0.5 - box[1]) / box[3];
    if (across < 0 || down < 0 || across >= 1 || down >= 1) return "";
    const place = [Math.floor(content[0] + across * content[2]), Math.floor(content[1] + down * content[3])];
    if (kind === "map") return (valueAt(planes, this.mapPlane, size, ...place) * peak).toPrecision(3);
    return shown(black + valueAt(planes, this.twinPlane, size, ...place) * (white - black));
  }

  #listen(pane) {
    const { canvas } = pane;
    const held = new Map();
    let apart = 0;
    const where = (event) => {
      const box = canvas.getBoundingClientRect();
      const { across, down, left, top } = this.#place(pane);
      return { pane, x: (event.clientX - box.left - left) / across, y: (event.clientY - box.top - top) / down };
    };
    const spread = () => {
      const [a, b] = [...held.values()];
      return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      held.set(event.pointerId, event);
      if (held.size === 2) apart = spread();
      event.preventDefault();
    });
    canvas.addEventListener("pointermove", (event) => {
      this.pointer = where(event);
      const before = held.get(event.pointerId);
      if (!before) {
        this.draw();
        return;
      }
      const dx = event.clientX - before.clientX;
      const dy = event.clientY - before.clientY;
      held.set(event.pointerId, event);
      const { across, down } = this.#place(pane);
      if (held.size === 2) {
        const now = spread();
        this.zoomBy(now / Math.max(apart, 1), this.pointer.x, this.pointer.y);
        apart = now;
        this.pan(-dx / across / 2, -dy / down / 2);
      } else if (this.tool === "pan" || event.shiftKey || event.buttons & 6) {
        this.pan(-dx / across, -dy / down);
      } else {
        this.moveWindow(dx / 400, -dy / 400);
      }
    });
    const release = (event) => held.delete(event.pointerId);
    canvas.addEventListener("pointerup", release);
    canvas.addEventListener("pointercancel", release);
    canvas.addEventListener("pointerleave", () => {
      this.pointer = null;
      this.draw();
    });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const { x, y } = where(event);
      this.zoomBy(Math.exp(-event.deltaY / 400), x, y);
    }, { passive: false });
    canvas.addEventListener("dblclick", () => this.reset());
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  }
}

function surface() {
  return document.createElement("canvas");
}

function text(tag, content) {
  const element = document.createElement(tag);
  element.textContent = content;
  return element;
}

function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}
